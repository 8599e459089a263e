"""Help, options, traits and settings tell the same story."""

import pytest

from claude_magic.notebook import ClaudeMagics
from claude_magic.notebook._commands import COMMANDS, FULL_HELP
from claude_magic.notebook._options import EFFORT_LEVELS, OPTION_SPECS, Options
from claude_magic.runtime import EFFORTS, NOTEBOOK_FIELDS


@pytest.mark.parametrize("spec", OPTION_SPECS, ids=lambda spec: spec.field)
def test_the_help_explains_every_option(spec):
    """Both spellings and the value's name, beside what it does."""
    assert f" {spec.usage} {spec.help} " in " ".join(FULL_HELP.split())
    assert spec.field in Options.__slots__


def test_the_help_lists_every_subcommand():
    """With its argument, as in `demo on|off`."""
    for command in COMMANDS:
        assert f" %claude {command.usage} {command.help} " in " ".join(FULL_HELP.split())


def test_the_help_fits_a_terminal():
    """A line that a terminal or a page breaks where it ends is hard to read in columns."""
    assert max(len(line) for line in FULL_HELP.splitlines()) <= 80


def test_the_magics_docstring_is_the_help():
    """So `%claude?` shows it."""
    assert ClaudeMagics.claude.__doc__ == FULL_HELP


def test_f1_every_setting_has_a_trait_and_a_key_has_none():
    """F1: what `%config` may set is what there are traits for; each is unset at first."""
    traits = set(ClaudeMagics.class_traits(config=True)) - {"parent", "config"}

    assert traits == NOTEBOOK_FIELDS
    assert not [name for name in traits if "key" in name or "token" in name.removeprefix("max_tokens")]
    assert ClaudeMagics().configured() == {}


def test_effort_levels_are_the_runtimes():
    """The option line knows them without importing the runtime."""
    assert EFFORT_LEVELS == EFFORTS
