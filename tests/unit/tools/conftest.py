"""What the tests of the tools share: calls as a model makes them, and Ctrl-C as a person presses it."""

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
    """Blocks a thread until Ctrl-C ends it: in small steps, because a signal just before a sleep does not end that."""

    def wait() -> None:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            time.sleep(0.005)
        raise TimeoutError("Nothing has ended this.")

    return wait


@pytest.fixture
def usual_handler() -> Iterator[None]:
    """Python's own handler of Ctrl-C before a test, and still there after it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.signal(signal.SIGINT, previous)
    assert left is signal.default_int_handler


@pytest.fixture
def interrupt_when() -> Iterator[Callable[[threading.Event], None]]:
    """Presses Ctrl-C once something has happened."""
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
