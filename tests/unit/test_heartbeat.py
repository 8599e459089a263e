"""The timer that wakes a loop regularly, so that it notices interrupts."""

import asyncio

from claude_magic.tools import loop_kept_awake


def test_a_waiting_loop_wakes_by_itself():
    """A callback that a signal handler adds with `call_soon`, which does not wake the loop, runs soon."""

    async def wait():
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        select, wakes = loop._selector.select, []
        loop._selector.select = lambda timeout=None: wakes.append(timeout) or select(timeout)
        with loop_kept_awake(loop):
            loop.call_later(0.5, ready.set)
            await ready.wait()
        return wakes

    assert max(timeout for timeout in asyncio.run(wait()) if timeout is not None) <= 0.051


def test_all_who_wait_share_one_timer_and_none_is_left():
    """Five hundred waiting tasks cost as much as one."""

    async def wait():
        loop = asyncio.get_running_loop()

        async def one():
            with loop_kept_awake(loop):
                await asyncio.sleep(0)
                return len(loop._scheduled)

        counts = await asyncio.gather(*(one() for _ in range(500)))
        return max(counts), [timer for timer in loop._scheduled if not timer.cancelled()]

    most, left = asyncio.run(wait())

    assert most <= 1  # 0 on a machine so slow that the timer fired meanwhile and was about to be set again
    assert left == []
