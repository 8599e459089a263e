"""The tables of `%claude status`: who answers, what the limiter holds, and where every setting comes from."""

from __future__ import annotations

from collections.abc import Iterator

from ..client import BucketState
from ..render import Bundle, render_rows
from ..runtime import RuntimeStatus

Row = tuple[str, ...]


def render_status(status: RuntimeStatus) -> Bundle:
    """Describe a runtime as tables, in HTML and in plain text."""
    return render_rows(
        [
            ("Client", list(_client_rows(status))),
            ("Limiter", list(limiter_rows(status.limiter))),
            ("Settings", [(row.name, row.value, row.source) for row in status.settings]),
        ]
    )


def _client_rows(status: RuntimeStatus) -> Iterator[Row]:
    yield "answers come from", status.base_url
    yield "credential", status.credential or "none"
    yield "connection", "open" if status.is_running else "made with the first request"
    yield "in flight", str(status.in_flight)
    if status.last_error is not None:
        yield "last error", status.last_error
    for note in status.notes:
        yield "note", note


def limiter_rows(state: BucketState) -> Iterator[Row]:
    """Describe the limiter: what is free, how fast it refills, who waits."""
    yield "free now", f"{max(0.0, state.level):.1f} of {state.capacity:g} requests"
    yield "rate", f"{state.refill_rate:g} requests/s"
    queue = f"{state.waiters} waiting"
    yield "queue", queue if state.next_grant is None else f"{queue}, the next for {state.next_grant:.1f} s"
    if state.paused_for:
        yield "paused", f"for {state.paused_for:.0f} s, as the server asked"
