"""Keeping an event loop awake enough to hear the interrupt button.

A kernel interrupts an awaited cell by scheduling its cancellation in the handler of SIGINT. With tornado 6.6 that is
a plain `call_soon`, which does not wake a loop that sleeps: an interrupt of a cell that only waits goes unheard until
the loop has something else to do (measured on ipykernel 7.4: `await asyncio.sleep(100)` cannot be interrupted).
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Iterator

HEARTBEAT_INTERVAL = 0.05
"""Seconds; the longest that an interrupt goes unheard."""


@contextlib.contextmanager
def loop_kept_awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake a loop 20 times a second meanwhile; one timer serves all who wait on it. To be entered on that loop."""
    heartbeat = _heartbeats.setdefault(loop, _Heartbeat())
    heartbeat.waiters += 1
    if heartbeat.waiters == 1:
        heartbeat.beat(loop)
    try:
        yield
    finally:
        heartbeat.waiters -= 1
        if not heartbeat.waiters:
            heartbeat.stop()


class _Heartbeat:
    """A timer that sets itself again."""

    def __init__(self) -> None:
        self.waiters = 0
        self._timer: asyncio.TimerHandle | None = None

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(HEARTBEAT_INTERVAL, self.beat, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_heartbeats: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Heartbeat] = weakref.WeakKeyDictionary()
