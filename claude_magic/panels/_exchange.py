"""The conversation in a panel: a list of exchanges, the last of which may still be in progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from IPython import get_ipython
from ipywidgets import HTML, Button, HBox, Layout, Text, VBox

from ..client import ConfigurationError
from ..context import last_reply_in
from ..display import (
    PANEL_FRAME_INTERVAL,
    frame_loop,
    interval_after,
    keep_answer,
    new_cell,
    route_to_subshell,
)
from ..display.widgets import BlockColumn, close_all
from ..render import Exchange, render_footer, render_question
from ..runtime import Phase, Question, Reply, ReplySnapshot
from ._browser_side import BrowserSide
from ._composer import Note
from ._tools import PanelApproval


class ActionRow(HBox):
    """The row of buttons under an answer.

    Args:
        reply: The answer.
        browser: Copies texts and inserts cells.
        note: Shows what was done, and errors.
        on_retry: Asks the question of a reply again, and replaces its answer.
    """

    def __init__(
        self, reply: Reply, browser: BrowserSide, note: Note, *, on_retry: Callable[[Reply], None]
    ) -> None:
        self._reply = reply
        self._browser = browser
        self._note = note
        self._copy = _button("Copy", "Copy the answer as Markdown", note.guard(self._on_copy))
        self._insert = _button(
            "New cell", "Put the answer's code, or its text, into a new cell", note.guard(self._on_insert)
        )
        self._keep = _button("Variable", "Give the answer a name in the notebook", note.guard(self._on_keep))
        self._retry = _button(
            "Retry", "Ask the same question again", note.guard(lambda _button: on_retry(reply))
        )
        self._name = Text(
            placeholder="name, then Enter",
            tooltip="Name of the variable",
            continuous_update=False,
            _dom_classes=["claude-magic-name"],
        )
        self._name.layout.display = "none"
        self._name.observe(note.guard(self._on_name), "value")
        route_to_subshell(self._copy, self._insert, self._keep, self._retry, self._name)
        super().__init__(_dom_classes=["claude-magic-actions"])

    def offer(self, *, has_text: bool) -> None:
        """Show the buttons. Without a text, there is only Retry."""
        with_text = (self._copy, self._insert, self._name, self._keep) if has_text else ()
        self.children = (*with_text, self._retry)

    def close(self) -> None:
        """Close the row and all buttons, shown or not."""
        super().close()  # first, so that no page receives a row with closed buttons
        close_all([self._copy, self._insert, self._keep, self._retry, self._name])

    def _on_copy(self, _button: Button) -> None:
        self._browser.copy(self._reply.text)

    def _on_insert(self, _button: Button) -> None:
        cell = new_cell(self._reply.text)
        self._browser.insert_cell(cell.source, cell.kind)
        if cell.remark:
            self._note.show(cell.remark)

    def _on_keep(self, _button: Button) -> None:
        is_hidden = self._name.layout.display == "none"
        self._name.layout.display = None if is_hidden else "none"

    def _on_name(self, _change: object) -> None:
        name = self._name.value.strip()
        if name:
            self._note.show(keep_answer(get_ipython(), name, self._reply))
            self._name.layout.display = "none"
            self._name.value = ""


def _button(label: str, tooltip: str, on_click: Callable[[Button], None]) -> Button:
    button = Button(description=label, tooltip=tooltip, _dom_classes=["claude-magic-quiet-button"])
    button.on_click(on_click)
    return button


BLOCK_CLASSES: Final = ("claude-magic-block", "jp-RenderedHTMLCommon")


class ExchangeView(VBox):
    """A question with its answer, which is drawn while it grows.

    Each block of the answer is a separate widget, so finished blocks are not sent again.

    Args:
        question: The question.
        reply: The answer.
        approval: The approval buttons for tool calls.
        actions: The buttons under the finished answer.
        remote_images: Whether to load images from other hosts.
    """

    def __init__(
        self,
        question: Question,
        reply: Reply,
        approval: PanelApproval,
        actions: ActionRow,
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
        self._is_removed = False
        words = HTML(
            render_question(reply.prompt, question.attached),
            _dom_classes=["claude-magic-block", "claude-magic-question"],
        )
        self._footer = HTML(_dom_classes=["claude-magic-block", "claude-magic-footer"])
        self._foot = HBox(_dom_classes=["claude-magic-foot"])
        super().__init__(
            [words, self._blocks.box, approval, self._foot], _dom_classes=["claude-magic-exchange"]
        )

    def snapshot(self) -> Exchange:
        """Return the current state, for a transcript."""
        reply = self.reply
        return Exchange(question=reply.prompt, attached=self.question.attached, answer=reply.snapshot())

    def draw(self) -> float:
        """Draw the current answer. Return the seconds after which the next frame may follow."""
        with self._lock:
            snapshot = self.reply.snapshot()
            if self._is_removed:
                return 0.0
            if snapshot.phase.is_final:
                self._finish(snapshot)
                return 0.0
            return interval_after(self._blocks.draw(snapshot), shortest=PANEL_FRAME_INTERVAL)

    def remove(self) -> None:
        """Close the view. Later frames are not drawn."""
        with self._lock:
            self._is_removed = True
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
    """The exchanges of a panel from top to bottom, of which the last may be in progress.

    Args:
        browser: Copies texts and inserts cells.
        note: Shows what was done, and errors.
        on_retry: Asks the question of a reply again, and replaces its answer.
        on_change: Called when an answer starts, grows or ends, on any thread.
        on_end: Called after `on_change` when an answer has ended.
        remote_images: Whether to load images from other hosts.
    """

    def __init__(
        self,
        browser: BrowserSide,
        note: Note,
        *,
        on_retry: Callable[[Reply], None],
        on_change: Callable[[], None],
        on_end: Callable[[], None],
        remote_images: bool,
    ) -> None:
        self._browser = browser
        self._note = note
        self._on_retry = on_retry
        self._on_change = on_change
        self._on_end = on_end
        self._remote_images = remote_images
        self._lock = threading.Lock()
        super().__init__(_dom_classes=["claude-magic-exchanges"])

    @property
    def views(self) -> tuple[ExchangeView, ...]:
        """The views of all exchanges, oldest first."""
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
        """Return the exchanges that have ended, oldest first."""
        return {view.reply: view.snapshot() for view in self.views if view.reply.done()}

    def add(
        self, question: Question, start: Callable[[PanelApproval], Reply], *, instead_of: Reply | None = None
    ) -> Reply:
        """Start a reply, and show it at the end, or in place of another reply and all later ones.

        Args:
            question: The question.
            start: Asks the question, with these approval buttons for its tool calls.
            instead_of: The reply to replace.

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
            approval = PanelApproval(self._browser.announce)
            reply = start(approval)
            actions = ActionRow(reply, self._browser, self._note, on_retry=self._on_retry)
            view = ExchangeView(question, reply, approval, actions, remote_images=self._remote_images)
            self.children = (*kept, view)
        self._on_change()
        frame_loop.follow(reply, lambda: self._draw(view))
        for each in dropped:
            each.remove()
        return reply

    def stop(self) -> None:
        """Stop the answer in flight. The text received so far stays."""
        for reply in self.replies:
            reply.cancel()

    def clear(self) -> None:
        """Stop, and remove all exchanges."""
        with self._lock:
            self.stop()
            views, self.children = self.views, ()
        for view in views:
            view.remove()

    def close(self) -> None:
        """Stop, and close all widgets. The replies stay readable in Python."""
        self.stop()
        super().close()  # first, so that no page receives a conversation with closed parts
        for view in self.views:
            view.remove()

    def _draw(self, view: ExchangeView) -> float:
        try:
            interval = view.draw()
        except Exception as error:
            self._note.report(error)
            view.reply.when_done(self._on_change)
            raise  # to the frame loop, which stops drawing it
        self._on_change()
        if view.reply.done():
            self._on_end()
        return interval
