"""`--bg`: the cell is done at once, and its answer is drawn in it while others run.

It is drawn on the thread of the frame loop. Displaying from a thread reaches the right cell where the kernel keeps the current
cell in a context variable, because that comes along; elsewhere (ipykernel 6) only a display that stands already can be
updated, so there is one.
"""

from __future__ import annotations

import contextvars
import dataclasses
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..display import (
    AnswerContent,
    OutputSurface,
    QuietSurface,
    StopButton,
    Surface,
    frame_loop,
    publish_final,
)
from ..render import A_WHILE, LAST
from ..runtime import Job, Phase, Question, Reply, ReplySnapshot
from ..schema import SchemaMismatchError
from ._answer import is_silenced, start

if TYPE_CHECKING:
    from ._cell import Cell
    from ._commands import Line

WAITED = "--bg has waited for its answer: outputs are collected here, and none that comes later would be."


def can_answer_in_background(line: Line, cell: Cell) -> bool:
    """Whether `--bg` is asked for, and what is drawn after the end of the cell is seen.

    That is so where a person looks, and nothing collects the outputs. In a terminal nothing is drawn at all.

    Raises:
        UsageError: What is asked for cannot be done by a cell that has ended.
    """
    options, front_end = line.options, cell.front_end
    # As `fix` does by itself.
    if options.background and options.insert_code:
        raise UsageError(
            "The code of this answer goes into a new cell below, which a cell that has ended cannot make. Leave --bg out. "
            "Nothing was sent."
        )
    if not options.background or not front_end.has_kernel:
        return options.background
    return cell.runtime.settings().values.live and front_end.is_attended and not front_end.is_captured


def answer_in_background(line: Line, question: Question, cell: Cell) -> Reply:
    """Ask, and return at once; the answer comes into this cell when it comes.

    Raises:
        ClaudeError: The question could not be sent. What goes wrong later is said in the cell, and by `%claude jobs`.
    """
    reply = start(line, question, cell)
    job = cell.runtime.jobs.find(reply)
    if not cell.front_end.has_kernel:
        print(f"Job {job.number} is on its way; %claude jobs tells how far it is.")
        return reply
    surface = _background_surface(line, cell, job)
    has_button = isinstance(surface, OutputSurface) and _owns_area(cell) and cell.front_end.runs_clicks
    frames = _BackgroundFrames(reply, surface, StopButton(reply.cancel) if has_button else None)
    frame_loop.follow(reply, frames.draw)
    return reply


def _background_surface(line: Line, cell: Cell, job: Job) -> Surface[Any]:
    front_end = cell.front_end
    kept_in = line.options.out or (job.reply.origin.replace("In", "Out") if cell.is_awaited else LAST)
    if line.options.quiet or is_silenced(line):
        failure = AnswerContent(remote_images=False, kept_in=kept_in)

        def show_failure(snapshot: ReplySnapshot) -> None:
            # Where a thread cannot display in this cell, only `%claude jobs` can tell of it.
            if front_end.follows_context and snapshot.phase is Phase.FAILED:
                publish_final(front_end.publisher, failure, snapshot)

        return QuietSurface(show_failure)
    content = AnswerContent(
        remote_images=cell.runtime.settings().values.remote_images,
        remark=f"in the background · %claude stop {job.number} ends it",
        kept_in=kept_in,
    )
    return OutputSurface(front_end.publisher, content, owns_area=_owns_area(cell))


def _owns_area(cell: Cell) -> bool:
    """Whether a thread may open displays in the cell. Elsewhere only a display that stands already can be updated."""
    return cell.is_awaited and cell.front_end.follows_context


class _BackgroundFrames:
    """Draws one answer in the cell that asks now, whichever cell runs by then. Draws its first frame at once."""

    def __init__(self, reply: Reply, surface: Surface[Any], button: StopButton | None) -> None:
        self._reply = reply
        self._surface = surface
        self._button = button
        self._context = contextvars.copy_context()
        surface.draw(reply.snapshot())

    def draw(self) -> float:
        """Show how far it has come; return the seconds after which the next frame may follow."""
        return self._context.run(self._draw)

    def _draw(self) -> float:
        snapshot = self._reply.snapshot()
        if snapshot.phase.is_final:
            self._surface.finish(_with_mismatch(snapshot, self._reply))
            if self._button is not None:
                self._button.close()
            return 0.0
        interval = self._surface.draw(snapshot)
        if self._button is not None and not self._button.is_shown and snapshot.elapsed >= A_WHILE:
            self._button.show()
        return interval


def _with_mismatch(snapshot: ReplySnapshot, reply: Reply) -> ReplySnapshot:
    """Add a note where an answer does not fit the schema that was asked for; there is no cell any more that could fail."""
    if snapshot.error is not None:
        return snapshot
    try:
        reply.parsed  # noqa: B018  (an answer that fits has nothing to say)
    except SchemaMismatchError as error:
        return dataclasses.replace(snapshot, notes=(*snapshot.notes, str(error)))
    return snapshot
