"""What has just happened, as one sentence, and the state of the limiter that all requests share."""

from __future__ import annotations

import math

from ipywidgets import HTML

from ..client import BucketState
from ..render import render_complaint, render_line


class Note(HTML):
    """A sentence below the buttons; screen readers are told of it."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-note"])

    def tell(self, sentence: str) -> None:
        """Show a sentence until the next one; "" takes it away."""
        self.value = render_line(sentence) if sentence else ""

    def complain(self, sentence: str) -> None:
        """Show what went wrong until the next sentence."""
        self.value = render_complaint(sentence)


class LimiterLine(HTML):
    """The limiter, in a few words."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-limiter"])

    def show(self, state: BucketState) -> None:
        """Show it as it is now."""
        self.value = render_line(describe_limiter(state))


def describe_limiter(state: BucketState) -> str:
    """Return "10 requests a second", and why nothing is sent at present, where that is so."""
    rate = f"{state.refill_rate:g} {'request' if state.refill_rate == 1 else 'requests'} a second"
    if state.paused_for > 0:
        return f"{rate} · paused for {math.ceil(state.paused_for)} s, as the server asked"
    if state.waiters:
        return f"{rate} · {state.waiters} waiting for the limiter"
    return rate
