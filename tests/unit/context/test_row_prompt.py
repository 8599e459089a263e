"""A prompt for many rows: parsed once, filled for each."""

from __future__ import annotations

import pandas as pd
import pytest

from claude_magic.client import ConfigurationError
from claude_magic.context import NullValueError, row_prompt


def filled(prompt: str, row: dict[str, object], **names: object) -> str:
    """Return the prompt of one row."""
    read = row_prompt(prompt, list(row), names)
    return read.beginning + "".join(str(part) for part in read.fill(row))


def test_values_replace_their_expressions() -> None:
    assert filled("A {{ x }} and {{ x + 1 }}.", {"x": 1}) == "A 1 and 2."
    assert filled("{{ x }}", {"x": "only"}) == "only"


def test_columns_take_precedence_over_variables() -> None:
    assert filled("{{ x }} {{ y }}", {"x": "row"}, x="mine", y="mine") == "row mine"


def test_the_shared_text_is_the_beginning() -> None:
    """With the values of the user's variables, which are the same for all rows."""
    read = row_prompt("In {{ language }}: {{ x }}. Be brief.", ["x"], {"language": "German"})

    assert read.beginning == "In German: "
    assert read.columns == ("x",)
    assert read.shared_after == len(". Be brief.")


def test_expressions_may_use_columns_and_variables() -> None:
    assert filled("{{ f(x) }}", {"x": 2}, f=lambda value: value * 10) == "20"


def test_other_braces_are_sent_as_typed() -> None:
    assert filled("{% if %} {{ 'x' }} {{ }} {x} {{ x }}", {"x": 1}) == "{% if %} {{ 'x' }} {{ }} {x} 1"


def test_the_value_is_not_searched_for_expressions() -> None:
    assert filled("{{ x }}", {"x": "{{ y }}", "y": 1}) == "{{ y }}"


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA, pd.NaT])
def test_a_null_is_an_error(null: object) -> None:
    with pytest.raises(NullValueError, match=r"\{\{ x \}\} is null: this row was not asked"):
        filled("{{ x }}", {"x": null})


def test_an_unknown_name_is_refused_with_the_columns() -> None:
    with pytest.raises(ConfigurationError, match=r"a row has no txet.*Did you mean text\? A row has text, n"):
        filled("{{ txet }}", {"text": "a", "n": 1})


def test_a_misspelt_column_with_spaces_is_refused() -> None:
    """Promise: it is not sent as typed with each row, even if the prompt has another value. Other templates are."""
    with pytest.raises(
        ConfigurationError, match=r"\{\{ my colum \}\}: a row has no such.*Did you mean my column\?"
    ):
        filled("{{ my colum }} {{ x }}", {"my column": "a", "x": 1})
    assert filled("{{ #each my }} {{ x }}", {"my column": "a", "x": 1}) == "{{ #each my }} 1"
    assert filled("{{ my colum }} {{ x }}", {"mycolumn": "a", "x": 1}) == "{{ my colum }} 1"


def test_a_prompt_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"every row would ask the same.*\{\{ text \}\}"):
        filled("Classify {{ y }}", {"text": "a"}, y=1)


def test_an_expression_that_fails_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\{\{ 1 // x \}\} raised ZeroDivisionError"):
        filled("{{ 1 // x }}", {"x": 0})


def test_a_list_in_a_cell_is_described() -> None:
    assert "1" in filled("{{ x }}", {"x": [1, 2]})


@pytest.mark.parametrize(
    "name",
    ["my column", "a.b", "class", "2026", "('a', 'x')", "x-y", "größe (cm)", "a\u0301", "price $", "x + y"],
)
def test_a_column_may_have_any_name(name: str) -> None:
    """The suggestion of the error works, also for a name that is not a Python name."""
    assert filled(f"A {{{{ {name} }}}}.", {name: "v"}) == "A v."
    assert filled(f"{{{{{name}}}}} {{{{ other }}}}", {name: [1], "other": 2}) == "[1] 2"
    with pytest.raises(NullValueError):
        filled(f"{{{{ {name} }}}}", {name: None})


def test_the_name_of_a_column_takes_precedence_over_an_expression() -> None:
    assert filled("{{ a.b }}", {"a": "text", "a.b": 1}) == "1"
    assert filled("{{ a.upper() }}", {"a": "text", "a.b": 1}) == "TEXT"


def test_accents_may_be_typed_either_way() -> None:
    assert filled("{{ caf\u00e9 }}", {"cafe\u0301": "v"}) == "v"
    assert filled("{{ cafe\u0301 au lait }}", {"caf\u00e9 au lait": "v"}) == "v"
