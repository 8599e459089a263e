"""The token bucket of `_rate_limit`, kept on a Redis or Valkey server and shared by all processes of an account.

The server answers an acquire with the moment of its grant (`bucket.lua`), and the process waits for that by itself: one round trip,
or less, because what comes while a call is on its way shares the next. Queue, gates, cancellation and order within the process are those
of the bucket; what differs is who says when the first in the queue is granted.

A ticket whose moment has passed while the process was busy is not used: with others it would make a burst. It is given back,
and takes part again in its old place. What is cancelled is given back, too, and those behind move up, in all processes.

While the server is away the bucket is an ordinary one, with a share of rate and capacity, and empty at first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ._config import ClientConfig, Credential
from ._errors import ClaudeError, ConfigurationError
from ._pace import ServerPace
from ._rate_limit import CLOCK_GRAIN, BucketState, Level, Pause, TokenBucket, Waiter
from ._redis import RedisLink, RedisScript, SharingLostError, account_name, read_limiter_url

logger = logging.getLogger("claude_magic.client")

_SCRIPT: Final = RedisScript("bucket.lua", "bucket", "line", "members")
_PACE_SCRIPT: Final = RedisScript("pace.lua", "pace")
_SLACK: Final = 0.1
"""Seconds by which a grant may be used late."""
_HELD_BACK: Final = _SLACK
"""Seconds for which the last part of a burst is held back: as much as flows in during that, but never the last 1 of it. So grants that
come a little late, and nearer to each other than they were given, are no more than the limit allows."""
_CHECK_INTERVAL: Final = 0.5
"""Seconds of silence after which who waits looks whether others have died; longer at rates below 10 a second."""
_CHECK_GRANTS: Final = 5
_IDLE_INTERVAL: Final = 600.0
"""Seconds after which a process that asks nothing says that it is there, so that nothing is forgotten."""
_LOOK_DELAY: Final = 0.02
"""Seconds between the message that tickets have moved and the question where ours are: what moves together is asked for once."""
_UNREADABLE: Final = (
    "The limiter at {} gives an answer that cannot be read: another version of claude_magic may share it. Use the same version in all "
    "processes, or another database. Nothing was sent."
)
_TOLD_FROM: Final = 0.1
"""Seconds of a wait that is worth a word."""
_LESSON_INTERVAL: Final = 0.1
"""Seconds between two messages on what the server's limits taught: what a process learns meanwhile goes together."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """A place in the line of the server.

    Attributes:
        number: Its number there.
        amount: What it takes.
        at: When it is granted, by the clock of the process.
        is_fresh: It was granted with the answer that told of it, so that there is nothing to be late for.
    """

    number: int
    amount: float
    at: float
    is_fresh: bool


class RedisBucket(TokenBucket):
    """A `TokenBucket` that all processes share which name the same server and account.

    Methods belong to the thread of the event loop, as those of a `TokenBucket`. Errors that only the server can tell of, such as a
    wrong password, are raised by `acquire`.

    Args:
        url: `redis://`, `rediss://` or `unix://`; `?members=16` says how many processes share it, for as long as it is away.
        refill_rate: Capacity that flows in per second. Where processes differ, the one that joins with less decides.
        capacity: Largest burst.
        account: A name for whose limit it is: `account_name` makes one of a key.
        clock: Monotonic clock in seconds.

    Raises:
        ConfigurationError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        refill_rate: float,
        capacity: float | None = None,
        *,
        account: str = "default",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(refill_rate, capacity, clock=clock)
        self.account = account
        self._address = read_limiter_url(url)
        self._link: RedisLink | None = None
        self.say: Callable[[str], None] = lambda _sentence: None
        """Told when the server goes and comes, in a sentence each time. It is logged in any case."""
        self._pace: ServerPace | None = None
        self._shared_pace: SharedPace | None = None
        self._check: asyncio.TimerHandle | None = None
        self._start_over()

    @classmethod
    def of(
        cls, config: ClientConfig, credential: Credential | None, server: str | None = None
    ) -> RedisBucket:
        """Return the bucket that settings name, for the account of a credential.

        Args:
            config: The settings; `limiter` names a server.
            credential: Whose limit it is, unless the URL says so.
            server: A name for the server of the API; None is its base URL.
        """
        url = config.limiter or ""
        secret = read_limiter_url(url).account or ("" if credential is None else credential.reveal())
        account = account_name(secret, server or config.base_url)
        return cls(url, config.rate_limit_rps, config.rate_limit_capacity, account=account)

    @property
    def link(self) -> RedisLink:
        """The connection, which others may use for the same account. Belongs to the running loop."""
        self._bind_to_running_loop()
        if self._link is None:
            self._link = RedisLink(self._address, self.account, lambda sentence: self.say(sentence))
            self._link.subscribe(self._hear, self._change)
            if self._pace is not None:
                self._shared_pace = SharedPace(self._link, self._pace, self.ask_waiters)
        return self._link

    def share(self, pace: ServerPace) -> None:
        """Tell other processes what is learnt of the server's limits, and learn from them."""
        is_new, self._pace = pace is not self._pace, pace
        if self._link is not None and is_new:
            self._close_pace()
            self._shared_pace = SharedPace(self._link, pace, self.ask_waiters)

    @property
    def problem(self) -> str | None:
        """Why the limit is not shared at present, as a sentence; None if it is. Any thread may ask."""
        link = self._link
        return None if link is None else link.problem

    @property
    def state(self) -> BucketState:
        """The level as of the server's last word, and the queue of this process. Any thread may ask."""
        state = super().state
        return replace(state, level=max(0.0, state.level))

    # As a bucket...

    def expected_wait(self, amount: float = 1.0) -> float:
        """Return the seconds that a waiter that joined now would wait, as of the server's last word."""
        if self._is_local:
            return super().expected_wait(amount)
        now = self._clock()
        ahead = sum(waiter.amount for waiter in self._unasked)
        free_at = self._level.full_at + (ahead + amount - self._burst) / self._level.rate
        return max(free_at, self._after_at, self._pause.until, now) - now

    def pause_for(self, seconds: float, *, asked: float = 0.0) -> None:
        """Pause everybody, in all processes; see `TokenBucket.pause_for`."""
        before = self._pause.until
        super().pause_for(seconds, asked=asked)
        if self._pause.until > before:
            now = self._clock()
            self._saying |= {"pause": self._pause.left(now), "asked": self._pause.asked_left(now)}
            self._send_soon()

    def resume(self) -> None:
        """End a pause, in all processes."""
        self._saying.pop("pause", None)
        self._saying["resume"] = True
        self._send_soon()
        super().resume()

    def reconfigure(self, refill_rate: float, capacity: float | None = None) -> None:
        """Change rate and capacity, for all processes; see `TokenBucket.reconfigure`."""
        super().reconfigure(refill_rate, capacity)
        if self._is_local:
            self._take_share()
        elif self._epoch is not None:
            self._saying["configure"] = True
            self._send_soon()

    async def aclose(self) -> None:
        """Leave the server alone; what is waited for goes to others. The next acquire connects again."""
        link, self._link = self._link, None
        self._close_pace()
        if self._sending is not None:
            self._sending.cancel()
        self._start_over()
        if link is not None:
            await link.aclose()

    # The line at the server...

    def _start_over(self) -> None:
        """Know nothing of the server."""
        self._is_local = False
        self._level = Level(*self.configured)
        self._burst = self._level.capacity
        self._epoch: str | None = None
        self._after_at = -math.inf
        self._sending: asyncio.Task[None] | None = None
        self._saying: dict[str, Any] = {}
        self._looks = False
        self._taken_alone = 0.0
        self._set_check(None)
        self._forget_tickets()

    def _forget_tickets(self) -> None:
        self._tickets: dict[Waiter, _Ticket] = {}
        self._late: dict[Waiter, _Ticket] = {}
        self._back: list[_Ticket] = []
        self._unasked: list[Waiter] = []
        self._asking: set[Waiter] = set()
        self._gated: set[object] = set()

    def _loop_changed(self) -> None:
        self._close_pace()
        self._link = None  # it belonged to the loop that has gone
        self._start_over()

    def _joined(self, waiter: Waiter) -> None:
        if not self._is_local and waiter.group not in self._gated:
            self._ask_for(waiter)

    def _ask_for(self, waiter: Waiter) -> None:
        self._asking.add(waiter)
        self._unasked.append(waiter)
        self._send_soon()

    def _left(self, waiter: Waiter) -> None:
        self._drop_ticket(waiter)
        if waiter.group not in self._waiting:
            self._gated.discard(waiter.group)

    def _drop_ticket(self, waiter: Waiter) -> None:
        """Give back what a waiter holds, which does not wait any longer, or not for that."""
        ticket = self._tickets.pop(waiter, None) or self._late.pop(waiter, None)
        if ticket is not None:
            self._back.append(ticket)
            self._send_soon()
        elif waiter in self._asking:
            self._asking.discard(waiter)
            if waiter in self._unasked:  # else it is on its way, and given back when it comes
                self._unasked.remove(waiter)

    def _give_back(self, waiter: Waiter) -> None:
        if isinstance(waiter.ticket, _Ticket) and not self._is_local:
            self._back.append(waiter.ticket)
            self._send_soon()
        else:
            super()._give_back(waiter)

    def _serve(self, now: float) -> float:
        if self._is_local:
            return super()._serve(now)
        wait, left = math.inf, deque[Waiter]()
        while self._queue:
            waiter = self._queue.popleft()
            seconds = 0.0 if waiter.future.done() else self._serve_one(waiter, now)
            if seconds:
                wait = min(wait, seconds)
                left.append(waiter)
            else:
                self._leave(waiter)
        self._queue.extend(left)
        return wait

    def _serve_one(self, waiter: Waiter, now: float) -> float:
        """Grant a waiter, or return the seconds until there is something to do for it; infinite if that will be told."""
        ticket = self._tickets.get(waiter)
        if ticket is None:
            return self._without_ticket(waiter)
        delay = max(ticket.at, self._pause.until) - now
        if delay > CLOCK_GRAIN:
            return delay
        if not ticket.is_fresh and (self._late or delay < -_SLACK):  # or another before it is late
            self._late[waiter] = self._tickets.pop(waiter)
            self._send_soon()
            return math.inf
        if seconds := self._closed_for(waiter):
            self._gated.add(waiter.group)
            self._drop_ticket(waiter)
            return seconds
        waiter.ticket = self._tickets.pop(waiter)
        self._grant(waiter)
        return 0.0

    def _without_ticket(self, waiter: Waiter) -> float:
        is_asked = waiter in self._asking or waiter in self._late
        if waiter.group in self._gated:
            # Those before a limit of the server's ask one after the other: each that passes may close it.
            if not is_asked and (seconds := self._closed_for(waiter)):
                return seconds
            self._closed.add(waiter.group)
        if not is_asked:
            self._ask_for(waiter)
        return math.inf

    # Calls...

    def _send_soon(self) -> None:
        """Let a call go out once what runs now has said all that it has to say."""
        try:
            loop = self._bind_to_running_loop()
        except RuntimeError:  # no loop runs: the next acquire says it
            return
        if self._sending is None and not self._is_local:
            self._sending = loop.create_task(self._send())

    async def _send(self) -> None:
        """Say what there is to say, one call after the other, so that order is kept."""
        me = asyncio.current_task()
        try:
            while self._sending is me and not self._is_local and self._has_news:
                await self._exchange(self.link)
        except SharingLostError:
            self._change()
        except ConfigurationError as error:
            self._refuse(error)
        except Exception:  # nobody must wait for ever for an answer that cannot be read
            logger.exception("the answer of the limiter at %s cannot be read", self._address.shown)
            self._refuse(ConfigurationError(_UNREADABLE.format(self._address.shown)))
        finally:
            if self._sending is me:
                self._sending = None

    @property
    def _has_news(self) -> bool:
        return bool(self._unasked or self._back or self._late or self._saying or self._looks)

    async def _exchange(self, link: RedisLink) -> None:
        asked, self._unasked = self._unasked, []
        back, self._back = self._back, []
        late, saying, self._saying = dict(self._late), self._saying, {}
        looks, self._looks = self._looks, False
        used, self._taken_alone = self._taken_alone, 0.0
        reply = await link.call(
            _SCRIPT,
            {
                "rate": self.configured[0],
                "capacity": self.configured[1],
                "slack": _HELD_BACK,
                "ask": [waiter.amount for waiter in asked],
                "back": [(ticket.number, ticket.amount) for ticket in back],
                "late": [(ticket.number, ticket.amount) for ticket in late.values()],
                "used": used,
                "look": looks,
                **saying,
                **({} if self._epoch is None else {"epoch": self._epoch}),
            },
        )
        if self._link is not link:
            return
        now = self._clock()
        if self._shared_pace is not None and self._epoch is None:
            await self._shared_pace.ask()
        link.members = max(1, int(reply["members"]))
        self._take_state(reply, now)
        if reply["gone"]:
            # We were taken for dead, or the server has lost its memory: what we held is others' by now.
            self._late.clear()
            self._tickets.clear()
        elif reply["told"]:
            self._take_times(dict(reply["times"] or ()), late, now)
        self._take_slots(zip(asked, reply["slots"] or (), strict=True), now)
        self._set_check(
            _IDLE_INTERVAL if not self._tickets else max(_CHECK_INTERVAL, _CHECK_GRANTS / self._level.rate)
        )
        self._serve_queue()

    def _take_state(self, reply: Mapping[str, Any], now: float) -> None:
        self._epoch = reply["epoch"]
        self._level = Level(reply["rate"], reply["capacity"], full_at=now + reply["tail"])
        self._burst, self._after_at = reply["burst"], now + reply["after"]
        if not self._saying:
            self._take_pause(reply, now)

    def _take_pause(self, told: Mapping[str, Any], now: float) -> None:
        self._pause = Pause(now + told["paused"], now + told["asked"]) if told["paused"] > 0 else Pause()

    def _take_times(self, times: Mapping[int, float], late: Mapping[Waiter, _Ticket], now: float) -> None:
        """Take the moments of our tickets, as they are now. One that is not among them has come."""
        for waiter, ticket in late.items():
            if self._late.pop(waiter, None) is not None:
                self._tickets[waiter] = ticket
            elif waiter.ticket is not ticket:
                continue  # it has been given back meanwhile
        for ticket in self._tickets.values():
            wait = times.get(ticket.number)
            ticket.at = min(ticket.at, now) if wait is None else now + wait
            ticket.is_fresh = wait is not None and wait <= 0.0

    def _take_slots(self, slots: Iterable[tuple[Waiter, tuple[int, float]]], now: float) -> None:
        for waiter, (number, wait) in slots:
            ticket = _Ticket(int(number), waiter.amount, now + wait, wait <= 0.0)
            if waiter not in self._asking:
                self._back.append(ticket)  # cancelled while it was on its way
                continue
            self._asking.discard(waiter)
            self._tickets[waiter] = ticket
            if wait >= _TOLD_FROM and waiter.on_wait is not None:
                waiter.on_wait(wait)
        # Moments are rounded on their way; who came first is still granted first.
        latest = -math.inf
        for ticket in sorted(self._tickets.values(), key=lambda each: each.number):
            ticket.at = latest = max(latest, ticket.at)

    def _refuse(self, error: ConfigurationError) -> None:
        """Tell all who wait that the server cannot be used as the setting has it."""
        self._forget_tickets()
        self._saying = {}
        for waiter in tuple(self._queue):
            if not waiter.future.done():
                waiter.future.set_exception(ConfigurationError(error.message))

    # What others say...

    def _hear(self, told: Mapping[str, Any]) -> None:
        if told.get("about") != "bucket" or self._is_local:
            return
        if self._link is not None:
            self._link.members = max(1, int(told["members"]))
        if "paused" in told:
            self._take_pause(told, self._clock())
            self.ask_waiters()
        if self._tickets and told["moved"]:
            self._set_check(_LOOK_DELAY)

    def _close_pace(self) -> None:
        if self._shared_pace is not None:
            self._shared_pace.close()
            self._shared_pace = None

    def _set_check(self, delay: float | None) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None
        if delay is not None and self._loop is not None:
            self._check = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._looks = True
        self._send_soon()

    def _change(self) -> None:
        """The server has gone, or come back."""
        is_away = self._link is not None and self._link.problem is not None
        if is_away == self._is_local:
            return
        if is_away:
            self._set_check(None)
            self._forget_tickets()
            self._epoch, self._saying, self._is_local = None, {}, True
            self._take_share()
        else:
            self._taken_alone = self._level.capacity - self._level.at(self._clock())
            self._level.rate, self._level.capacity = self.configured
            self._is_local = False
            for waiter in self._queue:
                if not waiter.future.done():
                    self._ask_for(waiter)
        self._serve_queue()

    def _take_share(self) -> None:
        """Be a bucket by ourselves: a share of the limit, and nothing in it, as nobody knows what the others have taken."""
        members = 1 if self._link is None else self._link.members
        rate, capacity = self.configured
        self._level = Level(rate / members, max(min(1.0, capacity), capacity / members))
        self._level.set(0.0, self._clock())


class SharedPace:
    """Carries lessons from a `ServerPace` to a server, and back. Belongs to one event loop.

    Each response tells what all processes have taken together, so the latest one holds, whichever process it was sent to. With it goes
    what the process has in flight, which the server has not counted yet.

    Args:
        link: The server.
        pace: What is known in this process.
        recheck: Called when something has been learnt from others, as gates may have opened or closed.
    """

    def __init__(self, link: RedisLink, pace: ServerPace, recheck: Callable[[], None]) -> None:
        self._link = link
        self._pace = pace
        self._recheck = recheck
        self._fresh: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        pace.on_learnt = self._note
        self._unsubscribe = link.subscribe(self._hear, self._change)

    def close(self) -> None:
        """Tell no more, and hear no more."""
        self._unsubscribe()
        self._pace.on_learnt = None
        if self._task is not None:
            self._task.cancel()

    async def ask(self) -> None:
        """Learn what others have learnt before; nothing if the server is away."""
        with contextlib.suppress(SharingLostError, ClaudeError):
            found = await self._link.call(_PACE_SCRIPT, {"lessons": {}, "asks": True})
            for name, told in dict(found or {}).items():
                if told["by"] != self._link.member:
                    self._pace.learn_from_other(name, told["by"], told["lesson"], age=told["age"])

    def _note(self, name: str) -> None:
        self._fresh.add(name)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while self._fresh and self._link.is_up:
                names, self._fresh = self._fresh, set()
                await self._link.call(
                    _PACE_SCRIPT,
                    {"lessons": {name: self._pace.lesson(name) for name in names}, "asks": False},
                )
                await asyncio.sleep(_LESSON_INTERVAL)
        except (SharingLostError, ClaudeError):
            self._fresh.clear()
        finally:
            self._task = None

    def _hear(self, told: Mapping[str, Any]) -> None:
        if told.get("about") == "pace":
            for name, lesson in dict(told["lessons"]).items():
                self._pace.learn_from_other(name, told["by"], lesson)
            self._recheck()

    def _change(self) -> None:
        """The server has gone, or come back. What others had in flight is not known any more."""
        if not self._link.is_up:
            self._pace.forget_others()
