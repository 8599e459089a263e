"""Outputs of tools in the cell of an answer are kept below the answer."""

from __future__ import annotations

import pytest

TOOLS = '''
from IPython.display import HTML, clear_output, display

def draw_tide(port: str) -> str:
    """Draw the tide."""
    print("before")
    display(HTML("<b>a curve</b>"))
    print("after")
    return "drawn"

async def watch_tide(port: str) -> str:
    """Watch the tide rise."""
    height = display(HTML("<b>1 m</b>"), display_id=True)
    height.update(HTML("<b>2 m</b>"))
    return "watched"

def count_tides(port: str) -> str:
    """Count, and keep only the last number."""
    for number in range(3):
        clear_output(wait=True)
        print("tide", number)
    return "counted"
'''


@pytest.fixture(scope="module")
def kernel(start_kernel):
    """A kernel with tools that produce outputs."""
    kernel = start_kernel()
    assert kernel.run(TOOLS).status == "ok"
    return kernel


def ask(kernel, tool, count):
    """Have a tool called. Return the `count` final outputs of the cell, of which the first is the answer."""
    run = kernel.run(f'%%claude --tools {tool} --approve never\nUse {tool} for port "Brest"')
    assert run.status == "ok"
    assert len(run.outputs) == count, run.outputs
    return run.outputs


def test_prints_and_displays_of_a_tool_stay_in_their_order(kernel):
    """The final output replaces all outputs of the cell; those of tools are shown again below it."""
    answer, before, curve, after = ask(kernel, "draw_tide", 4)

    assert "draw_tide" in answer["data"]["text/plain"]
    assert (before["text"], after["text"]) == ("before\n", "after\n")
    assert curve["data"]["text/html"] == "<b>a curve</b>"


def test_a_display_that_was_updated_stays_as_it_was_last(kernel):
    """It can still be updated by its id."""
    _answer, height = ask(kernel, "watch_tide", 2)

    assert height["data"]["text/html"] == "<b>2 m</b>"
    assert height["transient"]["display_id"]


def test_what_a_tool_has_cleared_does_not_come_back(kernel):
    """As in a separate cell."""
    _answer, number = ask(kernel, "count_tides", 2)

    assert number["text"] == "tide 2\n"


def test_a_line_that_a_tool_prints_stays_one_output(kernel):
    """Although the kernel flushes its streams on a timer, possibly in the middle of the line."""
    eager = "from ipykernel.iostream import OutStream\nschedule, OutStream._schedule_flush = OutStream._schedule_flush, OutStream.flush"
    assert kernel.run(eager).status == "ok"
    try:
        _answer, number = ask(kernel, "count_tides", 2)
    finally:
        kernel.run("OutStream._schedule_flush = schedule")

    assert number["text"] == "tide 2\n"
