"""Compares the token bucket with aiolimiter: cost of a free acquire, exactness, fairness and efficiency."""

from __future__ import annotations

import asyncio
import statistics
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiolimiter import AsyncLimiter
from measure import Figure, at_least, at_most, interleave, print_figures
from virtual_time import run_in_virtual_time

from claude_magic.client import TokenBucket

PEER = "aiolimiter"
Acquire = Callable[[], Awaitable[object]]
FREE_ACQUIRES = 100_000
FREE_ROUNDS = 15
WAITERS = 200
RATE = 100.0
CAPACITY = 10.0
SHAPES = {"capacity as the rate, the default": (100.0, 100.0), "capacity 1": (200.0, 1.0)}
"""Rates and capacities. With a capacity of 1 the delay of each timer is lost: making it up would be over-admission."""

EFFICIENCY_ROUNDS = 5
SLACK = 1e-6
"""Seconds by which a grant may appear early because of rounding."""

MAX_FREE_MICROS = 0.4
MIN_EFFICIENCY = 0.99


def ours(rate: float, capacity: float) -> Acquire:
    """Return the `acquire` of `TokenBucket`, on the clock of the running loop."""
    return TokenBucket(rate, capacity, clock=asyncio.get_running_loop().time).acquire


def peer(rate: float, capacity: float) -> Acquire:
    """Return the `acquire` of aiolimiter for the same rate and burst."""
    return AsyncLimiter(max_rate=capacity, time_period=capacity / rate).acquire


@dataclass(frozen=True, slots=True)
class Crowd:
    """The grants of many concurrent acquirers.

    Attributes:
        granted_at: Time of each grant, by number of arrival.
        order: Numbers of arrival in the order of the grants.
    """

    granted_at: dict[int, float]
    order: list[int]

    @property
    def overtakings(self) -> int:
        """Number of grants that followed the grant of a later arrival."""
        latest, count = -1, 0
        for arrival in self.order:
            count += arrival < latest
            latest = max(latest, arrival)
        return count

    def over_admission(self, rate: float, capacity: float) -> int:
        """Return the number of grants by which the worst time window exceeds capacity + rate x window."""
        times = sorted(self.granted_at.values())
        worst = 0
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                allowed = int(capacity + rate * (times[last] - start + SLACK) + SLACK)
                worst = max(worst, bisect_right(times, times[last]) - first - allowed)
        return worst


async def free_acquires() -> tuple[float, float]:
    """Return the CPU time in µs of an acquire that does not wait, for `TokenBucket` and aiolimiter."""

    def many(acquire: Acquire) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            for _ in range(FREE_ACQUIRES):
                await acquire()

        return run

    # The default clock, as in a client. At this rate no acquire waits.
    contestants = {"ours": many(TokenBucket(1e9).acquire), PEER: many(peer(1e9, 1e9))}
    costs = await interleave(contestants, rounds=FREE_ROUNDS)
    return costs["ours"].cpu / FREE_ACQUIRES * 1e6, costs[PEER].cpu / FREE_ACQUIRES * 1e6


async def crowd(acquire: Acquire) -> Crowd:
    """Start waiters in three waves, the later ones into a queue, and cancel every seventh while it waits."""
    loop = asyncio.get_running_loop()
    result = Crowd({}, [])

    async def wait(arrival: int) -> None:
        await acquire()
        result.granted_at[arrival] = loop.time()
        result.order.append(arrival)

    tasks = []
    for arrival in range(3 * WAITERS):
        tasks.append(loop.create_task(wait(arrival)))
        await asyncio.sleep(0.5 if arrival % WAITERS == WAITERS - 1 else 0)
        if arrival % 7 == 6:
            tasks[arrival - 3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


async def efficiency(acquire: Acquire, rate: float, capacity: float) -> float:
    """Return the ideal time of 200 waiters at an empty bucket divided by their real time."""
    loop = asyncio.get_running_loop()
    for _ in range(int(capacity)):
        await acquire()
    started = loop.time()
    await asyncio.gather(*(acquire() for _ in range(WAITERS)))
    return WAITERS / rate / (loop.time() - started)


def main() -> None:
    """Measure and print."""
    free, peers_free = asyncio.run(free_acquires())
    crowds = [run_in_virtual_time(_in_crowd(limiter)) for limiter in (ours, peer)]
    over, peers_over = (each.over_admission(RATE, CAPACITY) for each in crowds)
    figures: list[Figure] = [
        at_most("bucket: free acquire (µs)", free, MAX_FREE_MICROS, peer=peers_free, peer_name=PEER),
        at_most("bucket: over-admission (grants)", over, 0, peer=peers_over, peer_name=PEER),
        at_most(
            "bucket: overtakings",
            crowds[0].overtakings,
            0,
            peer=crowds[1].overtakings,
            peer_name=PEER,
        ),
        *(_efficiency_figure(words, *shape) for words, shape in SHAPES.items()),
    ]
    print_figures(figures)


async def _in_crowd(limiter: Callable[[float, float], Acquire]) -> Crowd:
    return await crowd(limiter(RATE, CAPACITY))


def _efficiency_figure(words: str, rate: float, capacity: float) -> Figure:
    async def once(limiter: Callable[[float, float], Acquire]) -> float:
        return await efficiency(limiter(rate, capacity), rate, capacity)

    share, peers_share = (
        statistics.median(asyncio.run(once(limiter)) for _ in range(EFFICIENCY_ROUNDS))
        for limiter in (ours, peer)
    )
    name = f"bucket: efficiency, {WAITERS} waiters, {words}"
    return at_least(name, share, MIN_EFFICIENCY, peer=peers_share, peer_name=PEER)


if __name__ == "__main__":
    main()
