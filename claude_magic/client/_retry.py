"""Whether a failed attempt is worth another one, after how long, and the bound on a whole call."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar, cast

from ._errors import ClaudeError, RequestTimeoutError

LONGEST_RETRY_AFTER = 1e9
"""Seconds, 30 years: whatever a server asks for beyond that is taken for this, so that it can be counted and told."""

_LONGEST_VALUE = 1000
"""Characters of a header's value that are looked at."""

_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)


def parse_retry_after(value: str, now: float) -> float | None:
    """Read the value of a `Retry-After` header (RFC 9110 §10.2.3).

    Args:
        value: Seconds, whole or decimal, or an HTTP date.
        now: The present as Unix time in seconds, by the same clock as the date.

    Returns:
        Seconds to wait from `now`, above zero and at most `LONGEST_RETRY_AFTER`. None where the value says nothing: zero, negative, a date that
        has passed, or not understood.
    """
    text = value.strip()
    if len(text) > _LONGEST_VALUE:
        return None
    if _DECIMAL.fullmatch(text):
        seconds = float(text)
    else:
        date = _parse_http_date(text)
        if date is None:
            return None
        seconds = date - now
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def retry_after_from_headers(headers: Mapping[str, str]) -> float | None:
    """Read the wait that response headers ask for.

    `retry-after-ms`, which the official clients understand too, is the more exact and goes first. A date is
    compared with the response's own `date`, so that a wrong local clock does no harm.

    Args:
        headers: Response headers with lower-case names.

    Returns:
        Seconds to wait, above zero and at most `LONGEST_RETRY_AFTER`, or None.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _DECIMAL.fullmatch(milliseconds) and float(milliseconds) > 0:
        return min(float(milliseconds) / 1000, LONGEST_RETRY_AFTER)
    value = headers.get("retry-after")
    if value is None:
        return None
    now = _parse_http_date(headers.get("date", ""))
    return parse_retry_after(value, time.time() if now is None else now)


def _parse_http_date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def describe_seconds(seconds: float) -> str:
    """Say a duration so that a person grasps it: `12 s`, `300 s (5 min)`, `86400 s (24 h)`."""
    if seconds >= LONGEST_RETRY_AFTER:
        return "30 years or more"
    exact = f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f} s"
    if seconds < 120:
        return exact
    if seconds < 7200:
        return f"{exact} ({seconds / 60:.0f} min)"
    if seconds < 172_800:
        return f"{exact} ({seconds / 3600:.0f} h)"
    return f"{exact} ({seconds / 86_400:.0f} days)"


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


_Result = TypeVar("_Result")


class Deadline:
    """A moment by which a call must be over, `timeout` seconds from now on the running loop.

    Like `asyncio.timeout`, but one timer serves all reads of a stream, which need not happen in one task or
    one block:
    `asyncio.timeout` around each read costs 4 µs, and around all of them it would interrupt the reader's own
    code. Close it when the call is over, best by using it as a context manager.

    Args:
        timeout: Seconds.
        setting: Name of the setting to raise, for the error message.
        is_transient: Whether running out of time here is worth another attempt.
    """

    __slots__ = ("_has_cancelled", "_is_expired", "_is_transient", "_setting", "_task", "_timeout", "_timer")

    def __init__(self, timeout: float, *, setting: str, is_transient: bool) -> None:
        self._timeout = timeout
        self._setting = setting
        self._is_transient = is_transient
        self._is_expired = False
        self._has_cancelled = False
        self._task: asyncio.Task[Any] | None = None
        self._timer = asyncio.get_running_loop().call_later(timeout, self._expire)

    async def bound(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await `work`, but not beyond the deadline.

        Raises:
            RequestTimeoutError: The deadline came first.
        """
        if self._is_expired:
            work.close()
            raise self._error()
        task = self._task = cast("asyncio.Task[Any]", asyncio.current_task())  # awaited in one
        foreign_cancels = task.cancelling()
        try:
            return await work
        except asyncio.CancelledError:
            if not self._has_cancelled or task.cancelling() > foreign_cancels + 1:
                raise  # somebody else cancelled, too
        finally:
            self._task = None
            if self._has_cancelled:
                self._has_cancelled = False
                task.uncancel()
        raise self._error()  # here, where no context leads into the HTTP library

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _expire(self) -> None:
        self._is_expired = True
        if self._task is not None:
            self._has_cancelled = True
            self._task.cancel()

    def _error(self) -> RequestTimeoutError:
        return RequestTimeoutError(
            f"The reply was not complete within {describe_seconds(self._timeout)}. "
            f"Raise {self._setting} if replies may take that long.",
            is_transient=self._is_transient,
        )
