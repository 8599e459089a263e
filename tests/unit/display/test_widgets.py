"""Widgets come and go only while no page asks for them."""

from __future__ import annotations

import ast
import gc
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import HTML, Button, GridBox, HBox, VBox, Widget

import claude_magic
from claude_magic.client import Usage
from claude_magic.display import AnswerContent, widgets
from claude_magic.display.widgets import LiveWidgets, close_all
from claude_magic.runtime import BlockSnapshot, Phase, ReplySnapshot

ASK = {"content": {"data": {"method": "request_states"}}}
LIBRARIES = {"ipywidgets", "anywidget"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OWNERS = {"display.widgets", "widgets"}


class Page:
    """Keeps what a page is told."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def send(self, data: dict[str, Any], **_buffers: object) -> None:
        self.states.append({model: each["state"] for model, each in data["states"].items()})


class Slow(HTML):
    """While a page is told of it, another thread does something, for which there is more than time enough."""

    work: Any = None
    at_once: Any = None

    def get_state(self, *args: Any, **kwargs: Any) -> Any:
        if self.at_once is not None:
            self.at_once()
        if self.work is not None:
            thread = threading.Thread(target=self.work, daemon=True)
            self.threads.append(thread)
            thread.start()
            thread.join(0.2)
        return super().get_state(*args, **kwargs)

    @property
    def threads(self) -> list[threading.Thread]:
        return self.__dict__.setdefault("_threads_of_test", [])


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page that has opened."""
    page = Page()
    monkeypatch.setattr(Widget, "_control_comm", page)
    yield page
    Widget.close_all()


def missing(state: dict[str, Any]) -> set[str]:
    """The widgets that a page is told are inside others, and is told nothing of."""
    inside = {
        str(part).removeprefix("IPY_MODEL_") for each in state.values() for part in each.get("children", ())
    }
    return inside - set(state)


@pytest.mark.parametrize(
    "make", [Button, lambda: VBox([HTML("inside")]), lambda: GridBox([HBox([Button()])])]
)
def test_a_widget_that_another_thread_makes_waits_until_the_page_is_told(page: Page, make: Any) -> None:
    """Also one of the user's, whose thread knows nothing of a lock."""
    slow = Slow("in the middle of all")
    slow.work = make

    Widget._handle_control_comm_msg(ASK)
    slow.work = None
    for thread in slow.threads:
        thread.join()
    Widget._handle_control_comm_msg(ASK)

    before, after = page.states
    assert slow.model_id in before
    assert len(after) > len(before)
    assert missing(before) == missing(after) == set()


class ClosesParts(VBox):
    """Closes what it holds, as panels do."""

    def close(self) -> None:
        close_all(self.children)
        super().close()


@pytest.mark.parametrize("make", [lambda: HTML("no longer needed"), lambda: ClosesParts([HTML("inside")])])
def test_collecting_closed_widgets_waits_for_nobody(page: Page, make: Callable[[], Widget]) -> None:
    """The collector runs in any thread, in the middle of anything: also where the thread that holds the lock waits for it."""
    slow = Slow("in the middle of all")
    closed = make()
    closed.itself = closed
    closed.close()
    kept = [closed]
    del closed
    threads: list[threading.Thread] = []
    stuck: list[str] = []

    def collect() -> None:
        kept.clear()
        gc.collect()

    def wait_for_collector() -> None:
        if not threads:
            threads.append(threading.Thread(target=collect, daemon=True))
            threads[0].start()
            threads[0].join(60.0)
            if threads[0].is_alive():
                stuck.extend(traceback.format_stack(sys._current_frames()[threads[0].ident]))

    slow.at_once = wait_for_collector

    Widget._handle_control_comm_msg(ASK)

    assert not stuck, "".join(stuck)
    assert slow.model_id in page.states[0]


def test_a_widget_that_another_thread_closes_waits_until_the_page_is_told(page: Page) -> None:
    """The page hears of all of it, and afterwards of nothing."""
    slow = Slow("in the middle of all")
    box = VBox([Button(), HBox([HTML("inside")])])
    parts = {box.model_id, *(part.model_id for part in (*box.children, *box.children[1].children))}
    slow.work = lambda: close_all([box])

    Widget._handle_control_comm_msg(ASK)
    slow.work = None
    for thread in slow.threads:
        thread.join()
    Widget._handle_control_comm_msg(ASK)

    before, after = page.states
    assert parts <= set(before)
    assert missing(before) == set()
    assert parts.isdisjoint(after)


def test_a_page_that_asks_while_a_tree_is_closed_hears_of_all_of_it_or_of_nothing(page: Page) -> None:
    """A box whose contents are gone already would be shown as "Loading widget..." for ever."""

    class Closing(HTML):
        def close(self) -> None:
            super().close()
            asking = threading.Thread(target=Widget._handle_control_comm_msg, args=(ASK,), daemon=True)
            askers.append(asking)
            asking.start()
            asking.join(0.2)

    askers: list[threading.Thread] = []
    box = VBox([HBox([Closing("first"), Closing("second")]), HTML("third")])
    parts = {box.model_id, *(part.model_id for part in (*box.children, *box.children[0].children))}

    close_all([box])
    for asker in askers:
        asker.join()

    assert len(page.states) == 2
    assert all(parts.isdisjoint(state) for state in page.states)


def test_nothing_is_closed_twice(page: Page) -> None:
    """Closing what is closed does no harm, with what is inside it or without."""
    box = VBox([HTML("inside")])
    box.children[0].close()

    close_all([box])
    close_all([box])

    Widget._handle_control_comm_msg(ASK)
    assert page.states == [{}]


def imported(node: ast.AST) -> set[str]:
    """What a module or a function imports when it is run, functions inside it left out."""
    names: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            names.add((child.module or "") if child.level else (child.module or "").partition(".")[0])
        elif not (isinstance(child, FUNCTIONS) or is_for_types(child)):
            names |= imported(child)
    return names


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def scopes(path: Path) -> Iterator[ast.AST]:
    """A module, and all functions in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield tree
    yield from (each for each in ast.walk(tree) if isinstance(each, FUNCTIONS))


def door_imports_owner(folder: Path) -> bool:
    """Whether a package imports the owner as soon as it is imported itself."""
    behind = [folder / f"{name}.py" for name in imported(next(scopes(folder / "__init__.py")))]
    return any(OWNERS & imported(next(scopes(path))) for path in behind if path.exists())


def test_whatever_makes_widgets_imports_the_owner_of_their_lock() -> None:
    """In the same function or module; or its package does, which is imported before."""
    root = Path(claude_magic.__file__).parent
    paths = [path for path in root.rglob("*.py") if path != Path(widgets.__file__)]

    making = [(path, scope) for path in paths for scope in scopes(path) if LIBRARIES & imported(scope)]
    lacking = [
        (path.name, getattr(scope, "name", "the module itself"))
        for path, scope in making
        if not OWNERS & (imported(scope) | imported(next(scopes(path))))
        and not door_imports_owner(path.parent)
    ]

    assert {"notebook", "panels"} <= {path.parent.name for path, _scope in making}
    assert lacking == []


SNAPSHOT = ReplySnapshot(
    blocks=(BlockSnapshot(kind="text", text="Hello.", is_complete=True),),
    phase=Phase.STREAMING,
    model="claude-sonnet-5-5",
    usage=Usage(),
    stop_reason=None,
    stop_details=None,
    stop_sequence=None,
    request_id=None,
    is_simulated=False,
    elapsed=2.0,
    wait=None,
    error=None,
    attempts=(),
    version=1,
)


def test_what_a_page_tells_of_its_views_waits_for_no_cell(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an answer in the background would lose its Stop button while another cell computes, as one that no page shows."""
    routed: list[Widget] = []
    monkeypatch.setattr(widgets, "route_to_subshell", lambda *each: routed.extend(each))
    live = LiveWidgets(AnswerContent(remote_images=False), stop=lambda: None)

    live.draw(SNAPSHOT)

    shown = live.show()["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert shown in [each.model_id for each in routed]
    assert any(isinstance(each, Button) for each in routed)
