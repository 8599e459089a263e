"""Which cells `--cells` means, and how they read."""

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
    ],
)
def test_a_range_counts_cells_as_people_do(spec: str, numbers: list[int]) -> None:
    """Positive numbers are those of `In [n]`, negative ones count from the last cell; both ends are in."""
    assert [cell.number for cell in parse_cell_range(spec).chosen(CELLS)] == numbers


@pytest.mark.parametrize("spec", ["", ":", "x", "1-3", "-3:x", "1:2:3"])
def test_anything_else_is_an_error_that_shows_the_forms(spec: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="-3:"):
        parse_cell_range(spec)


def test_cells_read_as_in_the_notebook() -> None:
    """Source and outputs under their numbers; secrets are not among them."""
    cell = CellRecord(number=3, source="login('sk-ant-abcdefghijkl')", outputs=("welcome",))

    collected = collect_cells([cell], parse_cell_range("all"))

    assert "In [3]:\n```python\nlogin('[REDACTED]')\n```" in collected.text
    assert "Output of [3]:\n```\nwelcome\n```" in collected.text
    assert collected.redacted == ("an Anthropic API key",)


def test_a_range_without_cells_says_so() -> None:
    """Rather than asking about nothing."""
    assert collect_cells([], parse_cell_range("-3:")).notes == (
        "--cells: no cell of that range has been run.",
    )
    assert collect_cells(CELLS, parse_cell_range("none")).notes == ()
