"""What the server's own rate limits are, as the headers of its responses tell."""

from __future__ import annotations

from datetime import UTC, datetime

from claude_magic.client import ResponseStarted
from claude_magic.runtime._server_limits import RateLimits, ServerLimit, read_limits


def response(status: int = 200, **headers: str) -> ResponseStarted:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseStarted(attempt=1, status=status, request_id=None, headers=named)


def test_limit_remaining_and_reset_are_read() -> None:
    """A reset is a time, not seconds."""
    headers = {
        "anthropic-ratelimit-requests-limit": "1000",
        "anthropic-ratelimit-requests-remaining": "999",
        "anthropic-ratelimit-requests-reset": "2026-11-22T10:00:00Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-fast-output-tokens-limit": "5",
    }

    requests, tokens, fast = read_limits(headers)

    reset = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert requests == ServerLimit(kind="requests", limit=1000, remaining=999, resets_at=reset)
    assert tokens == ServerLimit(kind="input tokens", limit=None, remaining=0, resets_at=None)
    assert fast.kind == "fast output tokens"


def test_headers_that_make_no_sense_are_left_out() -> None:
    """Local servers send none of these, gateways send anything."""
    assert read_limits({}) == ()
    assert read_limits({"anthropic-ratelimit-requests-limit": "many"}) == ()
    odd = {"anthropic-ratelimit-tokens-limit": "5", "anthropic-ratelimit-tokens-reset": "soon"}
    assert read_limits(odd)[0].resets_at is None


def test_the_last_word_on_each_model_counts() -> None:
    """The model told of last stands first."""
    limits = RateLimits(clock=lambda: 100.0)

    for model, remaining in (("a", "9"), ("b", "5"), ("a", "8")):
        limits.note(response(anthropic_ratelimit_requests_remaining=remaining), model=model)
    limits.note(response(), model="b")

    told = limits.by_model()
    assert [(each.model, each.limits[0].remaining) for each in told] == [("a", 8), ("b", 5)]
    assert told[0].told_at == 100.0


def test_refusals_are_remembered() -> None:
    """When, of which model, and for how long; and not for ever."""
    limits = RateLimits(clock=lambda: 100.0)

    limits.note(response(429, retry_after="7"), model="a")
    limits.note(response(429), model="b")
    limits.note(response(529), model="c")

    assert [(each.model, each.at, each.retry_after) for each in limits.refusals()] == [
        ("b", 100.0, None),
        ("a", 100.0, 7.0),
    ]
    for _ in range(100):
        limits.note(response(429), model="a")
    assert len(limits.refusals()) <= 20


def test_models_are_not_collected_for_ever() -> None:
    """A kernel lives long."""
    limits = RateLimits()

    for number in range(100):
        limits.note(response(anthropic_ratelimit_requests_limit="5"), model=f"model-{number}")

    assert limits.by_model()[0].model == "model-99"
    assert len(limits.by_model()) <= 20
