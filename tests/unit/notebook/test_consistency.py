"""Help, options, traits and settings are consistent."""

import inspect
from dataclasses import fields
from typing import get_args

import pytest

from claude_magic.api import Claude
from claude_magic.bulk import MapRequest
from claude_magic.notebook._commands import COMMANDS, FULL_HELP, SHORT_HELP
from claude_magic.notebook._magics import ClaudeMagics
from claude_magic.notebook._options import EFFORT_LEVELS, OPTION_SPECS, REPLAY_MODES, THINKING_MODES, Options
from claude_magic.runtime import Question
from claude_magic.runtime._settings import NOTEBOOK_FIELDS, Effort, Replay, Thinking


@pytest.mark.parametrize("spec", OPTION_SPECS, ids=lambda spec: spec.field)
def test_the_help_explains_every_option(spec):
    """With both names, the name of its value, and its help text."""
    assert f" {spec.usage} {spec.help} " in " ".join(FULL_HELP.split())
    assert spec.field in Options.__slots__


def test_the_help_lists_every_subcommand():
    """With its argument, as in `demo on|off`."""
    for command in COMMANDS:
        assert f" %claude {command.usage} {command.help} " in " ".join(FULL_HELP.split())


@pytest.mark.parametrize("text", [FULL_HELP, SHORT_HELP], ids=["full", "short"])
def test_the_help_fits_a_terminal_and_a_narrow_page(text):
    """Wrapped lines would make the columns hard to read. A page of 700 pixels has room for 73 characters."""
    assert max(len(line) for line in text.splitlines()) <= 70


def test_the_magics_docstring_is_the_help():
    """`%claude?` shows it."""
    assert ClaudeMagics.claude.__doc__ == FULL_HELP


def test_f1_every_setting_has_a_trait_and_a_key_has_none():
    """F1: every setting that `%config` may set has a trait, and all are unset at first."""
    traits = set(ClaudeMagics.class_traits(config=True)) - {"parent", "config"}

    assert traits == NOTEBOOK_FIELDS
    assert not [name for name in traits if "key" in name or "token" in name.removeprefix("max_tokens")]
    assert ClaudeMagics().configured() == {}


@pytest.mark.parametrize(
    ("choices", "of_setting"), [(EFFORT_LEVELS, Effort), (THINKING_MODES, Thinking), (REPLAY_MODES, Replay)]
)
def test_the_choices_of_an_option_are_those_of_the_setting(choices, of_setting):
    """The option line has its own copy, so that it need not import the runtime."""
    assert choices == get_args(of_setting)


def test_a_map_has_no_options_of_a_question():
    """They are those of its `question`, so that an option of a question reaches maps too."""
    assert not {field.name for field in fields(MapRequest)} & {field.name for field in fields(Question)}


@pytest.mark.parametrize("name", ["repeat", "prefix", "via"])
def test_the_defaults_in_the_signature_of_a_map_are_those_of_its_request(name):
    """The signature has its own copy, so that importing `claude` need not import the maps."""
    (default,) = (field.default for field in fields(MapRequest) if field.name == name)

    assert inspect.signature(Claude.map).parameters[name].default == default
