"""Reading of a server's rate limits from response headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from claude_magic.client import ServerLimit, read_limits


def test_limit_remaining_and_reset_are_read() -> None:
    """A reset is a time, not a number of seconds."""
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


def test_invalid_headers_are_ignored() -> None:
    """Local servers send none of these; gateways may send anything."""
    assert read_limits({}) == ()
    assert read_limits({"anthropic-ratelimit-requests-limit": "many"}) == ()
    odd = {"anthropic-ratelimit-tokens-limit": "5", "anthropic-ratelimit-tokens-reset": "soon"}
    assert read_limits(odd)[0].resets_at is None


@pytest.mark.parametrize("number", ["-5", "nan", "inf", "1e9", "٣", "9" * 400, "0x10", ""])
def test_an_invalid_count_is_treated_as_absent(number: str) -> None:
    """Even if the numbers are hostile."""
    headers = {
        "anthropic-ratelimit-requests-limit": number,
        "anthropic-ratelimit-requests-remaining": number,
    }

    assert read_limits(headers) == ()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_reset_at_the_limits_of_datetime_does_not_raise(moment: str) -> None:
    """It is displayed, and nothing waits for it."""
    (limit,) = read_limits(
        {"anthropic-ratelimit-requests-limit": "5", "anthropic-ratelimit-requests-reset": moment}
    )

    assert limit.resets_at is not None
    assert limit.resets_at.tzinfo is not None
