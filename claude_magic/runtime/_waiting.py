"""Waiting for a reply on a plain thread, in such a way that Ctrl-C always works and is never lost.

A KeyboardInterrupt that Python raises wherever the main thread happens to be can be swallowed: inside a callback, a
`__del__`, a lock. So for the time of the wait, and only then, SIGINT has a handler of ours, which raises nothing: it
cancels the reply and wakes the waiter, who raises. Measured on ipykernel: none of 450 interrupts was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Literal, Protocol

from ..tools import WaitingExecutor

_SETTLING_TIME = 2.0
"""Seconds given to an interrupted reply to close its stream and settle its text, which takes milliseconds."""

_POLL_INTERVAL = 0.1 if sys.platform == "win32" else None
"""On Windows a signal does not wake a thread that waits for a lock, so there the wait is cut into pieces."""

_Wake = Literal["done", "interrupted", "call"]


class Waitable(Protocol):
    """What can be waited for: a reply."""

    def cancel(self) -> None:
        """Ask it to end; must be safe inside a signal handler."""

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on any thread once it is done, at once if it is already; return what takes that back."""

    @property
    def pending_calls(self) -> WaitingExecutor | None:
        """What the waiting thread is to run meanwhile: calls of tools."""


def wait_interruptibly(reply: Waitable, timeout: float | None = None) -> bool:
    """Block until a reply is done; return False if `timeout` seconds were not enough.

    On the main thread the first Ctrl-C cancels the reply and then raises KeyboardInterrupt, when its partial text has
    settled; a second one raises at once. Other threads get no signals and just wait.

    Raises:
        KeyboardInterrupt: The wait was interrupted. The reply is cancelled.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with interrupts_kept_for(reply) as waiting:
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if waiting.wait(left):
                return True
            if left == 0.0:
                return False


@contextlib.contextmanager
def interrupts_kept_for(reply: Waitable) -> Iterator[Waiting]:
    """Wait for a reply in several steps, drawing in between, with Ctrl-C kept for the next step all the while.

    ```python
    with interrupts_kept_for(reply) as waiting:
        while not waiting.wait(1 / 15):
            draw(reply.snapshot())
    ```

    Raises:
        KeyboardInterrupt: As `wait_interruptibly`: from `wait`, or on leaving where Ctrl-C came after the last one.
    """
    waiting = Waiting(reply)
    forget = reply.when_done(waiting.note_done)
    leave = (
        reply.pending_calls.subscribe(waiting.note_pending_call) if reply.pending_calls is not None else None
    )
    try:
        with _sigint_handled(waiting.interrupt):
            yield waiting
    finally:
        forget()
        if leave is not None:
            leave()
    waiting.raise_interrupt()


class Waiting:
    """The wait for one reply, on the thread that made it."""

    def __init__(self, reply: Waitable) -> None:
        self._reply = reply
        # Its `put` may interrupt a `get` of the same thread, as a signal handler does.
        self._wakes: queue.SimpleQueue[_Wake] = queue.SimpleQueue()
        self._is_done = False
        self._is_interrupted = False
        self._has_pending_call = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the reply is done, `timeout` seconds at most; return whether it is.

        It also returns when a tool call is pending: that is run by the next call of this method, so that the screen can tell of it before.

        Raises:
            KeyboardInterrupt: Ctrl-C came, now or since the last step.
        """
        self._run_pending_call()
        if not self._is_done and not self._is_interrupted:
            self._take(timeout)
        self.raise_interrupt()
        return self._is_done

    def note_done(self) -> None:
        """Take note that the reply is done; on any thread."""
        self._wakes.put("done")

    def note_pending_call(self) -> None:
        """Take note that there is something to run; on any thread."""
        self._wakes.put("call")

    def interrupt(self, _signal_number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT: cancel the reply and wake the waiter; raise only for the second one."""
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        self._reply.cancel()
        self._wakes.put("interrupted")

    def raise_interrupt(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came, after the reply has settled."""
        if not self._is_interrupted:
            return
        deadline = time.monotonic() + _SETTLING_TIME
        while not self._is_done and (left := deadline - time.monotonic()) > 0:
            self._take(left)
        raise KeyboardInterrupt

    def _take(self, timeout: float | None) -> None:
        """Wait for one wake, `timeout` seconds at most."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            bounds = [bound for bound in (left, _POLL_INTERVAL) if bound is not None]
            try:
                self._wake_for(self._wakes.get(timeout=min(bounds, default=None)))
                return
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    return

    def _wake_for(self, wake: _Wake) -> None:
        if wake == "done":
            self._is_done = True
        elif wake == "call":
            self._has_pending_call = True

    def _run_pending_call(self) -> None:
        has_pending_call, self._has_pending_call = self._has_pending_call, False
        if not has_pending_call or self._is_interrupted or self._reply.pending_calls is None:
            return
        try:
            self._reply.pending_calls.run_next()
        except KeyboardInterrupt:
            self.interrupt(signal.SIGINT, None)


@contextlib.contextmanager
def _sigint_handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a SIGINT handler where that is possible and Ctrl-C has its usual meaning."""
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous in (signal.SIG_IGN, None):
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


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
