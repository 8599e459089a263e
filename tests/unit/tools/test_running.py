"""A call before it runs: its text for the user, and invalid calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from claude_magic.tools import CallState, Toolbox, ToolCall
from claude_magic.tools._call import NOBODY, REFUSED, RunningCall


def tide(port: str) -> str:
    return f"{port}: high"


@pytest.fixture
def running(call: Any) -> Callable[..., RunningCall]:
    def make(name: str, raw_input: str | None = None, **arguments: Any) -> RunningCall:
        return RunningCall(Toolbox([tide]), call(name, raw_input, **arguments), lambda _state, _text: None)

    return make


def test_a_call_is_shown_in_python_notation() -> None:
    """With all of its arguments."""
    assert str(ToolCall(name="tide", arguments={"port": "Brest", "day": 3})) == "tide(port='Brest', day=3)"


def test_a_model_cannot_disguise_a_call() -> None:
    """Newlines, terminal escapes and direction marks are escaped, in names too."""
    hostile = {"x": "a\n\x1b[2J\u202e", "y=1)\n\x1b[2JRun tide(port": 1}

    shown = str(ToolCall(name="tide", arguments=hostile))

    assert shown.isprintable()


def test_the_line_of_a_very_long_call_is_shortened() -> None:
    """It reports a decision; the question shows all pages."""
    one = str(ToolCall(name="tide", arguments={"port": "x" * 100_000}))
    many = str(ToolCall(name="tide", arguments={f"x{number}": "y" * 1_000 for number in range(100)}))

    assert len(one) < 2_100
    assert "100,013 characters" in one
    assert len(many) < 2_100
    assert "100,794 characters" in many


def test_arguments_that_are_not_json_are_returned(running: Callable[..., RunningCall]) -> None:
    """Under the key that the API documents."""
    result = running("tide", '{"port": "Br').check()

    assert result is not None
    assert result.is_error
    assert json.loads(result.content) == {"INVALID_JSON": '{"port": "Br'}


def test_an_unknown_tool_is_answered_with_the_known_ones(
    running: Callable[..., RunningCall],
) -> None:
    """Models invent names."""
    result = running("tides", port="Brest").check()

    assert result is not None
    assert result.is_error
    assert "no tool tides, only tide" in result.content


def test_invalid_arguments_are_answered_with_the_reason(running: Callable[..., RunningCall]) -> None:
    """Before the user is asked."""
    result = running("tide", prot="Brest").check()

    assert result is not None
    assert result.is_error
    assert "port: Field required" in result.content
    assert "prot: Extra" in result.content


def test_a_valid_call_runs(running: Callable[..., RunningCall]) -> None:
    """With its arguments."""
    each = running("tide", port="Brest")

    assert each.check() is None
    assert each.done(each.run()).to_param() == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "Brest: high",
    }


def test_a_refusal_is_an_error_with_a_note_if_nobody_was_asked(
    running: Callable[..., RunningCall],
) -> None:
    """A user who refused needs no note."""
    by_person = running("tide", port="Brest").refused(REFUSED)
    by_nobody = running("tide", port="Brest").refused(NOBODY)

    assert by_person.is_error
    assert by_person.state is CallState.REFUSED
    assert by_person.note == ""
    assert "--approve never" in by_nobody.note
