"""An event loop with a simulated clock and real sockets.

A limit per minute takes minutes to matter. On this loop time stands still while a request is in flight, however long the
machine takes for it; when none is, the clock jumps to the next timer. So the tests measure the schedule of the client, and not
the speed of the machine.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from claude_magic.client import AttemptFinished, AttemptStarted, ClientEvent

Result = TypeVar("Result")

_LOOK_INTERVAL = 1.0
"""Seconds after which the loop looks around at the latest, while it waits for a socket."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that waits for sockets while anything is in flight, and otherwise moves the clock to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.in_flight = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self.in_flight):
            return super().select(_LOOK_INTERVAL)
        ready = super().select(0)
        if timeout > 0 and not ready:
            self.now += timeout
        return ready


class MovedLoop(asyncio.SelectorEventLoop):
    """A loop on which every wait ends at once, except that for a response."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def on_event(self, event: ClientEvent) -> None:
        """Track the requests in flight; the observer of each."""
        if isinstance(event, AttemptStarted):
            self._jumping.in_flight += 1
        elif isinstance(event, AttemptFinished):
            self._jumping.in_flight -= 1


def play_moved(main: Callable[[], Coroutine[Any, Any, Result]], loop: MovedLoop, *, seconds: float) -> Result:
    """Run a coroutine on a loop, for at most this many of its seconds."""

    async def bounded() -> Result:
        async with asyncio.timeout(seconds):
            return await main()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(bounded())
