"""`%%claude --map`: a progress bar while it runs, one line at its end; all answers are kept."""

import re
import time

import ipykernel
import pytest

from claude_magic.simulator import BatchScript, Gate, hold, reply, scenario, status

FRAME = "import pandas as pd\ndf = pd.DataFrame({'text': ['one', 'two', 'three']})"
CELL = "%%claude --map df -o out\nSay {{ text }}"


@pytest.fixture(autouse=True)
def _rows(kernel):
    kernel.run(FRAME + "\nimport shutil; shutil.rmtree('.claude-magic', ignore_errors=True)")


@pytest.fixture
def in_notebook(kernel):
    """Return a function that starts a cell like a user in a notebook."""
    count = iter(range(1000))

    def start(code, *, cell_id=None):
        return kernel.start(code, allow_stdin=True, cell_id=cell_id or f"map-{next(count)}")

    return start


runs_clicks = pytest.mark.skipif(
    int(ipykernel.__version__.split(".")[0]) < 7, reason="ipykernel 6 receives clicks after the cell"
)


def texts(run):
    return [output["data"]["text/plain"] for output in run.outputs if "data" in output]


KEPT = 4
"""The widgets that are kept for pages that open later: the box with the summary, and their layouts."""


def comms(run, kind):
    """Return the widgets that were opened or closed, by `kind`."""
    return {content["comm_id"] for content in run.contents(kind)}


def stop_button(run):
    """Return the comm of the Stop button under the bar, or None."""
    opened = run.contents("comm_open")
    found = [each for each in opened if each["data"]["state"].get("description") == "Stop"]
    return found[0]["comm_id"] if found else None


def until(condition):
    deadline = time.monotonic() + 120.0
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def test_one_line_stays_and_the_variable_has_the_table(kernel, sim):
    """In an unattended front end: no progress bar and no display updates."""
    run = kernel.run(CELL)

    assert run.status == "ok", run.summary()
    (line,) = texts(run)
    assert line.startswith("3 rows, 3 of 3 requests answered · ")
    assert run.contents("update_display_data", "clear_output") == []
    assert kernel.value("list(out.columns), len(out), out is _") == "(['text', 'answer', 'error'], 3, True)"

    again = kernel.run(CELL)
    assert "3 from the journal · nothing was asked, nothing paid" in texts(again)[0]
    assert len(sim.requests) == 3


def test_without_a_variable_the_line_says_where_the_result_is(kernel, sim):
    """A cell that fails has no result."""
    cell = CELL.replace(" -o out", "")

    (line,) = texts(kernel.run(cell))
    assert line.endswith(" · the result is in `_`; `-o NAME` gives it a name")
    assert kernel.value("list(_.columns)") == "['text', 'answer', 'error']"
    assert "-o NAME" not in str(texts(kernel.run(CELL)))

    sim.script(reply("one"), status(402))
    assert "-o NAME" not in str(texts(kernel.run(cell.replace("Say", "Name"))))


@pytest.mark.parametrize(
    ("option", "call"),
    [
        ("-o labelled", "claude.errors(labelled)"),
        ("", "claude.errors(_)"),
        ("--bg -o job", "claude.errors(job.so_far())"),
    ],
)
def test_the_line_names_the_call_that_returns_the_errors(kernel, sim, in_notebook, option, call):
    """With the name of the result, so that it can be copied."""
    kernel.run("df = __import__('pandas').DataFrame({'text': ['one', None]})")
    cell = CELL.replace("-o out", option)

    run = (in_notebook(cell) if "--bg" in option else kernel.start(cell)).finish()
    if "--bg" in option:
        run.until(lambda each: any("says why" in frame for frame in each.frames))

    assert f"<code>{call}</code>" in run.frames[-1]
    assert kernel.value(f"{call}['error'].notna().sum()") in ("1", "np.int64(1)")


@pytest.mark.parametrize("again", [CELL, CELL.replace("-o", "--bg -o"), "%%claude\nName a tree."])
def test_a_cell_that_asks_again_ends_its_map_in_the_background(kernel, sim, in_notebook, again):
    """Nobody sees or stops it otherwise: its output is gone, and its variable may be bound again."""
    gate = Gate()
    sim.script(hold(gate))
    in_notebook(CELL.replace("-o out", "--bg -o run"), cell_id="asks-twice").finish()
    until(lambda: sim.requests)

    run = in_notebook(again, cell_id="asks-twice").finish()

    assert run.status == "ok", run.summary()
    until(lambda: kernel.value("run.phase.value") == "'cancelled'")
    gate.open()


def test_what_was_changed_in_the_content_is_said_before_and_at_the_end(kernel, sim):
    """As below an answer: what was redacted in an attachment, and the guessed encoding of a system prompt."""
    kernel.run(
        "conf = {'password': 'hunter2hunter2'}; open('style.txt', 'wb').write('Café, très bref.'.encode('cp1252'));"
    )
    cell = "%%claude --map df -o out -a conf -s @style.txt {}\nSay {{{{ text }}}}"

    for option in ("--dry-run", ""):
        (shown,) = texts(kernel.run(cell.format(option)))
        assert "Redacted before sending: a password." in shown
        assert "Windows-1252" in shown
    assert len(sim.requests) == 3
    assert "hunter2" not in str([each.body for each in sim.requests])


def test_a_person_sees_a_bar_and_the_first_answers_as_they_come(kernel, sim, in_notebook):
    gate = Gate()
    sim.script(scenario("plain"), scenario("plain"), hold(gate))

    run = in_notebook(CELL)
    run.until(lambda each: any("First answers" in frame for frame in each.frames))
    gate.open()
    run.finish()

    assert run.status == "ok", run.summary()
    assert any("widget-view+json" in str(each["data"]) for each in run.contents("display_data"))
    assert [line.partition(" · ")[0] for line in texts(run)] == ["3 rows, 3 of 3 requests answered"]
    assert "widget" not in str(run.outputs)
    assert len(comms(run, "comm_open") - comms(run, "comm_close")) == KEPT
    # The text next to the bar has spaces, so a narrow page can wrap it.
    assert "row/s, $" in str(run.contents("comm_msg"))


@runs_clicks
def test_stop_under_the_bar_keeps_what_there_is(kernel, sim, in_notebook):
    """The cell fails without a traceback, so that Run All stops; bar and button are removed."""
    gate = Gate()
    sim.script(reply("alpha"), reply("beta"), hold(gate))
    run = in_notebook(CELL)
    run.until(lambda each: any("alpha" in frame and "beta" in frame for frame in each.frames))

    assert "Stop this map. Answers are kept" in str(run.contents("comm_open"))
    content = {"comm_id": stop_button(run), "data": {"method": "custom", "content": {"event": "click"}}}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", content))
    run.finish()
    gate.open()

    assert "running the cell again asks only the rest" in run.error["evalue"]
    assert "Traceback" not in str(run.error["traceback"])
    assert [text.partition(" · ")[0] for text in texts(run)] == ["stopped"]
    assert "widget" not in str(run.outputs)
    assert len(comms(run, "comm_open") - comms(run, "comm_close")) == KEPT
    assert kernel.value("int(out['answer'].notna().sum())") == "2"


def test_where_clicks_are_not_received_there_is_no_button(kernel, sim, in_notebook):
    """A blocking call has a bar, and below it a line on how to stop."""
    gate = Gate()
    sim.script(hold(gate))

    run = in_notebook("x = 1\n%claude --map df -o out Say {{ text }}")
    run.until(lambda each: "widget-view+json" in str(each.contents("display_data")))
    gate.open()
    run.finish()

    assert run.status == "ok", run.summary()
    assert stop_button(run) is None
    opened = str(run.contents("comm_open"))
    assert (
        "interrupt the kernel (■); answers are kept, and running the same line again asks only the rest."
        in opened
    )
    assert "widget" not in str(run.outputs)
    assert len(comms(run, "comm_open") - comms(run, "comm_close")) == KEPT


def test_an_interrupt_keeps_what_there_is_and_says_how_to_go_on(kernel, sim, in_notebook):
    gate = Gate()
    sim.script(reply("alpha"), reply("beta"), hold(gate))
    run = in_notebook(CELL)
    run.until(lambda each: any("alpha" in frame and "beta" in frame for frame in each.frames))

    kernel.interrupt()
    run.finish()
    gate.open()

    assert run.error["ename"] == "KeyboardInterrupt"
    assert "running the cell again asks only the rest" in run.error["evalue"]
    assert kernel.value("int(out['answer'].notna().sum())") == "2"
    assert kernel.value("'not asked' in str(out['error'].tolist())") == "True"
    sim.clear()

    assert kernel.run(CELL).status == "ok"
    # What was in flight at the interrupt may reach the simulator only now.
    assert len({str(request.body["messages"]) for request in sim.requests}) == 1


def test_an_interrupt_ends_the_waiting_for_a_batch_and_not_the_batch(kernel, sim, in_notebook):
    """Running the cell again continues. The bar shows what the map waits for, and until when."""
    cell = CELL.replace("--map df", "--map df --via batch")
    sim.script_batch(BatchScript(seconds=3600))
    run = in_notebook(cell)
    run.until(
        lambda each: any(request.path.endswith(batch.id) for request in sim.requests for batch in sim.batches)
    )

    kernel.interrupt()
    run.finish()

    [batch] = sim.batches
    assert f"{batch.id} goes on at the server, nothing was cancelled" in run.error["evalue"]
    assert "running the cell again waits for the answers" in run.error["evalue"]
    assert kernel.value("'no answer yet' in out['error'].iloc[0]") == "True"
    assert batch.cancelled_at is None
    assert texts(run)[0].startswith(
        f"stopped · 3 rows, 0 of 3 requests answered · {batch.id} goes on at the server"
    )
    batch.seconds = 0.0

    assert kernel.run(cell).status == "ok"
    assert kernel.value("out['answer'].notna().tolist()") == "[True, True, True]"
    assert sum(request.method == "POST" for request in sim.requests) == 1


def test_it_goes_on_in_the_background(kernel, sim, in_notebook, computation):
    """While another cell runs; `%claude jobs` lists it, and `result` has the table."""
    gate = Gate()
    sim.script(scenario("plain"), hold(gate))
    run = in_notebook("%%claude --map df --bg -o going\nSay {{ text }}").finish()
    assert "ends it" in texts(run)[0]
    assert run.contents("comm_open") == []
    assert kernel.value("type(going).__name__") == "'MapRun'"
    listed = texts(kernel.run("%claude jobs"))[-1]
    assert "Say {{ text }}" in listed
    assert "of 3 requests" in listed

    busy = kernel.start(computation.code).until(lambda each: each.contents("execute_input"))
    gate.open()
    run.until(lambda each: any("requests answered" in text for text in texts(each)))
    assert not busy.is_idle
    computation.end()
    busy.finish()

    assert kernel.value("going.error") == "None"
    assert "3 of 3 requests answered" in texts(run)[0]
    assert kernel.value("list(going.result().columns)") == "['text', 'answer', 'error']"


def test_a_background_map_is_stopped_by_its_number(kernel, sim, in_notebook):
    gate = Gate()
    sim.script(*[hold(gate)] * 3)
    run = in_notebook("%%claude --map df --bg -o going\nSay {{ text }}").finish()

    command = re.search(r"%claude stop \d+", texts(run)[0])[0]

    assert "Stopped job" in texts(kernel.run(command))[-1]
    run.until(lambda each: any(text.startswith("stopped · ") for text in texts(each)))
    gate.open()

    assert kernel.value("going.phase.value") == "'cancelled'"


def test_a_dry_run_shows_the_preview_and_three_requests(kernel, sim):
    run = kernel.run("%%claude --map df --dry-run\nSay {{ text }}")

    (text,) = texts(run)
    assert "Dry run: this was not sent" in text
    assert "to ask             3" in text
    assert '"content": "Say three"' in text
    assert sim.requests == []


def test_above_the_price_a_person_is_asked(kernel, sim, in_notebook):
    """Unattended runs need the option instead."""
    kernel.run("%config ClaudeMagics.map_ask_above = 0.001")
    try:
        run = kernel.run(CELL)
        assert "(setting map_ask_above) it needs your approval: max_cost=" in run.error["evalue"]

        for answer, status in (("n", "error"), ("y", "ok")):
            run = in_notebook(CELL)
            request = kernel.client.get_stdin_msg(timeout=120)
            asked = r"3 requests to claude-sonnet-5-5, would cost about \$[\d.]+\. Continue\? "
            assert re.search(asked, request["content"]["prompt"])
            assert sim.requests == []
            kernel.client.input(answer)
            assert run.finish().status == status
    finally:
        kernel.run("%config ClaudeMagics.map_ask_above = None")

    assert len(sim.requests) == 3


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%%claude --map fd\nSay {{ text }}", "--map: there is no variable fd in the notebook"),
        ("%%claude --map df.txt\nSay {{ text }}", "--map: df has no txt"),
        ("%%claude --map df\nSay {{ txet }}", "a row has no txet"),
        ("%%claude --map df --tools f\nSay {{ text }}", "--map and --tools cannot be combined"),
        ("%%claude --map df --compare sonnet,opus\nSay {{ text }}", "cannot be combined"),
        ("%%claude --map 5\nSay {{ text }}", "is the name of a table, column, list or dict"),
        ("%%claude --map df --max-cost much\nSay {{ text }}", "is an amount in USD"),
    ],
)
def test_a_wrong_line_is_a_clear_error_and_nothing_is_sent(kernel, sim, cell, why):
    run = kernel.run(cell)

    assert why in run.stderr + str(run.contents("error"))
    assert sim.requests == []


def test_a_front_end_that_updates_and_clears_nothing_has_the_line_as_its_last_output(
    kernel, sim, in_notebook
):
    """A simple viewer of kernel messages shows an unchanging bar, and the final line at the end."""
    gate = Gate()
    sim.script(hold(gate))

    run = in_notebook(CELL)
    run.until(lambda each: each.contents("display_data"))
    gate.open()
    run.finish()

    *_, last = run.contents("display_data")
    assert last["data"]["text/plain"].startswith("3 rows, 3 of 3 requests answered")
    assert "widget" not in str(last["data"])


def test_python_maps_in_a_cell_too(kernel, sim):
    """Blocking and awaited, among other outputs."""
    run = kernel.run(
        "from claude_magic import claude\nprint('before')\nout = claude.map('Say {{ text }}', df)\n"
        "more = await claude.map_async('Tell {{ text }}', df)\nprint(len(out), len(more))"
    )

    assert run.status == "ok", run.summary()
    assert run.stdout == "before\n3 3\n"
    assert len(texts(run)) == 2


def test_a_captured_cell_has_the_line_alone(kernel, sim):
    run = kernel.run("%%capture seen\n%claude --map df -o out Say {{ text }}")

    assert run.status == "ok", run.summary()
    assert "3 of 3 requests answered" in kernel.value("str([each.data for each in seen.outputs])")


def test_executed_by_a_tool_it_leaves_one_line(execute_notebook, sim):
    """As by `jupyter nbconvert --execute`: no widget, no update."""
    outputs, error = execute_notebook(FRAME, CELL, "out.shape")

    assert error is None
    (line,) = outputs[1]
    assert "3 of 3 requests answered" in line["data"]["text/plain"]
    assert outputs[2][0]["data"]["text/plain"] == "(3, 3)"
