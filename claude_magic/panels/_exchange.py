"""The conversation that a panel shows: exchange after exchange, the last of which may be under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from IPython import get_ipython
from ipywidgets import HTML, Button, HBox, Layout, Text, VBox

from ..client import ConfigurationError
from ..context import last_reply_in
from ..display import frame_loop, interval_after, is_variable_name, new_cell, route_to_subshell
from ..display.widgets import BlockColumn, close_all
from ..render import Exchange, render_footer, render_question
from ..runtime import Phase, Question, Reply, ReplySnapshot
from ._browser_side import BrowserSide, FaultsTold
from ._tools import PanelApproval


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the actions act on.

    Attributes:
        browser: Copies and inserts.
        assign: Gives an object a name among the user's.
        retry: Asks the question of a reply again, and puts the new answer in the place of this one.
        tell: Shows the user a sentence.
        faults: Shows the user what goes wrong.
    """

    browser: BrowserSide
    assign: Callable[[str, Any], None]
    retry: Callable[[Reply], None]
    tell: Callable[[str], None]
    faults: FaultsTold


class AnswerActions(HBox):
    """A row of quiet buttons under an answer."""

    def __init__(self, reply: Reply, surroundings: Surroundings) -> None:
        self._reply = reply
        self._surroundings = surroundings
        told = surroundings.faults.told
        self._copy = _button("Copy", "Copy the answer as Markdown", told(self._on_copy))
        self._insert = _button(
            "New cell", "Put the answer's code, or its text, into a new cell", told(self._on_insert)
        )
        self._keep = _button("Variable", "Give the answer a name in the notebook", told(self._on_keep))
        self._retry = _button("Retry", "Ask the same question again", told(self._on_retry))
        self._name = Text(
            placeholder="name, then Enter",
            tooltip="Name of the variable",
            continuous_update=False,
            _dom_classes=["claude-magic-name"],
        )
        self._name.layout.display = "none"
        self._name.observe(told(self._on_name), "value")
        route_to_subshell(self._copy, self._insert, self._keep, self._retry, self._name)
        super().__init__(_dom_classes=["claude-magic-actions"])

    def offer(self, *, has_text: bool) -> None:
        """Show what can be done; without a text that is only to ask again."""
        with_text = (self._copy, self._insert, self._name, self._keep) if has_text else ()
        self.children = (*with_text, self._retry)

    def close(self) -> None:
        """Take it away for good, with what it has not offered."""
        super().close()  # first: no page may be told of a row whose buttons are gone
        close_all([self._copy, self._insert, self._keep, self._retry, self._name])

    def _on_copy(self, _button: Button) -> None:
        self._surroundings.browser.copy(self._reply.text)

    def _on_insert(self, _button: Button) -> None:
        cell = new_cell(self._reply.text)
        self._surroundings.browser.insert_cell(cell.source, cell.kind)
        if cell.remark:
            self._surroundings.tell(cell.remark)

    def _on_keep(self, _button: Button) -> None:
        is_hidden = self._name.layout.display == "none"
        self._name.layout.display = None if is_hidden else "none"

    def _on_name(self, _change: object) -> None:
        name = self._name.value.strip()
        if not name:
            return
        if not is_variable_name(name):
            self._surroundings.tell(f"{name!r} cannot be the name of a variable.")
            return
        self._surroundings.assign(name, self._reply)
        self._name.layout.display = "none"
        self._name.value = ""
        self._surroundings.tell(f"{name} is this answer now.")

    def _on_retry(self, _button: Button) -> None:
        self._surroundings.retry(self._reply)


def _button(label: str, tooltip: str, on_click: Callable[[Button], None]) -> Button:
    button = Button(description=label, tooltip=tooltip, _dom_classes=["claude-magic-quiet-button"])
    button.on_click(on_click)
    return button


FRAME_INTERVAL: Final = 1 / 10
"""Seconds. Now and then a frame sends two or three widgets; in all they stay below 15 a second."""

BLOCK_CLASSES: Final = ("claude-magic-block", "jp-RenderedHTMLCommon")


class ExchangeView(VBox):
    """Shows a question at once, and its answer while it grows.

    A block of the answer is a widget of its own. One that has settled is never sent again.

    Args:
        question: The question.
        reply: The answer.
        approval: Where a person is asked whether a call may run.
        actions: What can be done with the answer, once it is there.
        remote_images: Load images from other hosts.
    """

    def __init__(
        self,
        question: Question,
        reply: Reply,
        approval: PanelApproval,
        actions: AnswerActions,
        *,
        remote_images: bool = False,
    ) -> None:
        self.question = question
        self.reply = reply
        self.actions = actions
        self._blocks = BlockColumn(
            remote_images=remote_images,
            layout=Layout(),
            classes=BLOCK_CLASSES,
            box_classes=["claude-magic-answer"],
            dress=str,
        )
        self._lock = threading.Lock()
        self._is_taken_away = False
        words = HTML(
            render_question(question.prompt, question.attached),
            _dom_classes=["claude-magic-block", "claude-magic-question"],
        )
        self._footer = HTML(_dom_classes=["claude-magic-block", "claude-magic-footer"])
        self._foot = HBox(_dom_classes=["claude-magic-foot"])
        super().__init__(
            [words, self._blocks.box, approval, self._foot], _dom_classes=["claude-magic-exchange"]
        )

    def snapshot(self) -> Exchange:
        """Return it as it is now, for a transcript."""
        return Exchange(
            question=self.question.prompt, attached=self.question.attached, answer=self.reply.snapshot()
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
            return interval_after(self._blocks.draw(snapshot), shortest=FRAME_INTERVAL)

    def take_away(self) -> None:
        """Close it for good; nothing of it is drawn any more."""
        with self._lock:
            self._is_taken_away = True
            close_all([self, self._footer, self.actions, *self._blocks.shared_looks])

    def _finish(self, snapshot: ReplySnapshot) -> None:
        is_empty = snapshot.phase is not Phase.COMPLETE and not (snapshot.text or snapshot.thinking)
        if is_empty:
            self._blocks.empty()
        else:
            self._blocks.finish(snapshot)
        self._footer.value = render_footer(snapshot, kept_in=last_reply_in(get_ipython()))
        self.actions.offer(has_text=bool(snapshot.text))
        self._foot.children = (self._footer, self.actions)


class Exchanges(VBox):
    """Shows them from top to bottom, and draws the one that is under way.

    Args:
        surroundings: What the actions under an answer act on.
        on_change: Called when an answer begins, when it has grown, and when it has ended; on any thread.
        on_end: Called when an answer has ended, after that.
        remote_images: Load images from other hosts.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        on_change: Callable[[], None],
        on_end: Callable[[], None],
        remote_images: bool,
    ) -> None:
        self._surroundings = surroundings
        self._on_change = on_change
        self._on_end = on_end
        self._remote_images = remote_images
        self._lock = threading.Lock()
        super().__init__(_dom_classes=["claude-magic-exchanges"])

    @property
    def views(self) -> tuple[ExchangeView, ...]:
        """What is shown, oldest first."""
        return tuple(self.children)

    @property
    def replies(self) -> tuple[Reply, ...]:
        """The answers, oldest first."""
        return tuple(view.reply for view in self.views)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is in flight."""
        return not all(reply.done() for reply in self.replies)

    def ended(self) -> dict[Reply, Exchange]:
        """Return those that have ended, oldest first."""
        return {view.reply: view.snapshot() for view in self.views if view.reply.done()}

    def add(
        self, question: Question, start: Callable[[PanelApproval], Reply], *, instead_of: Reply | None = None
    ) -> Reply:
        """Start a reply, and show it at the end, or in the place of another one and of all that followed it.

        Args:
            question: The question.
            start: Asks it, and is given where a person can be asked about calls.
            instead_of: The other one.

        Raises:
            ConfigurationError: An answer is in flight.
        """
        with self._lock:
            if self.is_busy:
                raise ConfigurationError(
                    "A reply is in flight in this panel. Stop it, or wait until it ends."
                )
            index = self.replies.index(instead_of) if instead_of in self.replies else len(self.replies)
            kept, dropped = self.views[:index], self.views[index:]
            approval = PanelApproval(self._surroundings.browser.announce)
            reply = start(approval)
            actions = AnswerActions(reply, self._surroundings)
            view = ExchangeView(question, reply, approval, actions, remote_images=self._remote_images)
            self.children = (*kept, view)
        self._on_change()
        frame_loop.follow(reply, lambda: self._draw(view))
        for each in dropped:
            each.take_away()
        return reply

    def stop(self) -> None:
        """Stop the answer that is in flight; what has come of it stays."""
        for reply in self.replies:
            reply.cancel()

    def take_away(self) -> None:
        """Stop, and show nothing any more."""
        with self._lock:
            self.stop()
            views, self.children = self.views, ()
        for view in views:
            view.take_away()

    def close(self) -> None:
        """Stop, and take all of it away for good; what has come of it can still be read here."""
        self.stop()
        super().close()  # first: no page may be told of a conversation whose parts are gone
        for view in self.views:
            view.take_away()

    def _draw(self, view: ExchangeView) -> float:
        try:
            interval = view.draw()
        except Exception as error:
            self._surroundings.faults.tell(error)
            view.reply.when_done(self._on_change)
            raise  # to the frame loop, which draws it no more
        self._on_change()
        if view.reply.done():
            self._on_end()
        return interval
