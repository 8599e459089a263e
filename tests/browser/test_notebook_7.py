"""Jupyter Notebook 7, the other front end that Jupyter ships: the same cells, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from lab_server import LabServer
from notebook_page import _KERNEL_IS_READY, TIMEOUT_MS, NotebookPage
from playwright.sync_api import Browser, expect

from claude_magic.simulator import Simulator

CELLS = (
    "%load_ext claude_magic",
    "%%claude -o answer\nExplain the central limit theorem to someone who knows what a mean is.",
    "print(len(answer.text) > 100, answer.stop_reason)",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A Jupyter server whose kernels talk to a simulator that leaves time to look."""
    with (
        Simulator(chunk_delay=0.03) as sim,
        LabServer(
            tmp_path_factory.mktemp("notebook7") / "server",
            {"ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": "sk-ant-notebook-7-test"},
        ) as lab,
    ):
        yield lab


def test_a_cell_streams_in_notebook_7_and_leaves_one_output(
    browser: Browser, server: LabServer, tmp_path: Path
) -> None:
    """Growing blocks while it streams, one output with all its types at the end, and the variable is there."""
    path = server.write_notebook("seven.ipynb", [nbformat.v4.new_code_cell(cell) for cell in CELLS])
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = NotebookPage(server, context, path)
    page.page.goto(server.page_url(path.name).replace("/lab/tree/", "/notebooks/"))
    page.page.locator(".jp-Notebook").wait_for()
    page.page.wait_for_function(_KERNEL_IS_READY)

    for index in range(2):
        page.start_cell(index)
    expect(page.output(1).locator("h1, h2, h3").first).to_be_visible(timeout=TIMEOUT_MS)
    at_half_time = page.output(1).inner_text()
    page.start_cell(2)
    expect(page.output(2)).to_contain_text("True end_turn", timeout=TIMEOUT_MS)
    expect(page.output(1)).to_contain_text("tokens in")
    page.screenshot("notebook-7")

    assert page.output(1).inner_text() != at_half_time
    page.execute("docmanager:save")
    saved = nbformat.read(path, as_version=4)
    (output,) = saved.cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    page.page.close()
