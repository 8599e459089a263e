"""The accountant of a turn: reserves the cost of each request in the ledger, books what it cost, and logs the request.

The events of the client tell which attempts failed in a way that may have been billed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ..client import (
    AnswerRecorded,
    APIError,
    AttemptFinished,
    AttemptNotSent,
    AttemptStarted,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    Message,
    MessageRequest,
    NetworkError,
    ResponseStarted,
    request_key,
)
from ._connection import SIMULATOR_HEADER
from ._ledger import Ledger, Reservation
from ._limits import RateLimits
from ._models import BillLine, bill_of, total
from ._provenance import KEPT_CHARS, Asked, AskedRows, RequestLog, parameters_of
from ._recording import text_of
from ._replay import is_replayed

_NOT_EXECUTED = frozenset({429, 529})

logger = logging.getLogger("claude_magic.runtime")


class TurnAccountant:
    """Books the requests of one turn, one after the other. Call all methods on the bridge.

    Args:
        ledger: The ledger.
        limits: Records the rate limits that the server reports.
        attempts: Maximum number of attempts of the retry policy for one request.
        is_simulated: The embedded simulator answers. Other simulators are recognised by their responses.
        thread: The thread of the turn, or None.
        log: The log of requests.
        rows: The map that the requests belong to, or None. For a map, the server does not count the input of each request, which
            would take one more request each.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: RateLimits,
        *,
        attempts: int,
        is_simulated: bool,
        thread: str | None,
        log: RequestLog,
        rows: AskedRows | None = None,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._attempts = attempts
        self.is_simulated = is_simulated
        """Whether a simulator is known to answer."""
        self._thread = thread
        self._log = log
        self._rows = rows
        self._client: ClaudeClient | None = None
        self._current: _Request | None = None
        self.record: Asked | None = None
        """The record of the last request, once it has ended; None if nothing was sent or replayed."""
        self.unconfirmed = 0.0
        """What may have been billed for the last request in addition to its bill, in USD."""

    async def admit(self, client: ClaudeClient, request: MessageRequest, *, key: bytes | None = None) -> None:
        """Admit a request, and reserve its worst case until `finish`. A request that a cassette answers costs nothing.

        Args:
            client: Sends the request.
            request: The request.
            key: Its key, if known.

        Raises:
            BudgetExceededError: The request may not be sent.
        """
        self._release()  # the previous request was not sent
        self._client = client
        self._current = current = _Request(request, key)
        if await is_replayed(client, request):
            return
        current.reservation = await self._ledger.admit(
            client,
            request,
            attempts=self._attempts,
            is_simulated=self.is_simulated,
            counts_input=self._rows is None,
        )
        # An earlier answer to this client may have shown it.
        self.is_simulated = current.reservation.is_simulated

    @property
    def has_reservation(self) -> bool:
        """Whether the admitted request is billed: no cassette answers it."""
        return self._current is not None and self._current.reservation is not None

    def on_event(self, event: ClientEvent) -> None:
        """Process an event of the client about the attempts of the request."""
        if self._current is not None:
            self._current.on_event(event)
        match event:
            case ResponseStarted():
                self._on_response(event)
            case AnswerRecorded(is_replay=True):
                self._release()

    def finish(self, received: Message | Callable[[], Message | None] | None) -> tuple[BillLine, ...]:
        """Book the admitted request, and return its bill. The reservation is released even if this fails.

        Args:
            received: The complete or partial reply, or a function that returns it; None if nothing was received.
        """
        ended, self._current, self.record, self.unconfirmed = self._current, None, None, 0.0
        if ended is None:
            return ()
        reservation = ended.reservation
        bill: tuple[BillLine, ...] = ()
        message: Message | None = None
        try:
            message = received() if callable(received) else received
            if reservation is not None and message is not None and message.usage.model_fields_set:
                bill = bill_of(message, requested=ended.request.model)
        except Exception:  # an unreadable count must not lose the answer; the worst case is booked instead
            logger.exception("the usage of a reply cannot be read")
        self._add_to_log(ended, message, bill)
        if reservation is None:
            return ()
        try:
            self.unconfirmed = self._ledger.finish(
                reservation,
                bill=bill,
                thread=self._thread,
                unconfirmed_attempts=ended.count_unconfirmed(is_counted=bool(bill)),
                is_partial=not ended.is_whole,
            )
        except Exception:  # as above
            logger.exception("the usage of a reply cannot be booked")
        return bill

    def log_batch(
        self,
        request: MessageRequest,
        key: bytes,
        message: Message | None,
        bill: Sequence[BillLine],
        *,
        asked_at: float,
        error: str | None,
        is_simulated: bool,
    ) -> None:
        """Log a request that was sent in a batch.

        Args:
            request: The request.
            key: Its key.
            message: The reply, or None.
            bill: Its bill.
            asked_at: When the batch was sent, in seconds since the epoch.
            error: Why there is no answer, as the name of an error or of an outcome; None if there is one.
            is_simulated: A simulator answered.
        """
        self.is_simulated = is_simulated
        ended = _Request(request, key)
        ended.asked_at = datetime.fromtimestamp(asked_at, UTC).isoformat(timespec="seconds")
        ended.attempts, ended.is_whole, ended.error = 1, error is None, error
        self._add_to_log(ended, message, bill)

    def _add_to_log(self, ended: _Request, message: Message | None, bill: Sequence[BillLine]) -> None:
        try:
            like = self._rows.records[0] if self._rows is not None and self._rows.records else None
            self.record = ended.record(message, bill, is_simulated=self.is_simulated, like=like)
            if self.record is not None:
                self._log.add(self.record, self._rows)
        except Exception:  # as above
            logger.exception("a request cannot be logged")

    def _release(self) -> None:
        """Release the reservation, if any."""
        if self._current is not None and self._current.reservation is not None:
            self._ledger.release(self._current.reservation)
            self._current.reservation = None

    def _on_response(self, response: ResponseStarted) -> None:
        reservation = None if self._current is None else self._current.reservation
        if SIMULATOR_HEADER in response.headers and self._client is not None:
            self._ledger.mark_simulated(self._client)
            self.is_simulated = True
            if reservation is not None:
                reservation.is_simulated = True
        if reservation is not None:
            self._limits.on_response(response, model=reservation.request.model)


class _Request:
    """One request: its reservation, and what its events tell about its attempts."""

    def __init__(self, request: MessageRequest, key: bytes | None) -> None:
        self.request = request
        self.reservation: Reservation | None = None
        """Its reservation; None if a cassette answers."""
        self.asked_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.attempts = 0
        self.is_whole = False
        """Whether the last attempt, or the replay, ended with a complete answer."""
        self.error: str | None = None
        """The class name of the error of the last attempt, or of the replay."""
        self._key = key
        self._is_in_flight = False
        self._maybe_billed = 0
        self._request_id: str | None = None
        self._recorded: AnswerRecorded | None = None

    def on_event(self, event: ClientEvent) -> None:
        """Process an event of the request."""
        match event:
            case AttemptStarted():
                self.attempts += 1
                self._is_in_flight = True
            case AttemptNotSent():
                self.attempts -= 1
                self._is_in_flight = False
            case ResponseStarted():
                self._request_id = event.request_id
            case AttemptFinished():
                self._is_in_flight = False
                self.is_whole = event.error is None
                self.error = None if event.error is None else type(event.error).__name__
                self._maybe_billed += event.error is not None and may_be_billed(event.error)
            case AnswerRecorded():
                self._recorded = event
                if event.is_replay:
                    self.is_whole, self.error = not event.is_interrupted, event.error

    def count_unconfirmed(self, *, is_counted: bool) -> int:
        """Return the number of attempts that may have been billed without a report.

        The last attempt is one of them if it still runs at the server, or if the server sent no counts (`is_counted`).
        """
        return self._maybe_billed + (self._is_in_flight or (self.is_whole and not is_counted))

    def record(
        self,
        message: Message | None,
        bill: Sequence[BillLine],
        *,
        is_simulated: bool,
        like: Asked | None,
    ) -> Asked | None:
        """Return the record; None if nothing was sent or replayed.

        Args:
            message: The reply, complete or partial.
            bill: The bill of the request.
            is_simulated: A simulator answered.
            like: A record of the same map: its parameters are reused, and the prompt is not kept again.
        """
        recorded = self._recorded
        if recorded is None and not self.attempts:
            return None
        is_replay = recorded is not None and recorded.is_replay
        usage = None if message is None else message.usage
        if is_replay and message is not None:
            bill = bill_of(message, requested=self.request.model)
        return Asked(
            key=recorded.key if recorded is not None else (self._key or request_key(self.request)).hex(),
            at=self.asked_at if recorded is None else recorded.recorded_at,
            outcome="failed" if self.error is not None else "answered" if self.is_whole else "interrupted",
            is_replay=is_replay,
            asked_model=self.request.model,
            model="" if message is None else message.model,
            parameters=parameters_of(self.request) if like is None else like.parameters,
            prompt=text_of(self.request.messages[-1])[:KEPT_CHARS]
            if like is None and self.request.messages
            else "",
            request_id=self._request_id if recorded is None else recorded.request_id,
            tokens_in=0 if usage is None else usage.total_input_tokens,
            tokens_out=0 if usage is None else usage.output_tokens,
            cost=total(line.cost for line in bill) if bill else 0.0,
            attempts=self.attempts,
            error=self.error,
            is_simulated=is_simulated if recorded is None else recorded.is_simulated,
        )


def may_be_billed(error: ClaudeError) -> bool:
    """Return whether an attempt that failed with this error may still have been executed."""
    match error:
        case ConfigurationError():
            return False
        case NetworkError():
            return error.was_sent
        case APIError(status=int(status)):
            # A successful answer that cannot be read may be paid for.
            return (status < 300 or status >= 500) and status not in _NOT_EXECUTED
    return True  # the stream broke off
