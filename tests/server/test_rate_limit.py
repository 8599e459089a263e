"""The token bucket, in a process and on a Redis server, on an event loop with a simulated clock."""

from __future__ import annotations

import asyncio
import gc
import math
import random
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from claude_magic.client import RedisBucket, TokenBucket

from ..redis_server import RedisServer, redis_server
from ..unit.moved_loop import MovedLoop, let_run, worst_excess
from .limiters import InProcess, Limiter, OnRedis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server for the buckets of this file, each with its own account."""
    with redis_server() as running:
        yield running


@pytest.fixture(params=["in process", "redis"])
def limiter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Limiter:
    """Both kinds of bucket."""
    if request.param == "redis":
        return OnRedis(request.getfixturevalue("server"), monkeypatch)
    return InProcess()


def test_l1_capacity_defaults_to_the_rate_but_never_below_one() -> None:
    """Promise: ten per second allow a burst of ten; a rate of 0.2 can still grant."""
    assert TokenBucket(10).state.capacity == 10
    assert TokenBucket(0.2).state.capacity == 1
    assert TokenBucket(10, 3).state.capacity == 3


def test_l1_a_slow_rate_grants_one_at_once_and_the_next_after_five_seconds(limiter: Limiter) -> None:
    """Promise: 0.2 per second is one every 5 s."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 0.2)

        assert await bucket.acquire() == 0.0
        assert await bucket.acquire() == pytest.approx(5.0)

    limiter.run(main)


def test_l1_the_level_refills_continuously_up_to_capacity(limiter: Limiter) -> None:
    """Promise: the level rises with the clock, up to the capacity."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 4, 8)
        assert [await bucket.acquire() for _ in range(8)] == [0.0] * 8
        assert not bucket.try_acquire()
        assert bucket.state.level == pytest.approx(0.0, abs=1e-5)

        await asyncio.sleep(0.5)
        assert bucket.state.level == pytest.approx(2.0, abs=1e-5)
        await asyncio.sleep(60)
        assert bucket.state.level == pytest.approx(8.0)

    limiter.run(main)


def test_l1_refilled_capacity_is_available_without_queueing() -> None:
    """Promise: `try_acquire` takes available capacity, and returns False if there is none."""
    now = 50.0
    bucket = TokenBucket(4, 8, clock=lambda: now)
    assert all(bucket.try_acquire() for _ in range(8))
    assert not bucket.try_acquire()

    now += 0.25
    assert bucket.try_acquire()
    assert not bucket.try_acquire()


@pytest.mark.parametrize("amount", [0, -1, 11, math.nan, math.inf])
def test_l1_an_amount_that_can_never_be_granted_is_rejected(amount: float, limiter: Limiter) -> None:
    """Promise: a ValueError with the capacity instead of an endless wait."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10)
        with pytest.raises(ValueError, match="at most the capacity"):
            bucket.try_acquire(amount)
        with pytest.raises(ValueError, match="at most the capacity"):
            await bucket.acquire(amount)

    limiter.run(main)


@pytest.mark.parametrize(
    ("rate", "capacity"), [(0, None), (-1, None), (math.inf, None), (math.nan, None), (1, 0)]
)
def test_l1_a_rate_or_capacity_must_be_positive(rate: float, capacity: float | None) -> None:
    """Promise: a bucket that could never grant is not created."""
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(rate, capacity)


def test_l2_waiters_are_served_first_come_first_served_also_with_different_amounts(limiter: Limiter) -> None:
    """Promise: a small request never overtakes a large one ahead of it."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10)
        await bucket.acquire(10)
        order: list[int] = []

        async def take(number: int) -> None:
            await bucket.acquire(10 if number % 2 else 0.5)
            order.append(number)

        await asyncio.gather(*(take(number) for number in range(50)))

        assert order == list(range(50))

    limiter.run(main)


def test_l2_a_newcomer_does_not_overtake_a_waiter_that_was_just_granted(limiter: Limiter) -> None:
    """Promise: the order is kept even between a grant and the waiter's next step."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 2)
        await bucket.acquire(2)
        order: list[str] = []

        async def take(name: str) -> None:
            await bucket.acquire()
            order.append(name)

        first = asyncio.create_task(take("first"))
        await limiter.let_run()
        # Both run in the same turn of the loop: the bucket's timer grants `first`, then the newcomer asks.
        loop.call_later(0.5, lambda: newcomers.append(asyncio.create_task(take("newcomer"))))
        newcomers: list[asyncio.Task[None]] = []
        await asyncio.sleep(0.5)
        await asyncio.gather(first, *newcomers)

        assert order == ["first", "newcomer"]

    limiter.run(main)


def test_l2_no_waiter_sleeps_longer_than_needed(limiter: Limiter) -> None:
    """Promise: the n-th waiter is granted exactly when its share has been refilled."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 1)
        start = loop.time()
        await bucket.acquire()

        waits = await asyncio.gather(*(bucket.acquire() for _ in range(30)))

        assert waits == pytest.approx([(number + 1) / 10 for number in range(30)])
        assert loop.time() - start == pytest.approx(3.0)

    limiter.run(main)


@pytest.mark.parametrize("victim", [0, 1, 4])
def test_l2_cancelled_waiter_loses_no_capacity_and_delays_nobody(victim: int, limiter: Limiter) -> None:
    """Promise: cancelling the head, the middle or the tail moves later waiters up by one."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 1)
        await bucket.acquire()
        tasks = [asyncio.create_task(bucket.acquire()) for _ in range(5)]
        await limiter.let_run()

        tasks.pop(victim).cancel()
        waits = await asyncio.gather(*tasks)

        assert waits == pytest.approx([0.1, 0.2, 0.3, 0.4])
        assert bucket.state.waiters == 0

    limiter.run(main)


def test_l2_a_waiter_cancelled_just_after_its_grant_gives_the_slot_to_the_next(limiter: Limiter) -> None:
    """Promise: a slot that was granted but never used is not lost."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 1)
        await bucket.acquire()
        first, second = (asyncio.create_task(bucket.acquire()) for _ in range(2))
        await limiter.let_run()
        # The bucket's own timer is earlier in the queue of the same moment, so the grant comes before the
        # cancel.
        loop.call_later(0.1, first.cancel)

        wait = await second

        assert first.cancelled()
        assert wait == pytest.approx(0.1)

    limiter.run(main)


def test_l2_the_level_after_all_waiters_were_cancelled_is_as_if_they_never_came(limiter: Limiter) -> None:
    """Promise: cancelled waiters leave no debt and no timer."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 1)
        await bucket.acquire()
        tasks = [asyncio.create_task(bucket.acquire()) for _ in range(100)]
        await limiter.let_run()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        assert (bucket.state.waiters, bucket.state.next_grant) == (0, None)
        assert await bucket.acquire() == pytest.approx(0.1)

    limiter.run(main)


def random_load(
    limiter: Limiter, rate: float, burst: float, lateness: float, seed: int
) -> list[tuple[float, float]]:
    """Generate random arrivals, amounts, cancellations, pauses and late timers; return times and amounts of the grants."""
    chance = random.Random(seed)
    grants: list[tuple[float, float]] = []

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, rate, burst)
        granted_order: list[int] = []

        async def take(number: int) -> None:
            amount = chance.uniform(0.01, burst) if chance.random() < 0.3 else min(1.0, burst)
            await bucket.acquire(amount)
            grants.append((loop.time(), amount))
            granted_order.append(number)

        tasks = []
        for number in range(60):
            tasks.append(asyncio.create_task(take(number)))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.expovariate(rate))
            if chance.random() < 0.2:
                chance.choice(tasks).cancel()
            if chance.random() < 0.05:
                bucket.pause_for(chance.uniform(0, 3 / rate))
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert granted_order == sorted(granted_order)
        assert bucket.state.waiters == 0

    limiter.run(main, late_by=lambda: chance.uniform(0, lateness))
    return grants


LOADS = {
    "rate": st.floats(0.1, 500),
    "burst": st.floats(1, 20),
    "lateness": st.floats(0, 0.05),
    "seed": st.integers(0, 2**32),
}


@settings(max_examples=150, deadline=None)
@given(**LOADS)
def test_l2_l3_no_window_exceeds_its_bound_and_nobody_overtakes_under_random_load(
    rate: float, burst: float, lateness: float, seed: int
) -> None:
    """Promise: bound and order hold for random arrivals, amounts, cancellations, pauses and late timers."""
    assert worst_excess(random_load(InProcess(), rate, burst, lateness, seed), rate, burst) < 1e-5


def test_a_clock_that_is_set_back_does_not_stall_waiters(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: if the server's clock jumps, or another server takes over, waiters wait as long as before, in order."""
    limiter = OnRedis(server, monkeypatch)
    limiter.clock_offset = 10_000.0

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 1, 1)
        await bucket.acquire()
        waiter = asyncio.create_task(bucket.acquire())
        await limiter.let_run()
        limiter.clock_offset = 0.0

        assert await bucket.acquire() == pytest.approx(2.0, abs=0.01)
        assert await waiter == pytest.approx(1.0, abs=0.01)

    limiter.run(main)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(rate=81.0, burst=2.0, lateness=0.0, seed=56080)  # several are granted at the end of a pause
@given(**LOADS)
def test_l2_l3_bound_and_order_hold_on_a_server_under_random_load(
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
    burst: float,
    lateness: float,
    seed: int,
) -> None:
    """Promise: the same, except for the refill while a timer is late: the time of the grant was set before."""
    with monkeypatch.context() as patches:
        grants = random_load(OnRedis(server, patches), rate, burst, lateness, seed)

    assert worst_excess(grants, rate, burst) < rate * lateness + 1e-3


def test_l3_two_hundred_waiters_get_the_configured_rate(limiter: Limiter) -> None:
    """Promise: with timers as late as real ones, 200 waiters still get 99 % of the rate."""
    chance = random.Random(7)

    async def main(loop: MovedLoop) -> None:
        rate = 100.0
        bucket = limiter.bucket(loop, rate)
        await bucket.acquire(100)
        start = loop.time()

        await asyncio.gather(*(bucket.acquire() for _ in range(200)))

        assert (200 / rate) / (loop.time() - start) >= 0.99

    limiter.run(main, late_by=lambda: chance.uniform(0, 0.001))


def test_r3_a_pause_holds_everybody_and_the_longest_wins(limiter: Limiter) -> None:
    """Promise: after a 429 nothing is granted before the server allows it, not even small amounts."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10)
        bucket.pause_for(20)
        bucket.pause_for(5)
        assert bucket.state.paused_for == pytest.approx(20)
        assert not bucket.try_acquire()
        assert bucket.expected_wait() == pytest.approx(20)

        waits = await asyncio.gather(*(bucket.acquire() for _ in range(3)))

        assert waits == pytest.approx([20, 20, 20])
        assert bucket.state.paused_for == 0.0

    limiter.run(main)


def test_r3_a_pause_applies_to_existing_waiters(limiter: Limiter) -> None:
    """Promise: a pause also delays the head of the queue."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 1)
        await bucket.acquire()
        waiter = asyncio.create_task(bucket.acquire())
        await limiter.let_run()

        bucket.pause_for(3)

        assert await waiter == pytest.approx(3)

    limiter.run(main)


def test_reconfiguring_keeps_the_queue_in_order_and_serves_it_at_the_new_rate(limiter: Limiter) -> None:
    """Promise: a new rate applies to existing waiters."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 0.01, 1)
        await bucket.acquire()
        order: list[int] = []

        async def take(number: int) -> None:
            await bucket.acquire()
            order.append(number)

        tasks = [asyncio.create_task(take(number)) for number in range(10)]
        await limiter.let_run()
        start = loop.time()

        bucket.reconfigure(10, 1)
        await asyncio.gather(*tasks)

        assert order == list(range(10))
        assert loop.time() - start == pytest.approx(1.0, abs=0.01)

    limiter.run(main)


def test_reconfiguring_keeps_the_level_up_to_the_new_capacity(limiter: Limiter) -> None:
    """Promise: lowering the capacity grants no burst, and raising it adds none."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 10)
        for _ in range(4):
            await bucket.acquire()

        bucket.reconfigure(10, 100)
        await limiter.let_run()
        assert bucket.state.level == pytest.approx(6, abs=1e-5)
        bucket.reconfigure(10, 2)
        await limiter.let_run()
        assert bucket.state.level == pytest.approx(2)

    limiter.run(main)


def test_reconfiguring_without_a_change_changes_nothing(limiter: Limiter) -> None:
    """Promise: each request may pass its settings, also those without a capacity, which then follows from the rate."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 0.5)
        level = bucket._level

        bucket.reconfigure(0.5)
        bucket.reconfigure(0.5, 1)

        assert bucket._level is level
        bucket.reconfigure(0.5, 2)
        assert bucket.state.capacity == 2

    limiter.run(main)


def test_a_waiter_larger_than_a_lowered_capacity_is_still_served(limiter: Limiter) -> None:
    """Promise: reconfiguring never strands a waiter."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 10, 10)
        await bucket.acquire(10)
        waiter = asyncio.create_task(bucket.acquire(10))
        await limiter.let_run()

        bucket.reconfigure(10, 2)

        assert await waiter == pytest.approx(0.2)
        assert await bucket.acquire() == pytest.approx(0.9)  # the debt of 8, and 1

    limiter.run(main)


def test_l1_state_contains_level_queue_and_next_grant(limiter: Limiter) -> None:
    """Promise: a gauge can show the state of the bucket."""

    async def main(loop: MovedLoop) -> None:
        bucket = limiter.bucket(loop, 2, 4)
        await bucket.acquire(4)
        waiters = [asyncio.create_task(bucket.acquire()) for _ in range(3)]
        await limiter.let_run()

        state = bucket.state

        assert (state.level, state.capacity, state.refill_rate, state.waiters) == (0.0, 4.0, 2.0, 3)
        assert state.next_grant == pytest.approx(0.5)
        assert bucket.expected_wait() == pytest.approx(2.0)
        assert repr(bucket).endswith("Bucket level 0.00 of 4, 2/s, 3 waiting>")
        await asyncio.gather(*waiters)

    limiter.run(main)


def test_dump_and_restore_carry_level_and_pause_over_a_reload() -> None:
    """Promise: reloading the package neither grants a fresh burst nor ends a pause."""
    now = 10.0

    def clock() -> float:
        return now

    previous = TokenBucket(10, 10, clock=clock)
    for _ in range(10):
        previous.try_acquire()
    previous.pause_for(3)
    dumped = previous.dump()

    now += 0.5
    bucket = TokenBucket(10, 10, clock=clock)
    bucket.restore(dumped)

    assert bucket.state.level == pytest.approx(5)
    assert bucket.state.paused_for == pytest.approx(2.5)


def test_l2_an_idle_bucket_moves_to_another_loop() -> None:
    """Promise: a bucket can be used on another loop after its loop was closed, even with waiters."""
    bucket = TokenBucket(20, 1)
    abandoned: list[Coroutine[Any, Any, float]] = []

    async def leave_a_waiter_behind() -> None:
        await bucket.acquire()
        abandoned.append(bucket._wait_in_line(1.0, None, None, None))
        abandoned[-1].send(None)

    for _ in range(3):
        asyncio.run(leave_a_waiter_behind())
    abandoned.clear()  # closes the coroutines, long after their loop

    async def use() -> None:
        await asyncio.gather(*(bucket.acquire() for _ in range(5)))
        assert bucket.state.waiters == 0

    asyncio.run(use())
    asyncio.run(use())
    assert bucket._in_line == 0


def test_l2_waiting_on_two_running_loops_raises() -> None:
    """Promise: a clear error instead of a future that is resolved on the wrong loop."""

    async def main() -> None:
        bucket = TokenBucket(0.001)
        await bucket.acquire()
        waiter = asyncio.create_task(bucket.acquire())
        await let_run()

        def elsewhere() -> str:
            with pytest.raises(RuntimeError) as caught:
                asyncio.run(bucket.acquire())
            return str(caught.value)

        assert "another event loop" in await asyncio.to_thread(elsewhere)
        waiter.cancel()

    asyncio.run(main())


@pytest.fixture(autouse=True, scope="module")
def _leave_modules_out() -> Iterator[None]:
    """Freeze existing objects: garbage collection should cover only objects of the test, which saves most of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_a_shared_bucket_overrides_only_the_documented_hooks() -> None:
    """Both kinds share the code of the queue: a shared bucket only decides on grants, and is notified of the queue's changes."""
    private = {name for name in vars(RedisBucket) if name.startswith("_") and not name.startswith("__")}

    assert private & set(vars(TokenBucket)) == {
        "_serve",
        "_joined",
        "_left",
        "_give_back",
        "_loop_changed",
        "_configure",
    }
    assert "acquire" not in vars(RedisBucket)


@pytest.fixture(autouse=True)
def _collect_garbage() -> Iterator[None]:
    """Turn a coroutine that was never awaited into a warning, and so an error, of the test that created it."""
    yield
    gc.collect()
