"""The user's variables in a notebook."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.context import why_not_bindable
from claude_magic.context._names import UserNames


@pytest.fixture
def namespace() -> dict[str, Any]:
    return {
        "__name__": "__main__",
        "In": ["", "x = 1"],
        "Out": {1: "one"},
        "_": "one",
        "_1": "one",
        "__": "",
        "_i": "x = 1",
        "get_ipython": print,
        "exit": quit,
        "x": 1,
        "_own": 2,
        "nothing": None,
        "empty": "",
    }


@pytest.fixture
def names(namespace: dict[str, Any]) -> UserNames:
    hidden = {name: namespace[name] for name in ("In", "Out", "get_ipython", "exit", "__name__")}
    return UserNames(namespace, hidden, extra={"Err": ["no error"]})


def test_the_users_variables_are_included(names: UserNames) -> None:
    """Also those that are None, or begin with an underscore."""
    assert names["x"] == 1
    assert names["_own"] == 2
    assert names["nothing"] is None
    assert names["empty"] == ""


def test_names_of_ipython_are_not_included(names: UserNames) -> None:
    """A word in braces never means `exit` or `get_ipython`."""
    assert not {"get_ipython", "exit", "__name__", "missing"} & set(names)
    assert "get_ipython" not in names
    assert names.get("missing") is None


def test_the_history_is_included(names: UserNames) -> None:
    """Inputs and outputs are included; an output that does not exist yet is not."""
    assert names["In"] == ["", "x = 1"]
    assert names["Out"] == {1: "one"}
    assert names["_"] == names["_1"] == "one"
    assert names["_i"] == "x = 1"
    assert "__" not in names


def test_a_rebound_name_is_included(namespace: dict[str, Any], names: UserNames) -> None:
    """IPython's value is hidden, not its name."""
    namespace["exit"] = "the way out"

    assert names["exit"] == "the way out"


def test_the_view_is_live(namespace: dict[str, Any], names: UserNames) -> None:
    """It follows definitions and deletions in later cells."""
    namespace["later"] = 5
    del namespace["x"]

    assert names["later"] == 5
    assert "x" not in names


def test_the_users_variables_hide_extra_names(namespace: dict[str, Any], names: UserNames) -> None:
    """`Err` exists until the user defines a variable of that name."""
    before = names["Err"]
    namespace["Err"] = "mine"

    assert before == ["no error"]
    assert names["Err"] == "mine"
    assert list(names).count("Err") == 1


def test_the_view_shows_no_values(names: UserNames) -> None:
    """Its repr may end up in a log."""
    assert repr(names) == "UserNames(10 names)"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mean", ""),
        ("résumé", ""),
        ("match", ""),
        ("class", "class is a Python keyword"),
        ("a b", "a name has letters, digits and _, no digit first"),
        ("2x", "a name has letters, digits and _, no digit first"),
        ("", "a name has letters, digits and _, no digit first"),
        ("list", "list is taken, and code that uses it would break"),
        ("In", "In is taken, and code that uses it would break"),
        ("_", "_ is taken, and code that uses it would break"),
        ("claude", "claude is taken, and code that uses it would break"),
    ],
)
def test_why_a_name_cannot_become_a_variable(name: str, why: str) -> None:
    """The reason completes a sentence."""
    assert why_not_bindable(name) == why
