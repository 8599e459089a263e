"""The range of `--cells`, and the text of the cells."""

from __future__ import annotations

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.context import CellRecord, collect_cells, parse_cell_range

CELLS = [
    CellRecord(number=number, source=f"cell_{number}", outputs=(f"shown {number}",))
    for number in (1, 2, 4, 7)
]


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("-3:", [2, 4, 7]),
        ("-1:", [7]),
        ("-9:", [1, 2, 4, 7]),
        ("2:4", [2, 4]),
        ("2:", [2, 4, 7]),
        (":2", [1, 2]),
        ("4", [4]),
        ("-1", [7]),
        ("all", [1, 2, 4, 7]),
        ("none", []),
        ("-3:-2", [2, 4]),
        (":-2", [1, 2, 4]),
        ("2:-2", [2, 4]),
        ("-9", []),
        (":-9", []),
        ("3", []),
        ("0", []),
    ],
)
def test_a_range_includes_both_ends(spec: str, numbers: list[int]) -> None:
    """Positive numbers are those of `In [n]`; negative ones count from the last cell."""
    assert [cell.number for cell in parse_cell_range(spec).chosen(CELLS)] == numbers


@pytest.mark.parametrize("spec", ["", ":", "x", "1-3", "-3:x", "1:2:3"])
def test_an_invalid_range_is_an_error_that_lists_the_forms(spec: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="-3:"):
        parse_cell_range(spec)


def test_cells_read_as_in_the_notebook() -> None:
    """Source and outputs under their numbers, without secrets."""
    cell = CellRecord(number=3, source="login('sk-ant-abcdefghijkl')", outputs=("welcome",))

    collected = collect_cells([cell], parse_cell_range("all"))

    assert "In [3]:\n```python\nlogin('[REDACTED]')\n```" in collected.text
    assert "Output of [3]:\n```\nwelcome\n```" in collected.text
    assert collected.redacted == ("an Anthropic API key",)


def test_outputs_are_shown_as_on_screen_in_a_longer_fence() -> None:
    """Without colors, and with a longer fence than any in them."""
    cell = CellRecord(number=3, source="print(readme)", outputs=("\x1b[31m```\x1b[0m",))

    assert "Output of [3]:\n````\n```\n````\n" in collect_cells([cell], parse_cell_range("all")).text


def test_long_outputs_are_cut_after_redaction() -> None:
    """With a note; half a key would no longer be recognised."""
    key = "sk-ant-" + "k" * 60
    outputs = ("x" * 5_970 + " " + key + " " + "y" * 20_000 + " the end",)

    collected = collect_cells([CellRecord(number=3, source="", outputs=outputs)], parse_cell_range("all"))

    assert "sk-ant" not in collected.text
    assert "kkkk" not in collected.text
    assert collected.text.rstrip().endswith("the end\n```")
    assert len(collected.text) < 9_000
    assert collected.notes == ("--cells: long outputs were cut, in 3.",)
    assert collected.redacted == ("an Anthropic API key",)


def test_too_many_characters_of_cells_are_an_error() -> None:
    """The message gives their number."""
    with pytest.raises(ConfigurationError, match=r"500,\d\d\d characters.*Nothing was sent"):
        collect_cells([CellRecord(number=1, source="x" * 500_000)], parse_cell_range("all"))


def test_a_note_reports_missing_printed_output() -> None:
    """As in IPython 8."""
    (note,) = collect_cells(
        [CellRecord(number=1, source="1", is_complete=False)], parse_cell_range("all")
    ).notes

    assert "only since version 9" in note


@pytest.mark.parametrize("spec", ["9", "-3:", "all"])
def test_a_range_in_an_empty_history_has_a_note(spec: str) -> None:
    """No error: tools that execute notebooks, such as nbval, store no history."""
    assert collect_cells([], parse_cell_range(spec)).notes == (
        "--cells: no cell of that range has been run.",
    )
    assert collect_cells([], parse_cell_range("none")).notes == ()
    assert collect_cells(CELLS, parse_cell_range("none")).notes == ()


@pytest.mark.parametrize(("spec", "meant"), [("9:3", "3:9"), ("-1:-5", "-5:-1"), ("1:0", "0:1")])
def test_a_range_that_ends_before_it_begins_is_an_error(spec: str, meant: str) -> None:
    """Also in an empty history, and also the one that `none` stands for."""
    with pytest.raises(ConfigurationError, match=f"ends before it begins; write {meant}. Nothing was sent"):
        parse_cell_range(spec)


@pytest.mark.parametrize("spec", ["99", "99:", "5000:6000", ":0", "0"])
def test_a_range_outside_the_history_is_an_error(spec: str) -> None:
    """A question about nothing would cost money."""
    with pytest.raises(
        ConfigurationError,
        match=r"between \d+ and \d+ have been; questions to Claude do not count\. Nothing was sent\.",
    ):
        collect_cells(CELLS, parse_cell_range(spec))


def test_a_range_beyond_the_history_sends_the_existing_cells() -> None:
    """`-30:` in a notebook of twelve cells means all of them."""
    everything = collect_cells(CELLS, parse_cell_range("all"))

    assert collect_cells(CELLS, parse_cell_range("-99:")) == everything
    assert collect_cells(CELLS, parse_cell_range("1:999")) == everything
