"""docs/requirements.md names a test for each requirement, and these tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    *("C1", "C2", "C3", "C4", "C5", "L1", "L2", "L3", "R1", "R2", "R3", "R4", "R5"),
    *("E1", "E2", "S1", "S2", "F1", "O1", "O2", "T1"),
    *("U1", "U2", "U3", "U4", "U5", "U6", "U7"),
]


def _named_tests() -> dict[str, list[str]]:
    text = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]\d) \|(.*)$", text, re.MULTILINE)
    return {row: re.findall(r"`(test_\w+)`", rest) for row, rest in rows}


def _existing_tests() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}


def test_every_requirement_names_tests_that_say_so_and_exist() -> None:
    """No row without a test, no test of another row, and no test that no longer exists."""
    named = _named_tests()

    assert list(named) == ROWS
    for row, tests in named.items():
        assert tests, f"{row} names no test"
        # Promises to users are tested in many files, whose tests do not contain the number of the row.
        assert row.startswith("U") or all(row.lower() in test.split("_") for test in tests), row
    assert {test for tests in named.values() for test in tests} <= _existing_tests()
