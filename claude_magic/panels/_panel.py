"""`PromptPanel`: a conversation with Claude beside the cells."""

from __future__ import annotations

import itertools
import threading
from typing import Any, Final

from IPython import get_ipython
from IPython.display import display
from ipywidgets import VBox

from ..client import ClaudeError, ConfigurationError
from ..live import painter, waits_for_cells
from ..render import Exchange
from ..runtime import Reply, get_runtime
from ._answer_actions import AnswerActions, Surroundings
from ._asked import Asked
from ._attachments import Attachments
from ._browser_side import BrowserSide
from ._composer import Composer
from ._exchange_view import ExchangeView
from ._settings_row import SettingsRow
from ._status_line import StatusLine
from ._transcript import Transcript

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
    ) -> None:
        self._runtime = get_runtime()
        values = self._runtime.settings().values
        self._remote_images = values.remote_images
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._begins_anew = False
        self._transcript = Transcript(remote_images=values.remote_images)
        self._settings = SettingsRow(
            values,
            thread=thread or f"panel {next(_panel_numbers)}",
            threads=self._threads(),
            model=model,
            system=system,
            effort=effort,
            max_tokens=max_tokens,
        )
        self._status = StatusLine()
        self._attachments = Attachments()
        self._composer = Composer(
            self._attachments,
            self._settings,
            self._status,
            on_send=self._on_send,
            on_stop=self.stop,
            on_clear=self.clear,
        )
        self._browser = BrowserSide(_dom_classes=["claude-magic-browser-side"])
        self._browser.on_outcome(self._status.tell)
        self._surroundings = Surroundings(
            browser=self._browser, assign=_assign, retry=self._on_retry, tell=self._status.tell
        )
        self._exchanges = VBox(_dom_classes=["claude-magic-exchanges"])
        super().__init__(
            [
                VBox([self._exchanges], _dom_classes=["claude-magic-conversation"]),
                self._composer,
                self._browser,
            ],
            _dom_classes=["claude-magic-panel"],
        )
        self._browser.panel_id = self.model_id
        self._status.show_limiter(self._runtime.limiter_state())

    # For programs...

    @property
    def replies(self) -> tuple[Reply, ...]:
        """The answers that the panel shows, oldest first."""
        return tuple(view.reply for view in self._views)

    def ask(self, prompt: str) -> Reply:
        """Ask as if the user had written `prompt`, and return at once. For any thread.

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
            key=f"panel {self.model_id}#{next(self._numbers)}",
            is_new=self._begins_anew,
        )
        reply = self._ask(asked, after=self._views)
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
        self._exchanges.children = ()
        self._status.tell("")
        self._transcript.update({})

    def _ask(self, asked: Asked, *, after: tuple[ExchangeView, ...]) -> Reply:
        """Start a reply, and show it after these exchanges."""
        with self._lock:
            if any(not reply.done() for reply in self.replies):
                raise ConfigurationError(
                    "An answer is on its way in this panel. Stop it, or wait for its end."
                )
            reply = self._runtime.start(asked.to_question(), **self._settings.options())
            actions = AnswerActions(reply, self._surroundings)
            view = ExchangeView(asked, reply, actions, remote_images=self._remote_images)
            self._exchanges.children = (*after, view)
        self._set_busy(True)
        painter.follow(reply, lambda: self._draw(view))
        return reply

    # What the user does...

    def _on_send(self) -> None:
        prompt = self._composer.text
        if not prompt.strip():
            return
        try:
            self.ask(prompt)
        except ClaudeError as error:
            self._status.tell(error.message)
        else:
            self._composer.start_over()
            self._status.tell(ONLY_BETWEEN_CELLS if waits_for_cells() else "")

    def _on_retry(self, reply: Reply) -> None:
        views = self._views
        index = next((index for index, view in enumerate(views) if view.reply is reply), None)
        if index is None:
            return
        try:
            self._ask(views[index].asked, after=views[:index])
        except ClaudeError as error:
            self._status.tell(error.message)
        else:
            self._status.tell("")

    # What is shown...

    @property
    def _views(self) -> tuple[ExchangeView, ...]:
        return tuple(self._exchanges.children)

    def _threads(self) -> tuple[str, ...]:
        return tuple(thread.name for thread in self._runtime.conversations.threads())

    def _ended(self) -> dict[Reply, Exchange]:
        return {view.reply: view.snapshot() for view in self._views if view.reply.done()}

    def _draw(self, view: ExchangeView) -> float:
        interval = view.draw()
        self._status.show_limiter(self._runtime.limiter_state())
        if view.reply.done():
            self._set_busy(not all(reply.done() for reply in self.replies))
            self._settings.offer_threads(self._threads())
            self._transcript.update(self._ended())
        return interval

    def _set_busy(self, is_busy: bool) -> None:
        self._composer.set_busy(is_busy)
        self._browser.is_busy = is_busy

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        self._transcript.show(self._ended())


def _assign(name: str, value: Any) -> None:
    shell = get_ipython()
    if shell is not None:
        shell.push({name: value})
