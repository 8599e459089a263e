"""One limiter for all ways of asking: the server never receives more requests than configured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from claude_magic.simulator import Simulator

if TYPE_CHECKING:
    from conftest import Kernel

RATE = 10.0

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
    """All of them together take as long as one bucket allows.

    Measured from the first question, not between arrivals: on a busy machine, requests can arrive closer together than they were
    sent.
    """
    kernel = start_kernel(CLAUDE_MAGIC_RATE_LIMIT_RPS=str(RATE))
    started = time.monotonic()

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
    assert sim.requests[-1].received_at - started >= (len(sim.requests) - RATE) / RATE
