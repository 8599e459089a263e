"""The controls of one cell and the answers to their states: what is asked when, and what is remembered.

A state is asked when the controls have been left alone for a moment. Its answer is remembered with all that was sent for
it, so that the same state is not paid for twice; what is sent may change by itself, because a prompt speaks of other
variables too.

The cell has its place in the conversation, and each state asks there. As long as nothing goes on from the cell, the conversation ends
with the state that is shown; afterwards, further states are asked beside it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..answers import SchemaMismatchError
from ..client import ClaudeError, MessageRequest
from ..runtime import Phase, Question, Reply, Where
from ._asking import Asking, settings_of
from ._surroundings import DEFAULT_THREAD

if TYPE_CHECKING:
    from ._draft import Draft
    from ._magics import ClaudeMagics

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What is asked for one state of the controls.

    Attributes:
        values: What the controls say, by name.
        asking: Asks it.
        request: What is sent.
    """

    values: Values
    asking: Asking
    request: MessageRequest

    @property
    def key(self) -> str:
        """Equal where the same is sent."""
        return self.request.model_dump_json()


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One state of the controls, and its answer.

    Attributes:
        asked: What was asked.
        key: Its key.
        reply: The answer, which may be on its way.
    """

    asked: Prepared
    key: str
    reply: Reply

    @property
    def label(self) -> str:
        """The values in a line: `n = 3, city = 'Oslo'`."""
        return ", ".join(f"{name} = {value!r}" for name, value in self.asked.values.items())

    def finish(self) -> None:
        """Do with the whole answer what the options ask for.

        Raises:
            SchemaMismatchError: The answer does not fit the schema.
        """
        self.asked.asking.finish(self.reply)


class View(Protocol):
    """Where the states are seen. Its methods are called on any thread."""

    def show(self, state: State, *, is_remembered: bool) -> None:
        """Show a state's answer, while it grows or as it is."""

    def tell(self, line: str) -> None:
        """Say why there is no answer."""

    def close(self) -> None:
        """Ask no more."""


class Interaction:
    """What goes on between the controls of a cell and Claude. Every method may be called from any thread.

    Args:
        magics: The magics of the shell that asks.
        cell: What tells the cell from others.
        read: Returns what the controls say.
        make_draft: Makes what is sent for that.
    """

    def __init__(
        self,
        magics: ClaudeMagics,
        *,
        cell: str | None,
        read: Callable[[], Values],
        make_draft: Callable[[Values], Draft],
    ) -> None:
        self._magics = magics
        self._cell = cell
        self._read = read
        self._make_draft = make_draft
        self._lock = threading.RLock()
        self._view: View | None = None
        self._origin = ""
        self._states: dict[str, State] = {}
        self._asked: list[Reply] = []
        self.current: State | None = None
        """The state that is shown."""

    @property
    def asked(self) -> tuple[Reply, ...]:
        """All answers that were asked for, oldest first."""
        return tuple(self._asked)

    def prepare(self) -> Prepared:
        """Return what is to be asked for the state that the controls are in, in the cell that runs.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        return self._prepare(self._read(), is_first=True)

    def begin(self, prepared: Prepared, view: View) -> State:
        """Ask it, and show the answers here from now on.

        Raises:
            ClaudeError: It could not be sent.
        """
        self._view = view
        with self._lock:
            return self._send(prepared)

    def settle(self) -> None:
        """Show the answer to the state that the controls are in: a remembered one, or a new one."""
        with self._lock:
            try:
                self._settle(self._read())
            except ClaudeError as error:
                self._tell(error.message)

    def forget_current(self) -> None:
        """Forget the answer that is shown, so that it is asked for anew."""
        current, self.current = self.current, None
        if current is not None:
            self._states.pop(current.key, None)
            current.reply.cancel()

    def stop(self) -> None:
        """Stop the answer that is on its way; what has come of it stays."""
        current = self.current
        if current is not None:
            current.reply.cancel()

    def finish(self, state: State) -> None:
        """Do with a whole answer what the options ask for."""
        if state is self.current and state.reply.phase is Phase.COMPLETE:
            try:
                state.finish()
            except SchemaMismatchError as error:
                self._tell(error.message)

    def _settle(self, values: Values) -> None:
        prepared = self._prepare(values, is_first=False)
        key = prepared.key
        if self.current is not None and self.current.key == key and not _is_cut(self.current):
            return
        left, known = self.current, self._states.get(key)
        if known is None or _is_cut(known):
            self._send(prepared)
        else:
            self._return_to(known)
        if left is not None:  # only now: a cell that waits for it must find what it is to wait for instead
            left.reply.cancel()

    def _prepare(self, values: Values, *, is_first: bool) -> Prepared:
        draft = self._make_draft(values)
        asking = Asking(draft, self._magics, is_awaited=False, cell=self._cell)
        if is_first:
            self._origin = asking.question.origin
        else:
            asking.question = self._later(asking.question)
        plan = self._magics.runtime().plan(asking.question, settings_of(draft.options))
        return Prepared(values, asking, plan.request)

    def _later(self, question: Question) -> Question:
        """Return the question of a state that is asked when the cell has ended, or other cells have asked since."""
        where = question.where
        if where is not None:
            where = dataclasses.replace(where, is_beside=self._is_left_behind(where))
        return dataclasses.replace(question, where=where, outlives_cell=True, origin=self._origin)

    def _is_left_behind(self, where: Where) -> bool:
        """Whether the conversation has gone on from the cell, or is about to: another question of it is on its way."""
        runtime, thread = self._magics.runtime(), where.thread or DEFAULT_THREAD
        others = [reply for reply in runtime.in_flight() if reply not in self._asked]
        is_last = runtime.conversations.ends_in(where.cell, thread=where.thread)
        return not is_last or any(reply.thread == thread for reply in others)

    def _send(self, prepared: Prepared) -> State:
        state = State(prepared, prepared.key, prepared.asking.start())
        self._states[state.key] = state
        self._asked.append(state.reply)
        self._show(state, is_remembered=False)
        return state

    def _return_to(self, state: State) -> None:
        """Show a remembered state, and let the conversation end in it if it ends in this cell."""
        left, where = self.current, state.asked.asking.question.where
        self._show(state, is_remembered=True)
        state.asked.asking.bind(state.reply)
        self.finish(state)
        if where is None:
            return
        conversations = self._magics.runtime().conversations

        def end_here() -> None:
            conversations.return_to(state.asked.request.messages[-1], cell=where.cell, thread=where.thread)

        if left is None:
            end_here()
        else:  # what was left behind becomes a turn when it has ended, if only of its beginning
            left.reply.when_done(end_here)

    def _show(self, state: State, *, is_remembered: bool) -> None:
        self.current = state
        if self._view is not None:
            self._view.show(state, is_remembered=is_remembered)

    def _tell(self, line: str) -> None:
        if self._view is not None:
            self._view.tell(line)


def _is_cut(state: State) -> bool:
    return state.reply.phase in (Phase.FAILED, Phase.CANCELLED)
