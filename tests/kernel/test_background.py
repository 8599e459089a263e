"""`%%claude --bg`: the cell ends immediately, and its answer appears in it while later cells run."""

import ipykernel
import pytest

from claude_magic.simulator import Gate, hold, reply, status

TEXT = "First words, then many more of them."
PARAGRAPHS = [f"Paragraph {number} of a longer answer.\n\n" for number in range(60)]
IS_OLD = int(ipykernel.__version__.split(".")[0]) < 7


@pytest.fixture
def background(kernel):
    """Return a function that runs a cell like a user in a notebook."""
    count = iter(range(1000))

    def run(code, *, cell_id=None):
        return kernel.run(code, allow_stdin=True, cell_id=cell_id or f"cell-{next(count)}")

    return run


def wait_for_answer(run, text):
    """Read messages until the cell contains a complete answer with this text."""
    return run.until(lambda each: [text] == [output["data"].get("text/plain") for output in each.outputs])


def test_the_answer_streams_into_its_cell_while_another_computes(kernel, sim, background, computation):
    """Frames arrive while the kernel's main thread is busy, and the final state is one output with all MIME types."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text="".join(PARAGRAPHS)))

    run = background("%%claude --bg -o answer\nhi")
    run.until(lambda each: any("Paragraph" in frame for frame in each.frames))
    busy = kernel.start(computation.code).until(lambda each: each.contents("execute_input"))
    frames_before = len(run.frames)
    gate.open()
    run.until(lambda each: len(each.frames) > frames_before)

    assert not busy.is_idle
    computation.end()
    busy.finish()
    wait_for_answer(run, "".join(PARAGRAPHS))
    (output,) = run.outputs
    assert set(output["data"]) == {"text/html", "text/markdown", "text/plain"}
    assert busy.outputs == []
    assert kernel.value("answer.phase.value") == "'complete'"


def test_the_reply_can_be_awaited_and_is_the_value_of_the_cell(kernel, sim, background):
    """`_` is the reply, even before its end."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text=TEXT))
    background("%%claude --bg -o answer\nhi")
    assert kernel.value("_ is answer") == "True"

    waiting = kernel.start("print((await answer).text)")
    gate.open()
    waiting.finish()

    assert TEXT in waiting.stdout


def test_an_interrupted_cell_leaves_background_answers_alone(kernel, sim, background, computation):
    """Their cell has already ended."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text=TEXT))
    run = background("%%claude --bg\nhi")

    busy = kernel.start("print('started')" + computation.code).until(lambda each: each.stdout)
    kernel.interrupt()
    busy.finish()
    gate.open()

    assert busy.error["ename"] == "KeyboardInterrupt"
    wait_for_answer(run, TEXT)


def test_a_failed_job_says_so_where_it_was_started_and_in_jobs(kernel, sim, background):
    """It does not raise in the cell that is running then."""
    sim.script(status(400))
    run = background("%%claude --bg -o answer\nhi")

    run.until(lambda each: any("InvalidRequestError" in frame for frame in each.frames))
    later = background("%claude jobs")

    shown = later.outputs[-1]["data"]["text/plain"]
    # The important columns are first, because on a narrow page the end of a table is not visible.
    assert shown.split()[:4] == ["job", "state", "price", "seconds"]
    assert "failed: InvalidRequestError" in shown
    assert f"In[{run.reply['content']['execution_count']}]" in shown
    assert later.status == "ok"
    with_error = kernel.run("await answer")
    assert with_error.error["ename"] == "InvalidRequestError"


def test_a_failed_quiet_job_says_so_too(kernel, sim, background):
    """It shows nothing else."""
    if IS_OLD:
        pytest.skip("ipykernel 6 cannot display in a cell that has ended; %claude jobs tells")
    sim.script(status(400))
    run = background("%%claude --bg --quiet\nhi")

    run.until(lambda each: any("InvalidRequestError" in frame for frame in each.frames))


def test_stop_ends_one_by_its_number_and_keeps_what_came(kernel, sim, background):
    """Without a number it stops the only job; if there are several, it stops none and lists their numbers."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text=TEXT), hold(gate, after_deltas=2, text=TEXT))
    first = background("%%claude --bg --no-history -o one\nFirst question")
    second = background("%%claude --bg --no-history -o two\nSecond question")
    for run in (first, second):
        run.until(lambda each: any("First words" in frame for frame in each.frames))

    refused = background("%claude stop")
    assert "2 replies are in flight" in refused.stderr
    first_number = refused.stderr.partition("job ")[2].split()[0]
    stopped = background(f"%claude stop {first_number}")
    first.until(lambda each: any("Interrupted" in frame for frame in each.frames))

    assert "Stopped job" in stopped.outputs[-1]["data"]["text/plain"]
    assert kernel.value("one.phase.value, two.done()") == "('cancelled', False)"
    assert first.outputs[-1]["data"]["text/plain"].startswith("First")
    assert "the partial answer is kept in one." in first.outputs[-1]["data"]["text/html"]
    assert "Stopped" in background("%claude stop").outputs[-1]["data"]["text/plain"]
    assert "nothing was stopped" in background("%claude stop").outputs[-1]["data"]["text/plain"]
    assert "There is no job 999" in background("%claude stop 999").stderr
    gate.open()


def test_a_crowd_is_listed_and_stopped_in_a_few_words(kernel, sim, background):
    """A long error does not widen the table."""
    gate = Gate()
    sim.script(*[hold(gate, after_deltas=1, text=TEXT)] * 9)
    background("for number in range(9):\n    %claude --bg --no-history --quiet hello")

    stopped = background("%claude stop all").outputs[-1]["data"]["text/plain"]
    kernel.run("import time\nwhile __import__('claude_magic').claude.in_flight: time.sleep(0.01)")
    gate.open()
    lines = background("%claude jobs").outputs[-1]["data"]["text/plain"].splitlines()

    assert "and 4 more" in stopped
    assert len([line for line in lines if "stopped" in line]) >= 9
    assert max(map(len, lines)) < 240


def test_a_later_question_of_the_conversation_waits_for_the_answer(kernel, sim, background):
    """So a notebook that is run again has the same conversation."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text=TEXT), reply("Second answer."))
    background("%%claude --bg --new\nFirst question")

    later = kernel.start("%%claude\nSecond question", allow_stdin=True, cell_id="later")
    later.until(
        lambda each: any("the previous answer of this conversation" in frame for frame in each.frames)
    )
    gate.open()
    later.finish()

    sent = [seen.body["messages"] for seen in sim.requests if seen.path == "/v1/messages"][-1]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert TEXT in str(sent[1])


@pytest.mark.parametrize("options", ["--bg", ""])
def test_a_cell_that_is_run_again_stops_what_it_had_on_its_way(kernel, sim, background, options):
    """The previous answer would no longer be visible."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text="Never to be seen."), reply("Second answer."))
    first = background("%%claude --bg --no-history -o one\nhi", cell_id="again")
    first.until(lambda each: any("Never" in frame for frame in each.frames))
    previous = kernel.value("[globals().__setitem__('previous', one), one.phase.value][1]")

    run = background(f"%%claude {options} --no-history -o two\nhi", cell_id="again")
    wait_for_answer(run, "Second answer.")
    gate.open()

    assert previous == "'streaming'"
    assert kernel.value("previous.phase.value") == "'cancelled'"


def test_where_nobody_sits_it_waits_and_says_so(kernel, sim):
    """nbclient collects outputs, and would miss later ones."""
    sim.script(reply(TEXT))

    run = kernel.run("%%claude --bg --new -o answer\nhi from nobody")

    (output,) = run.outputs
    assert "hi from nobody" in kernel.run("%claude jobs").outputs[0]["data"]["text/plain"]
    assert output["data"]["text/plain"] == TEXT
    assert "--bg waited for the answer" in output["data"]["text/html"]
    assert kernel.value("answer.done()") == "True"
    assert kernel.value("answer.outlives_cell") == "False"


@pytest.mark.parametrize("options", ["--bg -x", "--bg --tools print"])
def test_what_a_cell_that_has_ended_cannot_do_is_refused(kernel, sim, background, options):
    """Before anything is sent."""
    run = background(f"%%claude {options}\nhi")

    assert run.status == "error"
    assert "cannot be combined" in run.stderr
    assert "Nothing was sent" in run.stderr
    assert sim.requests == []


def test_a_line_among_code_goes_on_too(kernel, sim, background):
    """Its answer has a separate display among the cell's outputs."""
    sim.script(reply(TEXT, chunk_delay=0.05))

    run = background("print('before')\nanswer = %claude --bg hi\nprint('after')")
    run.until(lambda each: any(output.get("data", {}).get("text/plain") == TEXT for output in each.outputs))

    assert "after" in run.stdout
    assert len([output for output in run.outputs if "data" in output]) == 1


def test_a_mismatch_with_the_schema_is_reported(kernel, sim, background):
    """The variable is the reply, which contains the object."""
    sim.script(reply('{"name": "Ada"}'))

    run = background('%%claude --bg --no-history --schema "name, age int" -o person\nwho?')
    run.until(lambda each: any("does not fit" in frame for frame in each.frames))

    assert "Ada" in kernel.value("str(person)")


def test_the_answer_is_shown_where_it_is_awaited(kernel, sim, background):
    """It counts as shown only in its own cell, even if nothing had arrived when that cell ended."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=0, text=TEXT))
    background("answer = %claude --bg --no-history hi")

    waiting = kernel.start("await answer")
    gate.open()
    waiting.finish()

    assert waiting.outputs[-1]["output_type"] == "execute_result"
    assert TEXT in waiting.outputs[-1]["data"]["text/plain"]
