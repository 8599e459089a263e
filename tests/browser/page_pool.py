"""Pages of JupyterLab that are loaded once and used by one test after another.

To load Lab costs seconds of a processor, more than most tests do with it; to open a notebook in a page that is loaded costs a
few tenths. A page is used again only where the test passed and the page says that it is as it was: nothing open, no dialog,
and nothing has run that a hostile answer would have run. Every test has a notebook and a kernel of its own.
"""

from __future__ import annotations

from pathlib import Path

from lab_server import LabServer
from notebook_page import NotebookPage
from playwright.sync_api import Browser, Page

HEIGHT = 1000


class PagePool:
    """Hands out pages of one server, each in a browser context of its own.

    Args:
        browser: The one of this session.
        lab: The server whose Lab the pages show.
    """

    def __init__(self, browser: Browser, lab: LabServer) -> None:
        self.browser = browser
        self._lab = lab
        self._idle: list[Page] = []

    def open(self, path: Path, *, theme: str = "Light", width: int = 1200) -> NotebookPage:
        """Open a notebook, in a page that is loaded where there is one."""
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
        """Close a notebook; keep its page for the next one if it is sound."""
        context = notebook.page.context
        if notebook.leave() and is_sound:
            context.clear_permissions()
            self._idle.append(notebook.page)
        else:
            context.close()
