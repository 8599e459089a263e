"""A notebook that is open in a real browser."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import nbformat
from lab_server import LabServer
from playwright.sync_api import Error, Locator, Page, Request, TimeoutError, expect

SCREENSHOTS = Path(__file__).parents[2] / "test-output" / "screenshots"
ARE_WANTED = bool(os.environ.get("SCREENSHOTS"))
TIMEOUT_MS = 120_000
"""How long a page may take for anything. Only a test that fails waits as long."""
CONNECTIONS = 4
"""How often a page connects to a kernel that does not report its status, within that time."""
POLLING_MS = 50
"""How often a condition is looked at; more often would keep the page itself from running."""

expect.set_options(timeout=TIMEOUT_MS)

# The indicator shows "idle" before a kernel exists, and a cell that is run then is lost.
_KERNEL_IS_READY = """path => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = context?.session?.kernel;
    return context?.path === path && context.isReady
        && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
_RECONNECT = "() => { window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.reconnect(); }"
_KERNEL = """() => {
    const context = window.jupyterapp.shell.currentWidget?.sessionContext;
    const kernel = context?.session?.kernel;
    return [context?.path, context?.isReady, kernel?.connectionStatus, kernel?.status];
}"""
# A cell gets its execution number at its end. If it ran before, the number changes.
_HAS_RUN = """([index, before]) => {
    const model = window.jupyterapp.shell.currentWidget.content.widgets[index].model;
    return model.executionState === "idle" && model.executionCount !== null && model.executionCount !== before;
}"""
_IS_IDLE = """() => {
    const notebook = window.jupyterapp.shell.currentWidget;
    return notebook.sessionContext.session?.kernel?.status === "idle"
        && notebook.content.widgets.every(cell => cell.model.executionState !== "running")
        && document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status === "idle"
        && ![...document.querySelectorAll(".jp-InputPrompt")].some(prompt => prompt.textContent.includes("[*]"));
}"""
_OPEN = """async ([path, theme]) => {
    const app = window.jupyterapp;
    await app.serviceManager.kernelspecs.refreshSpecs();
    if (document.body.dataset.jpThemeName !== theme) await app.commands.execute("apputils:change-theme", { theme });
    await app.commands.execute("docmanager:open", { path });
}"""
# A document that is opened while Lab changes its theme may not get the focus.
_IS_CURRENT = """() => {
    const shell = window.jupyterapp.shell;
    const [notebook] = [...shell.widgets("main")];
    if (notebook && shell.currentWidget !== notebook) shell.activateById(notebook.id);
    return notebook && shell.currentWidget === notebook;
}"""
_HAS_THEME = "theme => document.body.dataset.jpThemeName === theme"
_WATCH_FOR = """pattern => {
    const words = new RegExp(pattern, "is");
    const notebook = document.querySelector(".jp-Notebook");
    window.hasBeenSeen = false;
    const look = () => { window.hasBeenSeen ||= words.test(notebook.textContent); };
    new MutationObserver(look).observe(notebook, { childList: true, subtree: true, characterData: true });
    look();
}"""
# Once the page has no pending requests, all images have loaded or failed. Then two frames are drawn.
_STILL = """async () => {
    await Promise.all([...document.images].filter(each => each.src && each.loading !== "lazy").map(each =>
        each.complete || new Promise(done => { each.onload = each.onerror = done; })));
    for (let turn = 0; turn < 3; turn++) {
        await new Promise(done => setTimeout(done));
        await new Promise(requestAnimationFrame);
    }
}"""
# Closes all documents. Returns the remaining kernels, and whether the page is in the state of a newly loaded one.
_LEAVE = """() => {
    const app = window.jupyterapp;
    const sessions = [];
    for (const widget of [...app.shell.widgets("main")]) {
        const session = widget.sessionContext?.session?.id;
        widget.dispose();
        if (session) sessions.push(session);
    }
    app.shell.expandLeft?.();
    const isClean = window.pwned === undefined && !document.querySelector(".jp-Dialog, .jp-Notebook");
    return { sessions, isClean };
}"""


def wait_until_still(page: Page) -> None:
    """Wait until a page has done what it was about to do: drawn what is there, handled what was clicked."""
    page.evaluate(_STILL)


class NotebookPage:
    """A notebook in a browser page.

    Attributes:
        page: The Playwright page, for anything that this class does not provide.
        path: The file of the notebook.
        outside_requests: URLs on other hosts that the page requested. The browser blocks them all.
    """

    def __init__(self, lab: LabServer, page: Page, path: Path) -> None:
        self._lab = lab
        self._counts: dict[int, int | None] = {}
        self.path = path
        self.outside_requests: list[str] = []
        self.page = page
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("request", self._note_request)

    def open(self, place: str = "lab/tree") -> None:
        """Load or reload the page with this notebook, and wait until its kernel is ready."""
        self.page.goto(self._lab.page_url(self.path, place=place))
        self._wait_until_ready()

    def open_in_loaded_page(self, theme: str) -> None:
        """Open the notebook in a loaded page of Lab without open documents, in this theme."""
        self.page.evaluate(_OPEN, [self._lab.name_of(self.path), theme])
        self.wait_for(_HAS_THEME, theme)
        self._wait_until_ready()

    def wait_for(self, condition: str, argument: Any = None) -> None:
        """Wait until this JavaScript function of one argument returns true."""
        self.page.wait_for_function(condition, arg=argument, polling=POLLING_MS, timeout=TIMEOUT_MS)

    def cell(self, index: int) -> Locator:
        """Return the cell at `index`, from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return the whole output area of the cell at `index`."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def start_cell(self, index: int) -> None:
        """Run a cell with Ctrl+Enter, without waiting for it."""
        self._counts[index] = self.page.evaluate(
            "index => window.jupyterapp.shell.currentWidget.content.widgets[index].model.executionCount",
            index,
        )
        editor = self.cell(index).locator(".cm-content").first
        editor.click()
        editor.press("Control+Enter")

    def run_cell(self, index: int) -> None:
        """Run a cell, and wait for its end."""
        self.start_cell(index)
        self.wait_for_cell(index)

    def run_all(self) -> None:
        """Run all cells, and wait for the end of the last one that runs."""
        self.execute("notebook:run-all-cells")
        self.wait_until_idle()

    def interrupt(self) -> None:
        """Press the kernel's interrupt button (■)."""
        self.page.get_by_role("button", name="Interrupt the kernel").first.click()

    def wait_for_cell(self, index: int) -> None:
        """Wait until the cell that was started last at this index has its execution number, which it gets at its
        end."""
        self.wait_for(_HAS_RUN, [index, self._counts[index]])
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until the kernel is idle and no cell is queued."""
        self.wait_for(_IS_IDLE)

    def expect_running(self, index: int) -> None:
        """Wait until this cell is running or queued."""
        expect(self.cell(index).locator(".jp-InputPrompt").first).to_have_text("[*]:")

    def watch_for(self, pattern: str) -> None:
        """Record from now on whether the notebook shows text that matches, even briefly."""
        self.page.evaluate(_WATCH_FOR, pattern)

    def expect_seen(self) -> None:
        """Wait until the text has been shown."""
        self.wait_for("() => window.hasBeenSeen")

    def wait_until_still(self) -> None:
        """Wait until the page has done what it was about to do: drawn what is there, handled what was clicked."""
        wait_until_still(self.page)

    def press(self, control: Locator) -> None:
        """Press and hold the mouse on a control; repeat if the page has moved the control away."""
        element = control.element_handle()
        self.page.evaluate(
            "() => addEventListener('pointerdown', event => { window.pressed = event.target; }, {capture: true})"
        )
        control.hover()
        self.page.mouse.down()
        while not self.page.evaluate("element => element.contains(window.pressed)", element):
            self.page.mouse.up()
            control.hover()
            self.page.mouse.down()

    def execute(self, command: str, **arguments: Any) -> None:
        """Execute a command of Lab, and wait for it."""
        # The result of a command is not returned, because serialising a notebook's widget takes seconds.
        self.page.evaluate(
            "async ([id, args]) => { await window.jupyterapp.commands.execute(id, args); }",
            [command, arguments],
        )

    def saved(self) -> nbformat.NotebookNode:
        """Save the notebook, and return the content of its file."""
        self.execute("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def screenshot(self, name: str, element: Locator | None = None) -> None:
        """Take a picture of an element, or of the whole page, for people to look at: with `SCREENSHOTS=1` only."""
        if ARE_WANTED:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            (element or self.page).screenshot(path=SCREENSHOTS / f"{name}.png")

    def leave(self) -> bool:
        """Close the notebook and its kernel. Return whether the page can be used again."""
        self.page.remove_listener("request", self._note_request)
        try:
            left = self.page.evaluate(_LEAVE)
        except Error:  # the page is in an unknown state, and is not used again
            return False
        for session in left["sessions"]:
            self._lab.end_session(session)
        return bool(left["isClean"])

    def close(self) -> None:
        """End the notebook's kernel and close the page."""
        if not self.page.is_closed():
            self.leave()
            self.page.close()

    def _wait_until_ready(self) -> None:
        self.page.locator(".jp-Notebook").wait_for()
        self.wait_for(_IS_CURRENT)
        # On a busy machine the first status of a kernel may get lost. Lab then waits for it until somebody connects again.
        for _ in range(CONNECTIONS):
            with contextlib.suppress(TimeoutError):
                path = self._lab.name_of(self.path)
                self.page.wait_for_function(
                    _KERNEL_IS_READY, arg=path, polling=POLLING_MS, timeout=TIMEOUT_MS / CONNECTIONS
                )
                break
            self.page.evaluate(_RECONNECT)
        else:
            raise AssertionError(f"The notebook's kernel is not ready: {self.page.evaluate(_KERNEL)}")
        self.wait_until_idle()

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self._lab.url, "data:", "blob:")):
            self.outside_requests.append(request.url)
