"""Frame scheduling: in the running cell, on one thread for panels and background answers, and on timers.

Deltas arrive on the bridge thread, often hundreds per second, and drawing must not block it. A cell draws its own answer
on its event loop, or on the main thread if it blocks. Panels and background answers are drawn on one separate thread,
because the main thread may be busy with a cell for minutes; the thread runs while anything streams. Setting a trait of a
widget sends a comm message from the current thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from ..runtime import Phase, Waitable, interrupts_kept_for
from ..tools import loop_kept_awake

logger = logging.getLogger("claude_magic.display")

FRAME_INTERVAL: Final = 1 / 13
"""Seconds between frames. Some frames send two displays; in total they stay below 15 per second."""
PANEL_FRAME_INTERVAL: Final = 1 / 10
"""Seconds between frames of a panel, where some send two or three widgets: in total they stay below 15 per second, too."""
LONGEST_INTERVAL: Final = 1 / 2
IDLE_INTERVAL: Final = 1.0
TAIL_CHARS_PER_SECOND: Final = 25_000
"""Maximum data rate in characters of HTML: the longer the part that each frame sends again, the fewer frames. A paragraph is
sent 13 times per second; a part full of formulas, which the browser typesets each time, 5 times."""

TICK = 1.0
"""Seconds after which a frame is drawn without a change, because a countdown may run."""

_CANCEL_TIMEOUT = 1.0
"""Maximum seconds to wait for the end of an interrupted reply. It normally takes milliseconds."""


class Snapshot(Protocol):
    """The state of one or several replies at one moment."""

    @property
    def phase(self) -> Phase:
        """The phase at this moment."""

    @property
    def version(self) -> int:
        """A number that grows with each change."""


class Followed(Waitable, Protocol):
    """An object that can be drawn while it grows: a reply, a comparison or a map."""

    @property
    def phase(self) -> Phase:
        """The current phase."""

    def done(self) -> bool:
        """Whether it has ended."""

    def snapshot(self) -> Snapshot:
        """Return the current state."""

    def observe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` on the bridge thread after each change, including the last. Return a function that ends this."""


class Surface(Protocol):
    """A place where one or several answers are drawn. Each draws snapshots of its own kind: of a reply, a comparison or a map.

    Attributes:
        has_cleared: Whether `finish` has cleared other outputs of the cell.
    """

    has_cleared: bool

    def draw(self, snapshot: Any, /) -> float:
        """Draw a snapshot. Return the seconds after which the next frame may follow."""

    def finish(self, snapshot: Any, /) -> None:
        """Draw the final state."""


def interval_after(tail_chars: int, *, shortest: float = FRAME_INTERVAL) -> float:
    """Return the seconds after which the next frame may follow a frame that sends this many characters."""
    return max(shortest, min(LONGEST_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))


async def follow(reply: Followed, surface: Surface) -> None:
    """Draw a reply on the running event loop until it ends. Does not raise the reply's error.

    Raises:
        asyncio.CancelledError: The cell was interrupted. The reply has been cancelled and has ended.
    """
    loop = asyncio.get_running_loop()
    changes = _Changes(reply, loop)
    unobserve = reply.observe(changes.notify)
    try:
        with loop_kept_awake(loop):
            while not (snapshot := changes.snapshot()).phase.is_final:
                await changes.next_frame(surface.draw(snapshot))
    except asyncio.CancelledError:
        reply.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                await changes.is_final.wait()
        raise
    finally:
        unobserve()


def follow_blocking(reply: Followed, surface: Surface) -> None:
    """Draw a reply on this thread until it ends. Does not raise the reply's error.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed. The reply has been cancelled and has ended.
    """
    version, drawn_at, interval = -1, 0.0, 0.0
    with interrupts_kept_for(reply) as waiting:
        while not waiting.wait(interval):
            snapshot, now = reply.snapshot(), time.monotonic()
            if snapshot.version != version or now - drawn_at >= TICK:
                interval = surface.draw(snapshot)
                version, drawn_at = snapshot.version, now


class _Changes:
    """Notifies a coroutine of the changes of a reply on another thread."""

    def __init__(self, reply: Followed, loop: asyncio.AbstractEventLoop) -> None:
        self.is_final = asyncio.Event()
        self._reply = reply
        self._loop = loop
        self._has_changed = asyncio.Event()
        self._is_notified = False

    def snapshot(self) -> Snapshot:
        """Return the current snapshot. Later changes are reported."""
        self._is_notified = False
        self._has_changed.clear()
        return self._reply.snapshot()

    def notify(self, reply: Followed) -> None:
        """Report a change. Called on the bridge thread, so it only sets events, once per frame."""
        if reply.phase.is_final:
            self._post(self.is_final)
        if not self._is_notified:
            self._is_notified = True
            self._post(self._has_changed)

    async def next_frame(self, interval: float) -> None:
        """Wait until the next frame is due: `interval` seconds, then until a change, but at most `TICK` seconds.

        Returns immediately when the reply ends.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self.is_final.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK):
                await self._has_changed.wait()

    def _post(self, event: asyncio.Event) -> None:
        # The loop is closed if the kernel shuts down while a reply is in flight.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(event.set)


async def was_interrupted(step: Awaitable[None]) -> bool:
    """Await a step. Return whether an interrupt cancelled it.

    Uncancels the task, so that the cancellation does not affect its next steps.
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
    """Run the loop a few times, which a kernel needs between the SIGINT handler and the cancellation."""
    for _ in range(5):
        await asyncio.sleep(0)


FRAMES_PER_SECOND = 30
"""Maximum of all subjects together, so that typing stays possible while ten of them stream."""

Draw = Callable[[], float]
"""Draws a frame. Returns the seconds after which the next one may follow."""


class FrameLoop:
    """Draws replies until they end. All methods are thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._subjects: list[_Subject] = []
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def follow(self, reply: Followed, draw: Draw) -> None:
        """Draw now, after each change of the reply, and a last time when it has ended."""
        subject = _Subject(reply, draw)
        subject.unobserve = reply.observe(lambda _reply: self._on_change(subject))
        with self._condition:
            self._reset_after_fork()
            self._subjects.append(subject)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claude-magic-frames", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _on_change(self, subject: _Subject) -> None:
        """Record a change. Called on the bridge thread, so it wakes the loop at most once per frame."""
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
                # A failing frame must not affect other subjects.
                logger.exception("An answer could not be drawn.")
                subject.stop()
                continue
            with self._condition:
                subject.wait(max(interval, len(self._subjects) / FRAMES_PER_SECOND))

    def _next_subject(self) -> _Subject | None:
        """Wait until a frame is due. Return its subject; None if nothing is left to draw."""
        with self._condition:
            while True:
                self._subjects = [subject for subject in self._subjects if not subject.has_ended]
                if not self._subjects:
                    self._thread = None
                    return None
                subject = min(self._subjects, key=_Subject.due)
                left = subject.due() - time.monotonic()
                if left <= 0:
                    return subject
                self._condition.wait(left)

    def _reset_after_fork(self) -> None:
        """Reset the state in a forked child, where the thread does not exist."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._thread = None
            self._subjects.clear()


class _Subject:
    """A reply and the function that draws it."""

    def __init__(self, reply: Followed, draw: Draw) -> None:
        self.reply = reply
        self.has_changed = True
        self.has_ended = False
        self.unobserve: Callable[[], None] = lambda: None
        self._draw = draw
        self._drawn_at = 0.0
        self._not_before = 0.0

    def due(self) -> float:
        """Return when to draw next, by `time.monotonic()`. The last frame is due immediately."""
        if self.reply.done():
            return 0.0
        return self._not_before if self.has_changed else self._drawn_at + TICK

    def draw_now(self) -> float:
        """Draw a frame, and stop after the last one. Return the seconds after which the next one may follow."""
        is_last = self.reply.done()
        self.has_changed = False
        interval = self._draw()
        if is_last:
            self.stop()
        return interval

    def stop(self) -> None:
        """Stop drawing."""
        self.has_ended = True
        self.unobserve()

    def wait(self, interval: float) -> None:
        """Delay the next frame by at least `interval` seconds."""
        self._drawn_at = time.monotonic()
        self._not_before = self._drawn_at + interval


frame_loop = FrameLoop()
"""The frame loop of this kernel."""


class Timer:
    """Calls a function on its own thread when it is due. The thread ends when no call is due. All methods are thread-safe.

    Args:
        call: The function. Returns the seconds until its next call; None if there is none.
        name: The name of the thread.
    """

    def __init__(self, call: Callable[[], float | None], *, name: str) -> None:
        self._call = call
        self._name = name
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._due: float | None = None
        """When to call next, by `time.monotonic()`."""
        self._is_stopped = False

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive, which it is not in a forked child."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def wake(self) -> None:
        """Call the function now, unless its next call is due already: that one keeps its time."""
        with self._condition:
            self._set_due(time.monotonic() if self._due is None else self._due)

    def call_in(self, seconds: float) -> None:
        """Call the function after this time, instead of when it is due."""
        with self._condition:
            self._set_due(time.monotonic() + seconds)

    def stop(self) -> None:
        """End the calls for good."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    def _set_due(self, due: float) -> None:
        self._due = due
        self._condition.notify()
        if not self._is_stopped and not self.is_running:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while self._wait_until_due():
            try:
                interval = self._call()
            except Exception:
                logger.exception("%s failed and stops.", self._name)
                continue
            if interval is not None:
                self.call_in(interval)

    def _wait_until_due(self) -> bool:
        """Wait for the next call. Return whether there is one."""
        with self._condition:
            while self._due is not None and not self._is_stopped:
                left = self._due - time.monotonic()
                if left <= 0:
                    self._due = None
                    return True
                self._condition.wait(left)
            self._thread = None
            return False
