"""What the buttons under an answer of a panel do with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from claude_magic.panels._exchange import AnswerActions


class Page:
    """A browser that remembers what it was told to insert."""

    def __init__(self) -> None:
        self.inserted: list[tuple[str, str]] = []

    def insert_cell(self, source: str, kind: str) -> None:
        """Remember it."""
        self.inserted.append((source, kind))


def press_new_cell(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Press "New cell" under an answer; return what was inserted, and what the user was told."""
    page, told = Page(), []
    context: Any = SimpleNamespace(browser=page, notify=told.append)
    AnswerActions._on_insert(SimpleNamespace(_context=context, _reply=SimpleNamespace(text=text)), None)  # type: ignore[arg-type]
    return page.inserted, told


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u200b", "\x1b", "\U000e0041"])
def test_code_in_a_new_cell_hides_nothing(sign: str) -> None:
    """A character that cannot be seen, or turns the direction of writing, stands as an escape, and a line says so."""
    inserted, told = press_new_cell(f"```python\nx = 'a{sign}b'\n```")

    ((code, kind),) = inserted
    assert kind == "code"
    assert code == f"x = 'a{sign.encode('unicode_escape').decode()}b'"
    assert "written as escapes" in told[0]


def test_ordinary_code_is_inserted_without_a_word() -> None:
    """As it is, emoji and other scripts included."""
    inserted, told = press_new_cell("```python\nx = '👩\u200d🔬 می\u200cخواهم'\n```")

    assert inserted == [("x = '👩\u200d🔬 می\u200cخواهم'", "code")]
    assert told == []


def test_prose_in_a_new_cell_shows_what_is_hidden() -> None:
    """It becomes a Markdown cell, in which such a character is shown by its number."""
    inserted, _ = press_new_cell("Pay to \u202eecilA")

    assert inserted == [("Pay to ⟦U+202E⟧ecilA", "markdown")]
