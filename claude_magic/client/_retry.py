"""Decides whether a failed attempt is worth another one, and after how long. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._errors import ClaudeError
from ._retry_after import describe_seconds


@dataclass(frozen=True, slots=True)
class Retry:
    """Make another attempt, `delay` seconds from now."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make no further attempt. `reason` is a sentence for people."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off, bounded in attempts and in total time.

    Attributes:
        max_retries: Attempts after the first one; 0 switches retrying off.
        initial_backoff: Seconds before the first retry; each further one waits twice as long.
        max_backoff: Longest back-off in seconds, and the longest wait that a server may ask for.
        max_total_time: Seconds that retrying may take in all, from the first failure on. The first attempt
            itself does not count: otherwise one that timed out after 300 s would never be retried.
        jitter: Greatest share by which chance shortens a back-off, so that clients which failed together do
            not come back together. It never lengthens, and never undercuts what a server asked for.
    """

    max_retries: int = 3
    initial_backoff: float = 10.0
    max_backoff: float = 300.0
    max_total_time: float = 300.0
    jitter: float = 0.25

    @property
    def max_attempts(self) -> int:
        return self.max_retries + 1

    def too_long(self, seconds: float) -> str | None:
        """Return the setting, and its value, that a server's wait exceeds before anything was sent; None if none."""
        if seconds > self.max_backoff:
            return f"max_backoff ({describe_seconds(self.max_backoff)})"
        if seconds > self.max_total_time:
            return f"max_retry_time ({describe_seconds(self.max_total_time)})"
        return None

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait after failed attempt `attempt`, before jitter: 10, 20, 40 … 300."""
        # 2**62 is far beyond any cap; the bound keeps a huge attempt number from overflowing the float.
        return min(self.initial_backoff * 2.0 ** min(attempt - 1, 62), self.max_backoff)

    def decide(
        self, error: ClaudeError, *, attempt: int, elapsed: float, random: Callable[[], float]
    ) -> Retry | GiveUp:
        """Decide what follows a failed attempt.

        Args:
            error: How it failed.
            attempt: Its number, from 1.
            elapsed: Seconds since the first attempt of this request failed; 0.0 for the first failure.
            random: Source of chance, uniform in [0, 1).
        """
        if not error.is_transient:
            return GiveUp("Not retried: the same request would fail again.")
        if attempt > self.max_retries:
            return GiveUp(self._describe_exhaustion(attempt, elapsed))
        if error.retry_after is not None:
            return self._decide_by_server(error.retry_after, elapsed)
        delay = self.backoff(attempt) * (1.0 - self.jitter * random())
        if elapsed + delay > self.max_total_time:
            return GiveUp(
                f"Gave up after {_count(attempt)}: waiting {describe_seconds(delay)} more would exceed "
                f"max_retry_time ({describe_seconds(self.max_total_time)})."
            )
        return Retry(delay)

    def _decide_by_server(self, retry_after: float, elapsed: float) -> Retry | GiveUp:
        asked = f"Not retried: the wait of {describe_seconds(retry_after)} that the server asks for exceeds"
        if retry_after > self.max_backoff:
            return GiveUp(f"{asked} max_backoff ({describe_seconds(self.max_backoff)}).")
        if elapsed + retry_after > self.max_total_time:
            left = max(0.0, self.max_total_time - elapsed)
            return GiveUp(f"{asked} what is left of max_retry_time ({describe_seconds(left)}).")
        return Retry(retry_after)

    def _describe_exhaustion(self, attempt: int, elapsed: float) -> str:
        if attempt == 1:
            return "Not retried: max_retries is 0."
        return f"Gave up after {_count(attempt)}, {describe_seconds(elapsed)} after the first failure."


def _count(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
