"""Terminal IPython on a real pseudo-terminal: streaming text, a dimmed footer, and Ctrl-C."""

import os
import re
import subprocess
import sys

import pytest

from claude_magic.simulator import Gate, Simulator, error_event, hold, reply, status

pexpect = pytest.importorskip("pexpect", reason="a pseudo-terminal needs POSIX")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal needs POSIX")

PROMPT = r"In \[\d+\]: "
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture(scope="module")
def sim():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def environment(sim, tmp_path):
    """An isolated environment that uses the simulator."""
    sim.clear()
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "TERM": "xterm",
        "ANTHROPIC_BASE_URL": sim.url,
        "CLAUDE_MAGIC_INITIAL_BACKOFF": "2",
    }


@pytest.fixture
def terminal(environment, tmp_path):
    """Terminal IPython with the extension loaded."""
    child = pexpect.spawn(
        sys.executable,
        [
            "-m",
            "IPython",
            "--simple-prompt",
            "--no-banner",
            "--no-confirm-exit",
            "--colors=NoColor",
            "--ext=claude_magic",
        ],
        env=environment,
        cwd=str(tmp_path),
        encoding="utf-8",
        timeout=120,
        echo=False,
        dimensions=(50, 200),
    )
    child.expect(PROMPT)
    yield child
    child.close(force=True)


def ask(terminal, cell):
    """Type a cell. At the simple prompt, two blank lines end a cell magic."""
    for line in [*cell.split("\n"), *["", ""] * cell.startswith("%%")]:
        terminal.sendline(line)


def until_prompt(terminal):
    terminal.expect(PROMPT)
    return ESCAPES.sub("", terminal.before)


def test_words_are_written_as_they_come_with_a_footer_and_no_reprs(terminal, sim):
    """The text grows; below it are model, tokens and seconds; there is no `Out[n]`."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text="First words, and then the others."))

    ask(terminal, "%%claude -o answer\nhi")
    terminal.expect("First")
    half_way = terminal.before
    gate.open()
    rest = until_prompt(terminal)

    assert "waiting for the first words" in ESCAPES.sub("", half_way)
    assert rest.count("others.") == 1
    assert "claude-sonnet-5-5" in rest
    assert "Out[" not in rest
    assert "<" not in rest
    ask(terminal, "_ is answer and Out[1] is answer")
    assert "True" in until_prompt(terminal)


def test_a_line_at_the_prompt_reaches_claude_with_its_question_mark(terminal, sim):
    """`%claude why?` is a question to Claude, not to IPython."""
    sim.script(reply("Because."))

    ask(terminal, "%claude why is that?")

    shown = until_prompt(terminal)
    assert "Because." in shown
    assert "Out[" not in shown
    assert "why is that?" in str(sim.requests[0].body["messages"])


def test_a_retry_is_shown_on_one_line_that_vanishes(terminal, sim):
    """R1: the countdown is shown in the place of the answer."""
    sim.script(status(529), reply("Here."))

    ask(terminal, "%claude hi")
    terminal.expect("verloaded")
    shown = until_prompt(terminal)

    assert "Here." in shown


def test_ctrl_c_keeps_what_had_come(terminal, sim):
    """One line, no traceback; the partial text is kept on the screen, in the variable and in claude.last."""
    sim.script(hold(Gate(), after_deltas=2, text="Half an answer and no more of it."))

    ask(terminal, "%%claude -o partial\nhi")
    terminal.expect("Half")
    terminal.sendintr()
    shown = until_prompt(terminal)

    assert "KeyboardInterrupt" in shown
    assert "Traceback" not in shown
    ask(terminal, "print('kept:', partial.text[:4], partial.phase.name)")
    assert "kept: Half CANCELLED" in until_prompt(terminal)


@pytest.mark.parametrize("stage", ["first byte", "backoff"])
def test_ctrl_c_ends_every_wait(terminal, sim, stage):
    """Before any text has arrived."""
    sim.script(status(529, retry_after=20) if stage == "backoff" else hold(Gate(), after_deltas=0))

    ask(terminal, "%claude hi")
    terminal.expect("retrying" if stage == "backoff" else "waiting for the first words")
    terminal.sendintr()

    assert "KeyboardInterrupt" in until_prompt(terminal)


def test_ctrl_c_during_a_users_own_await_cancels_the_stream(terminal, sim):
    """S2: replies that the interrupted cell started do not continue unnoticed."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1))
    ask(terminal, "from claude_magic import claude")
    until_prompt(terminal)

    ask(terminal, "reply = claude.submit('hi'); print('as' + 'ked'); await reply")
    terminal.expect("asked")
    terminal.sendintr()
    until_prompt(terminal)

    ask(
        terminal,
        "import time; [time.sleep(0.01) for _ in range(12_000) if not reply.done()]; print(reply.phase.name)",
    )
    assert "CANCELLED" in until_prompt(terminal)


TIDE_TABLE = "def tide_table(port: str): print('called' + ' for', port); return 'high at 04:12'"


@pytest.mark.parametrize(("answer", "is_run"), [("y", True), ("what?\ny", True), ("n", False)])
def test_a_typed_answer_decides_on_a_tool(terminal, sim, answer, is_run):
    """The question shows the call on a separate line; invalid answers are asked again."""
    ask(terminal, TIDE_TABLE)
    until_prompt(terminal)

    ask(terminal, '%claude --tools tide_table Use tide_table for port "Brest"')
    for line in answer.split("\n"):
        terminal.expect(r"Run tide_table\(port='Brest'\)\? \[y\]es, \[n\]o, \[a\]ll of this answer: ")
        asked_on = ESCAPES.sub("", terminal.before).split("\n")[-1]
        terminal.sendline(line)
    shown = until_prompt(terminal)

    assert asked_on.strip() == ""
    assert ("called for Brest" in shown) is is_run
    assert "Traceback" not in shown
    assert len(sim.requests) == 2


def test_ctrl_c_at_the_question_ends_the_answer(terminal, sim):
    """The next question is accepted."""
    ask(terminal, TIDE_TABLE)
    until_prompt(terminal)

    ask(terminal, '%claude --tools tide_table Use tide_table for port "Brest"')
    terminal.expect("ll of this answer: ")
    terminal.sendintr()
    shown = until_prompt(terminal)
    ask(terminal, "%claude go on")
    until_prompt(terminal)

    assert "KeyboardInterrupt" in shown
    assert "called" not in shown
    assert sim.requests[-1].status == 200


def test_an_async_tool_runs_on_the_loop_of_the_users_own_awaits(terminal, sim):
    """Objects that were created on that loop work only there."""
    ask(terminal, "import asyncio; loop = None")
    until_prompt(terminal)
    ask(terminal, "await asyncio.sleep(0); loop = asyncio.get_running_loop()")
    until_prompt(terminal)
    ask(terminal, "async def wind(): print('same' + ' loop:', asyncio.get_running_loop() is loop)\n\n")
    until_prompt(terminal)

    ask(terminal, "%claude --tools wind --approve never Use wind")
    terminal.expect("same loop: True")
    until_prompt(terminal)


@pytest.mark.parametrize(
    "tool",
    [
        "def gauge(): print('gau' + 'ging', flush=True); import time; time.sleep(3600)",
        "async def gauge(): print('gau' + 'ging', flush=True); import asyncio; await asyncio.sleep(3600)",
    ],
)
def test_ctrl_c_in_a_tool_ends_the_answer(terminal, sim, tool):
    """Whether the tool blocks or awaits; the next question is accepted."""
    ask(terminal, tool + "\n")
    until_prompt(terminal)

    ask(terminal, "%claude --tools gauge --approve never Use gauge")
    terminal.expect("gauging")
    terminal.sendintr()
    shown = until_prompt(terminal)
    ask(terminal, "%claude go on")
    until_prompt(terminal)

    assert "KeyboardInterrupt" in shown
    assert "Traceback" not in shown
    assert sim.requests[-1].status == 200


def test_escape_sequences_of_a_model_do_not_reach_the_terminal(terminal, sim):
    """Text of a model is untrusted, and a terminal would interpret them."""
    sim.script(reply("safe \x1b]0;title\x07 \x1b[2J end"))

    ask(terminal, "%claude hi")
    terminal.expect("end")

    assert "\x1b]0" not in terminal.before
    assert "\x1b[2J" not in terminal.before
    assert "␛[2J" in terminal.before
    until_prompt(terminal)


def test_errors_and_help_are_readable(terminal, sim):
    """A short error, the short help, and the status as aligned text."""
    sim.script(status(401))
    ask(terminal, "%claude hi")
    shown = until_prompt(terminal)
    assert "InvalidApiKeyError" in shown
    assert "Traceback" not in shown
    sim.script(error_event("overloaded_error", after_deltas=2, text="Some words."))
    ask(terminal, "%claude hi")
    terminal.expect(PROMPT)
    assert terminal.before.count("OverloadedError") == 1
    assert "Some" in terminal.before
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.before), "--colors=NoColor"

    ask(terminal, "%claude panel")
    assert "which a terminal cannot show" in until_prompt(terminal)
    ask(terminal, "%claude")
    assert "%claude [options] prompt" in until_prompt(terminal)
    ask(terminal, "%claude status")
    assert re.search(r"max_retries +3 +default", until_prompt(terminal))


def test_an_error_keeps_its_words_apart_whatever_the_mode_of_tracebacks(terminal):
    """`%xmode Plain` and `Minimal` join the traceback lines of an exception without line breaks; `Verbose` would
    show frames."""
    name = "a" * 100
    for mode in ("Context", "Plain", "Minimal", "Verbose"):
        ask(terminal, f"%xmode {mode}")
        until_prompt(terminal)

        ask(terminal, f"%claude -a {name} hi")
        shown = until_prompt(terminal)
        assert f"-a {name} is neither a file in" in " ".join(shown.split()), mode
        assert ".py" not in shown, mode

    # In plain Python: the user's line, and one frame of the package.
    ask(terminal, "claude.map('{{ itm }}', [1])")
    shown = until_prompt(terminal)
    assert shown.count(".py:") == 1
    assert "Did you mean item?" in shown


def test_without_a_terminal_the_text_is_plain(environment, sim, tmp_path):
    """In a pipe: no escape sequences, no line that is updated in place, and each wait is reported once."""
    sim.script(status(529), reply("Into a pipe."))
    code = (
        "get_ipython().run_line_magic('load_ext', 'claude_magic')\nget_ipython().run_cell('%%claude\\nhi')\n"
    )
    script = tmp_path / "script.ipy"
    script.write_text(code)

    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert "Into a pipe." in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.count("verloaded") == 1
    assert done.stderr == ""


def test_answers_that_are_compared_are_written_one_after_the_other(terminal, sim):
    """Each under its model; the first one streams."""

    def behave(post):
        name = "First" if "sonnet" in post.request.body["model"] else "Second"
        return reply(f"{name} answer.")(post)

    sim.script(behave, behave)
    ask(terminal, "%claude --compare sonnet,opus -o both Which?")

    shown = until_prompt(terminal)
    parts = ["First answer.", "claude-sonnet-5-5", "Second answer.", "claude-opus-5-5"]
    assert [shown.count(part) for part in parts] == [1, 1, 1, 1]
    assert sorted(parts, key=shown.index) == parts
    assert "Out[" not in shown
    ask(terminal, "print(both['opus'].text)")
    assert "Second answer." in until_prompt(terminal)


def test_where_there_are_no_controls_a_prompt_is_asked_once(terminal, sim):
    """With the current values, and a note."""
    sim.script(reply("Three."))
    ask(terminal, "n = 3")
    until_prompt(terminal)

    ask(terminal, "%claude --interact n Name {{ n }}.")

    shown = until_prompt(terminal)
    assert "Three." in shown
    assert "--interact asked once, with n = 3" in shown
    assert "IntSlider" not in shown


def test_a_map_has_a_bar_then_one_line_and_ctrl_c_keeps_what_there_is(terminal, sim):
    """The bar is updated in place; running the line again asks only the remaining rows."""
    gate = Gate()
    sim.script(reply("alpha"), reply("beta"), hold(gate))
    ask(terminal, "words = ['one', 'two', 'three']")
    terminal.expect(PROMPT)

    ask(terminal, "%claude --map words -o out Say {{ item }}")
    terminal.expect(r"2/3 \[")
    terminal.sendintr()
    stopped = until_prompt(terminal)
    gate.open()
    assert "stopped · 3 rows, 2 of 3 requests answered" in stopped
    assert "What was answered is kept" in stopped
    sim.clear()

    ask(terminal, "%claude --map words -o out Say {{ item }};")
    until_prompt(terminal)
    ask(terminal, "print(len(sorted(out, key=str)), out.errors)")
    assert "3 {}" in until_prompt(terminal)
    # What was in flight at Ctrl-C may reach the simulator only now.
    assert len({str(request.body["messages"]) for request in sim.requests}) == 1


def test_a_map_says_that_ctrl_c_loses_nothing(terminal, sim):
    """There is a bar while it runs.

    Once stopped, it says what to do, and running the line again asks only the remaining rows.
    """
    gate = Gate()
    sim.script(reply("alpha"), hold(gate))

    ask(terminal, "from claude_magic import claude")
    until_prompt(terminal)
    ask(terminal, "claude.map('Say {{ item }}', ['one', 'two', 'three'], concurrency=1)")
    terminal.expect("1/3")
    terminal.expect("Ctrl-C stops it; answers are kept, and running the same line again asks only the rest")
    terminal.sendintr()
    stopped = until_prompt(terminal)
    gate.open()

    assert "stopped" in stopped
    assert "1 of 3 requests answered" in stopped
    assert "running the same line again asks only the rest" in stopped
    sim.clear()
    ask(terminal, "claude.map('Say {{ item }}', ['one', 'two', 'three'])[0]")
    rest = until_prompt(terminal)
    assert "alpha" in rest
    assert len({str(request.body["messages"]) for request in sim.requests}) == 2
