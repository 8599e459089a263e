"""One quiet line among the buttons: what has just happened, and the state of the limiter that all requests share."""

from __future__ import annotations

import math

from ipywidgets import HTML, HBox

from ..client import BucketState
from ..render import render_line


class StatusLine(HBox):
    """Shows a sentence on the left, the limiter on the right."""

    def __init__(self) -> None:
        self._note = HTML(_dom_classes=["claude-magic-block", "claude-magic-note"])
        self._limiter = HTML(_dom_classes=["claude-magic-block", "claude-magic-limiter"])
        super().__init__([self._note, self._limiter], _dom_classes=["claude-magic-status"])

    def tell(self, sentence: str) -> None:
        """Show a sentence until the next one; "" takes it away."""
        self._note.value = render_line(sentence) if sentence else ""

    def show_limiter(self, state: BucketState) -> None:
        """Show the limiter as it is now."""
        self._limiter.value = render_line(describe_limiter(state))


def describe_limiter(state: BucketState) -> str:
    """Return "10 requests a second", and why nothing is sent at present, where that is so."""
    rate = f"{state.refill_rate:g} {'request' if state.refill_rate == 1 else 'requests'} a second"
    if state.paused_for > 0:
        return f"{rate} · paused for {math.ceil(state.paused_for)} s, as the server asked"
    if state.waiters:
        return f"{rate} · {state.waiters} waiting for the limiter"
    return rate
