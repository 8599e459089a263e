"""`--bg`: the cell is done at once, and its answer is drawn in it while others run.

It is drawn on the painter's thread. Displaying from a thread reaches the right cell where the kernel keeps what the present
cell is in a context variable, because that comes along; elsewhere (ipykernel 6) only a display that stands already can be
updated, so there is one.
"""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..answers import SchemaMismatchError
from ..live import displays_follow_context, painter
from ..render import A_WHILE, LAST
from ..runtime import Job, Phase, Reply, ReplySnapshot
from ._asking import Asking
from ._clicks import hears_clicks, is_attended
from ._screens import IDLE_INTERVAL, AreaScreen, HandleScreen, Screen, is_captured, publish_final
from ._stop_control import StopControl

if TYPE_CHECKING:
    from ._draft import Draft
    from ._magics import ClaudeMagics

WAITED = "--bg has waited for its answer: outputs are collected here, and none that comes later would be."


def can_answer_in_background(draft: Draft, magics: ClaudeMagics) -> bool:
    """Whether `--bg` is asked for, and what is drawn after the end of the cell is seen.

    That is so where a person sits there, and nothing collects the outputs. In a terminal nothing is drawn at all.

    Raises:
        UsageError: What is asked for cannot be done by a cell that has ended.
    """
    shell = magics.shell
    if draft.options.background and draft.options.insert_code:  # as `fix` does by itself
        raise UsageError(
            "The code of this answer goes into a new cell below, which a cell that has ended cannot make. Leave --bg out. "
            "Nothing was sent."
        )
    if not draft.options.background or not hasattr(shell, "kernel"):
        return draft.options.background
    is_live = magics.runtime().settings().values.live
    return is_live and is_attended(shell) and not is_captured(shell.display_pub)


def in_foreground(draft: Draft) -> Draft:
    """Return the same draft to be waited for; where it was not to be, a note says so."""
    return dataclasses.replace(draft, notes=(*draft.notes, WAITED)) if draft.options.background else draft


def answer_in_background(draft: Draft, magics: ClaudeMagics, *, owns_area: bool) -> Reply:
    """Ask, and return at once; the answer comes into this cell when it comes.

    Args:
        draft: What is asked.
        magics: The magics of the shell that asks.
        owns_area: The cell holds nothing else.

    Raises:
        ClaudeError: The question could not be sent. What goes wrong later is told in the cell, and by `%claude jobs`.
    """
    shell = magics.shell
    cell = magics.cell_keys.next_key(shell)
    reply = Asking(draft, magics, is_awaited=False, cell=cell).start()
    job = magics.runtime().jobs.find(reply)
    if hasattr(shell, "kernel"):
        drawing = _Drawing(job, _choose_screen(draft, magics, job, owns_area=owns_area), magics)
        painter.follow(reply, drawing.draw)
    else:
        print(f"Job {job.number} is on its way; %claude jobs tells how far it is.")
    return reply


class _Drawing:
    """Draws one answer in the cell that asks now, whichever cell runs by then. Draws its first frame at once."""

    def __init__(self, job: Job, screen: Screen, magics: ClaudeMagics) -> None:
        self._reply = job.reply
        self._screen = screen
        self._context = contextvars.copy_context()
        can_show = isinstance(screen, AreaScreen) and hears_clicks(magics.shell)
        self._control = StopControl(job.reply.cancel) if can_show else None
        screen.draw(job.reply.snapshot())

    def draw(self) -> float:
        """Show how far it has come; return the seconds after which the next frame may follow."""
        return self._context.run(self._draw)

    def _draw(self) -> float:
        snapshot = self._reply.snapshot()
        if snapshot.phase.is_final:
            self._screen.finish(_with_mismatch(snapshot, self._reply))
            if self._control is not None:
                self._control.close()
            return 0.0
        interval = self._screen.draw(snapshot)
        if self._control is not None and not self._control.is_shown and snapshot.elapsed >= A_WHILE:
            self._control.show()
        return interval


class _FailureScreen:
    """Nothing, but where it went wrong. Without a context to display in only `%claude jobs` can tell of that."""

    def __init__(self, shell: Any, *, kept_in: str) -> None:
        self.has_cleared = False
        self._publisher = shell.display_pub
        self._kept_in = kept_in
        self._can_show = displays_follow_context(shell)

    def draw(self, snapshot: ReplySnapshot) -> float:
        return IDLE_INTERVAL

    def finish(self, snapshot: ReplySnapshot) -> None:
        if self._can_show and snapshot.phase is Phase.FAILED:
            publish_final(self._publisher, snapshot, remote_images=False, kept_in=self._kept_in)


def _choose_screen(draft: Draft, magics: ClaudeMagics, job: Job, *, owns_area: bool) -> Screen:
    shell = magics.shell
    kept_in = draft.options.out or (job.reply.origin.replace("In", "Out") if owns_area else LAST)
    if draft.options.quiet or draft.prompt.rstrip().endswith(";"):
        return _FailureScreen(shell, kept_in=kept_in)
    screen: Callable[..., Screen] = HandleScreen
    if owns_area and displays_follow_context(shell):
        screen = AreaScreen
    return screen(
        shell.display_pub,
        remote_images=magics.runtime().settings().values.remote_images,
        remark=f"in the background · %claude stop {job.number} ends it",
        kept_in=kept_in,
    )


def _with_mismatch(snapshot: ReplySnapshot, reply: Reply) -> ReplySnapshot:
    """Add a note where an answer does not fit the schema that was asked for; there is no cell any more that could fail."""
    if snapshot.error is not None:
        return snapshot
    try:
        reply.parsed  # noqa: B018  (an answer that fits has nothing to say)
    except SchemaMismatchError as error:
        return dataclasses.replace(snapshot, notes=(*snapshot.notes, str(error)))
    return snapshot
