"""The `LimitsGauge` widget: a live view of the limits on requests."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from ipywidgets import HTML, VBox

from ..client import BucketState, ConfigurationError, PaceState, ServerLimit, distinct_limits, model_class
from ..display import Ticker
from ..display.widgets import close_all, in_words
from ..render import describe_pace, describe_status, render_error
from ..runtime import ModelLimits, Refusal, Reply, Runtime, get_runtime

_MINUTE: Final = 60.0
_SHOWN_CLASSES: Final = 5
_SHOWN_WAITING: Final = 5
_SHOWN_REFUSALS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReading:
    """A limit of the server.

    Attributes:
        kind: The limited quantity: "requests", "input tokens" ...
        limit: Maximum per minute.
        left: Remaining amount as reported by the server, plus the refill since then.
    """

    kind: str
    limit: int
    left: float

    @property
    def full_in(self) -> float:
        """Seconds until the limit is full again; 0.0 if it is."""
        return (self.limit - self.left) * _MINUTE / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReading:
    """The limits that the server reported for one model class.

    Attributes:
        name: The model class.
        received_at: Time of the report, in seconds since 1970.
        limits: The limits.
        pace: The pace derived from them; None if they are out of date.
    """

    name: str
    received_at: float
    limits: tuple[LimitReading, ...]
    pace: PaceState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReading:
    """A reply that waits.

    Attributes:
        origin: The origin of the question: "In[4]", "panel" ...
        prompt: The prompt.
        reason: The reason and duration of the wait.
    """

    origin: str
    prompt: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeReading:
    """The values that the gauge shows.

    Attributes:
        limiter: The state of the kernel's shared limiter.
        classes: The limits per model class, most recently reported first.
        in_flight: Number of replies in flight.
        waiting: The waiting replies, oldest first.
        refusals: The last 429s, newest first.
    """

    limiter: BucketState
    classes: tuple[ClassReading, ...]
    in_flight: int
    waiting: tuple[WaitingReading, ...]
    refusals: tuple[Refusal, ...]

    @property
    def is_idle(self) -> bool:
        """Whether nothing will change before the next request."""
        is_full = self.limiter.level >= self.limiter.capacity and not self.limiter.paused_for
        limits = (limit for each in self.classes for limit in each.limits)
        is_held = any(each.pace is not None and each.pace.paused_for for each in self.classes)
        return is_full and not self.in_flight and not is_held and all(limit.full_in <= 0 for limit in limits)


def read_gauge(runtime: Runtime, *, now: float | None = None) -> GaugeReading:
    """Return the values for the gauge.

    Args:
        runtime: The kernel's runtime.
        now: The current time in seconds since 1970, for tests.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    now = time.time() if now is None else now
    in_flight = runtime.in_flight()
    return GaugeReading(
        limiter=runtime.limiter_state(),
        classes=_classes(runtime, now),
        in_flight=len(in_flight),
        waiting=tuple(_waiting(in_flight)),
        refusals=runtime.server_limits.refusals()[:_SHOWN_REFUSALS],
    )


def _classes(runtime: Runtime, now: float) -> tuple[ClassReading, ...]:
    paces = {pace.model_class: pace for pace in runtime.pace_state()}
    latest: dict[str, ModelLimits] = {}
    for reported in runtime.server_limits.by_model():
        latest.setdefault(model_class(reported.model), reported)
    return tuple(
        ClassReading(
            name=name,
            received_at=reported.received_at,
            limits=tuple(_limits(reported.limits, max(0.0, now - reported.received_at))),
            pace=paces.get(name),
        )
        for name, reported in list(latest.items())[:_SHOWN_CLASSES]
    )


def _limits(reported: tuple[ServerLimit, ...], age: float) -> Iterator[LimitReading]:
    for limit in distinct_limits(reported):
        if limit.limit and (left := limit.left(age)) is not None:
            yield LimitReading(kind=limit.kind, limit=limit.limit, left=left)


def _waiting(replies: tuple[Reply, ...]) -> Iterator[WaitingReading]:
    for reply in replies:
        snapshot = reply.snapshot()
        if snapshot.wait is not None:
            reason = describe_status(snapshot, time.monotonic())
            yield WaitingReading(origin=reply.origin, prompt=reply.prompt, reason=reason)


LABEL: Final = "Limits of requests to Claude"

_FULL_WIDTH = "width:0;min-width:100%"  # otherwise the longest line sets the width
_QUIET = "color:var(--jp-ui-font-color2, #757575)"
_GAUGE = (
    "max-width:760px;padding:2px 0 6px;color:var(--jp-ui-font-color1, inherit);"
    "font-family:var(--jp-ui-font-family, system-ui, sans-serif);font-size:var(--jp-ui-font-size1, 13px);"
    "line-height:1.5;font-variant-numeric:tabular-nums"
)
_HEADING = "margin-top:10px;display:flex;flex-wrap:wrap;gap:0 12px;align-items:baseline"
_ROW = "display:flex;flex-wrap:wrap;gap:0 12px;align-items:center;margin:3px 0"
_NAME = f"flex:0 0 8.5em;{_QUIET}"
_TRACK = (
    "flex:1 1 140px;height:8px;border-radius:4px;overflow:hidden;"
    "background:var(--jp-border-color2, rgba(128,128,128,0.3))"
)
_FILL = "height:100%;border-radius:4px;background:var({colour});width:{percent:.1f}%"
_VALUE = "flex:0 1 22em"
_LINE = "margin:3px 0;overflow-wrap:anywhere"
_WAITING = "display:flex;flex-wrap:wrap;gap:0 12px;margin:3px 0"
_PROMPT = "flex:1 1 260px;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"

_ENOUGH = "--jp-brand-color1, #1976d2"
_SCARCE = "--jp-warn-color1, #f57c00"
_SCARCE_BELOW = 0.2

_LONGEST_PROMPT = 200
"""Characters of a prompt; how many are visible depends on the width."""


def draw_gauge(reading: GaugeReading) -> str:
    """Return the gauge's HTML."""
    parts = [
        _heading("This kernel", _next_slot(reading)),
        _bar(
            "free slots",
            reading.limiter.level,
            reading.limiter.capacity,
            f"{max(0.0, reading.limiter.level):.1f} of {reading.limiter.capacity:g} · {reading.limiter.refill_rate:g} more a second",
            of="this kernel",
        ),
    ]
    for each in reading.classes:
        parts += _class_parts(reading.limiter, each)
    if not reading.classes:
        parts.append(f'<div style="{_LINE};{_QUIET}">The server has not reported any limits yet.</div>')
    if reading.waiting:
        parts += _waiting_parts(reading.waiting)
    if reading.refusals:
        parts += _refusal_parts(reading.refusals)
    return _region("".join(parts))


def draw_problem(sentence: str) -> str:
    """Return HTML with the reason why there is nothing to show."""
    return _region(render_error(sentence))


def _region(html: str) -> str:
    inner = f'<div style="{_GAUGE}">{html}</div>'
    return f'<div role="region" aria-label="{LABEL}" style="{_FULL_WIDTH}">{inner}</div>'


def _next_slot(reading: GaugeReading) -> str:
    limiter, words = reading.limiter, []
    if reading.in_flight:
        words.append(f"{reading.in_flight} in flight")
    if limiter.waiters:
        words.append(f"{limiter.waiters} waiting")
    if limiter.paused_for:
        words.append(f"paused for {math.ceil(limiter.paused_for)} s, as the server asked")
    if limiter.next_grant is not None:
        words.append(f"next slot in {limiter.next_grant:.1f} s")
    elif not limiter.paused_for:
        words.append("next slot: now" if limiter.level >= 1 else f"next slot in {_until_free(limiter):.1f} s")
    return " · ".join(words)


def _until_free(limiter: BucketState) -> float:
    return (1 - limiter.level) / limiter.refill_rate


def _class_parts(limiter: BucketState, reading: ClassReading) -> Iterator[str]:
    as_of = f"as of {_clock(reading.received_at)}"
    yield _heading(reading.name, as_of)
    for limit in reading.limits:
        yield _bar(limit.kind, limit.left, limit.limit, _left(limit), of=reading.name)
    if reading.pace is not None and (reading.pace.limits or reading.pace.paused_for):
        yield f'<div style="{_LINE};{_QUIET}">{escape(describe_pace(limiter, reading.pace))}</div>'


def _left(limit: LimitReading) -> str:
    left = f"{math.floor(limit.left):,} of {limit.limit:,} left this minute"
    return left if limit.full_in <= 0 else f"{left} · full in {math.ceil(limit.full_in)} s"


def _waiting_parts(waiting: Sequence[WaitingReading]) -> Iterator[str]:
    yield _heading("Waiting", "")
    for each in waiting[:_SHOWN_WAITING]:
        prompt = " ".join(each.prompt[:_LONGEST_PROMPT].split())
        who = f'<span style="{_PROMPT}">{escape(each.origin)} · {escape(prompt)}</span>'
        yield f'<div style="{_WAITING}">{who}<span style="{_QUIET}">{escape(each.reason)}</span></div>'
    if more := len(waiting[_SHOWN_WAITING:]):
        yield f'<div style="{_LINE};{_QUIET}">and {more:,} more</div>'


def _refusal_parts(refusals: Sequence[Refusal]) -> Iterator[str]:
    yield _heading("Recent refusals (429)", "")
    for each in refusals:
        wait = each.retry_after
        asked = "did not say for how long" if wait is None else f"asked to wait {math.ceil(wait):,} s"
        yield f'<div style="{_LINE}">{escape(each.model)} <span style="{_QUIET}">at {_clock(each.at)}, {asked}</span></div>'


def _heading(title: str, remark: str) -> str:
    aside = f'<span style="{_QUIET}">{escape(remark)}</span>' if remark else ""
    return (
        f'<div style="{_HEADING}"><strong role="heading" aria-level="3">{escape(title)}</strong>{aside}</div>'
    )


def _bar(name: str, level: float, full: float, words: str, *, of: str) -> str:
    """Return a row with a bar; screen readers read its text."""
    share = min(1.0, max(0.0, level / full))
    fill = _FILL.format(colour=_SCARCE if share < _SCARCE_BELOW else _ENOUGH, percent=100 * share)
    meter = (
        f'role="meter" aria-label="{escape(name)} left, {escape(of)}" aria-valuemin="0" aria-valuemax="{full:g}" '
        f'aria-valuenow="{min(full, max(0.0, level)):.0f}" aria-valuetext="{escape(words)}"'
    )
    return (
        f'<div style="{_ROW}"><span style="{_NAME}">{escape(name)}</span>'
        f'<div {meter} style="{_TRACK}"><div style="{fill}"></div></div>'
        f'<span style="{_VALUE}">{escape(words)}</span></div>'
    )


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


_INTERVAL: Final = 0.5
"""Seconds between frames while a reply is in flight."""
_REFILLING_INTERVAL: Final = 1.0
"""Seconds between frames while limits only refill."""


class LimitsGauge(VBox):
    """A live view of the shared limiter, the server's limits, waiting replies with their reasons, and recent 429s.

    It is drawn twice a second while replies are in flight and once a second while limits refill, even while a cell runs.
    Otherwise, and after `close`, nothing runs.

    Example:
        ```python
        from claude_magic import LimitsGauge

        LimitsGauge()
        ```
    """

    def __init__(self) -> None:
        self._html = HTML(_dom_classes=["claude-magic-gauge-picture"])
        super().__init__([self._html], _dom_classes=["claude-magic-gauge"])
        self._ticker = Ticker(self._draw, name="claude-magic-gauge")
        self._unwatch = get_runtime().watch(self._ticker.wake)
        if self._draw() is not None:
            self._ticker.wake()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return in_words(self, f"{LABEL}: run this cell to show them.")

    @property
    def is_closed(self) -> bool:
        """Whether the widget was closed, by `close` or by `Widget.close_all`."""
        return self.comm is None

    @property
    def is_drawn(self) -> bool:
        """Whether the gauge is currently being updated."""
        return self._ticker.is_running

    def close(self) -> None:
        """Close the widget and stop updating it."""
        self._unwatch()
        self._ticker.stop()
        if self.comm is None:  # closed before
            return
        super().close()
        close_all((self._html, self.layout))

    def _draw(self) -> float | None:
        """Draw a frame. Return the seconds until the next one; None if nothing will change."""
        try:
            reading = read_gauge(get_runtime())
        except ConfigurationError as error:
            self._html.value = draw_problem(error.message)
            return None
        self._html.value = draw_gauge(reading)
        if reading.is_idle:
            return None
        return _INTERVAL if reading.in_flight else _REFILLING_INTERVAL


_shown: list[LimitsGauge] = []


def shown_gauge() -> LimitsGauge:
    """Return the gauge for `%claude limits --live`. All calls share one gauge, so that none is left running."""
    if not _shown or _shown[0].is_closed:
        _shown[:] = [LimitsGauge()]
    return _shown[0]
