"""Buttons under the answer of a cell, in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable

import nbformat
import pytest
from lab_server import NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import Locator, expect

from claude_magic.simulator import Simulator, reply

ANSWER = "So it is:\n\n```python\ndef mean(values):\n    return sum(values) / len(values)\n```"
RESTART = (
    "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
)
OpenNotebook = Callable[..., NotebookPage]


@pytest.fixture
def notebook(open_notebook: OpenNotebook, folder: NotebookFolder, sim: Simulator) -> OpenNotebook:
    """Return a function that opens a notebook with an answer in its second cell."""
    sim.clear()

    def open_with(name: str, *sources: str, **looks: object) -> NotebookPage:
        sim.script(reply(ANSWER))
        cells = ["%load_ext claude_magic", "%%claude\nA function for the mean, please.", *sources]
        path = folder.write_notebook(f"{name}.ipynb", [nbformat.v4.new_code_cell(each) for each in cells])
        page = open_notebook(path, **looks)
        page.run_cell(0)
        page.run_cell(1)
        return page

    return open_with


def actions(page: NotebookPage, cell: int = 1) -> Locator:
    """The buttons under the answer of a cell."""
    return page.cell(cell).get_by_role("group", name="This answer")


@pytest.mark.parametrize(("theme", "width"), [("Light", 1600), ("Dark", 700)])
def test_an_answer_can_be_copied_moved_and_named(notebook: OpenNotebook, theme: str, width: int) -> None:
    """Each button confirms its action, by mouse and by keyboard. The buttons are not saved."""
    page = notebook(
        f"actions-{theme}", "print(type(mine).__name__, 'def mean' in mine)", theme=theme, width=width
    )
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    bar = actions(page)
    expect(bar.get_by_role("button")).to_have_text(["Copy", "New cell", "Variable", "Retry"])
    page.screenshot(f"actions-{theme.lower()}-{width}")
    (output,) = page.saved().cells[1].outputs

    bar.get_by_role("button", name="Copy").click()
    expect(bar.get_by_role("status")).to_have_text("Copied.")
    copied = page.page.evaluate("navigator.clipboard.readText()")
    bar.get_by_role("button", name="Variable").press("Enter")
    name = bar.get_by_role("textbox", name="Name of the variable")
    name.press_sequentially("2bad")
    name.press("Enter")
    expect(bar.get_by_role("status")).to_contain_text("'2bad' cannot be the name of a variable of yours")
    expect(name).to_be_focused()
    name.fill("mine")
    name.press("Enter")
    expect(bar.get_by_role("status")).to_have_text("mine is this answer now.")
    expect(name).to_be_hidden()
    page.run_cell(2)
    expect(page.output(2)).to_contain_text("Reply True")
    bar.get_by_role("button", name="New cell").click()
    expect(page.cell(2).locator(".cm-content")).to_contain_text("def mean(values):")
    page.screenshot(f"actions-done-{theme.lower()}-{width}")

    assert set(output.data) == {"text/html", "text/markdown", "text/plain"}
    assert copied == ANSWER
    assert "widget" not in str(page.saved().cells[1])


def test_retry_asks_the_same_again_in_the_same_cell(notebook: OpenNotebook, sim: Simulator) -> None:
    """The new answer replaces the old one in the page, in the file and in the conversation."""
    page = notebook("actions-retry")
    sim.script(reply("Another answer."))

    actions(page).get_by_role("button", name="Retry").click()
    expect(page.output(1)).to_contain_text("Another answer.")
    expect(page.output(1)).not_to_contain_text("So it is")
    expect(actions(page)).to_be_visible()

    assert [len(request.body["messages"]) for request in sim.requests] == [1, 1]
    (output,) = page.saved().cells[1].outputs
    assert output.data["text/plain"] == "Another answer."


def test_the_buttons_go_with_the_answer_and_with_the_kernel(notebook: OpenNotebook) -> None:
    """After a reload they are shown again, without Retry, and do not change the notebook."""
    page = notebook("actions-gone")
    expect(actions(page)).to_be_visible()
    page.saved()
    page.open()
    expect(actions(page).get_by_role("button")).to_have_text(["Copy", "New cell", "Variable"])
    assert not page.page.evaluate("window.jupyterapp.shell.currentWidget.context.model.dirty")

    page.execute("notebook:clear-cell-output")
    page.execute("notebook:clear-all-cell-outputs")
    expect(actions(page)).to_have_count(0)
    page.run_cell(1)
    expect(actions(page)).to_be_visible()
    page.page.evaluate(RESTART)
    expect(actions(page)).to_have_count(0)
    expect(page.output(1)).not_to_be_empty()
