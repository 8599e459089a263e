"""Answers that end while no page is open. Their saved output names a widget."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from endless import wait_until
from lab_server import NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import expect
from test_still import FORMULAS, SHOWN_LATE, mostly_sent, stop_of

from claude_magic.simulator import Gate, Simulator, hold

HAS_DROPPED = """view =>
    !window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.hasComm(view)"""
VIEW = "application/vnd.jupyter.widget-view+json"


def saved_view(page: NotebookPage) -> str:
    """Save while the widget is shown, and return its model."""
    stop_of(page).wait_for()
    (output,) = page.saved().cells[1].outputs
    return str(output.data[VIEW]["model_id"])


@pytest.mark.parametrize("option", ["", "--bg -o answer", "--compare sonnet,opus"])
def test_an_answer_that_ended_without_a_page_is_shown_and_saved(
    notebook: Callable[..., NotebookPage], sim: Simulator, folder: NotebookFolder, option: str
) -> None:
    """The page that is opened later puts the final output in the place of the widget."""
    gate, count = Gate(), 2 if "compare" in option else 1
    sim.script(*[mostly_sent(gate)] * count)
    name = f"done{option.replace(' ', '')}"
    wait = "answer.result()\n" if "answer" in option else ""
    page = notebook(f"%%claude {option}\nExplain the mean.", f"{wait}open({name!r}, 'w').close()")
    page.start_cell(1)
    expect(page.output(1).get_by_text(SHOWN_LATE, exact=True)).to_have_count(count)
    page.start_cell(2)
    assert saved_view(page)
    page.page.goto("about:blank")
    gate.open()
    wait_until((folder.root / name).exists)

    page.open()

    expect(page.output(1)).to_contain_text("That was the last one.")
    expect(page.output(1)).to_contain_text("tokens in")
    expect(page.output(1).locator("mjx-container")).to_have_count(FORMULAS * count)
    expect(page.output(1).locator(".claude-magic-live")).to_have_count(0)
    page.screenshot(f"reload-{name}", page.cell(1))
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    page.open()
    expect(page.output(1)).to_contain_text("That was the last one.")


def test_a_page_that_was_there_all_the_time_keeps_no_model(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """Only the kernel keeps it, for other pages."""
    gate = Gate()
    sim.script(mostly_sent(gate))
    page = notebook("%%claude\nExplain the mean.")
    page.start_cell(1)
    view = saved_view(page)
    gate.open()
    page.wait_for_cell(1)

    page.wait_for(HAS_DROPPED, view)
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}


def test_a_map_that_ended_without_a_page_is_a_line(
    notebook: Callable[..., NotebookPage], sim: Simulator, folder: NotebookFolder
) -> None:
    """As in the page that was there."""
    gate = Gate()
    sim.script(hold(gate))
    setup = "import pandas as pd\ndf = pd.DataFrame({'word': ['alpha']})"
    page = notebook("%%claude --map df -o out\nSay {{ word }}", "open('mapped', 'w').close()", setup)
    page.run_cell(3)
    page.start_cell(1)
    page.start_cell(2)
    box = saved_view(page)
    page.page.goto("about:blank")
    gate.open()
    wait_until((folder.root / "mapped").exists)

    page.open()

    expect(page.output(1)).to_contain_text("1 row, 1 of 1 requests answered")
    expect(page.output(1).locator(".jupyter-widgets")).to_have_count(0)
    page.wait_for(HAS_DROPPED, box)
    assert "widget" not in str(page.saved().cells[1].outputs)
