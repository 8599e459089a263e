"""Renders what can delay requests: the limiter, the limits of the server, waiting replies and 429s."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Final

from ..client import BucketState, PaceState, describe_seconds
from ..runtime import GaugeReading, LimitReading, Refusal
from ._frame import describe_status
from ._reply import Bundle
from ._tables import Group, Row, render_rows

SHOWN_CLASSES: Final = 5
_SHOWN_REFUSALS: Final = 5
_NO_LIMITS: Final = "The server has not reported its limits: Claude's API sends them with each response; other servers may not."


def render_limits(reading: GaugeReading) -> Bundle:
    """Return everything that can delay a request as a table, in HTML and in plain text."""
    groups: list[Group] = [("Limiter of this kernel", list(limiter_rows(reading.limiter)))]
    paces = [(each.name, each.pace) for each in reading.classes if each.pace is not None]
    if learnt := [(name, describe_pace(reading.limiter, pace)) for name, pace in paces]:
        groups.append(("Pace by model, as learnt from the server", learnt))
    snapshots, now = [each.snapshot for each in reading.waiting], time.monotonic()
    if waiting := [(snapshot.model, describe_status(snapshot, now)) for snapshot in snapshots]:
        groups.append(("Waiting", waiting))
    reported = [
        (
            f"Server, for {each.name}, reported {_ago(reading.at - each.received_at)}",
            [(limit.kind, *describe_left(limit)) for limit in each.limits],
        )
        for each in reading.classes[:SHOWN_CLASSES]
        if each.received_at is not None
    ]
    groups += reported
    if refusals := list(_refusal_rows(reading)):
        groups.append(("Recent refusals (429)", refusals))
    return render_rows(groups, notes=[] if reported else [_NO_LIMITS])


def _refusal_rows(reading: GaugeReading) -> Iterator[Row]:
    for refusal in reading.refusals[:_SHOWN_REFUSALS]:
        yield refusal.model, f"{_ago(reading.at - refusal.at)}, {describe_refusal(refusal)}"
    if more := len(reading.refusals[_SHOWN_REFUSALS:]):
        yield "", f"and {more} before that"


def limiter_rows(state: BucketState) -> Iterator[Row]:
    """Yield the table rows of the limiter: free requests, rate, queue and pause."""
    yield "free now", describe_free(state)
    yield "rate", _rate(state.refill_rate)
    yield "queue", ", ".join(filter(None, (f"{state.waiters} waiting", describe_next(state))))
    if state.paused_for:
        yield "paused", _pause(state.paused_for)


def describe_limiter(state: BucketState) -> str:
    """Return the rate, as in "10 requests a second", and why requests currently wait, if they do."""
    words = [_rate(state.refill_rate)]
    if state.paused_for:
        words.append(f"paused {_pause(state.paused_for)}")
    if state.waiters:
        words.append(f"{state.waiters} waiting")
    return " · ".join(words)


def describe_free(state: BucketState) -> str:
    """Return how many requests the limiter would let through at once."""
    return f"{max(0.0, state.level):.1f} of {state.capacity:g} requests"


def describe_next(state: BucketState) -> str:
    """Return when the limiter lets the next request through; "" if at once, or not known."""
    wait = state.next_grant
    if wait is None and state.level < 1 and not state.paused_for:
        wait = (1 - state.level) / state.refill_rate
    return "" if wait is None else f"the next request is sent in {wait:.1f} s"


def describe_pace(limiter: BucketState, state: PaceState) -> str:
    """Describe the current rate limit of one model class.

    Args:
        limiter: The shared limiter, with the configured rate.
        state: The limits of the class, as learnt from the server.
    """
    return "; ".join(_clauses(limiter, state))


def _clauses(limiter: BucketState, state: PaceState) -> Iterator[str]:
    allowed = state.requests_per_second
    if allowed is not None and allowed < limiter.refill_rate:
        yield (
            f"{_rate(float(f'{allowed:.3g}'))} in the long run, not {limiter.refill_rate:g}, because the server allows "
            f"{allowed * 60:,.0f} a minute"
        )
    else:
        yield f"{_rate(limiter.refill_rate)} as configured"
    if used_up := [limit.kind for limit in state.limits if limit.level < 1]:
        yield f"waits for {' and '.join(used_up)} to refill"
    if state.paused_for:
        yield f"paused {_pause(state.paused_for)}"
    if state.waiting:
        yield f"{state.waiting} waiting"


def _rate(rate: float) -> str:
    return f"{rate:g} {'request' if rate == 1 else 'requests'} a second"


def _pause(seconds: float) -> str:
    return f"for {math.ceil(seconds)} s, as the server asked"


def describe_left(limit: LimitReading) -> tuple[str, str]:
    """Return how much of a limit of the server is left, and when it is full again, "" if that is not known."""
    left = "unknown" if limit.left is None else f"{math.floor(limit.left):,}"
    of = "" if limit.limit is None else f" of {limit.limit:,}"
    seconds = limit.full_in
    when = "by now" if not seconds else f"in {describe_seconds(math.ceil(seconds))}"
    return f"{left}{of} left this minute", "" if seconds is None else f"full again {when}"


def describe_refusal(refusal: Refusal) -> str:
    """Return how long a 429 asked to wait."""
    if refusal.retry_after is None:
        return "did not say how long to wait"
    return f"asked to wait {describe_seconds(refusal.retry_after)}"


def _ago(seconds: float) -> str:
    if seconds < 1:
        return "just now"
    if seconds < 120:
        return f"{round(seconds)} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
