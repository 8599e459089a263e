"""Rendered answers in JupyterLab: typesetting, readability in all themes, and safety."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab_server import LabServer
from notebook_page import NotebookPage
from playwright.sync_api import expect

from claude_magic.render import neutralise_markdown, render_reply
from claude_magic.render._frame import GrowingMarkdown
from claude_magic.render._markdown import render_markdown

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "render"))

from hostile import HOSTILE
from snapshots import snapshot

OpenNotebook = Callable[..., NotebookPage]

ANSWER = r"""# Means

It costs $5 and then $10; between $3 (low) and $4 (high). See [the source](https://example.org).

Let $X_1, \dots, X_n$ have mean \(\mu\). Then

$$
\sqrt{n}\,(\bar X_n - \mu) \to \mathcal N(0, \sigma^2) \label{clt}
$$

\begin{align}
a &= b + c \\
  &= d
\end{align}

$$\begin{align} x &= 1 \\ y &= 2 \end{align}$$

| name | value |
|:-----|------:|
| mean | $\mu$ |

```python
def mean(values: list[float]) -> float:
    return sum(values) / len(values)  # of floats
```

> Quoted, with `code`.

1. one
2. two
"""
FORMULAS = 6

SHOW = """
import json
from IPython.display import display
for data in json.load(open({name!r})):
    display(data, raw=True)
"""

# Contrast of text against the first painted background behind it, by the formula of WCAG 2.
CONTRAST = """node => {
    const luminance = ([r, g, b]) => [r, g, b]
        .map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    let behind = node;
    while (behind && (c => c.length === 4 && c[3] === 0)(numbers(getComputedStyle(behind).backgroundColor)))
        behind = behind.parentElement;
    const [a, b] = [getComputedStyle(node).color, getComputedStyle(behind ?? document.body).backgroundColor]
        .map(numbers).map(luminance).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""


def shown(lab: LabServer, name: str, *outputs: dict[str, str]) -> nbformat.NotebookNode:
    """Return a cell that displays these mimebundles when it runs."""
    (lab.root / f"{name}.json").write_text(json.dumps(outputs))
    return nbformat.v4.new_code_cell(SHOW.format(name=f"{name}.json"))


def saved(*outputs: dict[str, Any]) -> nbformat.NotebookNode:
    """Return a cell with saved outputs."""
    cell = nbformat.v4.new_code_cell("'from the file'")
    cell.outputs = [nbformat.v4.new_output("display_data", data=data) for data in outputs]
    return cell


def test_a_hostile_answer_runs_nothing_now_or_on_reopening_and_asks_no_other_host(
    lab: LabServer, open_notebook: OpenNotebook
) -> None:
    """No payload of the corpus has an effect as HTML or Markdown: new, clicked, or loaded from the file."""
    outputs = [{"text/html": render_markdown(payload)} for payload in HOSTILE]
    outputs += [{"text/markdown": neutralise_markdown(payload)} for payload in HOSTILE]
    chunks = [outputs[start : start + 40] for start in range(0, len(outputs), 40)]  # Lab shows 50 in a cell
    cells = [shown(lab, f"hostile-{number}", *chunk) for number, chunk in enumerate(chunks)]
    page = open_notebook(lab.write_notebook("hostile.ipynb", cells))

    page.run_all()
    assert_nothing_ran(page, output_count=len(outputs))
    page.screenshot("hostile-corpus", page.cell(0))
    page.saved()
    page.open()

    assert_nothing_ran(page, output_count=len(outputs))
    assert page.outside_requests == []


def test_the_corpus_would_be_noticed(lab: LabServer, open_notebook: OpenNotebook) -> None:
    """The control: without sanitising, the same payloads run and request other hosts, and the test above would
    detect it."""
    control = ['<img src=x onerror="window.pwned=1">', '<img src="https://evil.example/beacon.png">']
    cell = shown(lab, "control", *[{"text/html": payload} for payload in control])
    page = open_notebook(lab.write_notebook("control.ipynb", [cell]))

    page.run_cell(0)
    page.wait_for("() => window.pwned === 1")

    assert any("evil.example" in address for address in page.outside_requests)


def assert_nothing_ran(page: NotebookPage, *, output_count: int) -> None:
    """Click on everything that could be a trap, then check that nothing has run."""
    expect(page.page.locator(".jp-OutputArea-output")).to_have_count(output_count)
    traps = page.page.evaluate(
        """() => [...document.querySelectorAll(".jp-OutputArea-output a")].filter(link => {
            const address = link.getAttribute("href") ?? link.getAttribute("xlink:href") ?? "";
            if (link.protocol === "http:" || link.protocol === "https:" || link.protocol === "mailto:") return false;
            link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
            return address !== "";
        }).map(link => link.outerHTML)"""
    )
    assert traps == []
    live = (
        ".jp-OutputArea-output :is(script, iframe, object, embed, form, style, svg script, link, base, meta)"
    )
    assert page.page.locator(live).count() == 0
    assert page.page.evaluate("window.pwned") is None


@pytest.mark.parametrize("origin", ["fresh", "from a trusted file", "from a file that is not trusted"])
def test_formulas_are_typeset_and_dollars_stay_dollars(
    lab: LabServer, open_notebook: OpenNotebook, origin: str
) -> None:
    """All formulas of the answer are typeset without errors, and no amount of money is treated as one."""
    bundle = render_reply(snapshot(("text", ANSWER))).data
    is_fresh = origin == "fresh"
    name = origin.replace(" ", "-")
    cell = shown(lab, name, bundle) if is_fresh else saved(bundle)
    path = lab.write_notebook(f"{name}.ipynb", [cell], is_trusted="a trusted" in origin)
    page = open_notebook(path)

    if is_fresh:
        page.run_cell(0)

    expect(page.output(0).locator("mjx-container")).to_have_count(FORMULAS)
    page.screenshot(f"formulas-{name}", page.cell(0))
    assert page.output(0).locator("mjx-merror").count() == 0
    expect(page.output(0)).to_contain_text("It costs $5 and then $10; between $3 (low) and $4 (high).")


# Punctuation that directly follows a formula, but is on another line.
PARTED = """output => [...output.querySelectorAll('mjx-container')].filter(formula => {
    const texts = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    texts.currentNode = formula;
    let text = texts.nextNode();
    while (text && formula.contains(text))
        text = texts.nextNode();
    const range = document.createRange();
    range.setStart(text, 0);
    range.setEnd(text, 1);
    return range.getBoundingClientRect().top > formula.getBoundingClientRect().bottom;
}).length"""


def test_no_line_begins_with_the_comma_behind_a_formula(lab: LabServer, open_notebook: OpenNotebook) -> None:
    """At any page width. A long formula does not make its column wider."""
    text = " ".join(f"and {'o' * (number % 9)} $x_{{{number}}}$, ($y$)." for number in range(60))
    page = open_notebook(
        lab.write_notebook("commas.ipynb", [saved({"text/html": render_markdown(text)})], is_trusted=True)
    )
    output = page.output(0)

    expect(output.locator("mjx-container")).to_have_count(120)
    for width in range(300, 700, 7):
        output.evaluate("(node, width) => node.style.width = `${width}px`", width)
        assert output.evaluate(PARTED) == 0
        assert output.evaluate("node => node.scrollWidth <= node.clientWidth + 1")


def test_drawing_an_answer_again_brings_no_duplicate_labels(
    lab: LabServer, open_notebook: OpenNotebook
) -> None:
    """Labels are page-wide in MathJax, but the same answer in two cells is typeset in both."""
    bundle = {"text/html": render_markdown(ANSWER)}
    page = open_notebook(lab.write_notebook("twice.ipynb", [saved(bundle), saved(bundle)], is_trusted=True))

    expect(page.output(1).locator("mjx-container")).to_have_count(FORMULAS)
    assert page.page.locator("mjx-merror").count() == 0


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_an_answer_is_readable_in_both_themes(
    lab: LabServer, open_notebook: OpenNotebook, theme: str
) -> None:
    """Text, highlighted code and the dimmed footer have enough contrast."""
    reply = snapshot(("thinking", "Hm, means."), ("text", ANSWER), is_simulated=True)
    path = lab.write_notebook(f"{theme}.ipynb", [saved(render_reply(reply).data)], is_trusted=True)
    page = open_notebook(path, theme=theme)
    output = page.output(0)

    expect(output.locator("mjx-container")).to_have_count(FORMULAS)
    page.screenshot(f"rendering-{theme.lower()}", page.cell(0))
    colours = output.locator("pre span").evaluate_all(
        "spans => spans.map(span => getComputedStyle(span).color)"
    )
    contrast = {
        "paragraph": output.locator("p").first.evaluate(CONTRAST),
        "code": output.locator("pre code").first.evaluate(CONTRAST),
        "keyword": output.locator("pre span", has_text="def").first.evaluate(CONTRAST),
        "footer": output.locator("div", has_text="tokens in").last.evaluate(CONTRAST),
        "fold": output.locator("summary").evaluate(CONTRAST),
    }

    assert len(set(colours)) >= 4
    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.0} == {}


def test_growing_blocks_stand_as_the_whole_does(lab: LabServer, open_notebook: OpenNotebook) -> None:
    """The change from the blocks of a streaming answer to its final output changes the height only slightly."""
    text = "\n".join([ANSWER.replace("clt", f"clt{number}") for number in range(6)])
    growing = GrowingMarkdown()
    for length in range(0, len(text), 40):
        growing.update(text[:length])
    plan = growing.update(text, is_final=True)
    pieces = [{"text/html": block.html} for block in plan.blocks]
    cells = [saved(*pieces), saved({"text/html": render_markdown(text)})]
    page = open_notebook(lab.write_notebook("growing.ipynb", cells, is_trusted=True))

    expect(page.output(1).locator("mjx-container")).to_have_count(6 * FORMULAS)
    expect(page.output(0).locator("mjx-container")).to_have_count(6 * FORMULAS)
    heights = [page.output(index).evaluate("node => node.scrollHeight") for index in (0, 1)]

    assert len(pieces) > 3
    assert abs(heights[0] - heights[1]) <= 0.02 * heights[1]
