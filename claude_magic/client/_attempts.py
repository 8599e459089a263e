"""One call's attempts: admit, send, and after a failure wait and try again, or give up; and what is told of them on the way."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

from ._errors import APIError, ClaudeError, NetworkError, RateLimitError
from ._pace import ServerPace
from ._rate_limit import LimiterReason, TokenBucket
from ._retry import GiveUp, RetryPolicy, describe_seconds

if TYPE_CHECKING:
    from ._messages import Usage
    from ._pace import Ticket
    from ._server_limits import Need, WaitReason

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecorded:
    """The reply stands in a cassette: it was recorded now, or comes from there.

    Attributes:
        key: The key of the request, in hexadecimal digits.
        recorded_at: When it was asked, as RFC 3339 text.
        seconds: How long it took then.
        request_id: The server's id of the request, or None.
        is_simulated: A simulator answered.
        is_replay: It comes from the cassette: nothing was sent.
        error: The class of the error with which it ended, or None.
        is_interrupted: It was stopped.
    """

    key: str
    recorded_at: str
    seconds: float
    request_id: str | None
    is_simulated: bool
    is_replay: bool
    error: str | None = None
    is_interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CassetteRemark:
    """What a person should know of the cassette, as a sentence: the answer was not recorded, a line cannot be read."""

    text: str


ClientEvent: TypeAlias = (
    LimiterWaiting | AttemptStarted | ResponseStarted | AttemptFinished | AnswerRecorded | CassetteRemark
)
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


_Result = TypeVar("_Result")

_SHORT_PAUSE = 1.0
"""Seconds that are waited without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRules:
    """What all calls of a client share: limiters, policy, and the sources of time and chance."""

    bucket: TokenBucket
    pace: ServerPace
    policy: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def without_retries(self) -> AttemptRules:
        """Return rules by which a call is made once."""
        return replace(self, policy=replace(self.policy, max_retries=0))


class Attempts:
    """The attempts of one call.

    `run` covers an attempt until its operation returns. For a plain call that is the whole of it, for a
    stream the part before the first content; either way the caller then ends it with `succeed` or `fail`.

    Args:
        rules: What all calls share.
        method: HTTP method.
        path: Path of the URL, without query.
        observer: Told of each step, or None.
        need: What the call takes of the server's limits; None for calls that these are not about.
    """

    def __init__(
        self,
        rules: AttemptRules,
        method: str,
        path: str,
        observer: Observer | None,
        need: Need | None = None,
    ) -> None:
        self._rules = rules
        self._method = method
        self._path = path
        self._observer = observer
        self._need = need
        self._ticket: Ticket | None = None
        self._attempt = 0
        self._status: int | None = None
        self._request_id: str | None = None
        self._called_at = rules.clock()
        self._sent_at = self._called_at
        self._first_failure_at: float | None = None

    async def run(self, operation: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run an operation until it succeeds or the policy gives up.

        Raises:
            ClaudeError: The last failure. `attempts` is set and, if it was transient, `give_up_reason`. Or nothing was
                sent, because a server asked to wait for longer than the policy allows.
        """
        while True:
            await self._admit()
            try:
                return await operation()
            except ClaudeError as error:
                failure = error
            except asyncio.CancelledError:
                self.cancel()
                raise
            delay = self._decide(failure)
            del failure  # it refers to this frame through its traceback
            await self._rules.sleep(delay)

    def response_started(self, status: int, request_id: str | None, headers: Mapping[str, str]) -> None:
        """Note that status and headers have arrived."""
        self._status = status
        self._request_id = request_id
        if self._ticket is not None:
            self._ticket.hear(headers, is_refusal=status == 429)
            self._rules.bucket.recheck()
        if self._observer is not None:
            self._notify(
                ResponseStarted(attempt=self._attempt, status=status, request_id=request_id, headers=headers)
            )

    def succeed(self, usage: Usage | None = None) -> None:
        """Note that the reply is complete."""
        self._settle(usage)
        self._tell(self._finished(None, usage=usage))

    def cancel(self) -> None:
        """Note that the caller cancelled the attempt. Only the log is told: the observer knows."""
        self._settle(None)
        log_attempt(self._finished(None, give_up_reason="Cancelled by the caller."))

    def fail(self, error: ClaudeError, reason: str) -> NoReturn:
        """Note a failure that must not be retried, for a reason outside the policy, and raise it."""
        self._settle(None)
        error.attempts = self._attempt
        if error.is_transient:
            error.give_up_reason = reason
        self._tell(self._finished(error, give_up_reason=reason))
        raise error

    async def _admit(self) -> None:
        """Wait for the limiter; every attempt takes capacity of its own."""
        self._attempt += 1
        self._status = self._request_id = None
        if self._need is not None:
            self._ticket = self._rules.pace.ticket(self._need, self._tell_wait_reason)
        bucket, ticket = self._rules.bucket, self._ticket
        try:
            if (refusal := self._refuse_to_wait()) is not None:
                raise refusal
            if not bucket.try_acquire(gate=ticket):
                self._tell_expectation(ticket)
                await bucket.acquire(gate=ticket, refusal=self._refuse_to_wait, on_wait=self._tell_rate)
        except BaseException:
            self._withdraw()
            raise
        self._sent_at = self._rules.clock()
        if self._observer is not None:
            self._notify(AttemptStarted(attempt=self._attempt, max_attempts=self._rules.policy.max_attempts))

    def _refuse_to_wait(self) -> RateLimitError | None:
        """Return why the attempt is not worth waiting for: a pause that a server asked for is longer than we wait.

        Calls about no answer (lists, counts) are made on the way to one, where nobody is told why they wait: they do not.
        """
        asked = self._rules.bucket.asked_for()
        if self._ticket is not None:
            asked = max(asked, self._ticket.asked_for())
        if not asked:
            return None
        bound = self._rules.policy.too_long(asked)
        if bound is None and (self._need is not None or asked <= _SHORT_PAUSE):
            return None
        exceeds = "" if bound is None else f" That is more than {bound}."
        error = RateLimitError(
            "Not sent: the server refused an earlier request (429) and asked to wait; "
            f"{describe_seconds(asked)} are left.{exceeds} "
            "Run it again later, or use another model, key or server.",
            status=429,
            error_type="rate_limit_error",
            retry_after=asked,
        )
        error.attempts = self._attempt - 1
        return error

    def _tell_expectation(self, ticket: Ticket | None) -> None:
        """Tell what is waited for: the bucket, or a limit of the server's where that takes longer."""
        bucket = self._rules.bucket
        seconds = bucket.expected_wait()
        wait_reason = None if ticket is None else ticket.expect()
        if ticket is not None and wait_reason is not None and wait_reason.seconds > seconds:
            ticket.tell(wait_reason)
        elif seconds:
            self._tell_rate(seconds)

    def _tell_rate(self, seconds: float) -> None:
        self._tell_wait(seconds, "paused" if self._rules.bucket.state.paused_for else "rate")

    def _tell_wait_reason(self, wait_reason: WaitReason) -> None:
        self._tell_wait(wait_reason.seconds, wait_reason.reason)

    def _tell_wait(self, seconds: float, reason: LimiterReason) -> None:
        self._notify(LimiterWaiting(attempt=self._attempt, expected_wait=seconds, reason=reason))

    def _decide(self, error: ClaudeError) -> float:
        """Return the seconds to wait before the next attempt, or raise the error."""
        rules = self._rules
        now = rules.clock()
        if self._first_failure_at is None:
            self._first_failure_at = now
        self._pause_others(error)
        if isinstance(error, NetworkError) and not error.was_sent:
            self._withdraw()
        decision = rules.policy.decide(
            error, attempt=self._attempt, elapsed=now - self._first_failure_at, random=rules.random
        )
        if isinstance(decision, GiveUp):
            self.fail(error, decision.reason)
        self._settle(None)
        error.attempts = self._attempt
        self._tell(self._finished(error, delay=decision.delay))
        return decision.delay

    def _pause_others(self, error: ClaudeError) -> None:
        """Pause other callers back after a 429, which is about the account and not about one request.

        A server that tells its limits has them for each class of models, and only that class is paused.
        """
        if not isinstance(error, RateLimitError) or error.retry_after is None or error.is_spend_cap:
            return
        seconds = min(error.retry_after, self._rules.policy.max_backoff)
        if self._ticket is None or not self._ticket.pause_others(seconds, asked=error.retry_after):
            self._rules.bucket.pause_for(seconds, asked=error.retry_after)
        self._rules.bucket.ask_waiters()

    def _settle(self, usage: Usage | None) -> None:
        """Tell the pace how the attempt ended."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.finish(usage)
            self._rules.bucket.recheck()

    def _withdraw(self) -> None:
        """Tell the pace that the server never saw the attempt."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.withdraw()
            self._rules.bucket.recheck()

    def _finished(
        self,
        error: ClaudeError | None,
        *,
        delay: float | None = None,
        give_up_reason: str | None = None,
        usage: Usage | None = None,
    ) -> AttemptFinished:
        now = self._rules.clock()
        status = error.status if isinstance(error, APIError) and error.status else self._status
        return AttemptFinished(
            attempt=self._attempt,
            max_attempts=self._rules.policy.max_attempts,
            method=self._method,
            path=self._path,
            status=status,
            error=error,
            will_retry=delay is not None,
            delay=delay,
            duration=now - self._sent_at,
            elapsed=now - self._called_at,
            request_id=(error.request_id if error is not None else None) or self._request_id,
            give_up_reason=give_up_reason,
            input_tokens=None if usage is None else usage.total_input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
        )

    def _tell(self, finished: AttemptFinished) -> None:
        log_attempt(finished)
        self._notify(finished)

    def _notify(self, event: ClientEvent) -> None:
        if self._observer is None:
            return
        try:
            self._observer(event)
        except Exception:  # an observer is foreign code; its fault must not cost the reply
            logger.exception("an observer failed on %s", type(event).__name__)
