"""`%%claude` cells in JupyterLab, in a browser, with a server over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from endless import endless_answer, wait_until
from lab_server import API_KEY, NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import expect

from claude_magic.simulator import Gate, Simulator, hold

LOAD = "%load_ext claude_magic"
LONG_PROMPT = "%%claude -o answer --thinking hide\nGo on."

OpenNotebook = Callable[..., NotebookPage]


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """Kernels that wait a while before they try again, so that there is a countdown."""
    return {"CLAUDE_MAGIC_INITIAL_BACKOFF": "4"}


_NOTE_STATUS = """() => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    window.statusChanges = [];
    kernel.statusChanged.connect((_, status) => window.statusChanges.push(status));
}"""


def test_the_kernel_is_shown_as_busy_while_a_cell_waits(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """With the Stop button, Lab creates a subshell and then shows "Idle", but only briefly."""
    page = notebook("%%claude\nGo on.")
    page.page.evaluate(_NOTE_STATUS)
    gate = Gate()
    sim.script(hold(gate, after_deltas=3))

    page.start_cell(1)
    page.page.get_by_role("button", name="Stop").first.wait_for()
    page.wait_for("() => window.statusChanges.includes('idle') && window.statusChanges.at(-1) === 'busy'")
    expect(page.page.locator("#jp-main-statusbar")).to_contain_text("Busy")
    gate.open()
    page.wait_for_cell(1)

    expect(page.page.locator("#jp-main-statusbar")).to_contain_text("Idle")


def test_a_cell_streams_and_its_saved_file_holds_one_output(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """The output at half time differs from the final one, and only the final one is saved."""
    page = notebook("%%claude\nExplain the central limit theorem to someone who knows what a mean is.")
    gate = Gate()
    sim.script(hold(gate, after_deltas=60))

    page.start_cell(1)
    expect(page.output(1).locator("h1, h2, h3").first).to_be_visible()
    half_way = page.output(1).inner_text()
    page.screenshot("streaming-half-way", page.cell(1))
    gate.open()
    page.wait_for_cell(1)
    expect(page.output(1)).to_contain_text("tokens in")
    at_the_end = page.output(1).inner_text()
    page.screenshot("streaming-end", page.cell(1))

    assert len(half_way) < len(at_the_end)
    assert "simulator" in at_the_end
    assert "simulator" not in half_way
    outputs = page.saved().cells[1].outputs
    assert [output.output_type for output in outputs] == ["display_data"]
    assert set(outputs[0].data) == {"text/html", "text/markdown", "text/plain"}
    assert API_KEY not in Path(page.path).read_text(encoding="utf-8")


def test_the_interrupt_button_ends_the_cell_and_keeps_what_had_come(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """The partial answer stays on the screen and in the variable, the cell fails, and the server sees the
    disconnect."""
    page = notebook(LONG_PROMPT, "print(len(answer) > 0, answer.phase.name)")
    sim.script(endless_answer())

    page.start_cell(1)
    expect(page.output(1).locator("h1, h2, p").first).to_be_visible()
    page.interrupt()
    page.wait_for_cell(1)
    page.run_cell(2)

    expect(page.output(1)).to_contain_text("KeyboardInterrupt")
    expect(page.output(1)).to_contain_text("Interrupted")
    expect(page.output(2)).to_have_text("True CANCELLED")
    page.screenshot("interrupted", page.cell(1))
    assert [output.output_type for output in page.saved().cells[1].outputs] == ["display_data", "error"]
    wait_until(lambda: sim.requests[-1].client_gone)


def test_a_retry_is_shown_with_its_countdown(notebook: Callable[..., NotebookPage]) -> None:
    """The cell shows the reason, the remaining time and the attempt. The answer then takes its place."""
    page = notebook("%%claude\n!simulate overloaded_once\nSay exactly: here again")
    page.watch_for(r"overloaded.*retrying in \d+ s.*attempt 2 of 4")

    page.start_cell(1)
    page.expect_seen()
    page.screenshot("retrying", page.cell(1))
    page.wait_for_cell(1)

    expect(page.output(1)).to_contain_text("here again")
    expect(page.output(1)).not_to_contain_text("retrying in")


def test_an_error_is_short_and_stops_run_all(notebook: Callable[..., NotebookPage]) -> None:
    """It has a few lines with advice, no internal traceback, and the next cell does not run."""
    page = notebook("%%claude -m claude-none-1\nHello", "print('must not run')")

    page.run_all()

    expect(page.output(1)).to_contain_text("NotFoundError")
    assert len(page.output(1).inner_text().splitlines()) <= 6
    expect(page.output(2)).to_have_count(1)
    assert page.output(2).inner_text().strip() == ""
    page.screenshot("error", page.cell(1))


def test_a_hostile_answer_runs_nothing_now_or_on_reopening(notebook: Callable[..., NotebookPage]) -> None:
    """Scripts, handlers and links of a model have no effect in the cell, or in the saved notebook.

    Each payload of the simulator's hostile answer would set `window.pwned`.
    """
    page = notebook("%%claude\n!simulate hostile_markdown\nGo on.")

    page.run_cell(1)
    is_dead_now = not page.page.evaluate("Boolean(window.pwned)")
    page.screenshot("hostile", page.cell(1))
    page.saved()
    page.open()
    page.page.wait_for_function("document.querySelector('.jp-OutputArea-output') !== null")

    assert is_dead_now
    assert not page.page.evaluate("Boolean(window.pwned)")
    assert page.page.locator(".jp-OutputArea-output script, .jp-OutputArea-output iframe").count() == 0
    assert page.outside_requests == []


def test_an_answer_reads_well_in_the_dark_theme(open_notebook: OpenNotebook, folder: NotebookFolder) -> None:
    """The screenshot is for manual review; text and background differ."""
    cells = [
        nbformat.v4.new_code_cell(source) for source in (LOAD, "%%claude\nShow me Python code for a mean.")
    ]
    path = folder.write_notebook("dark.ipynb", cells)
    page = open_notebook(path, theme="Dark")

    page.run_cell(0)
    page.run_cell(1)

    page.screenshot("dark", page.cell(1))
    colours = page.output(1).evaluate(
        "node => [getComputedStyle(node.querySelector('p')).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert colours[0] != colours[1]
