"""What was learnt of the server's pace, in words: how fast requests may go, and why not faster."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..client import BucketState, PaceState


def describe_pace(limiter: BucketState, state: PaceState) -> str:
    """Describe what holds for one class of models.

    Args:
        limiter: The shared limiter, with the configured rate.
        state: What was learnt of the class.
    """
    return "; ".join(_clauses(limiter, state))


def _clauses(limiter: BucketState, state: PaceState) -> Iterator[str]:
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
