"""A notebook open in a real browser, as a person sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from lab_server import LabServer
from playwright.sync_api import BrowserContext, Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "test-output" / "screenshots"
TIMEOUT_MS = 60_000
_KERNEL_IS_READY = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = context?.session?.kernel;
    return context?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""


class NotebookPage:
    """One notebook in one browser page.

    Attributes:
        page: The Playwright page, for whatever this class does not offer.
        outside_requests: Addresses on other hosts that the page tried to reach; each was refused.
    """

    def __init__(self, lab: LabServer, context: BrowserContext, path: Path) -> None:
        self._lab = lab
        self.path = path
        self.outside_requests: list[str] = []
        context.route(lambda url: not url.startswith((lab.url, "data:", "blob:")), self._refuse)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)

    def open(self) -> None:
        """Open the notebook, or open it once more, and wait until its kernel is ready."""
        self.page.goto(self._lab.page_url(self.path.name))
        self.page.locator(".jp-Notebook").wait_for()
        # The indicator says "idle" before there is a kernel, and a cell that is run then is lost.
        self.page.wait_for_function(_KERNEL_IS_READY)
        self.wait_until_idle()

    def cell(self, index: int) -> Locator:
        """Return the cell at `index`, from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return the whole output area of the cell at `index`."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def start_cell(self, index: int) -> None:
        """Run one cell as a person would, with Ctrl+Enter, and do not wait for it."""
        editor = self.cell(index).locator(".cm-content").first
        editor.click()
        editor.press("Control+Enter")

    def run_cell(self, index: int) -> None:
        """Run one cell and wait for its end."""
        self.start_cell(index)
        self.wait_for_cell(index)

    def run_all(self) -> None:
        """Run all cells and wait for the end of the last one that runs."""
        self.execute("notebook:run-all-cells")
        self.wait_until_idle()

    def interrupt(self) -> None:
        """Press the kernel's interrupt button (■)."""
        self.page.get_by_role("button", name="Interrupt the kernel").first.click()

    def wait_for_cell(self, index: int) -> None:
        """Wait until the cell has its number, which it gets at its end."""
        expect(self.cell(index).locator(".jp-InputPrompt").first).to_have_text(
            re.compile(r"\[\d+\]:"), timeout=TIMEOUT_MS
        )
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until the kernel is idle and no cell is waiting for it."""
        indicator = self.page.locator(".jp-Notebook-ExecutionIndicator")
        expect(indicator).to_have_attribute("data-status", "idle", timeout=TIMEOUT_MS)
        expect(self.page.locator(".jp-InputPrompt", has_text="[*]:")).to_have_count(0, timeout=TIMEOUT_MS)

    def execute(self, command: str, **arguments: Any) -> None:
        """Execute a command of Lab's and wait for it."""
        self.page.evaluate(
            "([id, args]) => window.jupyterapp.commands.execute(id, args)", [command, arguments]
        )

    def saved(self) -> nbformat.NotebookNode:
        """Save, and return what stands in the file."""
        self.execute("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def screenshot(self, name: str, element: Locator | None = None) -> Path:
        """Take a picture of an element, or of the whole page, for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        target = SCREENSHOTS / f"{name}.png"
        (element or self.page).screenshot(path=target)
        return target

    def close(self) -> None:
        """End the notebook's kernel and close the page."""
        if not self.page.is_closed():
            self.execute("kernelmenu:shutdown")
            self.page.close()

    def _refuse(self, route: Any) -> None:
        self.outside_requests.append(route.request.url)
        route.abort()
