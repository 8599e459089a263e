"""`PromptPanel`: a conversation with Claude beside the cells."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from IPython import get_ipython
from IPython.display import display
from ipywidgets import VBox

from ..client import ConfigurationError
from ..live import painter, waits_for_cells
from ..render import Exchange
from ..runtime import Reply, get_runtime
from ..tools import Toolbox
from ._answer_actions import AnswerActions, Surroundings
from ._approval_bar import ApprovalBar
from ._asked import Asked
from ._attachments import Attachments
from ._between_cells import BetweenCells
from ._browser_side import BrowserSide
from ._composer import Composer
from ._exchange_view import ExchangeView
from ._faults import FaultsTold
from ._settings_row import SettingsRow
from ._status_line import LimiterLine, Note
from ._transcript import Transcript
from ._widget_tree import close_all

ONLY_BETWEEN_CELLS: Final = "Stop is heard between cells; while one computes, interrupt the kernel (■)."

_panel_numbers = itertools.count(1)


class PromptPanel(VBox):
    """Asks Claude and shows the answers while they stream, also while the kernel runs a cell.

    All panels, cells and `claude.ask` share the kernel's one client, with its limiter and settings.

    Args:
        thread: The conversation that the questions belong to; one of the panel's own where it is left out. Panels and
            cells of the same thread share it.
        model: The model to begin with; the settings' where it is left out. Likewise the others.
        system: System prompt.
        effort: "low", "medium", "high", "xhigh" or "max".
        max_tokens: Bound of an answer in model tokens, thinking included.
        tools: Functions of yours that Claude may call. They run between cells, on the kernel's main thread; what they print
            appears below the panel.
        approve: "ask" asks with buttons before each call; "never" lets all of them run.

    Raises:
        ConfigurationError: A setting in force, or one of these, cannot be used.

    Example:
        ```python
        from claude_magic import PromptPanel

        panel = PromptPanel(model="opus")
        panel
        ```
    """

    def __init__(
        self,
        *,
        thread: str | None = None,
        model: str | None = None,
        system: str | None = None,
        effort: str | None = None,
        max_tokens: int | None = None,
        tools: Iterable[Callable[..., Any]] | None = None,
        approve: Literal["ask", "never"] | None = None,
    ) -> None:
        if approve not in (None, "ask", "never"):
            raise ConfigurationError(f'approve is "ask" or "never", not {approve!r}.')
        self._runtime = get_runtime()
        values = self._runtime.settings().values
        self._remote_images = values.remote_images
        functions = tuple(tools or ())
        self._toolbox = Toolbox(functions) if functions else None
        self._is_asked = approve != "never"
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._begins_anew = False
        self._settings = SettingsRow(
            values,
            thread=f"panel-{next(_panel_numbers)}" if thread is None else thread,
            threads=self._threads(),
            model=model,
            system=system,
            effort=effort,
            max_tokens=max_tokens,
        )
        self._note = Note()
        self._faults = FaultsTold(self._note.complain)
        self._limiter = LimiterLine()
        self._attachments = Attachments()
        self._composer = Composer(
            self._attachments,
            self._settings,
            self._limiter,
            self._note,
            on_send=self._faults.told(self._on_send),
            on_stop=self._faults.told(self.stop),
            on_clear=self._faults.told(self.clear),
        )
        self._browser = BrowserSide(_dom_classes=["claude-magic-browser-side"])
        self._transcript = Transcript(self._browser, remote_images=values.remote_images)
        self._browser.listen(
            on_outcome=self._note.tell,
            on_page=self._faults.told(self._transcript.tell_page),
            on_missing=self._faults.told(lambda keys: self._transcript.hand_over(keys, self._ended())),
        )
        self._surroundings = Surroundings(
            browser=self._browser,
            assign=_assign,
            retry=self._on_retry,
            tell=self._note.tell,
            faults=self._faults,
        )
        self._exchanges = VBox(_dom_classes=["claude-magic-exchanges"])
        conversation = VBox([self._exchanges], _dom_classes=["claude-magic-conversation"])
        super().__init__([conversation, self._composer, self._browser], _dom_classes=["claude-magic-panel"])
        self._browser.panel_id = self.model_id
        self._limiter.show(self._runtime.limiter_state())

    # For programs...

    @property
    def replies(self) -> tuple[Reply, ...]:
        """The answers that the panel shows, oldest first."""
        return tuple(view.reply for view in self._views)

    def ask(self, prompt: str) -> Reply:
        """Ask as if the user had written `prompt`, and return at once. For any thread.

        To wait in a cell, `await` the reply; `result()` waits too, but not for a panel with tools, which run between cells.

        Raises:
            ConfigurationError: The question could not be sent, or an answer of this panel is on its way.
        """
        sendable = self._attachments.go_with(prompt)
        asked = Asked(
            prompt=prompt,
            content=sendable.content,
            attached=sendable.attached,
            notes=sendable.notes,
            thread=self._settings.thread,
            key=f"panel {self._browser.panel_id}#{next(self._numbers)}",
            is_new=self._begins_anew,
        )
        reply = self._ask(asked)
        self._begins_anew = False
        self._attachments.clear()
        return reply

    def stop(self) -> None:
        """Stop the answer that is on its way; what has come of it stays."""
        for reply in self.replies:
            reply.cancel()

    def clear(self) -> None:
        """Stop, empty the panel, and begin a new conversation with the next question."""
        self.stop()
        self._begins_anew = True
        with self._lock:
            views, self._exchanges.children = self._views, ()
        self._note.tell("")
        self._set_busy(False)
        self._transcript.update({})
        for view in views:
            view.take_away()

    def close(self) -> None:
        """Stop, and take the panel away for good. Its transcript stays, and its conversation too."""
        if self.comm is None:  # closed before, or never made
            return
        self.stop()
        super().close()
        for view in self._views:
            view.take_away()
        close_all((*self.children, self.layout))

    def _ask(self, asked: Asked, *, instead_of: Reply | None = None) -> Reply:
        """Start a reply, and show it at the end, or in the place of another one and of all that followed it."""
        with self._lock:
            if any(not reply.done() for reply in self.replies):
                raise ConfigurationError(
                    "An answer is on its way in this panel. Stop it, or wait for its end."
                )
            former = self.replies.index(instead_of) if instead_of in self.replies else len(self.replies)
            kept, dropped = self._views[:former], self._views[former:]
            approval = ApprovalBar(self._browser.announce)
            question = asked.to_question(self._executor(approval))
            reply = self._runtime.start(question, **self._settings.options())
            actions = AnswerActions(reply, self._surroundings)
            view = ExchangeView(asked, reply, approval, actions, remote_images=self._remote_images)
            self._exchanges.children = (*kept, view)
        self._set_busy(True)
        painter.follow(reply, lambda: self._draw(view))
        for former_view in dropped:
            former_view.take_away()
        return reply

    def _executor(self, approval: ApprovalBar) -> BetweenCells | None:
        if self._toolbox is None:
            return None
        return BetweenCells(
            self._toolbox,
            approval if self._is_asked else None,
            self._transcript.context(),
            interrupt=self.stop,
        )

    # What the user does...

    def _on_send(self) -> None:
        prompt = self._composer.text
        if not prompt.strip():
            return
        self.ask(prompt)
        self._composer.start_over()
        self._note.tell(ONLY_BETWEEN_CELLS if waits_for_cells() else "")

    def _on_retry(self, reply: Reply) -> None:
        for view in self._views:
            if view.reply is reply:
                self._ask(view.asked, instead_of=reply)
                self._note.tell("")

    # What is shown...

    @property
    def _views(self) -> tuple[ExchangeView, ...]:
        return tuple(self._exchanges.children)

    def _threads(self) -> tuple[str, ...]:
        return tuple(thread.name for thread in self._runtime.conversations.threads())

    def _ended(self) -> dict[Reply, Exchange]:
        return {view.reply: view.snapshot() for view in self._views if view.reply.done()}

    def _draw(self, view: ExchangeView) -> float:
        try:
            interval = view.draw()
            self._limiter.show(self._runtime.limiter_state())
        except Exception as error:
            self._faults.tell(error)
            view.reply.when_done(lambda: self._set_busy(False))
            raise  # to the painter, which gives up on the picture
        if view.reply.done():
            self._set_busy(not all(reply.done() for reply in self.replies))
            self._settings.offer_threads(self._threads())
            self._transcript.update(self._ended())
        return interval

    def _set_busy(self, is_busy: bool) -> None:
        self._browser.is_busy = is_busy  # first: it sees where the keyboard is
        self._composer.set_busy(is_busy)

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        self._transcript.show(self._ended())


def _assign(name: str, value: Any) -> None:
    shell = get_ipython()
    if shell is not None:
        shell.push({name: value})
