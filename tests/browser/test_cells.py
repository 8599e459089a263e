"""New cells that are inserted by a cell, in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from notebook_page import NotebookPage
from playwright.sync_api import expect

LOAD = "%load_ext claude_magic"


def sources(page: NotebookPage) -> list[str]:
    """The cells of the saved notebook."""
    return [cell.source for cell in page.saved().cells]


def test_code_goes_into_one_new_cell_right_below_and_is_not_run(
    notebook: Callable[..., NotebookPage],
) -> None:
    """Only once, even if the cell runs again and the answer has the same code."""
    page = notebook(
        "%%claude -x --new\nWrite a Python function that computes primes", "print('the next cell')"
    )

    page.run_cell(1)
    expect(page.cell(2)).to_contain_text("def")
    page.run_cell(1)

    _, asked, inserted, following = sources(page)
    assert asked.startswith("%%claude -x")
    assert "def " in inserted
    assert following == "print('the next cell')"
    assert page.saved().cells[2].execution_count is None


def test_fix_puts_the_corrected_cell_below(notebook: Callable[..., NotebookPage]) -> None:
    """It is below the cell that asked, not below the one that failed."""
    page = notebook("days = 0\n285 / days", "%claude fix")

    page.run_cell(1)
    page.run_cell(2)
    expect(page.cell(3)).to_contain_text("ZeroDivisionError")

    assert [source.splitlines()[0] for source in sources(page)] == [LOAD, "days = 0", "%claude fix", "try:"]


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_tables_of_conversations_and_money_can_be_read(
    notebook: Callable[..., NotebookPage], theme: str
) -> None:
    """In both themes. Screenshots are kept for manual review."""
    page = notebook(
        "rows = [1, 2, 3]",
        "%%claude\nSummarise {{ rows }} and leave {{ nobody }} alone.",
        "%%claude\nWhy is the sky blue? In one sentence.",
        "%claude history",
        "%claude usage",
        "%claude models",
        "%%claude --dry-run\nAnd {{ rows }}?",
        theme=theme,
    )

    page.run_all()

    expect(page.output(2)).to_contain_text("Sent as typed")
    expect(page.output(4)).to_contain_text("Why is the sky blue?")
    expect(page.output(5)).to_contain_text("claude-sonnet-5-5")
    expect(page.output(6)).to_contain_text("opus")
    expect(page.output(7)).to_contain_text("this was not sent")
    page.screenshot(f"tables-{theme.lower()}", page.page.locator(".jp-Notebook").first)
