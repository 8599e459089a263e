"""`fix` and `Err` refer to the error that was shown last, whatever its origin."""

from __future__ import annotations

import pytest

from claude_magic.simulator import status

EARLIER = "'an earlier error' + 1"


def sent(sim):
    """The last user's turn, as text."""
    content = sim.requests[-1].body["messages"][-1]["content"]
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)


@pytest.fixture
def script(kernel, tmp_path):
    """The path of a script that fails."""
    path = tmp_path / "report.py"
    path.write_text("rows = []\nprint('before')\nfirst = rows[0]  # in the script\n")
    return path


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%run {script}", "IndexError"),
        ("x = 1\n%run {script}\nx = 2", "IndexError"),
        ("%%nosuchmagic\nhello", "Cell magic `%%nosuchmagic` not found"),
        ("%nosuchline", "Line magic function `%nosuchline` not found"),
        ("1\n%nosuchline a", "`%nosuchline` not found"),
        ("%%time", "%%time"),
        ("def f(:\n  pass", "SyntaxError"),
        ("  x = 1\n y = 2", "IndentationError"),
        ("%%time\n1 / 0", "ZeroDivisionError"),
        ("%%timeit\n{{}}['missing']", "KeyError"),
        ("%timeit nobody_at_all", "nobody_at_all"),
        ("import asyncio\nawait asyncio.sleep(0)\nint('seven')", "ValueError"),
        ("%%bash\necho to-stdout\necho no such thing here >&2\nexit 3", "no such thing here"),
        ("%%script sh\necho lost >&2; false", "lost"),
        ("%%sh\nnosuchprogram --now", "nosuchprogram"),
        (
            "import subprocess\nsubprocess.run(['sh', '-c', 'echo deep >&2; exit 2'], check=True, capture_output=True)",
            "deep",
        ),
        ("class R:\n    def _repr_html_(self): raise LookupError('in the repr')\nR()", "in the repr"),
        ("get_ipython().run_cell('open(\"/nowhere/at/all\")'); None", "FileNotFoundError"),
        ("%%capture\n[][7]", "IndexError"),
        ("from claude_magic import claude\nclaude.ask('hi', stop_sequences=[' '])", "stop_sequences"),
        ("%%claud\nhi", "%%claud"),
    ],
)
def test_what_was_shown_last_is_fixed(kernel, sim, script, cell, says):
    """Scripts, magics, syntax errors, programs, awaited code and reprs; `Err[-1]` is the same error."""
    kernel.run(EARLIER)
    kernel.run(cell.format(script=script))

    run = kernel.run("%claude fix")

    assert run.status == "ok", run.summary()
    assert says in sent(sim)
    assert "an earlier error" not in sent(sim)

    kernel.run("%claude --new Look at {{ Err[-1] }}")

    assert "an earlier error" not in sent(sim)


def test_the_code_of_a_script_is_sent(kernel, sim, script):
    """It is the code to correct."""
    kernel.run(f"%run {script}")

    kernel.run("%claude fix")

    assert "first = rows[0]  # in the script" in sent(sim)
    assert "print('before')" in sent(sim)


def test_what_a_program_wrote_to_stderr_is_redacted(kernel, sim):
    """It was collected, not typed."""
    kernel.run("%%bash\necho password=hunter2hunter2 >&2\nexit 1")

    kernel.run("%claude fix")

    assert "password=" in sent(sim)
    assert "hunter2hunter2" not in sent(sim)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("%claude fxi", "UsageError"),
        ("%claude budget abc", "UsageError"),
        ("%%claude -a nowhere.txt\nhi", "ConfigurationError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_errors_of_our_own_commands_are_not_to_be_fixed(kernel, sim, cell, name):
    """Nor is an interrupt; a note says which error is meant."""
    kernel.run(EARLIER)
    kernel.run(cell)

    run = kernel.run("%claude fix")

    assert "an earlier error" in sent(sim)
    assert f"This is about the TypeError before the {name} that was shown last" in run.frames[-1]


def test_a_request_that_failed_does_not_take_the_place_of_what_was_to_be_fixed(kernel, sim):
    """Running `fix` again after a failed request asks about the same error."""
    kernel.run(EARLIER)
    sim.script(status(400, message="too busy to think"))
    kernel.run("%claude fix")

    kernel.run("%claude fix")

    assert "an earlier error" in sent(sim)


def test_an_error_between_cells_is_seen(kernel, sim):
    """For example in a widget callback, which belongs to no cell."""
    kernel.run(
        "import asyncio, sys\nasync def callback():\n    try:\n        {}['between cells']\n    except KeyError:\n"
        "        get_ipython().showtraceback()\n    done.set()\n"
        "done = asyncio.Event()\nasyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(callback()))\nNone"
    )
    kernel.run("await done.wait()")

    kernel.run("%claude fix")

    assert "between cells" in sent(sim)


def test_a_cell_that_fails_and_asks_in_one_sees_its_own_error(kernel, sim, script):
    """`fix` on the line after `%run`."""
    kernel.run(EARLIER)

    kernel.run(f"%run {script}\n%claude fix")

    assert "IndexError" in sent(sim)


def test_a_panel_speaks_of_the_same_errors(kernel, sim):
    """`Err` is the same in a panel as in a cell."""
    kernel.run("%%nosuchmagic\nhello")

    kernel.run("from claude_magic import claude\nawait claude.panel().ask('Why {{ Err[-1] }}?')")

    assert "`%%nosuchmagic` not found" in sent(sim)
