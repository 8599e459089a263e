"""The tables of `%claude limits`: our own limiter, who waits for it, and what the server says about its own limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ..client import BucketState, PaceState, ServerLimit
from ..render import Bundle, describe_pace, describe_status, render_rows
from ..runtime import ModelLimits, RateLimits, Refusal, Reply
from ._status import limiter_rows

Row = tuple[str, ...]

_SHOWN_MODELS = 5
_SHOWN_REFUSALS = 5


def render_limits(
    limiter: BucketState,
    pace: tuple[PaceState, ...],
    limits: RateLimits,
    in_flight: Sequence[Reply],
    *,
    now: float | None = None,
) -> Bundle:
    """Describe everything that can hold a request up, in HTML and in plain text.

    Args:
        limiter: The shared limiter of this kernel.
        pace: What was learnt of the server's limits.
        limits: What the server has told.
        in_flight: The replies that have not ended.
        now: The present in seconds since 1970, for tests.
    """
    now = time.time() if now is None else now
    groups = [("Limiter of this kernel", list(limiter_rows(limiter)))]
    learnt: list[Row] = [
        (state.model_class, describe_pace(limiter, state)) for state in pace if state.limits or state.held_for
    ]
    if learnt:
        groups.append(("Pace by model, as learnt from the server", learnt))
    if waiting := [row for reply in in_flight if (row := _waiting_row(reply))]:
        groups.append(("Waiting", waiting))
    told = limits.by_model()[:_SHOWN_MODELS]
    groups += [(_heading(each, now), [_limit_row(limit, now) for limit in each.limits]) for each in told]
    if refusals := limits.refusals():
        groups.append(("Refused because of the pace (429)", list(_refusal_rows(refusals, now))))
    notes = [] if told else [_NOTHING_TOLD]
    return render_rows(groups, notes=notes)


_NOTHING_TOLD = "The server has not told its limits: they come with the responses of Claude's API. Other servers tell none."


def _waiting_row(reply: Reply) -> Row:
    snapshot = reply.snapshot()
    line = describe_status(snapshot, time.monotonic()) if snapshot.wait is not None else ""
    return (snapshot.model, line) if line else ()


def _heading(told: ModelLimits, now: float) -> str:
    return f"Server, for {told.model}, as it said {_ago(now - told.told_at)}"


def _limit_row(limit: ServerLimit, now: float) -> Row:
    left = "unknown" if limit.remaining is None else f"{limit.remaining:,}"
    of = "" if limit.limit is None else f" of {limit.limit:,} a minute"
    return (limit.kind, f"{left} left{of}", _reset(limit.resets_at, now))


def _reset(moment: datetime | None, now: float) -> str:
    if moment is None:
        return ""
    seconds = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return "full again by now" if seconds <= 0 else f"full again in {_duration(seconds)}"


def _refusal_rows(refusals: Sequence[Refusal], now: float) -> Iterator[Row]:
    for refusal in refusals[:_SHOWN_REFUSALS]:
        wait = refusal.retry_after
        asked = "without saying for how long" if wait is None else f"for {_duration(wait)}"
        yield refusal.model, f"{_ago(now - refusal.at)}, {asked}"
    if len(refusals) > _SHOWN_REFUSALS:
        yield "", f"and {len(refusals) - _SHOWN_REFUSALS} before that"


def _ago(seconds: float) -> str:
    return "just now" if seconds < 1 else f"{_duration(seconds)} ago"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
