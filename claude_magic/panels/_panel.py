"""`PromptPanel`: a conversation with Claude beside the cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from IPython import get_ipython
from IPython.display import display
from ipywidgets import VBox

from .._tracebacks import short_errors
from ..client import ConfigurationError
from ..conversation import Turn
from ..display import waits_for_cells
from ..display.widgets import close_all, in_words
from ..runtime import Question, Reply, Where, get_runtime
from ..tools import Toolbox
from ._browser_side import BrowserSide, EarlierTurns, FaultsTold, Heading, LimiterLine, Note, Transcript
from ._composer import Attachments, Composer, SettingsRow
from ._exchange import Exchanges, Surroundings
from ._tools import BetweenCells, PanelApproval, blocking_calls

ONLY_BETWEEN_CELLS: Final = "Stop works between cells; while a cell runs, interrupt the kernel (■)."

_panel_numbers = itertools.count(1)


class PromptPanel(VBox):
    """Asks Claude and shows the answers while they stream, also while the kernel runs a cell.

    All panels, cells and `claude.ask` share one client, with its limiter and settings.

    Args:
        thread: The conversation that the questions belong to; a new one if left out. Panels and cells of the same thread
            share it.
        model: The model to start with. The settings decide what is left out, here and below.
        system: System prompt.
        effort: "low", "medium", "high", "xhigh" or "max".
        max_tokens: Most tokens of an answer, thinking included.
        tools: Functions of yours that Claude may call. They run between cells, on the kernel's main thread; what they print
            appears below the panel (with ipykernel 6, in the cell that was run last).
        approve: "ask" (the default) shows buttons before each call; "never" runs all of them.

    Raises:
        ConfigurationError: A setting in force, or one of these, cannot be used.

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
        if approve not in (None, "ask", "never"):
            raise ConfigurationError(f'approve is "ask" or "never", not {approve!r}.')
        self._runtime = get_runtime()
        values = self._runtime.settings().values
        self._toolbox = None if tools is None else Toolbox.of(tools)
        self._is_asked = approve != "never"
        self._numbers = itertools.count(1)
        self._starts_new = False
        self._note = Note()
        self._faults = FaultsTold(self._note.complain)
        self._settings = SettingsRow(
            values,
            thread=self._own_thread() if thread is None else thread,
            threads=self._threads(),
            model=model,
            system=system,
            effort=effort,
            max_tokens=max_tokens,
            on_change=self._faults.told(self._show_place),
        )
        self._heading = Heading()
        self._earlier = EarlierTurns(remote_images=values.remote_images)
        self._limiter = LimiterLine()
        self._attachments = Attachments()
        self._composer = self._make_composer()
        self._browser = BrowserSide(_dom_classes=["claude-magic-browser-side"])
        self._transcript = Transcript(self._browser, remote_images=values.remote_images)
        self._browser.listen(
            on_outcome=self._note.tell,
            on_page=self._faults.told(self._transcript.tell_page),
            on_missing=self._faults.told(self._hand_over),
        )
        self._exchanges = self._make_exchanges(remote_images=values.remote_images)
        self._turns = VBox([self._earlier, self._exchanges], _dom_classes=["claude-magic-turns"])
        self._conversation = VBox([self._turns], _dom_classes=["claude-magic-conversation"])
        super().__init__(
            [self._heading, self._conversation, self._composer, self._browser],
            _dom_classes=["claude-magic-panel"],
        )
        self._browser.panel_id = self.model_id
        self._show_place()
        self._show_state()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(thread={self._settings.typed_thread!r})"

    # For programs...

    @property
    def replies(self) -> tuple[Reply, ...]:
        """The answers that the panel shows, oldest first."""
        return self._exchanges.replies

    @short_errors
    def ask(self, prompt: str) -> Reply:
        """Ask as if the user had written `prompt`, and return at once. For any thread.

        To wait in a cell, `await` the reply; `result()` waits too, but not for a panel with tools, which run between cells.

        Raises:
            ConfigurationError: The question could not be sent, or an answer of this panel is in flight.
        """
        question = self._attachments.question(prompt)
        # Asked again, it takes its own place.
        key = f"panel {self._browser.panel_id}#{next(self._numbers)}"
        where = Where(thread=self._settings.thread, cell=key, is_new=self._starts_new)
        self._show_place()
        reply = self._ask(dataclasses.replace(question, where=where))
        self._starts_new = False
        self._attachments.clear()
        return reply

    def stop(self) -> None:
        """Stop the answer that is in flight; what has arrived stays."""
        self._exchanges.stop()

    def clear(self) -> None:
        """Stop, empty the panel, and begin a new conversation with the next question."""
        self._starts_new = True
        self._exchanges.take_away()
        self._note.tell("")
        self._show_place()
        self._show_state()
        self._transcript.update({})

    def close(self) -> None:
        """Stop, and take the panel away for good. Its transcript stays, and its conversation too."""
        if self.comm is None:  # closed before, or never made
            return
        super().close()
        # Before what is in it.
        self._conversation.close()
        self._turns.close()
        self._exchanges.close()
        close_all((*self.children, self.layout))

    def _make_composer(self) -> Composer:
        return Composer(
            self._attachments,
            self._settings,
            self._limiter,
            self._note,
            on_send=self._faults.told(self._on_send),
            on_stop=self._faults.told(self._on_stop),
            on_clear=self._faults.told(self.clear),
        )

    def _make_exchanges(self, *, remote_images: bool) -> Exchanges:
        surroundings = Surroundings(
            browser=self._browser,
            assign=_assign,
            retry=self._on_retry,
            tell=self._note.tell,
            faults=self._faults,
        )
        return Exchanges(
            surroundings, on_change=self._show_state, on_end=self._keep, remote_images=remote_images
        )

    def _ask(self, question: Question, *, instead_of: Reply | None = None) -> Reply:
        options = self._settings.options()

        def start(approval: PanelApproval) -> Reply:
            asked = dataclasses.replace(question, tools=self._executor(approval))
            return self._runtime.start(asked, **options)

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

    # What the user does...

    def _on_send(self) -> None:
        prompt = self._composer.text
        if not prompt.strip():
            return
        self.ask(prompt)
        self._composer.start_over()
        self._note.tell(ONLY_BETWEEN_CELLS if waits_for_cells() else "")

    def _on_stop(self) -> None:
        stuck = [name for reply in self.replies for name in blocking_calls(reply, self._toolbox)]
        self.stop()
        if stuck:
            self._note.tell(f"{stuck[0]} still runs: interrupt the kernel (■) to end it.")

    def _on_retry(self, reply: Reply) -> None:
        for view in self._exchanges.views:
            if view.reply is reply:
                self._ask(view.question, instead_of=reply)
                self._note.tell("")

    # What is shown...

    def _threads(self) -> tuple[str, ...]:
        return tuple(thread.name for thread in self._runtime.conversations.threads())

    def _show_place(self) -> None:
        """Show what the next question is asked with, and what it goes on from."""
        thread = self._settings.thread
        self._heading.show(thread, self._settings.model)
        earlier = [] if self._starts_new else self._turns_before(thread)
        self._earlier.show(thread, [(turn.prompt, turn.answer_text) for turn in earlier])

    def _turns_before(self, thread: str) -> list[Turn]:
        """Return the turns that the panel's own go on from, oldest first."""
        forest = self._runtime.conversations.forest()
        head = forest.threads[thread].head if thread in forest.threads else None
        own = f"panel {self._browser.panel_id}#"
        path = [*forest.path(head)][::-1]
        return [*itertools.takewhile(lambda turn: not (turn.cell or "").startswith(own), path)]

    def _own_thread(self) -> str:
        """Return the name of a thread that is not there yet: one of a file that was loaded is no panel's own."""
        known = self._threads()
        return next(name for number in _panel_numbers if (name := f"panel-{number}") not in known)

    def _show_state(self) -> None:
        """Show whether an answer is in flight, and how the limiter is."""
        is_busy = self._exchanges.is_busy
        self._browser.is_busy = is_busy  # first: it sees where the keyboard is
        self._composer.set_busy(is_busy)
        self._faults.told(self._show_limiter)()

    def _show_limiter(self) -> None:
        self._limiter.show(self._runtime.limiter_state())

    def _keep(self) -> None:
        """Take an answer that has ended into the transcript."""
        self._settings.offer_threads(self._threads())
        self._transcript.update(self._exchanges.ended())

    def _hand_over(self, keys: Sequence[str]) -> None:
        """Give a page the outputs that it lacks."""
        self._transcript.hand_over(keys, self._exchanges.ended())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return in_words(
            self, f"Claude panel on thread {self._settings.typed_thread}: run this cell to open it."
        )

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        self._transcript.show(self._exchanges.ended())


def _assign(name: str, value: Any) -> None:
    shell = get_ipython()
    if shell is not None:
        shell.push({name: value})
