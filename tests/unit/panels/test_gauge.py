"""The gauge without a kernel: its values, its HTML, and when it is updated."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from claude_magic.client import BucketState, PacedLimit, PaceState
from claude_magic.panels import LimitsGauge, shown_gauge
from claude_magic.render import render_gauge, render_no_gauge
from claude_magic.runtime import (
    ClassReading,
    GaugeReading,
    LimitReading,
    Phase,
    Refusal,
    Runtime,
    Wait,
    WaitingReading,
    _runtime,
    close_runtime,
    get_runtime,
)
from claude_magic.runtime._limits import read_gauge
from claude_magic.simulator import Gate, Simulator, hold

from ..beginnings import BEGINNING

TIMEOUT = 20.0
FULL = BucketState(level=10.0, capacity=10.0, refill_rate=10.0, waiters=0, next_grant=None, paused_for=0.0)


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator for the runtime of this process, which is new and has no reported limits."""
    monkeypatch.setitem(_runtime._kept, "runtime", Runtime())
    # Its clock stands still, so that no limit refills between a response and the check of its report.
    limits = {"requests_per_minute": 6000, "input_tokens_per_minute": 6_000_000}
    with Simulator(**limits, clock=lambda: 1000.0) as simulator:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", simulator.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-gauge")
        yield simulator
        close_runtime()


def waited(condition: Callable[[], bool]) -> bool:
    pause, left = threading.Event(), TIMEOUT
    while not condition() and left > 0:
        pause.wait(0.01)
        left -= 0.01
    return condition()


def reading(**fields: Any) -> GaugeReading:
    return GaugeReading(**{"at": 0.0, "limiter": FULL, **fields})


def class_reading(*limits: LimitReading, pace: PaceState | None = None) -> ClassReading:
    return ClassReading(name="claude-x", received_at=0.0, limits=limits, pace=pace)


def waiting_reading(origin: str, prompt: str, reason: str) -> WaitingReading:
    wait = Wait(kind="limit", reason=reason, until=math.inf, attempt=1, max_attempts=4)
    snapshot = dataclasses.replace(BEGINNING, phase=Phase.QUEUED, wait=wait)
    return WaitingReading(origin=origin, prompt=prompt, snapshot=snapshot)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_public_name_comes_late() -> None:
    """As for the panel, widgets are imported only on use."""
    script = """
import sys
import claude_magic
assert "LimitsGauge" in dir(claude_magic)
assert "ipywidgets" not in sys.modules
from claude_magic import LimitsGauge
assert "ipywidgets" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr


def test_what_the_server_said_flows_in_again_with_time(sim: Simulator) -> None:
    """The rest rises by 60 per second until it is full. "tokens" repeats another limit and is omitted."""
    get_runtime().start("Hello", model="claude-haiku-5-5").result(TIMEOUT)
    runtime = get_runtime()
    (word,) = runtime.server_limits.by_model()
    known = (runtime.limiter_state(), runtime.pace_state(), runtime.server_limits, ())
    said = {limit.kind: limit.remaining for limit in word.limits}

    (now,) = read_gauge(*known, now=word.received_at).classes
    (later,) = read_gauge(*known, now=word.received_at + 60).classes

    assert now.name == "claude-haiku-5-5"
    assert {limit.kind: limit.left for limit in now.limits} == {
        kind: left for kind, left in said.items() if kind != "tokens"
    }
    assert all(limit.full_in for limit in now.limits if limit.kind == "requests")
    assert all(limit.full_in == 0 for limit in later.limits)


def test_models_of_one_class_stand_together(sim: Simulator) -> None:
    """They share their limits."""
    for model in ("claude-opus-4-8", "claude-opus-4-6", "claude-haiku-5-5"):
        get_runtime().start("Hello", model=model).result(TIMEOUT)

    assert [each.name for each in get_runtime().read_gauge().classes] == ["claude-haiku-5-5", "claude-opus-4"]


@pytest.mark.parametrize(
    ("fields", "is_idle"),
    [
        ({}, True),
        ({"in_flight": 1}, False),
        (
            {
                "limiter": BucketState(
                    level=9.9, capacity=10, refill_rate=10, waiters=0, next_grant=None, paused_for=0
                )
            },
            False,
        ),
        (
            {
                "limiter": BucketState(
                    level=10, capacity=10, refill_rate=10, waiters=0, next_grant=None, paused_for=3
                )
            },
            False,
        ),
        ({"classes": (class_reading(LimitReading(kind="requests", limit=60, left=60.0)),)}, True),
        ({"classes": (class_reading(LimitReading(kind="requests", limit=60, left=59.0)),)}, False),
        (
            {
                "classes": (
                    class_reading(
                        pace=PaceState(
                            model_class="claude-x", limits=(), waiting=0, in_flight=0, paused_for=9.0
                        )
                    ),
                )
            },
            False,
        ),
    ],
)
def test_it_is_idle_when_nothing_flows_waits_or_refills(fields: dict[str, Any], is_idle: bool) -> None:
    """In this case nothing needs to be drawn."""
    assert reading(**fields).is_idle is is_idle


def test_the_picture_says_everything_in_words() -> None:
    """It contains levels, the time of the next request, the derived rate, waiting replies with their reasons, and 429s."""
    limiter = BucketState(level=0.2, capacity=10, refill_rate=10, waiters=3, next_grant=0.08, paused_for=0)
    pace = PaceState(
        model_class="claude-x",
        limits=(PacedLimit(kind="requests", per_minute=300, level=0),),
        waiting=3,
        in_flight=1,
        paused_for=0.0,
    )
    html = render_gauge(
        reading(
            limiter=limiter,
            classes=(class_reading(LimitReading(kind="input tokens", limit=60_000, left=1500.4), pace=pace),),
            in_flight=4,
            waiting=(waiting_reading("In[4]", "Why?\n\nSay", "requests"),) * 7,
            refusals=(
                Refusal(model="claude-x", at=0.0, retry_after=7.2),
                Refusal(model="y", at=0.0, retry_after=None),
            ),
        )
    )
    text = text_of(html)

    for words in (
        "4 in flight · 10 requests a second · 3 waiting · the next request is sent in 0.1 s",
        "0.2 of 10 requests",
        "1,500 of 60,000 left this minute · full again in 59 s",
        "5 requests a second in the long run, not 10, because the server allows 300 a minute",
        "In[4] · Why? Say waiting for the server&#x27;s limit of requests…",
        "and 2 more",
        "asked to wait 7.2 s",
        "did not say how long to wait",
    ):
        assert words in text
    assert text.count("In[4] · Why? Say") == 5
    assert 'role="meter" aria-label="input tokens left, claude-x"' in html
    assert 'aria-valuetext="1,500 of 60,000 left this minute · full again in 59 s"' in html
    assert 'role="meter" aria-label="free now, this kernel"' in html
    assert "width:2.5%" in html


def test_nothing_that_anybody_wrote_becomes_html() -> None:
    """Prompts, model names and error messages are escaped."""
    evil = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    limit = LimitReading(kind=evil, limit=10, left=5.0)

    html = render_gauge(
        reading(
            classes=(
                ClassReading(
                    name=evil, received_at=0.0, limits=(limit, LimitReading(kind=evil, limit=None, left=5.0))
                ),
            ),
            waiting=(waiting_reading(evil, evil, evil),),
            refusals=(Refusal(model=evil, at=0.0, retry_after=None),),
        )
    ) + render_no_gauge(evil)

    assert not re.search(r"<(?!/?(div|span|strong)\b)", html)
    assert not re.search(r"<[^>]*onerror[^>]*>", re.sub(r'"[^"]*"', "", html))


def test_what_is_only_partly_known_has_words_but_no_bar() -> None:
    """A limit without its maximum, and a pause that another process has reported, both of which the table shows."""
    pace = PaceState(model_class="claude-y", limits=(), waiting=0, in_flight=0, paused_for=9.0)
    partly = LimitReading(kind="requests", limit=None, left=7.0, resets_in=20.0)

    html = render_gauge(
        reading(classes=(class_reading(partly), ClassReading(name="claude-y", pace=pace)), in_flight=1)
    )

    assert "requests 7 left this minute · full again in 20 s" in text_of(html)
    assert "claude-y 10 requests a second as configured; paused for 9 s, as the server asked" in text_of(html)
    assert html.count('role="meter"') == 1


@pytest.mark.parametrize("level", [-50.0, 0.0, 1e300])
def test_a_bar_is_never_shorter_than_nothing_or_longer_than_all(level: float) -> None:
    """This covers a bucket in debt and implausible reports of the server."""
    html = render_gauge(
        reading(classes=(class_reading(LimitReading(kind="requests", limit=10, left=level)),))
    )

    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", html)]
    assert all(0 <= width <= 100 for width in widths)


def test_a_gauge_follows_what_is_asked_and_rests_when_it_is_over(sim: Simulator) -> None:
    """It has a thread only while an answer is in flight or limits refill."""
    get_runtime().start("Hello").result(TIMEOUT)  # the server tells its limits
    gate = Gate()
    sim.script(hold(gate, text="Done."))
    gauge = LimitsGauge()
    assert waited(lambda: not gauge.is_drawn)

    reply = get_runtime().start("Hello")
    assert waited(lambda: "1 in flight" in picture(gauge))
    assert gauge.is_drawn
    gate.open()
    reply.result(TIMEOUT)

    assert waited(lambda: not gauge.is_drawn)
    assert "in flight" not in picture(gauge)
    assert "6,000 of 6,000 left this minute" in text_of(picture(gauge))
    gauge.close()


def test_a_closed_gauge_is_never_drawn_again(sim: Simulator) -> None:
    """No reference to it and no thread remains."""
    gauge = LimitsGauge()
    gauge.close()

    get_runtime().start("Hello").result(TIMEOUT)

    assert gauge.is_closed
    assert not gauge.is_drawn
    gauge.close()  # twice does no harm


def test_the_subcommand_shows_one_gauge_however_often(sim: Simulator) -> None:
    """Running its cell again creates no second widget; after `close` there is a new one."""
    first = shown_gauge()

    assert shown_gauge() is first
    first.close()
    second = shown_gauge()
    assert second is not first
    second.close()


def test_a_gauge_survives_a_setting_that_cannot_be_used(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the error instead of raising it."""
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "fast")

    gauge = LimitsGauge()

    assert "rate_limit_rps" in picture(gauge)
    gauge.close()


def test_a_gauge_is_one_short_line_where_there_are_no_widgets(sim: Simulator) -> None:
    """Examples are GitHub and exports."""
    gauge = LimitsGauge()

    assert (
        gauge._repr_mimebundle_()["text/plain"] == "Limits of requests to Claude: run this cell to show them."
    )
    gauge.close()


def picture(gauge: LimitsGauge) -> str:
    return str(gauge.children[0].value)
