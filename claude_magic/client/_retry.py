"""The retry policy, `Retry-After` headers, and the deadline of a call."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar, cast

from ._errors import ClaudeError, RequestTimeoutError, counted

LONGEST_RETRY_AFTER = 1e9
"""Upper bound for `Retry-After` in seconds: 30 years. Longer waits are clipped, so that they can be added and formatted."""

_LONGEST_VALUE = 1000
"""Longest header value that is parsed, in characters."""

_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)
_ONE_VALUE = re.compile(r"(?:\s*(?:mon|tue|wed|thu|fri|sat|sun)\w*,)?[^,]+", re.IGNORECASE)
"""One of the values of repeated headers, which are joined with a comma. A date has a comma after its weekday."""


def parse_retry_after(value: str, now: float) -> float | None:
    """Parse the value of a `Retry-After` header (RFC 9110 §10.2.3).

    Args:
        value: Seconds, integer or decimal, or an HTTP date. Of several values, separated by commas, the longest wait counts.
        now: Current Unix time in seconds, by the same clock as the date.

    Returns:
        Seconds to wait from `now`, above zero and at most `LONGEST_RETRY_AFTER`; None if each value is zero, negative, a date
        in the past, or invalid.
    """
    if len(value.strip()) > _LONGEST_VALUE:
        return None
    seconds = max((_seconds(each.strip(), now) for each in _ONE_VALUE.findall(value)), default=0.0)
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def retry_after_from_headers(headers: Mapping[str, str]) -> float | None:
    """Return the wait that response headers request.

    `retry-after-ms`, which the official clients support too, is more precise and takes precedence. A date is compared
    with the response's `date` header, so that a wrong local clock does not matter.

    Args:
        headers: Response headers with lower-case names.

    Returns:
        Seconds to wait, above zero and at most `LONGEST_RETRY_AFTER`, or None.
    """
    values = [each.strip() for each in headers.get("retry-after-ms", "").split(",")]
    milliseconds = max((float(each) for each in values if _DECIMAL.fullmatch(each)), default=0.0)
    if milliseconds > 0:
        return min(milliseconds / 1000, LONGEST_RETRY_AFTER)
    value = headers.get("retry-after")
    if value is None:
        return None
    now = _parse_http_date(headers.get("date", ""))
    return parse_retry_after(value, time.time() if now is None else now)


def _seconds(value: str, now: float) -> float:
    """Return the seconds from `now` of one value; 0.0 if it is invalid."""
    if _DECIMAL.fullmatch(value):
        return float(value)
    date = _parse_http_date(value)
    return 0.0 if date is None else date - now


def _parse_http_date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def describe_seconds(seconds: float) -> str:
    """Format a duration for people: `12 s`, `300 s (5 min)`, `86400 s (24 h)`."""
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
    """The decision to make another attempt, `delay` seconds from now."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The decision to make no further attempt. `reason` is a sentence for the user."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A retry policy: exponential back-off, bounded in attempts and in total time. `ClientConfig.retry_policy` makes one.

    Attributes:
        max_retries: Maximum number of attempts after the first one; 0 disables retries.
        initial_backoff: Seconds before the first retry; the back-off doubles with each retry.
        max_backoff: Longest back-off in seconds, and the longest wait that a server may request.
        max_total_time: Maximum time for all retries, in seconds from the first failure. The first attempt does not count;
            otherwise one that timed out after 300 s would never be retried.
        jitter: Maximum fraction by which a back-off is randomly shortened, so that clients that failed together do not
            retry together. It never lengthens a back-off, and never shortens a wait that a server requested.
    """

    max_retries: int
    initial_backoff: float
    max_backoff: float
    max_total_time: float
    jitter: float = 0.25

    @property
    def max_attempts(self) -> int:
        return self.max_retries + 1

    def too_long(self, seconds: float) -> str | None:
        """Return the name and value of the setting that a requested wait exceeds before the first attempt, or None."""
        if seconds > self.max_backoff:
            return f"max_backoff ({describe_seconds(self.max_backoff)})"
        if seconds > self.max_total_time:
            return f"max_retry_time ({describe_seconds(self.max_total_time)})"
        return None

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait after failed attempt `attempt`, without jitter: 10, 20, 40 … 300."""
        # 2**62 is far beyond any limit; without the bound, a huge attempt number would overflow the float.
        return min(self.initial_backoff * 2.0 ** min(attempt - 1, 62), self.max_backoff)

    def decide(
        self, error: ClaudeError, *, attempt: int, elapsed: float, random: Callable[[], float]
    ) -> Retry | GiveUp:
        """Decide whether to retry after a failed attempt.

        Args:
            error: Error of the attempt.
            attempt: Number of the attempt, from 1.
            elapsed: Seconds since the request's first failure; 0.0 for the first failure.
            random: Random source, uniform in [0, 1).
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
                f"Gave up after {counted(attempt, 'attempt')}: waiting {describe_seconds(delay)} more would exceed "
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
        return f"Gave up after {counted(attempt, 'attempt')}, {describe_seconds(elapsed)} after the first failure."


_Result = TypeVar("_Result")


_NOT_SENT = "claude_magic: not sent"


def mark_as_not_sent(cancelled: asyncio.CancelledError) -> None:
    """Record in a `CancelledError` that nothing of the request was sent. A class of its own would escape `asyncio.timeout`."""
    cancelled.__dict__[_NOT_SENT] = True


def was_sent(cancelled: asyncio.CancelledError) -> bool:
    """Return whether a part of the cancelled request may have been sent."""
    return _NOT_SENT not in cancelled.__dict__


class Deadline:
    """A deadline for a whole call, `timeout` seconds from now on the running loop.

    Like `asyncio.timeout`, but with one timer for all reads of a stream, which need not happen in one task or one block.
    `asyncio.timeout` around each read costs 4 µs; around all reads it would interrupt the caller's own code. Close the
    deadline when the call is over, preferably by using it as a context manager.

    Args:
        timeout: Seconds.
        setting: Name of the setting that the error message suggests to raise.
        is_transient: Whether the timeout error is transient, so that the call is retried.
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

    async def bound(self, work: Coroutine[Any, Any, _Result], *, is_sending: bool = False) -> _Result:
        """Await `work` until the deadline.

        Args:
            work: What to await.
            is_sending: It sends a request, so that nothing has been sent if the deadline has passed already.

        Raises:
            RequestTimeoutError: The deadline passed.
        """
        if self._is_expired:
            work.close()
            raise self._error(was_sent=not is_sending)
        task = self._task = cast("asyncio.Task[Any]", asyncio.current_task())  # always awaited in a task
        foreign_cancels = task.cancelling()
        try:
            return await work
        except asyncio.CancelledError as cancelled:
            may_have_arrived = was_sent(cancelled)
            if not self._has_cancelled or task.cancelling() > foreign_cancels + 1:
                raise  # the task was cancelled by its owner, too
        finally:
            self._task = None
            if self._has_cancelled:
                self._has_cancelled = False
                task.uncancel()
        # Outside `except`, so that its context does not refer to the HTTP library.
        raise self._error(was_sent=may_have_arrived)

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

    def _error(self, *, was_sent: bool) -> RequestTimeoutError:
        return RequestTimeoutError(
            f"The reply was not complete within {describe_seconds(self._timeout)}. "
            f"Raise {self._setting} if replies may take that long.",
            is_transient=self._is_transient,
            was_sent=was_sent,
        )
