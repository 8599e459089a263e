"""Rate limits: token buckets, their headers, and the 429 when one is empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ._errors import APIError

REQUESTS_PER_MINUTE = 10_000
INPUT_TOKENS_PER_MINUTE = 10_000_000
OUTPUT_TOKENS_PER_MINUTE = 2_000_000
"""What the headers tell where no limit was set; the published figures of the highest tier."""


class Bucket:
    """Holds one minute's worth, refilled continuously.

    Args:
        per_minute: What flows in during a minute.
        is_enforced: An empty bucket refuses; otherwise it only counts.
        clock: The time in seconds.
        capacity: What it holds, where that is not a minute's worth.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        is_enforced: bool,
        clock: Callable[[], float],
        capacity: int | None = None,
    ) -> None:
        self.per_minute = per_minute
        self._capacity = per_minute if capacity is None else capacity
        self.is_enforced = is_enforced
        self._clock = clock
        self._level = float(self._capacity)
        self._filled_at = clock()

    @property
    def level(self) -> float:
        """What is in it now."""
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._filled_at) * self.per_minute / 60)
        self._filled_at = now
        return self._level

    def take(self, amount: float) -> None:
        """Take what was used; a bucket that is enforced can fall into debt."""
        self._level = self.level - amount
        if not self.is_enforced:
            self._level = max(0.0, self._level)

    def seconds_until(self, amount: float) -> float:
        """How long until this much is in it; 0 if it is."""
        return max(0.0, (min(amount, self._capacity) - self.level) * 60 / self.per_minute)

    def headers(self, name: str, *, unit: int = 1) -> dict[str, str]:
        """Limit, remaining and reset, the latter being the time when it is full again."""
        full_at = datetime.now(UTC) + timedelta(seconds=self.seconds_until(self.per_minute))
        remaining = max(0, math.floor(self.level))
        return {
            f"anthropic-ratelimit-{name}-limit": str(self.per_minute),
            f"anthropic-ratelimit-{name}-remaining": str(remaining // unit * unit),
            f"anthropic-ratelimit-{name}-reset": full_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that were set for each model class; None means that nothing is refused.

    `burst` is how many requests may come at once; the API keeps the right to enforce a minute's limit on shorter spans.
    """

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    burst: int | None = None


class RateLimiter:
    """The buckets of one class of models."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._requests = _bucket(limits.requests_per_minute, REQUESTS_PER_MINUTE, clock)
        self._spurt = Bucket(
            limits.requests_per_minute or REQUESTS_PER_MINUTE,
            is_enforced=limits.burst is not None,
            clock=clock,
            capacity=limits.burst,
        )
        self._input = _bucket(limits.input_tokens_per_minute, INPUT_TOKENS_PER_MINUTE, clock)
        self._output = _bucket(limits.output_tokens_per_minute, OUTPUT_TOKENS_PER_MINUTE, clock)

    def admit(self, input_tokens: int) -> None:
        """Let a request in, or refuse it.

        Raises:
            APIError: 429, one of the buckets is empty; it says how long to wait.
        """
        needs = (
            (self._requests, "requests", 1),
            (self._spurt, "requests", 1),
            (self._input, "input tokens", input_tokens),
            (self._output, "output tokens", 1),
        )
        for bucket, name, amount in needs:
            wait = bucket.seconds_until(amount) if bucket.is_enforced else 0.0
            if wait > 0:
                raise APIError(
                    429,
                    f"This request would exceed your organization's rate limit of {bucket.per_minute:,}"
                    f" {name} per minute.",
                    headers={**self.headers(), "retry-after": str(math.ceil(wait))},
                )
        self._requests.take(1)
        self._spurt.take(1)

    def charge(self, input_tokens: int, output_tokens: int) -> None:
        """Take what a request used; cache reads do not count."""
        self._input.take(input_tokens)
        self._output.take(output_tokens)

    def headers(self) -> Mapping[str, str]:
        """The state of the buckets."""
        tightest = min((self._input, self._output), key=lambda bucket: bucket.level / bucket.per_minute)
        return {
            **self._requests.headers("requests"),
            **tightest.headers("tokens", unit=1000 if tightest.per_minute >= 1000 else 1),
            **self._input.headers("input-tokens", unit=1000 if self._input.per_minute >= 1000 else 1),
            **self._output.headers("output-tokens", unit=1000 if self._output.per_minute >= 1000 else 1),
        }


def _bucket(limit: int | None, advertised: int, clock: Callable[[], float]) -> Bucket:
    return Bucket(advertised if limit is None else limit, is_enforced=limit is not None, clock=clock)
