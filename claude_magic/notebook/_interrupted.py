"""Interrupts of an awaited cell: a kernel cancels its task, and for the user that is a KeyboardInterrupt, as in any other cell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def was_interrupted(step: Awaitable[None]) -> bool:
    """Take a step, and tell whether an interrupt cut it short.

    asyncio is told that the cancellation has arrived, so that it does not spoil what the task does next.
    """
    try:
        await step
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return True
    return False


async def let_interrupts_arrive() -> None:
    """Give the loop the few rounds that a kernel needs from SIGINT's handler to the cancelling."""
    for _ in range(5):
        await asyncio.sleep(0)
