"""The messages of a `%%claude` cell while its answer streams, and the final output."""

import itertools
import re

import ipykernel
import pytest

from claude_magic.simulator import Gate, hold, reply, status
from claude_magic.simulator._wire import Chunk, Hold

LONG_ANSWER = "\n\n".join(f"## Part {n}\n\n" + "Some words of prose. " * 40 for n in range(30))


def pieces(text, size=200):
    return [text[start : start + size] for start in range(0, len(text), size)]


def test_a_cell_streams_growing_frames_and_ends_in_one_output(kernel, sim):
    """S1: the frames grow with the answer, and the final state is one display with all MIME types."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text="First words, then many more of them."))

    run = kernel.start("%%claude\nhi").until(lambda run: any("First" in frame for frame in run.frames))
    half_way = run.frames[-1]
    gate.open()
    run.finish()

    assert "waiting" in run.frames[0]
    assert "more of them" not in half_way
    (output,) = run.outputs
    assert output["output_type"] == "display_data"
    assert set(output["data"]) == {"text/html", "text/markdown", "text/plain"}
    assert output["data"]["text/plain"] == "First words, then many more of them."
    assert "more of them" in output["data"]["text/html"]
    assert output["metadata"]["claude_magic"]["request_id"].startswith("req_")
    assert output["metadata"]["claude_magic"]["usage"]["output_tokens"] > 0
    assert run.contents("execute_result") == []


def test_a_long_answer_grows_in_blocks_that_are_sent_once(kernel, sim):
    """The traffic is proportional to the answer, not to its square: finished blocks are not sent again."""
    sim.script(reply(chunks=pieces(LONG_ANSWER), chunk_delay=0.01))

    run = kernel.run("%%claude\nwrite a lot")

    displays = run.contents("display_data")
    assert len(displays) <= 37
    assert sum(map(len, run.frames)) < 12 * len(LONG_ANSWER)
    frames = [
        (content["transient"].get("display_id"), content["data"]["text/html"])
        for content in run.contents("display_data", "update_display_data")
    ]
    latest = {}
    for display_id, html in frames:
        assert latest.get(display_id) != html, "an unchanged frame was sent"
        latest[display_id] = html
    (output,) = run.outputs
    assert output["data"]["text/plain"] == LONG_ANSWER


def test_frames_are_coalesced_however_fast_the_deltas_come(kernel, sim):
    """Thousands of deltas cause at most 15 frames per second."""
    sim.script(reply(chunks=["word "] * 3000, chunk_delay=0.0))

    run = kernel.run("%%claude\nfast")
    seconds = max(1.0, float(run.outputs[0]["metadata"]["claude_magic"]["seconds"]))

    assert len(run.frames) <= 16 * seconds + 5
    assert run.outputs[0]["data"]["text/plain"] == "word " * 3000


def test_the_value_of_the_cell_is_the_reply_and_is_not_shown_twice(kernel):
    """`_`, `Out[n]` and the variable are the reply; in another cell it is displayed again."""
    kernel.run("%%claude -o answer\nhi")

    assert kernel.value("_ is answer and Out[max(Out)] is answer") == "True"
    assert kernel.value("str(answer) == answer.text and len(answer) > 0") == "True"
    (output,) = kernel.run("answer").outputs
    assert output["output_type"] == "execute_result"
    assert "text/html" in output["data"]
    (output,) = kernel.run("display(answer)").outputs
    assert output["output_type"] == "display_data"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("a = %claude one\nb = %claude two", "ab"),
        ("a = %claude one\nb = %claude --bg --no-history two\nb.result()", "ab"),
        ("a = %claude --compare sonnet,opus one", "a"),
        ("a = %claude --compare sonnet,opus one\nb = %claude two", "ab"),
        ("n = 3\na = %claude --interact n {{ n }} words\nb = %claude two", "ab"),
        ("import asyncio\na = %claude one\nawait asyncio.sleep(0)\nb = %claude two", "ab"),
        (
            "ask = get_ipython().run_cell_magic\na, b = (ask('claude', '', text) for text in ('one', 'two'))",
            "ab",
        ),
    ],
    ids=["two", "background", "compare", "compare and one", "interact", "awaited", "in a function"],
)
def test_what_a_line_has_drawn_is_displayed_as_the_value_of_a_later_cell(kernel, code, names):
    """Each answer of the cell, not only the last one."""
    kernel.run(code)

    for name in names:
        kinds = [output["output_type"] for output in kernel.run(name).outputs]
        assert kinds == ["execute_result"], name


def test_a_line_is_answered_among_other_code_and_clears_nothing(kernel, sim):
    """`x = %claude ...` assigns the reply; prints of the same cell stay."""
    sim.script(reply("from a line"), reply("the last line"))

    run = kernel.run("print('before')\nx = %claude a question\nprint('after', x.text)\n%claude again")

    kinds = itertools.groupby(
        output["output_type"] for output in run.outputs
    )  # a print may come in two messages
    assert [kind for kind, _ in kinds] == ["stream", "display_data", "stream", "display_data"]
    assert run.stdout == "before\nafter from a line\n"
    assert run.outputs[-1]["data"]["text/plain"] == "the last line"


def test_thinking_is_folded_above_the_answer(kernel, sim):
    """The status line reports it, and at the end it is collapsed."""
    gate = Gate()
    answer = reply("The answer.", thinking="Hidden reasoning.")

    def think_first(post):
        for step in answer(post):
            if isinstance(step, Chunk) and b'"text_delta"' in step.data:
                yield Hold(gate)
            yield step

    sim.script(think_first)

    run = kernel.start("%%claude\nthink").until(lambda run: any("thinking" in frame for frame in run.frames))
    gate.open()
    run.finish()

    html = run.outputs[0]["data"]["text/html"]
    assert html.index("<details") < html.index("Hidden reasoning.") < html.index("The answer.")


def test_r1_a_retry_is_shown_in_place_and_vanishes(start_kernel, sim):
    """R1: the cell shows the overload and the time of the next attempt; the answer takes its place."""
    kernel = start_kernel(CLAUDE_MAGIC_INITIAL_BACKOFF="3")
    kernel.run("%%claude\nload what a first answer needs")
    sim.script(status(529), reply("Here it is."))

    run = kernel.start("%%claude\nhi")
    run.until(lambda run: any("verloaded" in frame and "attempt 2 of 4" in frame for frame in run.frames))
    run.finish()

    (output,) = run.outputs
    assert output["data"]["text/plain"] == "Here it is."
    assert "verloaded" not in output["data"]["text/html"]


def test_l1_waiting_for_the_limiter_is_shown_with_its_countdown(start_kernel, sim):
    """L1: a waiting cell shows the reason and the remaining time."""
    kernel = start_kernel(CLAUDE_MAGIC_RATE_LIMIT_RPS="0.01")
    kernel.run("%%claude\nfirst")

    run = kernel.start("%%claude\nsecond")
    run.until(lambda run: any(re.search(r"rate limiter.*?\d s", frame, re.DOTALL) for frame in run.frames))
    kernel.interrupt()
    run.finish()

    assert len(sim.requests) == 1


def test_the_users_own_tasks_run_while_a_cell_streams(kernel, sim, tmp_path):
    """An awaited cell does not block the kernel's loop."""
    gate, ticked = Gate(), tmp_path / "ticked"
    sim.script(hold(gate, after_deltas=1))
    kernel.run(
        "import asyncio, pathlib\nfrom claude_magic import claude\n"
        "async def tick():\n    for _ in range(5):\n"
        "        while not claude.in_flight: await asyncio.sleep(0.01)\n        await asyncio.sleep(0.01)\n"
        f"    pathlib.Path({str(ticked)!r}).touch()\n"
        "task = asyncio.ensure_future(tick())"
    )

    run = kernel.start("%%claude\nhi").until(lambda _: ticked.exists())
    gate.open()

    assert run.finish().status == "ok"


@pytest.mark.skipif(
    ipykernel.version_info < (7,), reason="there, prints of a thread go to the cell that started it"
)
def test_what_others_print_meanwhile_is_kept_below_the_answer(kernel, sim):
    """Prints of a thread and log lines are not cleared with the frames, and not repeated."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text="The answer itself."))
    kernel.run(
        "import threading, time, sys\nfrom claude_magic import claude\n"
        "def talk():\n    while not claude.in_flight: time.sleep(0.01)\n"
        "    print('from a thread')\n    print('from a log', file=sys.stderr)\n"
        "threading.Thread(target=talk).start()"
    )

    run = kernel.start("%%claude\nhi").until(lambda run: run.stdout and run.stderr)
    gate.open()
    run.finish()

    assert run.outputs[0]["data"]["text/plain"] == "The answer itself."
    printed = sorted(output["text"] for output in run.outputs[1:])
    assert printed == ["from a log\n", "from a thread\n"]


def test_c1_cells_share_one_connection(kernel, sim):
    """C1: the client belongs to the kernel, not to a cell."""
    kernel.run("%%claude\none")
    connections = {kernel_request.connection for kernel_request in sim.requests}

    kernel.run("%%claude\ntwo")
    kernel.run("x = %claude three\nfrom claude_magic import claude\nclaude.ask('four')")

    assert len(sim.requests) == 4
    assert {request.connection for request in sim.requests} == connections


@pytest.mark.parametrize("switch", ["%config ClaudeMagics.live = False", "environment"])
def test_without_live_display_there_is_one_display_and_no_update(start_kernel, sim, switch):
    """For tools that compare outputs message by message, such as nbval."""
    kernel = start_kernel(**({"CLAUDE_MAGIC_LIVE": "0"} if switch == "environment" else {}))
    if switch != "environment":
        kernel.run(switch)

    run = kernel.run("%%claude\nhi")

    assert len(run.contents("display_data")) == 1
    assert run.contents("update_display_data", "clear_output") == []


def test_a_captured_cell_yields_one_output(kernel, sim):
    """`%%capture` receives the answer as one display."""
    sim.script(reply("caught"))

    run = kernel.run("%%capture caught\n%%claude\nhi")

    assert run.outputs == []
    assert kernel.value("[output.data['text/plain'] for output in caught.outputs]") == "['caught']"


def test_a_nested_cell_magic_blocks(kernel, sim):
    """`%%time` runs its body as plain code, which cannot await."""
    sim.script(reply("timed"))

    run = kernel.run("%%time\n%%claude\nhi")

    assert run.status == "ok"
    assert "Wall time" in run.stdout
    assert any(output.get("data", {}).get("text/plain") == "timed" for output in run.outputs)


def test_without_autoawait_a_cell_blocks_and_answers_all_the_same(start_kernel, sim):
    """With `%autoawait off`, cells block."""
    kernel = start_kernel()
    kernel.run("%autoawait off")
    sim.script(reply("blocked"))

    run = kernel.run("%%claude\nhi")

    assert run.status == "ok"
    assert run.outputs[0]["data"]["text/plain"] == "blocked"


def test_history_shows_what_was_typed_and_the_namespace_stays_clean(kernel):
    """A rewritten cell defines no names, and `%history` shows the original."""
    before = kernel.value("sorted(name for name in globals() if not name.startswith('_'))")

    kernel.run("%%claude\nremember me")

    assert kernel.value("sorted(name for name in globals() if not name.startswith('_'))") == before
    assert kernel.value("_ih[-1].count('remember me')") == "1"
    typed = kernel.value("get_ipython().history_manager.input_hist_raw[-1]")
    assert typed == repr("%%claude\nremember me")
