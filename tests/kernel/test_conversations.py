"""Conversations in a real kernel, keyed by cell, as received by the server."""

from __future__ import annotations

import json

import pytest

from claude_magic.simulator import Gate, hold, reply, stream_events


def asked(sim):
    """Return the user's prompts in the last request, oldest first."""
    return [turn["content"] for turn in sim.requests[-1].body["messages"] if turn["role"] == "user"]


def accepted(sim):
    """Return whether the server has accepted every request."""
    return all(request.status == 200 for request in sim.requests)


@pytest.fixture
def notebook(start_kernel):
    """Return a function that runs the cells of a notebook, given as texts by id, and returns the last run."""
    kernel = start_kernel()

    def run(**cells):
        for cell_id, prompt in cells.items():
            source = prompt if prompt.startswith("%") else f"%%claude\n{prompt}"
            last = kernel.run(source, cell_id=cell_id)
        return last

    run.kernel = kernel
    return run


def test_each_cell_goes_on_with_those_before(notebook, sim):
    """The history is sent from the first cell on; the server receives all of its earlier answers."""
    notebook(a="One", b="Two", c="Three")

    assert asked(sim) == ["One", "Two", "Three"]
    assert accepted(sim)


def test_a_second_run_all_gives_the_same_conversation(notebook, sim):
    """It is not longer, and each request equals that of the first run."""
    cells = {"a": "My name is Ada", "b": "What is my name?", "c": "Why is the sky blue?"}
    notebook(**cells)
    first = [len(request.body["messages"]) for request in sim.requests]
    notebook(**cells)

    assert [len(request.body["messages"]) for request in sim.requests] == first * 2
    assert asked(sim) == list(cells.values())
    assert accepted(sim)


def test_running_a_cell_in_the_middle_again_branches_there(notebook, sim):
    """Later turns stay on the previous branch, and the footer gives their number."""
    notebook(a="One", b="Two", c="Three", d="Four")

    run = notebook(b="Two, differently")

    assert asked(sim) == ["One", "Two, differently"]
    assert (
        "2 later turns are no longer sent; they are kept: <code>%claude switch 4</code> goes back"
        in run.frames[-1]
    )

    notebook(c="Three")
    assert asked(sim) == ["One", "Two, differently", "Three"]
    assert accepted(sim)


def test_an_edit_further_up_counts_for_what_is_run_after_it(notebook, sim):
    """The parent of a cell's new turn is the current turn of the cell above."""
    notebook(a="One", b="Two")
    notebook(a="One, edited")
    notebook(b="Two")

    assert asked(sim) == ["One, edited", "Two"]


def test_several_questions_of_one_cell_keep_their_order(notebook, sim):
    """Each has its own place, and running the cell again replaces them all."""
    loop = "for topic in ('tides', 'winds'):\n    get_ipython().run_line_magic('claude', f'ask {topic}')"
    kernel = notebook.kernel
    notebook(a="One")
    kernel.run(loop, cell_id="loop")
    kernel.run(loop, cell_id="loop")

    assert asked(sim) == ["One", "tides", "winds"]


def test_a_loop_over_fewer_topics_leaves_none_of_the_previous_ones(notebook, sim):
    """The next cell continues after the last question of the latest run."""
    loop = "for topic in {topics}:\n    get_ipython().run_line_magic('claude', f'ask {{topic}}')"
    notebook(a="One")
    for topics in (("tides", "winds", "waves"), ("tides", "winds")):
        notebook.kernel.run(loop.format(topics=topics), cell_id="loop")
        notebook(z="Last")

    assert asked(sim) == ["One", "tides", "winds", "Last"]
    assert accepted(sim)


def test_the_footer_names_the_turns_that_a_cell_leaves_aside(notebook, sim):
    """A cell whose predecessor was not run again continues from that predecessor, and the footer reports it."""
    notebook(a="One", b="Two", c="Three")
    notebook(a="One, edited", d="Four")

    run = notebook(c="Three")

    assert asked(sim) == ["One", "Two", "Three"]
    assert "2 turns are not part of this conversation" in run.frames[-1]
    assert "<code>%claude switch 5</code> goes back" in run.frames[-1]


def test_a_second_run_all_passes_each_subcommand(notebook, sim):
    """Forks are created again, turns are taken back again, and all requests equal those of the first run."""
    cells = {
        "a": "One",
        "b": "Two",
        "c": "%claude undo",
        "d": "%claude fork idea",
        "e": "%%claude --thread idea\nThree",
        "f": "Four",
        "g": "%%claude --new\nFive",
        "h": "Six",
    }
    sent = []
    for _ in range(2):
        sim.clear()
        for cell_id, prompt in cells.items():
            assert notebook(**{cell_id: prompt}).status == "ok"
        sent.append([[turn["role"] for turn in request.body["messages"]] for request in sim.requests])
        assert asked_by(sim, "Three") == ["One", "Three"]
        assert asked_by(sim, "Four") == ["One", "Four"]
        assert asked(sim) == ["Five", "Six"]
        assert accepted(sim)
    assert sent[0] == sent[1]


def test_threads_are_apart_and_a_fork_goes_on(notebook, sim):
    """`--thread` begins an empty thread, `fork` continues from the main thread."""
    notebook(a="One", b="%%claude --thread physics\nTwo")
    assert asked(sim) == ["Two"]

    notebook(c="%claude fork idea", d="%%claude --thread idea\nThree", e="Four")
    assert asked(sim) == ["One", "Four"]
    assert asked_by(sim, "Three") == ["One", "Three"]


def asked_by(sim, prompt):
    """Return the user's prompts of the request that ends with a prompt."""
    for request in sim.requests:
        words = [turn["content"] for turn in request.body["messages"] if turn["role"] == "user"]
        if words[-1] == prompt:
            return words
    raise AssertionError(prompt)


def test_new_and_no_history_leave_the_rest_out(notebook, sim):
    """`--new` for all later cells, `--no-history` only for its own question."""
    notebook(a="One", b="%%claude --no-history\nAlone", c="Two")
    assert asked(sim) == ["One", "Two"]
    assert asked_by(sim, "Alone") == ["Alone"]

    notebook(d="%%claude --new\nThree", e="Four")
    assert asked(sim) == ["Three", "Four"]


def test_undo_takes_a_turn_off_the_path_and_keeps_it(notebook, sim):
    """The turn stays in the tree."""
    notebook(a="One", b="Two", c="%claude undo", d="Three")

    assert asked(sim) == ["One", "Three"]
    shown = notebook.kernel.run("%claude history").outputs[0]["data"]["text/plain"]
    assert "○ Two" in shown
    assert "● Three" in shown


def test_clear_forgets(notebook, sim):
    """The next question begins a new conversation."""
    run = notebook(a="One", b="%claude clear")
    assert run.outputs[0]["data"]["text/plain"] == "Deleted: 1 turn."

    notebook(c="Two")
    assert asked(sim) == ["Two"]


def test_clear_shows_what_other_threads_keep(notebook, sim):
    """A fork keeps the turns that it continues from."""
    run = notebook(a="One", b="%claude fork idea", c="Two", d="%claude clear")

    shown = run.outputs[0]["data"]["text/plain"]
    assert shown == "Deleted: 1 turn. Kept, because other threads continue from there: 1 turn."

    notebook(e="%%claude --thread idea\nThree")
    assert asked(sim) == ["One", "Three"]


def test_a_saved_conversation_goes_on_in_another_kernel(notebook, start_kernel, sim, tmp_path):
    """Thinking and signatures are accepted, and cells that run again find their places."""
    path = tmp_path / "conversation.json"
    notebook(a="My name is Ada", b="Two")
    (shown,) = notebook.kernel.run(f"%claude save {path}").outputs
    assert shown["data"]["text/plain"].startswith("Saved: 2 turns in 1 thread, ")

    other = start_kernel()
    other.run(f"%claude load {path}")
    other.run("%%claude\nWhat is my name?", cell_id="c")

    assert asked(sim) == ["My name is Ada", "Two", "What is my name?"]
    assert accepted(sim)
    other.run("%%claude\nTwo, again", cell_id="b")
    assert asked(sim) == ["My name is Ada", "Two, again"]
    saved = json.loads(path.read_text())
    assert [turn["prompt"] for turn in saved["turns"]] == ["My name is Ada", "Two"]


def test_a_saved_thread_with_an_impossible_name_goes_on_under_another(notebook, sim, tmp_path):
    """Earlier versions took any name in Python. A line says what it is called now."""
    path = tmp_path / "conversation.json"
    notebook(a="%%claude --thread side\nOne", b=f"%claude save {path}", c="%claude clear side")
    path.write_text(path.read_text().replace('"side"', '"my thread"'))

    run = notebook(d=f"%claude load {path}")

    assert [output["data"]["text/plain"] for output in run.outputs] == [
        "Loaded: 1 turn. These threads continue where they were saved: my-thread.",
        "The thread 'my thread' is called my-thread here: a name is one word of letters, digits, _ . and -.",
    ]
    notebook(e="%%claude --thread my-thread\nTwo")
    assert asked(sim) == ["One", "Two"]


def test_an_answer_cut_by_max_tokens_is_continued_to_a_whole(notebook, sim):
    """The history contains the partial answer, the question asks for the rest, and the reply is the whole answer."""
    notebook(a="!simulate max_tokens\nExplain the central limit theorem")
    half = notebook.kernel.value("_.text")

    notebook(b="%claude -o whole continue")

    assert "It stopped with" in asked(sim)[-1]
    assert notebook.kernel.value(f"whole.text.startswith({half}) and len(whole.text) > len({half})") == "True"
    assert accepted(sim)


@pytest.mark.parametrize(
    ("half", "rest"),
    [
        ("```python\nx = 1  # ten\n", "y = 2\n```"),
        ("```python\nx = 1  # ten", "\ny = 2\n```"),
        ("One wo", "rd"),
    ],
    ids=["after a line", "at a line end", "in a word"],
)
def test_the_parts_of_a_continued_answer_join_as_they_are(notebook, sim, half, rest):
    """Also a line break at the end of the first part is sent, and is neither lost nor doubled."""
    sim.script(reply(half, stop_reason="max_tokens"), reply(rest))

    notebook(a="%%claude\nTell me", b="%claude -o whole continue")

    assert asked(sim)[-1].endswith(half)
    assert notebook.kernel.value("whole.text") == repr(half + rest)
    assert accepted(sim)


OPUS = "-m opus --effort low --thinking hide -s Brief. --stop END --set metadata.user_id=me"


def test_an_answer_is_continued_by_who_began_it(notebook, sim):
    """With the same model, effort, thinking, system prompt, stop sequences and fields, also from a fork, but not
    with the same max_tokens."""
    sim.script(
        reply("Half an", stop_reason="max_tokens"), reply(" answer."), reply(" other end."), reply(" end")
    )
    notebook(a=f"%%claude {OPUS} --max-tokens 4000\nTell me")
    notebook(b="%claude fork other", x="%claude fork third")
    notebook(c="%claude continue", d="%claude --thread other continue")
    whole = notebook.kernel.value("str(_)")
    notebook(e="%claude --thread third -m haiku continue")

    first, *rest, other = [request.body for request in sim.requests if request.path == "/v1/messages"]
    same = ("model", "system", "output_config", "thinking", "stop_sequences", "metadata")
    for body in rest:
        assert {name: body.get(name) for name in same} == {name: first[name] for name in same}
        assert body["max_tokens"] > first["max_tokens"]
    assert first["model"].startswith("claude-opus")
    assert whole == repr("Half an other end.")
    # Options take precedence. Another model supports other efforts.
    assert other["model"].startswith("claude-haiku")
    assert "effort" not in other.get("output_config", {})
    assert other["system"] == "Brief."


def test_the_rest_of_an_answer_has_its_tools_and_its_schema(notebook, sim):
    """The history refers to tools, so the request must contain them.

    The joined answer is validated, because half an object fits no schema.
    """
    kernel = notebook.kernel
    kernel.run("def gauge():\n    'Read it.'\n    return 7")
    call = {"type": "tool_use", "id": "toolu_1", "name": "gauge", "input": {}}
    sim.script(
        reply("It shows", stop_reason="max_tokens"),
        reply(content=[call], stop_reason="tool_use"),
        reply(" seven."),
        reply('{"city": "Par', stop_reason="max_tokens"),
        reply('is"}'),
    )

    notebook(a="%%claude --tools gauge --approve never\nRead it.")
    kernel.run("del gauge")
    sent = len(sim.requests)
    for option, why in (
        ("--no-history", "Leave out --no-history"),
        ("--new", "--new starts"),
    ):
        refused = notebook(b=f"%claude {option} continue")
        assert why in refused.stderr + str(refused.contents("error"))
    assert len(sim.requests) == sent

    run = notebook(b="%claude continue")

    assert run.status == "ok"
    assert [tool["name"] for tool in sim.requests[-1].body["tools"]] == ["gauge"]
    assert accepted(sim)

    notebook(
        c='%%claude --no-history --schema "city str"\nWhich?', d="%claude --no-history -o found continue"
    )

    assert "format" not in sim.requests[-1].body.get("output_config", {})
    assert kernel.value("found['city'] if isinstance(found, dict) else found.city") == repr("Paris")


def test_continue_in_the_cell_of_the_cut_answer_says_what_to_do(notebook, sim):
    """There it would replace the answer that it should continue."""
    notebook(a="!simulate max_tokens\nExplain the central limit theorem")
    count = len(sim.requests)

    run = notebook(a="%claude continue")
    assert "Continue in a new cell" in run.error["evalue"]

    run = notebook(b="%claude undo", c="%claude continue")
    assert "was taken back" in run.error["evalue"]
    assert len(sim.requests) == count


def test_a_file_that_cannot_be_loaded_changes_nothing(notebook, sim, tmp_path):
    """The error names the file and the problem, without an internal traceback."""
    other = tmp_path / "results.json"
    other.write_text("[]")
    notebook(a="One")

    for command in (f"%claude load {other}", f"%claude save {other}"):
        run = notebook.kernel.run(command)
        assert str(other) in run.error["evalue"]
        assert "_saving.py" not in "".join(run.error["traceback"])
    assert "There is no file" in notebook.kernel.run(f"%claude load {tmp_path}/none.json").error["evalue"]

    notebook(b="Two")
    assert asked(sim) == ["One", "Two"]
    assert other.read_text() == "[]"


def test_a_dropped_answer_is_continued(notebook, sim):
    """The partial answer is kept, and the next question may be `continue`."""
    notebook(a="%%claude --thinking off\n!simulate eof_without_stop\nExplain the central limit theorem")

    run = notebook(b="%claude --thinking off continue")

    assert run.status == "ok"
    assert accepted(sim)


def test_an_interrupted_answer_leaves_a_history_that_is_accepted(notebook, sim):
    """Both in mid-stream and before the first text."""
    kernel = notebook.kernel
    notebook(a="One")
    for after_deltas in (0, 30):
        gate = Gate()
        sim.script(hold(gate, after_deltas=after_deltas))
        run = kernel.start("%%claude\nExplain the central limit theorem", cell_id="b")
        count = len(sim.requests)
        run.until(lambda _run, count=count: len(sim.requests) > count or len(_run.frames) > 0)
        if after_deltas:
            run.until(lambda each: any("normal" in frame for frame in each.frames))
        kernel.interrupt()
        run.finish()
        gate.open()
        assert run.status == "error"

        notebook(c="Three")
        assert sim.requests[-1].status == 200


def test_an_answer_that_was_interrupted_in_a_tool_is_continued(notebook, sim):
    """It has no text yet to continue from."""
    kernel = notebook.kernel
    kernel.run(
        "import time\ndef slow_gauge():\n    'Take an hour.'\n    print('runs', flush=True)\n    time.sleep(3600)"
    )
    call = {"type": "tool_use", "id": "toolu_1", "name": "slow_gauge", "input": {}}
    sim.script(reply(content=[call], stop_reason="tool_use"))
    run = kernel.start("%%claude --tools slow_gauge --approve never\nAsk it.", cell_id="a")
    run.until(lambda each: "runs" in each.stdout)
    kernel.interrupt()
    assert run.finish().status == "error"

    run = notebook(b="%claude continue")

    assert run.status == "ok"
    assert asked(sim)[-1] == "You were interrupted before the first word of your answer. Go on."
    assert accepted(sim)


def test_without_cell_ids_each_run_is_a_turn_at_the_head(notebook, sim):
    """As in a terminal and with nbclient."""
    for prompt in ("One", "Two", "Two"):
        notebook.kernel.run(f"%%claude\n{prompt}")

    assert asked(sim) == ["One", "Two", "Two"]


def test_a_change_of_the_system_prompt_in_a_thread_is_no_error(notebook, sim):
    """Nor is a change of the model, or a change back."""
    notebook(a="One", b='%%claude -s "Be terse."\nTwo', c="%%claude -m claude-haiku-5-5\nThree", d="Four")

    assert asked(sim) == ["One", "Two", "Three", "Four"]
    assert accepted(sim)


def test_switch_goes_back_to_where_the_conversation_was(notebook, sim):
    """After an early cell was run again, as the note says; but not while an answer of the thread is in flight."""
    notebook(a="One", b="Two", c="Three", d="Four")
    notebook(b="Two, differently")

    run = notebook(x="%claude switch 4")
    (shown,) = run.outputs
    assert shown["data"]["text/plain"] == (
        "main continues from turn 4, “Four”. %claude switch 5 goes back to where it was."
    )
    notebook(e="Five")
    assert asked(sim) == ["One", "Two", "Three", "Four", "Five"]
    notebook(x="%claude switch 5", c="Three")
    assert asked(sim) == ["One", "Two, differently", "Three"]
    assert "There is no turn 99" in notebook(x="%claude switch 99").error["evalue"]

    gate = Gate()
    notebook(x="%claude save talk.json")
    sim.script(hold(gate, after_deltas=1))
    notebook.kernel.run("six = claude.submit('Six', thread='main')")
    refused = notebook(x="%claude switch 1")
    assert "An answer of the thread main is in flight" in str(refused.messages)
    refused = notebook(x="%claude load talk.json")
    assert "An answer of the thread main is in flight" in str(refused.messages)
    gate.open()


def test_a_block_of_no_type_spoils_neither_its_cell_nor_the_next(notebook, sim):
    """From a compatible server. Two of these once failed as a bug."""
    start = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": []}
    for number, kind in enumerate(({"a": 1}, 7, None, ["text"])):
        blocks = ({"type": "text", "text": "The whole answer."}, {"type": kind})
        events = [
            {"type": "content_block_start", "index": index, "content_block": block}
            for index, block in enumerate(blocks)
        ]
        ending = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        sim.script(
            stream_events(
                {"type": "message_start", "message": start}, *events, ending, {"type": "message_stop"}
            )
        )
        run = notebook(**{f"cell{number}": "Hello"})
        assert run.status == "ok"
        assert "The whole answer." in str(run.outputs)
        assert "bug in claude_magic" not in str(run.outputs)

    assert notebook(last="And now?").status == "ok"
    assert accepted(sim)
