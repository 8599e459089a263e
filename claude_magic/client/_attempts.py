"""Calls, and the attempts of each: rate limit, send, retry or give up. Records of each step go to observers.

`Calls` makes those with a single response. `MessageStream` in `_stream` makes the attempts of a streamed reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeAlias, TypeVar

from ._config import ClientConfig
from ._errors import APIError, ClaudeError, ConfigurationError, NetworkError, RateLimitError
from ._messages import Message, Usage
from ._pace import ServerPace, Ticket
from ._rate_limit import LimiterReason, TokenBucket, WaitReason
from ._responses import parse_reply, read_error, read_object, request_id_of
from ._retry import Deadline, GiveUp, RetryPolicy, describe_seconds, was_sent
from ._server_limits import Need
from ._transport import HTTPTransport, WireResponse

logger = logging.getLogger("claude_magic.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterWaiting:
    """The attempt is waiting to be sent. Reported again when the reason or the expected wait changes noticeably.

    Attributes:
        attempt: Number of the attempt, from 1.
        expected_wait: Expected wait in seconds if no earlier waiter gives up.
        reason: "rate" for the configured rate, "paused" for a pause requested by a server; otherwise the server's limit
            that is used up: "requests", "input tokens" ...
    """

    attempt: int
    expected_wait: float | None
    reason: LimiterReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """The limiter has granted the attempt; it is being sent."""

    attempt: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptNotSent:
    """The caller cancelled the attempt before any part of it was sent."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStarted:
    """The status and headers of a response have arrived. Header names are lower-case; no header contains the key."""

    attempt: int
    status: int
    request_id: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """An attempt has ended, with success or with an error.

    Attributes:
        attempt: Number of the attempt, from 1.
        max_attempts: Maximum number of attempts of the policy.
        method: HTTP method.
        path: Path of the URL, without host and query.
        status: HTTP status, or None if no response arrived.
        error: Error of the attempt, or None.
        will_retry: Whether another attempt follows.
        delay: Seconds until the next attempt, or None.
        duration: Seconds from sending to the end of the response.
        elapsed: Seconds since the call started, including waits.
        request_id: The server's request id, or None.
        give_up_reason: Why no other attempt follows, as a sentence, or None.
        input_tokens: Input in model tokens, including cached ones; None if unknown.
        output_tokens: Output in model tokens; None if unknown.
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
    """The reply was recorded in a cassette, or replayed from one.

    Attributes:
        key: Key of the request, in hexadecimal digits.
        recorded_at: Time of the original request, as RFC 3339 text.
        seconds: Duration of the original request.
        request_id: The server's request id, or None.
        is_simulated: The reply is from a simulator.
        is_replay: The reply was replayed: nothing was sent.
        error: Class name of the error with which the reply ended, or None.
        is_interrupted: The reply was stopped.
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
    """A message about the cassette for the user: the answer was not recorded, or a line cannot be read."""

    text: str


ClientEvent: TypeAlias = (
    LimiterWaiting
    | AttemptStarted
    | AttemptNotSent
    | ResponseStarted
    | AttemptFinished
    | AnswerRecorded
    | CassetteRemark
)
Observer: TypeAlias = Callable[[ClientEvent], None]


def log_attempt(finished: AttemptFinished) -> None:
    """Log an attempt at level INFO. The record contains no prompt, no answer and no key."""
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
"""Longest wait, in seconds, that need not be reported to the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRules:
    """The objects that all calls of a client share: limiters, retry policy, clock and random source."""

    bucket: TokenBucket
    pace: ServerPace
    policy: RetryPolicy
    clock: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]

    def without_retries(self) -> AttemptRules:
        """Return the same rules without retries."""
        return replace(self, policy=replace(self.policy, max_retries=0))


class Attempts:
    """The attempts of one call.

    `run` covers an attempt until its operation returns: the whole call, or a stream up to its first content. The caller
    then ends the attempt with `succeed`, `fail` or `cancel`.

    Args:
        rules: Objects shared by all calls of the client.
        method: HTTP method.
        path: Path of the URL, without query.
        observer: Called with a record of each step, or None.
        need: Expected usage of the server's rate limits; None for calls that request no reply.
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
            ClaudeError: The last failure. `attempts` is set and, if the error is transient, `give_up_reason`. Also raised,
                with nothing sent, if a server asked for a longer wait than the policy allows.
        """
        while True:
            await self._admit()
            try:
                return await operation()
            except ClaudeError as error:
                failure = error
            except asyncio.CancelledError as cancelled:
                self.cancel(was_sent=was_sent(cancelled))
                raise
            delay = self._decide(failure)
            del failure  # avoids a reference cycle: its traceback refers to this frame
            await self._rules.sleep(delay)

    def response_started(self, response: WireResponse) -> None:
        """Record that status and headers have arrived."""
        status, headers = response.status, response.headers
        self._status, self._request_id = status, request_id_of(headers)
        if self._ticket is not None:
            self._ticket.update_from_headers(headers, is_429=status == 429)
            self._rules.bucket.recheck()
        if self._observer is not None:
            self._notify(
                ResponseStarted(
                    attempt=self._attempt, status=status, request_id=self._request_id, headers=headers
                )
            )

    def succeed(self, usage: Usage | None = None) -> None:
        """Record that the reply is complete."""
        self._finish_ticket(usage)
        self._report_finished(self._finished(None, usage=usage))

    def cancel(self, *, was_sent: bool = True) -> None:
        """Record that the caller cancelled the attempt. It is logged; observers are notified only if nothing was sent."""
        self._finish_ticket(was_sent=was_sent)
        log_attempt(self._finished(None, give_up_reason="Cancelled by the caller."))
        if not was_sent:
            self._notify(AttemptNotSent(attempt=self._attempt))

    def fail(self, error: ClaudeError, reason: str) -> NoReturn:
        """Record a failure that is not retried, and raise it."""
        self._finish_ticket()
        error.attempts = self._attempt
        if error.is_transient:
            error.give_up_reason = reason
        self._report_finished(self._finished(error, give_up_reason=reason))
        raise error

    async def _admit(self) -> None:
        """Wait for the limiter; each attempt uses capacity."""
        self._attempt += 1
        self._status = self._request_id = None
        if self._need is not None:
            self._ticket = self._rules.pace.ticket(self._need, self._report_wait)
        bucket, ticket = self._rules.bucket, self._ticket
        try:
            if (refusal := self._pause_error()) is not None:
                raise refusal
            if not bucket.try_acquire(gate=ticket):
                self._report_expected_wait(ticket)
                await bucket.acquire(gate=ticket, refusal=self._pause_error, on_delay=self._report_rate)
        except BaseException:
            self._finish_ticket(was_sent=False)
            raise
        self._sent_at = self._rules.clock()
        if self._observer is not None:
            self._notify(AttemptStarted(attempt=self._attempt, max_attempts=self._rules.policy.max_attempts))

    def _pause_error(self) -> RateLimitError | None:
        """Return an error if a server has asked for a longer pause than the policy allows; else None.

        Calls that do not request a reply (lists, counts) do not wait for more than `_SHORT_PAUSE`, because the reason
        for the wait would not be shown.
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

    def _report_expected_wait(self, ticket: Ticket | None) -> None:
        """Report what the attempt waits for: the bucket, or a limit of the server if that takes longer."""
        seconds = self._rules.bucket.expected_wait()
        if ticket is not None and (wait := ticket.expect()) is not None and wait.seconds > seconds:
            ticket.report(wait)
        elif seconds:
            self._report_rate(seconds)

    def _report_rate(self, seconds: float) -> None:
        self._report_wait(WaitReason("paused" if self._rules.bucket.state.paused_for else "rate", seconds))

    def _report_wait(self, wait: WaitReason) -> None:
        self._notify(LimiterWaiting(attempt=self._attempt, expected_wait=wait.seconds, reason=wait.reason))

    def _decide(self, error: ClaudeError) -> float:
        """Return the seconds to wait before the next attempt, or raise the error."""
        rules = self._rules
        now = rules.clock()
        if self._first_failure_at is None:
            self._first_failure_at = now
        self._pause_others(error)
        if isinstance(error, NetworkError) and not error.was_sent:
            self._finish_ticket(was_sent=False)
        decision = rules.policy.decide(
            error, attempt=self._attempt, elapsed=now - self._first_failure_at, random=rules.random
        )
        if isinstance(decision, GiveUp):
            self.fail(error, decision.reason)
        self._finish_ticket()
        error.attempts = self._attempt
        self._report_finished(self._finished(error, delay=decision.delay))
        return decision.delay

    def _pause_others(self, error: ClaudeError) -> None:
        """Pause all callers after a 429, which concerns the account and not a single request.

        A server that reports its limits has separate limits for each class of models, so only that class is paused.
        """
        if not isinstance(error, RateLimitError) or error.retry_after is None or error.is_spend_cap:
            return
        seconds = min(error.retry_after, self._rules.policy.max_backoff)
        if self._ticket is None or not self._ticket.pause_others(seconds, asked=error.retry_after):
            self._rules.bucket.pause_for(seconds, asked=error.retry_after)
        self._rules.bucket.ask_waiters()

    def _finish_ticket(self, usage: Usage | None = None, *, was_sent: bool = True) -> None:
        """Report to the server's pace that the attempt has ended, or never reached the server."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if was_sent:
            ticket.finish(usage)
        else:
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

    def _report_finished(self, finished: AttemptFinished) -> None:
        log_attempt(finished)
        self._notify(finished)

    def _notify(self, event: ClientEvent) -> None:
        if self._observer is None:
            return
        try:
            self._observer(event)
        except Exception:  # an observer's error must not lose the reply
            logger.exception("an observer failed on %s", type(event).__name__)


class Calls:
    """A sender of requests that also reads their responses.

    All methods must run on the client's event loop, and raise `ClaudeError`s.

    Args:
        config: The client's settings.
        transport: Opens responses.
        rules: The client's limiter and retry policy.
        is_lacking_key: The server requires a key, and none is set.

    Attributes:
        rules: The client's limiter and retry policy.
    """

    def __init__(
        self, config: ClientConfig, transport: HTTPTransport, rules: AttemptRules, *, is_lacking_key: bool
    ) -> None:
        self.rules = rules
        self._transport = transport
        self._base_url = config.shown_base_url
        self._is_lacking_key = is_lacking_key
        # Once the timeout for the response, and once for everything else.
        self._timeout = min(2 * config.timeout, config.stream_timeout)

    async def call(
        self,
        method: str,
        path: str,
        parse: Callable[[dict[str, Any]], _Result],
        body: bytes | None = None,
        observer: Observer | None = None,
        *,
        betas: Sequence[str] = (),
        rules: AttemptRules | None = None,
    ) -> _Result:
        """Send a request, and return the result of `parse` for the JSON object in the response.

        `parse` raises a `ValueError` or `KeyError` for an object of the wrong kind. The other arguments are those of
        `exchange`.
        """

        async def read(response: WireResponse, deadline: Deadline) -> _Result:
            return parse_reply(response, await deadline.bound(read_object(response)), parse)

        return await self.exchange(method, path, read, body, observer, betas=betas, rules=rules)

    async def exchange(
        self,
        method: str,
        path: str,
        read: Callable[[WireResponse, Deadline], Awaitable[_Result]],
        body: bytes | None = None,
        observer: Observer | None = None,
        *,
        betas: Sequence[str] = (),
        need: Need | None = None,
        rules: AttemptRules | None = None,
    ) -> _Result:
        """Send a request, and return the result of `read` for the response.

        Args:
            method: HTTP method.
            path: Path, with query.
            read: Reads a successful response until the deadline, and closes it.
            body: Request body, or None.
            observer: Called with a record of each step.
            betas: Beta features that the request needs.
            need: What the request uses of the server's rate limits, or None.
            rules: Rules to use instead of the client's.
        """
        self.require_key()
        attempts = Attempts(rules or self.rules, method, path.partition("?")[0], observer, need)

        async def once() -> _Result:
            with self._deadline() as deadline:
                return await read(await self._open(attempts, deadline, method, path, body, betas), deadline)

        result = await attempts.run(once)
        attempts.succeed(result.usage if isinstance(result, Message) else None)
        return result

    async def open(self, path: str, observer: Observer | None = None) -> tuple[WireResponse, Attempts]:
        """Send a GET request and return the open response. The caller closes it, and reports how the attempt ended."""
        self.require_key()
        attempts = Attempts(self.rules, "GET", path, observer)

        async def once() -> WireResponse:
            with self._deadline() as deadline:
                return await self._open(attempts, deadline, "GET", path)

        return await attempts.run(once), attempts

    def require_key(self) -> None:
        """Check that there is a key if the server requires one.

        Raises:
            ConfigurationError: The server requires a key, and none is set.
        """
        if self._is_lacking_key:
            raise ConfigurationError(
                f"No API key: {self._base_url} needs one. Set ANTHROPIC_API_KEY where Jupyter starts, "
                "or type `%claude login`."
            )

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout, setting="timeout", is_transient=True)

    async def _open(
        self,
        attempts: Attempts,
        deadline: Deadline,
        method: str,
        path: str,
        body: bytes | None = None,
        betas: Sequence[str] = (),
    ) -> WireResponse:
        response = await deadline.bound(self._transport.open(method, path, body, betas), is_sending=True)
        attempts.response_started(response)
        if response.status != 200:
            raise await read_error(response)
        return response
