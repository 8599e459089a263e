"""One quiet line while nothing new can be read: what is being waited for, and how long."""

from __future__ import annotations

import math
from html import escape

from ..runtime import CallState, Phase, ReplySnapshot, Wait
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import STATUS_LINE

_PENDING = {
    CallState.WAITING: "waiting for the kernel, a cell is running…",
    CallState.APPROVAL: "waiting for your word on {name}…",
    CallState.RUNNING: "running {name}…",
}


def render_status_line(snapshot: ReplySnapshot, now: float, *, remark: str = "") -> str:
    """Return the line's HTML; "" where the answer speaks for itself and nothing is to be remarked.

    Args:
        snapshot: The reply.
        now: The present, by `time.monotonic()`.
        remark: What else is to be said as long as it has not ended.
    """
    line = " · ".join(part for part in (describe_status(snapshot, now), remark) if part)
    return render_line(line) if line else ""


def render_line(text: str) -> str:
    """Return the HTML of one quiet line of plain text."""
    line = f'<div style="{STATUS_LINE}">{escape(text, quote=False)}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{line}</div>')


def describe_status(snapshot: ReplySnapshot, now: float) -> str:
    """Return the same line as plain text."""
    if snapshot.phase.is_final:
        return ""
    if snapshot.wait is not None:
        return _describe_wait(snapshot.wait, now)
    if snapshot.phase is Phase.STREAMING:
        return _describe_streaming(snapshot)
    if snapshot.phase is Phase.CALLING:
        return _describe_call(snapshot)
    return "waiting for the first words…" if not snapshot.rounds else "waiting for more…"


def _describe_streaming(snapshot: ReplySnapshot) -> str:
    last = snapshot.blocks[-1] if snapshot.blocks else None
    if last is None:
        return "thinking…"
    if last.kind == "text" and last.text:
        return ""
    if last.kind.endswith("tool_use"):
        name = (last.data or {}).get("name") or "a tool"
        return f"writing a call of {name}…"
    return "thinking…" if last.kind != "text" or not snapshot.text else ""


def _describe_call(snapshot: ReplySnapshot) -> str:
    calls = [block.call for block in snapshot.blocks if block.call is not None]
    pending = next((call for call in calls if call.state in _PENDING), None)
    if pending is None:
        return "waiting for more…"
    return _PENDING[pending.state].format(name=pending.name)


def _describe_wait(wait: Wait, now: float) -> str:
    if wait.kind == "turn":
        return "waiting for the answer before it in this conversation…"
    left = wait.remaining(now)
    seconds = "" if math.isinf(left) else f" {math.ceil(left)} s"
    if wait.kind == "rate":
        return f"waiting for the rate limiter{',' + seconds if seconds else ''}…"
    if wait.kind == "paused":
        reason = f"the server asked to wait{f' ({wait.reason})' if wait.reason else ''}"
        return f"{reason}; sending{' in' + seconds if seconds else ' soon'}. Nothing is sent yet, interrupting is safe…"
    if wait.kind == "limit":
        return f"waiting for the server's limit of {wait.reason}{',' + seconds if seconds else ''}…"
    reason = f"{wait.reason[0].upper()}{wait.reason[1:]}" if wait.reason else "That attempt failed"
    return f"{reason}; retrying{' in' + seconds if seconds else ' soon'} · attempt {wait.attempt} of {wait.max_attempts}"
