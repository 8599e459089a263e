"""Which names in a notebook are the user's own."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.context import UserNames


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


def test_the_users_own_names_are_there(names: UserNames) -> None:
    """Also those that hold nothing, or begin with an underscore."""
    assert names["x"] == 1
    assert names["_own"] == 2
    assert names["nothing"] is None
    assert names["empty"] == ""


def test_what_ipython_put_there_is_not(names: UserNames) -> None:
    """Nobody means `exit` or `get_ipython` with a word in braces."""
    assert not {"get_ipython", "exit", "__name__", "missing"} & set(names)
    assert "get_ipython" not in names
    assert names.get("missing") is None


def test_the_history_counts_as_the_users(names: UserNames) -> None:
    """Inputs and outputs are theirs, though IPython keeps them; an output that has not been is nothing yet."""
    assert names["In"] == ["", "x = 1"]
    assert names["Out"] == {1: "one"}
    assert names["_"] == names["_1"] == "one"
    assert names["_i"] == "x = 1"
    assert "__" not in names


def test_a_name_that_the_user_bound_anew_is_theirs(namespace: dict[str, Any], names: UserNames) -> None:
    """Hidden is what IPython put there, not the word."""
    namespace["exit"] = "the way out"

    assert names["exit"] == "the way out"


def test_the_view_is_live(namespace: dict[str, Any], names: UserNames) -> None:
    """What a later cell defines or deletes is seen."""
    namespace["later"] = 5
    del namespace["x"]

    assert names["later"] == 5
    assert "x" not in names


def test_names_of_prompts_stand_behind_the_users(namespace: dict[str, Any], names: UserNames) -> None:
    """`Err` is there until the user calls something of theirs so."""
    before = names["Err"]
    namespace["Err"] = "mine"

    assert before == ["no error"]
    assert names["Err"] == "mine"
    assert list(names).count("Err") == 1


def test_the_view_shows_no_values(names: UserNames) -> None:
    """Its repr may end up in a log."""
    assert repr(names) == "UserNames(10 names)"
