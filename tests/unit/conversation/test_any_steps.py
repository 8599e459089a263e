"""The tree of turns after any steps: nothing is lost, and each Run All is like the first."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import ask, run_all, said

from claude_magic.client import ConfigurationError
from claude_magic.conversation import Conversations, Turn, load_forest, save_forest

CELLS = st.sampled_from(["a", "b", "c", "c#1", "c#2", None])
THREADS = st.sampled_from([None, "t", "fork"])
STEPS = st.one_of(
    st.tuples(st.just("ask"), CELLS, THREADS),
    st.tuples(st.just("new"), CELLS, THREADS),
    st.tuples(st.just("beside"), CELLS, THREADS),
    st.tuples(st.just("undo"), st.integers(1, 3), THREADS),
    st.tuples(st.just("fork"), st.none(), THREADS),
    st.tuples(st.just("switch"), st.integers(1, 9), THREADS),
    st.tuples(st.just("clear"), st.none(), THREADS),
)


def take(conversations: Conversations, step: tuple[Any, ...], prompt: str) -> list[Turn]:
    """Perform one step, and return the new turns."""
    what, detail, thread = step
    if what == "undo":
        conversations.undo(detail, thread=thread)
    elif what == "switch":
        with contextlib.suppress(ConfigurationError):
            conversations.switch(detail)
    elif what == "clear":
        conversations.clear(thread)
    elif what == "fork":
        with contextlib.suppress(ConfigurationError):
            conversations.fork("fork", thread=thread)
    else:
        flags = {"is_new": what == "new", "is_side_branch": what == "beside"}
        return [ask(conversations, prompt, detail, thread=thread, **flags)]
    return []


@given(st.lists(STEPS.filter(lambda step: step[0] != "clear"), max_size=40))
def test_after_any_steps_nothing_is_lost_and_every_path_is_complete(steps: list[tuple[Any, ...]]) -> None:
    """Turns are kept, paths end at roots without cycles, and contain the same objects that were added."""
    conversations = Conversations()
    added = [turn for number, step in enumerate(steps) for turn in take(conversations, step, str(number))]

    forest = conversations.forest()
    assert [*forest.turns.values()] == added
    for turn in added:
        path = list(forest.path(turn.id))
        assert len({each.id for each in path}) == len(path) <= len(added)
        assert path[-1].parent is None
        assert all(each is forest.turns[each.id] for each in path)


@given(st.lists(STEPS, max_size=30), CELLS, THREADS)
def test_a_turn_is_added_where_its_place_says(
    steps: list[tuple[Any, ...]], cell: str | None, thread: str | None
) -> None:
    """The messages before a question are those of its turn's ancestors, the same objects."""
    conversations = Conversations()
    for number, step in enumerate(steps):
        take(conversations, step, str(number))
    place = conversations.place(thread=thread, cell=cell)
    before = conversations.messages(place)

    turn = ask(conversations, "last", cell, thread=thread)

    after = conversations.messages(conversations.place(thread=thread))
    assert all(one is other for one, other in zip(before, after, strict=False))
    assert after[len(before) :] == [*turn.messages]


@given(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), st.integers(1, 4))
def test_every_run_all_has_the_shape_of_the_first(cells: list[str], runs: int) -> None:
    """However often."""
    conversations = Conversations()
    for run in range(runs):
        run_all(conversations, "".join(cells), str(run))

    assert said(conversations) == [f"{cell}{runs - 1}" for cell in cells]


@given(st.lists(STEPS, max_size=30), CELLS, THREADS)
def test_a_saved_conversation_continues_as_the_original(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Any, ...]],
    cell: str | None,
    thread: str | None,
) -> None:
    """Each cell has the same place; turns are numbered again, without the gaps left by `clear`."""
    conversations, loaded = Conversations(), Conversations()
    for number, step in enumerate(steps):
        take(conversations, step, str(number))
    path = tmp_path_factory.mktemp("saved") / "talk.json"

    save_forest(conversations.forest(), path)
    loaded.adopt(load_forest(path))

    assert loaded.forest() == conversations.forest()
    there, here = (each.place(cell=cell, thread=thread) for each in (loaded, conversations))
    assert replace(there, left_head=0) == replace(here, left_head=0)
    assert bool(there.left_head) == bool(here.left_head)


SUBCOMMANDS = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 3), THREADS),
    st.tuples(st.just("new"), st.just(1), THREADS),
    st.tuples(st.just("undo"), st.integers(1, 3), st.just(None)),
    st.tuples(st.just("fork"), st.none(), st.just(None)),
)


def run_notebook(conversations: Conversations, steps: list[tuple[Any, ...]]) -> list[list[str]]:
    """Run each step in a cell of its own; return the messages before each question."""
    seen = []
    for number, (what, detail, thread) in enumerate(steps):
        cell = f"cell-{number}"
        if what == "undo":
            conversations.undo(detail, thread=thread)
        elif what == "fork":
            with contextlib.suppress(ConfigurationError):
                conversations.fork("fork", thread=thread, cell=cell)
        else:
            for question in range(detail):
                key = f"{cell}#{question}" if question else cell
                seen.append(said(conversations, key, thread=thread, is_new=what == "new"))
                ask(conversations, key, key, thread=thread, is_new=what == "new")
    return seen


@given(st.lists(SUBCOMMANDS, max_size=12), st.integers(1, 3))
def test_every_run_all_sends_the_same_messages_as_the_first(steps: list[tuple[Any, ...]], count: int) -> None:
    """With cells of several questions, threads, forks, and turns that are taken back."""
    conversations = Conversations()
    notebook = [("ask", count, None), *steps]

    first = run_notebook(conversations, notebook)

    assert run_notebook(conversations, notebook) == first
    assert run_notebook(conversations, notebook) == first
