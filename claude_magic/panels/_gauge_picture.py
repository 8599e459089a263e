"""Draws the gauge as HTML: every word of it is escaped, and colours and sizes are those of the Jupyter theme."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from ..client import BucketState
from ..render import describe_pace
from ..runtime import Refusal
from ._gauge_reading import ClassReading, GaugeReading, LimitReading, WaitingReading

LABEL: Final = "Limits of requests to Claude"

_AS_WIDE_AS_THERE_IS_ROOM = "width:0;min-width:100%"  # a widget is otherwise as wide as its longest line
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
_VALUE = "flex:0 1 17em"
_LINE = "margin:3px 0;overflow-wrap:anywhere"
_WAITING = "display:flex;flex-wrap:wrap;gap:0 12px;margin:3px 0"
_PROMPT = "flex:1 1 260px;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"

_ENOUGH = "--jp-brand-color1, #1976d2"
_SCARCE = "--jp-warn-color1, #f57c00"
_SCARCE_BELOW = 0.2

_LONGEST_PROMPT = 200
"""Characters; how much of them is seen, the width decides."""


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
        parts.append(f'<div style="{_LINE};{_QUIET}">The server has not told any limits yet.</div>')
    if reading.waiting:
        parts += _waiting_parts(reading.waiting, reading.more_waiting)
    if reading.refusals:
        parts += _refusal_parts(reading.refusals)
    return _region("".join(parts))


def draw_problem(sentence: str) -> str:
    """Return HTML that says why there is nothing to show."""
    return _region(escape(sentence))


def _region(html: str) -> str:
    inner = f'<div style="{_GAUGE}">{html}</div>'
    return f'<div role="region" aria-label="{LABEL}" style="{_AS_WIDE_AS_THERE_IS_ROOM}">{inner}</div>'


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
    said = f"the server's word of {_clock(reading.told_at)}"
    yield _heading(reading.name, said)
    for limit in reading.limits:
        yield _bar(limit.kind, limit.left, limit.limit, _left(limit), of=reading.name)
    if reading.pace is not None and (reading.pace.limits or reading.pace.held_for):
        yield f'<div style="{_LINE};{_QUIET}">{escape(describe_pace(limiter, reading.pace))}</div>'


def _left(limit: LimitReading) -> str:
    if limit.full_in <= 0:
        return f"all {limit.limit:,} of a minute"
    return f"{math.floor(limit.left):,} of {limit.limit:,} · full in {math.ceil(limit.full_in)} s"


def _waiting_parts(waiting: Sequence[WaitingReading], more: int) -> Iterator[str]:
    yield _heading("Waiting", "")
    for each in waiting:
        prompt = " ".join(each.prompt[:_LONGEST_PROMPT].split())
        who = f'<span style="{_PROMPT}">{escape(each.origin)} · {escape(prompt)}</span>'
        yield f'<div style="{_WAITING}">{who}<span style="{_QUIET}">{escape(each.reason)}</span></div>'
    if more:
        yield f'<div style="{_LINE};{_QUIET}">and {more:,} more</div>'


def _refusal_parts(refusals: Sequence[Refusal]) -> Iterator[str]:
    yield _heading("Refused lately (429)", "")
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
    """Return a row with a bar; screen readers hear the words."""
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
