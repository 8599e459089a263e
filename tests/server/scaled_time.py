"""Event loops whose time runs faster than the clock on the wall, with real sockets.

A minute's limit takes minutes to matter. On such a loop all that waits, timers and limiters alike, goes by its time; what
comes over sockets takes as long as it takes.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _HastySelector(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None else timeout / self._speed)


class FastLoop(asyncio.SelectorEventLoop):
    """A loop on which `speed` seconds go by in one."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began = time.monotonic()
        super().__init__(_HastySelector(speed))

    def time(self) -> float:
        return self._began + (time.monotonic() - self._began) * self._speed


def play_fast(main: Callable[[], Coroutine[Any, Any, Result]], loop: FastLoop, *, seconds: float) -> Result:
    """Run a coroutine on a fast loop, for so many of its seconds at most."""

    async def bounded() -> Result:
        async with asyncio.timeout(seconds):
            return await main()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(bounded())
