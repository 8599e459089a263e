"""Does something again and again on a thread of its own, for as long as there is a reason."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("claude_magic.live")

Tick = Callable[[], float | None]
"""Does it once; returns the seconds until the next time, or None if there is no reason for another."""


class Ticker:
    """Ticks from `wake` on until there is no reason any more. Nothing runs in between. Every method is for any thread.

    Args:
        tick: What is done.
        name: What the thread is called.
    """

    def __init__(self, tick: Tick, *, name: str) -> None:
        self._tick = tick
        self._name = name
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_woken = False
        self._is_stopped = False

    @property
    def is_running(self) -> bool:
        """Whether its thread lives. In a forked child it does not."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def wake(self) -> None:
        """There is a reason; returns at once."""
        with self._condition:
            self._is_woken = True
            if self._is_stopped or self.is_running:
                return
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Never tick again."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()

    def _run(self) -> None:
        interval: float | None = 0.0
        while self._has_reason(interval):
            interval = self._tick_once()

    def _has_reason(self, interval: float | None) -> bool:
        """Wait for the next tick, and return whether there is one."""
        with self._condition:
            if interval is not None:
                self._condition.wait_for(lambda: self._is_stopped, timeout=interval)
            elif not self._is_woken:
                self._thread = None
            self._is_woken = False
            return not self._is_stopped and self._thread is not None

    def _tick_once(self) -> float | None:
        try:
            return self._tick()
        except Exception:
            logger.exception("%s failed, and ends.", self._name)
            return None
