"""The `LimitsGauge` widget: a live view of the limits on requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

from ipywidgets import HTML, VBox

from ..client import BucketState, ConfigurationError
from ..display import Ticker
from ..display.widgets import close_all, in_words
from ..render import (
    describe_free,
    describe_left,
    describe_limiter,
    describe_next,
    describe_pace,
    describe_refusal,
    describe_status,
    render_error,
)
from ..runtime import ClassReading, GaugeReading, LimitReading, Refusal, WaitingReading, get_runtime

_SHOWN_CLASSES: Final = 5
_SHOWN_WAITING: Final = 5
_SHOWN_REFUSALS: Final = 3


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
    limiter = reading.limiter
    parts = [
        _heading("This kernel", _remark(reading)),
        _bar(
            "free now", limiter.level, limiter.capacity, describe_free(limiter), label="free now, this kernel"
        ),
    ]
    for each in reading.classes[:_SHOWN_CLASSES]:
        parts += _class_parts(limiter, each)
    if all(each.received_at is None for each in reading.classes):
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


def _remark(reading: GaugeReading) -> str:
    flying = f"{reading.in_flight} in flight" if reading.in_flight else ""
    return " · ".join(
        filter(None, (flying, describe_limiter(reading.limiter), describe_next(reading.limiter)))
    )


def _class_parts(limiter: BucketState, reading: ClassReading) -> Iterator[str]:
    yield _heading(
        reading.name, "" if reading.received_at is None else f"as of {_clock(reading.received_at)}"
    )
    for limit in reading.limits:
        yield _limit_row(limit, reading.name)
    if reading.pace is not None:
        yield f'<div style="{_LINE};{_QUIET}">{escape(describe_pace(limiter, reading.pace))}</div>'


def _limit_row(limit: LimitReading, of: str) -> str:
    left, full = describe_left(limit)
    words = f"{left} · {full}" if limit.full_in else left
    if not limit.limit or limit.left is None:  # there is no level to draw
        return f'<div style="{_ROW}"><span style="{_NAME}">{escape(limit.kind)}</span><span>{escape(words)}</span></div>'
    return _bar(limit.kind, limit.left, limit.limit, words, label=f"{limit.kind} left, {of}")


def _waiting_parts(waiting: Sequence[WaitingReading]) -> Iterator[str]:
    yield _heading("Waiting", "")
    now = time.monotonic()
    for each in waiting[:_SHOWN_WAITING]:
        prompt = " ".join(each.prompt[:_LONGEST_PROMPT].split())
        who = f'<span style="{_PROMPT}">{escape(each.origin)} · {escape(prompt)}</span>'
        yield f'<div style="{_WAITING}">{who}<span style="{_QUIET}">{escape(describe_status(each.snapshot, now))}</span></div>'
    if more := len(waiting[_SHOWN_WAITING:]):
        yield f'<div style="{_LINE};{_QUIET}">and {more:,} more</div>'


def _refusal_parts(refusals: Sequence[Refusal]) -> Iterator[str]:
    yield _heading("Recent refusals (429)", "")
    for each in refusals[:_SHOWN_REFUSALS]:
        when = f"at {_clock(each.at)}, {describe_refusal(each)}"
        yield f'<div style="{_LINE}">{escape(each.model)} <span style="{_QUIET}">{when}</span></div>'


def _heading(title: str, remark: str) -> str:
    aside = f'<span style="{_QUIET}">{escape(remark)}</span>' if remark else ""
    return (
        f'<div style="{_HEADING}"><strong role="heading" aria-level="3">{escape(title)}</strong>{aside}</div>'
    )


def _bar(name: str, level: float, full: float, words: str, *, label: str) -> str:
    """Return a row with a bar; screen readers read its text."""
    share = min(1.0, max(0.0, level / full))
    fill = _FILL.format(colour=_SCARCE if share < _SCARCE_BELOW else _ENOUGH, percent=100 * share)
    meter = (
        f'role="meter" aria-label="{escape(label)}" aria-valuemin="0" aria-valuemax="{full:g}" '
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
            reading = get_runtime().read_gauge()
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
