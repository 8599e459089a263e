"""Panels in a real kernel, controlled by the messages of a front end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from claude_magic.simulator import Gate, Simulator, hold, reply

if TYPE_CHECKING:
    from conftest import Computation, Kernel, Run

LONG = "!simulate long_answer\\nAll about sums of powers."
BUSY_UNTIL_STOPPED = "while not panel.replies[0].done(): sum(range(1_000))"
CLICK = {"method": "custom", "content": {"event": "click"}}


@pytest.fixture(scope="module")
def sim() -> Any:
    """A simulator that streams slowly enough to be observed."""
    with Simulator(chunk_delay=0.01) as simulator:
        yield simulator


@pytest.fixture
def panel(kernel: Kernel) -> Run:
    """The run of a cell that shows a new panel as its value."""
    kernel.run("from claude_magic import PromptPanel\npanel = PromptPanel()")
    return kernel.run("panel")


def test_a_panel_is_shown_as_the_value_of_a_cell(panel: Run) -> None:
    """Front ends with widgets receive the view, others a description."""
    shown = panel.contents("display_data")

    assert "application/vnd.jupyter.widget-view+json" in shown[0]["data"]
    assert shown[0]["data"]["text/plain"] == "Claude panel on thread panel-1: run this cell to open it."
    assert panel.status == "ok"


@pytest.mark.usefixtures("panel")
def test_an_answer_streams_into_its_panel_while_a_cell_computes(
    kernel: Kernel, computation: Computation
) -> None:
    """The blocks of the answer grow although a cell keeps the main thread busy."""

    def sizes(run: Run) -> set[int]:
        states = [content["data"].get("state", {}) for content in run.contents("comm_msg")]
        return {len(state["value"]) for state in states if "Sums of powers" in str(state.get("value"))}

    busy = kernel.start(f"panel.ask('{LONG}')" + computation.code)
    busy.until(lambda run: len(sizes(run)) >= 3)

    assert not busy.is_idle
    computation.end()
    busy.finish()
    kernel.run("panel.stop()")


def test_the_transcript_goes_to_the_cell_that_shows_the_panel(
    kernel: Kernel, panel: Run, computation: Computation
) -> None:
    """An answer that ends while other cells run is saved in the panel's cell, not in the running cell."""

    def frames(asking: Run) -> list[str]:
        panel.messages.extend(kernel.take(panel.msg_id))
        return [*panel.frames, *asking.frames]

    asking = kernel.start("panel.ask('Say exactly: kept for later').result();" + computation.code)
    asking.until(
        lambda run: any(
            "claude-magic-transcript" in html and "kept for later" in html for html in frames(run)
        )
    )
    computation.end()
    asking.finish()

    kept = [html for html in (*panel.frames, *asking.frames) if "kept for later" in html]
    assert len(kept) == 1
    assert "claude-magic-transcript" in kept[0]
    assert not any("claude-magic-transcript" in str(shown) for shown in asking.contents("display_data"))


@pytest.mark.usefixtures("panel")
def test_where_clicks_wait_for_cells_the_panel_says_so(kernel: Kernel, sim: Simulator) -> None:
    """Without subshells, clicks are handled between cells, and a note in the panel says so."""
    sim.script(reply("Here."))
    send(
        kernel,
        comm_of(kernel, "panel._composer._prompt"),
        {"method": "update", "state": {"value": "Hello"}, "buffer_paths": []},
    )
    send(kernel, comm_of(kernel, "panel._composer._send"), CLICK)
    kernel.run("panel.replies[0].result()")

    assert "interrupt the kernel (■)" in kernel.value("panel._note.value")
    assert kernel.value("panel._composer.text") == "''"


@pytest.mark.usefixtures("panel")
def test_stop_works_while_a_cell_computes_where_the_kernel_has_subshells(
    kernel: Kernel, sim: Simulator
) -> None:
    """A click ends the stream while a cell runs; the partial answer is kept."""
    subshell = create_subshell(kernel)
    if subshell is None:
        pytest.skip("This kernel has no subshells: clicks wait for the cell.")
    sim.script(hold(Gate(), after_deltas=2, text="First words, then many more."))
    kernel.run("import time\npanel.ask('Hello')\nwhile not panel.replies[0].text: time.sleep(0.01)")
    stop = comm_of(kernel, "panel._composer._stop")

    busy = kernel.start(BUSY_UNTIL_STOPPED)
    send(kernel, stop, CLICK, subshell=subshell)
    busy.finish()

    assert kernel.value("panel.replies[0].phase.name") == "'CANCELLED'"
    assert int(kernel.value("len(panel.replies[0])")) > 0


@pytest.mark.usefixtures("panel")
def test_a_page_that_opens_while_an_answer_grows_receives_all_widgets(kernel: Kernel) -> None:
    """ipywidgets iterates over a dict, which must not change meanwhile."""
    kernel.run("import ipywidgets\nmany = [ipywidgets.HTML() for _ in range(600)]")
    kernel.run(f"panel.ask('{LONG}')")

    for number in range(8):
        page = {"comm_id": f"page {number}", "target_name": "jupyter.widget.control", "data": {}}
        kernel.client.shell_channel.send(
            kernel.client.session.msg("comm_open", page, metadata={"version": "1.0.0"})
        )
        send(kernel, f"page {number}", {"method": "request_states"})
        until_published(kernel, "'update_states'")

    kernel.run("panel.stop()\nfor widget in many: widget.close()")


def test_closing_the_runtime_ends_what_a_panel_shows(start_kernel: Callable[..., Kernel]) -> None:
    """After the extension is unloaded in mid-stream, the panel shows the reason, and no thread is left."""
    kernel = start_kernel()
    kernel.run(f"from claude_magic import PromptPanel\npanel = PromptPanel()\npanel.ask('{LONG}')")

    kernel.run("import time\nwhile not panel.replies[0].text: time.sleep(0.01)\n%unload_ext claude_magic")

    wait_until(kernel, "panel.replies[0].done()")
    wait_until(kernel, "not [t for t in __import__('threading').enumerate() if 'claude' in t.name]")


TOOLS = """
import asyncio, time
def tide_table(port: str) -> str:
    "Give the times of high water."
    print("looking up", port)
    return f"06:12 and 18:40 at {port}"
async def wind_at(port: str) -> str:
    "Tell the wind."
    await asyncio.sleep(0.1)
    return f"north-west 5 at {port}"
def slow_gauge() -> str:
    "Measure slowly."
    print("measuring", flush=True)
    time.sleep(60)
    return "1.2 m"
async def slow_vane() -> str:
    "Wait for the wind."
    print("measuring", flush=True)
    await asyncio.sleep(60)
    return "north"
from claude_magic import PromptPanel
panel = PromptPanel(tools=[tide_table, wind_at, slow_gauge, slow_vane]%s)
"""
LAST_CALL = "[block.call for block in panel.replies[-1].snapshot().blocks if block.call][-1]"
VERDICTS = "panel._exchanges.children[-1].children[2].children[1].children"


@pytest.fixture
def panel_without_approval(kernel: Kernel) -> Run:
    """The run of a cell that shows a panel whose tools run without approval."""
    kernel.run(TOOLS % ', approve="never"')
    return kernel.run("panel")


@pytest.mark.usefixtures("panel_without_approval")
@pytest.mark.parametrize("tool", ["tide_table", "wind_at"])
def test_tools_run_between_cells_on_the_thread_of_the_cells(
    kernel: Kernel, sim: Simulator, tool: str
) -> None:
    """Plain and async functions; their results are sent to Claude."""
    kernel.run(f"panel.ask('Use {tool} for port \"Brest\"');")
    wait_until(kernel, "panel.replies[-1].done()")

    assert kernel.value("panel.replies[-1].phase.name") == "'COMPLETE'"
    assert "at Brest" in str(sim.requests[-1].body["messages"][-1]["content"])


def test_what_a_tool_prints_goes_to_the_cell_of_the_panel(
    kernel: Kernel, panel_without_approval: Run
) -> None:
    """Not to the last cell, if the kernel can distinguish them."""
    follows = "__import__('claude_magic.display').display.FrontEnd(get_ipython()).follows_context"
    if kernel.value(follows) != "True":
        pytest.skip("This kernel prints into whichever cell was run last.")
    asking = kernel.run("panel.ask('Use tide_table for port \"Brest\"');")
    wait_until(kernel, "panel.replies[-1].done()")
    panel_without_approval.until(lambda run: "looking up Brest" in run.stdout)

    asking.messages.extend(kernel.take(asking.msg_id))
    assert asking.stdout == ""


@pytest.mark.usefixtures("panel_without_approval")
def test_while_a_cell_computes_a_call_says_that_it_waits(kernel: Kernel) -> None:
    """It runs when the cell has ended."""
    kernel.run(
        "seen = ''\npanel.ask('Use tide_table for port \"Brest\"')\nwhile 'a cell is running' not in seen:\n"
        "    seen = str([block.value for block in panel._exchanges.children[-1]._blocks.box.children])\n"
        f"state = {LAST_CALL}.state.name"
    )

    assert kernel.value("state") == "'WAITING'"
    wait_until(kernel, "panel.replies[-1].done()")
    assert kernel.value(f"{LAST_CALL}.state.name") == "'DONE'"


@pytest.mark.usefixtures("panel_without_approval")
def test_waiting_in_a_cell_for_tools_that_run_between_cells_is_an_error(kernel: Kernel) -> None:
    """Otherwise the cell would never end; awaiting works."""
    waiting = kernel.run("panel.ask('Use tide_table for port \"Brest\"').result()")
    wait_until(kernel, "panel.replies[-1].done()")
    awaited = kernel.run("text = (await panel.ask('Use tide_table for port \"Oslo\"')).text")

    assert "`await` it instead" in waiting.error["evalue"]
    assert awaited.status == "ok"
    assert "at Oslo" in kernel.value("text")


@pytest.mark.usefixtures("panel_without_approval")
@pytest.mark.parametrize("how", ["interrupt", "stop"])
def test_a_tool_that_runs_can_be_stopped_and_the_next_turn_is_accepted(kernel: Kernel, how: str) -> None:
    """With the interrupt button, although no cell runs; with Stop while it awaits."""
    kernel.run(f"panel.ask('Use {'slow_gauge' if how == 'interrupt' else 'slow_vane'}');")
    until_published(kernel, "measuring")
    if how == "interrupt":
        kernel.interrupt()
    else:
        kernel.run("panel.stop()")
    wait_until(kernel, "panel.replies[-1].done()")
    kernel.run("panel.ask('Go on without it.')")
    wait_until(kernel, "panel.replies[-1].done()")

    assert kernel.value("[reply.phase.name for reply in panel.replies]") == "['CANCELLED', 'COMPLETE']"


@pytest.mark.usefixtures("panel_without_approval")
def test_stop_says_when_a_tool_cannot_be_stopped_by_it(kernel: Kernel) -> None:
    """The answer ends immediately; the blocking function ends only with an interrupt."""
    subshell = create_subshell(kernel)
    if subshell is None:
        pytest.skip("This kernel has no subshells: clicks wait for the tool.")
    stop = comm_of(kernel, "panel._composer._stop")
    kernel.run("panel.ask('Use slow_gauge');")
    until_published(kernel, "measuring")

    send(kernel, stop, CLICK, subshell=subshell)
    until_published(kernel, "still runs")
    kernel.interrupt()
    wait_until(kernel, "panel.replies[-1].done()")

    assert kernel.value("panel.replies[-1].phase.name") == "'CANCELLED'"
    assert "slow_gauge still runs: interrupt the kernel" in kernel.value("panel._note.value")


@pytest.mark.parametrize(
    ("verdict", "states"),
    [(0, ["DONE"]), (1, ["REFUSED"]), (2, ["DONE"])],
    ids=["allow", "deny", "allow all"],
)
def test_a_person_is_asked_before_a_tool_runs(
    kernel: Kernel, sim: Simulator, verdict: int, states: list[str]
) -> None:
    """The panel shows the call and three buttons, which disappear when one is pressed."""
    kernel.run(TOOLS % "")
    kernel.run("panel")
    kernel.run("panel.ask('Use tide_table for port \"<b>Brest</b>\"');")
    wait_until(kernel, "len(panel._exchanges.children[-1].children[2].children) == 2")
    question = kernel.value("panel._exchanges.children[-1].children[2].children[0].value")
    send(kernel, comm_of(kernel, f"{VERDICTS}[{verdict}]"), CLICK)
    wait_until(kernel, "panel.replies[-1].done()")

    assert "&lt;b&gt;Brest&lt;/b&gt;" in question
    assert kernel.value("panel._exchanges.children[-1].children[2].children") == "()"
    assert kernel.value(f"[{LAST_CALL}.state.name]") == str(states)
    assert len(sim.requests) == 2


def test_stop_while_a_person_is_asked_ends_the_answer_and_takes_the_buttons_away(kernel: Kernel) -> None:
    """The next turn is accepted."""
    kernel.run(TOOLS % "")
    kernel.run("panel")
    kernel.run("panel.ask('Use tide_table for port \"Brest\"');")
    wait_until(kernel, "len(panel._exchanges.children[-1].children[2].children) == 2")
    kernel.run("panel.stop()")
    wait_until(
        kernel, "panel.replies[-1].done() and panel._exchanges.children[-1].children[2].children == ()"
    )

    kernel.run("panel.ask('Go on without it.')")
    wait_until(kernel, "panel.replies[-1].done()")

    assert kernel.value("[reply.phase.name for reply in panel.replies]") == "['CANCELLED', 'COMPLETE']"


@pytest.mark.usefixtures("panel")
def test_a_prompt_may_speak_of_what_prompts_of_cells_may_speak_of(kernel: Kernel, sim: Simulator) -> None:
    """The user's variables, `Out`, and the errors of the session."""
    kernel.run("depth = 4.2")
    kernel.run("1 / 0")
    kernel.run("panel.ask('Depth {{ depth }}, {{ Err[-1] }}').result();")

    content = str(sim.requests[-1].body["messages"][-1]["content"])
    assert "Depth 4.2" in content
    assert "ZeroDivisionError" in content


@pytest.mark.usefixtures("panel")
def test_what_looks_like_credentials_is_sent_from_a_panel_at_the_second_click(
    kernel: Kernel, sim: Simulator
) -> None:
    """The first click shows what was found, and keeps the prompt."""
    kernel.run("login = 'SMTP_PASS=hunter2hunter2'; panel._composer._prompt.value = 'Why {{ login }}?'")
    before = len(sim.requests)
    kernel.run("panel._composer._send.click()")
    note = kernel.value("panel._note.value")

    assert "looks like credentials" in note
    assert "send again" in note
    assert "hunter2" not in note
    assert len(sim.requests) == before

    kernel.run("panel._composer._send.click()")
    wait_until(kernel, "panel.replies[-1].done()")
    assert "hunter2hunter2" in str(sim.requests[-1].body["messages"][-1])


@pytest.mark.usefixtures("panel")
@pytest.mark.parametrize(
    ("prepare", "prompt", "complaint"),
    [
        ("panel._attachments._variables.value = 'tides'", "What is it?", "tides is neither a file in"),
        ("", "{{ 1 / zero }}", "raised ZeroDivisionError: division by zero. Nothing was sent."),
        (
            "import datetime; panel._attachments._upload.value = ({'name': 'chart.png', 'type': 'image/png', 'size': 12, "
            "'content': memoryview(b'GIF89a broken'), 'last_modified': datetime.datetime.now(datetime.timezone.utc)},)",
            "What is it?",
            "chart.png is damaged",
        ),
        (
            "rows = map(str, [1])\npanel._attachments._variables.value = 'rows'",
            "Sum up.",
            "Send list(rows) instead",
        ),
        ("panel._settings._thread.value = 'one two'", "Hello", "cannot be the name of a thread"),
        ("", f"My key is sk-ant-{'x' * 40}.", "contains what looks like an Anthropic API key"),
        ("panel._attachments.question = None", "Hello", "a bug in claude_magic (TypeError"),
    ],
    ids=[
        "a variable that is not there",
        "an expression that fails",
        "a damaged picture",
        "what can be read only once",
        "a name that is none",
        "a key",
        "a fault of ours",
    ],
)
def test_what_goes_wrong_is_shown_in_the_panel_and_nowhere_else(
    kernel: Kernel, sim: Simulator, prepare: str, prompt: str, complaint: str
) -> None:
    """The message does not mention options; the prompt stays, and nothing is printed into a cell."""
    kernel.run(f"zero = 0\n{prepare}\npanel._composer._prompt.value = {prompt!r}")
    pressing = kernel.run("panel._composer._send.click()")

    note = kernel.value("panel._note.value")
    assert complaint in note
    assert "-a " not in note
    assert " --" not in note
    assert kernel.value("panel._composer.text") == repr(prompt)
    assert pressing.stdout + pressing.stderr == ""
    assert sim.requests == []


def comm_of(kernel: Kernel, widget: str) -> str:
    """Return the comm of a widget."""
    return kernel.value(f"{widget}.model_id").strip("'")


def wait_until(kernel: Kernel, condition: str) -> None:
    """Wait until an expression is true, while no cell runs."""
    deadline = time.monotonic() + 120
    while kernel.value(f"bool({condition})") != "True":
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def until_published(kernel: Kernel, words: str) -> None:
    """Wait until the kernel, which may be busy, publishes this text, for any cell."""
    while words not in str((message := kernel.client.get_iopub_msg(timeout=120))["content"]):
        kernel.route(message)
    kernel.route(message)


def send(kernel: Kernel, comm: str, data: dict[str, Any], *, subshell: str | None = None) -> None:
    """Send the message of a front end when a user changes a widget."""
    message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
    if subshell is not None:
        message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)


def create_subshell(kernel: Kernel) -> str | None:
    """Return the id of a new subshell, or None if the kernel does not support subshells."""
    if kernel.value("getattr(get_ipython().kernel, '_supports_kernel_subshells', False)") != "True":
        return None
    request = kernel.client.session.msg("create_subshell_request")
    kernel.client.control_channel.send(request)
    while True:
        answer = kernel.client.get_control_msg(timeout=120)
        if answer["parent_header"].get("msg_id") == request["header"]["msg_id"]:
            return str(answer["content"]["subshell_id"])
