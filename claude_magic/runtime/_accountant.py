"""Follows the requests of one turn with the ledger: admits each, listens to its attempts, and books what it took."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..client import (
    APIError,
    AttemptFinished,
    AttemptStarted,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    Message,
    MessageRequest,
    NetworkError,
    ResponseStarted,
)
from ._ledger import Ledger, Reservation
from ._prices import BillLine, bill_of
from ._progress import SIMULATOR_HEADER
from ._server_limits import RateLimits

_NOT_EXECUTED = frozenset({429, 529})

logger = logging.getLogger("claude_magic.runtime")


class TurnAccountant:
    """Books the requests of one turn, one after the other. All methods belong to the bridge.

    Args:
        ledger: Where they are booked.
        limits: Learns what the server says about its rate limits.
        attempts: Most attempts that the retry policy allows for one request.
        is_simulated: The embedded simulator answers. Others are recognised by their responses.
        thread: The thread that the turn stands in, or None.
    """

    def __init__(
        self, ledger: Ledger, limits: RateLimits, *, attempts: int, is_simulated: bool, thread: str | None
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._attempts = attempts
        self._is_simulated = is_simulated
        self._thread = thread
        self._client: ClaudeClient | None = None
        self._reservation: Reservation | None = None
        self._is_under_way = False
        self._is_whole = False
        self._unconfirmed = 0

    async def admit(self, client: ClaudeClient, request: MessageRequest) -> None:
        """Return if the request may be sent; the most that it can cost is reserved until `settle`.

        Raises:
            BudgetExceededError: It may not.
        """
        if self._reservation is not None:
            self._ledger.release(self._reservation)  # it was not sent after all
            self._reservation = None
        self._client = client
        self._is_under_way = self._is_whole = False
        self._unconfirmed = 0
        self._reservation = await self._ledger.admit(
            client, request, attempts=self._attempts, is_simulated=self._is_simulated
        )

    def note(self, event: ClientEvent) -> None:
        """Take note of what the client tells about its attempts."""
        match event:
            case AttemptStarted():
                self._is_under_way = True
            case ResponseStarted():
                self._note_response(event)
            case AttemptFinished():
                self._is_under_way = False
                self._is_whole = event.error is None
                self._unconfirmed += event.error is not None and may_be_billed(event.error)

    def settle(self, arrived: Message | Callable[[], Message | None] | None) -> None:
        """Book what the admitted request took. Whatever happens, what was reserved for it is given back.

        Args:
            arrived: The reply, or what had arrived of it, or what tells that; None where nothing had.
        """
        reservation, self._reservation = self._reservation, None
        if reservation is None:
            return
        bill: tuple[BillLine, ...] = ()
        try:
            message = arrived() if callable(arrived) else arrived
            if message is not None and message.usage.model_fields_set:
                bill = bill_of(message, asked=reservation.request.model)
        except Exception:  # what a server counts must not cost the answer; the worst case stands for it
            logger.exception("what a reply took cannot be read")
        try:
            self._ledger.settle(
                reservation,
                bill=bill,
                thread=self._thread,
                unconfirmed_attempts=self._unconfirmed + self._is_open_ended(is_counted=bool(bill)),
                is_partial=not self._is_whole,
            )
        except Exception:  # likewise
            logger.exception("what a reply took cannot be booked")

    def _is_open_ended(self, *, is_counted: bool) -> bool:
        """Whether the last attempt has not told what it cost: it goes on at the server, or the server does not count."""
        return self._is_under_way or (self._is_whole and not is_counted)

    def _note_response(self, response: ResponseStarted) -> None:
        if SIMULATOR_HEADER in response.headers and self._client is not None:
            self._ledger.note_simulator(self._client)
            if self._reservation is not None:
                self._reservation.is_simulated = True
        if self._reservation is not None:
            self._limits.note(response, model=self._reservation.request.model)


def may_be_billed(error: ClaudeError) -> bool:
    """Tell whether an attempt that failed this way may have been executed all the same."""
    match error:
        case ConfigurationError():
            return False
        case NetworkError():
            return error.was_sent
        case APIError(status=int(status)):
            return status >= 500 and status not in _NOT_EXECUTED
    return True  # it broke off in mid-stream
