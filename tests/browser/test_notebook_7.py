"""Jupyter Notebook 7, Jupyter's other front end, gives the same results."""

from __future__ import annotations

import nbformat
from lab_server import LabServer, NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import Browser, expect

from claude_magic.simulator import Gate, Simulator, hold

CELLS = (
    "%load_ext claude_magic",
    "%%claude -o answer\nExplain the central limit theorem to someone who knows what a mean is.",
    "print(len(answer.text) > 100, answer.stop_reason)",
)


def test_a_cell_streams_in_notebook_7_and_leaves_one_output(
    browser: Browser, lab: LabServer, folder: NotebookFolder, sim: Simulator
) -> None:
    """The answer grows in blocks and ends in one output with all MIME types, and the variable is bound."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=60))
    path = folder.write_notebook("seven.ipynb", [nbformat.v4.new_code_cell(cell) for cell in CELLS])
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = NotebookPage(lab, context.new_page(), path)
    page.open(place="notebooks")

    for index in range(2):
        page.start_cell(index)
    expect(page.output(1).locator("h1, h2, h3").first).to_be_visible()
    at_half_time = page.output(1).inner_text()
    page.start_cell(2)
    gate.open()
    expect(page.output(2)).to_contain_text("True end_turn")
    expect(page.output(1)).to_contain_text("tokens in")
    page.screenshot("notebook-7")

    assert page.output(1).inner_text() != at_half_time
    page.execute("docmanager:save")
    saved = nbformat.read(path, as_version=4)
    (output,) = saved.cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    page.leave()
    context.close()
