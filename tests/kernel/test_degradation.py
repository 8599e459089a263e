"""Environments without a user, widgets, subshells or display updates: everything works, with less interaction.

ipykernel 6 is tested by running this whole folder with it (`make floors`). Handling of clicks, with and without
subshells, is tested in `test_stop.py`, and for panels in `test_panels.py`.
"""

import ipykernel
import pytest

from claude_magic.simulator import Gate, hold, reply

IS_OLD = int(ipykernel.__version__.split(".")[0]) < 7
LETTERS = [*"streams for a while, letter by letter, and comes to an end"]
TEXT = "".join(LETTERS)
ASKED = """
import threading
from claude_magic import PromptPanel
panel = PromptPanel()
written, update = threading.Event(), panel._transcript.update
def note(exchanges):
    update(exchanges)
    if exchanges: written.set()
panel._transcript.update = note
display(panel)
panel.ask("**Hello?**").result()
assert written.wait()
"""


@pytest.fixture
def executed(sim, execute_notebook):
    """Return a function that executes cells with a slow first answer, and returns their outputs."""

    def execute(*sources, **arguments):
        quick = [reply(chunks=LETTERS, chunk_delay=0.001)] * 9
        sim.script(reply(chunks=LETTERS, chunk_delay=0.03), *quick)
        outputs, error = execute_notebook(*sources, **arguments)
        assert error is None
        return outputs

    return execute


def texts(outputs):
    """Return an output area as plain text, with streams unchanged."""
    return [output.get("text") or output["data"].get("text/plain", "") for output in outputs]


@pytest.mark.parametrize("live", ["true", "false"])
def test_executed_unattended_every_kind_of_cell_ends_in_its_answer(executed, live):
    """Each answer is one output: no error, no widget that would not be shown, and nothing partial."""
    plain, background, line, compared = executed(
        "%%claude\nhi",
        "%%claude --bg --no-history\nhi",
        "answer = %claude --no-history hi\nprint(answer.text)",
        "%%claude --no-history --compare sonnet,opus\nhi",
        CLAUDE_MAGIC_LIVE=live,
    )

    assert texts(plain) == [TEXT]
    assert texts(background) == [TEXT]
    assert "--bg waited for the answer" in background[0]["data"]["text/html"]
    assert sorted(texts(line)) == sorted([TEXT, TEXT + "\n"])
    assert len(compared) == 1
    assert texts(compared)[0].count(TEXT) == 2
    for outputs in (plain, background, line, compared):
        assert not any("widget" in str(output.get("data", "")) for output in outputs)


def test_executed_unattended_what_would_move_stands_still(executed):
    """Controls ask once with their initial values, and the gauge is a table. Both say so."""
    moved, gauge = executed(
        "%%claude --no-history --interact n\nName {{ n }}.", "%claude limits --live", before="n = 3"
    )

    assert texts(moved) == [TEXT]
    assert "There are no controls here" in moved[0]["data"]["text/html"]
    table, remark = texts(gauge)
    assert "requests" in table
    assert remark.startswith("No live gauge: ")


def test_executed_unattended_a_panel_keeps_what_was_said(executed):
    """The outputs contain the widget for front ends that can show it, and the transcript for others."""
    (shown,) = executed(ASKED)

    view, *transcript = shown
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    assert view["data"]["text/plain"]
    assert "".join(output["data"]["text/markdown"] for output in transcript).count(TEXT) == 1
    assert all("widget" not in output["data"]["text/html"] for output in transcript)


@pytest.mark.parametrize("code", ["%%claude\nhi", "%%claude --compare sonnet,opus\nhi"])
def test_a_front_end_that_updates_and_clears_nothing_has_the_whole_answer_as_its_last_output(
    kernel, sim, code
):
    """For example nbval, or a simple viewer of kernel messages: the parts come first, and the whole answer is last."""
    sim.clear()
    sim.script(*[reply(chunks=LETTERS, chunk_delay=0.01)] * 2)

    run = kernel.run(code, allow_stdin=True, cell_id="simple")

    *_, last = run.contents("display_data")
    assert run.status == "ok"
    assert TEXT in last["data"]["text/plain"]
    assert TEXT in last["data"]["text/markdown"]
    assert "widget" not in str(last["data"])


def test_a_front_end_without_subshells_stops_a_background_answer_between_cells(kernel, sim, computation):
    """Like VS Code: cells have ids, and clicks arrive on the main shell.

    They wait for the running cell, and then work.
    """
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text="First words, then many more of them."))
    run = kernel.run(
        "%%claude --bg --no-history -o answer\nhi", allow_stdin=True, cell_id="vscode", has_page=True
    )
    run.until(lambda each: any("First" in frame for frame in each.frames))
    run.until(lambda each: each.view or (IS_OLD and any("%claude stop" in frame for frame in each.frames)))

    if run.view:
        busy = kernel.start(computation.code + "print(answer.phase.value)")
        kernel.tell(run.view, {"do": "stop"})
        computation.end()
        busy.finish()
        assert busy.stdout == "streaming\n"
    else:  # ipykernel 6 handles no clicks while an awaited cell runs, so it has no button
        assert any("%claude stop" in frame for frame in run.frames)
        kernel.run("%claude stop")

    run.until(lambda each: any("Interrupted" in frame for frame in each.frames))
    gate.open()
    assert kernel.value("answer.phase.value") == "'cancelled'"
