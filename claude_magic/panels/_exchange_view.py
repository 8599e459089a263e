"""A question and its answer, as they stand in a panel."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from ipywidgets import HTML, HBox, HTMLMath, Layout, VBox
from ipywidgets.widgets.widget_string import HTMLMathStyle

from ..live.widgets import close_all
from ..render import Exchange, LivePicture, render_footer, render_question
from ..runtime import Phase, Reply, ReplySnapshot
from ._answer_actions import AnswerActions
from ._approval_bar import ApprovalBar
from ._asked import Asked

FRAME_INTERVAL: Final = 1 / 10
"""Now and then a frame sends two or three widgets; in all they stay below 15 a second."""
LONGEST_FRAME_INTERVAL: Final = 1 / 2
TAIL_CHARS_PER_SECOND: Final = 18_000
"""What is sent again with each frame is sent the less often the longer it is, in characters of HTML."""

BLOCK_CLASSES: Final = ("claude-magic-block", "jp-RenderedHTMLCommon")


class ExchangeView(VBox):
    """Shows a question at once, and its answer while it grows.

    A block of the answer is a widget of its own. One that has settled is never sent again.

    Args:
        asked: The question.
        reply: The answer.
        approval: Where a person is asked whether a call may run.
        actions: What can be done with the answer, once it is there.
        remote_images: Load images from other hosts.
    """

    def __init__(
        self,
        asked: Asked,
        reply: Reply,
        approval: ApprovalBar,
        actions: AnswerActions,
        *,
        remote_images: bool = False,
    ) -> None:
        self.asked = asked
        self.reply = reply
        self.actions = actions
        self._picture = LivePicture(remote_images=remote_images)
        # The blocks share their looks, because each widget of its own is two more messages.
        self._shared_looks = (Layout(), HTMLMathStyle())
        layout, style = self._shared_looks
        self._block_looks = {"layout": layout, "style": style, "_dom_classes": BLOCK_CLASSES}
        self._lock = threading.Lock()
        self._is_taken_away = False
        question = HTML(
            render_question(asked.prompt, asked.attached),
            _dom_classes=["claude-magic-block", "claude-magic-question"],
        )
        self._answer = VBox(_dom_classes=["claude-magic-answer"])
        self._footer = HTML(_dom_classes=["claude-magic-block", "claude-magic-footer"])
        self._foot = HBox(_dom_classes=["claude-magic-foot"])
        super().__init__(
            [question, self._answer, approval, self._foot], _dom_classes=["claude-magic-exchange"]
        )

    def snapshot(self) -> Exchange:
        """Return it as it is now, for a transcript."""
        return Exchange(
            question=self.asked.prompt, attached=self.asked.attached, answer=self.reply.snapshot()
        )

    def draw(self) -> float:
        """Show how far the answer has come; return the seconds after which the next frame may follow."""
        with self._lock:
            snapshot = self.reply.snapshot()
            if self._is_taken_away:
                return 0.0
            if snapshot.phase.is_final:
                self._finish(snapshot)
                return 0.0
            slots = self._picture.slots(snapshot, time.monotonic())
            self._show(slots)
        tail_chars = len(slots[-1]) if slots else 0
        return min(LONGEST_FRAME_INTERVAL, max(FRAME_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))

    def take_away(self) -> None:
        """Close it for good; nothing of it is drawn any more."""
        with self._lock:
            self._is_taken_away = True
            close_all([self, self._footer, self.actions, *self._shared_looks])

    def _finish(self, snapshot: ReplySnapshot) -> None:
        is_empty = snapshot.phase is not Phase.COMPLETE and not (snapshot.text or snapshot.thinking)
        self._show([] if is_empty else self._picture.last_slots(snapshot))
        self._footer.value = render_footer(snapshot)
        self.actions.offer(has_text=bool(snapshot.text))
        self._foot.children = (self._footer, self.actions)

    def _show(self, slots: Sequence[str]) -> None:
        blocks = self._answer.children
        for block, html in zip(blocks, slots, strict=False):
            block.value = html  # sends nothing where nothing has changed
        if len(slots) != len(blocks):
            new = [HTMLMath(html, **self._block_looks) for html in slots[len(blocks) :]]
            self._answer.children = (*blocks[: len(slots)], *new)
