"""An answer and a cell that continue until the test ends them, so that no test depends on timing."""

from __future__ import annotations

import time
from collections.abc import Callable

from claude_magic.simulator import Behaviour, reply

LONG_ANSWER = ["# Sums of powers\n\n", *(f"Sentence {number} of many. " for number in range(6_000))]


def endless_answer() -> Behaviour:
    """Answer with a heading, and then a sentence ten times per second, for longer than any test takes."""
    return reply(chunks=LONG_ANSWER, chunk_delay=0.1)


COMPUTE = "while True:\n    sum(range(10_000))"
"""Keeps the kernel's main thread until it is interrupted."""

COMPUTE_UNTIL_FILE = "import os\nwhile not os.path.exists({!r}):\n    sum(range(10_000))"
"""Keeps the kernel's main thread until a file of this name is there."""


def wait_until(condition: Callable[[], bool], timeout: float = 120.0) -> None:
    """Wait for a condition of a server or kernel that no page reports."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "This did not happen."
        time.sleep(0.02)
