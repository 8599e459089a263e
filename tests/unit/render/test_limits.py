"""The table of `%claude limits`, and the words for the limiter and the limits."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, cast

import pytest

from claude_magic.client import BucketState, PacedLimit, PaceState, ResponseStarted
from claude_magic.render import describe_limiter, render_limits
from claude_magic.runtime import GaugeReading, Phase, Reply, ReplySnapshot, Wait
from claude_magic.runtime._limits import RateLimits, read_gauge

from ..beginnings import BEGINNING

LIMITER = BucketState(level=9.5, capacity=10, refill_rate=10, waiters=0, next_grant=None, paused_for=0)
THEN = 1_000_000_000.0
"""2001-09-09T01:46:40Z, the time of all reports."""


def reported(
    status: int = 200, model: str = "claude-x", limits: RateLimits | None = None, **headers: str
) -> RateLimits:
    """Return the limits that a response reports, in headers such as `requests_limit`."""
    limits = limits or RateLimits(clock=lambda: THEN)
    named = {
        name if name == "retry-after" else f"anthropic-ratelimit-{name}": value
        for name, value in ((name.replace("_", "-"), value) for name, value in headers.items())
    }
    limits.on_response(ResponseStarted(attempt=1, status=status, request_id=None, headers=named), model=model)
    return limits


def read(
    limits: RateLimits | None = None, *paces: PaceState, age: float = 0.0, **fields: Any
) -> GaugeReading:
    """Return a reading `age` seconds after the reports."""
    known = RateLimits() if limits is None else limits
    reading = read_gauge(LIMITER, paces, known, fields.pop("in_flight", ()), now=THEN + age)
    return dataclasses.replace(reading, **fields)


def table(*args: Any, **fields: Any) -> str:
    return render_limits(read(*args, **fields)).data["text/plain"]


def pace_of(**fields: Any) -> PaceState:
    return PaceState(
        **{"model_class": "claude-x", "limits": (), "waiting": 0, "in_flight": 0, "paused_for": 0.0, **fields}
    )


def test_limits_show_the_limiter_and_the_servers_limits() -> None:
    """The remaining amounts, the time until they are full again, and recent refusals."""
    limits = reported(429, retry_after="12", requests_limit="50", requests_remaining="0")

    text = table(limits, age=5.0)

    assert "9.5 of 10 requests" in text
    assert "Server, for claude-x, reported 5 s ago" in text
    assert re.search(r"requests +4 of 50 left this minute +full again in 55 s", text)
    assert re.search(r"claude-x +5 s ago, asked to wait 12 s", text)


def test_an_old_report_is_not_shown_as_current() -> None:
    """A limit refills, as in the gauge, whatever time the server named."""
    limits = reported(requests_limit="50", requests_remaining="0", requests_reset="2001-09-09T01:47:40Z")

    text = table(limits, age=300.0)

    assert "Server, for claude-x, reported 5 min ago" in text
    assert re.search(r"requests +50 of 50 left this minute +full again by now", text)


def test_a_limit_that_repeats_another_is_shown_once() -> None:
    """The API's "tokens" is the one of the two that is closer to being used up."""
    limits = reported(
        input_tokens_limit="50", input_tokens_remaining="9", tokens_limit="50", tokens_remaining="9"
    )

    assert re.findall(r"^(.*?) +9 of 50", table(limits), re.MULTILINE) == ["input tokens"]


def test_models_of_one_class_have_one_group() -> None:
    """They share their limits, so the latest report is valid for all."""
    limits = reported(model="claude-opus-4-6", requests_limit="50", requests_remaining="9")
    reported(model="claude-opus-4-8", limits=limits, requests_limit="50", requests_remaining="8")

    text = table(limits)

    assert re.findall(r"Server, for (\S+),", text) == ["claude-opus-4"]
    assert "8 of 50 left" in text


def test_what_a_server_reports_in_part_is_shown_while_it_is_valid() -> None:
    """Gateways may leave out the limit or the remaining amount. Without a limit, the refill is not known."""
    limits = reported(
        requests_remaining="7", requests_reset="2001-09-09T01:47:10Z", input_tokens_limit="5000"
    )

    now, later = table(limits, age=5.0), table(limits, age=90.0)

    assert re.search(r"requests +7 left this minute +full again in 25 s", now)
    assert re.search(r"input tokens +unknown of 5,000 left this minute", now)
    assert re.search(r"requests +unknown left this minute +full again by now", later)


def test_refusals_show_how_long_the_server_asked_to_wait() -> None:
    """Or that it did not. Only the last ones are listed."""
    limits = reported(429, retry_after="1.5")
    for _ in range(5):
        reported(429, limits=limits)

    text = table(limits)

    assert text.count("just now, did not say how long to wait") == 5
    assert text.endswith("and 1 before that\n\n" + text.rsplit("\n\n", 1)[1])
    assert "just now, asked to wait 1.5 s" in table(reported(429, retry_after="1.5"))


def test_waiting_replies_are_listed() -> None:
    """With the reason; replies that are streaming or have ended are not listed."""

    class Asked:
        origin, prompt = "In[1]", "Hello"

        def __init__(self, phase: Phase, wait: Wait | None) -> None:
            self.at_present = dataclasses.replace(BEGINNING, phase=phase, wait=wait)

        def snapshot(self) -> ReplySnapshot:
            return self.at_present

    backoff = Wait(kind="backoff", reason="overloaded", until=math.inf, attempt=2, max_attempts=4)
    phases = ((Phase.RETRYING, backoff), (Phase.STREAMING, None), (Phase.FAILED, backoff))
    in_flight = [cast(Reply, Asked(phase, wait)) for phase, wait in phases]

    text = table(in_flight=in_flight)

    assert text.count(BEGINNING.model) == 1
    assert "Overloaded; retrying soon · attempt 2 of 4" in text


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (
            {"limits": (PacedLimit(kind="requests", per_minute=300, level=100),)},
            "5 requests a second in the long run, not 10, because the server allows 300 a minute",
        ),
        (
            {"limits": (PacedLimit(kind="requests", per_minute=6000, level=100),)},
            "10 requests a second as configured",
        ),
        (
            {"limits": (PacedLimit(kind="input tokens", per_minute=6000, level=-20),), "waiting": 2},
            "10 requests a second as configured; waits for input tokens to refill; 2 waiting",
        ),
        ({"paused_for": 11.2}, "10 requests a second as configured; paused for 12 s, as the server asked"),
    ],
)
def test_limits_show_the_learnt_rate_and_its_reason(pace: dict[str, Any], words: str) -> None:
    """A rate below the configured one always has a reason."""
    assert f"claude-x  {words}\n" in table(None, pace_of(**pace))


def test_a_model_class_without_known_limits_has_no_row() -> None:
    """No empty rows."""
    assert "claude-x" not in table(None, pace_of(in_flight=3))


def test_a_server_that_reports_no_limits_is_explained() -> None:
    """Local servers send none."""
    assert "has not reported its limits" in table()


@pytest.mark.parametrize(
    ("changes", "rows", "line"),
    [
        (
            {},
            ["free now 9.5 of 10 requests", "rate 10 requests a second", "queue 0 waiting"],
            "10 requests a second",
        ),
        ({"refill_rate": 1.0}, ["rate 1 request a second"], "1 request a second"),
        (
            {"waiters": 3, "next_grant": 0.12},
            ["queue 3 waiting, the next request is sent in 0.1 s"],
            "10 requests a second · 3 waiting",
        ),
        (
            {"level": -2.0},
            ["free now 0.0 of 10 requests", "queue 0 waiting, the next request is sent in 0.3 s"],
            None,
        ),
        (
            {"level": 0.0, "paused_for": 4.2},
            ["queue 0 waiting", "paused for 5 s, as the server asked"],
            "10 requests a second · paused for 5 s, as the server asked",
        ),
    ],
)
def test_the_limiter_is_described_in_the_same_words_everywhere(
    changes: dict[str, float], rows: list[str], line: str | None
) -> None:
    """In tables with a row each, in the gauge and in panels in one line: the rate, and the reason of a wait."""
    state = dataclasses.replace(LIMITER, **cast(Any, changes))

    shown = [re.sub(" +", " ", row) for row in table(limiter=state).splitlines()]

    assert set(rows) <= set(shown)
    assert line in (None, describe_limiter(state))
