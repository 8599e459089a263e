"""One quiet line while nothing can be read yet: what is being waited for, and how long."""

from __future__ import annotations

import math
from html import escape

from ..runtime import Phase, ReplySnapshot, Wait
from ._sanitise import sanitise
from ._styles import STATUS_LINE


def render_status_line(snapshot: ReplySnapshot, now: float) -> str:
    """Return the line's HTML; "" where the answer speaks for itself.

    Args:
        snapshot: The reply.
        now: The present, by `time.monotonic()`.
    """
    line = describe_status(snapshot, now)
    return sanitise(f'<div style="{STATUS_LINE}">{escape(line, quote=False)}</div>') if line else ""


def describe_status(snapshot: ReplySnapshot, now: float) -> str:
    """Return the same line as plain text."""
    if snapshot.phase.is_final:
        return ""
    if snapshot.wait is not None:
        return _describe_wait(snapshot.wait, now)
    if snapshot.phase is Phase.STREAMING:
        return "" if snapshot.text else "thinking…"
    return "waiting for the first words…"


def _describe_wait(wait: Wait, now: float) -> str:
    left = wait.remaining(now)
    seconds = "" if math.isinf(left) else f" {math.ceil(left)} s"
    if wait.kind == "rate":
        return f"waiting for the rate limiter{',' + seconds if seconds else ''}…"
    if wait.kind == "paused":
        return f"paused, as the server asked; sending{' in' + seconds if seconds else ' soon'}…"
    reason = f"{wait.reason[0].upper()}{wait.reason[1:]}" if wait.reason else "That attempt failed"
    return f"{reason}; retrying{' in' + seconds if seconds else ' soon'} · attempt {wait.attempt} of {wait.max_attempts}"
