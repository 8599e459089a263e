"""The ledger: the costs of the kernel's requests, and the budget that they must not exceed.

Three amounts count against a budget: the amount spent, by the server's token counts; the amount that may have been billed
for failed attempts, at their worst case; and the amount reserved for requests in flight, at their worst case. A request is
admitted only if its worst case fits into the rest. Check and reservation are one step under the lock, so concurrent requests
cannot exceed the budget together.

A budget belongs to one process. Its child processes would each have an account of their own, so they refuse to spend outside
the budget (see "Child processes" below). Processes that share a limiter share the budget (`_shared_budget`).

The simulator has its own account. Its answers cost nothing, but are priced as if they did, so that a budget can be tried out.
They never affect the account of real money.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..client import ClaudeClient, ConfigurationError, MessageRequest, Usage
from ._budget import (
    Account,
    BudgetExceededError,
    WorstCase,
    check_budget,
    count_input,
    fits,
    models_of,
    require_price,
    worst_case,
)
from ._models import BillLine, format_usd
from ._shared_budget import SharedBudget, sum_of

if TYPE_CHECKING:
    import psutil

_MAX_AMOUNT: Final = 1e9
"""USD; a larger amount is a typing error."""


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
        full: The worst case that was reserved first, if it has been reduced since.
    """

    request: MessageRequest
    attempts: int
    is_simulated: bool
    worst: WorstCase | None = None
    full: WorstCase | None = None

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
        is_published: Child processes learn of the budget: of the ledger of the kernel's runtime.
        share: Called when a budget was set. Starts `refresh` on the bridge, and returns its future; None if no process can share
            the budget.
    """

    def __init__(
        self,
        dumped: Mapping[str, Any] | None = None,
        *,
        is_published: bool = False,
        share: Callable[[], Future[None] | None] = lambda: None,
    ) -> None:
        self._is_published = is_published
        self._share = share
        self._is_own = dumped is not None and bool(dumped.get("is_own"))
        self._forked_from: ParentBudget | None = None
        self._ancestors = _Ancestors()
        self._lock = threading.RLock()
        self._books = _restored(dumped) if dumped else _Books()
        self._in_flight: dict[Reservation, None] = {}
        self._batches: dict[str, Reservation] = {}
        self._inherited = {False: Account(), True: Account()}
        """Accounts of the parent process before a fork: shown here, but not counted a second time."""
        self._shared = SharedBudget(self._account_since_fork, dumped.get("shared_name") if dumped else None)
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

    def set_budget(self, amount: float | None) -> Future[None] | None:
        """Set the budget, or remove it with None.

        In a child of a process with a budget, this allows requests: the child starts its own account.

        Returns:
            A future of `refresh`, which sends the budget to the processes that share the limiter; None if none can.

        Raises:
            ConfigurationError: The amount is not valid.
        """
        budget = None if amount is None else _checked(amount)
        with self._lock:
            if self._forked_from is not None:
                self._books, self._forked_from = _Books(), None
                self._inherited = {False: Account(), True: Account()}
            self._books.budget = budget
            self._is_own = True
            if self._is_published:  # under the lock, so that the last of several threads decides both
                publish_budget(budget)
        self._shared.set(budget)
        return self._share()

    async def refresh(self, client: ClaudeClient) -> None:
        """Send a budget that was set to the processes that share the limiter of a client, and fetch their accounts.

        Raises:
            ConfigurationError: The limiter's server cannot be used as configured.
        """
        await self._shared.refresh(client)

    async def report_last(self) -> None:
        """Report the amounts that the processes that share the budget have not received yet."""
        await self._shared.report_last()

    def account(self, *, is_simulated: bool = False) -> Account:
        """Return the account of all processes that share the budget, for real money or for the simulator."""
        return sum_of(self._account(is_simulated), self._shared.others(is_simulated=is_simulated))

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
        """Refuse a request if a parent process has a budget, or if this one has a budget and a model has no price."""
        await self._shared.join(client)
        if not self._is_own and not self._shared.is_joined:
            _check_parent(self._forked_from or self._ancestors.find_budget())
        if self.budget is not None:
            for model in models_of(request):
                require_price(model)

    async def _reserve(self, reservation: Reservation, what: str = "This request") -> None:
        worst, is_shared = reservation.worst, self._shared.is_joined
        if is_shared and worst is not None and self._shared.amount is not None:
            await self._shared.reserve(
                worst,
                what,
                is_simulated=reservation.is_simulated,
                take=lambda: self._in_flight.setdefault(reservation),
            )
        with self._lock:
            if not is_shared and worst is not None and self._books.budget is not None:
                check_budget(worst, self._account(reservation.is_simulated), self._books.budget, what)
            self._in_flight[reservation] = None

    def mark_simulated(self, client: ClaudeClient) -> None:
        """Remember that a simulator answers this client, as reported by a response header."""
        self._simulators.add(client)
        self._shared.report_soon(is_simulated=False)  # the reservation moves to the simulator's account

    def finish(
        self,
        reservation: Reservation,
        *,
        bill: Sequence[BillLine],
        thread: str | None,
        unconfirmed_attempts: int = 0,
        is_partial: bool = False,
    ) -> float:
        """Book an admitted request, and return what may have been billed in addition, in USD.

        Its reservation is released even if this fails.

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
            self._shared.report_soon(is_simulated=reservation.is_simulated)
        return unconfirmed

    def release(self, reservation: Reservation) -> None:
        """Release the reservation of a request that was not sent."""
        with self._lock:
            self._in_flight.pop(reservation, None)
        self._shared.report_soon(is_simulated=reservation.is_simulated)

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
        """Admit a batch, and reserve its worst case until it is finished, however long that takes.

        Args:
            client: Creates the batch.
            name: The name of the batch for `finish_batch`.
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

    def finish_batch(self, name: str) -> bool:
        """Release the reservation of a batch, whose rows are booked one by one; return False if another process sent it."""
        with self._lock:
            reservation = self._batches.pop(name, None)
        if reservation is not None:
            self.release(reservation)
        return reservation is not None

    def reduce_batch(self, name: str, share: float) -> None:
        """Reduce the reservation of a batch that has ended to the share of its requests, from 0 to 1, that may still be booked."""
        self._change_batch(name, lambda full, reserved: min(reserved, full * share))

    def lose_rows(self, name: str, share: float) -> None:
        """Count requests of a batch that may be billed, but whose answers cannot be read, as unconfirmed instead of reserved.

        Args:
            name: The name of the batch. If another process sent it, they are counted there.
            share: Their share of the requests of the batch, from 0 to 1.
        """
        self._change_batch(name, lambda full, reserved: max(0.0, reserved - full * share), lost=share)

    def _change_batch(self, name: str, reduce: Callable[[float, float], float], *, lost: float = 0.0) -> None:
        """Change the reservation of a batch: `reduce` is called with what was reserved first, and what is reserved now."""
        with self._lock:
            reservation = self._batches.get(name)
            worst = None if reservation is None else reservation.worst_case()
            if reservation is None or worst is None:
                return
            full = reservation.full = reservation.full or worst
            self._books.unconfirmed[reservation.is_simulated] += lost * full.total
            reservation.worst = replace(worst, per_attempt=reduce(full.per_attempt, worst.per_attempt))
        self._shared.report_soon(is_simulated=reservation.is_simulated)

    def book(self, bill: Sequence[BillLine], *, is_simulated: bool) -> None:
        """Book one request of a batch, a line for each model."""
        with self._lock:
            self._enter(bill, None, is_simulated=is_simulated)
        self._shared.report_soon(is_simulated=is_simulated)

    # Reading...

    def rows(self) -> tuple[LedgerRow, ...]:
        """Return usage and cost by model and thread, in the order of their first use."""
        with self._lock:
            return tuple(self._books.rows.values())

    def dump(self) -> dict[str, Any]:
        """Return the state as plain data for the ledger of another runtime."""
        with self._lock:
            return {
                "budget": self._books.budget,
                "rows": [asdict(row) for row in self._books.rows.values()],
                "unconfirmed": dict(self._books.unconfirmed),
                "is_own": self._is_own,
                "shared_name": self._shared.name,
            }

    def for_forked_child(self) -> Ledger:
        """Return the ledger of a forked child, with nothing in flight and an unlocked lock.

        It shows the parent's accounts. If the parent has a budget, the child refuses requests until its own budget is set.
        """
        child = Ledger(is_published=self._is_published, share=self._share)
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

    def _account_since_fork(self, is_simulated: bool) -> Account:
        """Return the account of this process alone, without what it shows of its parent's."""
        return sum_of(self._account(is_simulated), self._inherited[is_simulated], sign=-1)

    def _account(self, is_simulated: bool) -> Account:
        with self._lock:
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


def _checked(amount: float) -> float:
    """Return `amount` if it is valid for a budget.

    Raises:
        ConfigurationError: The amount is not valid.
    """
    if not 0 <= amount <= _MAX_AMOUNT:
        written = f"{amount!r:.40}"
        raise ConfigurationError(
            f"A budget is an amount in USD from 0 to {_MAX_AMOUNT:,.0f}, such as 2.00, not {written}."
        )
    return amount


# Child processes.
#
# Each has its own account, so a budget would apply to each of them separately. A process with a budget therefore writes a marker
# file to the user's temporary folder. Its descendants look for it before each request, however they were started (fork, spawn,
# forkserver, joblib, a script), even if the budget was set after their start.
class ParentBudget(NamedTuple):
    """The budget of an ancestor process; `amount` is None if its marker cannot be read."""

    pid: int
    amount: float | None


def _check_parent(budget: ParentBudget | None) -> None:
    """Check that no ancestor process has a budget, because requests of this process would not count against it.

    Raises:
        BudgetExceededError: An ancestor has a budget.
    """
    if budget is not None:
        amount = "" if budget.amount is None else f" of {format_usd(budget.amount)}"
        raise BudgetExceededError(
            f"A budget{amount} is set in process {budget.pid}, which started this one. "
            "Requests of this process would not count against it. Nothing was sent. Ask in that process, whose threads "
            "share its budget, or give this one a budget of its own: `claude.runtime.ledger.set_budget(0.50)`."
        )


def publish_budget(amount: float | None) -> None:
    """Publish the budget of this process to its descendants; None withdraws it.

    If the folder is not writable, the budget applies only to forked child processes.
    """
    with contextlib.suppress(OSError):
        path = _marker_path(os.getpid())
        if amount is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _remove_stale_markers()
        mark = json.dumps({"amount": amount, "started": _started_at()})
        path.touch()  # a budget of unknown amount, if the disk is full
        new = path.with_name(f"new-{path.name}")
        try:
            new.write_text(mark, encoding="utf-8")
            os.replace(new, path)
        except PermissionError:  # Windows, while another process reads it
            path.write_text(mark, encoding="utf-8")
        finally:
            new.unlink(missing_ok=True)


_CHECK_INTERVAL: Final = 0.01
"""Seconds for which no marker is looked for again. A map sends a thousand requests per second, and each look is a system call, which
gives up the interpreter lock."""
_MTIME_MARGIN: Final = 2.0
"""Seconds after which a new change of the folder is certain to have another modification time."""
_MAX_SEARCHES: Final = 3
"""Maximum number of searches through the ancestors, each of which fails if one of them ends meanwhile."""


class _Ancestors:
    """The ancestor processes: looks for one with a budget, and remembers for a while that there is none."""

    def __init__(self) -> None:
        self._next_check_at = 0.0
        self._unmarked_at: int | None = None
        """The modification time of the folder when it was searched in vain."""

    def find_budget(self) -> ParentBudget | None:
        """Return the budget of the nearest ancestor that has one, or None."""
        now = time.monotonic()
        if now < self._next_check_at:
            return None
        changed_at = _changed_at()
        if changed_at != self._unmarked_at:
            try:
                found = _find_in_ancestors()
            except OSError:  # such as too many open files: look again
                return None
            if found is not None:
                return found
        self._next_check_at = now + _CHECK_INTERVAL
        is_old = time.time() - changed_at / 1e9 > _MTIME_MARGIN
        self._unmarked_at = changed_at if is_old else None
        return None


def _changed_at() -> int:
    """Return when a marker was last added or removed, in nanoseconds; 0 if the folder does not exist."""
    try:
        return os.stat(_folder()).st_mtime_ns
    except OSError:
        return 0


def _find_in_ancestors() -> ParentBudget | None:
    """Return the budget of the nearest ancestor that has one, or None.

    Raises:
        OSError: The markers or the ancestors cannot be read now.
    """
    marks = set(_marked_pids())
    if not marks - {os.getpid()}:
        return None
    import psutil  # imported late: most kernels have no budget

    for _ in range(_MAX_SEARCHES):
        with contextlib.suppress(psutil.Error):
            budgets = (_budget_of(each) for each in psutil.Process().parents() if each.pid in marks)
            return next((budget for budget in budgets if budget is not None), None)
    raise OSError("The ancestor processes cannot be listed.")


def _marked_pids() -> Iterator[int]:
    """Yield the ids of the processes that have a marker."""
    try:
        folder = _marker_path(0).parent
        is_own = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        names = os.listdir(folder) if is_own else []
    except (FileNotFoundError, PermissionError):
        return
    for name in names:
        pid = name.removeprefix("budget-")
        if pid.isascii() and pid.isdigit():
            yield int(pid)


def _remove_stale_markers() -> None:
    import psutil  # imported late, as above

    for pid in _marked_pids():
        if not psutil.pid_exists(pid):
            _marker_path(pid).unlink(missing_ok=True)


def _budget_of(process: psutil.Process) -> ParentBudget | None:
    """Return the budget in a process's marker; None if there is no marker, or that of an earlier process with the same id.

    A marker that cannot be read is a budget too: its process may be writing it, or may have filled the disk.
    """
    path, started, written_at = _marker_path(process.pid), process.create_time(), math.inf
    try:
        written_at = path.stat().st_mtime
        mark = json.loads(path.read_text(encoding="utf-8"))
        amount, is_its_own = float(mark["amount"]), abs(mark["started"] - started) < 1.0
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        amount, is_its_own = None, written_at > started - 1.0
    return ParentBudget(process.pid, amount) if is_its_own else None


def _started_at() -> float:
    import psutil  # imported late, as above

    return psutil.Process().create_time()


def _marker_path(pid: int) -> Path:
    return Path(_folder(), f"budget-{pid}")


def _folder() -> str:
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    return f"{tempfile.gettempdir()}{os.sep}claude-magic-{user}"
