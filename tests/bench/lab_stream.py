"""Measures JupyterLab while 100 kB of Markdown with formulas stream in 2,000 deltas, one every 30 ms."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import nbformat
from measure import Figure, at_most, note, print_figures
from playwright.sync_api import Page, TimeoutError, sync_playwright
from simulator_process import simulator_process

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))

from chromium import ARGUMENTS, find_chromium
from lab_server import LabServer
from notebook_page import NotebookPage

DELTA_INTERVAL = 0.03
PAPER_BYTES = 100_000
SECTION = r"""## @. The mean of a sample

The mean $\bar{x}_@$ of a sample is itself a random quantity: another sample would have given another one. How far it strays
from the mean $\mu$ of the population depends on two things only, the spread of the single values and their number. Anyone who
wants to know it twice as well needs four times the data, which is the most expensive sentence of this whole subject.

$$\operatorname{Var}(\bar{x}_@) = \frac{1}{n^2} \sum_{i=1}^{n} \operatorname{Var}(x_i) = \frac{\sigma^2}{n}$$

- The values have to be **independent**; from one patient measured @ times you learn little about the others.
- They need not be normal. For large $n$ the mean is nearly so whatever they are, unless their tails are very heavy.

| size of the sample | standard error | in words |
|---|---:|---|
| 100 | $\sigma / 10$ | a tenth of the spread of a single value |
| 10,000 | 0.01 | a hundredth, for a hundred times the work |

```python
def standard_error(values: list[float]) -> float:
    spread = statistics.stdev(values)
    return spread / math.sqrt(len(values))  # section @
```

"""
CELL = "%%claude\n!simulate long_answer\nAll about sums of powers, please."
LAST_WORDS = "That was the last section."
LONGEST = 240_000
"""Timeout of the whole stream in milliseconds; it takes a little more than 60,000."""

QUIET = 3_000
"""Milliseconds without a change in the output after which it counts as complete."""

MAX_MEGABYTES = 4.5
MAX_FRAMES_PER_SECOND = 15
MAX_SETTLING = 1.0
MAX_LONG_TASKS = 2.5
MAX_OVER_ONCE = 3.0
"""Total of long tasks, divided by that of showing the finished answer once."""

MAX_LONGEST_OVER_ONCE = 1.5
LONG_TASK = 0.05
"""Seconds; the browser does not report shorter tasks."""

ONE_FRAME = 20.0
"""Milliseconds within which messages belong to one frame, such as a finished block and the tail after it."""

SHOW_AGAIN = "from IPython.display import display\nfrom claude_magic import claude\ndisplay(claude.last)"

# The page itself records the events; otherwise the latency of Playwright would be included.
WATCH = """
window.bench = {messages: [], longTasks: [], lastChange: 0};
new PerformanceObserver(list => window.bench.longTasks.push(...list.getEntries().map(task => [task.startTime, task.duration])))
    .observe({type: 'longtask'});
window.WebSocket = class extends WebSocket {
    constructor(...args) {
        super(...args);
        if (String(args[0]).includes('/channels')) this.addEventListener('message', ({data}) => {
            const isText = typeof data === 'string';
            const size = isText ? data.length : data.byteLength;
            const text = isText ? data : new TextDecoder().decode(new Uint8Array(data, 0, Math.min(size, 4096)));
            const kind = /"msg_type": ?"(\\w+)"/.exec(text)?.[1] ?? '';
            const state = /"execution_state": ?"(\\w+)"/.exec(text)?.[1] ?? '';
            const sent = Date.parse(/"date": ?"([^"]+)"/.exec(text)?.[1]);
            window.bench.messages.push({at: Date.now(), sent, size, kind, state});
        });
    }
};
"""
WATCH_CELL = """cell => {
    window.bench.messages.length = window.bench.longTasks.length = 0;
    new MutationObserver(changes => {
        if (changes.some(({target}) => (target.closest ?? (() => null)).call(target, '.jp-Cell-outputArea')))
            window.bench.lastChange = Date.now();
    }).observe(cell, {subtree: true, childList: true, characterData: true, attributes: true});
}"""
IS_COMPLETE = """([index, words, quiet]) => {
    const {messages, lastChange} = window.bench;
    const isIdle = messages.findLast(message => message.state)?.state === 'idle';
    const output = document.querySelectorAll('.jp-Cell')[index].querySelector('.jp-Cell-outputArea');
    return isIdle && output.textContent.includes(words) && Date.now() - lastChange > quiet
        && Date.now() - messages.findLast(message => message.state).at > quiet;
}"""


@dataclass(frozen=True, slots=True)
class Watched:
    """The events that a page recorded. Times are in milliseconds of the wall clock, which kernel and page share.

    Attributes:
        messages: Messages with `sent` (creation in the kernel), `at` (arrival, later if the page is busy), `size`, `kind` and `state`.
        long_tasks: Start and duration of each long task.
        last_change: Time of the last change in the output.
        formulas: Number of typeset formulas in the final output.
    """

    messages: list[dict[str, float | str]]
    long_tasks: list[tuple[float, float]]
    last_change: float
    formulas: int

    def figures(self, once: Watched) -> list[Figure]:
        """Return the figures, those of the browser also relative to showing the finished answer once."""
        kinds = ("display_data", "update_display_data", "comm_msg", "comm_open")
        times = [float(m["sent"]) for m in self.messages if m["kind"] in kinds]
        frames = 1 + sum(later - earlier > ONE_FRAME for earlier, later in pairwise(times))
        idle_at = max(float(m["sent"]) for m in self.messages if m["state"] == "idle")
        return [
            at_most("iopub (MB)", sum(float(m["size"]) for m in self.messages) / 1e6, MAX_MEGABYTES),
            at_most("frames per second", frames / ((times[-1] - times[0]) / 1e3), MAX_FRAMES_PER_SECOND),
            at_most(
                "complete after the kernel is idle (s)",
                max(0.0, self.last_change - idle_at) / 1e3,
                MAX_SETTLING,
            ),
            at_most("long tasks, total (s)", self.in_long_tasks, MAX_LONG_TASKS),
            Figure(name="long tasks of showing it once, total (s)", ours=once.in_long_tasks),
            at_most(
                "long tasks, total / showing it once", self.in_long_tasks / once.in_long_tasks, MAX_OVER_ONCE
            ),
            Figure(name="longest task (s)", ours=self.longest_task),
            Figure(name="longest task of showing it once (s)", ours=once.longest_task),
            at_most(
                "longest task / showing it once", self.longest_task / once.longest_task, MAX_LONGEST_OVER_ONCE
            ),
            Figure(name="formulas in the final output", ours=self.formulas),
        ]

    @property
    def in_long_tasks(self) -> float:
        """Total seconds of tasks longer than 50 ms; 0.05 if there are none."""
        return max(LONG_TASK, sum(length for _, length in self.long_tasks) / 1e3)

    @property
    def longest_task(self) -> float:
        """Seconds of the longest task; 0.05 if there is no long task."""
        return max([LONG_TASK, *(length / 1e3 for _, length in self.long_tasks)])


def main() -> None:
    """Measure both answers and print."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        paper = Path(folder) / "paper.md"
        paper.write_text(write_paper(), encoding="utf-8")
        for name, answer in (("a paper", paper), ("all formulas", None)):
            watched, once = _stream(Path(folder) / name.replace(" ", "-"), answer)
            named = [replace(figure, name=f"Lab, {name}: {figure.name}") for figure in watched.figures(once)]
            # The worst case has targets only relative to showing it once, because the browser needs its time to typeset 1,536 formulas.
            figures += [
                each if answer or "/ showing it once" in each.name else replace(each, target="", reached=None)
                for each in named
            ]
    print_figures(figures)


def write_paper() -> str:
    """Return 100 kB in the style of a model that writes about statistics: mostly prose, a formula every 250 characters."""
    parts = ["# A long paper\n\n"]
    while sum(map(len, parts)) < PAPER_BYTES:
        parts.append(SECTION.replace("@", str(len(parts))))
    return "".join(parts) + LAST_WORDS


def _stream(folder: Path, answer: Path | None) -> tuple[Watched, Watched]:
    """Stream one answer into a fresh JupyterLab, then show it again in another cell.

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
        cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext claude_magic", CELL, SHOW_AGAIN)]
        notebook = NotebookPage(lab, context.new_page(), lab.write_notebook("bench.ipynb", cells))
        notebook.open()
        notebook.run_cell(0)
        watched = _watch(notebook, 1)
        once = _watch(notebook, 2)
        notebook.close()
        browser.close()
    return watched, once


def _watch(notebook: NotebookPage, index: int) -> Watched:
    page: Page = notebook.page
    notebook.cell(index).evaluate(WATCH_CELL)
    notebook.start_cell(index)
    note("streaming for a minute" if index == 1 else "showing the finished answer once")
    try:
        page.wait_for_function(IS_COMPLETE, arg=[index, LAST_WORDS, QUIET], timeout=LONGEST, polling=500)
    except TimeoutError:
        states = page.evaluate("window.bench.messages.filter(m => m.state).map(m => m.state)")
        note(
            f"never complete; kernel: {states}; the output ends: {notebook.output(index).inner_text()[-600:]!r}"
        )
        raise
    noted = page.evaluate("window.bench")
    formulas = notebook.output(index).locator("mjx-container").count()
    return Watched(noted["messages"], noted["longTasks"], noted["lastChange"], formulas)


if __name__ == "__main__":
    main()
