"""The buttons under an answer of a panel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.panels import _exchange
from claude_magic.panels._exchange import ActionRow


class Page:
    """A fake browser side that records inserted cells."""

    def __init__(self) -> None:
        self.inserted: list[tuple[str, str]] = []

    def insert_cell(self, source: str, kind: str) -> None:
        """Record the cell."""
        self.inserted.append((source, kind))


def press_new_cell(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Press "New cell" under an answer. Return the inserted cells and the sentences for the user."""
    page, notes = Page(), []
    row: Any = SimpleNamespace(
        _browser=page, _note=SimpleNamespace(show=notes.append), _reply=SimpleNamespace(text=text)
    )
    ActionRow._on_insert(row, None)  # type: ignore[arg-type]
    return page.inserted, notes


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u200b", "\x1b", "\U000e0041"])
def test_code_in_a_new_cell_hides_nothing(sign: str) -> None:
    """Invisible and bidirectional control characters become escapes, and a sentence reports that."""
    inserted, notes = press_new_cell(f"```python\nx = 'a{sign}b'\n```")

    ((code, kind),) = inserted
    assert kind == "code"
    assert code == f"x = 'a{sign.encode('unicode_escape').decode()}b'"
    assert "written as escapes" in notes[0]


def test_ordinary_code_is_inserted_without_a_word() -> None:
    """It is unchanged, including emoji and other scripts."""
    inserted, notes = press_new_cell("```python\nx = '👩\u200d🔬 می\u200cخواهم'\n```")

    assert inserted == [("x = '👩\u200d🔬 می\u200cخواهم'", "code")]
    assert notes == []


def test_prose_in_a_new_cell_shows_what_is_hidden() -> None:
    """It becomes a Markdown cell that shows such characters by their code points."""
    inserted, _ = press_new_cell("Pay to \u202eecilA")

    assert inserted == [("Pay to ⟦U+202E⟧ecilA", "markdown")]


def test_an_answer_becomes_a_variable_unless_its_name_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule is that of the buttons in cells. A refused name stays in its field."""
    bound: dict[str, Any] = {"df": [1, 2]}
    notes: list[str] = []
    monkeypatch.setattr(_exchange, "get_ipython", lambda: SimpleNamespace(push=bound.update, user_ns=bound))
    field = SimpleNamespace(value="", layout=SimpleNamespace(display=None))
    row: Any = SimpleNamespace(_reply="an answer", _name=field, _note=SimpleNamespace(show=notes.append))

    for name, reason in (("list", "list is taken"), ("df", "df holds a list: choose another name")):
        field.value = name
        with pytest.raises(ConfigurationError, match=reason):
            ActionRow._on_name(row, None)
        assert (field.value, field.layout.display, bound) == (name, None, {"df": [1, 2]})

    field.value = " mean "
    ActionRow._on_name(row, None)

    assert (field.value, field.layout.display, bound) == ("", "none", {"df": [1, 2], "mean": "an answer"})
    assert notes == ["mean is this answer now."]
