"""Fixtures for the tests of tools: calls by a model, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from claude_magic.client import ToolUseBlock

TIMEOUT = 20.0


class MakeCall(Protocol):
    """Makes the call of a tool."""

    def __call__(self, name: str, raw_input: str | None = None, **arguments: Any) -> ToolUseBlock: ...


@pytest.fixture
def call() -> MakeCall:
    """See `MakeCall`."""

    def make(name: str, raw_input: str | None = None, **arguments: Any) -> ToolUseBlock:
        block = ToolUseBlock(id="toolu_1", name=name, input=arguments)
        block._raw_input = raw_input
        return block

    return make


@pytest.fixture
def block() -> Callable[[], None]:
    """Block a thread until Ctrl-C: in small steps, because a signal just before a sleep does not end it."""

    def wait() -> None:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            time.sleep(0.005)
        raise TimeoutError("Nothing has ended this.")

    return wait


@pytest.fixture
def usual_handler() -> Iterator[None]:
    """Python's default SIGINT handler before a test, and still installed after it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.signal(signal.SIGINT, previous)
    assert left is signal.default_int_handler


@pytest.fixture
def interrupt_when() -> Iterator[Callable[[threading.Event], None]]:
    """Send SIGINT once a condition is met."""
    threads: list[threading.Thread] = []

    def press(event: threading.Event) -> None:
        def wait_and_press() -> None:
            if event.wait(TIMEOUT):
                os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=wait_and_press, daemon=True))
        threads[-1].start()

    yield press
    for thread in threads:
        thread.join(TIMEOUT)
