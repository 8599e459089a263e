"""`--interact` in JupyterLab: sliders and other controls for a prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab_server import NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import Locator, expect

from claude_magic.simulator import Simulator, reply

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "render"))

from hostile import HOSTILE

SETUP = "%load_ext claude_magic\nn = 3\ncity = ['Oslo', 'Brest', 'Porto']\nis_terse = True"
CELL = (
    "%%claude --interact n,city --interact is_terse -o answer\n"
    "Name {{ n }} lighthouses near {{ city }}. Terse: {{ is_terse }}"
)
FOREIGN = ":is(script, iframe, object, embed, form, link, base, meta, video, audio, img)"
OpenNotebook = Callable[..., NotebookPage]


@pytest.fixture
def notebook(
    open_notebook: OpenNotebook, folder: NotebookFolder, sim: Simulator
) -> Callable[..., NotebookPage]:
    """Return a function that opens a notebook whose second cell has asked with controls."""

    def open_with(name: str, **looks: Any) -> NotebookPage:
        sim.clear()
        sim.script(reply("**Three** lighthouses, where $n = 3$."))
        cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, CELL, "print(answer)")]
        page = open_notebook(folder.write_notebook(f"{name}.ipynb", cells), **looks)
        page.run_cell(0)
        page.run_cell(1)
        expect(page.output(1)).to_contain_text("1 request sent")
        return page

    return open_with


def asked(sim: Simulator) -> list[str]:
    return [seen.body["messages"][-1]["content"] for seen in sim.requests if seen.path == "/v1/messages"]


def handle(page: NotebookPage) -> Locator:
    """The handle of the slider."""
    return page.output(1).locator(".noUi-handle")


def middle(page: NotebookPage) -> tuple[float, float]:
    """The position of the slider's handle."""
    place = handle(page).bounding_box() or {}
    return place["x"] + place["width"] / 2, place["y"] + place["height"] / 2


def drag(page: NotebookPage, target: float) -> None:
    """Drag the slider to a position in steps, and release it."""
    page.press(handle(page))
    x, y = middle(page)
    for step in range(1, 11):
        page.page.mouse.move(x + (target - x) * step / 10, y)
        page.wait_until_still()
    page.page.mouse.up()


@pytest.mark.parametrize(("theme", "width"), [("Light", 1600), ("Dark", 600)])
def test_a_dragged_slider_is_one_request_and_going_back_is_none(
    notebook: Callable[..., NotebookPage], sim: Simulator, theme: str, width: int
) -> None:
    """Nothing is sent during the drag. A remembered answer is shown immediately, marked as such."""
    page = notebook(f"interact-{theme}", theme=theme, width=width)
    page.screenshot(f"interact-{theme.lower()}-{width}", page.cell(1))
    previous, (start, _) = handle(page).get_attribute("aria-valuenow"), middle(page)
    sim.script(reply("**More** lighthouses.\n\n" + "Words about them. " * 30))

    drag(page, start + (60 if width > 1000 else 20))
    expect(page.output(1)).to_contain_text("2 requests sent")
    expect(page.output(1)).to_contain_text("More lighthouses")
    page.screenshot(f"interact-{theme.lower()}-{width}-moved", page.cell(1))
    assert len(asked(sim)) == 2
    assert asked(sim)[1] != asked(sim)[0]

    drag(page, start)
    expect(handle(page)).to_have_attribute("aria-valuenow", previous or "")
    expect(page.output(1)).to_contain_text("remembered, nothing was sent")
    expect(page.output(1)).to_contain_text("Three lighthouses")
    page.screenshot(f"interact-{theme.lower()}-{width}-back", page.cell(1))
    assert len(asked(sim)) == 2
    page.run_cell(2)
    expect(page.output(2)).to_contain_text("Three")
    assert page.output(1).evaluate("node => node.scrollWidth - node.clientWidth") <= 1


EDGES = """root => [...root.querySelectorAll(".claude-magic-controls > *")].map(row => Math.round(
    row.querySelector("select, input, .noUi-base").getBoundingClientRect().left))"""
RESTART = (
    "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
)


def test_controls_have_names_and_line_up(notebook: Callable[..., NotebookPage]) -> None:
    """By the accessibility tree, including sliders and the fields next to them. They are left-aligned."""
    page = notebook("interact-names")
    for role, name in (
        ("slider", "n"),
        ("textbox", "n, value"),
        ("combobox", "city"),
        ("checkbox", "is_terse"),
    ):
        expect(page.output(1).get_by_role(role, name=name, exact=True)).to_be_visible()  # type: ignore[arg-type]

    edges = page.output(1).evaluate(EDGES)

    assert len(edges) == 3
    assert max(edges) - min(edges) <= 8


ARROW = "select => getComputedStyle(select).backgroundImage"


def test_the_arrow_of_a_menu_is_visible_in_the_dark_theme(notebook: Callable[..., NotebookPage]) -> None:
    """The stylesheet of panels contains the same rule."""
    page = notebook("interact-arrow", theme="Dark")
    page.screenshot("interact-arrow", page.cell(1))

    assert "fill='%23808080'" in page.output(1).get_by_role("combobox").first.evaluate(ARROW)


def test_controls_without_their_kernel_say_what_to_do(notebook: Callable[..., NotebookPage]) -> None:
    """The answer stays, and controls without effect are hidden."""
    page = notebook("interact-restarted")
    page.page.evaluate(RESTART)
    lost = page.output(1).locator(".claude-magic-lost-line")
    expect(lost).to_have_text("The kernel was restarted: run this cell again.")
    page.screenshot("interact-restarted", page.cell(1))

    expect(page.output(1).get_by_text("Three lighthouses").first).to_be_visible()
    expect(page.output(1).get_by_role("slider")).to_have_count(0)
    expect(page.output(1).get_by_role("button")).to_have_count(0)
    saved = page.saved().cells[1].outputs
    assert saved[0].data["text/plain"] == "Controls for n, city, is_terse: run this cell to use them."
    assert "<style" not in str(saved)


def test_other_controls_ask_too_and_an_answer_can_be_asked_again(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """A dropdown, a checkbox, and the button."""
    page = notebook("interact-controls")
    sim.script(reply("In Brest."), reply("At length, in Brest."), reply("Once more."))

    page.output(1).get_by_role("combobox").select_option("Brest")
    expect(page.output(1)).to_contain_text("In Brest.")
    page.output(1).get_by_role("checkbox").uncheck()
    expect(page.output(1)).to_contain_text("At length, in Brest.")
    page.output(1).get_by_role("button", name="Ask again").click()
    expect(page.output(1)).to_contain_text("Once more.")

    assert [each.partition("near ")[2] for each in asked(sim)] == [
        "Oslo. Terse: True",
        "Brest. Terse: True",
        "Brest. Terse: False",
        "Brest. Terse: False",
    ]


def test_a_reopened_notebook_shows_the_last_answer_without_a_kernel(
    notebook: Callable[..., NotebookPage], sim: Simulator
) -> None:
    """While the controls are shown, the output next to them is hidden; the file contains it."""
    page = notebook("interact-reopened")
    sim.script(reply("In Porto."))
    page.output(1).get_by_role("combobox").select_option("Porto")
    expect(page.output(1).get_by_text("In Porto.").first).to_be_visible()
    expect(page.output(1).locator(".claude-magic-transcript")).to_contain_text("In Porto.")
    expect(page.output(1).locator(".claude-magic-transcript")).to_be_hidden()

    saved = page.saved().cells[1].outputs
    assert "city = 'Porto'" in saved[-1].data["text/plain"]
    assert "In Porto." in saved[-1].data["text/html"]
    page.execute("kernelmenu:shutdown")
    page.open()
    expect(page.output(1).get_by_text("In Porto.").first).to_be_visible()
    page.screenshot("interact-reopened", page.cell(1))


def test_a_hostile_answer_runs_nothing(notebook: Callable[..., NotebookPage], sim: Simulator) -> None:
    """Below the controls, and in the saved output."""
    page = notebook("interact-hostile")
    sim.script(reply("\n\n".join(["</div></div>", *HOSTILE])))

    page.output(1).get_by_role("combobox").select_option("Porto")
    expect(page.output(1)).to_contain_text("2 requests sent")
    page.saved()
    has_run = page.page.evaluate("Boolean(window.pwned)")
    brought = page.output(1).locator(FOREIGN).count()
    page.open()
    page.page.locator(".jp-OutputArea-output").first.wait_for()

    assert not has_run
    assert brought == 0
    assert not page.page.evaluate("Boolean(window.pwned)")
    assert page.outside_requests == []
