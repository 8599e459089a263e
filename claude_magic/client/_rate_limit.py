"""The bucket of the limiter, for one event loop: first come, first served, exact, and cancellable without loss.

Theory of operation. The level is not stored. Stored is `full_at`, the moment at which the bucket would be
full again if nothing more were taken; then

    level(now) = capacity - max(0, full_at - now) * rate

and taking `amount` moves `full_at` later by `amount / rate`. Nothing has to tick.

Who finds too little waits in a queue of futures. One timer exists, for the head of the queue. When it rings,
every waiter whose share is there is *granted*: its share is booked at that moment, then its future is set. So
a waiter which is cancelled earlier has taken nothing, and one that is cancelled after its grant gives the
booking back. A newcomer joins the queue as long as anybody is in it, also one who was granted but whose task
has not run yet: nobody overtakes.

Between the grants of any window [t, t + w] lies at most capacity + rate * w, because the level never
exceeds capacity and every grant is paid for from it at the time it is made.

A waiter may also have a *gate*, which is closed while a limit of the server's is used up. Waiters whose gate is closed are
passed over, in their places; those of the same group stay in order among themselves. A gate has no timer of its own: it says
for how long it is closed, and `recheck` tells that this may have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

LimiterReason: TypeAlias = Literal["rate", "paused", "requests", "input tokens", "output tokens", "tokens"]
"""Why a request is not sent yet: the configured rate, a pause that a server asked for, or a limit of the server's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketState:
    """What a bucket holds at one moment.

    Attributes:
        level: Capacity free now, between 0 and `capacity` (below 0 only after the capacity was lowered).
        capacity: Most that the bucket holds: the largest burst.
        refill_rate: Capacity that flows in per second.
        waiters: Acquirers in the queue.
        next_grant: Seconds until the queue is served next, as far as is known; None if nobody waits.
        paused_for: Seconds for which everybody waits, 0.0 if the bucket is not paused.
        asked_for: Seconds of the wait that led to the pause and that are left; more than `paused_for` where a server asked
            for longer than anybody waits. 0.0 if the bucket is not paused.
    """

    level: float
    capacity: float
    refill_rate: float
    waiters: int
    next_grant: float | None
    paused_for: float
    asked_for: float = 0.0


CLOCK_GRAIN = 1e-9
"""Seconds below which two moments are the same, so that nobody waits for a rounding error."""
_ROUNDING = 1e-9
"""Capacity that is as good as none."""


@dataclass(slots=True)
class Level:
    """What is in a bucket, told by the moment at which it is full again.

    Attributes:
        rate: Capacity that flows in per second.
        capacity: Most that it holds.
        full_at: When it is full if nobody takes any more.
    """

    rate: float
    capacity: float
    full_at: float = -math.inf

    def at(self, now: float) -> float:
        """Return what is in it; below 0 after more was taken than there was."""
        return self.capacity - max(0.0, self.full_at - now) * self.rate

    def set(self, level: float, now: float) -> None:
        """Say what is in it; never more than it holds."""
        missing = self.capacity - min(level, self.capacity)
        self.full_at = now + missing / self.rate if missing else -math.inf

    def ready_at(self, amount: float) -> float:
        """Return the moment at which `amount` is there, or has flowed in if it holds less than that."""
        return self.full_at + (amount - self.capacity) / self.rate

    def take(self, amount: float, now: float) -> None:
        """Take some; what is not there is owed."""
        self.full_at = max(self.full_at, now) + amount / self.rate

    def give_back(self, amount: float) -> None:
        """Put back what was taken."""
        self.full_at -= amount / self.rate


@dataclass(slots=True)
class Pause:
    """A pause after a 429: nobody is let through.

    Attributes:
        until: When it ends.
        asked_until: The end of the wait that the server asked for; later where that is longer than anybody waits.
    """

    until: float = -math.inf
    asked_until: float = -math.inf

    def extend(self, seconds: float, now: float, *, asked: float = 0.0) -> None:
        """Pause for `seconds` from now. Of several pauses the longest wins.

        Args:
            seconds: How long.
            now: The present.
            asked: The wait that the server asked for, where that is longer.
        """
        self.until = max(self.until, now + seconds)
        self.asked_until = max(self.asked_until, now + max(seconds, asked))

    def left(self, now: float) -> float:
        """Return the seconds that are left of it; 0.0 if it is over."""
        return max(0.0, self.until - now)

    def asked_left(self, now: float) -> float:
        """Return what is left of the wait that the server asked for, while the pause lasts; else 0.0."""
        return max(self.asked_until, self.until) - now if now < self.until else 0.0


class Gate(Protocol):
    """What a waiter has to pass in addition to the bucket."""

    @property
    def group(self) -> object:
        """What is common to all gates that are opened in the order of their waiters."""

    def closed_for(self) -> float:
        """Return the seconds until it opens for the first waiter of its group; 0.0 if it is open."""

    def enter(self) -> None:
        """Take note that its waiter passes now."""


StopWaiting = Callable[[], Exception | None]
"""Tells a waiter why it does not want to wait any longer, or None while it does."""
OnDelay = Callable[[float], None]
"""Told of the seconds to wait."""


@dataclass(slots=True, eq=False, repr=False)
class Waiter:
    """One place in the queue."""

    amount: float
    future: asyncio.Future[None]
    gate: Gate | None
    refusal: StopWaiting | None
    on_wait: OnDelay | None
    ticket: object | None = None
    """What it was granted, where that is kept elsewhere."""
    group: object = field(init=False)

    def __post_init__(self) -> None:
        self.group = None if self.gate is None else self.gate.group


class TokenBucket:
    """Lets requests through at a steady rate, with bursts up to a capacity.

    All methods belong to the thread of the event loop that uses the bucket, but for `state` and `dump`, which
    any thread may read. The bucket is bound to no loop while its queue is empty.

    A subclass may have its capacity given out elsewhere, as `RedisBucket` has: it sets `_is_local` to False for that time, and says in
    `_serve` who is granted. `_joined`, `_left`, `_give_back` and `_loop_changed` tell it what happens in the queue meanwhile.

    Args:
        refill_rate: Capacity that flows in per second; above 0. With amounts of 1, requests per second.
        capacity: Largest burst; above 0. None means `refill_rate`, but at least 1, so that 0.2 per second
            still grants.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        refill_rate: float,
        capacity: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.configured = _checked(refill_rate, capacity)
        """Rate and capacity that were asked for last."""
        self._level = Level(*self.configured)
        self._pause = Pause()
        self._is_local = True
        self._due_at = math.inf
        self._in_line = 0  # acquirers that joined the queue and have not returned from `acquire` yet
        self._queue: deque[Waiter] = deque()
        self._waiting: dict[object, float] = {}  # what the waiters of each group want, together
        self._closed: set[object] = set()  # the groups that were passed over last
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(
        self,
        amount: float = 1.0,
        gate: Gate | None = None,
        *,
        refusal: StopWaiting | None = None,
        on_wait: OnDelay | None = None,
    ) -> float:
        """Wait until `amount` of capacity is free, then take it.

        Waiters are served first come, first served. Cancelling a waiter costs the bucket nothing.

        Args:
            amount: Capacity to take; 0 < amount <= capacity.
            gate: What else has to be open. Those behind a closed gate are overtaken by those behind an open one.
            refusal: Asked by `ask_waiters` whether it still wants to wait; what it returns is raised.
            on_wait: Told of the seconds to wait where `expected_wait` could not know them: a server has to be asked first.

        Returns:
            Seconds spent waiting; 0.0 if capacity was free.

        Raises:
            Exception: What `refusal` returned.
            ValueError: `amount` is not in that range and could never be granted.
            RuntimeError: Waiters of another running event loop are in the queue.
        """
        if self.try_acquire(amount, gate):
            return 0.0
        return await self._wait_in_line(amount, gate, refusal, on_wait)

    def try_acquire(self, amount: float = 1.0, gate: Gate | None = None) -> bool:
        """Take `amount` if that is possible at once and nobody waits; return whether it was taken."""
        if not 0.0 < amount <= self.configured[1]:
            raise ValueError(
                f"amount must be above 0 and at most the capacity ({self.configured[1]:g}), not {amount!r}"
            )
        if self._in_line or not self._is_local:
            return False
        now, level = self._clock(), self._level
        # As `ready_at` and `take` do it: nearly all acquires end here, and two calls are a third of their time.
        start = level.full_at if level.full_at > now else now
        if start - now > (level.capacity - amount) / level.rate + CLOCK_GRAIN or now < self._pause.until:
            return False
        if gate is not None:
            if gate.closed_for() > 0.0:
                return False
            gate.enter()
        level.full_at = start + amount / level.rate
        return True

    def expected_wait(self, amount: float = 1.0) -> float:
        """Return the seconds that a waiter that joined the queue now would wait, if nobody before it gives up.

        Gates are left out, and so is who waits behind a closed one.
        """
        ahead = sum(wanted for group, wanted in self._waiting.items() if group not in self._closed)
        return max(0.0, self._ready_at(ahead + amount) - self._clock())

    def pause_for(self, seconds: float, *, asked: float = 0.0) -> None:
        """Pause everybody for `seconds` from now; see `Pause.extend`."""
        self._pause.extend(seconds, self._clock(), asked=asked)
        self._serve_queue()

    def resume(self) -> None:
        """End a pause: it was another server's, or another account's."""
        self._pause = Pause()
        self._serve_queue()

    def ask_waiters(self) -> None:
        """Let those in the queue who do not want to wait any longer leave it with an error."""
        for waiter in tuple(self._queue):
            error = None if waiter.future.done() or waiter.refusal is None else waiter.refusal()
            if error is not None:
                self._queue.remove(waiter)
                self._leave(waiter)
                waiter.future.set_exception(error)
        self._serve_queue()

    def recheck(self) -> None:
        """Serve the queue, because a gate may have opened."""
        if self._queue:
            self._serve_queue()

    def reconfigure(self, refill_rate: float, capacity: float | None = None) -> None:
        """Change rate and capacity; the level is kept, up to the new capacity, and so is the queue.

        A waiter whose amount exceeds the new capacity is served when the bucket is full, which then owes the
        rest.
        """
        now = self._clock()
        level = self._level.at(now)
        self.configured = _checked(refill_rate, capacity)
        self._level = Level(*self.configured)
        self._level.set(level, now)
        self._serve_queue()

    @property
    def state(self) -> BucketState:
        """The present level, queue and pause. Any thread may ask."""
        now = self._clock()
        is_waiting = any(not waiter.future.done() for waiter in self._queue.copy())
        return BucketState(
            level=self._level.at(now),
            capacity=self._level.capacity,
            refill_rate=self._level.rate,
            waiters=len(self._queue),
            next_grant=max(0.0, self._due_at - now) if is_waiting else None,
            paused_for=self._pause.left(now),
            asked_for=self._pause.asked_left(now),
        )

    def asked_for(self) -> float:
        """Return what is left of the wait that a server asked for, while its pause lasts. Any thread may ask."""
        return self._pause.asked_left(self._clock())

    def dump(self) -> dict[str, Any]:
        """Return level and pause as plain data for `restore`, in this process, with the same clock."""
        return {"level": asdict(self._level), "pause": asdict(self._pause)}

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Continue where a previous bucket stood, with its level and its pause, at our own rate and capacity."""
        self._level, self._pause = Level(**dumped["level"]), Pause(**dumped["pause"])
        self.reconfigure(*self.configured)

    def __repr__(self) -> str:
        state = self.state
        paused = f", paused for {state.paused_for:.1f} s" if state.paused_for else ""
        return (
            f"<{type(self).__name__} level {state.level:.2f} of {state.capacity:g}, {state.refill_rate:g}/s, "
            f"{state.waiters} waiting{paused}>"
        )

    # What a subclass may have to say...

    def _serve(self, now: float) -> float:
        """Grant every waiter that can be granted, in order, and take it out of the queue.

        Returns:
            Seconds until there is something to do for one that is left; infinite if that will be told.
        """
        passed_over: list[Waiter] = []
        wait = math.inf
        try:
            while self._queue:
                waiter = self._queue[0]
                if not waiter.future.done():
                    if seconds := self._closed_for(waiter):
                        wait = min(wait, seconds)
                        passed_over.append(self._queue.popleft())
                        continue
                    delay = self._ready_at(min(waiter.amount, self._level.capacity)) - now
                    if delay > CLOCK_GRAIN:
                        wait = min(wait, delay)
                        break
                    self._level.take(waiter.amount, now)
                    self._grant(waiter)
                self._leave(self._queue.popleft())
        finally:
            self._queue.extendleft(reversed(passed_over))
        return wait

    def _joined(self, waiter: Waiter) -> None:
        """A waiter stands in the queue."""

    def _left(self, waiter: Waiter) -> None:
        """A waiter does not stand in the queue any more."""

    def _give_back(self, waiter: Waiter) -> None:
        """Take back what a waiter was granted and does not use."""
        self._level.give_back(waiter.amount)

    def _loop_changed(self) -> None:
        """The bucket is used on another event loop from now on; nobody is in the queue."""

    # The queue...

    def _ready_at(self, amount: float) -> float:
        """Return the moment at which `amount` is there, nobody else taking any, and no pause is left."""
        return max(self._pause.until, self._level.ready_at(amount))

    async def _wait_in_line(
        self, amount: float, gate: Gate | None, refusal: StopWaiting | None, on_wait: OnDelay | None
    ) -> float:
        loop = self._bind_to_running_loop()
        waiter = Waiter(amount, loop.create_future(), gate, refusal, on_wait)
        joined_at = self._clock()
        is_behind_its_like = gate is not None and gate.group in self._waiting
        self._queue.append(waiter)
        self._waiting[waiter.group] = self._waiting.get(waiter.group, 0.0) + waiter.amount
        self._joined(waiter)
        self._in_line += 1
        try:
            if not is_behind_its_like:  # else it is nobody's turn now whose turn it was not before
                self._serve_queue()
            if waiter.future.done():
                # Granted at once, behind others that were granted but have not run yet: let them go first.
                await asyncio.sleep(0)
            await waiter.future
        except BaseException:
            if self._loop is loop:
                self._withdraw(waiter)
            raise
        finally:
            # A queue whose loop was closed under it was dropped whole, so its waiters have left already.
            if self._loop is loop:
                self._in_line -= 1
        return self._clock() - joined_at

    def _withdraw(self, waiter: Waiter) -> None:
        """Take a waiter out that was cancelled or refused, with what it was granted."""
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self._give_back(waiter)
        else:
            with contextlib.suppress(ValueError):  # the timer may have skipped it already
                self._queue.remove(waiter)
                self._leave(waiter)
        self._serve_queue()

    def _leave(self, waiter: Waiter) -> None:
        """Take note that a waiter is not in the queue any more."""
        left = self._waiting[waiter.group] - waiter.amount
        if left > _ROUNDING:
            self._waiting[waiter.group] = left
        else:
            del self._waiting[waiter.group]
        self._left(waiter)

    def _serve_queue(self) -> None:
        """Grant every waiter that can be granted, in order, and set the timer for the one who then is the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        self._closed = set()
        wait = self._serve(now)
        self._due_at = now if wait == math.inf else now + wait
        if wait < math.inf and self._loop is not None and not self._loop.is_closed():
            self._timer = self._loop.call_later(wait, self._serve_queue)

    def _grant(self, waiter: Waiter) -> None:
        if waiter.gate is not None:
            waiter.gate.enter()
        waiter.future.set_result(None)

    def _closed_for(self, waiter: Waiter) -> float:
        """Return the seconds for which a waiter's gate is closed; infinite behind another waiter of its group."""
        if waiter.gate is None:
            return 0.0
        if waiter.group in self._closed:
            return math.inf
        seconds = waiter.gate.closed_for()
        if seconds > 0.0:
            self._closed.add(waiter.group)
        return seconds

    def _bind_to_running_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._in_line and not self._loop.is_closed():
                raise RuntimeError(
                    "this bucket has waiters on another event loop; share one loop, or use one bucket each"
                )
            self._queue.clear()
            self._waiting.clear()
            self._in_line = 0
            self._timer = None
            previous, self._loop = self._loop, loop
            if previous is not None:
                self._loop_changed()
        return loop


def _checked(refill_rate: float, capacity: float | None) -> tuple[float, float]:
    if not (0.0 < refill_rate < math.inf):
        raise ValueError(f"refill_rate must be a number above 0, not {refill_rate!r}")
    if capacity is None:
        capacity = max(1.0, refill_rate)
    if not (0.0 < capacity < math.inf):
        raise ValueError(f"capacity must be a number above 0, not {capacity!r}")
    return float(refill_rate), float(capacity)
