"""Awaiting something in a call that blocks.

Where no event loop runs, that is a loop of its own. In a kernel the loop runs already, and what is awaited may live on it:
then the loop is let run once more, inside itself, by nest-asyncio2, which is imported and applied only for this. It has
conditions, all of them found by breaking kernels: before 1.7.3, and after the older nest_asyncio, shell messages were lost; inside
an async cell or `asyncio.timeout` a cell never replies, or the kernel dies.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
from collections.abc import Awaitable
from typing import Any

from ..client import ConfigurationError

_OLDEST = (1, 7, 3)
_SAFE_COROUTINES = frozenset({"Kernel.shell_main", "Kernel.dispatch_queue"})
"""What runs a plain cell: ipykernel 7's loop over shell messages, ipykernel 6's."""
_INSTEAD = "Use `await claude.ask_async(...)`, or a %%claude cell of its own."


def run_to_end(awaitable: Awaitable[Any]) -> Any:
    """Wait for an awaitable on this thread, and return what it gives.

    Raises:
        NestedLoopError: The event loop that runs here cannot be nested; the message says what to do instead.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(awaitable))
    try:
        _check(loop)
    except NestedLoopError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise
    return loop.run_until_complete(_awaited(awaitable))


class NestedLoopError(ConfigurationError):
    """The event loop that runs here cannot be let run once more inside itself."""


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _check(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop nest, or refuse."""
    task = asyncio.current_task()
    running = None if task is None else getattr(task.get_coro(), "__qualname__", "")
    if running is not None and running not in _SAFE_COROUTINES:
        raise NestedLoopError(
            f"An async function cannot be waited for inside a coroutine ({running}). {_INSTEAD}"
        )
    version = importlib.metadata.version("nest-asyncio2")
    if tuple(int(part) for part in version.split(".")[:3]) < _OLDEST:
        raise NestedLoopError(
            f"nest-asyncio2 {version} loses messages of the kernel; 1.7.3 is needed. {_INSTEAD}"
        )
    import nest_asyncio2

    nest_asyncio2.apply(loop)
    if getattr(type(loop), "_run_once").__module__ != "nest_asyncio2":  # noqa: B009  private, and named so
        raise NestedLoopError(f"Another package has patched the event loop before. {_INSTEAD}")
