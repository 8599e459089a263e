"""Which `%claude` lines are subcommands, which are prompts, and which are slips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from claude_magic.notebook._commands import COMMANDS
from claude_magic.notebook._grammar import find_deed, read_cell, read_line
from claude_magic.notebook._options import Options


class Surroundings:
    """A kernel with a variable, a module and two conversations."""

    def names(self):
        return {"df": object(), "np": object()}

    def threads(self):
        return ("main", "side")


HERE = Surroundings()


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("status", "status", {}),
        ("  usage ", "usage", {}),
        ("history", "history", {}),
        ("history side", "history", {"thread": "side"}),
        ("clear main", "clear", {"thread": "main"}),
        ("fork other-idea", "fork", {"name": "other-idea"}),
        ("undo", "undo", {}),
        ("undo 3", "undo", {"n": "3"}),
        ("save talk.json", "save", {"file": "talk.json"}),
        ("save 'my talk.json'", "save", {"file": "my talk.json"}),
        ('load "~/a b/talk.JSON"', "load", {"file": "~/a b/talk.JSON"}),
        ("budget", "budget", {}),
        ("budget 2.00", "budget", {"amount": "2.00"}),
        ("budget $.5", "budget", {"amount": "$.5"}),
        ("budget off", "budget", {"amount": "off"}),
        ("demo  on", "demo", {"state": "on"}),
        ("limits --live", "limits", {"live": "--live"}),
        ("?", "help", {}),
        (" ??", "help", {}),
        *((name, name, {}) for name in ("threads", "limits", "models", "login", "logout", "help")),
    ],
)
def test_a_line_that_fits_a_subcommand_as_a_whole_is_one(line, name, arguments):
    """With its argument, if that is what the subcommand takes."""
    call = find_deed(line, HERE)

    assert call is not None
    assert (call.command.name, call.arguments) == (name, arguments)


@pytest.mark.parametrize(
    ("line", "name", "arguments", "options"),
    [
        ("fix", "fix", {}, Options()),
        ("continue", "continue", {}, Options()),
        ("explain df", "explain", {"name": "df"}, Options()),
        ("explain np.linalg.norm", "explain", {"name": "np.linalg.norm"}, Options()),
        ("-m opus fix", "fix", {}, Options(model="opus")),
        ("note << --quiet explain df ", "explain", {"name": "df"}, Options(out="note", quiet=True)),
    ],
)
def test_a_subcommand_that_asks_claude_may_have_options_before_it(line, name, arguments, options):
    """It is a question, and takes the way of one."""
    request = read_line(line, HERE)

    assert find_deed(line, HERE) is None
    assert request.call is not None
    assert (request.call.command.name, request.call.arguments) == (name, arguments)
    assert request.options == options
    assert not request.is_empty


@pytest.mark.parametrize(
    "line",
    [
        "explain why the sky is blue",
        "explain gravity",
        "explain df please",
        "explain df.",
        "explain 1df",
        "explain df?",
        "fix my code",
        "fix: x = = 1",
        "history of Rome",
        "history nobody",
        "fork the repository",
        "undo that",
        "undo 0",
        "save talk.txt",
        "save me.json now",
        "load 'a.json",
        "budget 2,00",
        "budget -1",
        "clear the table",
        "demo maybe",
        "status?",
        "help me",
        "why?",
        "hi",
        "hello",
        "start",
        "statistics",
        "naïve",
    ],
)
def test_any_other_line_is_a_prompt(line):
    """Down to its last character, however it begins."""
    request = read_line(line, HERE)

    assert find_deed(line, HERE) is None
    assert request.call is None
    assert request.prompt == line


@given(st.sampled_from(["ask", "-m opus ask", "x << ask", "--", "-m opus --"]), st.text())
def test_behind_ask_or_two_dashes_everything_is_a_prompt(opening, text):
    """One space behind the word is not prompt; whatever follows is, subcommands and options too."""
    request = read_line(f"{opening} {text}", HERE)

    assert request.prompt == text
    assert request.call is None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_ask_escapes_every_subcommand(command):
    """Also those that ask Claude themselves."""
    assert find_deed(f"ask {command.name}", HERE) is None
    assert read_line(f"ask {command.name}", HERE).prompt == command.name


def test_ask_is_a_word_of_its_own():
    """`asking` is not `ask ing`, and a cell's first line knows no subcommands."""
    assert read_line("asking nicely", HERE).prompt == "asking nicely"
    assert read_cell("ask me", "more").prompt == "ask me\nmore"
    assert read_cell("fix", "x = = 1\n").prompt == "fix\nx = = 1"
    assert read_line("ask", HERE).is_empty


@pytest.mark.parametrize(
    ("line", "meant", "escaped"),
    [
        ("hlep", "%claude help?", "%claude ask hlep."),
        ("statsu", "%claude status?", "%claude ask statsu."),
        ("histroy", "%claude history [THREAD]?", "%claude ask histroy."),
        ("Status", "%claude status?", "%claude ask Status."),
        ("demo", "%claude demo on|off?", "%claude ask demo."),
        ("fork", "%claude fork NAME?", "%claude ask fork."),
        ("explain", "%claude explain NAME?", "%claude ask explain."),
        ("-m opus usage", "%claude usage?", "%claude -m opus ask usage."),
        ("--set user=me usage", "%claude usage?", "%claude [options] ask usage."),
        ("-m opus contniue", "%claude -m opus continue?", "%claude -m opus ask contniue."),
    ],
)
def test_a_prompt_of_one_word_that_is_most_likely_a_slip_is_not_sent(line, meant, escaped):
    """The error says what may have been meant, and how to send the word all the same."""
    with pytest.raises(UsageError) as caught:
        read_line(line, HERE)

    message = str(caught.value)
    assert f"Did you mean {meant}" in message
    assert f"To send it as a prompt: {escaped}" in message
    assert message.endswith("Nothing was sent.")


def test_a_cell_that_is_but_a_subcommand_is_not_sent():
    """Subcommands have one percent sign; below a prompt's first word, a cell is always a prompt."""
    for body in ("", "\n", "  \n"):
        with pytest.raises(UsageError, match="Did you mean %claude fix"):
            read_cell("fix", body)
    assert read_cell("-- fix", "").prompt == "fix"


@given(st.text(alphabet="-=moutasfixdehlp '\"\\<> \t", max_size=30))
def test_any_line_is_read_or_refused_in_one_line(line):
    """There is no third way out, and a refusal says that nothing was sent."""
    complaint = None
    try:
        find_deed(line, HERE)
        read_line(line, HERE)
    except UsageError as error:
        complaint = str(error)

    assert complaint is None or ("\n" not in complaint and complaint.endswith("Nothing was sent."))
