"""`%claude limits --live` in a real kernel: a widget for a watched front end, otherwise a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from claude_magic.simulator import Simulator

if TYPE_CHECKING:
    from conftest import Kernel, Run

ASK_AND_COMPUTE = """
import time
from claude_magic import claude
claude.ask("What the server allows comes with the first answer.")
replies = [claude.submit(f"Question {number}") for number in range(4)]
from claude_magic.panels import shown_gauge
pictures = set()
end = time.time() + 120
while time.time() < end and not (len(pictures) > 3 and any("Question 3" in each for each in pictures)):
    pictures.add(shown_gauge().children[0].value)
    sum(range(10_000))
"""
THREADS = "[thread.name for thread in __import__('threading').enumerate() if 'gauge' in thread.name]"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """Two requests a minute for each class of models."""
    with Simulator(requests_per_minute=2) as simulator:
        yield simulator


def gauge_frames(run: Run) -> list[str]:
    """Return the frames of the gauge among the messages of a run."""
    states = [content["data"].get("state", {}) for content in run.contents("comm_msg", "comm_open")]
    return [state["value"] for state in states if "Limits of requests" in str(state.get("value"))]


def test_the_gauge_shows_who_waits_and_why_while_the_kernel_computes(kernel: Kernel) -> None:
    """Frames arrive while a cell keeps the main thread busy; afterwards no thread is left."""
    shown = kernel.run("%claude limits --live", allow_stdin=True, cell_id="gauge")
    busy = kernel.run(ASK_AND_COMPUTE)

    (display,) = shown.contents("display_data")
    assert "application/vnd.jupyter.widget-view+json" in display["data"]
    pictures = gauge_frames(busy)
    assert len(pictures) >= 3
    assert any(
        "Question 3" in picture and "the server&#x27;s limit of requests" in picture for picture in pictures
    )
    kernel.run(
        "for reply in replies:\n    reply.cancel()\nfrom claude_magic.panels import shown_gauge\nshown_gauge().close()"
    )
    assert kernel.value(THREADS) == "[]"


def test_running_its_cell_again_shows_the_same_gauge(kernel: Kernel) -> None:
    """No second widget is created."""
    runs = [kernel.run("%claude limits --live", allow_stdin=True, cell_id="again") for _ in range(2)]

    views = [
        run.contents("display_data")[0]["data"]["application/vnd.jupyter.widget-view+json"] for run in runs
    ]
    assert views[0]["model_id"] == views[1]["model_id"]


@pytest.mark.parametrize(
    ("prepare", "how", "why"),
    [
        ("", {}, "this front end shows no widgets"),
        (
            "%config ClaudeMagics.live = False",
            {"allow_stdin": True, "cell_id": "table"},
            "the setting `live` is off",
        ),
    ],
    ids=["nobody looks", "live is off"],
)
def test_elsewhere_it_is_the_table_once_and_says_so(
    start_kernel: Callable[..., Kernel], prepare: str, how: dict[str, object], why: str
) -> None:
    """With nbclient, in consoles, and with the setting `live` off. No widget library is imported."""
    kernel = start_kernel()
    kernel.run(prepare)

    run = kernel.run("%claude limits --live", **how)

    (display,) = run.contents("display_data")
    assert "Limiter of this kernel" in display["data"]["text/plain"]
    assert why in run.stdout
    assert kernel.value("'ipywidgets' in __import__('sys').modules") == "False"
