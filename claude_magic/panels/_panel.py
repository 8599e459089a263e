"""The `PromptPanel` widget: a conversation with Claude next to the cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from IPython.display import display
from ipywidgets import HTML, HTMLMath, VBox

from .._tracebacks import short_errors
from ..conversation import Turn
from ..display import waits_for_cells
from ..display.widgets import close_all, in_words
from ..render import Exchange, describe_limiter, render_earlier, render_line
from ..runtime import Question, Reply, Where, get_runtime
from ..tools import Toolbox, needs_approval
from ._browser_side import BrowserSide, Transcript
from ._composer import Attachments, Composer, Note, SettingsRow
from ._exchange import Exchanges
from ._tools import BetweenCells, PanelApproval, blocking_calls

ONLY_BETWEEN_CELLS: Final = "Stop works between cells; while a cell runs, interrupt the kernel (■)."

_panel_numbers = itertools.count(1)


class PromptPanel(VBox):
    """A panel that asks Claude and streams the answers, even while the kernel runs a cell.

    All panels, cells and `claude.ask` share one client, with its limiter and settings.

    Args:
        thread: The conversation that the questions belong to; by default a new one. Panels and cells with the same thread
            share it.
        model: The initial model. By default the settings apply, here and below.
        system: System prompt.
        effort: "low", "medium", "high", "xhigh" or "max".
        max_tokens: Maximum tokens of an answer, including thinking.
        tools: Functions that Claude may call. They run between cells, on the kernel's main thread; their output
            appears below the panel (with ipykernel 6, in the cell that ran last).
        approve: "ask" (the default) shows buttons before each call; "never" runs all of them.

    Raises:
        ConfigurationError: A setting or an argument is invalid.

    Example:
        ```python
        from claude_magic import PromptPanel

        panel = PromptPanel(model="opus")
        panel
        ```
    """

    @short_errors
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
        self._is_asked = needs_approval(approve)
        self._runtime = get_runtime()
        self._runtime.settings({"max_tokens": max_tokens})  # raises if it is not valid
        values = self._runtime.settings().values
        self._toolbox = None if tools is None else Toolbox.of(tools)
        self._numbers = itertools.count(1)
        self._starts_new = False
        self._shown_thread = ""
        self._left: dict[Reply, Exchange] = {}
        """The exchanges of threads that are no longer shown, oldest first. The transcript keeps them."""
        self._note = Note()
        guard = self._note.guard
        self._settings = SettingsRow(
            values,
            thread=self._own_thread() if thread is None else thread,
            threads=self._threads(),
            model=model,
            system=system,
            effort=effort,
            max_tokens=max_tokens,
            on_change=guard(self._show_thread),
        )
        self._remote_images = values.remote_images
        self._heading = HTML(_dom_classes=["claude-magic-block", "claude-magic-heading"])
        self._earlier = HTMLMath(
            _dom_classes=["claude-magic-block", "claude-magic-earlier", "jp-RenderedHTMLCommon"]
        )
        self._limiter = HTML(_dom_classes=["claude-magic-block", "claude-magic-limiter"])
        self._attachments = Attachments()
        self._composer = self._make_composer()
        self._browser = BrowserSide(named_thread=thread or "", _dom_classes=["claude-magic-browser-side"])
        self._transcript = Transcript(self._browser, remote_images=values.remote_images)
        self._browser.listen(
            on_outcome=self._note.show,
            on_page=guard(self._transcript.send_keys),
            on_missing=guard(self._send_missing),
            on_edit=self._note.drop_error,
        )
        self._exchanges = self._make_exchanges()
        self._turns = VBox([self._earlier, self._exchanges], _dom_classes=["claude-magic-turns"])
        self._conversation = VBox([self._turns], _dom_classes=["claude-magic-conversation"])
        super().__init__(
            [self._heading, self._conversation, self._composer, self._browser],
            _dom_classes=["claude-magic-panel"],
        )
        self._browser.panel_id = self.model_id
        self._show_thread()
        self._show_state()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(thread={self._settings.typed_thread!r})"

    # Python API...

    @property
    def replies(self) -> tuple[Reply, ...]:
        """The answers that the panel shows, oldest first."""
        return self._exchanges.replies

    @short_errors
    def ask(self, prompt: str) -> Reply:
        """Ask a question as if the user had typed it, and return immediately. Thread-safe.

        To wait in a cell, `await` the reply. `result()` waits too, except with tools, because they run between cells.

        Raises:
            ConfigurationError: The question cannot be sent, or an answer of this panel is in flight.
        """
        question = self._attachments.question(prompt)
        # A retry has the same key, so it replaces its turn.
        key = f"panel {self._browser.panel_id}#{next(self._numbers)}"
        where = Where(thread=self._settings.thread, cell=key, is_new=self._starts_new)
        self._show_thread()
        reply = self._ask(dataclasses.replace(question, where=where))
        self._starts_new = False
        self._attachments.clear()
        return reply

    def stop(self) -> None:
        """Stop the answer in flight. The text received so far stays."""
        self._exchanges.stop()

    def clear(self) -> None:
        """Stop, clear the panel, and start a new conversation with the next question."""
        self._starts_new = True
        self._exchanges.clear()
        self._left = {reply: each for reply, each in self._left.items() if reply.thread != self._shown_thread}
        self._note.show("")
        self._show_thread()
        self._show_state()
        self._transcript.update(self._ended())

    def close(self) -> None:
        """Stop, and close the panel. Its transcript and its conversation are kept."""
        if self.comm is None:  # closed before, or not initialised
            return
        super().close()
        # Containers before their children.
        self._conversation.close()
        self._turns.close()
        self._exchanges.close()
        close_all((*self.children, self.layout))

    def _make_composer(self) -> Composer:
        guard = self._note.guard
        return Composer(
            self._attachments,
            self._settings,
            self._limiter,
            self._note,
            on_send=guard(self._on_send),
            on_stop=guard(self._on_stop),
            on_clear=guard(self.clear),
        )

    def _make_exchanges(self) -> Exchanges:
        return Exchanges(
            self._browser,
            self._note,
            on_retry=self._on_retry,
            on_change=self._show_state,
            on_end=self._update_transcript,
            remote_images=self._remote_images,
        )

    def _ask(self, question: Question, *, instead_of: Reply | None = None) -> Reply:
        settings = self._settings.options()

        def start(approval: PanelApproval) -> Reply:
            asked = dataclasses.replace(question, settings=settings, tools=self._executor(approval))
            return self._runtime.start(asked)

        return self._exchanges.add(question, start, instead_of=instead_of)

    def _executor(self, approval: PanelApproval) -> BetweenCells | None:
        if self._toolbox is None:
            return None
        return BetweenCells(
            self._toolbox,
            approval if self._is_asked else None,
            self._transcript.context(),
            interrupt=self.stop,
        )

    # User actions...

    def _on_send(self) -> None:
        prompt = self._composer.text
        if not prompt.strip():
            return
        self.ask(prompt)
        self._composer.start_over()
        self._note.show(ONLY_BETWEEN_CELLS if waits_for_cells() else "")

    def _on_stop(self) -> None:
        stuck = [name for reply in self.replies for name in blocking_calls(reply, self._toolbox)]
        self.stop()
        if stuck:
            self._note.show(f"{stuck[0]} still runs: interrupt the kernel (■) to end it.")

    def _on_retry(self, reply: Reply) -> None:
        for view in self._exchanges.views:
            if view.reply is reply:
                self._ask(view.question, instead_of=reply)
                self._note.show("")

    # Display...

    def _threads(self) -> tuple[str, ...]:
        return tuple(thread.name for thread in self._runtime.conversations.threads())

    def _show_thread(self) -> None:
        """Show the thread and model of the next question, and the earlier turns."""
        thread = self._settings.thread
        if thread != self._shown_thread and not self._exchanges.is_busy:
            self._leave_thread()
            self._shown_thread = thread
        self._heading.value = render_line(f"{thread} · {self._settings.model}")
        earlier = [] if self._starts_new else self._turns_before(thread)
        self._earlier.value = render_earlier(thread, earlier, remote_images=self._remote_images)

    def _leave_thread(self) -> None:
        """Remove the exchanges of a thread from the panel, because those of another one are shown."""
        self._left |= self._exchanges.ended()
        self._exchanges.clear()
        self._starts_new = False

    def _turns_before(self, thread: str) -> list[Turn]:
        """Return the turns of the thread before those that the panel shows as exchanges, oldest first."""
        forest = self._runtime.conversations.forest()
        head = forest.threads[thread].head if thread in forest.threads else None
        shown = {each.question.where.cell for each in self._exchanges.views if each.question.where}
        path = [*forest.path(head)][::-1]
        return [*itertools.takewhile(lambda turn: turn.cell not in shown, path)]

    def _own_thread(self) -> str:
        """Return an unused name for a thread; threads from a loaded file may use names of panels."""
        known = self._threads()
        return next(name for number in _panel_numbers if (name := f"panel-{number}") not in known)

    def _show_state(self) -> None:
        """Show whether an answer is in flight, and the state of the limiter."""
        is_busy = self._exchanges.is_busy
        self._browser.is_busy = is_busy  # first, because it checks which button has the focus
        self._composer.set_busy(is_busy)
        self._settings.set_busy(is_busy)
        self._note.guard(self._show_limiter)()

    def _show_limiter(self) -> None:
        self._limiter.value = render_line(describe_limiter(self._runtime.limiter_state()))

    def _update_transcript(self) -> None:
        """Add an answer that has ended to the transcript."""
        self._settings.offer_threads(self._threads())
        self._transcript.update(self._ended())

    def _ended(self) -> dict[Reply, Exchange]:
        """Return the exchanges of all threads that have ended, oldest first."""
        ended = {**self._left, **self._exchanges.ended()}
        threads = [reply.thread or "" for reply in ended]
        return {
            reply: exchange if thread == above else dataclasses.replace(exchange, threads=(above, thread))
            for (reply, exchange), above, thread in zip(
                ended.items(), [*threads[:1], *threads], threads, strict=False
            )
        }

    def _send_missing(self, keys: Sequence[str]) -> None:
        """Send the outputs that a page lacks."""
        self._transcript.send_missing(keys, self._ended())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return in_words(
            self, f"Claude panel on thread {self._settings.typed_thread}: run this cell to open it."
        )

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        self._transcript.show(self._ended())
