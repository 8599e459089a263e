"""What the kernel's requests have cost, and the budget that no request may pass.

Three amounts count against a budget: what was spent, by the server's own counts; what may have been billed for attempts
that broke off, at their worst case; and what is reserved for requests in flight, at theirs. A request is admitted only if
its own worst case fits beside them. Checking and reserving is one step under the lock, so requests that start together
cannot pass the budget together.

A budget is that of one process, which publishes it: those that it starts refuse to spend beside it (`_budget`). Processes that share a
limiter share the budget (`_shared_budget`).

The simulator has an account of its own. Its answers cost nothing, but they are priced as if, so that a budget can be
rehearsed; nothing of it touches the account of real money.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
    check_price,
    count_input,
    fits,
    models_of,
    worst_case,
)
from ._models import BillLine, bill_of
from ._progress import SIMULATOR_HEADER
from ._provenance import Asked, AskedRows, RequestLog, Witness
from ._replay import is_replayed
from ._shared_budget import SharedBudget, sum_of


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the requests of one model in one thread took.

    Attributes:
        model: The model that answered.
        thread: The thread; None for requests that stand in none.
        is_simulated: The simulator answered: `cost` is what it would have been.
        requests: Their number. A model that only helped another one to answer has none of its own.
        partial: How many of them broke off.
        estimated: How many times the output was estimated, because it broke off before the server had counted it.
        input_tokens: All input, cached or not.
        cached_tokens: The part of it that was read from the prompt cache.
        output_tokens: Output.
        cost: USD, or None where the price of some of it is not known.
        spent: USD, as far as the prices are known.
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
        """Return the row with what one more request took in it."""
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
    """A request in flight, until it is settled.

    Attributes:
        request: What is sent.
        attempts: Most attempts that the retry policy allows.
        is_simulated: Whose account it is on.
        worst: The most it can cost; None while nobody has asked, and where its model has no price.
    """

    request: MessageRequest
    attempts: int
    is_simulated: bool
    worst: WorstCase | None = None

    def worst_case(self) -> WorstCase | None:
        """Return the most it can cost; where no budget has asked for a count, by our own upper bound."""
        if self.worst is None:
            self.worst = worst_case(self.request, None, attempts=self.attempts)
        return self.worst


@dataclass
class _Books:
    """What a ledger remembers, as plain data."""

    budget: float | None = None
    rows: dict[tuple[str, str | None, bool], LedgerRow] = field(default_factory=dict)
    unconfirmed: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})


class Ledger:
    """The account book of a kernel. Any thread may read it, and set the budget.

    Args:
        dumped: What a previous ledger of this kernel remembered (`dump`), or None.
        publish: Told of each budget that is set, so that the processes below this one know.
        find_parent: Finds the budget of a process above this one.
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
        self._lock = threading.Lock()
        self._books = _restored(dumped) if dumped else _Books()
        self._in_flight: dict[Reservation, None] = {}
        self._batches: dict[str, Reservation] = {}
        self._inherited = {False: Account(), True: Account()}
        """What a parent process has committed, which this one reads, and does not spend again."""
        self._shared = SharedBudget(self._new_account, dumped.get("shared_name") if dumped else None)
        self._simulators: weakref.WeakSet[ClaudeClient] = weakref.WeakSet()

    # The budget...

    @property
    def budget(self) -> float | None:
        """The most that the kernel may spend from its start to its end, in USD; None is no bound.

        Where processes share a limiter, it is what all of them may spend together.
        """
        return self._shared.amount if self._shared.is_joined else self._books.budget

    @property
    def is_shared(self) -> bool:
        """Whether the budget is one of several processes."""
        return self._shared.is_joined

    def set_budget(self, amount: float | None) -> None:
        """Set the budget, or lift it with None.

        In a process that was started by one with a budget, this is what allows it to spend: its own account begins.

        Raises:
            ConfigurationError: It is no amount of money.
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
        """Have the budget that was set hold for all processes that share the limiter of a client.

        Raises:
            ConfigurationError: The server of the limiter cannot be used as the settings have it.
        """
        await self._shared.join(client)

    async def look(self, client: ClaudeClient) -> None:
        """Ask what the processes have committed that share the limiter of a client. Raises as `share_budget` does."""
        await self._shared.look(client)

    def account(self, *, is_simulated: bool = False) -> Account:
        """Return what counts against the budget, of all who share it; the simulator's account is a rehearsal."""
        return sum_of(self._own_account(is_simulated), self._shared.others(is_simulated=is_simulated))

    def has_room_for(self, worst: WorstCase, *, is_simulated: bool = False) -> bool:
        """Tell whether a request would be admitted at this moment."""
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
        """Let a request pass, and reserve the most that it can cost until it is settled.

        Without a budget nothing is asked of the server, and nothing is computed.

        Args:
            client: Counts the input, which is never billed.
            request: What is about to be sent.
            attempts: Most attempts that the retry policy allows.
            is_simulated: The simulator is known to answer.
            counts_input: Let the server count the input; otherwise our own upper bound stands for it.

        Raises:
            BudgetExceededError: It could pass the budget, or nobody knows because its model has no price; or the budget is that
                of a process above this one, which would not learn of it.
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
        """Refuse what no budget of this process can account for."""
        await self._shared.join(client)
        if not self._is_own and not self._shared.is_joined:
            check_parent(self._forked_from or self._find_parent())
        if self.budget is not None:
            for model in models_of(request):
                check_price(model)

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
        """Remember that a simulator answers this client, as its responses have told."""
        self._simulators.add(client)

    def finish(
        self,
        reservation: Reservation,
        *,
        bill: Sequence[BillLine],
        thread: str | None,
        unconfirmed_attempts: int = 0,
        is_partial: bool = False,
    ) -> None:
        """Book what an admitted request took. Whatever happens, what was reserved for it is given back.

        Args:
            reservation: The request.
            bill: What the server has counted so far, a line for each model, the one that answered first; empty if it never said.
            thread: The thread it stands in, or None.
            unconfirmed_attempts: Attempts that may have been billed without telling; each costs its worst case at most.
            is_partial: The bill is of the last such attempt, and not all of it.
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
        """Give back what is reserved for a request that was not sent."""
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
        """Let a batch pass, and reserve the most that it can cost until it is settled, however long that takes.

        Args:
            client: Creates the batch.
            name: Names it in `settle_batch`.
            request: What its requests have in common.
            worst: The most that all of them can cost; None where the model has no price.
            what: The batch in a few words, for a refusal.
            is_simulated: The simulator is known to answer.

        Raises:
            BudgetExceededError: As for `admit`.
        """
        await self._check(client, request)
        reservation = Reservation(request=request, attempts=1, is_simulated=is_simulated, worst=worst)
        await self._reserve(reservation, what)
        self._batches[name] = reservation

    def settle_batch(self, name: str) -> bool:
        """Give back what is reserved for a batch, which is booked row by row; False where another process has sent it."""
        with self._lock:
            reservation = self._batches.pop(name, None)
        if reservation is not None:
            self.release(reservation)
        return reservation is not None

    def book(self, bill: Sequence[BillLine], *, is_simulated: bool) -> None:
        """Book what one request of a batch took, a line for each model."""
        with self._lock:
            self._enter(bill, None, is_simulated=is_simulated)
        self._shared.note_end(is_simulated=is_simulated)

    # Reading...

    def rows(self) -> tuple[LedgerRow, ...]:
        """What was spent, by model and thread, in the order in which they were first used."""
        with self._lock:
            return tuple(self._books.rows.values())

    def dump(self) -> dict[str, Any]:
        """Return what it remembers as plain data, for the ledger of another runtime."""
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
        """Return the ledger of a forked child: nothing in flight, and a lock that nobody holds.

        It reads as its parent's, whose budget it cannot keep: it refuses until it is given one of its own.
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
        """Return what this process itself has committed."""
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
    """Return what may have been billed, in USD, beside what the bill says."""
    costs = [line.cost for line in bill]
    if None in costs and not is_partial:
        attempts += 1  # a gateway may let a model answer that nobody asked for
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
    """Books the requests of one turn, one after the other. All methods belong to the bridge.

    Args:
        ledger: Where they are booked.
        limits: Learns what the server says about its rate limits.
        attempts: Most attempts that the retry policy allows for one request.
        is_simulated: The embedded simulator answers. Others are recognised by their responses.
        thread: The thread that the turn stands in, or None.
        counts_input: Let the server count the input of each request for the budget: a request more for each.
        log: Where it is written down what was asked; None for nowhere.
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
        self._witness: Witness | None = None
        self.record: Asked | None = None
        """What was asked last, once it is over; None where nothing was sent or replayed."""
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

    @property
    def is_simulated(self) -> bool:
        """Whether a simulator answers, as far as that is known."""
        return self._is_simulated

    async def admit(self, client: ClaudeClient, request: MessageRequest, *, key: bytes | None = None) -> None:
        """Return if the request may be sent; the most that it can cost is reserved until `finish`. What a cassette answers costs nothing.

        Args:
            client: Sends the request.
            request: The request.
            key: Its key, where that is known.

        Raises:
            BudgetExceededError: It may not.
        """
        self._witness = None if self._log is None else Witness(request, key)
        self._release()  # it was not sent after all
        self._client = client
        self._is_under_way = self._is_whole = False
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
        """Take note of what the client tells about its attempts."""
        if self._witness is not None:
            self._witness.note(event)
        match event:
            case AttemptStarted():
                self._is_under_way = True
            case ResponseStarted():
                self._note_response(event)
            case AttemptFinished():
                self._is_under_way = False
                self._is_whole = event.error is None
                self._unconfirmed += event.error is not None and may_be_billed(event.error)
            case AnswerRecorded(is_replay=True):
                self._release()

    def finish(self, arrived: Message | Callable[[], Message | None] | None) -> tuple[BillLine, ...]:
        """Book what the admitted request took, and return it. Whatever happens, what was reserved for it is given back.

        Args:
            arrived: The reply, or what had arrived of it, or what tells that; None where nothing had.
        """
        reservation, self._reservation = self._reservation, None
        bill: tuple[BillLine, ...] = ()
        message: Message | None = None
        try:
            message = arrived() if callable(arrived) else arrived
            if reservation is not None and message is not None and message.usage.model_fields_set:
                bill = bill_of(message, asked=reservation.request.model)
        except Exception:  # what a server counts must not cost the answer; the worst case stands for it
            logger.exception("what a reply took cannot be read")
        self._write_down(message, bill)
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
        except Exception:  # likewise
            logger.exception("what a reply took cannot be booked")
        return bill

    def _write_down(self, message: Message | None, bill: Sequence[BillLine]) -> None:
        """Add the request to the log."""
        witness, self._witness, self.record = self._witness, None, None
        if witness is None or self._log is None:
            return
        try:
            like = self._rows.records[0] if self._rows is not None and self._rows.records else None
            self.record = witness.record(message, bill, is_simulated=self._is_simulated, like=like)
            if self.record is not None:
                self._log.add(self.record, self._rows)
        except Exception:  # likewise
            logger.exception("what was asked cannot be written down")

    def _release(self) -> None:
        """Give back what is reserved for a request that is not sent."""
        if self._reservation is not None:
            self._ledger.release(self._reservation)
            self._reservation = None

    def _is_open_ended(self, *, is_counted: bool) -> bool:
        """Whether the last attempt has not told what it cost: it goes on at the server, or the server does not count."""
        return self._is_under_way or (self._is_whole and not is_counted)

    def _note_response(self, response: ResponseStarted) -> None:
        if SIMULATOR_HEADER in response.headers and self._client is not None:
            self._ledger.note_simulator(self._client)
            self._is_simulated = True
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
