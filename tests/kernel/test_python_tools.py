"""Tools passed from Python in real kernels: `claude.ask(tools=...)`, `await claude.ask_async(tools=...)`, and
nbclient."""

from __future__ import annotations

import time

import pytest

TOOLS = '''
import asyncio, threading, time
from claude_magic import claude

def tide_table(port: str) -> str:
    """Give the times of high water."""
    print("tide_table runs on", threading.current_thread().name)
    return "04:12"

async def wind_at(port: str) -> str:
    """Ask for the wind at a port."""
    await asyncio.sleep(0.01)
    print("wind_at runs in", asyncio.get_running_loop() is loop)
    return "5 Beaufort"

def slow_gauge():
    """Take an hour, and block."""
    print("slow_gauge runs", flush=True)
    time.sleep(3600)

async def slow_vane():
    """Take an hour, and wait."""
    print("slow_vane runs", flush=True)
    await asyncio.sleep(3600)
'''
TIDE = "'Use tide_table for port \"Brest\"', tools=[tide_table]"
TIDE_UNASKED = f"{TIDE}, approve='never'"
WIND = "'Use wind_at for port \"Brest\"', tools=[wind_at], approve='never'"


@pytest.fixture(scope="module")
def kernel(start_kernel):
    """A kernel with tools."""
    kernel = start_kernel()
    assert kernel.run(TOOLS).status == "ok"
    assert kernel.run("await asyncio.sleep(0); loop = asyncio.get_running_loop()").status == "ok"
    return kernel


def result(sim):
    """Return the tool result in the last request."""
    (block,) = [
        block
        for turn in sim.requests[-1].body["messages"]
        for block in turn["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    ]
    return block


@pytest.mark.parametrize("call", ["claude.ask({})", "await claude.ask_async({})"])
def test_functions_print_into_the_cell_that_asks(kernel, sim, call):
    """On the main thread, like the user's own calls."""
    run = kernel.run(f"answer = {call.format(TIDE_UNASKED)}")

    assert run.status == "ok"
    assert "tide_table runs on MainThread" in run.stdout
    assert result(sim)["content"] == "04:12"


@pytest.mark.parametrize("call", ["claude.ask({})", "await claude.ask_async({})"])
def test_async_functions_run_on_the_loop_of_the_kernel(kernel, sim, call):
    """Also for a blocking call; the kernel works afterwards."""
    run = kernel.run(f"answer = {call.format(WIND)}")

    assert run.status == "ok"
    assert "wind_at runs in True" in run.stdout
    assert kernel.run("6 * 7").status == "ok"


@pytest.mark.parametrize("call", ["claude.ask({})", "await claude.ask_async({})"])
@pytest.mark.parametrize(("typed", "is_run"), [("y", True), ("n", False)])
def test_a_person_types_whether_a_call_may_run(kernel, sim, call, typed, is_run):
    """By default, in blocking and awaited cells."""
    run = kernel.start(f"answer = {call.format(TIDE)}", allow_stdin=True)

    request = kernel.client.get_stdin_msg(timeout=120)
    kernel.client.input(typed)
    run.finish()

    assert "tide_table(port='Brest')" in request["content"]["prompt"]
    assert ("runs on" in run.stdout) is is_run
    assert result(sim).get("is_error", False) is not is_run


@pytest.mark.parametrize("tool", ["slow_gauge", "slow_vane"])
@pytest.mark.parametrize("call", ["claude.ask({})", "await claude.ask_async({})"])
def test_an_interrupt_in_a_tool_ends_the_cell_and_leaves_a_valid_history(kernel, sim, call, tool):
    """A blocking function is interrupted, an async one is cancelled; the next question is accepted."""
    options = f"'Use {tool}', tools=[{tool}], approve='never', thread='main'"
    run = kernel.start(f"answer = {call.format(options)}").until(lambda each: f"{tool} runs" in each.stdout)

    time.sleep(0.1)  # into the tool's own wait
    kernel.interrupt()
    run.finish()

    assert run.status == "error"
    assert run.error["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert kernel.run("claude.ask('Go on', thread='main')").status == "ok"
    assert sim.requests[-1].status == 200


def test_nbclient_refuses_calls_that_nobody_can_allow(sim, execute_notebook):
    """The model is informed, a note says how to allow calls, and nothing waits forever."""
    (_, outputs), error = execute_notebook(
        TOOLS, '%%claude --tools tide_table\nUse tide_table for port "Brest"'
    )

    assert error is None
    assert result(sim)["is_error"] is True
    assert "--approve never" in str(outputs)
    assert "runs on" not in str(outputs)
