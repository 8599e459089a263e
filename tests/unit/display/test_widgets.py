"""Widgets are created and closed only while no page requests them; live views; approval questions."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import gc
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ipywidgets import HTML, Button, GridBox, HBox, VBox, Widget

import claude_magic
from claude_magic.display import AnswerContent, ComparisonContent, widgets
from claude_magic.display.widgets import ALLOW, DENY, ApprovalBar, LiveView, close_all
from claude_magic.render import Bundle, Column
from claude_magic.runtime import BlockSnapshot, Phase, ReplySnapshot
from claude_magic.tools import ToolCall

from ..beginnings import BEGINNING

ASK = {"content": {"data": {"method": "request_states"}}}
LIBRARIES = {"ipywidgets", "anywidget"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OWNERS = {"display.widgets", "widgets"}


class Page:
    """A comm that records the messages to a page."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def send(self, data: dict[str, Any], **_buffers: object) -> None:
        self.states.append({model: each["state"] for model, each in data["states"].items()})


class Slow(HTML):
    """A widget during whose state request another thread runs, with more than enough time."""

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
    """Return the widgets that the page knows only as children of others, without their state."""
    inside = {
        str(part).removeprefix("IPY_MODEL_") for each in state.values() for part in each.get("children", ())
    }
    return inside - set(state)


@pytest.mark.parametrize(
    "make", [Button, lambda: VBox([HTML("inside")]), lambda: GridBox([HBox([Button()])])]
)
def test_a_widget_that_another_thread_makes_waits_until_all_is_sent(page: Page, make: Any) -> None:
    """This includes widgets of the user, whose threads do not use the lock."""
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
    """A box that closes its children, as panels do."""

    def close(self) -> None:
        close_all(self.children)
        super().close()


@pytest.mark.parametrize("make", [lambda: HTML("no longer needed"), lambda: ClosesParts([HTML("inside")])])
def test_collecting_closed_widgets_waits_for_nobody(page: Page, make: Callable[[], Widget]) -> None:
    """The garbage collector may run in any thread at any point, so it must not wait for the lock."""
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


def test_a_widget_that_another_thread_closes_waits_until_all_is_sent(page: Page) -> None:
    """The page first receives the whole widget, and afterwards nothing of it."""
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


def test_a_page_that_asks_while_a_tree_is_closed_receives_all_of_it_or_nothing(page: Page) -> None:
    """A box with closed contents would be shown as "Loading widget..." forever."""

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
    """Closing a closed widget has no effect, with or without children."""
    box = VBox([HTML("inside")])
    box.children[0].close()

    close_all([box])
    close_all([box])

    Widget._handle_control_comm_msg(ASK)
    assert page.states == [{}]


def imported(node: ast.AST) -> set[str]:
    """Return the imports of a module or function, without those of functions inside it."""
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
    """Return a module and all functions in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield tree
    yield from (each for each in ast.walk(tree) if isinstance(each, FUNCTIONS))


def package_imports_owner(folder: Path) -> bool:
    """Whether importing a package imports the owner of the lock."""
    behind = [folder / f"{name}.py" for name in imported(next(scopes(folder / "__init__.py")))]
    return any(OWNERS & imported(next(scopes(path))) for path in behind if path.exists())


def test_whatever_makes_widgets_imports_the_owner_of_their_lock() -> None:
    """The import is in the same function or module, or in its package, which is imported first."""
    root = Path(claude_magic.__file__).parent
    paths = [path for path in root.rglob("*.py") if path != Path(widgets.__file__)]

    making = [(path, scope) for path in paths for scope in scopes(path) if LIBRARIES & imported(scope)]
    lacking = [
        (path.name, getattr(scope, "name", "the module itself"))
        for path, scope in making
        if not OWNERS & (imported(scope) | imported(next(scopes(path))))
        and not package_imports_owner(path.parent)
    ]

    assert {"notebook", "panels"} <= {path.parent.name for path, _scope in making}
    assert lacking == []


def growing(text: str) -> ReplySnapshot:
    """An answer that has grown up to this text."""
    blocks = (BlockSnapshot(kind="text", text=text, is_complete=False),)
    return dataclasses.replace(BEGINNING, phase=Phase.STREAMING, blocks=blocks, elapsed=2.0)


class RecordedView:
    """A view whose messages are recorded, and the messages from its page."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, content: Any = None) -> None:
        self.stops = 0
        self.messages: list[dict[str, Any]] = []
        monkeypatch.setattr(
            LiveView, "_send", lambda _view, message, **_buffers: self.messages.append(message)
        )
        content = content or AnswerContent(remote_images=False)
        self.view = LiveView(content.columns, remote_images=False, remark="", stop=self._stop)
        self.messages.clear()

    def say(self, **content: Any) -> None:
        data = {"method": "custom", "content": content}
        self.view._handle_msg({"content": {"data": data}, "buffers": []})

    def updates(self) -> list[dict[str, Any]]:
        """The states sent since the last call."""
        taken = [message["state"] for message in self.messages if message["method"] == "update"]
        self.messages.clear()
        return taken

    def _stop(self) -> None:
        self.stops += 1


@pytest.fixture
def recorded(page: Page, monkeypatch: pytest.MonkeyPatch) -> RecordedView:
    return RecordedView(monkeypatch)


BEGUN = "First.\n\nSecond, $x$\n"


def test_an_update_of_an_answer_holds_the_blocks_that_have_changed(recorded: RecordedView) -> None:
    """A page that requests the state of all widgets receives all blocks."""
    recorded.view.draw(growing(BEGUN))
    recorded.updates()

    recorded.view.draw(growing(f"{BEGUN}and more\n\nThird\n"))

    (update,) = recorded.updates()
    assert sorted(update) == ["0.1", "0.2"]
    assert "and more" in update["0.1"]
    state = recorded.view.get_state()
    assert ["First" in state["0.0"], "Third" in state["0.2"], state["can_stop"]] == [True] * 3
    assert recorded.view.get_state("0.1") == {"0.1": update["0.1"]}
    recorded.view.draw(growing(f"{BEGUN}and more\n\nThird\n"))
    assert recorded.updates() == []


def test_a_page_that_has_the_widget_is_sent_all_that_it_may_have_missed(recorded: RecordedView) -> None:
    """This includes a page that is opened later."""
    recorded.say(do="listen")
    assert recorded.view.has_page
    assert recorded.updates() == []
    recorded.view.draw(growing(BEGUN))
    recorded.updates()

    recorded.say(do="listen")

    (update,) = recorded.updates()
    assert sorted(update) == ["0.0", "0.1", "has_ended", "question"]


FINAL = Bundle({"text/html": "<p>All</p>", "text/plain": "All"}, {"a": 1})


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> deque[LiveView]:
    """The views that are kept, at first none."""
    monkeypatch.setattr(LiveView, "_kept", views := deque[LiveView]())
    return views


def test_at_its_end_it_becomes_small_and_gives_its_final_output_to_pages_that_ask(
    recorded: RecordedView, kept: deque[LiveView]
) -> None:
    """A notebook that was saved meanwhile contains the view. One short message reports the end."""
    recorded.view.draw(growing(BEGUN))
    recorded.view.show()
    recorded.say(do="finish")  # too early
    recorded.messages.clear()

    recorded.view.end(lambda: FINAL)

    assert recorded.updates() == [{"has_ended": True}]
    assert not [name for name in recorded.view.get_state() if name.startswith("0.")]
    recorded.say(do="finish")
    recorded.say(do="stop")
    answer = {"do": "finish", "data": FINAL.data, "metadata": FINAL.metadata}
    assert [message["content"] for message in recorded.messages] == [answer]
    assert recorded.stops == 0


def test_a_page_that_misses_the_end_learns_of_it(recorded: RecordedView, kept: deque[LiveView]) -> None:
    """It has requested the state before the end, and announces itself after it."""
    recorded.view.show()
    recorded.view.end(lambda: FINAL)
    recorded.updates()

    recorded.say(do="listen")

    assert recorded.updates() == [{"has_ended": True, "question": {}}]


def test_only_views_that_a_display_has_shown_are_kept_and_only_the_last_of_them(
    page: Page, monkeypatch: pytest.MonkeyPatch, kept: deque[LiveView]
) -> None:
    """Without a limit, each page that opens would receive all of a long session."""
    monkeypatch.setattr(widgets, "_MOST_KEPT", 2)
    views = [RecordedView(monkeypatch).view for _ in range(4)]
    for view in views[1:]:
        view.show()

    for view in views:
        view.end(lambda: FINAL)

    assert [view.comm is not None for view in views] == [False, False, True, True]
    assert [*kept] == views[2:]


def test_answers_side_by_side_have_headings_in_one_widget(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer has its own blocks."""
    recorded = RecordedView(monkeypatch, ComparisonContent(remote_images=False))
    columns = [Column(name=name, kept_in="_", answer=growing(f"By {name}")) for name in ("sonnet", "opus")]

    recorded.view.draw(SimpleNamespace(columns=columns))

    state = recorded.view.get_state()
    assert state["count"] == 2
    assert "opus" in state["1.heading"]
    assert "By opus" in state["1.0"]


def test_what_a_page_sends_waits_for_no_cell(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a background answer could not be stopped while another cell runs."""
    routed: list[Widget] = []
    monkeypatch.setattr(widgets, "route_to_subshell", lambda *each: routed.extend(each))

    recorded = RecordedView(monkeypatch)
    recorded.say(do="stop")

    assert recorded.view in routed
    assert recorded.stops == 1


CALL = ToolCall(name="tide_table", arguments={"port": "<b>Brest</b>"})
LONG_CALL = ToolCall(name="tide_table", arguments={"port": "quay " * 1_000 + "THE TAIL"})
ENABLED = "is_enabled"


def asked(
    recorded: RecordedView, *presses: dict[str, Any], call: ToolCall = CALL
) -> tuple[str, list[dict[str, Any]]]:
    """Ask, and click on the page. Return the decision and the questions sent to the page, of which the last is empty."""

    async def ask() -> str:
        asking = asyncio.ensure_future(recorded.view.ask(call))
        await asyncio.sleep(0)
        for press in presses:
            recorded.say(do="press", **press)
        return await asyncio.wait_for(asking, 120)

    verdict = asyncio.run(ask())
    return verdict, [update["question"] for update in recorded.updates()]


def test_a_question_is_part_of_the_view_until_a_button_is_pressed(recorded: RecordedView) -> None:
    """The question includes the buttons in order. A page that opens meanwhile receives it as well."""
    verdict, (question, none) = asked(recorded, {"number": 1, "label": DENY})

    assert verdict == DENY
    assert "tide_table(port='&lt;b&gt;Brest&lt;/b&gt;')" in question["html"]
    assert [each["label"] for each in question["buttons"]] == ["Allow", "Deny", "Allow all"]
    assert question["buttons"][0] == {"label": "Allow", "hint": "Let tide_table run", "is_enabled": True}
    assert (none, recorded.view.get_state("question")) == ({}, {"question": {}})


@pytest.mark.parametrize(
    "early", [{"number": 1, "label": ALLOW}, {"label": ALLOW}, {"number": 2, "label": "All"}]
)
def test_a_press_decides_about_the_call_that_it_was_shown_for(
    recorded: RecordedView, early: dict[str, Any]
) -> None:
    """A late or second click, one from another page, or an unknown label does not decide the next call."""
    asked(recorded, {"number": 1, "label": ALLOW})
    recorded.say(do="press", number=1, label=ALLOW)

    verdict, _ = asked(recorded, early, {"number": 2, "label": DENY}, {"number": 2, "label": ALLOW})

    assert verdict == DENY


def test_a_long_call_is_shown_to_its_end_before_it_can_be_allowed(recorded: RecordedView) -> None:
    """A button shows more of it. Until the end, the allowing buttons have no effect, even if the page sends a click."""
    allow, more = {"number": 1, "label": ALLOW}, {"number": 1, "label": "Show more"}

    verdict, (first, second, _) = asked(recorded, allow, more, allow, call=LONG_CALL)

    assert verdict == ALLOW
    assert ["THE TAIL" in each["html"] for each in (first, second)] == [False, True]
    assert [[button[ENABLED] for button in each["buttons"]] for each in (first, second)] == [
        [False, True, False, True],
        [True, True, True, False],
    ]


def test_the_buttons_of_a_bar_show_a_long_call_in_the_same_way(page: Page) -> None:
    """The bar asks in panels, and if no page has the widget of the answer. Its decision is reported immediately."""
    pressed: list[str] = []

    async def ask() -> str:
        bar = ApprovalBar()
        verdict = bar.ask(LONG_CALL, on_press=lambda: pressed.append("pressed"))
        words, row = bar.children
        buttons = {button.description: button for button in row.children}
        buttons["Allow"].click()
        assert [button.disabled for button in row.children] == [True, False, True, False]
        assert ("THE TAIL" in words.value, pressed) == (False, [])
        buttons["Show more"].click()
        assert [button.disabled for button in row.children] == [False, False, False, True]
        assert ("THE TAIL" in words.value, pressed) == (True, [])
        buttons["Allow all"].click()
        assert pressed == ["pressed"]
        return await asyncio.wait_for(verdict, 120)

    assert asyncio.run(ask()) == "Allow all"


def test_a_question_that_is_given_up_is_taken_away(recorded: RecordedView) -> None:
    """Stop or an interrupt cancels it."""

    async def ask() -> None:
        asking = asyncio.ensure_future(recorded.view.ask(CALL))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(ask())

    assert [bool(update["question"]) for update in recorded.updates()] == [True, False]
    recorded.say(do="press", number=1, label=ALLOW)  # there is no question any more
    assert recorded.updates() == []


def test_a_page_is_given_a_while_to_say_that_it_has_the_widget(
    recorded: RecordedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time counts from the creation of the widget, so a late question does not wait."""

    async def wait_for_page() -> bool:
        waiting = asyncio.ensure_future(recorded.view.wait_for_page())
        await asyncio.sleep(0)
        threading.Thread(target=recorded.say, kwargs={"do": "listen"}).start()
        return await asyncio.wait_for(waiting, 120)

    monkeypatch.setattr(widgets, "PAGE_TIMEOUT", 0.0)
    assert not asyncio.run(recorded.view.wait_for_page())
    monkeypatch.setattr(widgets, "PAGE_TIMEOUT", 3600.0)
    assert asyncio.run(wait_for_page())
    assert asyncio.run(recorded.view.wait_for_page())
