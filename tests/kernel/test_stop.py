"""The Stop button under a streaming answer, pressed by the message of a front end."""

import ipykernel
import pytest

from claude_magic.simulator import Gate, hold, reply

TEXT = "First words, then many more of them."
IS_OLD = int(ipykernel.__version__.split(".")[0]) < 7
runs_clicks = pytest.mark.skipif(IS_OLD, reason="ipykernel 6 receives clicks after the cell")


PERSON = {"allow_stdin": True, "has_page": True}


@runs_clicks
def test_stop_ends_the_answer_while_its_cell_runs(kernel, sim):
    """The partial answer is kept, the cell fails with one line, so that Run All stops, and the button is removed."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=TEXT))

    run = kernel.start("%%claude -o answer\nhi", cell_id="stopped", **PERSON).until(lambda each: each.view)
    kernel.tell(run.view, {"do": "stop"})
    run.finish()
    gate.open()

    assert run.error["evalue"] == "the answer was stopped."
    assert len("\n".join(run.error["traceback"]).splitlines()) == 1
    (output,) = [output for output in run.outputs if output["output_type"] == "display_data"]
    assert output["data"]["text/plain"] == kernel.value("str(answer)").strip("'")
    assert TEXT.startswith(output["data"]["text/plain"])
    assert output["data"]["text/plain"]
    assert "widget" not in str(output["data"])
    assert run.view in run.ended_views
    assert kernel.value("answer.phase.value") == "'cancelled'"


@runs_clicks
def test_the_button_goes_away_with_the_end_of_the_answer(kernel, sim):
    """One output is left, as without a button."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=TEXT))

    run = kernel.start("%%claude\nhi", cell_id="whole", **PERSON).until(lambda each: each.view)
    gate.open()
    run.finish()

    (output,) = run.outputs
    assert output["data"]["text/plain"] == TEXT
    assert run.view in run.ended_views


@runs_clicks
def test_a_cell_that_waits_is_shown_as_busy(kernel, sim):
    """Also after another message was handled, as JupyterLab sends with the first widget; but never after the end of
    the cell."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=TEXT))
    states = []

    def listen(run):
        states.extend(
            (message["parent_header"].get("msg_type"), message["content"]["execution_state"])
            for message in [*run.messages, *kernel.take(request), *kernel.take("")]
            if message["msg_type"] == "status"
        )
        run.messages.clear()
        return states

    kernel.take("")
    run = kernel.start("%%claude\nhi", cell_id="busy", **PERSON).until(lambda each: each.view)
    request = kernel.client.session.msg("create_subshell_request", {})
    kernel.client.control_channel.send(request)
    request = request["header"]["msg_id"]
    run.until(lambda each: ("create_subshell_request", "idle") in listen(each))
    run.until(lambda each: listen(each)[-1] == (None, "busy"))
    gate.open()
    run.until(lambda each: ("execute_request", "idle") in listen(each))

    kernel.run("1")
    assert kernel.take("") == []


def test_a_short_answer_has_no_button(start_kernel, sim):
    """Without buttons, no widgets are imported."""
    kernel = start_kernel()

    alone = kernel.run("%%claude\nhi")
    are_imported = kernel.value("'ipywidgets' in __import__('sys').modules")
    run = kernel.run("%%claude\nhi", cell_id="short", **PERSON)

    assert (alone.status, run.status) == ("ok", "ok")
    assert are_imported == "False"
    assert "can_stop" not in str(run.contents("comm_open"))
    assert run.view is None


@pytest.mark.parametrize(
    ("code", "kwargs"),
    [
        ("x = 1\n%claude hi", {"cell_id": "blocking", **PERSON}),
        pytest.param(
            "%%claude\nhi",
            {"cell_id": "old", **PERSON},
            marks=pytest.mark.skipif(not IS_OLD, reason="ipykernel 7 receives clicks while a cell awaits"),
        ),
    ],
)
def test_where_clicks_are_not_received_a_line_says_how_to_stop(kernel, sim, code, kwargs):
    """For blocking calls, and with ipykernel 6: no button without effect. The line is removed at the end."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=TEXT))

    run = kernel.start(code, **kwargs).until(lambda each: any("(■)" in frame for frame in each.frames))
    assert "to stop, interrupt the kernel (■)" in run.frames[-1]
    assert run.view is None
    gate.open()
    run.finish()

    assert run.status == "ok"
    assert "■" not in str(run.outputs)


@runs_clicks
def test_where_no_page_has_the_widget_the_answer_goes_on_in_html(kernel, sim):
    """For example if the front end lacks the widget's extension, and would show an error in its place."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=TEXT))

    run = kernel.start("%%claude\nhi", allow_stdin=True, cell_id="lacking")
    run.until(lambda each: any("can_stop" in str(opened) for opened in each.contents("comm_open")))
    gate.open()
    run.finish()

    assert run.view is None
    assert not any("widget" in str(content["data"]) for content in run.contents("update_display_data"))
    (output,) = run.outputs
    assert output["data"]["text/plain"] == TEXT


@pytest.mark.parametrize("kwargs", [{}, {"cell_id": "unattended"}, {"allow_stdin": True}])
def test_there_is_no_remark_where_nobody_sits(kernel, sim, kwargs):
    """nbclient allows no input, and a console sends no cell ids: neither button nor line."""
    sim.script(reply(chunks=[*"streams for a while, letter by letter, and ends"], chunk_delay=0.04))

    run = kernel.run("%%claude\nhi", **kwargs)

    assert run.status == "ok"
    assert run.contents("comm_open") == []
    assert not any("■" in frame for frame in run.frames)
