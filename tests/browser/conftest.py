"""Fixtures for tests in a real browser, with one JupyterLab server and one headless Chromium per session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="No browser test ran: Playwright is not installed.")
sys.path.insert(0, str(Path(__file__).parent))

from chromium import ARGUMENTS, find_chromium
from lab_server import API_KEY, LabServer, NotebookFolder
from notebook_page import TIMEOUT_MS, NotebookPage
from page_pool import PagePool
from playwright.sync_api import Browser, sync_playwright

from claude_magic.simulator import Simulator

HERE = Path(__file__).parent
LOAD = "%load_ext claude_magic"
HAS_PASSED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests in this folder, and give them a longer timeout."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record whether a test has passed, for its fixtures."""
    report = yield
    if report.when == "call":
        item.stash[HAS_PASSED] = report.passed
    return report


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
    """A JupyterLab server for all tests, each of which uses its own notebooks."""
    with LabServer(tmp_path_factory.mktemp("lab") / "server") as server:
        yield server


@pytest.fixture(scope="session")
def pages(browser: Browser, lab: LabServer) -> PagePool:
    """The page pool of that server."""
    return PagePool(browser, lab)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A simulator that answers immediately. Tests that examine a partial answer hold it there."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """Environment variables of a module's kernels, in addition to the server's address and the key."""
    return {}


@pytest.fixture(scope="module")
def folder(
    request: pytest.FixtureRequest, lab: LabServer, sim: Simulator, variables: dict[str, str]
) -> NotebookFolder:
    """A folder for the notebooks of a module, whose kernels use the simulator like a real server."""
    name = request.module.__name__.rpartition("test_")[2].replace("_", "-")
    return lab.folder(name, {"ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": API_KEY, **variables})


@pytest.fixture
def open_notebook(pages: PagePool, request: pytest.FixtureRequest) -> Iterator[Callable[..., NotebookPage]]:
    """Return a function that opens a notebook of the shared server, in the light or dark theme."""
    opened: list[NotebookPage] = []

    def open_in_page(path: Path, *, theme: str = "Light", width: int = 1200) -> NotebookPage:
        notebook = pages.open(path, theme=theme, width=width)
        opened.append(notebook)
        return notebook

    yield open_in_page
    has_passed = request.node.stash.get(HAS_PASSED, False)
    for notebook in opened:
        pages.take_back(notebook, is_sound=has_passed)


@pytest.fixture
def notebook(
    open_notebook: Callable[..., NotebookPage],
    folder: NotebookFolder,
    sim: Simulator,
    request: pytest.FixtureRequest,
) -> Callable[..., NotebookPage]:
    """Return a function that opens a notebook with these cells; the first one loads the extension and has already
    run."""
    sim.clear()

    def open_with(*sources: str, **looks: Any) -> NotebookPage:
        cells = [nbformat.v4.new_code_cell(source) for source in (LOAD, *sources)]
        name = request.node.name.translate(str.maketrans("[] ", "---"))
        page = open_notebook(folder.write_notebook(f"{name}.ipynb", cells), **looks)
        page.run_cell(0)
        return page

    return open_with
