"""Fixtures for tests in a real browser: one JupyterLab server, one headless Chromium, a fresh page for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="No browser test ran: Playwright is not installed.")
sys.path.insert(0, str(Path(__file__).parent))

from chromium import ARGUMENTS, find_chromium
from lab_server import API_KEY, LabServer
from notebook_page import TIMEOUT_MS, NotebookPage
from playwright.sync_api import Browser, sync_playwright

from claude_magic.simulator import Simulator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, and give a test in a browser more time than others have."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    executable = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, timeout=TIMEOUT_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab server, shared by all tests: each uses notebooks of its own."""
    with LabServer(tmp_path_factory.mktemp("lab") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A simulator that streams at a pace that leaves time to look."""
    with Simulator(chunk_delay=0.03) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def server(sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab whose kernels talk to the simulator as to any server."""
    variables = {
        "ANTHROPIC_BASE_URL": sim.url,
        "ANTHROPIC_API_KEY": API_KEY,
        "CLAUDE_MAGIC_INITIAL_BACKOFF": "4",
    }
    with LabServer(tmp_path_factory.mktemp("lab") / "server", variables) as lab:
        yield lab


@pytest.fixture
def open_notebook(browser: Browser, lab: LabServer) -> Iterator[Callable[..., NotebookPage]]:
    """Return a function that opens a notebook of the shared server in a fresh page, in the light or the dark theme."""
    pages: list[NotebookPage] = []

    def open_in_page(
        path: Path, *, theme: str = "Light", width: int = 1200, server: LabServer = lab
    ) -> NotebookPage:
        server.write_settings("@jupyterlab/apputils-extension/themes", {"theme": f"JupyterLab {theme}"})
        context = browser.new_context(viewport={"width": width, "height": 1000})
        notebook = NotebookPage(server, context, path)
        pages.append(notebook)
        notebook.open()
        return notebook

    yield open_in_page
    for page in pages:
        page.close()
        page.page.context.close()
