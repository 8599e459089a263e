"""An event loop with a simulated clock, after aiolimiter's MockLoopTime."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class JumpingSelector(selectors.SelectSelector):
    """A selector that advances the loop's clock to the next timer instead of waiting, with a small delay as real
    timers have."""

    def __init__(self, late_by: Callable[[], float]) -> None:
        super().__init__()
        self.now = 1000.0
        self._late_by = late_by

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is scheduled any more: a waiter was forgotten"
        if timeout > 0:
            self.now += timeout + self._late_by()
        return super().select(0)


class MovedLoop(asyncio.SelectorEventLoop):
    """An event loop on which every wait ends immediately."""

    def __init__(
        self, late_by: Callable[[], float] = lambda: 0.0, selector: JumpingSelector | None = None
    ) -> None:
        self._jumping = selector or JumpingSelector(late_by)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(
    main: Callable[[MovedLoop], Coroutine[Any, Any, None]], late_by: Callable[[], float] = lambda: 0.0
) -> None:
    """Run a test's coroutine on a simulated clock, and check that it leaves no tasks or timers behind."""
    loop = MovedLoop(late_by)
    try:
        loop.run_until_complete(main(loop))
        assert not asyncio.all_tasks(loop)
    finally:
        loop.close()


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


async def let_run(turns: int = 5) -> None:
    """Run all tasks that are ready, without advancing the clock."""
    for _ in range(turns):
        await asyncio.sleep(0)
