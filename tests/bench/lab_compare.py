"""Measures traffic and browser load of two answers of 30 kB side by side in JupyterLab."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from lab_stream import WATCH, write_paper
from measure import Figure, at_most, note, print_figures
from playwright.sync_api import sync_playwright
from simulator_process import simulator_process

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))

from chromium import ARGUMENTS, find_chromium
from lab_server import LabServer
from notebook_page import NotebookPage

DELTA_INTERVAL = 0.03
ANSWER_CHARS = 30_000
DELTAS = 600

MAX_MEGABYTES = 1.8
"""30 bytes for each character of the answers, including the final output with its three MIME types."""
MAX_FRAMES_PER_SECOND = 30
"""For both columns together."""

CELL = "%%claude --compare sonnet,opus\nAll about the mean of a sample, please."
WITHOUT_WIDGETS = (
    "import claude_magic.notebook._cell as cells\n"
    "def without_widgets(cell):\n    from claude_magic.display import FrontEnd\n    found = FrontEnd(cell.shell)\n"
    "    found.has_widgets = found.runs_clicks = False\n    return found\n"
    "cells.Cell.front_end = property(without_widgets)"
)
START_OVER = "window.bench.messages.length = window.bench.longTasks.length = 0"


def main() -> None:
    """Measure both kinds of display and print."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.md"
        answer.write_text(write_paper()[:ANSWER_CHARS], encoding="utf-8")
        print_figures(
            [
                *_figures("in widgets", _stream(Path(folder) / "widgets", answer, "1"), has_targets=True),
                *_figures("in one display", _stream(Path(folder) / "display", answer, WITHOUT_WIDGETS)),
            ]
        )


def _figures(name: str, noted: dict[str, Any], *, has_targets: bool = False) -> list[Figure]:
    shown = [m for m in noted["messages"] if m["kind"] in ("comm_msg", "comm_open", "update_display_data")]
    streaming = (float(shown[-1]["sent"]) - float(shown[0]["sent"])) / 1e3
    megabytes = sum(float(m["size"]) for m in noted["messages"]) / 1e6
    frames = len(shown) / streaming
    named = f"Lab, two answers of 30 kB {name}"
    long_tasks = sum(length for _, length in noted["longTasks"]) / 1e3
    return [
        at_most(f"{named}: iopub (MB)", megabytes, MAX_MEGABYTES)
        if has_targets
        else Figure(name=f"{named}: iopub (MB)", ours=megabytes),
        at_most(f"{named}: messages per second", frames, MAX_FRAMES_PER_SECOND)
        if has_targets
        else Figure(name=f"{named}: messages per second", ours=frames),
        Figure(name=f"{named}: long tasks, total (s)", ours=long_tasks),
    ]


def _stream(folder: Path, answer: Path, setup: str) -> dict[str, Any]:
    """Stream the answer twice in parallel into a fresh JupyterLab, and return the measurements of the page."""
    with (
        simulator_process(chunk_delay=DELTA_INTERVAL, answer=answer, deltas=DELTAS, times=2) as url,
        LabServer(folder / "server", {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-ant-bench"}) as lab,
        sync_playwright() as playwright,
    ):
        # The default settings of JupyterLab, not those of the tests.
        lab.write_settings("@jupyterlab/notebook-extension/tracker", {})
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.add_init_script(WATCH)
        cells = [nbformat.v4.new_code_cell(source) for source in (f"%load_ext claude_magic\n{setup}", CELL)]
        notebook = NotebookPage(lab, context.new_page(), lab.write_notebook("bench.ipynb", cells))
        notebook.open()
        notebook.run_cell(0)
        notebook.page.evaluate(START_OVER)
        note("streaming for twenty seconds")
        notebook.run_cell(1)
        notebook.page.wait_for_timeout(2_000)
        noted: dict[str, Any] = notebook.page.evaluate("window.bench")
        notebook.close()
        browser.close()
    return noted


if __name__ == "__main__":
    main()
