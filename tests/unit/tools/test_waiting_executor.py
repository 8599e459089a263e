"""Tools of a blocking call, on the waiting thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from claude_magic.tools import CallState, Toolbox, WaitingExecutor

TIMEOUT = 20.0


def submit(
    executor: WaitingExecutor, call: Any, states: list[CallState] | None = None
) -> concurrent.futures.Future[Any]:
    """Submit a call from another thread, like the bridge."""
    noted = [] if states is None else states
    with concurrent.futures.ThreadPoolExecutor(1) as bridge:
        return bridge.submit(executor.submit, call, lambda state, _text: noted.append(state)).result()


def thread_name() -> str:
    return threading.current_thread().name


async def thread_name_later() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_a_call_wakes_the_waiting_thread_and_runs_there(call: Any) -> None:
    """In two steps, so that its state can be drawn between them."""
    executor, wakes, states = WaitingExecutor(Toolbox([thread_name]), approve=None), [], []
    executor.subscribe(lambda: wakes.append(1))

    future = submit(executor, call("thread_name"), states)
    executor.run_next()
    steps = (list(states), future.done())
    executor.run_next()

    assert steps == ([CallState.RUNNING], False)
    assert future.result(0).content == threading.current_thread().name
    assert len(wakes) == 2


def test_a_call_submitted_before_the_wait_wakes_at_once(call: Any) -> None:
    """Otherwise both would wait for each other."""
    executor, wakes = WaitingExecutor(Toolbox([thread_name]), approve=None), []
    submit(executor, call("thread_name"))

    executor.subscribe(lambda: wakes.append(1))

    assert wakes == [1]


def test_another_thread_that_waits_for_the_same_answer_is_not_woken(call: Any) -> None:
    """The user's functions expect the thread on which they were passed."""
    executor, wakes = WaitingExecutor(Toolbox([thread_name]), approve=None), []
    other = threading.Thread(target=lambda: executor.subscribe(lambda: wakes.append(1)))
    other.start()
    other.join(TIMEOUT)

    submit(executor, call("thread_name"))

    assert wakes == []


def test_no_thread_is_woken_after_unsubscribing(call: Any) -> None:
    executor, wakes = WaitingExecutor(Toolbox([thread_name]), approve=None), []
    leave = executor.subscribe(lambda: wakes.append(1))

    leave()
    submit(executor, call("thread_name"))

    assert wakes == []


def test_an_async_function_gets_a_loop_if_none_runs(call: Any) -> None:
    """A new one, or the one that the caller provides."""
    loop = asyncio.new_event_loop()
    seen: list[asyncio.AbstractEventLoop] = []

    async def look() -> None:
        seen.append(asyncio.get_running_loop())

    for idle_loop in (None, lambda: loop):
        executor = WaitingExecutor(Toolbox([look]), approve=None, idle_loop=idle_loop)
        future = submit(executor, call("look"))
        executor.run_next()
        executor.run_next()
        assert not future.result(0).is_error
    loop.close()

    assert seen[0] is not loop
    assert seen[1] is loop


@pytest.mark.parametrize(("answer", "state"), [("", CallState.DONE), ("No.", CallState.REFUSED)])
def test_the_users_decision_counts(call: Any, answer: str, state: CallState) -> None:
    """The state shows from the beginning that it is awaited."""
    executor, states = WaitingExecutor(Toolbox([thread_name]), approve=lambda _call: answer), []

    future = submit(executor, call("thread_name"), states)
    executor.run_next()
    executor.run_next()

    assert future.result(0).state is state
    assert states[0] is CallState.APPROVAL


def test_an_error_while_asking_ends_the_call(call: Any) -> None:
    """The thread that waits for the result must not hang."""

    def approve(_call: object) -> str:
        raise RuntimeError("no terminal")

    executor = WaitingExecutor(Toolbox([thread_name]), approve=approve)
    future = submit(executor, call("thread_name"))

    executor.run_next()

    with pytest.raises(RuntimeError, match="no terminal"):
        future.result(0)


def test_a_call_that_was_cancelled_meanwhile_does_not_run(call: Any) -> None:
    """The answer has ended, and its effect is not wanted."""
    runs: list[int] = []

    def gauge() -> None:
        runs.append(1)

    executor = WaitingExecutor(Toolbox([gauge]), approve=None)
    future = submit(executor, call("gauge"))
    executor.run_next()

    future.cancel()
    executor.run_next()

    assert runs == []


def test_any_exception_of_a_tool_is_a_result(call: Any) -> None:
    """Even one that would end the program, also outside a loop."""

    def leave() -> None:
        raise SystemExit(3)

    async def leave_later() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    for function in (leave, leave_later):
        executor = WaitingExecutor(Toolbox([function]), approve=None)
        future = submit(executor, call(function.__name__))
        executor.run_next()
        executor.run_next()
        assert "SystemExit: 3" in future.result(0).text
        assert "claude_magic" not in future.result(0).text


@pytest.mark.skipif(os.name == "nt", reason="sends itself POSIX signals")
@pytest.mark.usefixtures("usual_handler")
@pytest.mark.parametrize("kind", ["blocks", "blocks in a coroutine", "waits"])
@pytest.mark.parametrize("has_loop", [False, True])
def test_ctrl_c_ends_a_tool_completely(
    call: Any, interrupt_when: Any, block: Callable[[], None], kind: str, has_loop: bool
) -> None:
    """In any state; no part of it continues unnoticed."""
    has_begun = threading.Event()
    ends: list[str] = []

    def gauge() -> None:
        has_begun.set()
        block()

    async def vane() -> None:
        gauge()

    async def wait() -> None:
        has_begun.set()
        try:
            await asyncio.sleep(TIMEOUT)
        finally:
            ends.append("ended")

    functions: dict[str, Callable[..., Any]] = {"blocks": gauge, "blocks in a coroutine": vane, "waits": wait}
    loop = asyncio.new_event_loop()
    executor = WaitingExecutor(
        Toolbox({"tool": functions[kind]}), approve=None, idle_loop=(lambda: loop) if has_loop else None
    )
    future = submit(executor, call("tool"))
    executor.run_next()
    interrupt_when(has_begun)

    with pytest.raises(KeyboardInterrupt):
        executor.run_next()
    loop.close()

    assert future.cancelled()
    assert ends == (["ended"] if kind == "waits" else [])
