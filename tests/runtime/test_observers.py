"""Callbacks that raise: it is reported, and costs neither the answer, nor other callbacks, nor code that waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from claude_magic._observers import Observers
from claude_magic.bulk import MapRequest, MapRun, MapStoppedError, make_plan
from claude_magic.client import MessageRequest
from claude_magic.notebook._compare import Comparison
from claude_magic.runtime import Phase, Question, Reply, Runtime
from claude_magic.simulator import Gate, Simulator, hold

TIMEOUT = 120.0
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
ERRORS = [ZeroDivisionError, SystemExit, asyncio.CancelledError]
"""The last two would end the bridge thread, and cancel the map or answer."""


def raising(error: type[BaseException]) -> Callable[..., Any]:
    """Return a callback that raises."""

    def callback(*_: object) -> None:
        raise error

    return callback


def start_reply(runtime: Runtime) -> Reply:
    return runtime.start("Say exactly: fine")


def start_comparison(runtime: Runtime) -> Comparison:
    replies = {name: runtime.start("Say exactly: fine", model=name) for name in ("opus", "sonnet")}
    return Comparison("?", replies, variable="out")


def start_map(runtime: Runtime) -> MapRun:
    question = Question(prompt="Say exactly: {{ item }}")
    request = MapRequest(question=question, items=list(range(3)), names={}, journal=False)
    plan = make_plan(request, runtime)
    list(plan.read())
    return plan.start()


def wait_for(subject: Any) -> None:
    """Wait until an answer, a comparison or a map has ended, on another thread."""
    has_ended = threading.Event()
    threading.Thread(target=lambda: subject.when_done(has_ended.set), daemon=True).start()
    assert has_ended.wait(TIMEOUT)


@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt])
@pytest.mark.parametrize("start", [start_reply, start_comparison, start_map])
def test_an_observer_that_raises_costs_nothing(
    runtime: Runtime,
    sim: Simulator,
    caplog: pytest.LogCaptureFixture,
    start: Callable[[Runtime], Any],
    error: type[BaseException],
) -> None:
    """All callbacks raise; those registered later are called as well."""
    gate = Gate()
    sim.script(*[hold(gate, after_deltas=1, text="fine")] * 3)
    subject, calls = start(runtime), []
    subject.observe(raising(error))
    subject.when_done(raising(error))
    subject.observe(lambda seen: calls.append(seen.phase))
    subject.when_done(lambda: calls.append("ended"))
    gate.open()
    wait_for(subject)

    assert subject.phase is Phase.COMPLETE
    assert calls[-2:] == [Phase.COMPLETE, "ended"]
    assert error.__name__ in caplog.text
    assert runtime.start("Say exactly: next").result(TIMEOUT).text  # the bridge thread is still there


def test_the_first_error_is_printed_and_all_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few users see the log, and one that fails at each change would flood the notebook."""
    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    observers = Observers("a reply")
    observers.add(raising(ZeroDivisionError))
    for _ in range(3):
        observers.notify()

    assert [(each.exc_type, each.thread) for each in printed] == [
        (ZeroDivisionError, threading.current_thread())
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


def test_ctrl_c_in_a_callback_comes_after_the_other_callbacks(runtime: Runtime) -> None:
    """On the main thread it is the user's."""
    observers, called = Observers("a reply"), []

    def interrupt() -> None:
        raise KeyboardInterrupt

    observers.add(interrupt)
    observers.add(lambda: called.append("change"))
    observers.add_for_end(interrupt)
    observers.add_for_end(lambda: called.append("end"))

    with pytest.raises(KeyboardInterrupt):
        observers.end()

    assert called == ["change", "end"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("start", [start_reply, start_comparison, start_map])
def test_a_callback_for_an_end_that_has_passed_raises_nothing(
    runtime: Runtime, start: Callable[[Runtime], Any], error: type[BaseException]
) -> None:
    """It is called at once, and its error is logged as it would be at the end."""
    subject = start(runtime)
    wait_for(subject)

    subject.when_done(raising(error))()


def test_a_map_whose_observer_raises_in_the_last_notice_ends(runtime: Runtime) -> None:
    """Code that waits is woken."""
    run = start_map(runtime)
    run.observe(lambda seen: 1 / 0 if seen.done() else None)
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(run.result()), daemon=True)
    waiting.start()
    waiting.join(TIMEOUT)

    assert results == [["0", "1", "2"]]


def test_a_map_that_is_stopped_wakes_all_who_wait_in_spite_of_an_observer(
    runtime: Runtime, sim: Simulator
) -> None:
    gate = Gate()
    sim.script(*[hold(gate)] * 3)
    run = start_map(runtime)
    run.observe(raising(ZeroDivisionError))
    run.when_done(raising(ZeroDivisionError))
    run.cancel()

    with pytest.raises(MapStoppedError, match="The map was stopped"):
        run.result(TIMEOUT)
    gate.open()


def test_a_removed_callback_is_not_called(runtime: Runtime, sim: Simulator) -> None:
    """Another registration of the same function still is."""
    gate = Gate()
    sim.script(*[hold(gate)] * 3)
    run, calls = start_map(runtime), []

    def note(*_: object) -> None:
        calls.append("called")

    forget = run.when_done(note)
    run.when_done(note)
    forget()
    run.observe(lambda _: calls.append("never"))()
    gate.open()
    run.result(TIMEOUT)

    assert calls == ["called"]


def test_a_watcher_of_starts_that_raises_costs_no_answer(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a gauge whose widget was closed."""
    calls: list[str] = []
    runtime.watch(raising(ZeroDivisionError))
    forget = runtime.watch(lambda: calls.append("started"))

    assert runtime.start("Say exactly: fine").result(TIMEOUT).text == "fine"
    forget()
    runtime.start("Say exactly: again").result(TIMEOUT)

    assert calls == ["started"]
    assert "ZeroDivisionError" in caplog.text


def test_a_watcher_stays_when_the_runtime_is_replaced(runtime: Runtime, sim: Simulator) -> None:
    """After a reload of the code; it can still be removed."""
    calls: list[str] = []
    forget = runtime.watch(lambda: calls.append("started"))
    environment = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": sim.url}
    heir = Runtime(environment=environment, inherited=runtime.hand_over())
    try:
        heir.start("Hello").result(TIMEOUT)
        forget()
        heir.start("Hello").result(TIMEOUT)
    finally:
        heir.close()

    assert calls == ["started"]


@pytest.mark.parametrize("replay", ["off", "auto", "only"])
def test_an_observer_of_a_request_costs_no_answer(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, replay: str
) -> None:
    """Whether it is answered by the server, recorded, or replayed."""
    request = MessageRequest(
        model="claude-sonnet-5-5", max_tokens=100, messages=[{"role": "user", "content": "Say exactly: hi"}]
    )
    if replay == "only":
        runtime.submit(lambda client: client.send_message(request), {"replay": "auto"}).result(TIMEOUT)

    sent = runtime.submit(
        lambda client: client.send_message(request, observer=raising(ZeroDivisionError)), {"replay": replay}
    )

    assert sent.result(TIMEOUT).text == "hi"
    assert "an observer failed on" in caplog.text


@pytest.mark.parametrize("start", [start_reply, start_map])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_work_that_would_end_a_program_costs_no_answer(
    runtime: Runtime, sim: Simulator, error: type[BaseException], start: Callable[[Runtime], Any]
) -> None:
    """In `claude.run`, which gets the error. The answers in flight go on."""
    gate = Gate()
    sim.script(*[hold(gate, after_deltas=1, text="fine")] * 3)
    subject = start(runtime)

    async def work(_client: object) -> None:
        raise error

    with pytest.raises(error):
        runtime.submit(work).result(TIMEOUT)
    gate.open()
    wait_for(subject)

    assert subject.phase is Phase.COMPLETE
