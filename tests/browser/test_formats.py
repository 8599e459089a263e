"""Formats, calls and citations in JupyterLab: safety, typesetting and readability."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lab_server import LabServer
from notebook_page import NotebookPage
from playwright.sync_api import expect
from test_rendering import CONTRAST, assert_nothing_ran, saved

from claude_magic.render import render_reply
from claude_magic.runtime import BlockSnapshot, CallSnapshot, ReplySnapshot
from claude_magic.tools import CallState

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "render"))

from hostile import HOSTILE
from snapshots import snapshot

OpenNotebook = Callable[..., NotebookPage]

COVER = '<div style="position:fixed;inset:0;margin:-500px;width:200vw;height:200vh;background:red">x</div>'
TALL = '<div style="height:0"><div style="height:900px;background:#c00">x</div></div>'
SIDEWAYS = '<div style="margin-left:-300px;width:4000px;background:#0c0">x</div>'


def picture(text: str, answer_format: str) -> dict[str, str]:
    """Return the mimebundle of an answer in a format."""
    return render_reply(snapshot(("text", text), format=answer_format)).data


def researched() -> ReplySnapshot:
    """Return a reply with a web search, a function call, and citations of the results."""
    page = {"type": "web_search_result", "url": "https://example.org/a", "title": "Keepers"}
    citation = {
        "type": "web_search_result_location",
        "url": page["url"],
        "title": page["title"],
        "cited_text": "x",
    }
    search = {"id": "s", "name": "web_search", "input": {"query": "lighthouse keepers"}}
    call = CallSnapshot(name="tide_table", arguments={"port": "Brest"}, state=CallState.DONE, result="7.2 m")
    blocks = (
        BlockSnapshot(kind="server_tool_use", text="", is_complete=True, data=search),
        BlockSnapshot(
            kind="web_search_tool_result",
            text="",
            is_complete=True,
            data={"tool_use_id": "s", "content": [page]},
        ),
        BlockSnapshot(kind="tool_use", text="", is_complete=True, call=call),
        BlockSnapshot(kind="text", text="The last left in ", is_complete=True),
        BlockSnapshot(kind="text", text="1989", is_complete=True, data={"citations": [citation]}),
        BlockSnapshot(kind="text", text=".", is_complete=True),
    )
    return replace(snapshot(), blocks=blocks)


@pytest.mark.parametrize("answer_format", ["html", "math"])
def test_a_hostile_answer_in_a_format_runs_nothing(
    lab: LabServer, open_notebook: OpenNotebook, answer_format: str
) -> None:
    """No payload of the corpus has an effect or requests another host."""
    outputs = [{"text/html": picture(f"<p>{payload}</p>", answer_format)["text/html"]} for payload in HOSTILE]
    cells = [saved(*outputs[start : start + 40]) for start in range(0, len(outputs), 40)]
    page = open_notebook(lab.write_notebook(f"hostile-{answer_format}.ipynb", cells, is_trusted=True))

    assert_nothing_ran(page, output_count=len(outputs))
    page.screenshot(f"hostile-{answer_format}", page.cell(0))
    assert page.outside_requests == []


@pytest.mark.parametrize("trick", [COVER, TALL, SIDEWAYS], ids=["cover", "tall", "sideways"])
def test_html_of_a_model_stays_in_its_place(lab: LabServer, open_notebook: OpenNotebook, trick: str) -> None:
    """Whatever its styles are, the next cell does not move and can be clicked."""
    cells = [saved({"text/html": picture(trick, "html")["text/html"]}), saved({"text/plain": "below"})]
    page = open_notebook(lab.write_notebook("place.ipynb", cells, is_trusted=True))
    below = page.output(1)

    expect(below).to_contain_text("below")
    is_on_top = below.evaluate(
        """node => {
            node.scrollIntoView();
            const { left, top } = node.getBoundingClientRect();
            return node.contains(document.elementFromPoint(left + 5, top + 5));
        }"""
    )

    page.screenshot("html-in-its-place", page.cell(0))
    assert is_on_top


def test_math_typesets_formulas_in_plain_prose(lab: LabServer, open_notebook: OpenNotebook) -> None:
    """Amounts of money and asterisks are kept; formulas in all usual delimiters are typeset."""
    text = "It costs *$5* and $6.\n\nBut $x^2$, \\(y\\) and\n\\[ z \\]\n\\begin{align}\na &= b\n\\end{align}"
    page = open_notebook(lab.write_notebook("math.ipynb", [saved(picture(text, "math"))], is_trusted=True))

    expect(page.output(0).locator("mjx-container")).to_have_count(4)
    assert page.output(0).locator("mjx-merror").count() == 0
    expect(page.output(0)).to_contain_text("It costs *$5* and $6.")


def test_json_is_shown_with_its_footer(lab: LabServer, open_notebook: OpenNotebook) -> None:
    """It is highlighted, and not shown as JupyterLab's JSON tree, which would have no footer."""
    page = open_notebook(
        lab.write_notebook("json.ipynb", [saved(picture('{"a": [1, 2]}', "json"))], is_trusted=True)
    )

    expect(page.output(0).locator("pre")).to_contain_text('"a": [')
    expect(page.output(0)).to_contain_text("1,234 tokens in")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_calls_and_sources_are_readable_in_both_themes(
    lab: LabServer, open_notebook: OpenNotebook, theme: str
) -> None:
    """Dimmed lines, their collapsed content, citation numbers and sources have enough contrast."""
    bundle = render_reply(researched()).data
    page = open_notebook(
        lab.write_notebook(f"calls-{theme}.ipynb", [saved(bundle)], is_trusted=True), theme=theme
    )
    output = page.output(0)

    expect(output.locator("summary")).to_have_count(2)
    page.screenshot(f"calls-folded-{theme.lower()}", page.cell(0))
    for summary in output.locator("summary").all():
        summary.click()
    expect(output.locator("details pre").last).to_be_visible()
    page.screenshot(f"calls-{theme.lower()}", page.cell(0))
    contrast = {
        "search": output.locator("summary").first.evaluate(CONTRAST),
        "call": output.locator("summary").last.evaluate(CONTRAST),
        "result": output.locator("details pre").last.evaluate(CONTRAST),
        "page": output.locator("details a").evaluate(CONTRAST),
        "number": output.locator("sup a").evaluate(CONTRAST),
        "source": output.locator("ol a").last.evaluate(CONTRAST),
    }

    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.0} == {}
