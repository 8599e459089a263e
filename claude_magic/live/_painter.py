"""The one thread on which panels and background cells are drawn, at a pace that a browser can follow.

Deltas come on the bridge thread, often hundreds a second, and nothing may hold that thread up; the kernel's main thread
may be busy with a cell for minutes. So what is drawn beside it is drawn on a thread of its own, which lives while something
streams. Setting a trait of a widget sends a comm message from whichever thread does it, and needs no particular cell.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from ..runtime import Reply

TICK = 1.0
"""Seconds after which a picture is drawn anew though nothing has come: a countdown runs by itself."""

FRAMES_PER_SECOND = 30
"""What all pictures together may send, so that a person can still type while ten of them stream."""

Draw = Callable[[], float]
"""Draws a picture and returns the seconds after which the next one may follow."""

logger = logging.getLogger("claude_magic.live")


class Painter:
    """Draws what follows a reply, until that has ended. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._subjects: list[_Subject] = []
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def follow(self, reply: Reply, draw: Draw) -> None:
        """Draw now, after each change of the reply, and last when it has ended."""
        subject = _Subject(reply, draw)
        subject.forget = reply.observe(lambda _reply: self._note_change(subject))
        with self._condition:
            self._leave_parent_process()
            self._subjects.append(subject)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claude-magic-painter", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _note_change(self, subject: _Subject) -> None:
        """Take note of a change; called on the bridge thread, so it wakes the painter once per frame at most."""
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
                # A picture that cannot be drawn must not keep the others from being drawn.
                logger.exception("An answer could not be drawn.")
                subject.give_up()
                continue
            with self._condition:
                subject.wait(max(interval, len(self._subjects) / FRAMES_PER_SECOND))

    def _next_subject(self) -> _Subject | None:
        """Wait until a picture is due, and return it; None when there is nothing left to follow."""
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

    def __init__(self, reply: Reply, draw: Draw) -> None:
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


painter = Painter()
"""The one of this kernel."""
