"""Tools in plain Python: they run on the thread that waits for the answer, or on the loop that awaits it."""

from __future__ import annotations

import asyncio
import contextvars
import json
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from claude_magic.client import ClaudeError
from claude_magic.runtime import Phase, Question, Reply, Runtime, Where
from claude_magic.runtime._turn import MAX_TOOL_ROUNDS
from claude_magic.simulator import Behaviour, Gate, RecordedRequest, Simulator, hold, reply, scenario
from claude_magic.tools import CallState, LoopExecutor, Toolbox, ToolCall, WaitingExecutor
from claude_magic.tools._call import REFUSED

TIMEOUT = 120.0


def question(executor: Any, prompt: str = 'Use tide_table for port "Brest"') -> Question:
    """A question in the main thread of the conversation, with tools."""
    return Question(prompt=prompt, where=Where(), tools=executor)


def waiting(
    *functions: Callable[..., Any], approve: Callable[[ToolCall], str] | None = None
) -> WaitingExecutor:
    return WaitingExecutor(Toolbox(functions), approve=approve)


def tide_table(port: str) -> str:
    return f"{port}: 04:12"


def results(sim: Simulator) -> list[dict[str, Any]]:
    """Return the tool results in the last request, oldest first."""
    body = sim.requests[-1].body
    assert body is not None
    blocks = [
        block for message in body["messages"] for block in message["content"] if isinstance(block, dict)
    ]
    return [block for block in blocks if block["type"] == "tool_result"]


def states(reply: Reply) -> list[CallState]:
    """Return the final states of a reply's calls."""
    return [block.call.state for block in reply.snapshot().blocks if block.call is not None]


def ask_next(runtime: Runtime, sim: Simulator) -> RecordedRequest:
    """Ask the next question of the conversation. Return the request."""
    runtime.start(Question(prompt="Go on.", where=Where())).result(TIMEOUT)
    return sim.requests[-1]


def test_the_thread_that_waits_runs_them(runtime: Runtime, sim: Simulator) -> None:
    """Arguments have the function's own types, and the result is in the next request of the same answer."""
    ran: list[tuple[str, threading.Thread]] = []

    def tide_table(port: str) -> dict[str, str]:
        ran.append((port, threading.current_thread()))
        return {"high_water": "04:12"}

    reply = runtime.start(question(waiting(tide_table))).result(TIMEOUT)

    assert ran == [("Brest", threading.current_thread())]
    assert [json.loads(result["content"]) for result in results(sim)] == [{"high_water": "04:12"}]
    assert states(reply) == [CallState.DONE]
    assert "04:12" in reply.text


def test_an_argument_that_no_model_can_give_is_reported_under_the_answer(runtime: Runtime) -> None:
    """It keeps its default, and a note reports that."""

    def tide_table(port: str, log: Callable[[str], None] = print) -> str:
        return port

    reply = runtime.start(question(waiting(tide_table))).result(TIMEOUT)

    (note,) = reply.snapshot().notes
    assert note.startswith("tide_table keeps the default of its argument log: JSON cannot express ")


def test_an_async_function_gets_a_loop_where_none_runs(runtime: Runtime, sim: Simulator) -> None:
    """As in a script."""

    async def tide_table(port: str) -> str:
        await asyncio.sleep(0)
        return f"{port}: 04:12"

    runtime.start(question(waiting(tide_table))).result(TIMEOUT)

    assert [result["content"] for result in results(sim)] == ["Brest: 04:12"]


def test_a_call_waits_until_a_thread_waits_for_it(runtime: Runtime, when: Callable[..., None]) -> None:
    """The answer was started long before; tools run only on the thread that waits for it."""
    ran: list[str] = []

    def tide_table(port: str) -> None:
        ran.append(port)

    reply = runtime.start(question(waiting(tide_table)))
    when(reply, lambda each: each.phase is Phase.CALLING)
    ran_before = list(ran)
    reply.result(TIMEOUT)

    assert (ran_before, ran) == ([], ["Brest"])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError("no water"), SystemExit(3)])
def test_whatever_it_raises_goes_back_to_the_model(
    runtime: Runtime, sim: Simulator, error: BaseException, is_async: bool
) -> None:
    """The model can try another call, or answer without the tool.

    A tool that raises SystemExit ends only its own call.
    """

    def tide_table(port: str) -> None:
        raise error

    async def tide_table_async(port: str) -> None:
        tide_table(port)

    toolbox = Toolbox({"tide_table": tide_table_async if is_async else tide_table})
    reply = runtime.start(question(WaitingExecutor(toolbox, approve=None))).result(TIMEOUT)

    (result,) = results(sim)
    assert result["is_error"] is True
    assert type(error).__name__ in result["content"]
    assert states(reply) == [CallState.FAILED]
    assert reply.phase is Phase.COMPLETE


def test_arguments_that_are_no_json_go_back_as_they_came(runtime: Runtime, sim: Simulator) -> None:
    """As the API documents; the function is not called, and there is no approval question."""
    asked: list[ToolCall] = []

    def tide_table(port: str) -> None:
        raise AssertionError("it was called")

    def approve(call: ToolCall) -> str:
        asked.append(call)
        return ""

    sim.script(scenario("invalid_tool_json"))
    reply = runtime.start(question(waiting(tide_table, approve=approve))).result(TIMEOUT)

    (result,) = results(sim)
    assert result["is_error"] is True
    assert "INVALID_JSON" in json.loads(result["content"])
    assert asked == []
    assert states(reply) == [CallState.FAILED]
    assert sim.requests[-1].status == 200


def test_a_call_that_is_refused_is_not_made(runtime: Runtime, sim: Simulator) -> None:
    """The model is informed, and continues without it."""

    def tide_table(port: str) -> None:
        raise AssertionError("it was called")

    reply = runtime.start(question(waiting(tide_table, approve=lambda call: REFUSED))).result(TIMEOUT)

    (result,) = results(sim)
    assert (result["is_error"], result["content"]) == (True, REFUSED)
    assert states(reply) == [CallState.REFUSED]


@pytest.mark.parametrize("stage", ["approval", "function", "coroutine"])
def test_ctrl_c_ends_the_answer_and_leaves_a_valid_history(
    runtime: Runtime, sim: Simulator, stage: str
) -> None:
    """The call has an error as its result, and the server accepts the next question."""

    def tide_table(port: str) -> None:
        signal.raise_signal(signal.SIGINT)

    async def tide_table_async(port: str) -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.sleep(TIMEOUT)

    def approve(call: ToolCall) -> str:
        if stage == "approval":
            signal.raise_signal(signal.SIGINT)
        return ""

    toolbox = Toolbox({"tide_table": tide_table_async if stage == "coroutine" else tide_table})
    handler = signal.getsignal(signal.SIGINT)
    reply = runtime.start(question(WaitingExecutor(toolbox, approve=approve)))

    with pytest.raises(KeyboardInterrupt):
        reply.result(TIMEOUT)

    assert reply.phase is Phase.CANCELLED
    assert states(reply) == [CallState.INTERRUPTED]
    assert signal.getsignal(signal.SIGINT) is handler
    assert ask_next(runtime, sim).status == 200
    assert [result["is_error"] for result in results(sim)] == [True]


def test_calls_of_one_reply_run_in_its_order_and_are_all_answered(runtime: Runtime, sim: Simulator) -> None:
    """Even if Ctrl-C ends the second of three: the API rejects a history without all results."""
    ran: list[str] = []

    def tide_table(port: str) -> str:
        ran.append("tide_table")
        return "04:12"

    def wind_at(port: str) -> None:
        ran.append("wind_at")
        signal.raise_signal(signal.SIGINT)

    def swell_at(port: str) -> None:
        ran.append("swell_at")

    prompt = 'Use tide_table, wind_at and swell_at for port "Brest"'
    reply = runtime.start(question(waiting(tide_table, wind_at, swell_at), prompt))
    with pytest.raises(KeyboardInterrupt):
        reply.result(TIMEOUT)

    assert ran == ["tide_table", "wind_at"]
    assert ask_next(runtime, sim).status == 200
    assert [result.get("is_error", False) for result in results(sim)] == [False, True, True]


def calls(*ports: str, ids: tuple[str, ...] = ("toolu_1", "toolu_1")) -> Behaviour:
    """Return a reply that calls the tool for each port, with these ids."""
    blocks = [
        {"type": "tool_use", "id": call_id, "name": "tide_table", "input": {"port": port}}
        for call_id, port in zip(ids, ports, strict=False)
    ]
    return reply(content=blocks, stop_reason="tool_use")


@pytest.mark.parametrize("ids", [("toolu_1", "toolu_1"), ("", ""), ("toolu_1", "toolu_1_2")])
def test_two_calls_of_one_id_get_each_its_own_result(
    runtime: Runtime, sim: Simulator, ids: tuple[str, ...]
) -> None:
    """The first is refused, the second allowed; the API accepts the history, and the answer distinguishes them."""
    sim.script(calls("Brest", "Cork", ids=ids))

    def approve(call: ToolCall) -> str:
        return REFUSED if call.arguments["port"] == "Brest" else ""

    answer = runtime.start(question(waiting(tide_table, approve=approve))).result(TIMEOUT)

    assert [result["content"] for result in results(sim)] == [REFUSED, "Cork: 04:12"]
    assert states(answer) == [CallState.REFUSED, CallState.DONE]
    assert len({result["tool_use_id"] for result in results(sim)}) == 2
    assert ask_next(runtime, sim).status == 200


def test_an_id_that_comes_again_in_a_later_round_is_another_call(runtime: Runtime, sim: Simulator) -> None:
    """Some servers start numbering again in each reply. The next question may use the id, too."""
    sim.script(calls("Brest"), calls("Cork"))

    first = runtime.start(question(waiting(tide_table))).result(TIMEOUT)
    sim.script(calls("Dover"))
    second = runtime.start(question(waiting(tide_table))).result(TIMEOUT)

    shown = [block.call.result for each in (first, second) for block in each.snapshot().blocks if block.call]
    assert shown == ["Brest: 04:12", "Cork: 04:12", "Dover: 04:12"]
    assert [result["content"] for result in results(sim)] == shown
    assert len({result["tool_use_id"] for result in results(sim)}) == 3
    assert ask_next(runtime, sim).status == 200


def test_a_cut_second_round_keeps_what_the_tools_gave(runtime: Runtime, sim: Simulator) -> None:
    """After an interrupt in the text about the result, the next question continues from it."""
    gate = Gate()

    def tide_table(port: str) -> str:
        sim.script(hold(gate, text="High water"))
        return "04:12"

    reply = runtime.start(question(waiting(tide_table)))
    forget = reply.observe(lambda each: each.cancel() if "High" in each.text else None)
    with pytest.raises(BaseException, match="cancelled"):
        reply.result(TIMEOUT)
    forget()
    gate.open()

    assert ask_next(runtime, sim).status == 200
    assert [result["content"] for result in results(sim)] == ["04:12"]


def test_a_failed_second_round_leaves_a_valid_history(runtime: Runtime, sim: Simulator) -> None:
    """The results are kept, because the calls were made."""

    def tide_table(port: str) -> str:
        sim.script(scenario("bad_request"))
        return "04:12"

    with pytest.raises(ClaudeError):
        runtime.start(question(waiting(tide_table))).result(TIMEOUT)

    assert ask_next(runtime, sim).status == 200


def test_a_model_that_never_stops_calling_is_stopped(runtime: Runtime, sim: Simulator) -> None:
    """After a maximum number of rounds, with a note, and with a history that can be continued."""
    sim.script(*[scenario("invalid_tool_json")] * (MAX_TOOL_ROUNDS + 5))

    reply = runtime.start(question(waiting(tide_table))).result(TIMEOUT)

    assert len(sim.requests) == MAX_TOOL_ROUNDS + 1
    assert any("rounds of tool calls" in note for note in reply.snapshot().notes)
    sim.clear()
    assert ask_next(runtime, sim).status == 200


def test_an_awaited_answer_runs_tools_on_its_loop_and_in_its_context(
    runtime: Runtime, sim: Simulator
) -> None:
    """Plain and async functions, while other tasks of the loop run."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("cell", default="another")
    seen: list[tuple[str, bool]] = []

    async def main() -> Reply:
        variable.set("this one")
        loop = asyncio.get_running_loop()

        def tide_table(port: str) -> str:
            seen.append((variable.get(), asyncio.get_running_loop() is loop))
            return "04:12"

        async def wind_at(port: str) -> str:
            await asyncio.sleep(0)
            seen.append((variable.get(), asyncio.get_running_loop() is loop))
            return "5 Beaufort"

        executor = LoopExecutor(
            Toolbox([tide_table, wind_at]),
            loop,
            contextvars.copy_context(),
            approve=None,
            interrupt=lambda: None,
        )
        return await runtime.start(question(executor, 'Use tide_table and wind_at for port "Brest"'))

    reply = asyncio.run(main())

    assert seen == [("this one", True), ("this one", True)]
    assert states(reply) == [CallState.DONE, CallState.DONE]
    assert [result["content"] for result in results(sim)] == ["04:12", "5 Beaufort"]


def test_cancelling_an_answer_cancels_the_tool_that_runs(runtime: Runtime, sim: Simulator) -> None:
    """It does not continue unnoticed."""
    ended: list[str] = []

    async def main() -> Reply:
        is_running = asyncio.Event()

        async def tide_table(port: str) -> None:
            is_running.set()
            try:
                await asyncio.sleep(TIMEOUT)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        executor = LoopExecutor(
            Toolbox([tide_table]),
            asyncio.get_running_loop(),
            contextvars.copy_context(),
            approve=None,
            interrupt=lambda: None,
        )
        reply = runtime.start(question(executor))
        await is_running.wait()
        reply.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reply
        await asyncio.sleep(0.05)
        return reply

    reply = asyncio.run(main())

    assert ended == ["cancelled"]
    assert states(reply) == [CallState.INTERRUPTED]
    assert ask_next(runtime, sim).status == 200
