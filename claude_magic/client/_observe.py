"""What a call tells about its progress: frozen records for observers, and one log record per attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ._errors import ClaudeError

LimiterReason: TypeAlias = Literal["rate", "paused", "requests", "input tokens", "output tokens", "tokens"]
"""Why a request is not sent yet: the configured rate, a pause that a server asked for, or a limit of the server's."""

logger = logging.getLogger("claude_magic.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterWaiting:
    """The attempt waits to be sent. Told again when the reason changes, or the expectation by much.

    Attributes:
        attempt: Attempt that waits, from 1.
        expected_wait: Seconds it will take if nobody before it gives up.
        reason: "rate" for the configured rate, "paused" for a pause that a server asked for; otherwise the server's
            limit that is used up: "requests", "input tokens" ...
    """

    attempt: int
    expected_wait: float | None
    reason: LimiterReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """The limiter has let the attempt through; it is being sent."""

    attempt: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStarted:
    """Status and headers of a response have arrived. Header names are lower-case; no header holds the key."""

    attempt: int
    status: int
    request_id: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """One attempt is over, well or badly.

    Attributes:
        attempt: Its number, from 1.
        max_attempts: Most attempts that the policy allows.
        method: HTTP method.
        path: Path of the URL, without host and query.
        status: HTTP status, or None if no response came.
        error: How it failed, or None.
        will_retry: Whether another attempt follows.
        delay: Seconds until that attempt, or None.
        duration: Seconds this attempt took, from sending to the end of the response.
        elapsed: Seconds since the call began, waits included.
        request_id: The server's id of the request.
        give_up_reason: Why no other attempt follows, as a sentence, or None.
        input_tokens: Input of the reply in model tokens, cached ones included; None if unknown.
        output_tokens: Output of the reply in model tokens; None if unknown.
    """

    attempt: int
    max_attempts: int
    method: str
    path: str
    status: int | None
    error: ClaudeError | None
    will_retry: bool
    delay: float | None
    duration: float
    elapsed: float
    request_id: str | None
    give_up_reason: str | None
    input_tokens: int | None = None
    output_tokens: int | None = None


ClientEvent: TypeAlias = LimiterWaiting | AttemptStarted | ResponseStarted | AttemptFinished
Observer: TypeAlias = Callable[[ClientEvent], None]


def log_attempt(finished: AttemptFinished) -> None:
    """Write one INFO record for an attempt. It holds no prompt, no answer and no key."""
    if not logger.isEnabledFor(logging.INFO):
        return
    logger.info(
        "%s %s: %s, attempt %d of %d, %.3f s",
        finished.method,
        finished.path,
        _outcome_of(finished),
        finished.attempt,
        finished.max_attempts,
        finished.duration,
        extra={
            "method": finished.method,
            "path": finished.path,
            "status": finished.status,
            "attempt": finished.attempt,
            "max_attempts": finished.max_attempts,
            "delay": finished.delay,
            "duration": finished.duration,
            "request_id": finished.request_id,
            "error_class": None if finished.error is None else type(finished.error).__name__,
            "will_retry": finished.will_retry,
            "input_tokens": finished.input_tokens,
            "output_tokens": finished.output_tokens,
        },
    )


def _outcome_of(finished: AttemptFinished) -> str:
    outcome = "no response" if finished.status is None else str(finished.status)
    if finished.error is not None:
        return f"{outcome}, {type(finished.error).__name__}"
    return f"{outcome}, cancelled" if finished.give_up_reason else outcome
