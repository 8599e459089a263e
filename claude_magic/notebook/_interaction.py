"""What goes on between the controls of a cell and Claude: what is asked when, and what is remembered.

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

from ..client import ClaudeError, MessageRequest
from ..runtime import Phase, Question, Reply, Where
from ..schema import SchemaMismatchError
from ._answer import bind, finish, start
from ._names import DEFAULT_THREAD
from ._question import settings_of

if TYPE_CHECKING:
    from ._cell import Cell
    from ._commands import Line

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One state of the controls, and its answer.

    Attributes:
        values: What the controls say, by name.
        question: What is asked.
        request: What is sent.
        key: Equal where the same is sent.
        reply: The answer, which may be on its way.
    """

    values: Values
    question: Question
    request: MessageRequest
    key: str
    reply: Reply

    @property
    def label(self) -> str:
        """The values in a line: `n = 3, city = 'Oslo'`."""
        return ", ".join(f"{name} = {value!r}" for name, value in self.values.items())


_Planned = tuple[Values, Question, MessageRequest]


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
        line: What the cell says.
        cell: The cell that asks.
        read: Returns what the controls say.
        question_for: Makes what is asked for that.
    """

    def __init__(
        self,
        line: Line,
        cell: Cell,
        *,
        read: Callable[[], Values],
        question_for: Callable[[Values], Question],
    ) -> None:
        self._line = line
        self._cell = cell
        self._read = read
        self._question_for = question_for
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

    def plan_first(self) -> _Planned:
        """Return what is to be asked for the state that the controls are in, in the cell that runs.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        return self._plan(self._read(), is_first=True)

    def begin(self, planned: _Planned, view: View) -> State:
        """Ask it, and show the answers here from now on.

        Raises:
            ClaudeError: It could not be sent.
        """
        self._view = view
        with self._lock:
            return self._send(planned)

    def settle(self) -> None:
        """Show the answer to the state that the controls are in: a remembered one, or a new one."""
        with self._lock:
            try:
                self._settle(self._read())
            except ClaudeError as error:
                self._tell(error.message)

    def forget_current(self) -> None:
        """Forget the answer that is shown, so that it is asked for again."""
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
                finish(state.reply, self._line, self._cell)
            except SchemaMismatchError as error:
                self._tell(error.message)

    def _settle(self, values: Values) -> None:
        planned = self._plan(values, is_first=False)
        key = _key(planned)
        if self.current is not None and self.current.key == key and not _is_cut(self.current):
            return
        left, known = self.current, self._states.get(key)
        if known is None or _is_cut(known):
            self._send(planned)
        else:
            self._return_to(known)
        # Only now: a cell that waits for it must find what it is to wait for instead.
        if left is not None:
            left.reply.cancel()

    def _plan(self, values: Values, *, is_first: bool) -> _Planned:
        question = self._question_for(values)
        if is_first:
            self._origin = question.origin
        else:
            question = self._later(question)
        plan = self._cell.runtime.plan(question, settings_of(self._line.options))
        return values, question, plan.request

    def _later(self, question: Question) -> Question:
        """Return the question of a state that is asked when the cell has ended, or other cells have asked since."""
        where = question.where
        if where is not None:
            where = dataclasses.replace(where, is_beside=self._is_left_behind(where))
        return dataclasses.replace(question, where=where, outlives_cell=True, origin=self._origin)

    def _is_left_behind(self, where: Where) -> bool:
        """Whether the conversation has gone on from the cell, or is about to: another question of it is on its way."""
        runtime, thread = self._cell.runtime, where.thread or DEFAULT_THREAD
        others = [reply for reply in runtime.in_flight() if reply not in self._asked]
        is_last = runtime.conversations.ends_in(where.cell, thread=where.thread)
        return not is_last or any(reply.thread == thread for reply in others)

    def _send(self, planned: _Planned) -> State:
        values, question, request = planned
        reply = start(self._line, question, self._cell)
        state = State(values, question, request, _key(planned), reply)
        self._states[state.key] = state
        self._asked.append(reply)
        self._show(state, is_remembered=False)
        return state

    def _return_to(self, state: State) -> None:
        """Show a remembered state, and let the conversation end in it if it ends in this cell."""
        left, where = self.current, state.question.where
        self._show(state, is_remembered=True)
        bind(state.reply, self._line, self._cell)
        self.finish(state)
        if where is None:
            return
        conversations = self._cell.runtime.conversations

        def end_here() -> None:
            conversations.return_to(state.request.messages[-1], cell=where.cell, thread=where.thread)

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


def _key(planned: _Planned) -> str:
    return planned[2].model_dump_json()
