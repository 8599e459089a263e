"""`--compare`: one question to several models, in real kernels."""

import json
import time

import ipykernel
import pytest

from claude_magic.simulator import Gate, hold, reply, status

IS_OLD = int(ipykernel.__version__.split(".")[0]) < 7
COMPARE = "%%claude --compare sonnet,opus -o both\nName a lighthouse."
ARMEN, ECKMUHL = "Ar-Men stands in the sea.", "Eckmühl stands on the **shore**."

FIRST, SECOND = reply(ARMEN), reply(ECKMUHL)


def by_model(**behaviours):
    """Give each model its own answer."""

    def behave(post):
        model = post.request.body["model"]
        return next(each for name, each in behaviours.items() if name in model)(post)

    return behave


@pytest.fixture
def answers(sim):
    """Set the answers of sonnet and opus, whatever the order of their requests."""

    def script(*, sonnet=FIRST, opus=SECOND):
        sim.script(*[by_model(sonnet=sonnet, opus=opus)] * 2)

    return script


def asked(sim):
    return [seen for seen in sim.requests if seen.path == "/v1/messages"]


def contents_of(request):
    return [message["content"] for message in request.body["messages"]]


def text_of(messages):
    return json.dumps(messages, ensure_ascii=False)


def test_both_models_get_the_same_question_and_stand_in_one_output(kernel, sim, answers):
    """One display with all MIME types contains each answer under the name of its model."""
    answers()

    run = kernel.run(COMPARE)

    one, other = asked(sim)
    assert {one.body["model"], other.body["model"]} == {"claude-sonnet-5-5", "claude-opus-5-5"}
    assert one.body["messages"] == other.body["messages"]
    (output,) = run.outputs
    assert set(output["data"]) == {"text/html", "text/markdown", "text/plain"}
    html, plain = output["data"]["text/html"], output["data"]["text/plain"]
    assert (
        html.index("sonnet") < html.index(ARMEN) < html.index("opus") < html.index("<strong>shore</strong>")
    )
    assert plain.index("sonnet: claude-sonnet-5-5 · ") < plain.index(ARMEN) < plain.index("opus: ")
    facts = output["metadata"]["claude_magic"]["comparison"]
    assert [(each["name"], each["usage"]["output_tokens"] > 0) for each in facts] == [
        ("sonnet", True),
        ("opus", True),
    ]


def test_each_answer_is_addressed_by_the_name_of_its_model(kernel, answers):
    """As typed, in full, or by position; the value of the cell, its name and `Out` are the same object."""
    answers()
    kernel.run(COMPARE)

    assert kernel.value("_ is both and Out[max(Out)] is both") == "True"
    assert kernel.value("both['sonnet'].text") == repr(ARMEN)
    assert kernel.value("both['claude-opus-5-5'] is both['opus'] is both[1] is both[-1]") == "True"
    assert kernel.value("list(both), len(both.replies)") == "(['sonnet', 'opus'], 2)"
    assert kernel.value("'haiku' in both") == "False"
    assert kernel.value("repr(both)") == repr("<Comparison sonnet: complete, opus: complete>")
    (output,) = kernel.run("both").outputs
    assert ARMEN in output["data"]["text/html"]


def test_the_conversation_goes_on_from_the_first_and_keeps_the_other(kernel, sim, answers):
    """A second Run All sends the same requests; the other answer is kept on a branch."""
    turns = "__import__('claude_magic.runtime').runtime.get_runtime().conversations.forest().turns.values()"
    beside = f"sum('Eckmühl' in turn.answer_text for turn in {turns})"
    previous = int(kernel.value(beside))
    kernel.run("%claude --new Hello.", cell_id="hello")
    next_turns = []
    for _ in range(2):
        sim.clear()
        answers()
        kernel.run(COMPARE, cell_id="compare")
        kernel.run("%%claude\nAnd then?", cell_id="next")
        *compared, following = asked(sim)
        assert [contents_of(each)[0] for each in compared] == ["Hello."] * 2
        assert [len(contents_of(each)) for each in compared] == [3, 3]
        next_turns.append(text_of(contents_of(following)))

    assert next_turns[0] == next_turns[1]
    assert ARMEN in next_turns[0]
    assert "Eckmühl" not in next_turns[0]
    assert int(kernel.value(beside)) == previous + 2


def test_the_slower_first_one_is_still_the_one_that_goes_on(kernel, sim, answers):
    """The requests do not depend on which answer ends first."""
    gate = Gate()
    kernel.run("%claude --new Hello.")
    answers(sonnet=hold(gate, after_deltas=1, text=ARMEN))
    run = kernel.start(COMPARE).until(lambda run: any("shore" in frame for frame in run.frames))
    gate.open()
    run.finish()
    kernel.run("%claude And then?")

    assert ARMEN in text_of(contents_of(asked(sim)[-1]))
    assert "Eckmühl" not in text_of(contents_of(asked(sim)[-1]))


def test_all_wait_for_an_answer_that_they_go_on_from(kernel, sim):
    """For example a background answer in the same conversation; they do not wait for each other."""
    kernel.run("%claude --new Hello.")
    gate, both = Gate(), Gate()
    answer = by_model(
        sonnet=hold(both, after_deltas=1, text=ARMEN), opus=hold(both, after_deltas=1, text=ECKMUHL)
    )
    sim.script(hold(gate, after_deltas=1, text="In the background."), answer, answer)
    kernel.run("%%claude --bg\nTake your time.", allow_stdin=True, cell_id="background")
    run = kernel.start(COMPARE).until(lambda run: any("waiting" in frame for frame in run.frames))
    gate.open()
    run.until(lambda run: any("Ar-" in frame and "Eck" in frame for frame in run.frames))
    both.open()
    run.finish()

    assert run.status == "ok"
    assert all("In the background." in text_of(contents_of(each)) for each in asked(sim)[-2:])


def test_values_and_attachments_go_to_all(kernel, sim, answers):
    """They are collected once, so every model receives the same content."""
    kernel.run("import pathlib; pathlib.Path('notes.txt').write_text('The lamp is new.'); port = 'Brest'")
    answers()

    kernel.run("%%claude --compare sonnet,opus -a notes.txt --no-history\nLighthouses of {{ port }}?")

    one, other = asked(sim)
    assert one.body["messages"] == other.body["messages"]
    assert "The lamp is new." in text_of(contents_of(one))
    assert "Lighthouses of Brest?" in text_of(contents_of(one))


def test_one_that_fails_does_not_take_the_other_with_it(kernel, answers):
    """Its column shows the reason, the cell fails with one short error, and `_` has all answers."""
    answers(opus=status(400, message="No lighthouses."))

    run = kernel.run("%%claude --compare sonnet,opus\nName a lighthouse.")

    assert run.status == "error"
    assert run.error["ename"] == "ComparisonError"
    assert "opus failed with InvalidRequestError" in run.error["evalue"]
    assert '_["sonnet"] is complete' in run.error["evalue"]
    assert len("\n".join(run.error["traceback"]).splitlines()) <= 5
    picture, _ = run.outputs
    assert ARMEN in picture["data"]["text/html"]
    assert "No lighthouses." in picture["data"]["text/html"]
    assert kernel.value("_['sonnet'].text") == repr(ARMEN)
    assert kernel.value("_['opus'].error.status") == "400"


def test_an_interrupt_stops_them_all_and_keeps_what_had_come(kernel, sim, answers):
    """Both connections are closed, and both partial answers are kept."""
    answers(
        sonnet=hold(Gate(), after_deltas=2, text="Half an answer and no more of it."),
        opus=hold(Gate(), after_deltas=2, text="Just as much of another one."),
    )

    run = kernel.start(COMPARE).until(
        lambda run: any("Half" in frame and "Just" in frame for frame in run.frames)
    )
    kernel.interrupt()
    run.finish()

    assert run.error["ename"] == "KeyboardInterrupt"
    picture, _ = run.outputs
    assert picture["data"]["text/html"].count("Interrupted") == 2
    assert 'both["opus"]' in picture["data"]["text/html"]
    assert kernel.value("[reply.phase.name for reply in both.replies]") == "['CANCELLED', 'CANCELLED']"
    assert kernel.value("all(reply.text for reply in both.replies)") == "True"
    deadline = time.monotonic() + 120  # the simulator notices this at its next write
    while not all(request.client_gone for request in asked(sim)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--compare sonett,opus", "This server has no model sonett. Did you mean sonnet?"),
        ("--compare sonnet,foo", "Short names are fable, opus, sonnet, haiku; `%claude models` lists all."),
        ("--compare sonnet,claude-sonnet-5-5", "are the same model, claude-sonnet-5-5"),
        ("--compare sonnet,opus --model haiku", "--model and --compare cannot be combined"),
        ("--compare sonnet,opus --tools print", "--compare and --tools cannot be combined"),
        ("--compare sonnet,opus --bg", "--compare and --bg cannot be combined"),
        ("--compare sonnet,opus -x", "--compare and --code cannot be combined"),
        ("--compare sonnet,opus --schema nothing_of_that_name", "nothing_of_that_name"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_sent(kernel, sim, options, problem):
    """In one or two sentences."""
    run = kernel.run(f"%%claude {options}\nName a lighthouse.")

    assert run.status == "error"
    assert problem in " ".join((run.stderr or run.error["evalue"]).split())
    assert asked(sim) == []


@pytest.mark.parametrize("subcommand", ["continue", "fix"])
def test_subcommands_that_are_about_one_answer_are_refused(kernel, sim, subcommand):
    """`continue` continues a single answer, and `fix` inserts the code of a single one."""
    sim.script(reply("It was cut", stop_reason="max_tokens"))
    kernel.run("%claude --new Tell a story.")
    kernel.run("1 / 0")
    sim.clear()

    run = kernel.run(f"%claude --compare sonnet,opus {subcommand}")

    assert "--compare" in run.stderr
    assert asked(sim) == []


def test_answers_to_a_schema_are_objects_each(kernel, answers):
    """An answer that does not match is named in the error; the other becomes an object."""
    answers(sonnet=reply('{"name": "Ar-Men", "height": 37}'), opus=reply('{"name": "Eckmühl"}'))

    run = kernel.run('%%claude --compare sonnet,opus --schema "name, height int" -o both\nInvent one.')

    assert run.error["ename"] == "ComparisonError"
    assert "opus failed with SchemaMismatchError" in run.error["evalue"]
    assert kernel.value("both['sonnet'].parsed.height") == "37"


def test_a_dry_run_shows_each(kernel, sim):
    """It shows the request for each model, and sends nothing."""
    run = kernel.run("%%claude --compare sonnet,opus --dry-run\nName a lighthouse.")

    assert [output["data"]["text/plain"].count("claude-") > 0 for output in run.outputs] == [True, True]
    assert asked(sim) == []


def test_the_screen_can_be_silenced(kernel, answers):
    """`--quiet` shows nothing; with a semicolon, one line is shown."""
    answers()
    assert kernel.run("%%claude --compare sonnet,opus --quiet -o both\nName one.").outputs == []
    assert kernel.value("both['opus'].text") == repr(ECKMUHL)

    answers()
    (output,) = kernel.run("%%claude --compare sonnet,opus\nName one.;").outputs
    assert output["data"]["text/plain"].startswith("sonnet, opus · $")


def test_a_line_among_code_has_them_as_its_value(kernel, answers):
    """In a blocking cell with other outputs, which are kept."""
    answers()

    run = kernel.run("print('before')\nboth = %claude --compare sonnet,opus Name one.\nprint(len(both))")

    first, picture, last = run.outputs
    assert (first["text"], last["text"]) == ("before\n", "2\n")
    assert ARMEN in picture["data"]["text/html"]
    assert set(picture["data"]) == {"text/html", "text/markdown", "text/plain"}


def test_where_nothing_is_drawn_live_there_is_one_display(kernel, answers):
    """For nbval and Papermill, which compare or collect outputs."""
    answers()
    kernel.run("%config ClaudeMagics.live = False")

    run = kernel.run(COMPARE)

    kernel.run("%config ClaudeMagics.live = None")
    assert len(run.frames) == 1
    assert run.contents("update_display_data", "clear_output") == []


@pytest.mark.skipif(IS_OLD, reason="ipykernel 6 receives messages of a page after the cell")
def test_a_front_end_with_widgets_sees_them_grow_in_widgets(kernel, sim, answers):
    """Finished blocks are not sent again; at the end there is no widget, but one output."""
    section = "## A part\n\n" + "Some words of prose. " * 60 + "\n\n"
    long = [section[start : start + 60] for _ in range(20) for start in range(0, len(section), 60)]
    answers(sonnet=reply(chunks=long, chunk_delay=0.006), opus=reply(chunks=long, chunk_delay=0.008))

    run = kernel.run(COMPARE, allow_stdin=True, cell_id="widgets", has_page=True)

    sent = [str(each) for each in run.contents("comm_open", "comm_msg") if each["comm_id"] == run.view]
    assert sum(map(len, sent)) < 24 * len("".join(long))
    assert run.view in run.ended_views
    (output,) = run.outputs
    assert set(output["data"]) == {"text/html", "text/markdown", "text/plain"}


def test_a_budget_holds_for_each_of_them(start_kernel, sim, answers):
    """A request that could exceed it is not sent, and its column says so; the others are sent."""
    kernel = start_kernel()
    kernel.run("%claude budget 0.13")
    answers()

    run = kernel.run("%%claude --compare sonnet,opus --max-tokens 2000 --no-history\nName one.")

    assert "opus failed with BudgetExceededError" in run.error["evalue"]
    assert [request.body["model"] for request in asked(sim)] == ["claude-sonnet-5-5"]
    assert "BudgetExceededError" in run.outputs[0]["data"]["text/plain"]
