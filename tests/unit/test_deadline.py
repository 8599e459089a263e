"""The deadline of a whole call: it interrupts only the work that it bounds, and distinguishes its own cancellation from others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from claude_magic.client import RequestTimeoutError
from claude_magic.client._retry import Deadline, mark_as_not_sent

from .moved_loop import run as run_moved


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine on a clock that is moved."""
    run_moved(lambda _loop: main())


async def forever() -> None:
    """Wait forever."""
    await asyncio.get_running_loop().create_future()


def test_c2_work_that_takes_too_long_is_interrupted_and_the_task_continues() -> None:
    """Promise: a `ClaudeError` without context, and a task that is not left cancelled."""

    async def main() -> None:
        with (
            Deadline(0.01, setting="stream_timeout", is_transient=False) as deadline,
            pytest.raises(RequestTimeoutError, match="stream_timeout") as caught,
        ):
            await deadline.bound(forever())

        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert caught.value.__context__ is None
        assert caught.value.is_transient is False

    run(main)


def test_c2_a_deadline_between_two_reads_interrupts_nothing() -> None:
    """Promise: the caller's own code is never cancelled; the next read raises instead, without being started."""

    async def main() -> None:
        with Deadline(0.01, setting="timeout", is_transient=True) as deadline:
            await deadline.bound(asyncio.sleep(0))
            await asyncio.sleep(0.05)
            with pytest.raises(RequestTimeoutError):
                await deadline.bound(forever())

    run(main)


def test_a_cancellation_at_the_deadline_is_still_a_cancellation() -> None:
    """Promise: an interrupt that coincides with the timeout is not swallowed."""

    async def main() -> None:
        deadline = Deadline(3600, setting="timeout", is_transient=True)
        task = asyncio.create_task(deadline.bound(forever()))
        await asyncio.sleep(0)
        deadline._expire()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        deadline.close()

    run(main)


def test_work_that_ends_at_the_deadline_keeps_its_result() -> None:
    """Promise: a late cancellation leaves no trace on the task."""

    async def finish_despite_cancel() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "done"
        raise AssertionError("unreachable")

    async def main() -> None:
        with Deadline(0.01, setting="timeout", is_transient=True) as deadline:
            assert await deadline.bound(finish_despite_cancel()) == "done"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_a_request_that_a_deadline_prevents_was_not_sent() -> None:
    """Promise: neither after the deadline nor while connecting; a reply that was awaited may be billed."""

    async def connect() -> None:
        try:
            await forever()
        except asyncio.CancelledError as cancelled:
            mark_as_not_sent(cancelled)
            raise

    async def was_sent(deadline: Deadline, work: Coroutine[Any, Any, None], *, is_sending: bool) -> bool:
        with pytest.raises(RequestTimeoutError) as caught:
            await deadline.bound(work, is_sending=is_sending)
        return caught.value.was_sent

    async def main() -> None:
        for work, is_sent in ((connect, False), (forever, True)):
            with Deadline(0.01, setting="timeout", is_transient=True) as deadline:
                assert await was_sent(deadline, work(), is_sending=True) is is_sent
                assert await was_sent(deadline, work(), is_sending=True) is False
                assert await was_sent(deadline, work(), is_sending=False) is True

    run(main)
