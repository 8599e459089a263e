"""The drawing thread: coalescing, the last frame, failures. The replies are fakes that change on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from claude_magic.display._frames import FrameLoop

TIMEOUT = 10.0


class HandmadeReply:
    """A fake reply that changes and ends on request, and notifies its observers as replies do on the bridge thread."""

    def __init__(self) -> None:
        self._observers: list[Callable[[object], None]] = []
        self._is_done = False

    def observe(self, callback: Callable[[object], None]) -> Callable[[], None]:
        self._observers.append(callback)
        return lambda: self._observers.remove(callback)

    def done(self) -> bool:
        return self._is_done

    def change(self) -> None:
        for observer in tuple(self._observers):
            observer(self)

    def end(self) -> None:
        self._is_done = True
        self.change()

    @property
    def is_observed(self) -> bool:
        return bool(self._observers)


class Drawing:
    """Counts its frames and records their threads."""

    def __init__(self, interval: float = 0.0) -> None:
        self.times: list[float] = []
        self.threads: set[threading.Thread] = set()
        self._interval = interval

    def __call__(self) -> float:
        self.times.append(time.monotonic())
        self.threads.add(threading.current_thread())
        return self._interval


@pytest.fixture
def frame_loop() -> Iterator[FrameLoop]:
    """A frame loop whose thread has ended by the end of the test."""
    frame_loop = FrameLoop()
    yield frame_loop
    assert wait_until(lambda: frame_loop._thread is None), "The frame_loop still runs."


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_a_reply_is_drawn_at_once_after_a_change_and_at_its_end(frame_loop: FrameLoop) -> None:
    """There are three frames: at the start, after the change, at the end. Then the reply is no longer observed."""
    reply, drawing = HandmadeReply(), Drawing()

    frame_loop.follow(reply, drawing)  # type: ignore[arg-type]
    assert wait_until(lambda: len(drawing.times) >= 1)
    reply.change()
    assert wait_until(lambda: len(drawing.times) >= 2)
    reply.end()
    assert wait_until(lambda: not reply.is_observed)

    count = len(drawing.times)
    reply.change()
    time.sleep(0.05)
    assert len(drawing.times) == count


def test_many_changes_are_one_picture(frame_loop: FrameLoop) -> None:
    """A thousand deltas within one frame interval cause one frame, and the last frame does not wait for the interval."""
    reply, drawing = HandmadeReply(), Drawing(interval=30.0)

    frame_loop.follow(reply, drawing)  # type: ignore[arg-type]
    assert wait_until(lambda: len(drawing.times) == 1)
    for _ in range(1000):
        reply.change()
    reply.end()
    assert wait_until(lambda: not reply.is_observed)

    assert len(drawing.times) <= 3


def test_all_is_drawn_on_one_thread_which_is_nobody_elses(frame_loop: FrameLoop) -> None:
    """The thread that reports changes does not draw, because it must not be blocked."""
    pairs = [(HandmadeReply(), Drawing()) for _ in range(5)]

    for reply, drawing in pairs:
        frame_loop.follow(reply, drawing)  # type: ignore[arg-type]
    for reply, _ in pairs:
        reply.change()
        reply.end()
    assert wait_until(lambda: not any(reply.is_observed for reply, _ in pairs))

    threads = set().union(*(drawing.threads for _, drawing in pairs))
    assert threading.current_thread() not in threads
    assert {thread.name for thread in threads} == {"claude-magic-frames"}


def test_a_picture_that_fails_does_not_keep_others_from_being_drawn(
    frame_loop: FrameLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no longer drawn, and the failure is logged."""
    broken, reply, drawing = HandmadeReply(), HandmadeReply(), Drawing()

    def fail() -> float:
        raise ValueError("cannot be drawn")

    frame_loop.follow(broken, fail)  # type: ignore[arg-type]
    frame_loop.follow(reply, drawing)  # type: ignore[arg-type]
    reply.end()
    assert wait_until(lambda: not reply.is_observed)

    assert drawing.times
    assert wait_until(lambda: not broken.is_observed)
    assert "could not be drawn" in caplog.text


def test_a_countdown_runs_without_changes(frame_loop: FrameLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting reply is drawn once per tick."""
    monkeypatch.setattr("claude_magic.display._frames.TICK", 0.02)
    reply, drawing = HandmadeReply(), Drawing()

    frame_loop.follow(reply, drawing)  # type: ignore[arg-type]

    assert wait_until(lambda: len(drawing.times) >= 5)
    reply.end()


def test_a_reply_that_has_ended_before_is_drawn_once(frame_loop: FrameLoop) -> None:
    """The last frame is drawn even if following starts after the end."""
    reply, drawing = HandmadeReply(), Drawing()
    reply.end()

    frame_loop.follow(reply, drawing)  # type: ignore[arg-type]

    assert wait_until(lambda: not reply.is_observed)
    assert len(drawing.times) >= 1
