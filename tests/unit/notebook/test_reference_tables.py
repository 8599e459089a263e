"""The tables of docs/reference.md name every option and subcommand, an example, and a test that runs it in a real kernel."""

import re
from pathlib import Path

import pytest

from claude_magic.notebook._commands import COMMANDS, find_call
from claude_magic.notebook._line import read_line
from claude_magic.notebook._options import OPTION_SPECS
from claude_magic.runtime._settings import LOCAL_FILE_FIELDS, SECRET_FIELDS, SETTINGS

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(.+?)` \| (.*?) \| `%claude (.+?)` \| `(test_\w+)` \|$", re.MULTILINE)
TESTS = (ROOT / "tests" / "kernel" / "test_reference.py").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
ROWS = {key.replace("\\|", "|"): rest for key, *rest in ROW.findall(REFERENCE)}


class StubNamespace:
    """The names that the examples use."""

    def names(self):
        return {"df": object()}

    def threads(self):
        return ("main", "ada")


def test_the_tables_are_complete_and_in_the_order_of_the_help():
    """Every option and subcommand, and the words of the grammar itself."""
    options = [spec.usage for spec in OPTION_SPECS]
    commands = [command.usage for command in COMMANDS]

    assert [key for key in ROWS if key not in ("NAME <<", "--", "ask PROMPT")] == options + commands
    assert {"NAME <<", "--", "ask PROMPT"} <= set(ROWS)


@pytest.mark.parametrize("entry", [*OPTION_SPECS, *COMMANDS], ids=lambda entry: entry.name)
def test_a_row_says_what_the_help_says(entry):
    """Word for word."""
    assert ROWS[entry.usage][0].replace("\\|", "|") == entry.help


@pytest.mark.parametrize("key", ROWS)
def test_a_row_names_a_test_that_runs_its_example(key):
    """That test refers to the example by the row's first column."""
    name = ROWS[key][2]
    source = re.search(rf"^def {name}\(.*?(?=^def |^@|\Z)", TESTS, re.MULTILINE | re.DOTALL)

    assert source is not None, f"{name} is not in tests/kernel/test_reference.py"
    assert f'"{key}"' in source[0]
    assert "example(" in source[0]


@pytest.mark.parametrize("spec", OPTION_SPECS, ids=lambda spec: spec.name)
def test_the_example_of_an_option_uses_it(spec):
    """It can be parsed, and sets the option's field."""
    options = read_line(ROWS[spec.usage][1], StubNamespace()).options

    assert getattr(options, spec.field)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_a_subcommand_is_one(command):
    """It matches the grammar."""
    call = find_call(ROWS[command.usage][1], StubNamespace())

    assert call is not None
    assert call.command is command


def test_all_settings_are_listed():
    """Each in the first column of its table."""
    table = REFERENCE[REFERENCE.index("| setting | default |") :].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()))

    assert sorted(named) == sorted([*SETTINGS, *SECRET_FIELDS])


def test_what_a_file_beside_the_notebook_cannot_set_is_named():
    """In the paragraph below the table of settings: all of it, and nothing else."""
    (sentence,) = re.findall(r"so it can set neither a key, (.*?)\. The footer", REFERENCE, re.DOTALL)

    assert set(re.findall(r"`(\w+)`", sentence)) == set(SETTINGS) - LOCAL_FILE_FIELDS
