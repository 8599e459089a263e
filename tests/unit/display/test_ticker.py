"""`Ticker`: a thread that calls a function repeatedly and ends by itself."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

import pytest

from claude_magic.display import Ticker

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

    ticker = Ticker(tick, name="test-ticker")
    assert not ticker.is_running
    ticker.wake()

    assert [ticks.get(timeout=TIMEOUT) for _ in range(3)] == ["test-ticker"] * 3
    assert waited(lambda: not ticker.is_running)
    assert ticks.empty()


def test_a_reason_that_comes_while_it_finds_none_is_not_missed() -> None:
    """The ticker is woken during what would be its last tick."""
    ticks: queue.Queue[None] = queue.Queue()

    def tick() -> None:
        ticks.put(None)
        if ticks.qsize() == 1:
            ticker.wake()

    ticker = Ticker(tick, name="test-ticker")
    ticker.wake()

    assert waited(lambda: not ticker.is_running)
    assert ticks.qsize() == 2


def test_it_can_be_woken_again_after_its_end() -> None:
    """A new thread continues the calls."""
    ticks: queue.Queue[None] = queue.Queue()
    ticker = Ticker(lambda: ticks.put(None), name="test-ticker")

    for count in (1, 2):
        ticker.wake()
        assert waited(lambda: not ticker.is_running)
        assert ticks.qsize() == count


def test_stop_ends_it_in_the_middle_of_a_wait_and_for_good() -> None:
    """A wait of an hour does not delay it."""
    ticks: queue.Queue[None] = queue.Queue()

    def tick() -> float:
        ticks.put(None)
        return 3600.0

    ticker = Ticker(tick, name="test-ticker")
    ticker.wake()
    ticks.get(timeout=TIMEOUT)
    ticker.stop()
    assert waited(lambda: not ticker.is_running)

    ticker.wake()
    assert not ticker.is_running
    assert ticks.empty()


def test_a_tick_that_fails_is_told_and_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    """A failing function is not called again every half second."""

    def tick() -> float:
        raise ZeroDivisionError

    ticker = Ticker(tick, name="test-ticker")
    with caplog.at_level(logging.ERROR, logger="claude_magic.display"):
        ticker.wake()
        assert waited(lambda: not ticker.is_running and bool(caplog.records))

    assert "test-ticker failed and stops." in caplog.text
