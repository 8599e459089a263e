"""The Stop button under an answer and background answers, in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from endless import COMPUTE_UNTIL_FILE
from lab_server import NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import expect

from claude_magic.simulator import Simulator, reply

WORDS = [f"word {number} " for number in range(6_000)]
# Read at one moment, because the answer grows.
IS_BELOW_ANSWER = """output => {
    const stop = [...output.querySelectorAll("button")].find(each => each.textContent === "Stop").getBoundingClientRect();
    const answer = [...output.querySelectorAll(".jp-RenderedHTMLCommon")].at(-1).getBoundingClientRect();
    return stop.top >= answer.bottom - 1;
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_stop_under_a_cell_stops_it_while_it_runs(
    notebook: Callable[..., NotebookPage], sim: Simulator, theme: str
) -> None:
    """The button is below the growing answer. Afterwards, only the partial answer remains."""
    sim.script(reply(chunks=["# A title\n\n", *WORDS], chunk_delay=0.03))
    page = notebook("%%claude\nCount, please.", "print('not ' + 'reached')", theme=theme)

    page.start_cell(1)
    page.start_cell(2)
    stop = page.output(1).get_by_role("button", name="Stop")
    stop.wait_for()
    expect(page.output(1)).to_contain_text("word 60")
    page.screenshot(f"stop-control-{theme.lower()}")
    assert page.output(1).evaluate(IS_BELOW_ANSWER)
    if theme == "Light":
        stop.click()
    else:
        stop.press("Enter")
    page.wait_for_cell(1)
    page.wait_until_idle()

    expect(stop).to_have_count(0)
    expect(page.output(1)).to_contain_text("word 60")
    expect(page.output(1)).to_contain_text("the answer was stopped.")
    expect(page.output(1)).not_to_contain_text("word 5999")
    expect(page.output(2)).not_to_contain_text("not reached")
    page.screenshot(f"stopped-{theme.lower()}")
    answer_output, error = page.saved().cells[1].outputs
    assert set(answer_output.data) == {"text/html", "text/markdown", "text/plain"}
    assert error.output_type == "error"


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_a_background_answer_streams_while_another_cell_computes(
    notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator, theme: str
) -> None:
    """It can be stopped meanwhile, and its partial answer is saved in its cell."""
    enough = folder.root / f"enough-{theme}"
    sim.script(reply(chunks=["# A title\n\n", *WORDS], chunk_delay=0.03))
    page = notebook(
        "%%claude --bg -o answer\nCount, please.",
        COMPUTE_UNTIL_FILE.format(enough.name) + "\nanswer.phase.value",
        "%claude jobs",
        theme=theme,
    )

    page.run_cell(1)
    page.start_cell(2)
    expect(page.output(1)).to_contain_text("word 60")
    stop = page.output(1).get_by_role("button", name="Stop")
    page.expect_running(2)
    page.screenshot(f"background-{theme.lower()}")
    stop.click()
    expect(page.output(1)).to_contain_text("Interrupted")
    page.expect_running(2)
    enough.touch()
    page.wait_for_cell(2)
    page.run_cell(3)

    expect(stop).to_have_count(0)
    expect(page.output(2)).to_contain_text("cancelled")
    expect(page.output(3)).to_contain_text("stopped")
    page.screenshot(f"jobs-{theme.lower()}")
    (output,) = page.saved().cells[1].outputs
    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    assert "word 60" in output.data["text/plain"]
