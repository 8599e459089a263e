"""`%claude explain NAME`: names, and paths of attributes and items."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.context import closest_name, describe_name, resolve_name, root_of

NAMES = {
    "Out": {3: "three", "a b": [10, 20]},
    "df": SimpleNamespace(sales=[7, 8]),
    "_": "last",
    "rows": [[1], [2]],
}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("_", "last"),
        ("Out[3]", "three"),
        ("Out['a b'][-1]", "20"),
        ("df.sales[0]", "7"),
        ("rows[1:]", "[[2]]"),
        ("df.sales", "[7, 8]"),
    ],
)
def test_a_path_is_explained_by_its_value(path: str, shown: str) -> None:
    """Attributes and literal items; nothing is computed."""
    assert shown in describe_name(path, NAMES).text


@pytest.mark.parametrize(
    "text", ["f(1)", "Out[n]", "a + b", "1df", "df.", "why the sky", "", "not x", "Out[print(1)]", "(df)\n"]
)
def test_a_computed_index_is_not_a_path(text: str) -> None:
    """Prose is not one either."""
    assert root_of(text) is None


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("Out[99]", "there is no Out[99]. Nothing"),
        ("Out[3].nope[0]", "Out[3] has no nope. dir(Out[3]) lists what it has."),
        ("df.saless", "df has no saless. Did you mean df.sales?"),
        ("df.saless[0]", "df has no saless. Did you mean df.sales?"),
        ("dff.sales", "there is no variable dff in the notebook. Did you mean df.sales?"),
        ("dff['{}']", "Did you mean df['{}']?"),
        ("xyz", "there is no variable xyz in the notebook. Run the cell that defines it first."),
    ],
)
def test_a_missing_name_has_a_suggestion(path: str, advice: str) -> None:
    """For the root from the notebook, for an attribute from its object."""
    with pytest.raises(ConfigurationError) as caught:
        describe_name(path, NAMES)

    assert advice in caught.value.message


def test_only_suitable_names_are_suggested() -> None:
    """A function if a function is required, even if a number has a closer name."""
    names = {"tide_tables": 3, "tide_table": lambda: 3}

    with pytest.raises(ConfigurationError, match=r"^--tools: .* Did you mean tide_table\?"):
        resolve_name("tide_tablee", names, asked_by="--tools", suits=callable)


def test_the_closest_name_is_found_whatever_its_case() -> None:
    """None if no name is close."""
    assert closest_name("DF", ["df"]) == "df"
    assert closest_name("err", ["Err"]) == "Err"
    assert closest_name("why", ["df", "who"]) is None
    assert closest_name("_", ["__"]) is None
    assert closest_name("_12", ["_1", "_i12"]) is None
    assert closest_name("_confg.py", ["_config.py"]) == "_config.py"
