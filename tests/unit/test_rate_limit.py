"""The token bucket, on an event loop whose clock is moved."""

from __future__ import annotations

import asyncio
import gc
import math
import random
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_magic.client import TokenBucket

from .moved_loop import MovedLoop, let_run, run


def worst_excess(grants: list[tuple[float, float]], rate: float, capacity: float) -> float:
    """Return by how much the grants of any window exceed capacity + rate * window; grants are (moment,
    amount)."""
    worst = -math.inf
    for first in range(len(grants)):
        total = 0.0
        for moment, amount in grants[first:]:
            total += amount
            worst = max(worst, total - capacity - rate * (moment - grants[first][0]))
    return worst


def test_l1_capacity_defaults_to_the_rate_but_never_below_one() -> None:
    """Promise: ten per second allow a burst of ten; a rate of 0.2 still grants."""
    assert TokenBucket(10).state.capacity == 10
    assert TokenBucket(0.2).state.capacity == 1
    assert TokenBucket(10, 3).state.capacity == 3


def test_l1_a_slow_rate_grants_one_at_once_and_the_next_after_five_seconds() -> None:
    """Promise: 0.2 per second is one every 5 s."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(0.2, clock=loop.time)

        assert await bucket.acquire() == 0.0
        assert await bucket.acquire() == pytest.approx(5.0)

    run(main)


def test_l1_the_level_refills_continuously_up_to_capacity() -> None:
    """Promise: capacity flows in with the clock, and no more than fits."""
    now = 50.0
    bucket = TokenBucket(4, 8, clock=lambda: now)
    for _ in range(8):
        assert bucket.try_acquire()
    assert not bucket.try_acquire()
    assert bucket.state.level == pytest.approx(0.0)

    now += 0.5
    assert bucket.state.level == pytest.approx(2.0)
    now += 60
    assert bucket.state.level == pytest.approx(8.0)


@pytest.mark.parametrize("amount", [0, -1, 11, math.nan, math.inf])
def test_l1_an_amount_that_can_never_be_granted_is_refused(amount: float) -> None:
    """Promise: instead of waiting for ever, a ValueError which names the capacity."""
    with pytest.raises(ValueError, match="at most the capacity"):
        TokenBucket(10).try_acquire(amount)


@pytest.mark.parametrize(
    ("rate", "capacity"), [(0, None), (-1, None), (math.inf, None), (math.nan, None), (1, 0)]
)
def test_l1_a_rate_or_capacity_that_is_no_positive_number_is_refused(
    rate: float, capacity: float | None
) -> None:
    """Promise: a bucket that could never grant is not built."""
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(rate, capacity)


def test_l2_waiters_are_served_first_come_first_served_also_with_different_amounts() -> None:
    """Promise: a small request never overtakes a large one before it."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, clock=loop.time)
        await bucket.acquire(10)
        order: list[int] = []

        async def take(number: int) -> None:
            await bucket.acquire(10 if number % 2 else 0.5)
            order.append(number)

        await asyncio.gather(*(take(number) for number in range(50)))

        assert order == list(range(50))

    run(main)


def test_l2_a_newcomer_does_not_overtake_a_waiter_that_was_just_granted() -> None:
    """Promise: order holds even in the moment between a grant and the waiter's next step."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 2, clock=loop.time)
        await bucket.acquire(2)
        order: list[str] = []

        async def take(name: str) -> None:
            await bucket.acquire()
            order.append(name)

        first = asyncio.create_task(take("first"))
        await let_run()
        # Both run in the same turn of the loop: the bucket's timer grants `first`, then the newcomer asks.
        loop.call_later(0.5, lambda: newcomers.append(asyncio.create_task(take("newcomer"))))
        newcomers: list[asyncio.Task[None]] = []
        await asyncio.sleep(0.5)
        await asyncio.gather(first, *newcomers)

        assert order == ["first", "newcomer"]

    run(main)


def test_l2_no_waiter_sleeps_longer_than_needed() -> None:
    """Promise: the n-th waiter is served exactly when its share has flowed in."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 1, clock=loop.time)
        start = loop.time()
        await bucket.acquire()

        waits = await asyncio.gather(*(bucket.acquire() for _ in range(30)))

        assert waits == pytest.approx([(number + 1) / 10 for number in range(30)])
        assert loop.time() - start == pytest.approx(3.0)

    run(main)


@pytest.mark.parametrize("victim", [0, 1, 4])
def test_l2_cancelled_waiter_loses_no_capacity_and_delays_nobody(victim: int) -> None:
    """Promise: cancelling the head, the middle or the tail moves those behind it up by one."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 1, clock=loop.time)
        await bucket.acquire()
        tasks = [asyncio.create_task(bucket.acquire()) for _ in range(5)]
        await let_run()

        tasks.pop(victim).cancel()
        waits = await asyncio.gather(*tasks)

        assert waits == pytest.approx([0.1, 0.2, 0.3, 0.4])
        assert bucket.state.waiters == 0

    run(main)


def test_l2_a_waiter_cancelled_just_after_its_grant_gives_the_slot_to_the_next() -> None:
    """Promise: a slot that was granted but never used is not lost."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 1, clock=loop.time)
        await bucket.acquire()
        first, second = (asyncio.create_task(bucket.acquire()) for _ in range(2))
        await let_run()
        # The bucket's own timer is earlier in the queue of the same moment, so the grant comes before the
        # cancel.
        loop.call_later(0.1, first.cancel)

        wait = await second

        assert first.cancelled()
        assert wait == pytest.approx(0.1)

    run(main)


def test_l2_the_level_after_all_waiters_were_cancelled_is_as_if_they_never_came() -> None:
    """Promise: cancelled waiters leave no debt and no timer."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 1, clock=loop.time)
        await bucket.acquire()
        tasks = [asyncio.create_task(bucket.acquire()) for _ in range(100)]
        await let_run()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        assert (bucket.state.waiters, bucket.state.next_grant) == (0, None)
        assert await bucket.acquire() == pytest.approx(0.1)

    run(main)


@settings(max_examples=150, deadline=None)
@given(
    rate=st.floats(0.1, 500),
    burst=st.floats(1, 20),
    lateness=st.floats(0, 0.05),
    seed=st.integers(0, 2**32),
)
def test_l2_l3_no_window_exceeds_its_bound_and_nobody_overtakes_under_random_load(
    rate: float, burst: float, lateness: float, seed: int
) -> None:
    """Promise: arrivals, amounts, cancellations, pauses and late timers at random; bound and order hold."""
    chance = random.Random(seed)

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(rate, burst, clock=loop.time)
        grants: list[tuple[float, float]] = []
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
        assert worst_excess(grants, rate, burst) < 1e-5
        assert bucket.state.waiters == 0

    run(main, late_by=lambda: chance.uniform(0, lateness))


def test_l3_two_hundred_waiters_get_the_configured_rate() -> None:
    """Promise: with timers as late as real ones, 200 waiters still get 99 % of the rate."""
    chance = random.Random(7)

    async def main(loop: MovedLoop) -> None:
        rate = 100.0
        bucket = TokenBucket(rate, clock=loop.time)
        await bucket.acquire(100)
        start = loop.time()

        await asyncio.gather(*(bucket.acquire() for _ in range(200)))

        assert (200 / rate) / (loop.time() - start) >= 0.99

    run(main, late_by=lambda: chance.uniform(0, 0.001))


def test_r3_a_pause_holds_everybody_and_the_longest_wins() -> None:
    """Promise: after a 429 nobody goes before the server allows it, not even for less."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, clock=loop.time)
        bucket.pause_for(20)
        bucket.pause_for(5)
        assert bucket.state.paused_for == pytest.approx(20)
        assert not bucket.try_acquire()
        assert bucket.expected_wait() == pytest.approx(20)

        waits = await asyncio.gather(*(bucket.acquire() for _ in range(3)))

        assert waits == pytest.approx([20, 20, 20])
        assert bucket.state.paused_for == 0.0

    run(main)


def test_r3_a_pause_holds_those_who_wait_already() -> None:
    """Promise: a pause that comes while the queue stands moves its head too."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 1, clock=loop.time)
        await bucket.acquire()
        waiter = asyncio.create_task(bucket.acquire())
        await let_run()

        bucket.pause_for(3)

        assert await waiter == pytest.approx(3)

    run(main)


def test_reconfiguring_keeps_the_queue_in_order_and_serves_it_at_the_new_rate() -> None:
    """Promise: a change of rate at run time takes effect for those who wait."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(0.01, 1, clock=loop.time)
        await bucket.acquire()
        order: list[int] = []

        async def take(number: int) -> None:
            await bucket.acquire()
            order.append(number)

        tasks = [asyncio.create_task(take(number)) for number in range(10)]
        await let_run()
        start = loop.time()

        bucket.reconfigure(10, 1)
        await asyncio.gather(*tasks)

        assert order == list(range(10))
        assert loop.time() - start == pytest.approx(1.0, abs=0.01)

    run(main)


def test_reconfiguring_keeps_the_level_up_to_the_new_capacity() -> None:
    """Promise: lowering the capacity does not hand out a burst, raising it does not invent one."""
    bucket = TokenBucket(10, 10, clock=lambda: 0.0)
    for _ in range(4):
        bucket.try_acquire()

    bucket.reconfigure(10, 100)
    assert bucket.state.level == pytest.approx(6)
    bucket.reconfigure(10, 2)
    assert bucket.state.level == pytest.approx(2)


def test_a_waiter_larger_than_a_lowered_capacity_is_still_served() -> None:
    """Promise: reconfiguring never strands a waiter."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(10, 10, clock=loop.time)
        await bucket.acquire(10)
        waiter = asyncio.create_task(bucket.acquire(10))
        await let_run()

        bucket.reconfigure(10, 2)

        assert await waiter == pytest.approx(0.2)
        assert await bucket.acquire() == pytest.approx(0.9)  # the debt of 8, and 1

    run(main)


def test_l1_state_tells_level_queue_and_next_grant() -> None:
    """Promise: a gauge can show what the bucket does."""

    async def main(loop: MovedLoop) -> None:
        bucket = TokenBucket(2, 4, clock=loop.time)
        await bucket.acquire(4)
        waiters = [asyncio.create_task(bucket.acquire()) for _ in range(3)]
        await let_run()

        state = bucket.state

        assert (state.level, state.capacity, state.refill_rate, state.waiters) == (0.0, 4.0, 2.0, 3)
        assert state.next_grant == pytest.approx(0.5)
        assert bucket.expected_wait() == pytest.approx(2.0)
        assert repr(bucket) == "<TokenBucket level 0.00 of 4, 2/s, 3 waiting>"
        await asyncio.gather(*waiters)

    run(main)


def test_dump_and_restore_carry_level_and_pause_over_a_reload() -> None:
    """Promise: reloading the package does not hand out a fresh burst, and does not forget a pause."""
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
    """Promise: a bucket outlives the loop it was used on, queue and all, if that loop is closed."""
    bucket = TokenBucket(20, 1)
    abandoned: list[Coroutine[Any, Any, float]] = []

    async def leave_a_waiter_behind() -> None:
        await bucket.acquire()
        abandoned.append(bucket._wait_in_line(1.0, None, None))
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


def test_l2_waiting_on_two_running_loops_at_once_is_refused() -> None:
    """Promise: instead of waking a future on the wrong loop, a clear error."""

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


@pytest.fixture(autouse=True)
def _collect_garbage() -> Iterator[None]:
    """Turn a forgotten coroutine into a warning, and so an error, of the test that forgot it."""
    yield
    gc.collect()
