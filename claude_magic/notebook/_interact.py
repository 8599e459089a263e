"""`--interact n`: controls for variables of the prompt, and an answer for each state of the controls.

The cell asks for the initial state of the controls, and ends when that is answered. After that, a change of the controls asks by
itself, once they have not changed for a moment (`PAUSE`). Answers are remembered by the whole request, so that the same request is not
paid for twice; the same control values can make a different request, because a prompt can use other variables too.

All states are asked at the cell's place in the conversation. Until the conversation continues from the cell, it ends with the state
that is shown; afterwards, further states are asked on branches of their own.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import anywidget
import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, display
from ipywidgets import ValueWidget

from ..client import ClaudeError, MessageRequest, counted
from ..context import last_reply_in
from ..conversation import MAIN_THREAD
from ..display import (
    FRAME_INTERVAL,
    IDLE_INTERVAL,
    QuietSurface,
    Timer,
    frame_loop,
    interval_after,
    let_interrupts_arrive,
    route_to_subshell,
    was_interrupted,
)
from ..display.widgets import BlockColumn, close_all, in_words, page_source
from ..render import (
    TRANSCRIPT_CLASS,
    describe_status,
    describe_total_cost,
    in_widget,
    render_footer,
    render_line,
    render_state,
)
from ..runtime import Phase, Question, Reply, ReplySnapshot, Where
from ..schema import SchemaMismatchError
from ._answer import answer, bind, check_complete, finish, start, wait
from ._cell import View
from ._controls import make_controls, own_controls, present_values
from ._question import ask_prompt, collect_attachments

if TYPE_CHECKING:
    from ._cell import Cell
    from ._line import Line

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One state of the controls, and its answer.

    Attributes:
        values: The values of the controls, by name.
        question: The question for these values.
        request: The request that is sent.
        key: The request as a string, by which answers are remembered.
        reply: The answer, which may be in flight.
    """

    values: Values
    question: Question
    request: MessageRequest
    key: str
    reply: Reply

    @property
    def label(self) -> str:
        """The values on one line: `n = 3, city = 'Oslo'`."""
        return ", ".join(f"{name} = {value!r}" for name, value in self.values.items())


_Planned = tuple[Values, Question, MessageRequest]


class StateView(View, Protocol):
    """Shows the states. Its methods may be called on any thread."""

    def open(self) -> None:
        """Display the controls in the running cell."""

    def show(self, state: State, *, is_remembered: bool) -> None:
        """Show a state's answer, and update it while it streams."""

    def show_message(self, line: str) -> None:
        """Show why there is no answer."""


class Interaction:
    """The states of a cell's controls: asks for them, and remembers their answers. Any thread may call its methods.

    Args:
        line: The parsed cell.
        cell: The cell that asks.
        read: Returns the current values of the controls.
        question_for: Returns the question for values of the controls.
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
        # Both are set by `begin`.
        self._view: StateView
        self._origin: str
        self._states: dict[str, State] = {}
        self._asked: list[Reply] = []
        self.current: State | None = None
        """The state that is shown."""

    @property
    def asked(self) -> tuple[Reply, ...]:
        """All replies, oldest first."""
        return tuple(self._asked)

    def begin(self, view: StateView) -> State:
        """Open the view, send the request for the current state of the controls, and show this and all later answers.

        Raises:
            ConfigurationError: The question cannot be sent. The view is closed without having been opened.
            ClaudeError: The request could not be sent.
        """
        values = self._read()
        try:
            question = self._question_for(values)
            planned = self._plan(values, question)
        except BaseException:
            view.close()
            raise
        self._origin = question.origin
        self._view = view
        self._cell.keep_view(view)
        view.open()
        with self._lock:
            return self._send(planned)

    def refresh(self) -> None:
        """Show the answer for the current state of the controls: a remembered one, or a new one."""
        with self._lock:
            try:
                self._refresh(self._read())
            except ClaudeError as error:
                self._view.show_message(error.message)

    def forget_current(self) -> None:
        """Cancel and forget the answer that is shown, so that the next refresh asks again."""
        current, self.current = self.current, None
        if current is not None:
            self._states.pop(current.key, None)
            current.reply.cancel()

    def stop(self) -> None:
        """Stop the answer in flight; what has arrived stays."""
        current = self.current
        if current is not None:
            current.reply.cancel()

    def finish(self, state: State) -> None:
        """Apply the options to a complete answer, if its state is still shown."""
        if state is self.current and state.reply.phase is Phase.COMPLETE:
            try:
                finish(state.reply, self._line, self._cell)
            except SchemaMismatchError as error:
                self._view.show_message(error.message)

    def _refresh(self, values: Values) -> None:
        planned = self._plan(values, self._later(self._question_for(values)))
        key = _key(planned)
        if self.current is not None and self.current.key == key and not _is_cut(self.current):
            return
        previous, known = self.current, self._states.get(key)
        if known is None or _is_cut(known):
            self._send(planned)
        else:
            self._return_to(known)
        # Cancel it last: a cell that waits for it must then find the state to wait for instead.
        if previous is not None:
            previous.reply.cancel()

    def _plan(self, values: Values, question: Question) -> _Planned:
        return values, question, self._cell.runtime.plan(question).request

    def _later(self, question: Question) -> Question:
        """Return the question for a state after the first, which is asked when the cell has ended or other cells may have asked."""
        where = question.where
        if where is not None:
            where = dataclasses.replace(where, is_side_branch=self._is_continued(where))
        return dataclasses.replace(question, where=where, outlives_cell=True, origin=self._origin)

    def _is_continued(self, where: Where) -> bool:
        """Return whether the conversation continues after the cell, or will: another of its questions is in flight."""
        runtime, thread = self._cell.runtime, where.thread or MAIN_THREAD
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
        """Show a remembered state. If the conversation ends in this cell, make it end with this state."""
        previous, where = self.current, state.question.where
        self._show(state, is_remembered=True)
        bind(state.reply, self._line, self._cell)
        self.finish(state)
        if where is None:
            return
        conversations = self._cell.runtime.conversations

        def end_here() -> None:
            conversations.return_to(state.request.messages[-1], cell=where.cell, thread=where.thread)

        if previous is None:
            end_here()
        else:  # the previous reply becomes a turn when it ends, even if it is partial
            previous.reply.when_done(end_here)

    def _show(self, state: State, *, is_remembered: bool) -> None:
        self.current = state
        self._view.show(state, is_remembered=is_remembered)


def _is_cut(state: State) -> bool:
    return state.reply.phase in (Phase.FAILED, Phase.CANCELLED)


def _key(planned: _Planned) -> str:
    return planned[2].model_dump_json()


async def interact(line: Line, cell: Cell) -> Reply:
    """Show the controls, and wait for the first answer.

    Raises:
        KeyboardInterrupt: The cell was interrupted. The controls stay.
        ClaudeError: The first request failed. The controls stay.
        ConfigurationError: The controls cannot be made. Nothing was sent.
    """
    present = present_values(line, cell)
    # Collect attachments once, so that moving a slider does not change them.
    attachments = collect_attachments(line.options, cell)
    controls = make_controls(present)
    own = own_controls(controls, present)

    def read() -> Values:
        return {name: control.value for name, control in controls.items()}

    def question_for(values: Values) -> Question:
        return ask_prompt(line, cell, attachments, values)

    if not (cell.is_live and cell.front_end.has_widgets):
        return await _ask_once(line, cell, own, read(), question_for)
    interaction = Interaction(line, cell, read=read, question_for=question_for)
    view = InteractionView(interaction, controls, own=own, remote_images=cell.settings.remote_images)
    state = interaction.begin(view)
    while not (is_interrupted := await wait(state.reply, QuietSurface(), cell)):
        if interaction.current in (state, None):
            break
        # The user has changed the controls while the cell was waiting.
        state = interaction.current or state
    if cell.is_awaited:
        is_interrupted |= await was_interrupted(let_interrupts_arrive())
    check_complete(state.reply, is_interrupted=is_interrupted)
    finish(state.reply, line, cell)
    return state.reply


async def _ask_once(
    line: Line, cell: Cell, own: list[ValueWidget], values: Values, question_for: Callable[[Values], Question]
) -> Reply:
    """Ask once, for a front end that cannot show controls, with a note that says so."""
    close_all(own)
    shown = ", ".join(f"{name} = {value!r}" for name, value in values.items())
    note = f"There are no controls here, so --interact asked once, with {shown}."
    question = question_for(values)
    return await answer(line, dataclasses.replace(question, notes=(*question.notes, note)), cell)


PAUSE: Final = 0.5
"""Seconds without a change of the controls before a request is sent."""

_CLASS: Final = "claude-magic-interact"
_PREVIOUS: Final = "claude-magic-previous"
_HERE: Final = Path(__file__).parent


class PageSide(anywidget.AnyWidget):
    """The front-end part of one view. It shows nothing itself: it labels sliders, and detects that the kernel is gone."""

    _esm = page_source("js", _HERE / "_interact.js")
    _css = page_source("css", _HERE / "_interact.css")


class InteractionView:
    """Shows the controls and answers in the running cell.

    A second output, hidden while the view is active, holds the answer for the saved notebook.

    Args:
        interaction: The states behind the view.
        controls: The controls, by the names of their variables.
        own: The controls that the view may style and close; the others are widgets of the user's.
        remote_images: Whether to load images from other hosts.
    """

    def __init__(
        self,
        interaction: Interaction,
        controls: Mapping[str, ValueWidget],
        *,
        own: Sequence[ValueWidget],
        remote_images: bool,
    ) -> None:
        self._interaction = interaction
        self._controls = tuple(controls.values())
        self._own = tuple(own)
        self._remote_images = remote_images
        self._lock = threading.RLock()
        self._state: State | None = None
        self._is_remembered = False
        self._has_drawn = False
        self._is_open = False
        self._timer = Timer(interaction.refresh, name="claude-magic-interact")
        self._blocks = BlockColumn(remote_images=remote_images)
        self._line = self._blocks.block()
        self._footer = self._blocks.block()
        self._stop = _action("Stop", "Stop this answer. What has arrived stays.", interaction.stop)
        self._stop.icon = "stop"
        self._again = _action("Ask again", "Ask again with these values; it costs again.", self._ask_again)
        self._buttons = ipywidgets.HBox(_dom_classes=["claude-magic-buttons"])
        self._row = ipywidgets.VBox(self._controls, _dom_classes=["claude-magic-controls"])
        self._box = ipywidgets.VBox(
            [
                PageSide(_dom_classes=["claude-magic-page-side"]),
                self._row,
                self._line,
                self._blocks.box,
                self._footer,
                self._buttons,
            ],
            _dom_classes=[_CLASS],
        )
        self._transcript = DisplayHandle()

    def open(self) -> None:
        """Display the view in the running cell, and observe the controls."""
        names = ", ".join(control.description for control in self._controls if control.description)
        display(
            in_words(self._box, f"Controls for {names or 'the prompt'}: run this cell to use them."), raw=True
        )
        nothing = {"text/html": f'<div class="{TRANSCRIPT_CLASS}"></div>', "text/plain": ""}
        self._transcript.display(nothing, raw=True)
        route_to_subshell(*self._own, self._stop, self._again)
        for control in self._controls:
            control.observe(self._on_change, "value")
        self._is_open = True

    def close(self) -> None:
        """Stop observing, stop the answer in flight, and close all widgets except the user's own."""
        self._timer.stop()
        for control in self._controls if self._is_open else ():
            control.unobserve(self._on_change, "value")
        self._interaction.stop()
        self._row.children = self._own  # so that the user's own widgets are not closed
        close_all((self._box, self._stop, self._again, *self._blocks.shared_looks))

    # Called by the interaction

    def show(self, state: State, *, is_remembered: bool) -> None:
        """Show a state's answer, and update it while it streams."""
        with self._lock:
            self._state, self._is_remembered, self._has_drawn = state, is_remembered, False
            self._blocks.start_over()
            self._blocks.box.add_class(_PREVIOUS)
            self._buttons.children = (self._stop,)
        frame_loop.follow(state.reply, lambda: self._draw(state))

    def show_message(self, line: str) -> None:
        """Show why there is no answer."""
        with self._lock:
            self._line.value = in_widget(render_line(line))

    # User actions

    def _on_change(self, _change: object) -> None:
        self._timer.call_in(PAUSE)

    def _ask_again(self) -> None:
        self._interaction.forget_current()
        self._timer.call_in(0.0)

    # Drawing

    def _draw(self, state: State) -> float:
        with self._lock:
            if state is not self._state:
                return IDLE_INTERVAL
            snapshot = state.reply.snapshot()
            if snapshot.phase.is_final:
                self._finish(state, snapshot)
                return 0.0
            self._line.value = in_widget(render_line(self._describe(state, snapshot)))
            # Keep the previous answer until the first text of this one, so that the page does not jump.
            if not snapshot.text and not self._has_drawn:
                return FRAME_INTERVAL
            self._has_drawn = True
            self._blocks.box.remove_class(_PREVIOUS)
            self._footer.value = ""
            return interval_after(self._blocks.draw(snapshot))

    def _finish(self, state: State, snapshot: ReplySnapshot) -> None:
        self._blocks.finish(snapshot)
        self._blocks.box.remove_class(_PREVIOUS)
        self._line.value = in_widget(render_line(self._describe(state, snapshot)))
        totals = render_line(_describe_totals(self._interaction.asked))
        kept_in = last_reply_in(get_ipython())
        self._footer.value = in_widget(render_footer(snapshot, kept_in=kept_in) + totals)
        self._buttons.children = (self._again,)
        if snapshot.text or snapshot.phase is Phase.COMPLETE:
            bundle = render_state(state.label, snapshot, remote_images=self._remote_images, kept_in=kept_in)
            self._transcript.update(bundle.data, metadata=bundle.metadata, raw=True)
        self._interaction.finish(state)

    def _describe(self, state: State, snapshot: ReplySnapshot) -> str:
        remembered = "remembered, nothing was sent" if self._is_remembered else ""
        status = describe_status(snapshot, time.monotonic())
        return " · ".join(part for part in (state.label, status, remembered) if part)


def _describe_totals(asked: Sequence[Reply]) -> str:
    price = describe_total_cost(reply.snapshot() for reply in asked)
    return f"{counted(len(asked), 'request')} sent by these controls{f' · {price} in total' if price else ''}"


def _action(label: str, tooltip: str, on_click: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(
        description=label,
        tooltip=tooltip,
        layout=ipywidgets.Layout(width="auto", height="26px", margin="2px 0"),
    )
    button.on_click(lambda _button: on_click())
    return button
