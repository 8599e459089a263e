"""Completion of `%claude` lines with Tab, in a real kernel and in a terminal's shell."""

import subprocess
import sys

import pytest

SETUP = """
import json, pathlib
frame, frequency = [1], 3
class Person: pass
def fetch(): pass
def find(): pass
pathlib.Path("notes.md").write_text("n")
pathlib.Path("talk.json").write_text("{}")
pathlib.Path("folder").mkdir()
"""


@pytest.fixture(scope="module")
def complete(start_kernel):
    """Press Tab at the end of a text, or at a `|` in it."""
    kernel = start_kernel()
    kernel.run(SETUP)

    def answer(text):
        before, _, after = text.partition("|")
        request = kernel.client.complete(before + after, len(before))
        while True:
            reply = kernel.client.get_shell_msg(timeout=120)
            if reply["parent_header"]["msg_id"] == request:
                content = reply["content"]
                assert content["cursor_end"] == len(before)
                return before[: content["cursor_start"]], content

    def press_tab(text):
        kept, content = answer(text)
        return kept, content["matches"]

    def kinds(text):
        found = answer(text)[1]["metadata"]["_jupyter_types_experimental"]
        return {each["text"]: each["type"] for each in found}

    press_tab.kernel, press_tab.kinds = kernel, kinds
    return press_tab


@pytest.mark.parametrize(
    ("text", "kept", "matches"),
    [
        ("%claude stat", "%claude ", ["status"]),
        ("%claude hist", "%claude ", ["history"]),
        ("%claude as", "%claude ", ["ask"]),
        ("%claude -m opus f", "%claude -m opus ", ["fix"]),
        ("%claude --th", "%claude ", ["--thinking", "--thread"]),
        ("%%claude --max", "%%claude ", ["--max-tokens", "--max-cost"]),
        ("%claude --raw --no", "%claude --raw ", ["--no-history"]),
        ("answer = %claude --ef", "answer = %claude ", ["--effort"]),
        ("for each in frame:\n    %claude --dry", "for each in frame:\n    %claude ", ["--dry-run"]),
        ("%claude --effort ", "%claude --effort ", ["low", "medium", "high", "xhigh", "max"]),
        ("%claude --effort=x", "%claude --effort=", ["xhigh"]),
        ("%claude --thinking s", "%claude --thinking ", ["show"]),
        ("%%claude -f ", "%%claude -f ", ["md", "text", "code", "json", "html", "math"]),
        ("%claude --approve ", "%claude --approve ", ["ask", "never"]),
        ("%claude -m so", "%claude -m ", ["sonnet"]),
        ("%claude -m claude-sonnet-5-5", "%claude -m ", ["claude-sonnet-5-5"]),
        ("%claude --thread ", "%claude --thread ", ["main"]),
        ("%claude history ", "%claude history ", ["main"]),
        ("%claude panel ma", "%claude panel ", ["main"]),
        ("%claude -o fr", "%claude -o ", ["frame", "frequency"]),
        ("%claude -a fra", "%claude -a ", ["frame"]),
        ("%claude -a no", "%claude -a ", ["notes.md"]),
        ("%claude -a fol", "%claude -a ", ["folder/"]),
        ("%claude -s @no", "%claude -s ", ["@notes.md"]),
        ("%claude --schema ", "%claude --schema ", ["Person"]),
        ("%claude --tools fe", "%claude --tools ", ["fetch"]),
        ("%claude --tools fetch,f", "%claude --tools ", ["fetch,find"]),
        ("%claude explain Per", "%claude explain ", ["Person"]),
        ("%claude load ta", "%claude load ", ["talk.json"]),
        ("%claude load n", "%claude load ", ["notebook"]),
        ("%claude demo ", "%claude demo ", ["on", "off"]),
        ("%%claude --ef| hi\nprompt", "%%claude ", ["--effort"]),
    ],
)
def test_tab_offers_what_may_stand_there_and_nothing_else(complete, text, kept, matches):
    """Neither Jedi nor IPython's other matchers add completions to options and their values."""
    assert complete(text) == (kept, matches)


@pytest.mark.parametrize(
    "text",
    [
        "%claude why is st",
        "%claude -- --ef",
        "%claude - --ef",
        "%claude ask --ef",
        "%claude -m opus stat",
        "%%claude\n%claude --ef",
        "%%claude\n--ef",
        "%%claude sta",
        "%claude --quiet --qui",
        "%claude --new --thr",
        "x = '%claude --ef",
    ],
)
def test_tab_offers_nothing_of_ours_in_a_prompt(complete, text):
    """Nor options that are already given, or excluded by another one."""
    _, matches = complete(text)

    assert not {"status", "--effort", "--quiet", "--thread", "fix"} & set(matches)


def test_tab_on_a_bare_line_offers_subcommands_then_options(complete):
    """All of them, in the order of the help."""
    _, matches = complete("%claude ")

    assert matches[:3] == ["ask", "fix", "explain"]
    assert matches.index("help") < matches.index("--model") < matches.index("-m")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("%claude s", dict.fromkeys(["save", "stop", "status", "switch"], "subcommand")),
        ("%claude --raw --q", {"--quiet": "option"}),
        ("%claude --tools ", {"fetch": "function", "find": "function", "numbered": "function"}),
        ("%claude --schema ", {"Person": "class"}),
        ("%claude --thread ", {"main": "thread"}),
        ("%claude -s @no", {"@notes.md": "path"}),
    ],
)
def test_tab_says_what_each_of_them_is(complete, text, kinds):
    """Subcommands differ from options; `--tools` offers functions, and `--schema` classes."""
    complete.kernel.run(
        "import functools, string\nnumbered = functools.partial(find)\nmachine = string.Formatter()"
    )
    complete.kernel.run("machine.__class__.__call__ = lambda self: 1")

    assert complete.kinds(text) == kinds


def test_tab_is_forgotten_when_the_extension_is_unloaded(start_kernel):
    """The package's completions are gone."""
    kernel = start_kernel()
    matchers = "len(get_ipython().Completer.custom_matchers)"
    assert kernel.value(matchers) == "1"

    kernel.run("%unload_ext claude_magic")

    assert kernel.value(matchers) == "0"


TERMINAL = """
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance()
shell.run_line_magic("load_ext", "claude_magic")
lines = ["%claude stat", "%claude --th", "%claude -m so", "%%claude --eff", "%claude -s @REA", "%claude why stat"]
print([sorted(shell.complete(None, line)[1]) for line in lines])
shell.run_line_magic("unload_ext", "claude_magic")
print(shell.complete(None, "%claude --th")[1])
"""


def test_tab_works_in_a_terminals_shell(tmp_path):
    """And no longer after unloading."""
    (tmp_path / "README").touch()

    done = subprocess.run(
        [sys.executable, "-c", TERMINAL],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")},
    )

    assert done.stderr == ""
    loaded, unloaded = done.stdout.splitlines()
    assert loaded == str([["status"], ["--thinking", "--thread"], ["sonnet"], ["--effort"], ["@README"], []])
    assert unloaded == "[]"
