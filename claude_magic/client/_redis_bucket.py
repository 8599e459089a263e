"""A token bucket like that of `_rate_limit`, stored on a Redis or Valkey server and shared by all processes of an account.

The server responds to an acquire with the time of its grant (`bucket.lua`), and the process waits for that time locally. That
takes at most one round trip: acquires that arrive during a call share the next one. Queue, gates, cancellation and order
within the process work as in `TokenBucket`; only the time of grants is determined by the server.

A booking whose time has passed while the process was busy is not used, because together with others it would cause a burst. It
is given back, and scheduled again in its old place. Cancelled bookings are given back, too, and later bookings of all processes
move up.

While the server is unreachable, the bucket works locally, with a share of rate and capacity, and starts empty.
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
"""Seconds of refill that a burst leaves unused; at least 1 of the capacity can always be used. With this margin, grants
stay within the limit even if they are used late, and closer together than they were given."""
_CHECK_INTERVAL: Final = 0.5
"""Seconds without a call after which a waiting process checks for dead ones; longer at rates below 10 per second."""
_CHECK_GRANTS: Final = 5
_IDLE_INTERVAL: Final = 600.0
"""Seconds after which an idle process calls the server, so that the stored state does not expire."""
_TIMES_DELAY: Final = 0.02
"""Seconds from the message that bookings have moved to the request for their new times, shared by several moves."""
_UNREADABLE: Final = (
    "The limiter at {} sent a response that cannot be read: another version of claude_magic may share it. Use the same version in all "
    "processes, or another database. Nothing was sent."
)
_SHORTEST_REPORTED: Final = 0.1
"""Shortest wait that is reported, in seconds."""
_PUBLISH_INTERVAL: Final = 0.1
"""Seconds between two messages with the state of the server's limits, so that several changes need only one message."""


@dataclass(slots=True, eq=False)
class _Booking:
    """A place in the server's line.

    Attributes:
        number: Number of the booking at the server.
        amount: Amount of capacity.
        at: Time of the grant, by the clock of the process.
        is_fresh: The booking was granted with the response that contained it, so it cannot be late.
    """

    number: int
    amount: float
    at: float
    is_fresh: bool


class RedisBucket(TokenBucket):
    """A `TokenBucket` that is shared by all processes with the same server and account.

    Methods must be called in the thread of the event loop, as for `TokenBucket`. Errors that only the server can report, such as
    a wrong password, are raised by `acquire`.

    Args:
        url: `redis://`, `rediss://` or `unix://`; `?members=16` is the number of processes to assume while the server is
            unreachable.
        refill_rate: Capacity added per second. If a process joins with a lower rate than the others, its rate applies to all.
        capacity: Largest burst.
        account: Name of the account that is limited; see `account_name`.
        clock: Monotonic clock in seconds.

    Raises:
        ConfigurationError: The URL is not valid.
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
        self.notify_user: Callable[[str], None] = lambda _sentence: None
        """Called with a sentence when the connection to the server is lost or restored. The sentence is also logged."""
        self._pace: ServerPace | None = None
        self._shared_pace: SharedPace | None = None
        self._check: asyncio.TimerHandle | None = None
        self._reset()

    @classmethod
    def of(
        cls, config: ClientConfig, credential: Credential | None, server: str | None = None
    ) -> RedisBucket:
        """Return the bucket for the settings and the account of a credential.

        Args:
            config: Settings with a `limiter`.
            credential: Credential of the account that is limited, unless the URL names an account.
            server: Name for the API server; None for its base URL.
        """
        url = config.limiter or ""
        secret = read_limiter_url(url).account or ("" if credential is None else credential.reveal())
        account = account_name(secret, server or config.base_url)
        return cls(url, config.rate_limit_rps, config.rate_limit_capacity, account=account)

    @property
    def link(self) -> RedisLink:
        """The connection, which may also be used for other data of the account. It is bound to the running loop."""
        self._bind_to_running_loop()
        if self._link is None:
            self._link = RedisLink(self._address, self.account, lambda sentence: self.notify_user(sentence))
            self._link.subscribe(self._on_message, self._on_change)
            self._share_pace()
        return self._link

    def share(self, pace: ServerPace) -> None:
        """Share the state of the server's limits with other processes, in both directions."""
        if pace is not self._pace:
            self._pace = pace
            self._share_pace()

    @property
    def problem(self) -> str | None:
        """Why the limit is not shared at present, as a sentence; None if it is. May be read from any thread."""
        link = self._link
        return None if link is None else link.problem

    @property
    def state(self) -> BucketState:
        """The level as last reported by the server, and the queue of this process. May be read from any thread."""
        state = super().state
        return replace(state, level=max(0.0, state.level))

    # The interface of `TokenBucket`...

    def expected_wait(self, amount: float = 1.0) -> float:
        """Return the seconds that a new waiter would wait, according to the server's last response."""
        if self._is_local:
            return super().expected_wait(amount)
        now = self._clock()
        ahead = sum(waiter.amount for waiter in self._unsent)
        free_at = self._level.full_at + (ahead + amount - self._burst) / self._level.rate
        return max(free_at, self._after_at, self._pause.until, now) - now

    def pause_for(self, seconds: float, *, asked: float = 0.0) -> None:
        """Pause the waiters of all processes; see `TokenBucket.pause_for`."""
        before = self._pause.until
        super().pause_for(seconds, asked=asked)
        if self._pause.until > before:
            now = self._clock()
            self._commands |= {"pause": self._pause.left(now), "asked": self._pause.asked_left(now)}
            self._send_soon()

    def resume(self) -> None:
        """End a pause, in all processes."""
        self._commands.pop("pause", None)
        self._commands["resume"] = True
        self._send_soon()
        super().resume()

    async def aclose(self) -> None:
        """Close the connection, and give up all bookings. The next acquire connects again."""
        link, self._link = self._link, None
        self._share_pace()
        if self._sending is not None:
            self._sending.cancel()
        self._reset()
        if link is not None:
            await link.aclose()

    # Bookings...

    def _reset(self) -> None:
        """Reset all state from the server."""
        self._is_local = False
        self._level = Level(*self.configured)
        self._burst = self._level.capacity
        self._epoch: str | None = None
        self._after_at = -math.inf
        self._sending: asyncio.Task[None] | None = None
        self._commands: dict[str, Any] = {}
        self._wants_times = False
        self._taken_locally = 0.0
        self._set_check(None)
        self._clear_bookings()

    def _clear_bookings(self) -> None:
        self._bookings: dict[Waiter, _Booking] = {}
        self._late: dict[Waiter, _Booking] = {}
        self._back: list[_Booking] = []
        self._unsent: list[Waiter] = []
        self._requested: set[Waiter] = set()
        self._gated: set[object] = set()

    def _loop_changed(self) -> None:
        self._link = None  # it was bound to the previous loop
        self._share_pace()
        self._reset()

    def _configure(self) -> None:
        super()._configure()
        if self._is_local:
            self._take_share()
        elif self._epoch is not None:
            self._commands["configure"] = True  # for all processes
            self._send_soon()

    def _joined(self, waiter: Waiter) -> None:
        if not self._is_local and waiter.group not in self._gated:
            self._ask_for(waiter)

    def _ask_for(self, waiter: Waiter) -> None:
        self._requested.add(waiter)
        self._unsent.append(waiter)
        self._send_soon()

    def _left(self, waiter: Waiter) -> None:
        self._drop_booking(waiter)
        if waiter.group not in self._waiting:
            self._gated.discard(waiter.group)

    def _drop_booking(self, waiter: Waiter) -> None:
        """Give back the booking of a waiter that no longer needs it."""
        booking = self._bookings.pop(waiter, None) or self._late.pop(waiter, None)
        if booking is not None:
            self._back.append(booking)
            self._send_soon()
        elif waiter in self._requested:
            self._requested.discard(waiter)
            if waiter in self._unsent:  # otherwise it was requested, and is given back on arrival
                self._unsent.remove(waiter)

    def _give_back(self, waiter: Waiter) -> None:
        if isinstance(waiter.booking, _Booking) and not self._is_local:
            self._back.append(waiter.booking)
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
        """Grant a waiter, or return the seconds until it can be served again; infinite if an event will trigger that."""
        booking = self._bookings.get(waiter)
        if booking is None:
            return self._without_booking(waiter)
        delay = max(booking.at, self._pause.until) - now
        if delay > CLOCK_GRAIN:
            return delay
        if not booking.is_fresh and (self._late or delay < -_SLACK):  # this one, or an earlier one, is late
            self._late[waiter] = self._bookings.pop(waiter)
            self._send_soon()
            return math.inf
        if seconds := self._hold_at_gate(waiter):
            self._gated.add(waiter.group)
            self._drop_booking(waiter)
            return seconds
        waiter.booking = self._bookings.pop(waiter)
        self._grant(waiter)
        return 0.0

    def _without_booking(self, waiter: Waiter) -> float:
        is_asked = waiter in self._requested or waiter in self._late
        if waiter.group in self._gated:
            # Waiters of a group whose gate was closed request bookings one by one, because each grant may close the gate.
            if not is_asked and (seconds := self._hold_at_gate(waiter)):
                return seconds
            self._closed.add(waiter.group)
        if not is_asked:
            self._ask_for(waiter)
        return math.inf

    # Calls to the server...

    def _send_soon(self) -> None:
        """Schedule a call for the next iteration of the loop, so that all changes until then share it."""
        try:
            loop = self._bind_to_running_loop()
        except RuntimeError:  # no running loop: the next acquire will send it
            return
        if self._sending is None and not self._is_local:
            self._sending = loop.create_task(self._send())

    async def _send(self) -> None:
        """Send pending changes, one call at a time, so that their order is preserved."""
        me = asyncio.current_task()
        try:
            while self._sending is me and not self._is_local and self._has_changes:
                await self._call(self.link)
        except SharingLostError:
            self._on_change()
        except ConfigurationError as error:
            self._fail_waiters(error)
        except Exception:  # waiters must not hang because of a malformed response
            logger.exception("the response of the limiter at %s cannot be read", self._address.shown)
            self._fail_waiters(ConfigurationError(_UNREADABLE.format(self._address.shown)))
        finally:
            if self._sending is me:
                self._sending = None

    @property
    def _has_changes(self) -> bool:
        return bool(self._unsent or self._back or self._late or self._commands or self._wants_times)

    async def _call(self, link: RedisLink) -> None:
        asked, self._unsent = self._unsent, []
        back, self._back = self._back, []
        late, commands, self._commands = dict(self._late), self._commands, {}
        wants_times, self._wants_times = self._wants_times, False
        used, self._taken_locally = self._taken_locally, 0.0
        reply = await link.call(
            _SCRIPT,
            {
                "rate": self.configured[0],
                "capacity": self.configured[1],
                "slack": _HELD_BACK,
                "ask": [waiter.amount for waiter in asked],
                "back": [(booking.number, booking.amount) for booking in back],
                "late": [(booking.number, booking.amount) for booking in late.values()],
                "used": used,
                "wants_times": wants_times,
                **commands,
                **({} if self._epoch is None else {"epoch": self._epoch}),
            },
        )
        if self._link is not link:
            return
        now = self._clock()
        if self._shared_pace is not None and self._epoch is None:
            await self._shared_pace.fetch()
        link.members = max(1, int(reply["members"]))
        self._take_state(reply, now)
        if reply["gone"]:
            # The server considered this process dead, or has lost its data, so the bookings of this process are void.
            self._late.clear()
            self._bookings.clear()
        elif reply["has_times"]:
            self._take_times(dict(reply["times"] or ()), late, now)
        self._take_slots(zip(asked, reply["slots"] or (), strict=True), now)
        self._set_check(
            _IDLE_INTERVAL if not self._bookings else max(_CHECK_INTERVAL, _CHECK_GRANTS / self._level.rate)
        )
        self._serve_queue()

    def _take_state(self, reply: Mapping[str, Any], now: float) -> None:
        self._epoch = reply["epoch"]
        self._level = Level(reply["rate"], reply["capacity"], full_at=now + reply["tail"])
        self._burst, self._after_at = reply["burst"], now + reply["after"]
        if not self._commands:
            self._take_pause(reply, now)

    def _take_pause(self, reply: Mapping[str, Any], now: float) -> None:
        self._pause = Pause(now + reply["paused"], now + reply["asked"]) if reply["paused"] > 0 else Pause()

    def _take_times(self, times: Mapping[int, float], late: Mapping[Waiter, _Booking], now: float) -> None:
        """Update the times of this process's bookings. A booking that is missing has been granted."""
        for waiter, booking in late.items():
            if self._late.pop(waiter, None) is not None:
                self._bookings[waiter] = booking
            elif waiter.booking is not booking:
                continue  # it was given back meanwhile
        for booking in self._bookings.values():
            wait = times.get(booking.number)
            booking.at = min(booking.at, now) if wait is None else now + wait
            booking.is_fresh = wait is not None and wait <= 0.0

    def _take_slots(self, slots: Iterable[tuple[Waiter, tuple[int, float]]], now: float) -> None:
        for waiter, (number, wait) in slots:
            booking = _Booking(int(number), waiter.amount, now + wait, wait <= 0.0)
            if waiter not in self._requested:
                self._back.append(booking)  # the waiter was cancelled during the call
                continue
            self._requested.discard(waiter)
            self._bookings[waiter] = booking
            if wait >= _SHORTEST_REPORTED and waiter.on_delay is not None:
                waiter.on_delay(wait)
        # Times are rounded in transit. Keep them in the order of the booking numbers.
        latest = -math.inf
        for booking in sorted(self._bookings.values(), key=lambda each: each.number):
            booking.at = latest = max(latest, booking.at)

    def _fail_waiters(self, error: ConfigurationError) -> None:
        """Raise an error in all waiters, because the server cannot be used with the current setting."""
        self._clear_bookings()
        self._commands = {}
        for waiter in tuple(self._queue):
            if not waiter.future.done():
                waiter.future.set_exception(ConfigurationError(error.message))

    # Messages from other processes...

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("about") != "bucket" or self._is_local:
            return
        if self._link is not None:
            self._link.members = max(1, int(message["members"]))
        if "paused" in message:
            self._take_pause(message, self._clock())
            self.ask_waiters()
        if self._bookings and message["moved"]:
            self._set_check(_TIMES_DELAY)

    def _share_pace(self) -> None:
        """Connect the pace to the link, instead of the previous ones; does nothing more if one of them is missing."""
        if self._shared_pace is not None:
            self._shared_pace.close()
            self._shared_pace = None
        if self._link is not None and self._pace is not None:
            self._shared_pace = SharedPace(self._link, self._pace, self.ask_waiters)

    def _set_check(self, delay: float | None) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None
        if delay is not None and self._loop is not None:
            self._check = self._loop.call_later(delay, self._request_times)

    def _request_times(self) -> None:
        self._wants_times = True
        self._send_soon()

    def _on_change(self) -> None:
        """Switch between local and shared mode when the connection is lost or restored."""
        is_away = self._link is not None and self._link.problem is not None
        if is_away == self._is_local:
            return
        if is_away:
            self._set_check(None)
            self._clear_bookings()
            self._epoch, self._commands, self._is_local = None, {}, True
            self._take_share()
        else:
            self._taken_locally = self._level.capacity - self._level.at(self._clock())
            self._level.rate, self._level.capacity = self.configured
            self._is_local = False
            for waiter in self._queue:
                if not waiter.future.done():
                    self._ask_for(waiter)
        self._serve_queue()

    def _take_share(self) -> None:
        """Use a local share of the limit. It starts empty, because the usage of other processes is unknown."""
        members = 1 if self._link is None else self._link.members
        rate, capacity = self.configured
        self._level = Level(rate / members, max(min(1.0, capacity), capacity / members))
        self._level.set(0.0, self._clock())


class SharedPace:
    """A synchroniser of a `ServerPace` with other processes. Bound to one event loop.

    Each response of the API reports the usage of all processes together, so the latest response is valid for all of them. The
    amounts that a process has in flight, which the API has not counted yet, are shared along with it.

    Args:
        link: Connection to the Redis or Valkey server.
        pace: Pace of this process.
        recheck: Called after state from other processes was merged, because gates may have opened or closed.
    """

    def __init__(self, link: RedisLink, pace: ServerPace, recheck: Callable[[], None]) -> None:
        self._link = link
        self._pace = pace
        self._recheck = recheck
        self._changed: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        pace.on_change = self._publish_soon
        self._unsubscribe = link.subscribe(self._on_message, self._on_change)

    def close(self) -> None:
        """Stop sending and receiving."""
        self._unsubscribe()
        self._pace.on_change = None
        if self._task is not None:
            self._task.cancel()

    async def fetch(self) -> None:
        """Fetch and merge the stored state from other processes; does nothing if the server is unreachable."""
        with contextlib.suppress(SharingLostError, ClaudeError):
            found = await self._link.call(_PACE_SCRIPT, {"states": {}, "fetch": True})
            for name, message in dict(found or {}).items():
                if message["by"] != self._link.member:
                    self._pace.merge_state(name, message["by"], message["state"], age=message["age"])

    def _publish_soon(self, name: str) -> None:
        self._changed.add(name)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._publish())

    async def _publish(self) -> None:
        try:
            while self._changed and self._link.is_up:
                names, self._changed = self._changed, set()
                await self._link.call(
                    _PACE_SCRIPT,
                    {"states": {name: self._pace.shared_state(name) for name in names}, "fetch": False},
                )
                await asyncio.sleep(_PUBLISH_INTERVAL)
        except (SharingLostError, ClaudeError):
            self._changed.clear()
        finally:
            self._task = None

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("about") == "pace":
            for name, state in dict(message["states"]).items():
                self._pace.merge_state(name, message["by"], state)
            self._recheck()

    def _on_change(self) -> None:
        """Discard the amounts that others have in flight when the connection is lost, because they are no longer known."""
        if not self._link.is_up:
            self._pace.forget_others()
