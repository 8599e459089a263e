"""Panels without a kernel: imports, questions and errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ipywidgets import HBox
from ipywidgets.widgets.widget import _instances

from claude_magic.client import BucketState, ConfigurationError
from claude_magic.conversation import saved_answers
from claude_magic.panels import PromptPanel, _browser_side
from claude_magic.panels._tools import PanelApproval
from claude_magic.runtime import close_runtime, get_runtime
from claude_magic.simulator import Simulator
from claude_magic.tools import ToolCall

IDLE = BucketState(level=10.0, capacity=10.0, refill_rate=10.0, waiters=0, next_grant=None, paused_for=0.0)


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator for the runtime of this process."""
    with Simulator() as simulator:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", simulator.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-panel")
        yield simulator
        close_runtime()


def test_only_a_panel_imports_widgets() -> None:
    """`import claude_magic` and its client do not import widgets; `PromptPanel` imports ipywidgets and anywidget."""
    script = """
import sys
import claude_magic
from claude_magic import claude, Reply
assert not {"ipywidgets", "anywidget"} & set(sys.modules), "too early"
from claude_magic import PromptPanel
assert {"ipywidgets", "anywidget"} <= set(sys.modules)
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr


def test_questions_of_a_panel_are_one_conversation_of_its_own(sim: Simulator) -> None:
    """The second question is sent after the first one and its answer. Another panel sends neither."""
    panel, other = PromptPanel(), PromptPanel()

    panel.ask("Say exactly: one").result(timeout=120)
    panel.ask("And now?").result(timeout=120)
    other.ask("Hello").result(timeout=120)

    roles = [[message["role"] for message in request.body["messages"]] for request in sim.requests]
    assert roles == [["user"], ["user", "assistant", "user"], ["user"]]


def test_panels_of_one_thread_share_it(sim: Simulator) -> None:
    """Questions of one panel are sent with those of the other."""
    PromptPanel(thread="ours").ask("Say exactly: one").result(timeout=120)
    PromptPanel(thread="ours").ask("And now?").result(timeout=120)

    assert len(sim.requests[-1].body["messages"]) == 3


def test_half_an_emoji_is_shown_as_it_is_sent(sim: Simulator) -> None:
    """In the panel and in its transcript."""
    panel = PromptPanel()

    panel.ask("Say half \ud83d").result(timeout=120)

    (view,) = panel._exchanges.views
    assert sim.requests[0].body["messages"][0]["content"] == "Say half \ufffd"
    assert "Say half \ufffd" in view.children[0].value
    assert view.snapshot().question == "Say half \ufffd"


def test_a_cleared_panel_begins_a_new_conversation(sim: Simulator) -> None:
    """Nothing of the previous conversation is sent or shown."""
    panel = PromptPanel()
    panel.ask("Say exactly: one").result(timeout=120)

    panel.clear()
    panel.ask("Who are you?").result(timeout=120)

    assert len(sim.requests[-1].body["messages"]) == 1
    assert len(panel.replies) == 1


def test_a_second_question_has_to_wait_for_the_first_answer(sim: Simulator) -> None:
    """The error contains the remedy, and nothing is sent."""
    panel = PromptPanel()
    reply = panel.ask("!simulate long_answer\nGo on.")

    with pytest.raises(ConfigurationError, match="Stop it, or wait"):
        panel.ask("And this?")

    panel.stop()
    with pytest.raises(concurrent.futures.CancelledError):
        reply.result(timeout=120)
    assert len(sim.requests) <= 1


def test_options_of_a_panel_are_asked_with(sim: Simulator) -> None:
    """This covers model, effort, length and system prompt."""
    panel = PromptPanel(model="claude-opus-5", effort="low", max_tokens=321, system="Be brief.")

    panel.ask("Hello").result(timeout=120)

    body = sim.requests[-1].body
    assert body["model"] == "claude-opus-5"
    assert body["max_tokens"] == 321
    assert body["output_config"] == {"effort": "low"}
    assert "Be brief." in str(body["system"])


@pytest.mark.parametrize("most", [2_000_000, 10_000_000])
def test_a_panel_lowers_no_maximum_of_tokens(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Neither that of the settings nor that of its argument."""
    monkeypatch.setenv("CLAUDE_MAGIC_MAX_TOKENS", str(most))
    usual = PromptPanel()
    monkeypatch.delenv("CLAUDE_MAGIC_MAX_TOKENS")
    chosen = PromptPanel(max_tokens=most)

    assert usual._settings._max_tokens.placeholder == str(most)
    assert "max_tokens" not in usual._settings.options()
    assert get_runtime().settings(chosen._settings.options()).values.max_tokens == most


def test_an_explicit_maximum_of_tokens_does_not_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it is that of the settings when the panel is made."""
    panel = PromptPanel(max_tokens=get_runtime().settings().values.max_tokens)
    monkeypatch.setenv("CLAUDE_MAGIC_MAX_TOKENS", "77")

    assert get_runtime().settings(panel._settings.options()).values.max_tokens != 77


@pytest.mark.parametrize("most", [0, -5, 20_000_000])
def test_an_impossible_maximum_of_tokens_is_an_error(most: int) -> None:
    """It is raised immediately, and not replaced."""
    with pytest.raises(ConfigurationError, match=f"max_tokens is {most} and cannot be used"):
        PromptPanel(max_tokens=most)


def test_a_typed_maximum_of_tokens_is_sent_or_an_error(sim: Simulator) -> None:
    """Empty, the settings apply."""
    panel = PromptPanel(max_tokens=77)
    for typed in ("many", "0"):
        panel._settings._max_tokens.value = typed
        with pytest.raises(ConfigurationError, match=f"max_tokens is '{typed}' and cannot be used"):
            panel.ask("Hello")
    assert sim.requests == []

    for typed in (" 321 ", ""):
        panel._settings._max_tokens.value = typed
        panel.ask("Hello").result(timeout=120)

    usual = get_runtime().settings().values.max_tokens
    assert [request.body["max_tokens"] for request in sim.requests] == [321, usual]


def test_an_effort_that_does_not_exist_is_an_error() -> None:
    """It is raised immediately and lists the existing efforts."""
    with pytest.raises(ConfigurationError, match="low, medium, high"):
        PromptPanel(effort="enormous")


@pytest.mark.parametrize("name", ["", " ", "one two", "-x", "a/b", "x" * 10 + "!"])
def test_a_thread_has_a_name_that_cells_can_use(name: str) -> None:
    """A panel accepts the same names as `--thread`."""
    with pytest.raises(ConfigurationError, match="one word"):
        PromptPanel(thread=name)


def test_panels_of_one_thread_that_ask_at_once_both_get_their_answers(sim: Simulator) -> None:
    """Neither waits for the other, and the server accepts both."""
    panels = [PromptPanel(thread="at-once") for _ in range(2)]

    replies = [panel.ask(f"Say exactly: {number}") for number, panel in enumerate(panels)]

    assert [reply.result(timeout=120).text for reply in replies] == ["0", "1"]
    assert len(sim.requests) == 2


@pytest.mark.usefixtures("sim")
def test_a_closed_panel_stops_and_leaves_no_widget_behind() -> None:
    """ipywidgets keeps every open widget in the kernel and in the browser."""
    PromptPanel().close()  # the first one makes what all share
    before = len(_instances)
    panel = PromptPanel()
    reply = panel.ask("!simulate long_answer\nGo on.")

    panel.close()

    with pytest.raises(concurrent.futures.CancelledError):
        reply.result(timeout=120)
    assert wait_until(lambda: len(_instances) <= before)
    assert panel.replies == (reply,)


@pytest.mark.usefixtures("sim")
def test_a_cleared_panel_keeps_no_widgets_of_what_it_showed() -> None:
    """Repeated clearing does not accumulate widgets."""
    panel = PromptPanel()
    before = len(_instances)

    for _ in range(3):
        panel.ask("Hello").result(timeout=120)
        panel.clear()

    assert wait_until(lambda: len(_instances) <= before)


def test_tools_need_a_kernel(sim: Simulator) -> None:
    """The error names an alternative, and nothing is sent."""
    panel = PromptPanel(tools=[len_of])

    with pytest.raises(ConfigurationError, match="there is no kernel here"):
        panel.ask("Hello")

    assert sim.requests == []


@pytest.mark.parametrize("length", [10, 3_950, 4_100, 30_000])
def test_a_call_is_shown_to_its_end_before_a_button_can_allow_it(length: int) -> None:
    """A further button shows more of it. "Deny" works immediately."""
    call = ToolCall(name="run", arguments={"code": "#" * length + " the tail"})

    async def allow() -> tuple[str, list[bool]]:
        bar = PanelApproval(lambda _words: None)
        asked = asyncio.ensure_future(bar.decide(call, on_press=lambda: None))
        await asyncio.sleep(0)
        words, row = bar.children
        allow_one, deny, allow_all, *more = row.children
        states = []
        for button in more * (len(call.pages()) - 1):
            states.append(allow_one.disabled and allow_all.disabled and not deny.disabled)
            button.click()
        assert " the tail" in words.value
        assert not allow_one.disabled
        assert not allow_all.disabled
        allow_one.click()
        return await asked, states

    assert asyncio.run(allow()) == ("", [True] * (len(call.pages()) - 1))


def test_a_panel_says_what_it_goes_on_from(sim: Simulator) -> None:
    """It shows the turns of its thread before its own; after Clear none, because none is sent."""
    cells, other = PromptPanel(thread="sums"), PromptPanel(thread="other")
    for prompt in ("Say exactly: one", "Say exactly: two"):
        cells.ask(prompt).result(timeout=120)

    panel = PromptPanel(thread="sums", model="opus")
    panel.ask("Say exactly: three").result(timeout=120)

    assert "sums · opus" in panel._heading.value
    assert "sums · 2 earlier turns" in panel._earlier.value
    assert "Say exactly: three" not in panel._earlier.value
    assert cells._earlier.value == other._earlier.value == ""
    panel._settings._thread.value = "other"
    assert "other · opus" in panel._heading.value
    assert panel._earlier.value == ""
    panel._settings._thread.value = "sums"
    assert "sums · 3 earlier turns" in panel._earlier.value
    panel.clear()
    assert panel._earlier.value == ""


def test_a_panel_shows_the_turns_of_the_chosen_thread_only(sim: Simulator) -> None:
    """Those that Claude sees. What it showed before is folded when its thread is chosen again."""
    PromptPanel(thread="waves").ask("Say exactly: spring").result(timeout=120)
    panel = PromptPanel(thread="primes")
    for prompt in ("Say exactly: one", "Say exactly: two"):
        panel.ask(prompt).result(timeout=120)

    panel._settings._thread.value = "waves"
    assert panel.replies == ()
    assert "waves · 1 earlier turn" in panel._earlier.value
    panel.ask("Say exactly: neap").result(timeout=120)
    assert len(sim.requests[-1].body["messages"]) == 3
    assert [reply.text for reply in panel.replies] == ["neap"]

    panel._settings._thread.value = "primes"
    assert panel.replies == ()
    assert "primes · 2 earlier turns" in panel._earlier.value
    panel.ask("Say exactly: three").result(timeout=120)
    assert len(sim.requests[-1].body["messages"]) == 5
    assert "primes · 2 earlier turns" in panel._earlier.value


@pytest.mark.usefixtures("sim")
def test_a_transcript_holds_all_threads_and_says_where_one_begins() -> None:
    """Clear removes the exchanges of its own thread only."""
    panel = PromptPanel(thread="flow")
    for thread in ("flow", "ebb", "ebb", "flow"):
        panel._settings._thread.value = thread
        panel.ask(f"Of {thread}").result(timeout=120)

    ended = panel._ended()
    assert [each.threads for each in ended.values()] == [None, ("flow", "ebb"), None, ("ebb", "flow")]

    panel.clear()
    assert [each.question for each in panel._ended().values()] == ["Of ebb", "Of ebb"]


def test_a_cleared_thread_is_not_that_of_the_next_question(sim: Simulator) -> None:
    """Another thread that is chosen after Clear continues."""
    PromptPanel(thread="moon").ask("Say exactly: spring").result(timeout=120)
    panel = PromptPanel(thread="sun")

    panel.clear()
    panel._settings._thread.value = "moon"
    assert "moon · 1 earlier turn" in panel._earlier.value
    panel.ask("And now?").result(timeout=120)

    assert len(sim.requests[-1].body["messages"]) == 3


@pytest.mark.usefixtures("sim")
def test_the_thread_stays_while_its_answer_is_in_flight() -> None:
    """The field is disabled. A change that has been on its way is shown with the next question."""
    panel = PromptPanel(thread="rain")
    reply = panel.ask("!simulate long_answer\nGo on.")
    assert panel._settings._thread.disabled
    panel._settings._thread.value = "wind"
    assert panel.replies == (reply,)

    panel.stop()
    assert wait_until(lambda: not panel._settings._thread.disabled)
    after = panel.ask("Hello")

    assert panel.replies == (after,)
    after.result(timeout=120)


def test_a_panel_is_one_short_line_where_there_are_no_widgets() -> None:
    """Examples are GitHub and exports. Inside the user's own box, its repr is short."""
    panel = PromptPanel(thread="sums")

    bundle = panel._repr_mimebundle_()

    assert bundle["text/plain"] == "Claude panel on thread sums: run this cell to open it."
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id
    assert repr(HBox([panel])) == "HBox(children=(PromptPanel(thread='sums'),))"


def test_an_edit_removes_an_error_and_nothing_else() -> None:
    """A sentence about what was done stays."""
    panel = PromptPanel()
    edit = {"edited": True}

    panel._settings._max_tokens.value = "many"
    panel._composer._prompt.value = "Hello"
    panel._composer._send.click()
    assert "max_tokens is" in panel._note.value
    panel._browser._handle_custom_msg(edit, [])
    assert panel._note.value == ""

    panel._note.show("Copied.")
    panel._browser._handle_custom_msg(edit, [])
    assert "Copied." in panel._note.value


def test_a_panel_asks_or_does_not() -> None:
    """Other values of `approve` are errors."""
    with pytest.raises(ConfigurationError, match=r"not 'always'\. Nothing was sent\."):
        PromptPanel(tools=[len_of], approve="always")  # type: ignore[arg-type]


def len_of(text: str) -> int:
    """Count the elements."""
    return len(text)


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition. Return whether it became true."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_where_one_output_holds_all_answers_it_shows_the_turns_of_all(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is the case with ipykernel 6, so that a notebook restores the conversation there as well."""
    updates: list[dict[str, Any]] = []
    handle = SimpleNamespace(
        display=lambda *_args, **_kwargs: None,
        update=lambda _data, **kwargs: updates.append(kwargs["metadata"]),
    )
    monkeypatch.setattr(_browser_side, "FrontEnd", lambda _shell: SimpleNamespace(follows_context=False))
    monkeypatch.setattr(_browser_side, "DisplayHandle", lambda: handle)
    panel = PromptPanel()
    for prompt in ("One", "Two"):
        panel.ask(prompt).result(timeout=120)

    panel._transcript.show(panel._exchanges.ended())

    output = {"metadata": updates[-1], "data": {"text/html": ""}}
    cell = {"cell_type": "code", "id": "a", "source": "%claude panel", "outputs": [output]}
    answers = saved_answers({"cells": [cell]})
    assert [answer.turn["prompt"] for answer in answers] == ["One", "Two"]
    assert [answer.text for answer in answers] == [reply.text for reply in panel.replies]
