"""Make the pictures of the README: a cell and a panel, in a real JupyterLab, in headless Chromium, answered by the simulator."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import nbformat
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "browser"))

from chromium import ARGUMENTS, find_chromium  # noqa: E402
from lab_server import LabServer  # noqa: E402
from notebook_page import NotebookPage  # noqa: E402
from playwright.sync_api import Locator, Playwright, sync_playwright  # noqa: E402

PROMPT = "%%claude -o summary\nExplain the central limit theorem to someone who knows what a mean is."
PANEL = """from claude_magic import PromptPanel

panel = PromptPanel()
panel.ask("Show me pandas groupby as code").result()
panel"""


def main() -> None:
    """Run three cells and photograph two of them."""
    code = nbformat.v4.new_code_cell
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(LabServer(folder / "server", {"CLAUDE_MAGIC_DEMO": "on"}))
        cells = [code("%load_ext claude_magic"), code(PROMPT), code(PANEL)]
        path = server.write_notebook("picture.ipynb", cells)
        _photograph(stack.enter_context(sync_playwright()), server, path)


def _photograph(playwright: Playwright, server: LabServer, path: Path) -> None:
    browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
    context = browser.new_context(viewport={"width": 1100, "height": 2400}, device_scale_factor=1.5)
    notebook = NotebookPage(server, context.new_page(), path)
    notebook.open()
    notebook.execute("application:toggle-left-area")
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.run_cell(2)
    notebook.cell(2).locator(".claude-magic-footer").first.wait_for()
    # A cell that is not selected shows neither Lab's toolbar nor a cursor.
    notebook.cell(0).locator(".cm-content").click()
    notebook.page.mouse.move(0, 0)
    notebook.wait_until_still()
    _save(notebook.cell(1), HERE / "first-cell.png")
    _save(notebook.cell(2), HERE / "panel.png")
    notebook.close()
    browser.close()


def _save(cell: Locator, path: Path) -> None:
    """Photograph a cell, with as many colours as a picture of text needs: a reader waits for it on each visit."""
    cell.screenshot(path=path)
    with Image.open(path) as picture:
        picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
