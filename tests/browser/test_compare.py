"""Comparisons in JupyterLab, on wide and narrow pages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from endless import wait_until
from lab_server import NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import expect

from claude_magic.simulator import Gate, Simulator, hold, reply, status

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "render"))

from hostile import HOSTILE

SHORT = """## In short

The sum of many small, independent things is nearly **normal**, whatever each of them looks like: $S_n \\approx N(n\\mu, n\\sigma^2)$.

| draws | spread of the mean |
|---:|---:|
| 100 | 10 % |
| 10,000 | 1 % |
"""
LONG = """# The mean of a sample

The mean $\\bar{x}$ of a sample is itself a random quantity: another sample would have given another one.

$$\\operatorname{Var}(\\bar{x}) = \\frac{\\sigma^2}{n}$$

```python
def standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))  # a line that is longer than a narrow column is wide
```

- The values have to be independent.
- They need not be normal.

That was the last line.
"""
CELL = "%%claude --compare sonnet,opus -o both\nExplain the central limit theorem."
FOREIGN = ":is(script, iframe, object, embed, form, link, base, meta, video, audio, img)"
OpenNotebook = Callable[..., NotebookPage]


@pytest.fixture
def notebook(open_notebook: OpenNotebook, folder: NotebookFolder) -> Callable[..., NotebookPage]:
    """Return a function that opens a notebook with the extension loaded and a comparison in its second cell."""

    def open_with(name: str, **looks: Any) -> NotebookPage:
        cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext claude_magic", CELL)]
        page = open_notebook(folder.write_notebook(f"{name}.ipynb", cells), **looks)
        page.run_cell(0)
        return page

    return open_with


def answer_with(sim: Simulator, *, sonnet: Any, opus: Any) -> None:
    def behave(post: Any) -> Any:
        return (sonnet if "sonnet" in post.request.body["model"] else opus)(post)

    sim.script(behave, behave)


PLACES = """output => ["sonnet", "opus"].map(name => {
    const words = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
        const place = document.createRange();
        place.selectNode(words.currentNode);
        if (words.currentNode.textContent.includes(`claude-${name}-5-5`) && place.getClientRects().length)
            return place.getBoundingClientRect().toJSON();
    }
})"""


def places(page: NotebookPage) -> list[dict[str, float]]:
    """The positions of the columns' headings at one moment."""
    places: list[dict[str, float]] = page.output(1).evaluate(PLACES)
    return places


@pytest.mark.parametrize(
    ("width", "theme", "is_side_branch"), [(1600, "Light", True), (1300, "Dark", True), (600, "Light", False)]
)
def test_answers_grow_side_by_side_where_there_is_room(
    notebook: Callable[..., NotebookPage], sim: Simulator, width: int, theme: str, is_side_branch: bool
) -> None:
    """The final output has the same layout, without a widget, and is not wider than the page.

    All answers begin at the same height, even if the facts above one of them take two lines.
    """
    gate = Gate()
    answer_with(sim, sonnet=hold(gate, after_deltas=60, text=LONG), opus=reply(SHORT))
    page = notebook(f"compare-{theme}-{width}", width=width, theme=theme)

    page.start_cell(1)
    expect(page.output(1)).to_contain_text("10,000")
    expect(page.output(1)).to_contain_text("random quantity")
    expect(page.output(1).locator(".claude-magic-live")).to_contain_text("tokens in")
    growing = places(page)
    bodies = page.output(1).locator(".claude-magic-live-answer")
    tops = bodies.evaluate_all("all => all.map(each => each.getBoundingClientRect().top)")
    page.screenshot(f"compare-{theme.lower()}-{width}-growing", page.cell(1))
    assert "That was the last line" not in page.output(1).inner_text()
    gate.open()
    page.wait_for_cell(1)
    expect(page.output(1)).to_contain_text("That was the last line")
    expect(page.output(1).locator(".claude-magic-live")).to_have_count(0)
    page.screenshot(f"compare-{theme.lower()}-{width}", page.cell(1))

    for one, other in (growing, places(page)):
        assert (abs(one["y"] - other["y"]) < 2) is is_side_branch
        assert (other["x"] - one["x"] > 100) is is_side_branch
    assert (abs(tops[0] - tops[1]) < 2) is is_side_branch
    overflow = page.output(1).evaluate("node => node.scrollWidth - node.clientWidth")
    assert overflow <= 1
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}


def test_one_that_fails_leaves_the_other_standing(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """The column of the failed answer shows the reason. Below both columns there is one short error."""
    answer_with(sim, sonnet=reply(LONG), opus=status(400, message="No theorems today."))
    page = notebook("compare-failed")

    page.run_cell(1)

    expect(page.output(1)).to_contain_text("ComparisonError")
    expect(page.output(1)).to_contain_text("That was the last line")
    expect(page.output(1).get_by_text("No theorems today.").first).to_be_visible()
    page.screenshot("compare-failed", page.cell(1))
    assert [output.output_type for output in page.saved().cells[1].outputs] == ["display_data", "error"]


def test_stop_stops_them_all(notebook: Callable[..., NotebookPage], sim: Simulator) -> None:
    """There is one button, which acts on pointerdown because the answers may move it away before the release.

    Both partial answers are kept.
    """
    answer_with(
        sim,
        sonnet=hold(Gate(), after_deltas=40, text=LONG),
        opus=hold(Gate(), after_deltas=20, text=SHORT),
    )
    page = notebook("compare-stopped")

    page.start_cell(1)
    page.press(page.output(1).get_by_role("button", name="Stop"))
    page.wait_for_cell(1)
    page.page.mouse.up()

    expect(page.output(1).get_by_text("Interrupted")).to_have_count(2)
    expect(page.output(1)).to_contain_text("KeyboardInterrupt")
    page.screenshot("compare-stopped", page.cell(1))
    wait_until(lambda: all(seen.client_gone for seen in sim.requests[-2:]))


def test_a_hostile_answer_stays_in_its_column_and_runs_nothing(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """In the widget while it grows, in the final output, and in the reopened notebook."""
    gate = Gate()
    attack = "\n\n".join(["</div></div></div>", *HOSTILE[::3]])
    answer_with(sim, sonnet=reply(attack), opus=hold(gate, after_deltas=20, text=SHORT))
    page = notebook("compare-hostile")

    page.start_cell(1)
    expect(page.output(1)).to_contain_text("tokens in")
    while_growing = page.output(1).locator(f".claude-magic-live {FOREIGN}").count()
    gate.open()
    page.wait_for_cell(1)
    expect(page.output(1)).to_contain_text("10,000")
    one, other = places(page)
    page.saved()
    has_run = page.page.evaluate("Boolean(window.pwned)")
    page.open()
    page.page.locator(".jp-OutputArea-output").first.wait_for()

    assert while_growing == 0
    assert abs(one["y"] - other["y"]) < 2
    assert not has_run
    assert not page.page.evaluate("Boolean(window.pwned)")
    assert page.page.locator(f".jp-OutputArea-output {FOREIGN}").count() == 0
    assert page.outside_requests == []


WIDE_TABLE = """| Method | Assumptions | Sample size | Interpretation | Software |
|---|---|---|---|---|
| t-test | normality | 12,345.6789 | differences of means | statsmodels |
"""
BROKEN_WORDS = """output => {
    const broken = [], texts = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode;
        if (!text.parentElement.closest("td, th")) continue;
        for (const {index, 0: word} of text.textContent.matchAll(/\\S+/g)) {
            const place = document.createRange();
            place.setStart(text, index);
            place.setEnd(text, index + word.length);
            if (new Set([...place.getClientRects()].map(rect => rect.top)).size > 1) broken.push(word);
        }
    }
    return broken;
}"""


@pytest.mark.parametrize("width", [600, 1200])
def test_a_wide_table_scrolls_in_its_column_and_breaks_no_word(
    notebook: Callable[..., NotebookPage], sim: Simulator, width: int
) -> None:
    page = notebook(f"compare-table-{width}", width=width)
    answer_with(sim, sonnet=reply(WIDE_TABLE), opus=reply(WIDE_TABLE))
    page.run_cell(1)
    expect(page.output(1).locator("table")).to_have_count(2)
    page.screenshot(f"compare-table-{width}")

    assert page.output(1).evaluate(BROKEN_WORDS) == []
