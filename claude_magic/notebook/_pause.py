"""Doing something when somebody has stopped moving."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pause:
    """Calls back once nothing has been noted for a while, on a thread of its own. Every method may be called from any thread.

    Args:
        seconds: How long nothing must have been noted.
        action: What is called.
        make_timer: Makes a thread that calls after a number of seconds.
    """

    def __init__(
        self,
        seconds: float,
        action: Callable[[], None],
        *,
        make_timer: Callable[[float, Callable[[], None]], threading.Timer] = threading.Timer,
    ) -> None:
        self._seconds = seconds
        self._action = action
        self._make_timer = make_timer
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def note(self) -> None:
        """Note that something has moved: the while begins anew."""
        self._start(self._seconds)

    def end(self) -> None:
        """Call back now."""
        self._start(0.0)

    def close(self) -> None:
        """Call back no more."""
        with self._lock:
            self._is_closed = True
            self._stop()

    def _start(self, seconds: float) -> None:
        with self._lock:
            self._stop()
            if self._is_closed:
                return
            self._timer = self._make_timer(seconds, self._action)
            self._timer.name = "claude-magic-pause"
            self._timer.daemon = True
            self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
