"""Approval questions for tool calls under the answer of a cell, in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from notebook_page import NotebookPage
from playwright.sync_api import Locator, expect

from claude_magic.simulator import Behaviour, Gate, Post, Simulator, reply
from claude_magic.simulator._wire import Chunk, Hold, Steps

TOOL = '''def tide_table(port: str) -> dict:
    """Give the times of high water."""
    return {"port": port, "high_water": ["04:12", "16:38"]}'''
ASK = "%%claude --tools tide_table\nWhen is high water?"
ASKED_FROM = 2
"""The cell that asks: the first ones load the extension and define the tool."""
NAME_OF_FOCUSED = (
    "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
)


@pytest.fixture
def open_asking_notebook(notebook: Callable[..., NotebookPage]) -> Callable[..., NotebookPage]:
    """Return a function that opens a notebook whose cell asks for approval, followed by these cells.

    The others have run or are running.
    """

    def open_with(*sources: str, **looks: Any) -> NotebookPage:
        page = notebook(TOOL, ASK, *sources, **looks)
        page.run_cell(1)
        page.start_cell(ASKED_FROM)
        return page

    return open_with


def calls(*ports: str, text: str = "I look it up.") -> Behaviour:
    """Return an answer with a call of the tool for each of these ports."""
    blocks = [
        {"type": "tool_use", "id": f"toolu_{number}", "name": "tide_table", "input": {"port": port}}
        for number, port in enumerate(ports)
    ]
    return reply(content=[{"type": "text", "text": text}, *blocks], stop_reason="tool_use")


def hold_before_text(gate: Gate, behaviour: Behaviour) -> Behaviour:
    """Return the same answer, which waits at the gate before its first text."""

    def behave(post: Post) -> Steps:
        for number, step in enumerate(behaviour(post)):
            if number == 1 and isinstance(step, Chunk):
                yield Hold(gate)
            yield step

    return behave


def question(page: NotebookPage) -> Locator:
    return page.output(ASKED_FROM).get_by_role("group", name="May this tool run?")


def allow(page: NotebookPage) -> Locator:
    return question(page).get_by_role("button", name="Allow", exact=True)


def assert_one_output(page: NotebookPage) -> None:
    """Check that no trace of the buttons is shown or saved."""
    expect(question(page)).to_have_count(0)
    (output,) = page.saved().cells[ASKED_FROM].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    assert "Allow" not in str(output)


@pytest.mark.parametrize(("theme", "width"), [("Light", 1600), ("Dark High Contrast", 600)])
def test_a_button_lets_a_tool_run_while_its_cell_runs(
    open_asking_notebook: Callable[..., NotebookPage], sim: Simulator, theme: str, width: int
) -> None:
    """The call is shown above the buttons. A long call must be shown to its end before it can be allowed."""
    sim.script(calls("Brest, " * 800), reply("High water is at 04:12."))
    page = open_asking_notebook(theme=theme, width=width)
    name = f"approval-{theme.lower().replace(' ', '-')}-{width}"

    more = question(page).get_by_role("button", name="Show more")
    more.wait_for()
    expect(question(page)).to_contain_text("Claude wants to run tide_table(port='Brest")
    expect(allow(page)).to_be_disabled()
    page.screenshot(f"{name}-long")
    more.click()
    expect(allow(page)).to_be_enabled()
    page.screenshot(name)
    allow(page).click()
    page.wait_for_cell(ASKED_FROM)

    expect(page.output(ASKED_FROM)).to_contain_text("High water is at 04:12.")
    page.screenshot(f"{name}-done")
    assert_one_output(page)


def test_the_keyboard_decides_one_call_after_the_other(
    open_asking_notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """A question does not take the focus from another field.

    Tab reaches it before Stop, and after a decision reaches the next question.
    """
    gate = Gate()
    sim.script(hold_before_text(gate, calls("Brest", "Oslo")), reply("High water is at 04:12."))
    page = open_asking_notebook("")
    editor = page.cell(3).locator(".cm-content").first
    editor.click()
    gate.open()
    expect(question(page)).to_contain_text("tide_table(port='Brest')")
    page.page.keyboard.type("typed = 1")
    expect(editor).to_have_text("typed = 1")

    page.output(ASKED_FROM).locator("summary").first.focus()
    names = []
    while "Stop" not in names and len(names) < 9:
        page.page.keyboard.press("Tab")
        names.append(page.page.evaluate(NAME_OF_FOCUSED))
    assert names[-4:] == ["Allow", "Deny", "Allow all", "Stop"]
    allow(page).press("Enter")
    expect(question(page)).to_contain_text("tide_table(port='Oslo')")
    page.page.keyboard.press("Tab")
    expect(allow(page)).to_be_focused()
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Space")
    page.wait_for_cell(ASKED_FROM)

    expect(page.output(ASKED_FROM)).to_contain_text("Oslo') · refused")
    expect(page.output(ASKED_FROM)).to_contain_text("Brest') →")
    assert_one_output(page)


def test_a_page_that_is_loaded_again_asks_again(
    open_asking_notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """The question is part of the widget's state. Here a background answer asks, whose cell has ended."""
    sim.script(reply("I look", stop_reason="max_tokens"), calls("Brest", "Oslo"), reply("At 04:12."))
    page = open_asking_notebook("%claude --bg continue")
    page.wait_for_cell(ASKED_FROM)
    page.run_cell(3)
    rest = page.output(3)
    expect(rest).to_contain_text("Claude wants to run tide_table(port='Brest')")
    page.saved()

    page.open()
    expect(rest).to_contain_text("Claude wants to run tide_table(port='Brest')")
    rest.get_by_role("button", name="Allow", exact=True).click()
    expect(rest).to_contain_text("Claude wants to run tide_table(port='Oslo')")
    rest.get_by_role("button", name="Allow all").click()

    expect(rest).to_contain_text("At 04:12.")
    expect(rest.get_by_role("button")).to_have_count(0)
    results = sim.requests[-1].body["messages"][-1]["content"]
    assert [each.get("is_error") for each in results] == [None, None]
