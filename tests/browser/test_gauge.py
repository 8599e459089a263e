"""The limits gauge in JupyterLab, with a server whose limits are soon used up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import nbformat
import pytest
from endless import COMPUTE_UNTIL_FILE
from lab_server import NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import Locator, expect
from test_panels import DISCONNECTED_ICONS, RESTART
from test_rendering import CONTRAST

from claude_magic.simulator import Simulator

LOAD = "%load_ext claude_magic"
ASK_MANY = """
from claude_magic import claude
replies = [claude.submit(f"Question {number}: what is the central limit theorem about, and who needs it?") for number in range(150)]
"""
# The gauge is drawn twice per second, so all values of a frame are read at one moment.
LOOKS = f"""output => {{
    const gauge = output.querySelector("[aria-label='Limits of requests to Claude']");
    const edge = gauge.closest(".jp-OutputArea-output").getBoundingClientRect().right;
    const parts = [gauge, ...gauge.querySelectorAll("*")];
    return {{
        excess: Math.max(...parts.map(each => each.getBoundingClientRect().right - edge)),
        contrast: Math.min(...parts.filter(each => each.matches("strong, span")).map({CONTRAST})),
    }};
}}"""
STOP = "for reply in replies:\n    reply.cancel()"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A simulator that allows 20 requests a minute."""
    with Simulator(requests_per_minute=20, input_tokens_per_minute=50_000) as simulator:
        yield simulator


def stop_file(theme: str, width: int) -> str:
    """The name of the file that ends the busy cell."""
    return f"enough-{theme}-{width}"


@pytest.fixture
def gauge_page(
    open_notebook: Callable[..., NotebookPage], folder: NotebookFolder, sim: Simulator
) -> Callable[..., tuple[NotebookPage, Locator]]:
    """Return a function that shows a gauge above cells that exceed the server's limits for minutes and keep the
    kernel busy."""

    def show(theme: str, width: int) -> tuple[NotebookPage, Locator]:
        sim.clear()
        compute = COMPUTE_UNTIL_FILE.format(stop_file(theme, width))
        sources = (LOAD, "%claude limits --live", ASK_MANY + compute, STOP)
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        path = folder.write_notebook(f"gauge-{theme}-{width}.ipynb", cells)
        page = open_notebook(path, theme=theme, width=width)
        page.run_cell(0)
        page.run_cell(1)
        return page, page.output(1).get_by_role("region", name="Limits of requests to Claude")

    return show


@pytest.mark.parametrize(("theme", "width"), [("Light", 1200), ("Dark", 1200), ("Light", 600)])
def test_the_gauge_moves_while_the_kernel_computes_and_rests_afterwards(
    gauge_page: Callable[..., tuple[NotebookPage, Locator]], folder: NotebookFolder, theme: str, width: int
) -> None:
    """It shows waiting replies with reasons, remaining limits and free requests, in both themes, on narrow pages,
    and for screen readers."""
    page, gauge = gauge_page(theme, width)
    slots = gauge.get_by_role("meter", name="free now, this kernel")
    expect(slots).to_have_attribute("aria-valuenow", "10")
    expect(gauge).to_contain_text("has not reported any limits yet")

    page.start_cell(2)
    requests = gauge.get_by_role("meter", name="requests left, claude-sonnet-5-5")
    expect(requests).to_have_attribute("aria-valuemax", "20")
    expect(gauge).to_contain_text("the server's limit of requests")
    before = requests.get_attribute("aria-valuetext")
    expect(requests).not_to_have_attribute("aria-valuetext", before or "")
    page.screenshot(f"gauge-{theme}-{width}", page.output(1))

    page.expect_running(2)
    expect(gauge).to_contain_text("Question 2")
    looks = page.output(1).evaluate(LOOKS)
    assert looks["excess"] <= 1
    assert looks["contrast"] >= 4.0
    (folder.root / stop_file(theme, width)).touch()
    page.wait_for_cell(2)
    page.run_cell(3)
    expect(gauge).not_to_contain_text("Waiting")


def test_without_its_kernel_a_gauge_is_a_line_that_says_what_to_do(
    gauge_page: Callable[..., tuple[NotebookPage, Locator]],
) -> None:
    """Its numbers would be out of date."""
    page, gauge = gauge_page("Light", 1000)
    expect(gauge).to_be_visible()
    page.page.evaluate(RESTART)

    expect(page.output(1).locator(".claude-magic-lost-line")).to_have_text(
        "The kernel was restarted: run this cell again."
    )
    expect(gauge).to_be_hidden()
    page.screenshot("gauge-restarted", page.cell(1))
    assert page.output(1).locator(".claude-magic-gauge").evaluate(DISCONNECTED_ICONS) == 0
