"""Measures the cost of typing into a prompt of 10,000 lines, in JupyterLab with and without the front-end extension."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from measure import Figure, note, print_figures, ratio_at_most
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))

from chromium import ARGUMENTS, find_chromium
from lab_server import LabServer
from notebook_page import NotebookPage

OURS, ALONE = "ours", "Lab without the extension"
LINES = 10_000
ROUNDS = 15
TYPED = "the quick brown fox "
BETWEEN = 40
"""Milliseconds between two characters, so that each has a frame of its own."""

MAX_RATIO = 1.1

# Typical prompt text: apostrophes that start a string in Python, words that are Python keywords, Markdown, values.
SECTION = (
    "## What isn't known",
    "The mean of a sample is itself a random quantity: another sample would've given another one,",
    "and how far it strays depends on {{ spread }} and not on much else (if the values are independent,",
    "- which is not a matter of course, and",
    "- which nobody's test can prove).",
    "",
    "```python",
    "def standard_error(values):",
    "    return spread / math.sqrt(len(values))",
    "```",
)
DRAWN = "async () => { for (let turn = 0; turn < 3; turn++) await new Promise(requestAnimationFrame); }"


class Typist:
    """A typist that types into the middle of a long cell and reads the CPU time of the page from the browser."""

    def __init__(self, notebook: NotebookPage) -> None:
        self._page = notebook.page
        self._session = notebook.page.context.new_cdp_session(notebook.page)
        # CPU time of the page's main thread, which excludes other load on the machine.
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        notebook.cell(0).locator(".cm-content").first.click()
        self._page.keyboard.press("Control+Home")
        for _ in range(5):
            self._page.keyboard.press("PageDown")
        self._page.keyboard.press("End")

    def cost(self, text: str) -> float:
        """Type a text, letter by letter, and return the CPU time per letter in milliseconds."""
        before = self._computed()
        self._page.keyboard.type(text, delay=BETWEEN)
        self._page.evaluate(DRAWN)
        return (self._computed() - before) / len(text)

    def _computed(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return 1e3 * next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")


def main() -> None:
    """Measure both in turn and print."""
    costs: dict[str, list[float]] = {OURS: [], ALONE: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        contextlib.ExitStack() as stack,
    ):
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        typists = {
            name: stack.enter_context(_typist(browser, Path(folder) / name, has_labextension=name == OURS))
            for name in costs
        }
        note(f"typing into a prompt of {LINES:,} lines, {ROUNDS} times {len(TYPED)} letters in each Lab")
        for number in range(-2, ROUNDS):
            for name in costs if number % 2 else reversed(costs):
                cost = typists[name].cost(TYPED)
                if number >= 0:
                    costs[name].append(cost)
        browser.close()
    print_figures(_figures(costs))


def _figures(costs: dict[str, list[float]]) -> list[Figure]:
    ours, peer = (statistics.median(costs[name]) for name in (OURS, ALONE))
    name = f"Lab, a prompt of {LINES:,} lines: CPU per typed character (ms)"
    return [ratio_at_most(name, ours, peer, MAX_RATIO, peer_name=ALONE)]


@contextlib.contextmanager
def _typist(browser: Browser, folder: Path, *, has_labextension: bool) -> Iterator[Typist]:
    with LabServer(folder, has_labextension=has_labextension) as lab:
        # The default settings of JupyterLab, not those of the tests.
        lab.write_settings("@jupyterlab/notebook-extension/tracker", {})
        prompt = "\n".join(("%%claude -m opus", *(SECTION * (LINES // len(SECTION)))))
        path = lab.write_notebook("bench.ipynb", [nbformat.v4.new_code_cell(prompt)])
        context = browser.new_context(viewport={"width": 1200, "height": 1000})
        notebook = NotebookPage(lab, context.new_page(), path)
        notebook.open()
        if has_labextension != bool(notebook.cell(0).locator(".claude-line").count()):
            raise RuntimeError("The extension is missing where it is expected, or present where it is not.")
        yield Typist(notebook)
        notebook.close()
        context.close()


if __name__ == "__main__":
    main()
