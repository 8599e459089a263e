"""Following a reply to its end, one frame after the other.

Deltas come on the bridge thread, often hundreds a second; frames are drawn by the cell's own coroutine (or, behind
the blocking door, by the main thread) at a pace of its own. Between two frames at most one wake-up crosses over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ..runtime import Phase, Waitable, interrupts_kept_for, loop_kept_awake

TICK = 1.0
"""Seconds after which a frame is drawn though nothing has come: a countdown runs by itself."""

SETTLING_TIME = 1.0
"""Seconds an interrupted reply is given to settle its text. It takes milliseconds; the bound is for a stuck one."""


class Picture(Protocol):
    """What a reply, or several, looked like at one moment."""

    @property
    def phase(self) -> Phase:
        """Where it was on its way."""

    @property
    def version(self) -> int:
        """Grows with each change."""


_Picture = TypeVar("_Picture", bound=Picture)
_Picture_co = TypeVar("_Picture_co", bound=Picture, covariant=True)
_Picture_contra = TypeVar("_Picture_contra", bound=Picture, contravariant=True)


class Followed(Waitable, Protocol[_Picture_co]):
    """What can be drawn while it grows: a reply, or several that are compared."""

    @property
    def phase(self) -> Phase:
        """Where it is on its way."""

    def snapshot(self) -> _Picture_co:
        """Return it as it is at this moment."""

    def observe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call back with it after each change, on the bridge thread; return what ends that."""


class Drawing(Protocol[_Picture_contra]):
    """What draws it."""

    def draw(self, snapshot: _Picture_contra, /) -> float:
        """Show how far it has come; return the seconds after which the next frame may follow."""


async def follow(reply: Followed[_Picture], screen: Drawing[_Picture]) -> None:
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
                await changes.next_frame(screen.draw(snapshot))
    except asyncio.CancelledError:
        reply.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(SETTLING_TIME):
                await changes.is_final.wait()
        raise
    finally:
        forget()


def follow_blocking(reply: Followed[_Picture], screen: Drawing[_Picture]) -> None:
    """Draw a reply on this thread until it has ended. Does not raise its error.

    Raises:
        KeyboardInterrupt: Ctrl-C. The reply is cancelled, and its text has settled.
    """
    version, drawn_at, interval = -1, 0.0, 0.0
    with interrupts_kept_for(reply) as waiting:
        while not waiting.wait(interval):
            snapshot, now = reply.snapshot(), time.monotonic()
            if snapshot.version != version or now - drawn_at >= TICK:
                interval = screen.draw(snapshot)
                version, drawn_at = snapshot.version, now


class _Changes(Generic[_Picture]):
    """Tells a coroutine on one loop about a reply that changes on another thread."""

    def __init__(self, reply: Followed[_Picture], loop: asyncio.AbstractEventLoop) -> None:
        self.is_final = asyncio.Event()
        self._reply = reply
        self._loop = loop
        self._has_changed = asyncio.Event()
        self._is_told = False

    def look(self) -> _Picture:
        """Return the reply as it is; whatever changes from here on is told."""
        self._is_told = False
        self._has_changed.clear()
        return self._reply.snapshot()

    def notify(self, reply: Followed[_Picture]) -> None:
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
