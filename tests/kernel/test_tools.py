"""Tools in real kernels: where they run, approval, and interrupts."""

from __future__ import annotations

import time

import ipykernel
import pytest

from claude_magic.simulator import reply

TOOLS = '''
import asyncio, threading, time

def tide_table(port: str, day: int = 3) -> dict:
    """Give the times of high water.

    Args:
        port: Name of the port.
    """
    print("tide_table runs on", threading.current_thread().name)
    return {"port": port, "high_water": ["04:12"]}

async def wind_at(port: str) -> str:
    """Ask for the wind at a port."""
    await asyncio.sleep(0.01)
    print("wind_at runs in", asyncio.current_task().get_loop() is loop)
    return f"{port}: 5 Beaufort"

def broken_gauge(x: int):
    """Fail."""
    return 1 / 0

def slow_gauge():
    """Take an hour, and block."""
    print("slow_gauge runs", flush=True)
    time.sleep(3600)

async def slow_vane():
    """Take an hour, and wait."""
    print("slow_vane runs", flush=True)
    await asyncio.sleep(3600)

async def stuck_vane():
    """Take an hour, and block the loop."""
    print("stuck_vane runs", flush=True)
    time.sleep(3600)

beats = []

async def beating_vane():
    """Beat for ever."""
    print("beating_vane runs", flush=True)
    while True:
        beats.append(1)
        await asyncio.sleep(0.01)

async def vain_vane():
    """Wait for something that was cancelled."""
    other = asyncio.ensure_future(asyncio.sleep(5))
    other.cancel()
    await other

def short_gauge():
    """Block for a moment."""
    time.sleep(0.2)
    print("short_gauge ends", flush=True)

def tide_readings(port: str):
    """Give the readings, one after the other."""
    yield 4.5
    print("tide_readings goes on")
    yield 5.0

async def wind_readings(port: str):
    """Give the readings as they come."""
    yield 3
    await asyncio.sleep(0)
    yield 4

def tide_chart():
    """Draw the tide."""
    from PIL import Image
    return "Panel", Image.new("RGB", (4, 4))

def half_chart():
    """Draw half of the tide."""
    import io
    from PIL import Image
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    return buffer.getvalue()[:2000]

loop = asyncio.get_event_loop()
'''


ENTRY_POINTS = pytest.mark.parametrize(
    "entry_point",
    [
        "%%claude --tools {tool} --approve never\nUse {tool}",
        "x = 1\n%claude --tools {tool} --approve never Use {tool}",
    ],
)
"""The cell that awaits its answer, and the line that blocks."""


@pytest.fixture(scope="module")
def kernel(start_kernel):
    """A kernel with tools."""
    kernel = start_kernel()
    assert kernel.run(TOOLS).status == "ok"
    assert kernel.run("await asyncio.sleep(0); loop = asyncio.get_running_loop()").status == "ok"
    return kernel


@pytest.fixture(autouse=True)
def _new_conversation(kernel):
    kernel.run("%claude clear")


def result(sim):
    """Return the last tool result in a request."""
    for request in reversed(sim.requests):
        for turn in reversed(request.body["messages"]):
            for block in turn["content"]:
                if isinstance(block, dict) and block.get("type") == "tool_result":
                    return block
    raise AssertionError("no result was sent")


def test_a_function_is_called_and_its_result_goes_back(kernel, sim):
    """With a schema from signature and docstring, on the main thread, with prints in the cell, and one answer of two
    rounds."""
    run = kernel.run('%%claude --tools tide_table --approve never\nUse tide_table for port "Brest"')

    (tool,) = sim.requests[0].body["tools"]
    assert tool["description"] == "Give the times of high water."
    assert tool["input_schema"]["properties"]["port"] == {
        "type": "string",
        "description": "Name of the port.",
    }
    assert tool["input_schema"]["required"] == ["port"]
    assert "tide_table runs on MainThread" in run.stdout
    assert '"high_water":["04:12"]' in result(sim)["content"]
    assert kernel.value("(_.stop_reason, len(_.snapshot().rounds))") == "('end_turn', 2)"
    assert "tide_table" in run.outputs[-2 if run.stdout else -1]["data"]["text/html"]


def test_an_async_function_runs_on_the_loop_of_the_kernel(kernel, sim):
    """Where the user's own tasks and clients run."""
    run = kernel.run('%%claude --tools wind_at --approve never\nUse wind_at for port "Brest"')

    assert "wind_at runs in True" in run.stdout
    assert result(sim)["content"] == "Brest: 5 Beaufort"


def test_an_async_function_also_runs_in_a_line_that_blocks(kernel, sim):
    """The loop runs nested, but only in a plain cell."""
    run = kernel.run('x = 1\n%claude --tools wind_at --approve never Use wind_at for port "Brest"')

    assert run.status == "ok"
    assert "wind_at runs in True" in run.stdout
    assert kernel.run("6 * 7").status == "ok"


def test_in_a_coroutine_a_line_that_blocks_says_what_to_do_instead(kernel, sim):
    """Nesting the loop there would break the kernel; the history stays valid."""
    code = 'await asyncio.sleep(0)\n%claude --tools wind_at --approve never Use wind_at for port "Brest"'

    run = kernel.run(code)

    assert run.status == "error"
    assert "ask_async" in run.error["evalue"]
    assert kernel.run("%%claude\nGo on").status == "ok"


@ENTRY_POINTS
@pytest.mark.parametrize(("tool", "content"), [("tide_readings", "[4.5,5.0]"), ("wind_readings", "[3,4]")])
def test_what_a_generator_yields_goes_back(kernel, sim, entry_point, tool, content):
    """It is read where the function runs, so its prints are in the cell; an async generator as well."""
    run = kernel.run(f'{entry_point.format(tool=tool)} for port "Brest"')

    assert run.status == "ok"
    assert result(sim)["content"] == content
    assert ("goes on" in run.stdout) == (tool == "tide_readings")


@ENTRY_POINTS
def test_a_picture_in_a_result_goes_back_as_one(kernel, sim, entry_point):
    """In its place; a damaged image becomes text, and the answer continues."""
    kernel.run(entry_point.format(tool="tide_chart"))
    blocks = result(sim)["content"]
    run = kernel.run(entry_point.format(tool="half_chart"))

    assert [block.get("text") or block["type"] for block in blocks] == ['["Panel",', "image", "]"]
    assert "cannot be shown" in result(sim)["content"]
    assert run.status == "ok"


def test_what_a_function_raises_goes_back_to_the_model(kernel, sim):
    """As an error with the frames of the user's code."""
    run = kernel.run("%%claude --tools broken_gauge --approve never\nUse broken_gauge with x 3")

    assert run.status == "ok"
    assert result(sim)["is_error"] is True
    assert "ZeroDivisionError" in result(sim)["content"]
    assert "claude_magic" not in result(sim)["content"]


@ENTRY_POINTS
def test_an_async_function_that_waits_in_vain_has_failed(kernel, sim, entry_point):
    """Cancelling its own tasks does not interrupt the answer."""
    run = kernel.run(entry_point.format(tool="vain_vane"))

    assert run.status == "ok"
    assert result(sim)["is_error"] is True
    assert "CancelledError" in result(sim)["content"]
    assert kernel.value("__import__('claude_magic').claude.last.stop_reason") == "'end_turn'"


@ENTRY_POINTS
def test_the_screen_says_that_a_function_runs_before_it_blocks(kernel, entry_point):
    """No frame can be drawn while it blocks."""
    run = kernel.run(entry_point.format(tool="short_gauge"))

    before = []
    for message in run.messages:
        if message["msg_type"] == "stream":
            break
        before.append(message["content"].get("data", {}).get("text/html", ""))
    assert "short_gauge ends" in run.stdout
    assert any("short_gauge()" in frame and "running" in frame for frame in before)


def test_a_cell_that_is_waiting_runs_after_an_async_function_in_a_line_that_blocks(kernel):
    """Nesting the kernel's loop loses no message, and starts no cell inside another."""
    first = kernel.start(
        'order = []\n%claude --tools wind_at --approve never Use wind_at for port "Brest"\norder.append(1)'
    )
    second = kernel.start("order.append(2)")

    first.finish()
    second.until(lambda run: run.is_idle)

    assert kernel.value("order") == "[1, 2]"


def test_a_tool_that_does_not_exist_sends_nothing(kernel, sim):
    """With what was probably meant."""
    run = kernel.run("%%claude --tools tide_tabel\nWhen?")

    assert run.status == "error"
    assert "tide_table" in run.error["evalue"]
    assert sim.requests == []


def test_where_nobody_can_be_asked_a_call_is_refused(kernel, sim):
    """As with nbclient; the result says so, and how to allow it."""
    run = kernel.run('%%claude --tools tide_table\nUse tide_table for port "Brest"')

    assert run.status == "ok"
    assert result(sim)["is_error"] is True
    assert "--approve never" in result(sim)["content"]
    assert "no approval could be requested" in run.outputs[-1]["data"]["text/html"]
    assert "runs on" not in run.stdout


@pytest.mark.parametrize(("answer", "is_run"), [("y", True), ("n", False)])
def test_a_typed_answer_decides(kernel, sim, answer, is_run):
    """In front ends without buttons. The question contains the arguments."""
    run = kernel.start('%%claude --tools tide_table\nUse tide_table for port "Brest"', allow_stdin=True)

    request = kernel.client.get_stdin_msg(timeout=120)
    kernel.client.input(answer)
    run.finish()

    assert "tide_table(port='Brest'" in request["content"]["prompt"]
    assert ("runs on" in run.stdout) is is_run
    assert result(sim).get("is_error", False) is not is_run


PERSON = {"allow_stdin": True, "cell_id": "ask", "has_page": True}
"""In a front end that names its cells, and so draws widgets."""
ASK = '%%claude --tools tide_table\nUse tide_table for port "Brest"'
runs_clicks = pytest.mark.skipif(
    int(ipykernel.__version__.split(".")[0]) < 7, reason="ipykernel 6 receives clicks after the cell"
)


def states(run):
    """Return the states of the answer's widget that were sent to the page, oldest first."""
    sent = [content["data"] for content in run.contents("comm_msg") if content["comm_id"] == run.view]
    return [data["state"] for data in sent if data["method"] == "update"]


def question(run):
    """Return the question in that widget; {} if there is none."""
    asked = [state["question"] for state in states(run) if "question" in state]
    return asked[-1] if run.view and asked else {}


def press(kernel, run, label):
    """Send the page's message for a pressed button."""
    kernel.tell(run.view, {"do": "press", "number": question(run)["number"], "label": label})


@runs_clicks
@pytest.mark.parametrize(("label", "is_run"), [("Allow", True), ("Deny", False)])
def test_a_button_decides_while_the_cell_runs(kernel, label, is_run):
    """The question is in the widget of the growing answer, below the call, and in no output."""
    run = kernel.start(ASK, **PERSON).until(question)

    assert [each["label"] for each in question(run)["buttons"]] == ["Allow", "Deny", "Allow all"]
    before = states(run)[: [bool(state.get("question")) for state in states(run)].index(True)]
    assert any("tide_table(port=" in str(state) for state in before)
    press(kernel, run, label)
    run.finish()

    assert run.status == "ok"
    assert ("runs on" in run.stdout) is is_run
    (answer,) = [output for output in run.outputs if "data" in output]
    assert set(answer["data"]) == {"text/html", "text/markdown", "text/plain"}
    assert run.contents("clear_output") == []
    assert run.view in run.ended_views


@runs_clicks
def test_one_press_can_allow_all_calls_of_an_answer(kernel, sim):
    """The second call is then not asked about; otherwise each call is, one after the other."""
    code = '%%claude --tools tide_table,wind_at\nUse tide_table and wind_at for port "Brest"'
    run = kernel.start(code, **PERSON).until(question)
    press(kernel, run, "Allow all")
    run.finish()
    one_by_one = kernel.start(code, **PERSON).until(question)
    press(kernel, one_by_one, "Allow")
    one_by_one.until(lambda each: question(each).get("number") == 2)
    press(kernel, one_by_one, "Allow")
    one_by_one.finish()

    for each in (run, one_by_one):
        assert "tide_table runs" in each.stdout
        assert "wind_at runs" in each.stdout
        assert each.contents("clear_output") == []
    assert {state["question"].get("number", 1) for state in states(run) if "question" in state} == {1}


@runs_clicks
def test_an_answer_that_is_stopped_while_it_asks_leaves_no_question(kernel, sim):
    """The call does not run, and the history is valid."""
    run = kernel.start(ASK, **PERSON).until(question)

    kernel.tell(run.view, {"do": "stop"})
    run.finish()

    assert run.error["ename"] == "KeyboardInterrupt"
    assert "runs on" not in run.stdout
    assert not any("widget-view" in str(output) for output in run.outputs)
    assert kernel.run("%%claude\nGo on").status == "ok"
    assert result(sim)["is_error"] is True


@runs_clicks
def test_an_answer_in_the_background_asks_in_its_cell_too(kernel, sim):
    """It is the rest of an answer that was cut off, with its tools.

    Its cell has ended, and the question leaves no output.
    """
    call = {"type": "tool_use", "id": "toolu_1", "name": "tide_table", "input": {"port": "Brest"}}
    sim.script(reply(text="It begins", stop_reason="max_tokens"))
    kernel.run(ASK, **PERSON)
    sim.script(reply(content=[call], stop_reason="tool_use"), reply(text=" and ends."))

    run = kernel.start("%claude --bg continue", **PERSON | {"cell_id": "rest"}).until(
        lambda each: each.is_idle and question(each)
    )
    press(kernel, run, "Allow")
    run.until(lambda each: "and ends." in str(each.outputs))
    run.until(lambda each: each.ended_views).finish()

    (answer,) = [output["data"] for output in run.outputs if "data" in output]
    assert "It begins and ends." in answer["text/plain"]
    assert "runs on" in run.stdout


def buttons(run):
    """Return the ids of the buttons below the answer of a cell, by label."""
    found = {}
    for message in run.messages:
        if message["msg_type"] == "comm_open":
            state = message["content"]["data"].get("state", {})
            if state.get("_model_name") == "ButtonModel":
                found[state["description"]] = message["content"]["comm_id"]
    return found


def click(kernel, run, label):
    """Send the message of a front end for a click on one of them."""
    kernel.tell(buttons(run)[label], {"event": "click"})


@pytest.fixture
def no_page_timeout(kernel):
    """Sets the time for a page to report the widget to zero."""
    module = "__import__('claude_magic.display.widgets').display.widgets"
    kernel.run(f"{module}.PAGE_TIMEOUT = 0.0")
    yield kernel
    kernel.run(f"{module}.PAGE_TIMEOUT = 2.0")


@runs_clicks
def test_where_no_page_has_the_widget_buttons_stand_below_the_answer(no_page_timeout):
    """For example if the front end lacks the widget's extension. The final output replaces answer and buttons."""
    run = no_page_timeout.start(ASK, **PERSON | {"has_page": False}).until(
        lambda each: "Allow all" in buttons(each)
    )
    run.until(lambda each: "widget-view" in str(each.contents("display_data")))
    shown = run.contents("display_data", "update_display_data")

    click(no_page_timeout, run, "Allow")
    run.finish()

    asked = next(place for place, content in enumerate(shown) if "widget-view" in str(content))
    assert "tide_table(port=" in shown[asked - 1]["data"]["text/html"]
    assert "runs on" in run.stdout
    (answer,) = [output for output in run.outputs if "data" in output]
    assert "According to" in answer["data"]["text/plain"]


@runs_clicks
def test_after_a_press_a_quiet_line_stands_where_the_buttons_were(kernel, sim):
    """Even without a live answer, a saved notebook must not contain a closed widget."""
    code = '%%claude --quiet --tools tide_table\nUse tide_table for port "<b>Brest</b>"'
    run = kernel.start(code, **PERSON).until(lambda each: "Allow all" in buttons(each))

    click(kernel, run, "Allow")
    run.finish()

    (line,) = [output["data"] for output in run.outputs if "data" in output]
    assert "widget" not in str(line)
    assert line["text/plain"].startswith("Allowed: tide_table(port='<b>Brest</b>'")
    assert "<b>" not in line["text/html"]
    assert run.contents("comm_close")


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        ("%%claude --tools slow_gauge --approve never\nUse slow_gauge", "slow_gauge runs"),
        ("%%claude --tools slow_vane --approve never\nUse slow_vane", "slow_vane runs"),
        ("%%claude --tools stuck_vane --approve never\nUse stuck_vane", "stuck_vane runs"),
        ("x = 1\n%claude --tools slow_gauge --approve never Use slow_gauge", "slow_gauge runs"),
        ("x = 1\n%claude --tools slow_vane --approve never Use slow_vane", "slow_vane runs"),
        ("x = 1\n%claude --tools stuck_vane --approve never Use stuck_vane", "stuck_vane runs"),
    ],
)
def test_an_interrupt_in_a_tool_ends_the_cell_and_leaves_a_valid_history(kernel, sim, code, stage):
    """The call gets an error as its result, and the next question is accepted."""
    run = kernel.start(code).until(lambda each: stage in each.stdout)

    time.sleep(0.1)  # into the tool's own wait
    kernel.interrupt()
    run.finish()

    assert run.status == "error"
    assert run.error["ename"] == "KeyboardInterrupt"
    assert kernel.run("%%claude\nGo on").status == "ok"
    assert sim.requests[-1].status == 200
    assert result(sim)["is_error"] is True


@ENTRY_POINTS
def test_nothing_of_an_interrupted_tool_goes_on(kernel, entry_point):
    """An async function ends with its cell, and does not continue on the kernel's loop."""
    run = kernel.start(entry_point.format(tool="beating_vane")).until(
        lambda each: "beating_vane runs" in each.stdout
    )

    kernel.interrupt()
    run.finish()

    before = kernel.value("len(beats)")
    kernel.run("await asyncio.sleep(0.1)")
    assert kernel.value("len(beats)") == before


BLOCKING = 'x = 1\n%claude --tools tide_table Use tide_table for port "Brest"'


@pytest.mark.parametrize(("code", "cell_id"), [(ASK, None), (ASK, "ask"), (BLOCKING, "ask")])
def test_an_interrupt_at_the_approval_leaves_a_valid_history(kernel, sim, code, cell_id):
    """With typed approval and with buttons."""
    run = kernel.start(code, **PERSON | {"cell_id": cell_id})
    if code == BLOCKING or cell_id is None or int(ipykernel.__version__.split(".")[0]) < 7:
        kernel.client.get_stdin_msg(timeout=120)
    else:
        run.until(question)

    kernel.interrupt()
    run.finish()

    assert run.status == "error"
    assert run.error["ename"] == "KeyboardInterrupt"
    assert "runs on" not in run.stdout
    assert kernel.run("%%claude\nGo on").status == "ok"
    assert sim.requests[-1].status == 200
    assert result(sim)["is_error"] is True
