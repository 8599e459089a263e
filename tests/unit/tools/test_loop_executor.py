"""Tools on a running loop, as in an awaited cell."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from claude_magic.tools import CallState, LoopExecutor, Toolbox, ToolCall, ToolResult

TIMEOUT = 20.0


class Setting:
    """A loop with an executor, called from another thread, like the bridge."""

    def __init__(self, *functions: Callable[..., Any], approve: Any = None) -> None:
        self.states: list[CallState] = []
        self.interrupts = 0
        self._functions = functions
        self._approve = approve

    async def run(self, call: Any, *, then: Callable[[Any], None] | None = None) -> ToolResult:
        executor = LoopExecutor(
            Toolbox(self._functions),
            asyncio.get_running_loop(),
            contextvars.copy_context(),
            approve=self._approve,
            interrupt=self._interrupt,
        )
        future = await asyncio.to_thread(
            executor.submit, call, lambda state, _text: self.states.append(state)
        )
        if then is not None:
            then(future)
        return await asyncio.wait_for(asyncio.wrap_future(future), TIMEOUT)

    def _interrupt(self) -> None:
        self.interrupts += 1


def test_a_function_runs_on_the_thread_of_the_loop_in_the_context_of_the_cell(call: Any) -> None:
    """There the user's objects live, and its output goes to its cell."""
    where = contextvars.ContextVar("where", default="nowhere")

    def tide() -> list[object]:
        return [threading.current_thread() is threading.main_thread(), where.get()]

    async def cell() -> ToolResult:
        where.set("the cell")
        return await setting.run(call("tide"))

    setting = Setting(tide)

    assert asyncio.run(cell()).content == '[true,"the cell"]'
    assert setting.states == [CallState.RUNNING]


def test_an_async_function_runs_beside_other_tasks(call: Any) -> None:
    """It may wait for them."""
    ready = asyncio.Event()

    async def listen() -> str:
        await ready.wait()
        return "ready"

    async def cell() -> ToolResult:
        asyncio.get_running_loop().call_later(0.01, ready.set)
        return await Setting(listen).run(call("listen"))

    assert asyncio.run(cell()).content == "ready"


def test_an_async_function_may_use_timeouts_and_groups(call: Any) -> None:
    """Its steps are driven by the executor, which does not change asyncio's guarantees."""

    async def careful() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(TIMEOUT)
        except TimeoutError:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(0, result=number)) for number in range(3)]
            return f"{[task.result() for task in tasks]} {asyncio.current_task() is not None}"
        return "no timeout"

    assert asyncio.run(Setting(careful).run(call("careful"))).content == "[0, 1, 2] True"


def test_any_exception_of_a_tool_is_a_result(call: Any) -> None:
    """Even one that would end the program or the loop."""

    def leave() -> None:
        raise SystemExit(3)

    async def leave_later() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    for result in (
        asyncio.run(Setting(leave).run(call("leave"))),
        asyncio.run(Setting(leave_later).run(call("leave_later"))),
    ):
        assert result.is_error
        assert result.state is CallState.FAILED
        assert "SystemExit: 3" in result.text
        assert "claude_magic" not in result.text


def test_a_tool_that_waits_for_a_cancelled_task_has_failed(call: Any) -> None:
    """Only a cancellation of the call itself is an interrupt."""

    async def wait_in_vain() -> None:
        other = asyncio.ensure_future(asyncio.sleep(TIMEOUT))
        other.cancel()
        await other

    result = asyncio.run(Setting(wait_in_vain).run(call("wait_in_vain")))

    assert result.is_error
    assert "CancelledError" in result.text


def test_an_invalid_call_is_not_asked_about(call: Any) -> None:
    """It fails in any case."""
    asked: list[ToolCall] = []

    async def approve(each: ToolCall) -> str:
        asked.append(each)
        return ""

    result = asyncio.run(Setting(len_of, approve=approve).run(call("len_of")))

    assert result.is_error
    assert asked == []


def len_of(text: str) -> int:
    return len(text)


@pytest.mark.parametrize(("answer", "state"), [("", CallState.DONE), ("No.", CallState.REFUSED)])
def test_the_users_decision_counts(call: Any, answer: str, state: CallState) -> None:
    """A refusal is the result."""

    async def approve(each: ToolCall) -> str:
        assert str(each) == "len_of(text='four')"
        return answer

    setting = Setting(len_of, approve=approve)
    result = asyncio.run(setting.run(call("len_of", text="four")))

    assert result.state is state
    assert result.content == (answer or "4")
    assert setting.states[0] is CallState.APPROVAL


def test_an_error_while_asking_ends_the_call(call: Any) -> None:
    """The thread that waits for the result must not hang."""

    async def approve(_each: ToolCall) -> str:
        raise RuntimeError("no widgets")

    with pytest.raises(RuntimeError, match="no widgets"):
        asyncio.run(Setting(len_of, approve=approve).run(call("len_of", text="four")))


def test_a_call_stopped_before_the_question_is_neither_asked_about_nor_run(call: Any) -> None:
    """Stop may come after the call is known, and before the question."""
    done: list[str] = []

    async def approve(_each: ToolCall) -> str:
        done.append("asked")
        return ""

    async def cell() -> None:
        setting = Setting(lambda_of(done), approve=approve)

        async def stop(future: Any) -> None:
            while CallState.APPROVAL not in setting.states:
                await asyncio.sleep(0)
            future.cancel()

        stopping: list[asyncio.Task[None]] = []
        with pytest.raises(asyncio.CancelledError):
            await setting.run(
                call("run"), then=lambda future: stopping.append(asyncio.ensure_future(stop(future)))
            )
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert setting.states == [CallState.APPROVAL]

    asyncio.run(cell())

    assert done == []


def lambda_of(done: list[str]) -> Callable[[], None]:
    def run() -> None:
        done.append("run")

    return run


def test_cancelling_the_future_cancels_an_async_tool(call: Any) -> None:
    """As at the end of the answer."""
    ends: list[str] = []

    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        has_begun.set()
        try:
            await asyncio.sleep(TIMEOUT)
        except asyncio.CancelledError:
            ends.append("cancelled")
            has_ended.set()
            raise

    async def cancel(future: Any) -> None:
        await has_begun.wait()
        future.cancel()

    async def cell() -> None:
        cancelling: list[asyncio.Task[None]] = []
        with pytest.raises(asyncio.CancelledError):
            await Setting(wait).run(
                call("wait"), then=lambda future: cancelling.append(asyncio.ensure_future(cancel(future)))
            )
        await asyncio.wait_for(has_ended.wait(), TIMEOUT)

    asyncio.run(cell())

    assert ends == ["cancelled"]


@pytest.mark.skipif(os.name == "nt", reason="sends itself POSIX signals")
@pytest.mark.parametrize("is_async", [False, True])
def test_ctrl_c_interrupts_a_blocking_tool(
    call: Any, interrupt_when: Any, block: Callable[[], None], is_async: bool
) -> None:
    """In an awaited cell a kernel only cancels a task, which does not stop a blocked loop."""
    has_begun = threading.Event()

    def gauge() -> None:
        has_begun.set()
        block()

    async def vane() -> None:
        await asyncio.sleep(0)
        gauge()

    left_over: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: left_over.append(number))
    setting = Setting(vane if is_async else gauge)
    interrupt_when(has_begun)
    try:
        with asyncio.Runner() as runner, pytest.raises(asyncio.CancelledError):
            runner.run(setting.run(call("vane" if is_async else "gauge")))
        kernels_own = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)

    assert setting.interrupts == 1
    assert left_over == []
    assert kernels_own is not signal.default_int_handler


def test_after_the_end_of_the_loop_a_call_is_ignored(call: Any) -> None:
    """A kernel that shuts down closes the loop during an answer."""
    loop = asyncio.new_event_loop()
    loop.close()
    executor = LoopExecutor(
        Toolbox([len_of]), loop, contextvars.copy_context(), approve=None, interrupt=lambda: None
    )

    assert not executor.submit(call("len_of", text="x"), lambda _state, _text: None).done()
