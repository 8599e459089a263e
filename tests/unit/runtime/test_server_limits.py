"""The stored rate limits of a server."""

from __future__ import annotations

from claude_magic.client import ResponseStarted
from claude_magic.runtime._bridge import RateLimits


def response(status: int = 200, **headers: str) -> ResponseStarted:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseStarted(attempt=1, status=status, request_id=None, headers=named)


def test_the_last_word_on_each_model_counts() -> None:
    """The model with the latest report is first."""
    limits = RateLimits(clock=lambda: 100.0)

    for model, remaining in (("a", "9"), ("b", "5"), ("a", "8")):
        limits.on_response(response(anthropic_ratelimit_requests_remaining=remaining), model=model)
    limits.on_response(response(), model="b")

    told = limits.by_model()
    assert [(each.model, each.limits[0].remaining) for each in told] == [("a", 8), ("b", 5)]
    assert told[0].received_at == 100.0


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


def test_models_are_not_collected_for_ever() -> None:
    """A kernel may run for a long time."""
    limits = RateLimits()

    for number in range(100):
        limits.on_response(response(anthropic_ratelimit_requests_limit="5"), model=f"model-{number}")

    assert limits.by_model()[0].model == "model-99"
    assert len(limits.by_model()) <= 20
