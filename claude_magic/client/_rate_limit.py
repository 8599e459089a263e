"""A token bucket for one event loop: first come, first served, exact, and cancellable without loss.

Theory of operation. The bucket stores `full_at`, the time at which it will be full again if nothing more is taken. The
level follows from it:

    level(now) = capacity - max(0, full_at - now) * rate

Taking `amount` moves `full_at` later by `amount / rate`. No periodic task is needed.

If the level is too low, acquirers wait in a queue of futures. There is one timer, for the head of the queue. When it
fires, every waiter for whom there is enough capacity is *granted*: its amount is taken from the level, then its future is
resolved. So a waiter that is cancelled before its grant has taken nothing, and one that is cancelled afterwards gives its
amount back. New acquirers join the queue as long as there are waiters, including granted ones whose tasks have not run
yet. So no acquirer overtakes another.

The grants in any window [t, t + w] amount to at most capacity + rate * w, because the level never exceeds the capacity, and
every grant is taken from the level when it is made.

A waiter may also have a *gate*, which is closed while a limit of the server is used up. Waiters with a closed gate are
skipped, but keep their place; the order within a group is preserved. A gate has no timer: it returns for how long it is
closed, and `recheck` must be called when that may have changed.
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
"""Why a request is not sent yet: the configured rate, a pause requested by a server, or a limit of the server."""


@dataclass(frozen=True, slots=True)
class WaitReason:
    """The reason why a request must wait.

    Attributes:
        reason: The limit that is used up, or "paused" after a 429.
        seconds: Expected wait in seconds.
    """

    reason: LimiterReason
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketState:
    """A snapshot of a bucket.

    Attributes:
        level: Available capacity, between 0 and `capacity` (below 0 only after the capacity was lowered).
        capacity: Maximum level: the largest burst.
        refill_rate: Capacity added per second.
        waiters: Number of waiters in the queue.
        next_grant: Expected seconds until the next grant, as far as known; None if nobody waits.
        paused_for: Remaining seconds of a pause for all waiters; 0.0 if the bucket is not paused.
        asked_for: Remaining seconds of the wait that a server requested. More than `paused_for` if the request exceeds the
            longest wait of the policy; 0.0 if the bucket is not paused.
    """

    level: float
    capacity: float
    refill_rate: float
    waiters: int
    next_grant: float | None
    paused_for: float
    asked_for: float = 0.0


CLOCK_GRAIN = 1e-9
"""Seconds below which two times are considered equal, so that rounding errors cause no waits."""
_ROUNDING = 1e-9
"""Capacity below which an amount is considered zero."""


@dataclass(slots=True)
class Level:
    """The level of a bucket, stored as the time at which it is full again.

    Attributes:
        rate: Capacity added per second.
        capacity: Maximum level.
        full_at: Time at which the bucket is full if nothing more is taken.
    """

    rate: float
    capacity: float
    full_at: float = -math.inf

    def at(self, now: float) -> float:
        """Return the level; below 0 if more was taken than was available."""
        return self.capacity - max(0.0, self.full_at - now) * self.rate

    def set(self, level: float, now: float) -> None:
        """Set the level, to at most the capacity."""
        missing = self.capacity - min(level, self.capacity)
        self.full_at = now + missing / self.rate if missing else -math.inf

    def ready_at(self, amount: float) -> float:
        """Return the time at which `amount` is available, or will have been added if it exceeds the capacity."""
        return self.full_at + (amount - self.capacity) / self.rate

    def take(self, amount: float, now: float) -> None:
        """Take an amount; the level may become negative."""
        self.full_at = max(self.full_at, now) + amount / self.rate

    def give_back(self, amount: float) -> None:
        """Return an amount that was taken."""
        self.full_at -= amount / self.rate


@dataclass(slots=True)
class Pause:
    """A pause after a 429, during which nothing is granted.

    Attributes:
        until: End of the pause.
        asked_until: End of the wait that the server requested; later than `until` if that exceeds the longest wait of the
            policy.
    """

    until: float = -math.inf
    asked_until: float = -math.inf

    def extend(self, seconds: float, now: float, *, asked: float = 0.0) -> None:
        """Pause for `seconds` from now. The longest of several pauses applies.

        Args:
            seconds: Length of the pause in seconds.
            now: Current time in seconds.
            asked: Wait in seconds that the server requested, if longer.
        """
        self.until = max(self.until, now + seconds)
        self.asked_until = max(self.asked_until, now + max(seconds, asked))

    def left(self, now: float) -> float:
        """Return the remaining seconds; 0.0 if the pause is over."""
        return max(0.0, self.until - now)

    def asked_left(self, now: float) -> float:
        """Return the remaining seconds of the wait that the server requested; 0.0 if the pause is over."""
        return max(self.asked_until, self.until) - now if now < self.until else 0.0


class Gate(Protocol):
    """A condition that a waiter must meet in addition to the bucket's."""

    @property
    def group(self) -> object:
        """The gate's group. Waiters of a group are granted in order."""

    def wait_reason(self) -> WaitReason | None:
        """Return why the first waiter of its group must wait; None if the gate is open. Has no side effects."""

    def hold(self, wait_reason: WaitReason) -> None:
        """Called when the queue is served and the waiter, the first of its group, is skipped."""

    def enter(self) -> None:
        """Called when the waiter is granted."""


StopWaiting = Callable[[], Exception | None]
"""Returns an error if a waiter should stop waiting, else None."""
OnDelay = Callable[[float], None]
"""Called with the expected wait in seconds."""


@dataclass(slots=True, eq=False, repr=False)
class Waiter:
    """A waiter in the queue."""

    amount: float
    future: asyncio.Future[None]
    gate: Gate | None
    refusal: StopWaiting | None
    on_delay: OnDelay | None
    booking: object | None = None
    """The grant, if a subclass keeps it elsewhere."""
    group: object = field(init=False)

    def __post_init__(self) -> None:
        self.group = None if self.gate is None else self.gate.group


class TokenBucket:
    """A rate limiter with a steady rate, and bursts up to a capacity.

    Methods must be called in the thread of the event loop that uses the bucket, except `state` and `dump`, which any thread
    may use. While its queue is empty, the bucket is not bound to a loop.

    A subclass may allocate capacity elsewhere, as `RedisBucket` does. It sets `_is_local` to False meanwhile, and decides in
    `_serve` which waiters are granted. `_joined`, `_left`, `_give_back`, `_loop_changed` and `_configure` are its hooks.

    Args:
        refill_rate: Capacity added per second; above 0. With amounts of 1, requests per second.
        capacity: Largest burst; above 0. None means `refill_rate`, but at least 1, so that a rate of 0.2 per second can
            grant requests.
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
        """The configured rate and capacity."""
        self._level = Level(*self.configured)
        self._pause = Pause()
        self._is_local = True
        self._due_at = math.inf
        self._in_line = 0  # acquirers that joined the queue and have not returned from `acquire` yet
        self._queue: deque[Waiter] = deque()
        self._waiting: dict[object, float] = {}  # total amount of the waiters in each group
        self._closed: set[object] = set()  # groups that were skipped the last time
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(
        self,
        amount: float = 1.0,
        gate: Gate | None = None,
        refusal: StopWaiting | None = None,
        on_delay: OnDelay | None = None,
    ) -> float:
        """Wait until `amount` of capacity is available, then take it.

        Waiters are served first come, first served. A cancelled waiter takes no capacity.

        Args:
            amount: Capacity to take; 0 < amount <= capacity.
            gate: Additional condition. Waiters with an open gate overtake those with a closed one.
            refusal: Called by `ask_waiters`; an exception that it returns ends the wait and is raised.
            on_delay: Called with the seconds to wait if `expected_wait` does not know them yet, because they depend on a
                server's response.

        Returns:
            Seconds spent waiting; 0.0 if capacity was available.

        Raises:
            Exception: The exception that `refusal` returned.
            ValueError: `amount` is outside the range, so it could never be granted.
            RuntimeError: Waiters of another running event loop are in the queue.
        """
        if self.try_acquire(amount, gate):
            return 0.0
        return await self._wait_in_line(amount, gate, refusal, on_delay)

    def try_acquire(self, amount: float = 1.0, gate: Gate | None = None) -> bool:
        """Take `amount` if it is available and nobody waits; return whether it was taken."""
        if not 0.0 < amount <= self.configured[1]:
            raise ValueError(
                f"amount must be above 0 and at most the capacity ({self.configured[1]:g}), not {amount!r}"
            )
        if self._in_line or not self._is_local:
            return False
        now, level = self._clock(), self._level
        # `ready_at` and `take`, inlined: nearly all acquires end here, and the two calls would take a third of their time.
        start = level.full_at if level.full_at > now else now
        if start - now > (level.capacity - amount) / level.rate + CLOCK_GRAIN or now < self._pause.until:
            return False
        if gate is not None:
            if gate.wait_reason() is not None:
                return False
            gate.enter()
        level.full_at = start + amount / level.rate
        return True

    def expected_wait(self, amount: float = 1.0) -> float:
        """Return the seconds that a new waiter would wait if no earlier one gives up.

        Gates, and waiters with closed gates, are not taken into account.
        """
        ahead = sum(wanted for group, wanted in self._waiting.items() if group not in self._closed)
        return max(0.0, self._ready_at(ahead + amount) - self._clock())

    def pause_for(self, seconds: float, *, asked: float = 0.0) -> None:
        """Pause all waiters for `seconds` from now; see `Pause.extend`."""
        self._pause.extend(seconds, self._clock(), asked=asked)
        self._serve_queue()

    def resume(self) -> None:
        """End a pause, for example because it was for another server or account."""
        self._pause = Pause()
        self._serve_queue()

    def ask_waiters(self) -> None:
        """Remove the waiters whose `refusal` returns an error, and raise it in their `acquire`."""
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
        """Change rate and capacity, if they are not those configured already.

        The level, limited to the new capacity, and the queue are kept. A waiter whose amount exceeds the new capacity is
        granted when the bucket is full; the level is then negative.
        """
        configured = _checked(refill_rate, capacity)
        if configured != self.configured:
            self.configured = configured
            self._configure()

    @property
    def state(self) -> BucketState:
        """A snapshot of level, queue and pause. May be read from any thread."""
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
        """Return the remaining seconds of the wait that a server requested; 0.0 if not paused. May be called from any thread."""
        return self._pause.asked_left(self._clock())

    def dump(self) -> dict[str, Any]:
        """Return level and pause as plain data for `restore`, in the same process and with the same clock."""
        return {"level": asdict(self._level), "pause": asdict(self._pause)}

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take over level and pause of a previous bucket, but keep rate and capacity."""
        self._level, self._pause = Level(**dumped["level"]), Pause(**dumped["pause"])
        self._configure()

    def __repr__(self) -> str:
        state = self.state
        paused = f", paused for {state.paused_for:.1f} s" if state.paused_for else ""
        return (
            f"<{type(self).__name__} level {state.level:.2f} of {state.capacity:g}, {state.refill_rate:g}/s, "
            f"{state.waiters} waiting{paused}>"
        )

    # Hooks for subclasses...

    def _serve(self, now: float) -> float:
        """Grant all waiters that can be granted, in order, and remove them from the queue.

        Returns:
            Seconds until the next waiter may be granted; infinite if another call will trigger that.
        """
        passed_over: list[Waiter] = []
        wait = math.inf
        try:
            while self._queue:
                waiter = self._queue[0]
                if not waiter.future.done():
                    if seconds := self._hold_at_gate(waiter):
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
        """Called when a waiter has joined the queue."""

    def _left(self, waiter: Waiter) -> None:
        """Called when a waiter has left the queue."""

    def _give_back(self, waiter: Waiter) -> None:
        """Return the amount of a granted waiter that was cancelled."""
        self._level.give_back(waiter.amount)

    def _loop_changed(self) -> None:
        """Called when the bucket is bound to another event loop; the queue is empty."""

    def _configure(self) -> None:
        """Use the configured rate and capacity, and keep the level."""
        now = self._clock()
        level = self._level.at(now)
        self._level = Level(*self.configured)
        self._level.set(level, now)
        self._serve_queue()

    # The queue...

    def _ready_at(self, amount: float) -> float:
        """Return the time at which `amount` is available and the pause is over, if no other capacity is taken."""
        return max(self._pause.until, self._level.ready_at(amount))

    async def _wait_in_line(
        self, amount: float, gate: Gate | None, refusal: StopWaiting | None, on_delay: OnDelay | None
    ) -> float:
        loop = self._bind_to_running_loop()
        waiter = Waiter(amount, loop.create_future(), gate, refusal, on_delay)
        joined_at = self._clock()
        is_behind_group = gate is not None and gate.group in self._waiting
        self._queue.append(waiter)
        self._waiting[waiter.group] = self._waiting.get(waiter.group, 0.0) + waiter.amount
        self._joined(waiter)
        self._in_line += 1
        try:
            if not is_behind_group:  # otherwise no additional waiter can be granted
                self._serve_queue()
            if waiter.future.done():
                # Granted at once. Earlier waiters were granted, but their tasks have not run yet: let them run first.
                await asyncio.sleep(0)
            await waiter.future
        except BaseException:
            if self._loop is loop:
                self._withdraw(waiter)
            raise
        finally:
            # If the loop was closed, the whole queue was dropped, including its waiters.
            if self._loop is loop:
                self._in_line -= 1
        return self._clock() - joined_at

    def _withdraw(self, waiter: Waiter) -> None:
        """Remove a waiter that was cancelled or refused, and return its grant."""
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self._give_back(waiter)
        else:
            with contextlib.suppress(ValueError):  # the timer may have removed it already
                self._queue.remove(waiter)
                self._leave(waiter)
        self._serve_queue()

    def _leave(self, waiter: Waiter) -> None:
        """Update the group's total after a waiter has left the queue."""
        left = self._waiting[waiter.group] - waiter.amount
        if left > _ROUNDING:
            self._waiting[waiter.group] = left
        else:
            del self._waiting[waiter.group]
        self._left(waiter)

    def _serve_queue(self) -> None:
        """Grant all waiters that can be granted, in order, and set the timer for the next one."""
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

    def _hold_at_gate(self, waiter: Waiter) -> float:
        """Skip a waiter whose gate is closed, and with it the later ones of its group.

        Returns:
            Seconds until the gate opens; 0.0 if it is open, infinite if an earlier waiter of the group is skipped.
        """
        if waiter.gate is None:
            return 0.0
        if waiter.group in self._closed:
            return math.inf
        if (wait_reason := waiter.gate.wait_reason()) is None:
            return 0.0
        waiter.gate.hold(wait_reason)
        self._closed.add(waiter.group)
        return wait_reason.seconds

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
