"""Renders what can delay requests as a gauge: bars that a reader watches, while `_limits` renders the same as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from ..client import BucketState
from ..runtime import ClassReading, GaugeReading, LimitReading, Refusal, WaitingReading
from ._frame import describe_status
from ._limits import (
    SHOWN_CLASSES,
    describe_free,
    describe_left,
    describe_limiter,
    describe_next,
    describe_pace,
    describe_refusal,
)
from ._reply import render_error

_SHOWN_WAITING: Final = 5
_SHOWN_REFUSALS: Final = 3

GAUGE_LABEL: Final = "Limits of requests to Claude"

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


def render_gauge(reading: GaugeReading) -> str:
    """Return the gauge's HTML."""
    limiter = reading.limiter
    parts = [
        _heading("This kernel", _remark(reading)),
        _bar(
            "free now", limiter.level, limiter.capacity, describe_free(limiter), label="free now, this kernel"
        ),
    ]
    for each in reading.classes[:SHOWN_CLASSES]:
        parts += _class_parts(limiter, each)
    if all(each.received_at is None for each in reading.classes):
        parts.append(f'<div style="{_LINE};{_QUIET}">The server has not reported any limits yet.</div>')
    if reading.waiting:
        parts += _waiting_parts(reading.waiting)
    if reading.refusals:
        parts += _refusal_parts(reading.refusals)
    return _region("".join(parts))


def render_no_gauge(sentence: str) -> str:
    """Return HTML with the reason why there is nothing to show."""
    return _region(render_error(sentence))


def _region(html: str) -> str:
    inner = f'<div style="{_GAUGE}">{html}</div>'
    return f'<div role="region" aria-label="{GAUGE_LABEL}" style="{_FULL_WIDTH}">{inner}</div>'


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
