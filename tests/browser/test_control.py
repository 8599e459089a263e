"""Control over what runs, in JupyterLab: the Stop button under an answer, and answers in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import nbformat
import pytest
from lab_server import LabServer
from notebook_page import NotebookPage
from playwright.sync_api import expect

from claude_magic.simulator import Simulator, reply

LOAD = "%load_ext claude_magic"
WORDS = [f"word {number} " for number in range(400)]

OpenNotebook = Callable[..., NotebookPage]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """The simulator that the kernels talk to."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sim: Simulator) -> Iterator[LabServer]:
    """A JupyterLab whose kernels talk to the simulator."""
    environment = {"ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": "sk-ant-control-test"}
    with LabServer(tmp_path_factory.mktemp("control") / "server", environment) as lab:
        yield lab


@pytest.fixture
def notebook(
    open_notebook: OpenNotebook, server: LabServer, sim: Simulator, request: pytest.FixtureRequest
) -> Callable[..., NotebookPage]:
    """Return a function that opens a notebook with these cells; the first, which loads the extension, has run."""
    sim.clear()

    def open_with(*sources: str, theme: str = "Light") -> NotebookPage:
        cells = [nbformat.v4.new_code_cell(source) for source in (LOAD, *sources)]
        path = server.write_notebook(f"{request.node.name.split('[')[0]}-{theme}.ipynb", cells)
        page = open_notebook(path, server=server, theme=theme)
        page.run_cell(0)
        return page

    return open_with


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_stop_under_a_cell_stops_it_while_it_runs(
    notebook: Callable[..., NotebookPage], sim: Simulator, theme: str
) -> None:
    """It stands below the answer while that grows, and leaves nothing behind but what had come."""
    sim.script(reply(chunks=["# A title\n\n", *WORDS], chunk_delay=0.03))
    page = notebook("%%claude\nCount, please.", "print('not ' + 'reached')", theme=theme)

    page.start_cell(1)
    page.start_cell(2)
    stop = page.output(1).get_by_role("button", name="Stop")
    stop.wait_for()
    expect(page.output(1)).to_contain_text("word 60")
    page.screenshot(f"stop-control-{theme.lower()}")
    answer = page.output(1).locator(".jp-RenderedHTMLCommon").last
    assert stop.bounding_box()["y"] >= answer.bounding_box()["y"] + answer.bounding_box()["height"] - 1
    stop.click()
    page.wait_for_cell(1)
    page.wait_until_idle()

    expect(stop).to_have_count(0)
    expect(page.output(1)).to_contain_text("word 60")
    expect(page.output(1)).to_contain_text("the answer was stopped.")
    expect(page.output(1)).not_to_contain_text("word 399")
    expect(page.output(2)).not_to_contain_text("not reached")
    page.screenshot(f"stopped-{theme.lower()}")
    answer_output, error = page.saved().cells[1].outputs
    assert set(answer_output.data) == {"text/html", "text/markdown", "text/plain"}
    assert error.output_type == "error"


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_a_background_answer_streams_while_another_cell_computes(
    notebook: Callable[..., NotebookPage], sim: Simulator, theme: str
) -> None:
    """It can be stopped meanwhile, and what has come is saved with its cell."""
    sim.script(reply(chunks=["# A title\n\n", *WORDS], chunk_delay=0.03))
    page = notebook(
        "%%claude --bg -o answer\nCount, please.",
        "import time\nend = time.monotonic() + 6\nwhile time.monotonic() < end:\n    pass\nanswer.phase.value",
        "%claude jobs",
        theme=theme,
    )

    page.run_cell(1)
    page.start_cell(2)
    expect(page.output(1)).to_contain_text("word 60")
    stop = page.output(1).get_by_role("button", name="Stop")
    expect(page.cell(2).locator(".jp-InputPrompt").first).to_have_text("[*]:")
    page.screenshot(f"background-{theme.lower()}")
    stop.click()
    expect(page.output(1)).to_contain_text("Interrupted")
    expect(page.cell(2).locator(".jp-InputPrompt").first).to_have_text("[*]:")
    page.wait_for_cell(2)
    page.run_cell(3)

    expect(stop).to_have_count(0)
    expect(page.output(2)).to_contain_text("cancelled")
    expect(page.output(3)).to_contain_text("stopped")
    page.screenshot(f"jobs-{theme.lower()}")
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    assert "word 60" in output.data["text/plain"]
