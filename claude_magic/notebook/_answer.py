"""One answer: start, draw, finish. For cells that are awaited and for those that block."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..client import ClaudeError
from ..display import (
    AnswerContent,
    OutputRecorder,
    Surface,
    choose_surface,
    follow,
    follow_blocking,
    let_interrupts_arrive,
    remark_on_stopping,
    stop_button,
    was_interrupted,
)
from ..render import HIDDEN_IN_CELL, short_traceback
from ..runtime import Phase, Question, Reply
from ..schema import escape_hidden, extract_code
from ._question import settings_of

if TYPE_CHECKING:
    from ..display import Followed
    from ._cell import Cell
    from ._commands import Line

_Error = TypeVar("_Error", bound=BaseException)
_Started = TypeVar("_Started", bound="Followed[Any]")


async def answer(line: Line, question: Question, cell: Cell) -> Reply:
    """Ask, and draw the answer in the cell. Raises as `ask` does."""
    reply, is_interrupted = await follow_to_end(
        lambda: start(line, question, cell), lambda _reply: _surface(line, cell), cell
    )
    check_whole(reply, is_interrupted=is_interrupted)
    finish(reply, line, cell)
    return reply


async def follow_to_end(
    begin: Callable[[], _Started], surface_for: Callable[[_Started], Surface[Any]], cell: Cell
) -> tuple[_Started, bool]:
    """Start something, and draw it until it has ended.

    Args:
        begin: Starts a reply, or several.
        surface_for: Returns what it is drawn on.
        cell: The cell that asks.

    Returns:
        What was started, and whether an interrupt cut it short.
    """
    if not cell.is_awaited:
        started = begin()
        surface = surface_for(started)
        is_interrupted = await wait(started, surface, cell)
        surface.finish(started.snapshot())
        return started, is_interrupted
    with OutputRecorder(cell.front_end.publisher) as recorder:
        started = begin()
        surface = surface_for(started)
        can_stop = surface.is_live
        async with stop_button(cell.front_end, started.cancel) if can_stop else contextlib.nullcontext():
            is_interrupted = await wait(started, surface, cell)
            surface.finish(started.snapshot())
        # One that came while the last frame was drawn counts too: it must keep the next cell from running.
        is_interrupted |= await was_interrupted(let_interrupts_arrive())
    if surface.has_cleared:
        recorder.replay()
    return started, is_interrupted


async def wait(started: Followed[Any], surface: Surface[Any], cell: Cell) -> bool:
    """Draw until the end, and return whether an interrupt cut it short. Where the cell blocks, this blocks."""
    if cell.is_awaited:
        return await was_interrupted(follow(started, surface))
    try:
        follow_blocking(started, surface)
    except KeyboardInterrupt:
        return True
    return False


def start(line: Line, question: Question, cell: Cell) -> Reply:
    """Send a question, and bind the reply to the variable that is named for it.

    Raises:
        ClaudeError: It could not be sent.
    """
    runtime = cell.runtime
    # What it draws on has gone with the previous outputs of the cell.
    runtime.jobs.stop_of_cell(cell.key)
    reply = runtime.start(question, **settings_of(line.options))
    if line.options.background:
        runtime.jobs.add(reply, cell=cell.key)
    # Now, not at the end: the user's own tasks may read it while it grows, and no failure can lose it.
    bind(reply, line, cell)
    return reply


def bind(value: object, line: Line, cell: Cell) -> None:
    """Bind a value to the variable that is named for the reply, if one is."""
    if line.options.out is not None:
        cell.scope.bind(line.options.out, value)


def finish(reply: Reply, line: Line, cell: Cell) -> None:
    """Do with a whole reply what the options ask for.

    Raises:
        SchemaMismatchError: The answer does not fit the schema. The variable keeps the reply.
    """
    options = line.options
    if options.schema:
        found = reply.parsed
        # The variable of a background answer is the reply, also where it was waited for.
        if not options.background:
            bind(found, line, cell)
    if options.insert_code and (code := extract_code(reply.text)):
        shown = escape_hidden(code)
        cell.insert_below(shown)
        if shown != code:
            cell.front_end.say(HIDDEN_IN_CELL)


def check_whole(reply: Reply, *, is_interrupted: bool) -> None:
    """Raise why a reply is not whole, if it is not."""
    # Also by its Stop button, or by another thread: the next cell counts on the whole.
    if reply.phase is Phase.CANCELLED:
        raise KeyboardInterrupt("the answer was stopped.")
    if is_interrupted:
        raise KeyboardInterrupt("the answer had just come to its end.")
    if reply.error is not None:
        raise reply.error


def is_silenced(line: Line) -> bool:
    """Whether the prompt ends with a semicolon."""
    return line.prompt.rstrip().endswith(";")


def shortened(error: _Error, shell: Any) -> _Error:
    """Give an error its short form, if it is an interrupt or one of ours: what happened and what to do, no frames. Return it.

    IPython asks an exception for its own traceback (`_render_traceback_`), so nothing of the shell is patched, and the
    cell fails as it should: Run All stops, `%tb` and `%debug` work. Only what leaves our magics is shortened; an error
    raised in a user's own function keeps its traceback.
    """
    if isinstance(error, (ClaudeError, KeyboardInterrupt)):
        colors = str(getattr(shell, "colors", "")).lower() != "nocolor"
        error._render_traceback_ = lambda: short_traceback(error, colors=colors)  # type: ignore[union-attr]
    return error


def _surface(line: Line, cell: Cell) -> Surface[Any]:
    values, front_end = cell.runtime.settings().values, cell.front_end
    remark = remark_on_stopping(front_end, is_awaited=cell.is_awaited)
    return choose_surface(
        front_end,
        AnswerContent(remote_images=values.remote_images, remark=remark),
        owns_area=cell.is_awaited,
        is_live=values.live,
        is_quiet=line.options.quiet,
        is_silenced=is_silenced(line),
    )
