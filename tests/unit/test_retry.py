"""The retry policy and the parsing of Retry-After: pure functions, without waiting."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import (
    ClaudeError,
    ClientConfig,
    GiveUp,
    NetworkError,
    OverloadedError,
    RateLimitError,
    Retry,
    RetryPolicy,
    ServerError,
)
from claude_magic.client._retry import (
    LONGEST_RETRY_AFTER,
    describe_seconds,
    parse_retry_after,
    retry_after_from_headers,
)

NOW = 1_795_000_000.0

seconds = st.floats(min_value=0.0, max_value=1e6, allow_nan=False)


def no_jitter() -> float:
    return 0.0


def policy_with(**changes: Any) -> RetryPolicy:
    """Return the default policy with other values."""
    return replace(ClientConfig().retry_policy, **changes)


def delays(policy: RetryPolicy, error: ClaudeError, random: Callable[[], float] = no_jitter) -> list[float]:
    """Simulate a call whose attempts all fail, and return the waits that the policy chose."""
    chosen: list[float] = []
    for attempt in itertools.count(1):
        decision = policy.decide(error, attempt=attempt, elapsed=sum(chosen), random=random)
        if isinstance(decision, GiveUp):
            return chosen
        chosen.append(decision.delay)
    raise AssertionError("unreachable")


def test_r2_backoff_doubles_from_10_seconds_to_the_cap_of_300() -> None:
    """Promise: 10, 20, 40, 80, 160, then always 300."""
    policy = policy_with(max_retries=8, max_total_time=1e9)

    assert delays(policy, ServerError("")) == [10, 20, 40, 80, 160, 300, 300, 300]


def test_r2_three_retries_is_the_default() -> None:
    """Promise: four attempts in total, unless configured otherwise."""
    assert delays(policy_with(), ServerError("")) == [10, 20, 40]


def test_r2_zero_retries_gives_up_at_once_and_says_why() -> None:
    """Promise: `max_retries=0` disables retries."""
    decision = policy_with(max_retries=0).decide(ServerError(""), attempt=1, elapsed=0.0, random=no_jitter)

    assert decision == GiveUp("Not retried: max_retries is 0.")


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_r2_jitter_only_shortens_and_by_a_quarter_at_most(attempt: int, chance: float) -> None:
    """Promise: the wait is between 75 % and 100 % of the back-off, for any random value."""
    policy = policy_with(max_retries=20_000, max_total_time=1e9)

    decision = policy.decide(ServerError(""), attempt=attempt, elapsed=0.0, random=lambda: chance)

    assert isinstance(decision, Retry)
    assert 0.75 * policy.backoff(attempt) <= decision.delay <= policy.backoff(attempt) <= 300


@given(
    retries=st.integers(0, 12),
    initial=st.floats(0.001, 1000),
    longest=st.floats(0.001, 1000),
    total=st.floats(0, 5000),
    chance=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0.001, 2000),
)
def test_r2_r5_retrying_is_bounded_in_attempts_and_in_time(
    retries: int, initial: float, longest: float, total: float, chance: float, asked: float | None
) -> None:
    """Promise: never more than max_retries waits, and never more waiting than max_total_time."""
    policy = policy_with(
        max_retries=retries, initial_backoff=initial, max_backoff=longest, max_total_time=total
    )
    error = RateLimitError("", retry_after=asked)

    chosen = delays(policy, error, lambda: chance)

    assert len(chosen) <= retries
    assert sum(chosen) <= total
    assert all(delay <= longest for delay in chosen)
    assert asked is None or all(delay >= asked for delay in chosen)


def test_r3_retry_after_replaces_the_backoff_and_is_not_shortened() -> None:
    """Promise: the requested wait is kept exactly, without jitter."""
    error = RateLimitError("", retry_after=7.5)

    decision = policy_with().decide(error, attempt=1, elapsed=0.0, random=lambda: 0.999)

    assert decision == Retry(7.5)


def test_r3_retry_after_beyond_max_backoff_fails_now_and_names_the_wait() -> None:
    """Promise: a day is not waited for; the error contains the requested wait."""
    error = RateLimitError("", retry_after=86_400)

    decision = policy_with(max_total_time=1e9).decide(error, attempt=1, elapsed=0.0, random=no_jitter)

    assert isinstance(decision, GiveUp)
    assert "86400 s (24 h)" in decision.reason
    assert "max_backoff (300 s (5 min))" in decision.reason


def test_r3_retry_after_beyond_the_time_left_fails_now() -> None:
    """Promise: the total time also limits a requested wait."""
    error = RateLimitError("", retry_after=100)

    decision = policy_with().decide(error, attempt=2, elapsed=250.0, random=no_jitter)

    assert isinstance(decision, GiveUp)
    assert "50 s" in decision.reason


def test_r1_an_error_that_is_not_transient_is_never_retried() -> None:
    """Promise: the policy follows `is_transient`, even on the first attempt."""
    error = NetworkError("certificate not trusted", is_transient=False)

    decision = policy_with().decide(error, attempt=1, elapsed=0.0, random=no_jitter)

    assert isinstance(decision, GiveUp)


@pytest.mark.parametrize(
    "error", [NetworkError(""), ServerError(""), OverloadedError(""), RateLimitError("")]
)
def test_r1_network_and_server_errors_are_retried(error: ClaudeError) -> None:
    """Promise: connection errors, 5xx, 529 and a 429 without `Retry-After` are retried."""
    assert delays(policy_with(), error) == [10, 20, 40]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20", 20.0),
        ("  20 ", 20.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("20.", 20.0),
        ("86400", 86_400.0),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        ("0", None),
        ("-5", None),
        (formatdate(NOW - 30, usegmt=True), None),
        ("soon", None),
        ("120, 120", 120.0),
        ("5, 120,60", 120.0),
        ("0, 7", 7.0),
        ("soon, 7", 7.0),
        ("7,", 7.0),
        (",", None),
        (f"5, {formatdate(NOW + 30, usegmt=True)}", 30.0),
        (f"{formatdate(NOW + 30, usegmt=True)}, {formatdate(NOW + 40, usegmt=True)}, 5", 40.0),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("9" * 300, LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("9" * 5000, None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("٣", None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_r3_retry_after_is_read_as_seconds_or_date(value: str, expected: float | None) -> None:
    """Promise: integers, decimals and dates are parsed; zero, negative, past and invalid values are ignored."""
    assert parse_retry_after(value, NOW) == expected


@given(st.text())
def test_r3_no_retry_after_value_raises(value: str) -> None:
    """Promise: a header may contain anything, and parsing never raises."""
    wait = parse_retry_after(value, NOW)

    assert wait is None or 0 < wait < float("inf")


def test_r3_retry_after_date_is_compared_with_the_servers_own_clock() -> None:
    """Promise: a local clock that is days off does not lengthen or cancel the wait."""
    server_time = 1_000_000_000.0
    headers = {
        "date": formatdate(server_time, usegmt=True),
        "retry-after": formatdate(server_time + 42, usegmt=True),
    }

    assert retry_after_from_headers(headers) == 42.0


def test_r3_retry_after_ms_is_more_exact_and_goes_first() -> None:
    """Promise: the millisecond header of the official clients takes precedence; an invalid one is ignored."""
    assert retry_after_from_headers({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after_from_headers({"retry-after-ms": "1500, 2500", "retry-after": "9"}) == 2.5
    assert retry_after_from_headers({"retry-after-ms": "soon", "retry-after": "9"}) == 9.0
    assert retry_after_from_headers({}) is None


@given(seconds)
def test_durations_are_always_described(value: float) -> None:
    """Promise: every wait has a short description."""
    assert " s" in describe_seconds(value) or value >= LONGEST_RETRY_AFTER
    assert len(describe_seconds(value)) < 40
