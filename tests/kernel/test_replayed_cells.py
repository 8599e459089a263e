"""All ways of asking, recorded in one kernel and replayed in another that can open no socket."""

from __future__ import annotations

import ast
import time

# `opened` records connections of the kernel to other machines or to the simulator.
NO_SOCKETS = """
import socket
opened = []
def _refuse(self, address):
    opened.append(address)
    raise OSError("there is no network")
socket.socket.connect = socket.socket.connect_ex = _refuse
"""
TOOLS = """
from claude_magic import PromptPanel
calls = []
def tide_table(port: str) -> str:
    "Give the times of high water."
    calls.append(port)
    return f"06:12 and 18:40 at {port}"
"""
CELLS = (
    "%%claude --interact n -o answer\nName {{ n }} lighthouses.",
    "%%claude --compare sonnet,opus -o both\nName a tree.",
    "%%claude --bg -o later\nName a fish.",
    "called = await later",
    '%%claude --tools tide_table --approve never -o tides\nUse tide_table for port "Brest".',
    "panel = PromptPanel(thread='p'); panel",
    "first = await panel.ask('Name a bird.')\nsecond = await panel.ask('And another?')",
    "toolbox = PromptPanel(thread='q', tools=[tide_table], approve='never'); toolbox",
    "tool = await toolbox.ask('Use tide_table for port \"Oslo\"')",
)
REPLIES = "[*states, both['sonnet'], both['opus'], later, tides, first, second, tool]"
LEDGER = "__import__('claude_magic.runtime').runtime.get_runtime().ledger.rows()"


def wait_for(kernel, expression):
    """Wait until an expression is true in the kernel, which handles other messages between cells meanwhile."""
    deadline = time.monotonic() + 120.0
    while kernel.value(f"bool({expression})") != "True":
        assert time.monotonic() < deadline, f"{expression} did not come true"
        time.sleep(0.02)


def run_cells(kernel):
    """Run all cells, move the slider, and return each answer's text, request id, price, and whether it is a replay."""
    kernel.run(TOOLS + "n = 3\nstates = []")
    for number, source in enumerate(CELLS):
        run = kernel.run(source, allow_stdin=True, cell_id=f"c{number}")
        assert run.status == "ok", run.error
        if "--interact" in source:
            kernel.run("states.append(answer)")
            move_to(kernel, run, 7)
            wait_for(kernel, "answer is not states[0] and answer.done()")
            kernel.run("states.append(answer)")
    found = kernel.value(f"[(r.text, r.request_id, r.cost, r.snapshot().is_replay) for r in {REPLIES}]")
    return ast.literal_eval(found)


def move_to(kernel, run, value):
    """Set the cell's slider to a value, like a front end."""
    states = [
        (each["comm_id"], each["data"].get("state", {})) for each in run.contents("comm_open", "comm_msg")
    ]
    (slider,) = {comm for comm, state in states if state.get("description") == "n"}
    data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    message = kernel.client.session.msg("comm_msg", {"comm_id": slider, "data": data})
    kernel.client.shell_channel.send(message)


def test_all_ways_to_ask_are_replayed_where_there_is_no_network(start_kernel, sim, tmp_path):
    """Controls, comparisons, background cells, tools and panels: the same answers, without a server and without
    cost."""
    cassette = {"CLAUDE_MAGIC_CASSETTE": str(tmp_path / "c.jsonl")}
    first = run_cells(recording := start_kernel(CLAUDE_MAGIC_REPLAY="auto", **cassette))
    asked = len(sim.requests)
    assert asked >= len(first) + 2  # each answer, and a second round for each that called a tool
    assert not any(is_replay for *_, is_replay in first)
    assert len({request_id for _, request_id, *_ in first}) == len(first)
    assert recording.value(f"sum(row.requests for row in {LEDGER}) >= {len(first) + 2}") == "True"

    dead = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": ""}
    kernel = start_kernel(CLAUDE_MAGIC_REPLAY="only", **dead, **cassette)
    kernel.run(NO_SOCKETS)
    second = run_cells(kernel)

    assert second == [(*answer, True) for *answer, _ in first]
    assert kernel.value(f"opened, calls, {LEDGER}") == "([], ['Brest', 'Oslo'], ())"
    assert len(sim.requests) == asked


def test_a_dry_run_needs_no_key_where_the_answer_may_be_recorded(start_kernel, sim):
    """With replay, a question needs a key only if it is sent. "only" sends nothing, not even to count the tokens."""
    official = {"ANTHROPIC_BASE_URL": "https://api.anthropic.com", "ANTHROPIC_API_KEY": ""}
    kernel = start_kernel(CLAUDE_MAGIC_DEMO="off", **official)
    kernel.run(NO_SOCKETS)

    for options in ("--replay only", "--replay auto", "--replay only --compare sonnet,opus"):
        run = kernel.run(f"%%claude {options} --dry-run\nName a tree.")
        assert run.status == "ok", run.error
        assert "this was not sent" in str(run.outputs)
    assert "There is no API key" in kernel.run("%%claude --dry-run\nName a tree.").error["evalue"]
    assert kernel.value("opened") == "[]"

    kernel = start_kernel()
    kernel.run("%%claude --replay only --dry-run\nName a tree.")
    assert sim.requests == []
