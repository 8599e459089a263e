"""A budget shared by the processes that share a limiter. They cannot exceed it together.

Each process keeps its own ledger, and reports its totals to the limiter's server before each request. While the server is
unreachable, each process may spend its share of the rest at the last contact.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ..client import ClaudeClient, ClaudeError, RedisBucket, RedisLink, RedisScript, SharingLostError
from ._budget import Account, BudgetExceededError, WorstCase, check_budget, fits
from ._models import format_usd

_SCRIPTS: Final = {
    is_simulated: RedisScript("budget.lua", books, "members", package=__package__)
    for is_simulated, books in ((False, "budget"), (True, "budget:simulated"))
}
_LAST_REPORT_TIMEOUT: Final = 1.0
_REPORT_DELAY: Final = 0.05
"""Seconds from the end of a request to the report of its cost, unless another request reports it earlier."""


class SharedBudget:
    """A ledger's view of the budget on a server. Use it on the bridge only, except `set` and the properties.

    Args:
        account: Returns the account of this process: for real money (False) or for a simulator (True).
        name: Name of this process's ledger on the server; a ledger that continues another one keeps its name.
    """

    def __init__(self, account: Callable[[bool], Account], name: str | None = None) -> None:
        self._account = account
        self.name = name or secrets.token_hex(6)
        self._link: RedisLink | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._unsent: tuple[float | None] | None = None
        self._amount: float | None = None
        self._others = {False: Account(), True: Account()}
        self._committed_at_contact = {False: 0.0, True: 0.0}
        self.is_joined = False
        """Whether a server has reported the budget. Any thread may read it."""
        self._lock, self._joining = asyncio.Lock(), asyncio.Lock()
        self._report_timer: asyncio.TimerHandle | None = None
        self._unreported: set[bool] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def amount(self) -> float | None:
        """The shared budget in USD; None for no limit. Any thread may read it."""
        return self._unsent[0] if self._unsent is not None else self._amount

    def others(self, *, is_simulated: bool) -> Account:
        """Return the last reported account of the other processes. Any thread may call it."""
        return self._others[is_simulated] if self.is_joined else Account()

    def set(self, amount: float | None) -> None:
        """Set the budget of all processes; it is sent with the next call."""
        self._unsent = (amount,)

    async def join(self, client: ClaudeClient) -> None:
        """Fetch the budget, and send one that was set. Does nothing if the client shares no limiter.

        Raises:
            ConfigurationError: The server cannot be used as configured.
        """
        bucket = getattr(client, "bucket", None)
        if not isinstance(bucket, RedisBucket):
            self._stop_sharing()
            return
        link = bucket.link
        if link is not self._link:
            self._stop_sharing()
            self._link, self._lock, self._joining = link, asyncio.Lock(), asyncio.Lock()
            self._unsubscribe = link.subscribe(self._on_message, lambda: None)
        async with self._joining:
            # Only the first of several concurrent calls reports. A later one would report the reservations made by
            # then, and without a budget, no further report would remove them.
            if not self.is_joined or self._unsent is not None:
                with contextlib.suppress(SharingLostError):
                    await self._call(False)
                    self.is_joined = True

    async def refresh(self, client: ClaudeClient) -> None:
        """Fetch the accounts of the other processes."""
        await self.join(client)
        if self.is_joined:
            with contextlib.suppress(SharingLostError):
                for is_simulated in (False, True):
                    await self._call(is_simulated)

    def _stop_sharing(self) -> None:
        """Stop sharing, because the settings name another server or none."""
        self._unsubscribe()
        self._link, self._unsubscribe, self.is_joined = None, lambda: None, False

    async def reserve(
        self, worst: WorstCase, what: str, *, is_simulated: bool, take: Callable[[], object]
    ) -> None:
        """Admit one or several requests whose worst case fits into the rest of the shared budget.

        Args:
            worst: Their worst case.
            what: Their name in a few words, for error messages.
            is_simulated: Whether they count against the simulator's account.
            take: Adds them to this process's account, before the next report to the server.

        Raises:
            BudgetExceededError: The worst case does not fit.
        """
        try:
            answer = await self._call(is_simulated, worst.total, take)
        except SharingLostError:
            self._check_alone(worst, is_simulated)
            return
        if not answer["fits"] and self._amount is not None:
            account = sum_of(self._account(is_simulated), self._others[is_simulated])
            try:
                check_budget(worst, account, self._amount, what)
            except BudgetExceededError as error:
                reserved = self._others[is_simulated].reserved
                error.is_temporary = fits(
                    worst, replace(account, reserved=account.reserved - reserved), self._amount
                )
                raise

    def report_soon(self, *, is_simulated: bool) -> None:
        """Report this process's account soon."""
        if self._amount is None or self._link is None:
            return
        self._unreported.add(is_simulated)
        if self._report_timer is not None:
            return
        with contextlib.suppress(RuntimeError):  # no running loop: the next request reports it
            loop = asyncio.get_running_loop()
            self._report_timer = loop.call_later(_REPORT_DELAY, self._start_report, loop)

    def _start_report(self, loop: asyncio.AbstractEventLoop) -> None:
        self._report_timer = None
        task = loop.create_task(self._report())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self) -> None:
        while self._unreported:
            with contextlib.suppress(SharingLostError, ClaudeError):
                await self._call(self._unreported.pop())

    async def report_last(self) -> None:
        """Report the remaining amounts before the process ends: reservations of a dead process count as spent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_REPORT_TIMEOUT):
                await asyncio.gather(self._report(), *self._tasks)

    async def _call(
        self, is_simulated: bool, worst: float = 0.0, take: Callable[[], object] = lambda: None
    ) -> Mapping[str, Any]:
        async with self._lock:  # calls are ordered, so the last report applies
            link, unsent = self._link, self._unsent
            if link is None:
                raise SharingLostError
            own = self._account(is_simulated)
            request: dict[str, Any] = {
                "ledger": self.name,
                "own": _amounts(own),
                "worst": worst,
            }
            if unsent is not None:
                request |= {"lifts": True} if unsent[0] is None else {"sets": unsent[0]}
            elif self._amount is not None:
                request["known"] = self._amount
            answer: Mapping[str, Any] = await link.call(_SCRIPTS[is_simulated], request)
            if unsent is not None:
                # The simulator's account has the same budget.
                other = _amounts(self._account(not is_simulated))
                await link.call(_SCRIPTS[not is_simulated], {**request, "own": other, "worst": 0.0})
                self._unsent = None if self._unsent is unsent else self._unsent
            self._amount = None if answer["amount"] is False else float(answer["amount"])
            self._others[is_simulated] = Account(**answer["others"])
            if answer["fits"]:
                take()
            self._committed_at_contact[is_simulated] = own.committed + (worst if answer["fits"] else 0.0)
            return answer

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("about") == "budget":
            self._amount = None if message["amount"] is False else float(message["amount"])
            self.report_soon(is_simulated=False)
            # The account of the simulator is reported with its next request.

    def _check_alone(self, worst: WorstCase, is_simulated: bool) -> None:
        amount = self.amount
        if amount is None or self._link is None:
            return
        own = self._account(is_simulated).committed
        left = amount - self._others[is_simulated].committed - self._committed_at_contact[is_simulated]
        share = max(0.0, left) / self._link.members
        if own - self._committed_at_contact[is_simulated] + worst.total > share:
            raise BudgetExceededError(
                f"The budget of {format_usd(amount)} is shared, and the limiter at {self._link.address.shown} "
                f"cannot be reached. This process may spend its share of the rest, {format_usd(share)}, and this "
                f"request could cost up to {format_usd(worst.total)}. It was not sent. "
                "Run it again when the limiter can be reached."
            )


def _amounts(account: Account) -> dict[str, float]:
    return {"spent": account.spent, "unconfirmed": account.unconfirmed, "reserved": account.reserved}


def sum_of(one: Account, other: Account, *, sign: int = 1) -> Account:
    """Return the sum of two accounts, or their difference if `sign` is -1."""
    return replace(
        one,
        spent=one.spent + sign * other.spent,
        unconfirmed=one.unconfirmed + sign * other.unconfirmed,
        reserved=one.reserved + sign * other.reserved,
    )
