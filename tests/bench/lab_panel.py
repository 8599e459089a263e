"""Measures panels in JupyterLab: 100 kB with formulas, typing while ten panels stream, and the latency of Stop."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from lab_stream import LAST_WORDS, LONGEST, WATCH, write_paper
from measure import Figure, at_most, note, print_figures
from playwright.sync_api import sync_playwright
from simulator_process import simulator_process

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))

from chromium import ARGUMENTS, find_chromium
from lab_server import LabServer
from notebook_page import NotebookPage

DELTA_INTERVAL = 0.03
PANELS = 10
TYPED = "the quick brown fox jumps"

MAX_MEGABYTES = 2.5
MAX_FRAMES_PER_SECOND = 15
MAX_TASK = 0.2
MAX_TYPING = 0.2

MAX_STOPPING = 0.3
STOPS = 20

MAKE = "from claude_magic import PromptPanel\npanel = PromptPanel()\npanel"
MAKE_MANY = f"panels = [PromptPanel() for _ in range({PANELS})]\nfor panel in panels: display(panel)"
ASK = "panel.ask('!simulate long_answer\\nAll about sums of powers, please.')"
ASK_MANY = f"for panel in panels: {ASK};"

ASK_TIMED = (
    f"import time\nends = globals().get('ends', [])\n{ASK}.when_done(lambda: ends.append(time.time()));"
)
WATCH_ENDS = """import asyncio, time
from claude_magic import claude
ends = []
async def watch():
    seen = None
    while True:
        if claude.last is not seen:
            seen = claude.last
            seen.when_done(lambda: ends.append(time.time()))
        await asyncio.sleep(0.02)
watching = asyncio.create_task(watch())
%load_ext claude_magic"""
ASK_IN_CELL = "%%claude --no-history\n!simulate long_answer\nAll about sums of powers, please."
CELL_STOP = ".claude-magic-cell-stop button"
TELL_ENDS = "import json\nprint(json.dumps(ends))"
BUSY = "import time\nend = time.time() + 2.5\nwhile time.time() < end: sum(range(10_000))"

IS_STREAMING = """() => document.querySelector('.claude-magic-exchange:last-child .claude-magic-answer')?.textContent.length > 200
    && !document.querySelector('.claude-magic-stop').disabled"""
STOP = """async panel => {
    const at = Date.now();
    panel.querySelector('.claude-magic-stop').click();
    const footer = () => panel.querySelector('.claude-magic-exchange:last-child .claude-magic-footer');
    while (!footer()?.textContent.includes('Interrupted')) await new Promise(requestAnimationFrame);
    return at;
}"""
HAS_ENDED = """words => [...document.querySelectorAll('.claude-magic-panel')].every(panel =>
    panel.querySelector('.claude-magic-answer')?.textContent.includes(words) && /tokens\\sin/.test(panel.querySelector('.claude-magic-footer')?.textContent))"""
START_OVER = "window.bench.messages.length = window.bench.longTasks.length = 0"
WATCH_TYPING = """editor => {
    let pressed = [];
    window.typing = [];
    window.addEventListener('keydown', event => pressed.push(event.timeStamp), {capture: true});
    new MutationObserver(() => {
        const seen = pressed;
        pressed = [];
        requestAnimationFrame(() => window.typing.push(...seen.map(at => performance.now() - at)));
    }).observe(editor, {subtree: true, childList: true, characterData: true});
}"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        paper = Path(folder) / "paper.md"
        paper.write_text(write_paper(), encoding="utf-8")
        figures = [
            *_one_panel(Path(folder) / "one", paper),
            *_many_panels(Path(folder) / "many"),
            *_stops(Path(folder) / "stops"),
            *_cell_stops(Path(folder) / "cell"),
        ]
    print_figures(figures)


@contextlib.contextmanager
def _notebook(folder: Path, sources: list[str], *, answer: Path | None) -> Iterator[NotebookPage]:
    """Open a notebook with these cells in a fresh JupyterLab, with the page under measurement.

    If `answer` is None, the simulator streams its own long answer.
    """
    with (
        simulator_process(chunk_delay=DELTA_INTERVAL, answer=answer, deltas=2_000) as url,
        LabServer(folder / "server", {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-ant-bench"}) as lab,
        sync_playwright() as playwright,
    ):
        # The default settings of JupyterLab, not those of the tests.
        lab.write_settings("@jupyterlab/notebook-extension/tracker", {})
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1200, "height": 1000})
        context.add_init_script(WATCH)
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook = NotebookPage(lab, context.new_page(), lab.write_notebook("bench.ipynb", cells))
        notebook.open()
        yield notebook
        notebook.close()
        browser.close()


def _one_panel(folder: Path, paper: Path) -> list[Figure]:
    with _notebook(folder, [MAKE, ASK], answer=paper) as notebook:
        notebook.run_cell(0)
        notebook.page.wait_for_timeout(1_000)
        notebook.page.evaluate(START_OVER)
        notebook.run_cell(1)
        note("streaming into a panel for a minute")
        notebook.page.wait_for_function(HAS_ENDED, arg=LAST_WORDS, timeout=LONGEST, polling=500)
        notebook.page.wait_for_timeout(2_000)
        return _panel_figures(notebook.page.evaluate("window.bench"))


def _panel_figures(noted: dict[str, Any]) -> list[Figure]:
    updates = [message for message in noted["messages"] if message["kind"] in ("comm_msg", "comm_open")]
    frames = [message for message in updates if message["kind"] == "comm_msg"]
    seconds = (float(frames[-1]["sent"]) - float(frames[0]["sent"])) / 1e3
    longest = max((length for _, length in noted["longTasks"]), default=0.0)
    return [
        at_most("Panel: iopub (MB)", sum(m["size"] for m in noted["messages"]) / 1e6, MAX_MEGABYTES),
        at_most("Panel: updates per second", len(frames) / seconds, MAX_FRAMES_PER_SECOND),
        at_most("Panel: longest task (s)", longest / 1e3, MAX_TASK),
        Figure(
            name="Panel: long tasks, total (s)", ours=sum(length for _, length in noted["longTasks"]) / 1e3
        ),
    ]


def _many_panels(folder: Path) -> list[Figure]:
    with _notebook(folder, [MAKE, MAKE_MANY, ASK_MANY, ""], answer=None) as notebook:
        notebook.run_cell(0)
        notebook.run_cell(1)
        editor = notebook.cell(3).locator(".cm-content").first
        notebook.run_cell(2)
        notebook.page.wait_for_timeout(3_000)
        editor.click()
        editor.evaluate(WATCH_TYPING)
        note("typing while ten panels stream")
        editor.press_sequentially(TYPED, delay=150)
        notebook.page.wait_for_timeout(1_000)
        typing = sorted(notebook.page.evaluate("window.typing"))
    return [
        at_most(f"Ten panels: slowest of {len(typing)} typed characters (s)", typing[-1] / 1e3, MAX_TYPING),
        Figure(name="Ten panels: a typed character, median (s)", ours=typing[len(typing) // 2] / 1e3),
    ]


def _stops(folder: Path) -> list[Figure]:
    with _notebook(folder, [MAKE, ASK_TIMED, BUSY, TELL_ENDS], answer=None) as notebook:
        notebook.run_cell(0)
        panel = notebook.page.locator(".claude-magic-panel")
        clicks: list[float] = []
        for kind in ("idle", "busy"):
            note(f"stopping {STOPS} answers, the kernel being {kind}")
            for _ in range(STOPS):
                notebook.run_cell(1)
                if kind == "busy":
                    notebook.start_cell(2)
                notebook.page.wait_for_function(IS_STREAMING)
                clicks.append(panel.evaluate(STOP) / 1e3)
                notebook.wait_until_idle()
        notebook.run_cell(3)
        ends: list[float] = json.loads(notebook.output(3).inner_text())
    took = [end - click for click, end in zip(clicks, ends, strict=True)]
    return [
        at_most(
            f"Panel: click on Stop to stream closed, kernel {kind}, p95 (s)", sorted(each)[-2], MAX_STOPPING
        )
        for kind, each in (("idle", took[:STOPS]), ("busy", took[STOPS:]))
    ]


def _cell_stops(folder: Path) -> list[Figure]:
    with _notebook(folder, [WATCH_ENDS, ASK_IN_CELL, TELL_ENDS], answer=None) as notebook:
        notebook.run_cell(0)
        clicks: list[float] = []
        note(f"stopping {STOPS} answers that stream into a cell")
        for _ in range(STOPS):
            notebook.start_cell(1)
            button = notebook.output(1).locator(CELL_STOP)
            button.wait_for()
            clicks.append(
                button.evaluate("button => { const at = Date.now(); button.click(); return at; }") / 1e3
            )
            button.wait_for(state="detached")
            notebook.wait_until_idle()
        notebook.run_cell(2)
        ends: list[float] = json.loads(notebook.output(2).inner_text())
    took = sorted(end - click for click, end in zip(clicks, ends, strict=True))
    return [at_most("Cell: click on Stop to stream closed, p95 (s)", took[-2], MAX_STOPPING)]


if __name__ == "__main__":
    main()
