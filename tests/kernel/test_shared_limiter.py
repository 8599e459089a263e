"""One limiter for all ways of asking: the server never receives more requests than configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from claude_magic.simulator import Simulator

if TYPE_CHECKING:
    from conftest import Kernel

RATE = 10.0
CAPACITY = 10.0
LATENESS = 2.0
"""Seconds by which one request may travel longer than another, so that they arrive closer together than they were sent: a busy
machine stops a process for that long. A limiter for each asker would send all requests within a second, and exceed this, too."""

PANEL = """
from claude_magic import PromptPanel, claude
panels = [PromptPanel() for _ in range(5)]
def ask_panels(times):
    for _ in range(times):
        for reply in [panel.ask("A panel asks.") for panel in panels]:
            reply.result()
import threading
asking = threading.Thread(target=ask_panels, args=(4,))
asking.start()
"""
BACKGROUND = "%%claude --bg --no-history\nA background cell asks."
LOOP = """
in_background = [claude.submit(f"In the background, number {number}.") for number in range(15)]
for number in range(15):
    claude.ask(f"In a loop, number {number}.")
for reply in in_background:
    reply.result()
asking.join()
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A server without limits."""
    with Simulator() as simulator:
        yield simulator


def test_l3_a_panel_background_answers_and_a_loop_share_the_configured_rate(
    start_kernel: Callable[..., Kernel], sim: Simulator
) -> None:
    """No time window contains more than capacity + rate x window requests."""
    kernel = start_kernel(CLAUDE_MAGIC_RATE_LIMIT_RPS=str(RATE))

    kernel.run(PANEL)
    for number in range(5):
        assert kernel.run(BACKGROUND, allow_stdin=True, cell_id=f"background-{number}").status == "ok"
    run = kernel.run(LOOP)

    assert run.status == "ok", run.error
    prompts = [request.body["messages"][-1]["content"] for request in sim.requests]
    for asker, count in {
        "A panel": 20,
        "A background cell": 5,
        "In the background": 15,
        "In a loop": 15,
    }.items():
        assert sum(asker in str(prompt) for prompt in prompts) == count
    times = sorted(request.received_at for request in sim.requests)
    assert worst_excess(times) <= 0


def worst_excess(times: list[float]) -> float:
    """Return the number of requests by which the worst window exceeds the bound of the bucket."""
    return max(
        count - CAPACITY - RATE * (end - start + LATENESS)
        for first, start in enumerate(times)
        for count, end in enumerate(times[first:], start=1)
    )
