"""The stored rate limits of a server."""

from __future__ import annotations

from claude_magic.client import ResponseStarted
from claude_magic.runtime._limits import RateLimits


def response(status: int = 200, **headers: str) -> ResponseStarted:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseStarted(attempt=1, status=status, request_id=None, headers=named)


def test_the_last_word_on_each_model_counts() -> None:
    """The model with the latest report is first."""
    limits = RateLimits(clock=lambda: 100.0)

    for model, remaining in (("a", "9"), ("b", "5"), ("a", "8")):
        limits.on_response(response(anthropic_ratelimit_requests_remaining=remaining), model=model)
    limits.on_response(response(), model="b")

    reported = limits.by_model()
    assert [(each.model, each.limits[0].remaining) for each in reported] == [("a", 8), ("b", 5)]
    assert reported[0].received_at == 100.0


def test_refusals_are_remembered() -> None:
    """With time, model and wait, and only the last ones."""
    limits = RateLimits(clock=lambda: 100.0)

    limits.on_response(response(429, retry_after="7"), model="a")
    limits.on_response(response(429), model="b")
    limits.on_response(response(529), model="c")

    assert [(each.model, each.at, each.retry_after) for each in limits.refusals()] == [
        ("b", 100.0, None),
        ("a", 100.0, 7.0),
    ]
    for _ in range(100):
        limits.on_response(response(429), model="a")
    assert len(limits.refusals()) <= 20


def test_a_refusal_names_the_wait_that_the_client_waits() -> None:
    """`retry-after-ms` comes first, and a date counts from the `date` of the response."""
    limits = RateLimits(clock=lambda: 100.0)
    date, later = "Sun, 09 Sep 2001 01:46:40 GMT", "Sun, 09 Sep 2001 01:47:10 GMT"

    limits.on_response(response(429, retry_after_ms="1500", retry_after="9"), model="a")
    limits.on_response(response(429, date=date, retry_after=later), model="a")

    assert [each.retry_after for each in limits.refusals()] == [30.0, 1.5]


def test_models_are_not_collected_for_ever() -> None:
    """A kernel may run for a long time."""
    limits = RateLimits()

    for number in range(100):
        limits.on_response(response(anthropic_ratelimit_requests_limit="5"), model=f"model-{number}")

    assert limits.by_model()[0].model == "model-99"
    assert len(limits.by_model()) <= 20
