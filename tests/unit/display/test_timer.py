"""`Timer`: calls on a thread of their own, repeated or after a pause, which ends by itself."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from claude_magic.display import Timer, _frames

TIMEOUT = 10.0


def waited(condition: Callable[[], bool]) -> bool:
    """Wait for a condition. Return whether it became true."""
    pause, deadline = threading.Event(), TIMEOUT
    while not condition() and deadline > 0:
        pause.wait(0.005)
        deadline -= 0.005
    return condition()


def test_it_ticks_while_there_is_a_reason_and_ends() -> None:
    """It ticks three times, without a thread before and after."""
    intervals = iter([0.001, 0.001, None])
    ticks: queue.Queue[str] = queue.Queue()

    def tick() -> float | None:
        ticks.put(threading.current_thread().name)
        return next(intervals)

    timer = Timer(tick, name="test-timer")
    assert not timer.is_running
    timer.wake()

    assert [ticks.get(timeout=TIMEOUT) for _ in range(3)] == ["test-timer"] * 3
    assert waited(lambda: not timer.is_running)
    assert ticks.empty()


def test_a_reason_that_comes_while_it_finds_none_is_not_missed() -> None:
    """The timer is woken during what would be its last tick."""
    ticks: queue.Queue[None] = queue.Queue()

    def tick() -> None:
        ticks.put(None)
        if ticks.qsize() == 1:
            timer.wake()

    timer = Timer(tick, name="test-timer")
    timer.wake()

    assert waited(lambda: not timer.is_running)
    assert ticks.qsize() == 2


def test_it_can_be_woken_again_after_its_end() -> None:
    """A new thread continues the calls."""
    ticks: queue.Queue[None] = queue.Queue()
    timer = Timer(lambda: ticks.put(None), name="test-timer")

    for count in (1, 2):
        timer.wake()
        assert waited(lambda: not timer.is_running)
        assert ticks.qsize() == count


def test_stop_ends_it_in_the_middle_of_a_wait_and_for_good() -> None:
    """A wait of an hour does not delay it."""
    ticks: queue.Queue[None] = queue.Queue()

    def tick() -> float:
        ticks.put(None)
        return 3600.0

    timer = Timer(tick, name="test-timer")
    timer.wake()
    ticks.get(timeout=TIMEOUT)
    timer.stop()
    assert waited(lambda: not timer.is_running)

    timer.wake()
    assert not timer.is_running
    assert ticks.empty()


def test_a_tick_that_fails_is_reported_and_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    """A failing function is not called again every half second."""

    def tick() -> float:
        raise ZeroDivisionError

    timer = Timer(tick, name="test-timer")
    with caplog.at_level(logging.ERROR, logger="claude_magic.display"):
        timer.wake()
        assert waited(lambda: not timer.is_running and bool(caplog.records))

    assert "test-timer failed and stops." in caplog.text


def test_a_call_that_is_due_keeps_its_time_when_woken() -> None:
    """Many reasons in a second cause no more calls than one."""
    ticks: queue.Queue[None] = queue.Queue()

    def tick() -> float:
        ticks.put(None)
        return 3600.0

    timer = Timer(tick, name="test-timer")
    timer.wake()
    ticks.get(timeout=TIMEOUT)
    assert waited(lambda: timer._due is not None)
    before = timer._due
    for _ in range(9):
        timer.wake()

    assert timer._due == before
    timer.stop()
    assert waited(lambda: not timer.is_running)
    assert ticks.empty()


def test_only_the_last_change_of_a_movement_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change restarts the wait, so there is one call."""
    now, calls = [0.0], queue.Queue[float]()
    monkeypatch.setattr(_frames, "time", SimpleNamespace(monotonic=lambda: now[0]))
    timer = Timer(lambda: calls.put(now[0]), name="test-timer")

    for tenths in range(9):
        now[0] = tenths / 10
        timer.call_in(0.5)
    assert timer._due == pytest.approx(1.3)
    now[0] = 1.5

    assert calls.get(timeout=TIMEOUT) == 1.5
    assert waited(lambda: not timer.is_running)
    assert calls.empty()


def test_a_pause_can_be_ended_and_the_timer_stopped() -> None:
    """The call then happens immediately, or never."""
    calls: queue.Queue[None] = queue.Queue()
    timer = Timer(lambda: calls.put(None), name="test-timer")

    timer.call_in(3600.0)
    timer.call_in(0.0)
    calls.get(timeout=TIMEOUT)
    timer.call_in(3600.0)
    timer.stop()
    timer.call_in(0.0)

    assert waited(lambda: not timer.is_running)
    assert calls.empty()
