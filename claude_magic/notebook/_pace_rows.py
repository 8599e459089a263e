"""What was learnt of the server's pace, in words: how fast requests may go, and why not faster."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..client import BucketState, PaceState

Row = tuple[str, ...]


def pace_rows(limiter: BucketState, pace: tuple[PaceState, ...]) -> Iterator[Row]:
    """Describe each class of models of which the server has told limits lately.

    Args:
        limiter: The shared limiter, with the configured rate.
        pace: What was learnt.
    """
    for state in pace:
        if state.limits or state.held_for:
            yield state.model_class, "; ".join(_sentences(limiter, state))


def _sentences(limiter: BucketState, state: PaceState) -> Iterator[str]:
    allowed = state.requests_per_second
    if allowed is not None and allowed < limiter.refill_rate:
        yield (
            f"{allowed:.3g} requests/s in the long run, not {limiter.refill_rate:g}, because the server allows "
            f"{allowed * 60:,.0f} a minute"
        )
    else:
        yield f"{limiter.refill_rate:g} requests/s as configured"
    if used_up := [limit.kind for limit in state.limits if limit.level < 1]:
        yield f"waits for {' and '.join(used_up)} to flow in again"
    if state.held_for:
        yield f"held back for {math.ceil(state.held_for)} s after a 429"
    if state.waiting:
        yield f"{state.waiting} waiting"
