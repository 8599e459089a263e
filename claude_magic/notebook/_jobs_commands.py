"""`%claude jobs` and `%claude stop`: what is on its way, how background cells ended, and ending one by its number."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from ..render import describe_cost, describe_status, render_notice, render_rows
from ..runtime import Job, Phase, ReplySnapshot

if TYPE_CHECKING:
    from ._magics import ClaudeMagics

_COLUMNS = ("job", "asked in", "question", "model", "state", "seconds", "price")
_NUMBERS = (0, 5, 6)
_QUESTION_CHARS = 40
_STATE_CHARS = 70
"""The whole error stands in the cell that asked."""
_MOST_LISTED = 5


def jobs(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Show the answers that are on their way, from wherever they were asked for, and the last ones of background cells."""
    known = magics.runtime().jobs.all()
    if not known:
        _say(magics, "Nothing is on its way, and no cell has asked with --bg.")
        return
    now = time.monotonic()
    bundle = render_rows([("", [_row(job, now) for job in known])], columns=_COLUMNS, numbers=_NUMBERS)
    magics.show(bundle.data, bundle.metadata)


def stop(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Stop one answer, or all; what has come of them stays. Without a number, the only one there is.

    Raises:
        UsageError: There is no job of this number, or there are several and none is named.
    """
    known, which = magics.runtime().jobs.all(), arguments.get("job", "")
    running = [job for job in known if not job.reply.done()]
    if which.isdecimal():
        named = [job for job in known if job.number == int(which)]
        if not named:
            raise UsageError(f"There is no job {which}. %claude jobs lists them. Nothing was stopped.")
        if named[0].reply.done():
            _say(magics, f"Job {which} has ended already.")
            return
        running = named
    elif not running:
        _say(magics, "Nothing is on its way, so nothing was stopped.")
        return
    elif which != "all" and len(running) > 1:
        raise UsageError(
            f"{len(running)} answers are on their way: {_list(running)}. Say which: %claude stop {running[-1].number}, or "
            "%claude stop all. Nothing was stopped."
        )
    for job in running:
        job.reply.cancel()
    _say(magics, f"Stopped {_list(running)}. What had come stays.")


def _row(job: Job, now: float) -> tuple[str, ...]:
    snapshot = job.reply.snapshot()
    return (
        str(job.number),
        job.reply.origin,
        _excerpt(job.reply.prompt, _QUESTION_CHARS),
        snapshot.model,
        _excerpt(_describe(snapshot, now), _STATE_CHARS),
        f"{snapshot.elapsed:.1f}",
        describe_cost(snapshot),
    )


def _describe(snapshot: ReplySnapshot, now: float) -> str:
    match snapshot.phase:
        case Phase.COMPLETE:
            return "done"
        case Phase.CANCELLED:
            return "stopped"
        case Phase.FAILED:
            error = snapshot.error
            return "failed" if error is None else f"failed: {type(error).__name__}: {error.message}"
    return describe_status(snapshot, now) or "streaming…"


def _list(jobs: Sequence[Job]) -> str:
    named = ", ".join(f"job {job.number} ({job.reply.origin})" for job in jobs[:_MOST_LISTED])
    return named if len(jobs) <= _MOST_LISTED else f"{named} and {len(jobs) - _MOST_LISTED} more"


def _excerpt(text: str, most: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _say(magics: ClaudeMagics, line: str) -> None:
    bundle = render_notice(line)
    magics.show(bundle.data, bundle.metadata)
