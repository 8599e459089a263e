"""A budget that the processes share which share a limiter. No request of one passes it because another has not been heard of.

Each process keeps its own books as it always does, and says what they come to with each request, before it is sent. While the server is
away each may spend its share of what was left when it was heard last.
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

_SCRIPT: Final = RedisScript("budget.lua", "budget", "members", package=__package__)
_REHEARSAL: Final = RedisScript("budget.lua", "budget:simulated", "members", package=__package__)
_TELL_DELAY: Final = 0.05
"""Seconds from the end of a request to telling what it has cost, if no other request tells it before."""


class SharedBudget:
    """What a ledger knows of the budget on a server. Belongs to the bridge, but for `set` and what it shows.

    Args:
        account: Returns what this process has committed, of real money or (True) of a simulator's.
        name: What the books of this process are called; a ledger that continues another goes by its name.
    """

    def __init__(self, account: Callable[[bool], Account], name: str | None = None) -> None:
        self._account = account
        self.name = name or secrets.token_hex(6)
        self._link: RedisLink | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._unsaid: tuple[float | None] | None = None
        self._amount: float | None = None
        self._others = {False: Account(), True: Account()}
        self._at_contact = {False: 0.0, True: 0.0}
        self.is_joined = False
        """Whether a server has told what the budget is. Any thread may ask."""
        self._lock = asyncio.Lock()
        self._telling: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def amount(self) -> float | None:
        """The budget of all, in USD; None is no bound. Any thread may ask."""
        return self._unsaid[0] if self._unsaid is not None else self._amount

    def others(self, *, is_simulated: bool) -> Account:
        """What the other processes have committed, as it was told last. Any thread may ask."""
        return self._others[is_simulated] if self.is_joined else Account()

    def set(self, amount: float | None) -> None:
        """Have this budget hold for all, from the next call on."""
        self._unsaid = (amount,)

    async def join(self, client: ClaudeClient) -> None:
        """Learn what the budget is, and say what was set; nothing where the client shares no limiter.

        Raises:
            ConfigurationError: The server cannot be used as the settings have it.
        """
        bucket = getattr(client, "bucket", None)
        if not isinstance(bucket, RedisBucket):
            self._leave()
            return
        link = bucket.link
        if link is not self._link:
            self._leave()
            self._link, self._lock = link, asyncio.Lock()
            self._unsubscribe = link.subscribe(self._hear, lambda: None)
        if not self.is_joined or self._unsaid is not None:
            with contextlib.suppress(SharingLostError):
                await self._call(False)
                self.is_joined = True

    async def look(self, client: ClaudeClient) -> None:
        """Learn what the others have committed by now."""
        await self.join(client)
        if self.is_joined:
            with contextlib.suppress(SharingLostError):
                for is_simulated in (False, True):
                    await self._call(is_simulated)

    def _leave(self) -> None:
        """Be alone: the settings name no server any more, or another one."""
        self._unsubscribe()
        self._link, self._unsubscribe, self.is_joined = None, lambda: None, False

    async def reserve(self, worst: WorstCase, *, is_simulated: bool, take: Callable[[], object]) -> None:
        """Let a request pass whose worst case fits beside what all have committed.

        Args:
            worst: Its worst case.
            is_simulated: Whose account it is on.
            take: Books it, before anything else is told to the server.

        Raises:
            BudgetExceededError: It does not fit.
        """
        try:
            told = await self._call(is_simulated, worst.total, take)
        except SharingLostError:
            self._check_alone(worst, is_simulated)
            return
        if not told["fits"] and self._amount is not None:
            account = sum_of(self._account(is_simulated), self._others[is_simulated])
            try:
                check_budget(worst, account, self._amount)
            except BudgetExceededError as error:
                reserved = self._others[is_simulated].reserved
                error.is_passing = fits(
                    worst, replace(account, reserved=account.reserved - reserved), self._amount
                )
                raise

    def note_end(self, *, is_simulated: bool) -> None:
        """Tell soon what this process has committed now."""
        if self._amount is None or self._link is None or self._telling is not None:
            return
        with contextlib.suppress(RuntimeError):  # no loop runs any more: the next request tells it
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(_TELL_DELAY, self._tell, loop, is_simulated)

    def _tell(self, loop: asyncio.AbstractEventLoop, is_simulated: bool) -> None:
        self._telling = None
        task = loop.create_task(self._tell_quietly(is_simulated))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_quietly(self, is_simulated: bool) -> None:
        with contextlib.suppress(SharingLostError, ClaudeError):
            await self._call(is_simulated)

    async def _call(
        self, is_simulated: bool, worst: float = 0.0, take: Callable[[], object] = lambda: None
    ) -> Mapping[str, Any]:
        async with self._lock:  # what is said later is what holds
            link, unsaid = self._link, self._unsaid
            if link is None:
                raise SharingLostError
            own = self._account(is_simulated)
            request: dict[str, Any] = {
                "ledger": self.name,
                "own": _amounts(own),
                "worst": worst,
            }
            if unsaid is not None:
                request |= {"lifts": True} if unsaid[0] is None else {"sets": unsaid[0]}
            elif self._amount is not None:
                request["known"] = self._amount
            script = _REHEARSAL if is_simulated else _SCRIPT
            told: Mapping[str, Any] = await link.call(script, request)
            if unsaid is not None:
                # The rehearsal's books have the same budget.
                other = _amounts(self._account(not is_simulated))
                await link.call(
                    _SCRIPT if is_simulated else _REHEARSAL, {**request, "own": other, "worst": 0.0}
                )
                self._unsaid = None if self._unsaid is unsaid else self._unsaid
            self._amount = None if told["amount"] is False else float(told["amount"])
            self._others[is_simulated] = Account(**told["others"])
            if told["fits"]:
                take()
            self._at_contact[is_simulated] = own.committed + (worst if told["fits"] else 0.0)
            return told

    def _hear(self, told: Mapping[str, Any]) -> None:
        if told.get("about") == "budget":
            self._amount = None if told["amount"] is False else float(told["amount"])
            self.note_end(is_simulated=False)
            # Of a rehearsal the others hear with its next request.

    def _check_alone(self, worst: WorstCase, is_simulated: bool) -> None:
        amount = self.amount
        if amount is None or self._link is None:
            return
        own = self._account(is_simulated).committed
        left = amount - self._others[is_simulated].committed - self._at_contact[is_simulated]
        share = max(0.0, left) / self._link.members
        if own - self._at_contact[is_simulated] + worst.total > share:
            raise BudgetExceededError(
                f"The budget of {format_usd(amount)} is shared, and the limiter at {self._link.address.shown} is away. This process may spend "
                f"its share of what was left, {format_usd(share)}, and this request could cost up to {format_usd(worst.total)}. It was not "
                "sent. Run it again when the limiter is there."
            )


def _amounts(account: Account) -> dict[str, float]:
    return {"spent": account.spent, "unconfirmed": account.unconfirmed, "reserved": account.reserved}


def sum_of(one: Account, other: Account, *, sign: int = 1) -> Account:
    """Return two accounts together, or (-1) one without the other."""
    return replace(
        one,
        spent=one.spent + sign * other.spent,
        unconfirmed=one.unconfirmed + sign * other.unconfirmed,
        reserved=one.reserved + sign * other.reserved,
    )
