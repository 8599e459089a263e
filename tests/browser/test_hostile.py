"""The whole hostile corpus, answered by a server and shown by cells and panels: fresh, reopened without a kernel, exported.

`test_rendering.py` shows the same payloads by the renderer alone, and has the control that such a page would be noticed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from lab_server import LabServer
from nbconvert import HTMLExporter
from notebook_page import NotebookPage
from playwright.sync_api import Browser, Page, expect

from claude_magic.simulator import Simulator, reply

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "render"))

from hostile import HOSTILE

AT_ONCE = 40  # JupyterLab shows fewer than 50 outputs of a cell
CHUNKS = [HOSTILE[start : start + AT_ONCE] for start in range(0, len(HOSTILE), AT_ONCE)]

LOAD = "import json\nfrom claude_magic import PromptPanel, claude\npayloads = json.load(open('hostile.json'))"
IN_CELL = "for payload in payloads[{chunk}]:\n    display(claude.ask(payload))"
IN_PANEL = "panel = PromptPanel()\ndisplay(panel)\nfor payload in payloads[{chunk}]:\n    panel.ask(payload).result()"

# Whatever a person might click on, but for the controls of ours, which are inside widgets and in `nav`.
CLICK_ALL = """area => [...document.querySelectorAll(`${area} :is(a, summary, details, td, p, pre, div)`)].forEach(each => {
    if (each.closest("button, .jupyter-button") || ["http:", "https:", "mailto:"].includes(each.protocol)) return;
    each.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    each.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
})"""
FOREIGN = ":is(script, iframe, object, embed, form, svg script, link, base, meta, video, audio, img)"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """Answers with whatever is scripted."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def server(sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab whose kernels talk to the simulator, in a hurry."""
    variables = {"ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": "sk-ant-hostile-test"}
    variables["CLAUDE_MAGIC_RATE_LIMIT_RPS"] = "1000"
    with LabServer(tmp_path_factory.mktemp("hostile") / "server", variables) as lab:
        (lab.root / "hostile.json").write_text(json.dumps(CHUNKS))
        yield lab


def show_corpus(
    open_notebook: Callable[..., NotebookPage], server: LabServer, sim: Simulator, name: str, code: str
) -> NotebookPage:
    """Run a notebook in which a cell for each chunk of the corpus shows it as answers; some stream in pieces."""
    sim.clear()
    sim.script(*[reply(chunks=[payload[:9], payload[9:] + "\n"]) for payload in HOSTILE])
    sources = [LOAD, *(code.format(chunk=chunk) for chunk in range(len(CHUNKS)))]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    page = open_notebook(server.write_notebook(f"{name}.ipynb", cells), server=server)
    page.run_all()
    return page


def assert_harmless(page: Page, area: str) -> None:
    """Click on everything that an answer has brought, then look whether anything has run or is there that could."""
    page.evaluate(CLICK_ALL, area)
    page.wait_for_timeout(300)

    assert page.evaluate("window.pwned") is None
    assert page.locator(f"{area} {FOREIGN}").evaluate_all("nodes => nodes.map(node => node.outerHTML)") == []
    assert page.locator(f"{area} a").evaluate_all(
        "links => links.map(a => a.protocol).filter(p => !['http:', 'https:', 'mailto:'].includes(p))"
    ) == []  # fmt: skip


def assert_harmless_when_exported(browser: Browser, path: Path, *, answers: int) -> None:
    """Open the notebook as the page that nbconvert makes of it."""
    html, _ = HTMLExporter().from_filename(str(path))
    exported = path.with_suffix(".html")
    exported.write_text(html, encoding="utf-8")
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
    page = context.new_page()
    page.goto(exported.as_uri())

    expect(page.locator(".jp-OutputArea-output").filter(has_text="claude-sonnet")).to_have_count(answers)
    page.evaluate(CLICK_ALL, ".jp-OutputArea-output")
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None
    assert [address for address in asked if "evil.example" in address] == []
    context.close()


def test_the_corpus_in_cells(
    open_notebook: Callable[..., NotebookPage], server: LabServer, sim: Simulator, browser: Browser
) -> None:
    """As the outputs of real answers."""
    page = show_corpus(open_notebook, server, sim, "cells", IN_CELL)
    outputs = page.page.locator(".jp-OutputArea-output")

    expect(outputs).to_have_count(len(HOSTILE))
    assert_harmless(page.page, ".jp-OutputArea-output")
    page.saved()
    page.open()
    expect(outputs).to_have_count(len(HOSTILE))
    assert_harmless(page.page, ".jp-OutputArea-output")

    assert page.outside_requests == []
    assert_harmless_when_exported(browser, page.path, answers=len(HOSTILE))


def test_the_corpus_in_panels(
    open_notebook: Callable[..., NotebookPage], server: LabServer, sim: Simulator, browser: Browser
) -> None:
    """As questions and as answers of panels, and in the transcripts that are left of them."""
    page = show_corpus(open_notebook, server, sim, "panels", IN_PANEL)
    footers = page.page.locator(".claude-magic-footer", has_text="tokens in")

    expect(footers).to_have_count(len(HOSTILE))
    page.screenshot("hostile-panel")
    assert_harmless(page.page, ".claude-magic-exchanges")
    page.saved()
    page.execute("kernelmenu:shutdown")
    page.page.reload()
    transcript = page.page.locator(".jp-OutputArea-output", has_text="claude-sonnet")
    expect(transcript).to_have_count(len(HOSTILE))
    page.screenshot("hostile-transcript")
    assert_harmless(page.page, ".jp-OutputArea-output .jp-RenderedHTMLCommon")

    assert page.outside_requests == []
    assert_harmless_when_exported(browser, page.path, answers=len(HOSTILE))
