"""Asks one question from a cell: starts the reply, draws it and finishes it.

Awaited and blocking cells use the same coroutine. In a blocking cell, everything that it awaits blocks the current thread
instead, so the coroutine never suspends, and `run_blocking` runs it in one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..display import (
    AnswerActions,
    AnswerContent,
    OutputRecorder,
    QuietSurface,
    Surface,
    choose_surface,
    follow,
    follow_blocking,
    frame_loop,
    let_interrupts_arrive,
    publish_final,
    remark_on_stopping,
    was_interrupted,
)
from ..render import HIDDEN_IN_CELL
from ..runtime import Phase, Question, Reply, ReplySnapshot, stopped_if_left
from ..schema import SchemaMismatchError, escape_hidden, extract_code
from ..tools import interrupts_deferred, interrupts_raised, loop_kept_awake

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..display import ApprovalButtons, Content, Followed
    from ._cell import Cell
    from ._line import Line

_Started = TypeVar("_Started", bound="Followed")
_Result = TypeVar("_Result")


async def answer(line: Line, question: Question, cell: Cell) -> Reply:
    """Ask one model, and return the reply: in flight with `--bg`, else at its end, after it was drawn in the cell.

    Raises:
        KeyboardInterrupt: The cell was interrupted, or the answer was stopped; the partial answer stays.
        ClaudeError: The request failed and the partial answer stays, or it could not be sent.
    """
    if can_answer_in_background(line, cell):
        return _answer_in_background(line, question, cell)
    if line.options.background:
        question = dataclasses.replace(question, outlives_cell=False, notes=(*question.notes, WAITED))
    reply, is_interrupted = await follow_to_end(
        lambda: start(line, question, cell), lambda reply: _surface(reply, line, cell), cell
    )
    offer_actions(reply, line, question, cell)
    check_complete(reply, is_interrupted=is_interrupted)
    finish(reply, line, cell)
    return reply


async def follow_to_end(
    begin: Callable[[], _Started], surface_for: Callable[[_Started], Surface], cell: Cell
) -> tuple[_Started, bool]:
    """Start a reply, comparison or map, and draw it until it ends.

    Args:
        begin: Starts it.
        surface_for: Returns the surface on which it is drawn.
        cell: The cell that asks.

    Returns:
        The started object, and whether an interrupt ended it.
    """
    if not cell.is_awaited:
        with interrupts_deferred():
            started = begin()
            with stopped_if_left(started):
                surface = surface_for(started)
                is_interrupted = await wait(started, surface, cell)
                surface.finish(started.snapshot())
        return started, is_interrupted
    with OutputRecorder(cell.front_end.publisher) as recorder:
        started = begin()
        with stopped_if_left(started):
            surface = surface_for(started)
            async with cell.front_end.shown_as_busy():
                is_interrupted = await wait(started, surface, cell)
                surface.finish(started.snapshot())
        # An interrupt during the last frame counts too: it must keep the next cell from running.
        is_interrupted |= await was_interrupted(let_interrupts_arrive())
    if surface.has_cleared:
        recorder.replay()
    return started, is_interrupted


async def wait(started: Followed, surface: Surface, cell: Cell) -> bool:
    """Draw until the end, and return whether an interrupt ended it. In a blocking cell, this blocks."""
    if cell.is_awaited:
        return await was_interrupted(follow(started, surface))
    try:
        follow_blocking(started, surface)
    except KeyboardInterrupt:
        return True
    return False


async def result_of(future: Future[_Result], cell: Cell, *, timeout: float) -> _Result:
    """Wait for a call on the bridge, and return its result. In a blocking cell, this blocks.

    Raises:
        TimeoutError: There is no result within `timeout` seconds.
        concurrent.futures.CancelledError: The call was cancelled, also because of the timeout.
        KeyboardInterrupt: The cell was interrupted.
    """
    if not cell.is_awaited:
        with interrupts_raised():
            return future.result(timeout)

    async def done() -> None:
        with loop_kept_awake(asyncio.get_running_loop()), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                # The errors of the call are raised below.
                await asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)
        await let_interrupts_arrive()

    if await was_interrupted(done()):
        raise KeyboardInterrupt
    return future.result(0)


def start(line: Line, question: Question, cell: Cell) -> Reply:
    """Send a question, and bind the reply to the variable that `-o` names.

    Raises:
        ClaudeError: The question could not be sent.
    """
    runtime = cell.runtime
    # The cell's previous outputs, where an earlier job of this cell draws, have been removed.
    runtime.jobs.stop_of_cell(cell.key)
    reply = runtime.start(question)
    if line.options.background:
        runtime.jobs.add(reply, cell=cell.key)
    # Bind before the answer is complete: the user's tasks may read it while it streams, and a failure cannot lose it.
    bind(reply, line, cell)
    return reply


def bind(value: object, line: Line, cell: Cell) -> None:
    """Bind a value to the variable that `-o` names, if any."""
    if line.options.out is not None:
        cell.scope.bind(line.options.out, value)


_NO_CODE = "The answer has no code, so there is no new cell."


def finish(reply: Reply, line: Line, cell: Cell) -> None:
    """Apply the options to a complete reply: bind the parsed object, and insert code, or say that there is none.

    Raises:
        SchemaMismatchError: The answer does not match the schema. The variable keeps the reply.
    """
    options = line.options
    if reply.has_schema:
        found = reply.parsed
        # With --bg, the variable keeps the reply, even if the cell waited for the answer.
        if not options.background:
            bind(found, line, cell)
    if options.insert_code:
        code = extract_code(reply.text)
        if not code:
            cell.front_end.say(_NO_CODE)
            return
        shown = escape_hidden(code)
        cell.insert_below(shown)
        if shown != code:
            cell.front_end.say(HIDDEN_IN_CELL)


def check_complete(reply: Reply, *, is_interrupted: bool) -> None:
    """Raise the reason why a reply is incomplete, if it is.

    Raises:
        KeyboardInterrupt: It was stopped, or the cell was interrupted as it ended.
        ClaudeError: It failed.
    """
    # Also if the Stop button or another thread stopped it: the next cell relies on a complete answer.
    if reply.phase is Phase.CANCELLED:
        raise KeyboardInterrupt("the answer was stopped.")
    if is_interrupted:
        raise KeyboardInterrupt("the answer had just ended.")
    if reply.error is not None:
        raise reply.error


def _surface(reply: Reply, line: Line, cell: Cell) -> Surface:
    front_end = cell.front_end
    content = AnswerContent(
        remote_images=cell.settings.remote_images,
        remark=remark_on_stopping(front_end, is_awaited=cell.is_awaited),
        last=front_end.last_reply,
        cell=_cell_with_actions(line, cell),
    )
    in_widgets = cell.is_awaited and front_end.runs_clicks
    return surface_in(content, reply, line, cell, in_widgets=in_widgets, approval=cell.approval)


def surface_in(
    content: Content[Any],
    started: Followed,
    line: Line,
    cell: Cell,
    *,
    in_widgets: bool,
    approval: ApprovalButtons | None = None,
) -> Surface:
    """Return the surface for one or several answers that the cell waits for.

    Args:
        content: The content to show.
        started: The reply or comparison, which a Stop button cancels.
        line: The line, whose options may suppress output.
        cell: The cell that asks.
        in_widgets: Whether to use widgets once an answer has taken a while, if the front end has them.
        approval: Approval buttons, which then appear in the widgets.
    """
    can_stop = cell.is_awaited and cell.front_end.runs_clicks
    return choose_surface(
        cell.front_end,
        content,
        owns_area=cell.is_awaited,
        is_live=cell.is_live,
        is_quiet=line.options.quiet,
        is_silenced=line.is_silenced,
        in_widgets=in_widgets,
        stop=started.cancel if can_stop else None,
        approval=approval,
    )


# `--bg`: the cell ends immediately, and its answer is drawn in it while other cells run.
#
# The frame loop draws it on its own thread. Some kernels keep the current cell in a context variable: there, a thread that runs in
# a copy of the context can open displays in the right cell. Other kernels (ipykernel 6) can only update an existing display from
# a thread, so one is opened in advance.
WAITED = "--bg waited for the answer, because outputs are captured here and later ones would be lost."


def can_answer_in_background(line: Line, cell: Cell) -> bool:
    """Return whether `--bg` is given, and the user will see what is drawn after the cell has ended.

    That is the case if a person watches the front end and the outputs are not captured. In a terminal, nothing is drawn.
    """
    if not line.options.background:
        return False
    return not cell.front_end.has_kernel or (cell.is_live and cell.front_end.is_attended)


def _answer_in_background(line: Line, question: Question, cell: Cell) -> Reply:
    """Ask, and return immediately; the answer is drawn in this cell as it arrives.

    Raises:
        ClaudeError: The question could not be sent. The cell and `%claude jobs` show later errors.
    """
    reply, front_end = start(line, question, cell), cell.front_end
    number = cell.runtime.jobs.find(reply).number
    if not front_end.has_kernel:
        print(f"Job {number} has started; %claude jobs shows its progress.")
        return reply
    value = reply.origin.replace("In", "Out") if cell.is_awaited else front_end.last_reply
    kept_in = line.options.out or value
    if line.options.quiet or line.is_silenced:
        surface: Surface = _failure_surface(cell, kept_in=kept_in)
    else:
        remark = f"in the background · %claude stop {number} ends it"
        surface = _background_surface(reply, line, cell, kept_in=kept_in, remark=remark)
    _draw_reply_in_background(reply, surface, line, question, cell)
    return reply


def _failure_surface(cell: Cell, *, kept_in: str) -> QuietSurface:
    """Return a surface that shows an answer only if it has failed."""
    front_end = cell.front_end
    content = AnswerContent(remote_images=False, kept_in=kept_in)

    def show_failure(snapshot: ReplySnapshot) -> None:
        # If a thread cannot display in this cell, only `%claude jobs` shows the failure.
        if front_end.follows_context and snapshot.phase is Phase.FAILED:
            publish_final(front_end.publisher, content, snapshot)

    return QuietSurface(show_failure)


def _background_surface(reply: Reply, line: Line, cell: Cell, *, kept_in: str, remark: str = "") -> Surface:
    """Return the surface for an answer that is drawn after its cell has ended."""
    front_end = cell.front_end
    content = AnswerContent(
        remote_images=cell.settings.remote_images,
        remark=remark,
        kept_in=kept_in,
        cell=_cell_with_actions(line, cell),
    )
    # In other kernels a thread cannot open displays in the cell, only update an existing one.
    owns_area = cell.is_awaited and front_end.follows_context
    return choose_surface(
        front_end,
        content,
        owns_area=owns_area,
        is_live=True,
        in_widgets=owns_area and front_end.runs_clicks,
        stop=reply.cancel,
        approval=cell.approval,
    )


def _draw_reply_in_background(
    reply: Reply, surface: Surface, line: Line, question: Question, cell: Cell
) -> None:
    def finish(snapshot: ReplySnapshot) -> None:
        surface.finish(_with_schema_note(snapshot, reply))
        offer_actions(reply, line, question, cell)

    draw_in_background(reply, surface.draw, finish)


def draw_in_background(
    started: Followed, draw: Callable[[Any], float], finish: Callable[[Any], None]
) -> None:
    """Draw a reply or map in the current cell until it ends, while other cells run. Draws the first frame immediately.

    Args:
        started: The reply or map.
        draw: Draws a snapshot, and returns the seconds until the next frame may be drawn.
        finish: Draws the last snapshot.
    """
    context = contextvars.copy_context()
    draw(started.snapshot())

    def draw_frame() -> float:
        snapshot = started.snapshot()
        if not snapshot.phase.is_final:
            return draw(snapshot)
        finish(snapshot)
        return 0.0

    frame_loop.follow(started, lambda: context.run(draw_frame))


def _with_schema_note(snapshot: ReplySnapshot, reply: Reply) -> ReplySnapshot:
    """Add a note if an answer does not match its schema: the cell has ended, so it cannot fail."""
    if snapshot.error is not None:
        return snapshot
    try:
        reply.parsed  # noqa: B018  (reading it checks the answer)
    except SchemaMismatchError as error:
        return dataclasses.replace(snapshot, notes=(*snapshot.notes, str(error)))
    return snapshot


def offer_actions(reply: Reply, line: Line, question: Question, cell: Cell) -> None:
    """Show buttons under an answer in its cell, if the front end is watched and handles clicks.

    A separate thread makes the buttons, so that the cell does not wait for the import of ipywidgets.
    """
    front_end, cell_id = cell.front_end, _cell_with_actions(line, cell)
    if not cell_id:
        return
    context = contextvars.copy_context()
    # Tools run on the event loop of the cell, which has ended.
    can_retry = front_end.follows_context and question.tools is None

    def retry() -> None:
        context.copy().run(_ask_again, line, question, cell)

    def offer() -> None:
        with _making_actions:
            session = cell.session
            if session.actions is None:
                session.actions = AnswerActions(cell.shell)
        session.actions.offer(cell_id, reply, retry if can_retry else None)

    threading.Thread(
        target=context.copy().run, args=(offer,), name="claude-magic-actions", daemon=True
    ).start()


_making_actions = threading.Lock()


def _cell_with_actions(line: Line, cell: Cell) -> str:
    """Return the id of the cell if buttons are shown under its answer, else ""."""
    front_end = cell.front_end
    is_shown = cell.is_live and not (line.options.quiet or line.is_silenced)
    return front_end.cell_id if cell.is_awaited and front_end.runs_clicks and is_shown else ""


def _ask_again(line: Line, question: Question, cell: Cell) -> None:
    """Ask again, and draw the answer in place of the previous one, while other cells may run.

    Raises:
        ClaudeError: The question could not be sent. The previous answer stays.
    """
    reply = start(line, dataclasses.replace(question, outlives_cell=True), cell)
    publisher: Any = cell.front_end.publisher
    publisher.clear_output(wait=True)
    surface = _background_surface(reply, line, cell, kept_in=line.options.out or cell.front_end.last_reply)
    _draw_reply_in_background(reply, surface, line, question, cell)
