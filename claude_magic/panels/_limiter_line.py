"""The state of the limiter that all requests share, in a few words."""

from __future__ import annotations

import math

from ..client import BucketState


def describe_limiter(state: BucketState) -> str:
    """Return "10 requests a second", and why nothing is sent at present, where that is so."""
    rate = f"{state.refill_rate:g} {'request' if state.refill_rate == 1 else 'requests'} a second"
    if state.paused_for > 0:
        return f"{rate} · paused for {math.ceil(state.paused_for)} s, as the server asked"
    if state.waiters:
        return f"{rate} · {state.waiters} waiting for the limiter"
    return rate
