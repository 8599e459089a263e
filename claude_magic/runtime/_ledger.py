"""The ledger: the costs of the kernel's requests, and the budget that they must not exceed.

Three amounts count against a budget: the amount spent, by the server's token counts; the amount that may have been billed
for failed attempts, at their worst case; and the amount reserved for requests in flight, at their worst case. A request is
admitted only if its worst case fits into the rest. Check and reservation are one step under the lock, so concurrent requests
cannot exceed the budget together.

A budget belongs to one process, which publishes it: its child processes refuse to spend outside it (`_budget`). Processes
that share a limiter share the budget (`_shared_budget`).

The simulator has its own account. Its answers cost nothing, but are priced as if they did, so that a budget can be tried out.
They never affect the account of real money.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..client import (
    AnswerRecorded,
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
    Usage,
)
from ._bridge import RateLimits
from ._budget import (
    Account,
    ParentBudget,
    WorstCase,
    check_amount,
    check_budget,
    check_parent,
    count_input,
    fits,
    models_of,
    require_price,
    worst_case,
)
from ._models import BillLine, bill_of
from ._progress import SIMULATOR_HEADER
from ._provenance import Asked, AskedRows, RequestLog, RequestRecorder
from ._replay import is_replayed
from ._shared_budget import SharedBudget, sum_of

_PARENT_INTERVAL: Final = 0.01
"""Seconds for which no parent with a budget is looked for again. A map sends a thousand requests per second, and each look is a system call."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Usage and cost of the requests of one model in one thread.

    Attributes:
        model: The model that answered.
        thread: The thread, or None for requests outside a thread.
        is_simulated: The simulator answered; `cost` is what the real API would have charged.
        requests: Number of requests; 0 for a model that only helped another one to answer.
        partial: Number of requests that broke off.
        estimated: Number of requests with estimated output, because they broke off before the server had counted it.
        input_tokens: All input tokens, cached or not.
        cached_tokens: Input tokens read from the prompt cache.
        output_tokens: Output tokens.
        cost: USD, or None if the price of a part is not known.
        spent: USD for the parts with a known price.
    """

    model: str
    thread: str | None
    is_simulated: bool
    requests: int = 0
    partial: int = 0
    estimated: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0
    spent: float = 0.0

    def plus(self, usage: Usage, cost: float | None, *, is_request: bool, is_partial: bool) -> LedgerRow:
        """Return the row with one more request added."""
        return replace(
            self,
            requests=self.requests + is_request,
            partial=self.partial + is_partial,
            estimated=self.estimated + usage.is_estimate,
            input_tokens=self.input_tokens + usage.total_input_tokens,
            cached_tokens=self.cached_tokens + (usage.cache_read_input_tokens or 0),
            output_tokens=self.output_tokens + usage.output_tokens,
            cost=None if cost is None or self.cost is None else self.cost + cost,
            spent=self.spent + (cost or 0.0),
        )


@dataclass(eq=False, kw_only=True)
class Reservation:
    """The reservation for a request in flight, until it is finished or released.

    Attributes:
        request: The request.
        attempts: Maximum number of attempts of the retry policy.
        is_simulated: Whether it counts against the simulator's account.
        worst: Its worst case; None if not computed yet, or if its model has no price.
    """

    request: MessageRequest
    attempts: int
    is_simulated: bool
    worst: WorstCase | None = None

    def worst_case(self) -> WorstCase | None:
        """Return the worst case; without a count by the server, from the local upper bound."""
        if self.worst is None:
            self.worst = worst_case(self.request, None, attempts=self.attempts)
        return self.worst


@dataclass
class _Books:
    """The stored state of a ledger, as plain data."""

    budget: float | None = None
    rows: dict[tuple[str, str | None, bool], LedgerRow] = field(default_factory=dict)
    unconfirmed: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})


class Ledger:
    """The costs and the budget of a kernel. Any thread may read them and set the budget.

    Args:
        dumped: The dump of a previous ledger of this kernel, or None.
        publish: Called with each budget that is set, to publish it to child processes.
        find_parent: Returns the budget of an ancestor process, or None.
    """

    def __init__(
        self,
        dumped: Mapping[str, Any] | None = None,
        *,
        publish: Callable[[float | None], None] = lambda _amount: None,
        find_parent: Callable[[], ParentBudget | None] = lambda: None,
    ) -> None:
        self._publish = publish
        self._find_parent = find_parent
        self._is_own = dumped is not None and bool(dumped.get("is_own"))
        self._forked_from: ParentBudget | None = None
        self._no_parent_until = 0.0
        self._lock = threading.Lock()
        self._books = _restored(dumped) if dumped else _Books()
        self._in_flight: dict[Reservation, None] = {}
        self._batches: dict[str, Reservation] = {}
        self._inherited = {False: Account(), True: Account()}
        """Accounts of the parent process before a fork: shown here, but not counted a second time."""
        self._shared = SharedBudget(self._new_account, dumped.get("shared_name") if dumped else None)
        self._simulators: weakref.WeakSet[ClaudeClient] = weakref.WeakSet()

    # The budget...

    @property
    def budget(self) -> float | None:
        """The maximum that the kernel may spend over its lifetime, in USD; None for no limit.

        For processes that share a limiter, it is the maximum of all of them together.
        """
        return self._shared.amount if self._shared.is_joined else self._books.budget

    @property
    def is_shared(self) -> bool:
        """Whether several processes share the budget."""
        return self._shared.is_joined

    def set_budget(self, amount: float | None) -> None:
        """Set the budget, or remove it with None.

        In a child of a process with a budget, this allows requests: the child starts its own account.

        Raises:
            ConfigurationError: The amount is not valid.
        """
        budget = None if amount is None else check_amount(amount)
        with self._lock:
            if self._forked_from is not None:
                self._books, self._forked_from = _Books(), None
                self._inherited = {False: Account(), True: Account()}
            self._books.budget = budget
            self._is_own = True
        self._shared.set(budget)
        self._publish(budget)

    async def share_budget(self, client: ClaudeClient) -> None:
        """Apply the budget to all processes that share the limiter of a client.

        Raises:
            ConfigurationError: The limiter's server cannot be used as configured.
        """
        await self._shared.join(client)

    async def look(self, client: ClaudeClient) -> None:
        """Fetch the accounts of the processes that share the limiter of a client. Raises like `share_budget`."""
        await self._shared.look(client)

    async def report_last(self) -> None:
        """Report to the processes that share the budget what they do not know yet."""
        await self._shared.report_last()

    def account(self, *, is_simulated: bool = False) -> Account:
        """Return the account of all processes that share the budget, for real money or for the simulator."""
        return sum_of(self._own_account(is_simulated), self._shared.others(is_simulated=is_simulated))

    def has_room_for(self, worst: WorstCase, *, is_simulated: bool = False) -> bool:
        """Return whether a request with this worst case would be admitted now."""
        return self.budget is None or fits(worst, self.account(is_simulated=is_simulated), self.budget)

    # Requests, on the bridge...

    async def admit(
        self,
        client: ClaudeClient,
        request: MessageRequest,
        *,
        attempts: int,
        is_simulated: bool,
        counts_input: bool = True,
    ) -> Reservation:
        """Admit a request, and reserve its worst case until it is finished or released.

        Without a budget, no token count is requested and no worst case computed.

        Args:
            client: Counts the input tokens, which is never billed.
            request: The request.
            attempts: Maximum number of attempts of the retry policy.
            is_simulated: The simulator is known to answer.
            counts_input: Let the server count the input tokens; if not, the local upper bound is used.

        Raises:
            BudgetExceededError: The request could exceed the budget, or its model has no price, or an ancestor process has a
                budget, against which the request would not count.
        """
        await self._check(client, request)
        reservation = Reservation(
            request=request, attempts=attempts, is_simulated=is_simulated or client in self._simulators
        )
        if self.budget is not None:
            counted = await count_input(client, request) if counts_input else None
            reservation.worst = worst_case(request, counted, attempts=attempts)
        await self._reserve(reservation)
        return reservation

    async def _check(self, client: ClaudeClient, request: MessageRequest) -> None:
        """Refuse a request that no budget of this process can cover."""
        await self._shared.join(client)
        has_own = self._is_own or self._shared.is_joined
        if not has_own and (self._forked_from is not None or time.monotonic() >= self._no_parent_until):
            check_parent(self._forked_from or self._find_parent())
            self._no_parent_until = time.monotonic() + _PARENT_INTERVAL
        if self.budget is not None:
            for model in models_of(request):
                require_price(model)

    async def _reserve(self, reservation: Reservation, what: str = "This request") -> None:
        worst = reservation.worst
        if self._shared.is_joined:
            await self._reserve_shared(reservation)
            return
        with self._lock:
            if self._books.budget is not None and worst is not None:
                check_budget(worst, self._account(reservation.is_simulated), self._books.budget, what)
            self._in_flight[reservation] = None

    async def _reserve_shared(self, reservation: Reservation) -> None:
        if self._shared.amount is not None and reservation.worst is not None:
            await self._shared.reserve(
                reservation.worst,
                is_simulated=reservation.is_simulated,
                take=lambda: self._in_flight.setdefault(reservation),
            )
        with self._lock:
            self._in_flight[reservation] = None

    def note_simulator(self, client: ClaudeClient) -> None:
        """Remember that a simulator answers this client, as reported by a response header."""
        self._simulators.add(client)
        self._shared.note_end(is_simulated=False)  # the reservation moves to the simulator's account

    def finish(
        self,
        reservation: Reservation,
        *,
        bill: Sequence[BillLine],
        thread: str | None,
        unconfirmed_attempts: int = 0,
        is_partial: bool = False,
    ) -> None:
        """Book an admitted request. Its reservation is released even if this fails.

        Args:
            reservation: The reservation of the request.
            bill: The server's counts so far, a line for each model, the model that answered first; empty if there are none.
            thread: The thread of the request, or None.
            unconfirmed_attempts: Number of attempts that may have been billed without a report, at most at their worst case.
            is_partial: The bill covers only a part of the last such attempt.
        """
        unconfirmed = 0.0
        try:
            unconfirmed = _unconfirmed(reservation, bill, unconfirmed_attempts, is_partial=is_partial)
        finally:
            with self._lock:
                self._in_flight.pop(reservation, None)
                self._books.unconfirmed[reservation.is_simulated] += unconfirmed
                self._enter(bill, thread, is_simulated=reservation.is_simulated, is_partial=is_partial)
            self._shared.note_end(is_simulated=reservation.is_simulated)

    def release(self, reservation: Reservation) -> None:
        """Release the reservation of a request that was not sent."""
        with self._lock:
            self._in_flight.pop(reservation, None)
        self._shared.note_end(is_simulated=reservation.is_simulated)

    # Batches, on the bridge...

    async def admit_batch(
        self,
        client: ClaudeClient,
        name: str,
        request: MessageRequest,
        worst: WorstCase | None,
        *,
        what: str,
        is_simulated: bool,
    ) -> None:
        """Admit a batch, and reserve its worst case until it is settled, however long that takes.

        Args:
            client: Creates the batch.
            name: The name of the batch for `settle_batch`.
            request: The common part of its requests.
            worst: The worst case of all its requests; None if the model has no price.
            what: The batch in a few words, for error messages.
            is_simulated: The simulator is known to answer.

        Raises:
            BudgetExceededError: As for `admit`.
        """
        await self._check(client, request)
        reservation = Reservation(request=request, attempts=1, is_simulated=is_simulated, worst=worst)
        await self._reserve(reservation, what)
        self._batches[name] = reservation

    def settle_batch(self, name: str) -> bool:
        """Release the reservation of a batch, whose rows are booked one by one; return False if another process sent it."""
        with self._lock:
            reservation = self._batches.pop(name, None)
        if reservation is not None:
            self.release(reservation)
        return reservation is not None

    def book(self, bill: Sequence[BillLine], *, is_simulated: bool) -> None:
        """Book one request of a batch, a line for each model."""
        with self._lock:
            self._enter(bill, None, is_simulated=is_simulated)
        self._shared.note_end(is_simulated=is_simulated)

    # Reading...

    def rows(self) -> tuple[LedgerRow, ...]:
        """Return usage and cost by model and thread, in the order of their first use."""
        with self._lock:
            return tuple(self._books.rows.values())

    def dump(self) -> dict[str, Any]:
        """Return the state as plain data for the ledger of another runtime."""
        with self._lock:
            rows = [
                {name: getattr(row, name) for name in LedgerRow.__slots__}
                for row in self._books.rows.values()
            ]
            return {
                "budget": self._books.budget,
                "rows": rows,
                "unconfirmed": dict(self._books.unconfirmed),
                "is_own": self._is_own,
                "shared_name": self._shared.name,
            }

    def for_forked_child(self) -> Ledger:
        """Return the ledger of a forked child, with nothing in flight and an unlocked lock.

        It shows the parent's accounts. If the parent has a budget, the child refuses requests until its own budget is set.
        """
        child = Ledger(publish=self._publish, find_parent=self._find_parent)
        child._books = self._books
        child._inherited = {is_simulated: child._account(is_simulated) for is_simulated in (False, True)}
        child._forked_from = self._forked_from
        if self._books.budget is not None and self._forked_from is None:
            child._forked_from = ParentBudget(os.getppid(), self._books.budget)
        return child

    def _enter(
        self, bill: Sequence[BillLine], thread: str | None, *, is_simulated: bool, is_partial: bool = False
    ) -> None:
        for number, line in enumerate(bill):
            key = (line.model, thread, is_simulated)
            row = self._books.rows.get(key) or LedgerRow(*key)
            # The request is counted with the model that answered.
            is_first = number == 0
            self._books.rows[key] = row.plus(
                line.usage, line.cost, is_request=is_first, is_partial=is_first and is_partial
            )

    def _own_account(self, is_simulated: bool) -> Account:
        with self._lock:
            return self._account(is_simulated)

    def _new_account(self, is_simulated: bool) -> Account:
        """Return the account of this process alone."""
        return sum_of(self._own_account(is_simulated), self._inherited[is_simulated], sign=-1)

    def _account(self, is_simulated: bool) -> Account:
        reserved = [each.worst_case() for each in self._in_flight if each.is_simulated == is_simulated]
        rows = [row for row in self._books.rows.values() if row.is_simulated == is_simulated]
        return Account(
            spent=sum(row.spent for row in rows),
            is_estimate=any(row.estimated for row in rows),
            unconfirmed=self._books.unconfirmed[is_simulated],
            reserved=sum(worst.total for worst in reserved if worst is not None),
        )


def _unconfirmed(
    reservation: Reservation, bill: Sequence[BillLine], attempts: int, *, is_partial: bool
) -> float:
    """Return the amount in USD that may have been billed in addition to the bill."""
    costs = [line.cost for line in bill]
    if None in costs and not is_partial:
        attempts += 1  # a gateway may route to another model, whose price is unknown
    worst = reservation.worst_case() if attempts else None
    unconfirmed = 0.0 if worst is None else worst.per_attempt * attempts
    if is_partial:
        unconfirmed = max(0.0, unconfirmed - sum(cost or 0.0 for cost in costs))
    return unconfirmed


def _restored(dumped: Mapping[str, Any]) -> _Books:
    rows = [LedgerRow(**row) for row in dumped["rows"]]
    return _Books(
        budget=dumped["budget"],
        rows={(row.model, row.thread, row.is_simulated): row for row in rows},
        unconfirmed=dict(dumped["unconfirmed"]),
    )


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
        counts_input: Let the server count the input of each request for the budget, which takes one more request each.
        log: The log of requests, or None.
        rows: The map that the requests belong to, or None.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: RateLimits,
        *,
        attempts: int,
        is_simulated: bool,
        thread: str | None,
        counts_input: bool = True,
        log: RequestLog | None = None,
        rows: AskedRows | None = None,
    ) -> None:
        self._counts_input = counts_input
        self._log = log
        self._rows = rows
        self._recorder: RequestRecorder | None = None
        self.record: Asked | None = None
        """The record of the last request, once it has ended; None if nothing was sent or replayed."""
        self._ledger = ledger
        self._limits = limits
        self._attempts = attempts
        self._is_simulated = is_simulated
        self._thread = thread
        self._client: ClaudeClient | None = None
        self._reservation: Reservation | None = None
        self._is_in_flight = False
        self._is_whole = False
        self._unconfirmed = 0

    @property
    def is_simulated(self) -> bool:
        """Whether a simulator is known to answer."""
        return self._is_simulated

    async def admit(self, client: ClaudeClient, request: MessageRequest, *, key: bytes | None = None) -> None:
        """Admit a request, and reserve its worst case until `finish`. A request that a cassette answers costs nothing.

        Args:
            client: Sends the request.
            request: The request.
            key: Its key, if known.

        Raises:
            BudgetExceededError: The request may not be sent.
        """
        self._recorder = None if self._log is None else RequestRecorder(request, key)
        self._release()  # the previous request was not sent
        self._client = client
        self._is_in_flight = self._is_whole = False
        self._unconfirmed = 0
        if await is_replayed(client, request):
            return
        self._reservation = await self._ledger.admit(
            client,
            request,
            attempts=self._attempts,
            is_simulated=self._is_simulated,
            counts_input=self._counts_input,
        )

    def note(self, event: ClientEvent) -> None:
        """Process an event of the client about its attempts."""
        if self._recorder is not None:
            self._recorder.note(event)
        match event:
            case AttemptStarted():
                self._is_in_flight = True
            case ResponseStarted():
                self._note_response(event)
            case AttemptFinished():
                self._is_in_flight = False
                self._is_whole = event.error is None
                self._unconfirmed += event.error is not None and may_be_billed(event.error)
            case AnswerRecorded(is_replay=True):
                self._release()

    def finish(self, received: Message | Callable[[], Message | None] | None) -> tuple[BillLine, ...]:
        """Book the admitted request, and return its bill. The reservation is released even if this fails.

        Args:
            received: The complete or partial reply, or a function that returns it; None if nothing received.
        """
        reservation, self._reservation = self._reservation, None
        bill: tuple[BillLine, ...] = ()
        message: Message | None = None
        try:
            message = received() if callable(received) else received
            if reservation is not None and message is not None and message.usage.model_fields_set:
                bill = bill_of(message, asked=reservation.request.model)
        except Exception:  # an unreadable count must not lose the answer; the worst case is booked instead
            logger.exception("the usage of a reply cannot be read")
        self._add_to_log(message, bill)
        if reservation is None:
            return ()
        try:
            self._ledger.finish(
                reservation,
                bill=bill,
                thread=self._thread,
                unconfirmed_attempts=self._unconfirmed + self._is_open_ended(is_counted=bool(bill)),
                is_partial=not self._is_whole,
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
        """Log a request that was sent in a batch; `RequestRecorder.note_batch` explains the arguments."""
        self._is_simulated = is_simulated
        self._recorder = RequestRecorder(request, key)
        self._recorder.note_batch(asked_at, error=error)
        self._add_to_log(message, bill)

    def _add_to_log(self, message: Message | None, bill: Sequence[BillLine]) -> None:
        """Add the ended request to the log, if there is one."""
        recorder, self._recorder, self.record = self._recorder, None, None
        if recorder is None or self._log is None:
            return
        try:
            like = self._rows.records[0] if self._rows is not None and self._rows.records else None
            self.record = recorder.record(message, bill, is_simulated=self._is_simulated, like=like)
            if self.record is not None:
                self._log.add(self.record, self._rows)
        except Exception:  # as above
            logger.exception("a request cannot be logged")

    def _release(self) -> None:
        """Release the reservation, if any."""
        if self._reservation is not None:
            self._ledger.release(self._reservation)
            self._reservation = None

    def _is_open_ended(self, *, is_counted: bool) -> bool:
        """Return whether the last attempt's cost is unknown: it still runs at the server, or the server sent no counts."""
        return self._is_in_flight or (self._is_whole and not is_counted)

    def _note_response(self, response: ResponseStarted) -> None:
        if SIMULATOR_HEADER in response.headers and self._client is not None:
            self._ledger.note_simulator(self._client)
            self._is_simulated = True
            if self._reservation is not None:
                self._reservation.is_simulated = True
        if self._reservation is not None:
            self._limits.note(response, model=self._reservation.request.model)


def may_be_billed(error: ClaudeError) -> bool:
    """Return whether an attempt that failed with this error may still have been executed."""
    match error:
        case ConfigurationError():
            return False
        case NetworkError():
            return error.was_sent
        case APIError(status=int(status)):
            return status >= 500 and status not in _NOT_EXECUTED
    return True  # the stream broke off
