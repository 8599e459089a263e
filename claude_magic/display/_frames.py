"""When frames are drawn: by the running cell, by one thread for what is drawn beside cells, by a timer.

Deltas come on the bridge thread, often hundreds a second, and nothing may hold that thread up. A cell draws its own answer
on its event loop, or on the main thread where it blocks. Panels and background answers are drawn on one thread of their
own, because the main thread may be busy with a cell for minutes; it lives while something streams. Setting a trait of a
widget sends a comm message from whichever thread does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from ..runtime import Phase, Waitable, interrupts_kept_for, loop_kept_awake
from ._surface import Surface

logger = logging.getLogger("claude_magic.display")

TICK = 1.0
"""Seconds after which a frame is drawn though nothing has come: a countdown runs by itself."""

SETTLING_TIME = 1.0
"""Seconds an interrupted reply is given to finish its text. It takes milliseconds; the bound is for a stuck one."""


class Snapshot(Protocol):
    """A reply, or several, at one moment."""

    @property
    def phase(self) -> Phase:
        """How far it was."""

    @property
    def version(self) -> int:
        """Grows with each change."""


_Snapshot = TypeVar("_Snapshot", bound=Snapshot)
_Result = TypeVar("_Result")
_Snapshot_co = TypeVar("_Snapshot_co", bound=Snapshot, covariant=True)


class Followed(Waitable, Protocol[_Snapshot_co]):
    """What can be drawn while it grows: a reply, several that are compared, or a map."""

    @property
    def phase(self) -> Phase:
        """How far it is."""

    def done(self) -> bool:
        """Whether it has ended."""

    def snapshot(self) -> _Snapshot_co:
        """Return it as it is at this moment."""

    def observe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call back with it after each change, the last one included, on the bridge thread; return what ends that."""


async def follow(reply: Followed[_Snapshot], surface: Surface[_Snapshot]) -> None:
    """Draw a reply on the running event loop until it has ended. Does not raise its error.

    Raises:
        asyncio.CancelledError: The cell was interrupted. The reply is cancelled, and its text has settled.
    """
    loop = asyncio.get_running_loop()
    changes = _Changes(reply, loop)
    forget = reply.observe(changes.notify)
    try:
        with loop_kept_awake(loop):
            while not (snapshot := changes.look()).phase.is_final:
                await changes.next_frame(surface.draw(snapshot))
    except asyncio.CancelledError:
        reply.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(SETTLING_TIME):
                await changes.is_final.wait()
        raise
    finally:
        forget()


def follow_blocking(reply: Followed[_Snapshot], surface: Surface[_Snapshot]) -> None:
    """Draw a reply on this thread until it has ended. Does not raise its error.

    Raises:
        KeyboardInterrupt: Ctrl-C. The reply is cancelled, and its text has settled.
    """
    version, drawn_at, interval = -1, 0.0, 0.0
    with interrupts_kept_for(reply) as waiting:
        while not waiting.wait(interval):
            snapshot, now = reply.snapshot(), time.monotonic()
            if snapshot.version != version or now - drawn_at >= TICK:
                interval = surface.draw(snapshot)
                version, drawn_at = snapshot.version, now


def run_blocking(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("A cell that blocks has awaited something.")


class _Changes(Generic[_Snapshot]):
    """Tells a coroutine on one loop about a reply that changes on another thread."""

    def __init__(self, reply: Followed[_Snapshot], loop: asyncio.AbstractEventLoop) -> None:
        self.is_final = asyncio.Event()
        self._reply = reply
        self._loop = loop
        self._has_changed = asyncio.Event()
        self._is_told = False

    def look(self) -> _Snapshot:
        """Return the reply as it is; whatever changes from here on is told."""
        self._is_told = False
        self._has_changed.clear()
        return self._reply.snapshot()

    def notify(self, reply: Followed[_Snapshot]) -> None:
        """Take note of a change; called on the bridge thread, so it only leaves a message, once per frame."""
        if reply.phase.is_final:
            self._post(self.is_final)
        if not self._is_told:
            self._is_told = True
            self._post(self._has_changed)

    async def next_frame(self, interval: float) -> None:
        """Return when the next frame is due: after `interval`, once something has changed or a second has passed.

        At the reply's end return at once.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self.is_final.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK):
                await self._has_changed.wait()

    def _post(self, event: asyncio.Event) -> None:
        # A kernel that shuts down closes its loop under a reply in flight; then nobody is there to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(event.set)


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


FRAMES_PER_SECOND = 30
"""What all subjects together may send, so that a person can still type while ten of them stream."""

Draw = Callable[[], float]
"""Draws a frame and returns the seconds after which the next one may follow."""


class FrameLoop:
    """Draws what follows a reply, until that has ended. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._subjects: list[_Subject] = []
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def follow(self, reply: Followed[Any], draw: Draw) -> None:
        """Draw now, after each change of the reply, and last when it has ended."""
        subject = _Subject(reply, draw)
        subject.forget = reply.observe(lambda _reply: self._note_change(subject))
        with self._condition:
            self._leave_parent_process()
            self._subjects.append(subject)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claude-magic-frames", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _note_change(self, subject: _Subject) -> None:
        """Take note of a change; called on the bridge thread, so it wakes the loop once per frame at most."""
        if subject.has_changed and not subject.reply.done():
            return
        with self._condition:
            subject.has_changed = True
            self._condition.notify()

    def _run(self) -> None:
        while subject := self._next_subject():
            try:
                interval = subject.draw_now()
            except Exception:
                # A frame that cannot be drawn must not keep the others from being drawn.
                logger.exception("An answer could not be drawn.")
                subject.give_up()
                continue
            with self._condition:
                subject.wait(max(interval, len(self._subjects) / FRAMES_PER_SECOND))

    def _next_subject(self) -> _Subject | None:
        """Wait until a frame is due, and return its subject; None when there is nothing left to follow."""
        with self._condition:
            while True:
                self._subjects = [subject for subject in self._subjects if not subject.is_over]
                if not self._subjects:
                    self._thread = None
                    return None
                subject = min(self._subjects, key=_Subject.due)
                left = subject.due() - time.monotonic()
                if left <= 0:
                    return subject
                self._condition.wait(left)

    def _leave_parent_process(self) -> None:
        """Start over in a forked child, where the thread does not exist."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._thread = None
            self._subjects.clear()


class _Subject:
    """A reply and how it is drawn."""

    def __init__(self, reply: Followed[Any], draw: Draw) -> None:
        self.reply = reply
        self.has_changed = True
        self.is_over = False
        self.forget: Callable[[], None] = lambda: None
        self._draw = draw
        self._drawn_at = 0.0
        self._not_before = 0.0

    def due(self) -> float:
        """When it is to be drawn next, by `time.monotonic()`. The end is never kept waiting."""
        if self.reply.done():
            return 0.0
        return self._not_before if self.has_changed else self._drawn_at + TICK

    def draw_now(self) -> float:
        """Draw, and find out whether that was the last time."""
        is_last = self.reply.done()
        self.has_changed = False
        interval = self._draw()
        if is_last:
            self.give_up()
        return interval

    def give_up(self) -> None:
        """Draw no more."""
        self.is_over = True
        self.forget()

    def wait(self, interval: float) -> None:
        """Draw no sooner than after `interval` seconds."""
        self._drawn_at = time.monotonic()
        self._not_before = self._drawn_at + interval


frame_loop = FrameLoop()
"""The one of this kernel."""


Tick = Callable[[], float | None]
"""Does it once; returns the seconds until the next time, or None to pause until `wake`."""


class Ticker:
    """Calls `tick` again and again from `wake` on, on a thread of its own, until it returns None. Every method is for any thread.

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


class Debounce:
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
        """Note that something has moved: the time starts again."""
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
            self._timer.name = "claude-magic-debounce"
            self._timer.daemon = True
            self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
