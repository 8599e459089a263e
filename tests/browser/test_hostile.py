"""The whole hostile corpus as answers of a server in cells and panels: new, reopened without a kernel, and exported.

`test_rendering.py` uses the same payloads with only the renderer. If the kernel is alive at the end, a control
follows: output of the user's own code does run and does request another host, which proves that a harmful answer would
have been noticed.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
import pytest
from lab_server import NotebookFolder
from nbconvert import HTMLExporter
from notebook_page import NotebookPage, wait_until_still
from playwright.sync_api import Browser, Page, expect

from claude_magic.render._markdown import render_markdown
from claude_magic.simulator import Simulator, reply, status

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "render"))

from hostile import HOSTILE, TEX

AT_ONCE = 40  # JupyterLab shows fewer than 50 outputs of a cell
LONGEST = 2_000  # what panels show of a question

LOAD = "import json\nfrom claude_magic import PromptPanel, claude\npayloads = json.load(open('hostile.json'))"
IN_CELL = "for payload in payloads[{chunk}]:\n    display(claude.ask(payload))"
IN_PANEL = "panel = PromptPanel()\ndisplay(panel)\nfor payload in payloads[{chunk}]:\n    panel.ask(payload).result()"

TRANSCRIPT = ".claude-magic-transcript"
"""An answer in the transcript of a panel, which is hidden while the panel is alive."""

# All clickable elements, except the package's own controls, which are inside widgets and in `nav`.
CLICK_ALL = """area => [...document.querySelectorAll(`${area} :is(a, summary, details, td, p, pre, div)`)].forEach(each => {
    if (each.closest("button, .jupyter-button") || ["http:", "https:", "mailto:"].includes(each.protocol)) return;
    each.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    each.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
})"""
ACTING_HTML = '<img src="https://evil.example/control.png" onerror="window.pwned=1">'
CONTROL = f"from IPython.display import HTML\ndisplay(HTML({ACTING_HTML!r}))"
IN_FORMAT = (
    "for _ in payloads[{chunk}]:\n    get_ipython().run_cell_magic('claude', '--no-history -f {format}', 'x')"
)
NOT_LIVE = "%load_ext claude_magic\n%config ClaudeMagics.live = False"
ALL = "\n\n".join(HOSTILE)
COVER = r"\rlap{\kern-9em\colorbox{yellow}{" + "Claude wants to run nothing. " * 9 + "}}"
COVERS = "\n\n".join(["Hello.", rf"$\smash{{\raise3em{{{COVER}}}}}$", rf"$\smash{{\lower3em{{{COVER}}}}}$"])
# Whether part of an answer covers anything else, by more than the rounding of a pixel.
IS_COVERED = """answer => {
    const box = document.querySelector(".jp-Notebook").getBoundingClientRect();
    for (let y = box.top + 5; y < box.bottom; y += 5)
        for (let x = box.left + 5; x < box.right; x += 20) {
            const inside = [...document.querySelectorAll(answer)].map(each => each.getBoundingClientRect())
                .some(own => own.left - 1 < x && x < own.right + 1 && own.top - 1 < y && y < own.bottom + 1);
            if (!inside && document.elementFromPoint(x, y)?.closest(`${answer} mjx-container`)) return [x, y];
        }
}"""
FOREIGN = ":is(script, iframe, object, embed, form, svg script, link, base, meta, video, audio, img)"


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """A rate limit that delays no request."""
    return {"CLAUDE_MAGIC_RATE_LIMIT_RPS": "1000"}


@functools.cache
def rendered(markdown: str) -> str:
    """Return the HTML of an answer without its outer element."""
    around, _, after = render_markdown("x").partition("<p>x</p>")
    return render_markdown(markdown).removeprefix(around).removesuffix(after).strip()


@functools.cache
def answers() -> list[list[str]]:
    """Return the corpus as a few answers.

    Payloads share an answer only if each is rendered there as it is alone, so that none hides another.
    """
    shared: list[list[str]] = [[]]
    for payload in HOSTILE:
        together = [*shared[-1], payload]
        whole = rendered("\n\n".join(together))
        if len("\n\n".join(together)) > LONGEST or any(rendered(each) not in whole for each in together):
            together = [payload]
            shared.append(together)
        shared[-1] = together
    assert sum(map(len, shared)) == len(HOSTILE)
    return [each for each in shared if each]


def show_corpus(
    open_notebook: Callable[..., NotebookPage],
    folder: NotebookFolder,
    sim: Simulator,
    name: str,
    code: str,
    *,
    before: str = "",
    payloads: Sequence[Sequence[str]],
) -> NotebookPage:
    """Run a notebook whose cells show the corpus as answers that arrive in pieces, followed by the control."""
    sim.clear()
    for together in payloads:
        pieces = [part for payload in together for part in (payload[:9], payload[9:] + "\n\n")]
        sim.script(reply(chunks=pieces))
    prompts = ["\n\n".join(together) for together in payloads]
    chunks = [prompts[start : start + AT_ONCE] for start in range(0, len(prompts), AT_ONCE)]
    (folder.root / "hostile.json").write_text(json.dumps(chunks))
    sources = [*filter(None, [LOAD, before]), *(code.format(chunk=chunk) for chunk in range(len(chunks)))]
    cells = [new_cell(source) for source in sources]
    page = open_notebook(folder.write_notebook(f"{name}.ipynb", [*cells, new_cell(CONTROL)]))
    for cell in range(len(cells)):
        page.run_cell(cell)
    return page


def new_cell(source: str) -> nbformat.NotebookNode:
    """Return a code cell."""
    return nbformat.v4.new_code_cell(source)


def assert_harmless(page: Page, area: str) -> None:
    """Click on everything in the answers, then check that nothing has run and nothing unsafe is on the page."""
    page.evaluate(CLICK_ALL, area)
    wait_until_still(page)

    assert page.evaluate("window.pwned") is None
    assert page.locator(f"{area} {FOREIGN}").evaluate_all("nodes => nodes.map(node => node.outerHTML)") == []
    assert page.locator(f"{area} a[href]").evaluate_all(
        "links => links.map(a => a.protocol).filter(p => !['http:', 'https:', 'mailto:'].includes(p))"
    ) == []  # fmt: skip


def assert_noticed(page: NotebookPage) -> None:
    """Run the control, which stands in the last cell. Nothing else has run, so that the page can show the next notebook."""
    assert page.outside_requests == []
    assert page.page.evaluate("window.pwned") is None
    page.start_cell(page.page.locator(".jp-Notebook .jp-Cell").count() - 1)

    page.wait_for("() => window.pwned === 1")
    assert page.outside_requests == ["https://evil.example/control.png"]
    page.page.evaluate("delete window.pwned")


def around_an_answer() -> list[dict[str, object]]:
    """Return blocks that are hostile in places other than the text of an answer."""
    pages = [
        {"type": "web_search_result", "url": f"https://ok.example/{n}?{payload}", "title": payload, "encrypted_content": "x", "page_age": payload}
        for n, payload in enumerate([*HOSTILE, *TEX])
    ]  # fmt: skip
    cited = [
        {"type": "web_search_result_location", "url": page["url"], "title": page["title"], "cited_text": page["title"], "encrypted_index": "x"}
        for page in pages
    ]  # fmt: skip
    other = [*pages, {"url": TEX[0], "title": TEX[0]}]
    return [
        {"type": "thinking", "thinking": ALL, "signature": "x"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": TEX[0]}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": pages},
        {"type": "server_tool_use", "id": "srvtoolu_2", "name": TEX[0], "input": {payload: payload for payload in HOSTILE}},
        {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content": other},
        {"type": TEX[0], "text": ALL},
        {"type": "text", "text": "All of that is cited.", "citations": cited},
    ]  # fmt: skip


def assert_harmless_when_exported(browser: Browser, path: Path, *, answers: int) -> None:
    """Check the page that nbconvert creates from the notebook."""
    html, _ = HTMLExporter().from_filename(str(path))
    exported = path.with_suffix(".html")
    exported.write_text(html, encoding="utf-8")
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(exported.as_uri())

    expect(page.locator(".jp-OutputArea-output").filter(has_text="claude-sonnet")).to_have_count(answers)
    page.evaluate(CLICK_ALL, ".jp-OutputArea-output")
    wait_until_still(page)
    assert page.evaluate("window.pwned") is None
    assert [address for address in asked if "evil.example" in address] == []
    context.close()


def test_the_corpus_in_cells(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator, browser: Browser
) -> None:
    """As outputs of real answers."""
    page = show_corpus(open_notebook, folder, sim, "cells", IN_CELL, payloads=answers())
    outputs = page.page.locator(".jp-OutputArea-output")

    expect(outputs).to_have_count(len(answers()))
    assert_harmless(page.page, ".jp-OutputArea-output")
    page.saved()
    page.open()
    expect(outputs).to_have_count(len(answers()))
    assert_harmless(page.page, ".jp-OutputArea-output")

    assert_harmless_when_exported(browser, page.path, answers=len(answers()))
    assert_noticed(page)


def test_the_corpus_in_panels(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator, browser: Browser
) -> None:
    """As questions and answers of panels, and in their transcripts."""
    page = show_corpus(open_notebook, folder, sim, "panels", IN_PANEL, payloads=answers())
    footers = page.page.locator(".claude-magic-footer", has_text="tokens in")

    expect(footers).to_have_count(len(answers()))
    expect(page.page.locator(TRANSCRIPT)).to_have_count(len(answers()))
    page.screenshot("hostile-panel")
    assert_harmless(page.page, ".claude-magic-exchanges")
    page.saved()
    page.execute("kernelmenu:shutdown")
    page.open()
    transcript = page.page.locator(".jp-OutputArea-output", has_text="claude-sonnet")
    expect(transcript).to_have_count(len(answers()))
    page.screenshot("hostile-transcript")
    assert_harmless(page.page, ".jp-OutputArea-output .jp-RenderedHTMLCommon")

    assert page.outside_requests == []
    assert_harmless_when_exported(browser, page.path, answers=len(answers()))


@pytest.mark.parametrize("answer_format", ["html", "math"])
def test_the_corpus_in_other_formats(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator, answer_format: str
) -> None:
    """Mainly as HTML, in which harmless styles are kept."""
    code = IN_FORMAT.replace("{format}", answer_format)
    alone = [[payload] for payload in HOSTILE]
    page = show_corpus(open_notebook, folder, sim, answer_format, code, before=NOT_LIVE, payloads=alone)

    expect(page.page.locator(".jp-OutputArea-output", has_text="tokens in")).to_have_count(len(HOSTILE))
    page.screenshot(f"hostile-{answer_format}")
    assert_harmless(page.page, ".jp-OutputArea-output")
    assert_noticed(page)


def test_what_stands_around_answers(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator, browser: Browser
) -> None:
    """Thinking, calls, results, sources, refusals and errors, in cells, columns and panels, while they grow and at
    their end."""
    sim.clear()
    around = reply(content=around_an_answer())
    refused = reply("No.", stop_reason="refusal", stop_details={"category": TEX[0], "explanation": ALL})
    growing = reply(chunks=[ALL[at : at + 300] for at in range(0, len(ALL), 1_000)], chunk_delay=0.02)
    failed = status(400, message=TEX[0] + ALL[:2_000])
    sim.script(around, growing, refused, failed, around, reply("Some words."), around, failed)
    cells = [
        "%load_ext claude_magic\nfrom claude_magic import PromptPanel",
        *["%%claude --no-history\nHello."] * 4,
        "%%claude --no-history --compare sonnet,opus\nHello.",
        "panel = PromptPanel()\ndisplay(panel)\npanel.ask('Hello.').result()",
        "panel.ask('Hello.').result()",
        CONTROL,
    ]
    page = open_notebook(folder.write_notebook("around.ipynb", [new_cell(source) for source in cells]))
    for cell in range(len(cells) - 1):
        page.run_cell(cell)

    panel = page.page.locator(".claude-magic-exchanges")
    expect(panel.locator(".claude-magic-footer")).to_have_count(2)
    page.output(1).locator("summary").last.scroll_into_view_if_needed()
    page.screenshot("hostile-around")
    page.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for area in (".jp-OutputArea-output .jp-RenderedHTMLCommon", ".claude-magic-exchanges"):
        assert_harmless(page.page, area)
        # Formulas are typeset where the renderer found one, and nowhere else.
        assert page.page.locator(f"{area} mjx-container").count() > 0
        assert page.page.locator(f"{area} :not(.mathjax_process) > mjx-container").count() == 0
    expect(page.page.locator(TRANSCRIPT)).to_have_count(2)
    page.saved()
    assert_harmless_when_exported(browser, page.path, answers=7)
    assert_noticed(page)


def test_an_answer_put_into_a_markdown_cell(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator
) -> None:
    """A front end would render images and buttons of a Markdown cell that the user did not write."""
    sim.clear()
    prose = [payload for payload in HOSTILE if "```" not in payload and "~~~" not in payload]
    sim.script(reply("\n\n".join(["Hello.", *prose])))
    cells = ["from claude_magic import PromptPanel\npanel = PromptPanel()\npanel", CONTROL]
    page = open_notebook(folder.write_notebook("moved.ipynb", [new_cell(source) for source in cells]))
    page.run_cell(0)
    page.page.get_by_role("textbox", name="Prompt for Claude").fill("Hello.")
    page.page.get_by_role("textbox", name="Prompt for Claude").press("Control+Enter")
    page.page.get_by_role("button", name="New cell", exact=True).click()
    expect(page.page.locator(".jp-MarkdownCell")).to_have_count(1)

    page.execute("notebook:render-all-markdown")

    expect(page.page.locator(".jp-MarkdownOutput")).to_contain_text("Hello.")
    page.screenshot("hostile-markdown-cell")
    assert_harmless(page.page, ".jp-MarkdownOutput")
    assert page.page.locator(".jp-MarkdownOutput [data-commandlinker-command]").count() == 0
    assert_noticed(page)


def test_an_answer_covers_nothing_but_itself(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator
) -> None:
    """Formulas can be shifted, but must not cover an approval question or another cell."""
    sim.clear()
    sim.script(*[reply(COVERS)] * 2)
    cells = [
        "from claude_magic import PromptPanel\npanel = PromptPanel()\ndisplay(panel)\npanel.ask('Hello.').result()",
        "%load_ext claude_magic",
        "%%claude --no-history\nHello.",
        "1 + 1",
    ]
    page = open_notebook(folder.write_notebook("covers.ipynb", [new_cell(source) for source in cells]))
    for cell in range(len(cells)):
        page.run_cell(cell)

    expect(page.page.locator(".claude-magic-answer mjx-container")).to_have_count(2)
    expect(page.output(2).locator("mjx-container")).to_have_count(2)
    assert page.page.locator("mjx-merror").count() == 0
    page.cell(0).scroll_into_view_if_needed()
    page.wait_until_still()  # newly visible parts are drawn then
    page.screenshot("hostile-covers")
    assert page.page.evaluate(IS_COVERED, ".claude-magic-answer") is None
    assert page.page.evaluate(IS_COVERED, ".jp-OutputArea-output") is None
