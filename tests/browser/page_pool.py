"""Pages of JupyterLab that are loaded once and used by several tests in turn.

Loading Lab takes seconds of CPU time, more than most tests; opening a notebook in a loaded page takes a few tenths. A
page is used again only if the test passed and the page is in its initial state: nothing is open, there is no dialog,
and no code of a hostile answer has run. Each test has its own notebook and kernel.
"""

from __future__ import annotations

from pathlib import Path

from lab_server import LabServer
from notebook_page import NotebookPage
from playwright.sync_api import Browser, Page

HEIGHT = 1000


class PagePool:
    """Provides pages of one server, each in a separate browser context.

    Args:
        browser: The browser of this session.
        lab: The server.
    """

    def __init__(self, browser: Browser, lab: LabServer) -> None:
        self.browser = browser
        self._lab = lab
        self._idle: list[Page] = []

    def open(self, path: Path, *, theme: str = "Light", width: int = 1200) -> NotebookPage:
        """Open a notebook, in a loaded page if one is free."""
        theme = f"JupyterLab {theme}"
        if not self._idle:
            self._lab.write_settings("@jupyterlab/apputils-extension/themes", {"theme": theme})
            context = self.browser.new_context(
                viewport={"width": width, "height": HEIGHT}, reduced_motion="reduce"
            )
            notebook = NotebookPage(self._lab, context.new_page(), path)
            notebook.open()
            return notebook
        page = self._idle.pop()
        page.set_viewport_size({"width": width, "height": HEIGHT})
        notebook = NotebookPage(self._lab, page, path)
        notebook.open_in_loaded_page(theme)
        return notebook

    def take_back(self, notebook: NotebookPage, *, is_sound: bool) -> None:
        """Close a notebook, and keep its page for the next one if it can be used again."""
        context = notebook.page.context
        if notebook.leave() and is_sound:
            context.clear_permissions()
            self._idle.append(notebook.page)
        else:
            context.close()
