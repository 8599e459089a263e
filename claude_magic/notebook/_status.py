"""The tables of `%claude status`: what is connected to what, and where every setting comes from. Never a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..client import BucketState
from ..render import Bundle, render_rows
from ..runtime import ResolvedSettings, Runtime

Row = tuple[str, ...]

_SECRET_VALUES = "[REDACTED]"  # noqa: S105


def render_status(runtime: Runtime) -> Bundle:
    """Describe a runtime as tables, in HTML and plain text. Sends nothing and starts nothing."""
    resolved = runtime.settings()
    return render_rows(
        [
            ("Client", list(_client_rows(runtime, resolved))),
            ("Limiter", list(_limiter_rows(runtime.limiter_state()))),
            ("Settings", list(_setting_rows(resolved))),
        ]
    )


def _client_rows(runtime: Runtime, resolved: ResolvedSettings) -> Iterator[Row]:
    yield "answers come from", "the simulator, not Claude" if runtime.is_demo else resolved.values.base_url
    yield "credential", *_describe_credential(runtime)
    yield "in flight", str(len(runtime.in_flight()))
    if runtime.last is not None:
        last = runtime.last
        yield "last reply", f"{last.phase.value}, {last.model}, {last.seconds:.1f} s", last.request_id or ""
    for note in resolved.notes:
        yield "note", note


def _describe_credential(runtime: Runtime) -> Row:
    found = runtime.find_credential()
    return ("none",) if found is None else (f"{found.kind} {_SECRET_VALUES}", found.source)


def _limiter_rows(state: BucketState) -> Iterator[Row]:
    yield "free now", f"{max(0.0, state.level):.1f} of {state.capacity:g} requests"
    yield "rate", f"{state.refill_rate:g} requests/s"
    waiting = f"{state.waiters} waiting"
    yield (
        "queue",
        waiting if state.next_grant is None else f"{waiting}, the next for {state.next_grant:.1f} s",
    )
    if state.paused_for:
        yield "paused", f"for {state.paused_for:.0f} s, as the server asked"


def _setting_rows(resolved: ResolvedSettings) -> Iterator[Row]:
    for name, value in resolved.values:
        yield name, _describe(name, value), resolved.sources[name]


def _describe(name: str, value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):  # headers of a gateway may hold a secret, so their names must do
        return ", ".join(f"{key}: {_SECRET_VALUES}" for key in value) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
