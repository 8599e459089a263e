"""Conversations restored from the answers in a notebook: the saved metadata, and the restored turns."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import ask, said

from claude_magic.client import ConfigurationError
from claude_magic.conversation import (
    Conversations,
    Turn,
    in_pieces,
    read_notebook,
    restore,
    saved_answers,
    turn_fields,
)

Cell = dict[str, Any]


def prompt_of(source: str) -> str | None:
    """Return the prompt of a cell of these tests."""
    return source.removeprefix("%%claude\n") if source.startswith("%%claude\n") else None


def answered(turn: Turn, *, cell: str | None = None, source: str | None = None, **facts: Any) -> Cell:
    """Return a cell with the answer of a turn, as a front end saves it."""
    shown = turn.answer_text
    saved = turn_fields(turn, redact=str, text=shown, shown=shown)
    prompt_hash = hashlib.sha256(turn.prompt.encode()).hexdigest()
    metadata = {"claude_magic": {"model": turn.model, "prompt_sha256": prompt_hash, "turn": saved, **facts}}
    output = {"output_type": "display_data", "data": {"text/plain": [shown]}, "metadata": metadata}
    return {
        "cell_type": "code",
        "id": (turn.cell or "none").partition("#")[0] if cell is None else cell,
        "source": f"%%claude\n{turn.prompt}" if source is None else source,
        "outputs": [output],
    }


def after_a_restart(*cells: Cell) -> Conversations:
    """Return the conversations of a kernel that has loaded a notebook of these cells, saved and read as JSON."""
    conversations = Conversations()
    document = json.loads(json.dumps({"cells": cells}))
    conversations.adopt(restore(document, prompt_of=prompt_of, known={}).forest, forgets_cells=True)
    return conversations


def notes_on(*cells: Cell) -> tuple[str, ...]:
    return restore({"cells": cells}, prompt_of=prompt_of, known={}).notes


def test_the_conversation_is_restored_and_cells_keep_their_places() -> None:
    """Also if one cell has asked twice."""
    before = Conversations()
    one, two, three, four = (ask(before, each, each) for each in ("a", "b", "b#1", "c"))
    several = answered(two)
    several["source"] = "for each in topics: ..."
    several["outputs"] += answered(three)["outputs"]

    conversations = after_a_restart(answered(one), several, answered(four))

    assert said(conversations) == ["a", "b", "b#1", "c"]
    assert said(conversations, "b") == ["a"]
    assert said(conversations, "b#1") == ["a", "b"]
    assert said(conversations, "c") == ["a", "b", "b#1"]


def test_a_copied_cell_and_a_reply_that_is_shown_again_count_once() -> None:
    """In the cell that asked, if it still has the answer."""
    turn = ask(Conversations(), "one", "a")
    again = answered(turn, cell="z", source="claude.last")

    for cells in ([again, answered(turn)], [answered(turn), again]):
        (answer,) = saved_answers({"cells": cells})
        assert (answer.cell, answer.key) == ("a", "a")
    (answer,) = saved_answers({"cells": [answered(turn, cell="copy")]})
    assert answer.key == "copy", "the cell that holds it asks in its place"


@pytest.mark.parametrize("asked_by", [None, "panel 3f#1", "vscode-notebook-cell:/home/ada/talk.ipynb#W2s"])
def test_a_key_that_may_belong_to_another_cell_is_dropped(asked_by: str | None) -> None:
    """The answer is kept; if the cell runs again, it continues at the end."""
    turn = ask(Conversations(), "one", asked_by)

    (answer,) = saved_answers({"cells": [answered(turn, cell="a")]})
    assert answer.key is None


def test_a_prompt_is_read_from_its_cell_and_a_long_one_in_code_is_not_saved() -> None:
    """The metadata contain no prompt of more than a page."""
    turn = ask(Conversations(), "word " * 1_000, "a")
    assert "prompt" not in turn_fields(turn, redact=str, text="", shown="")

    assert said(after_a_restart(answered(turn))) == [turn.prompt]
    assert said(after_a_restart(answered(turn, source="claude.ask(long, thread='main')"))) == []


REFUSED = "--modle: did you mean --model? Nothing\nwas sent."


@pytest.mark.parametrize(
    ("outputs", "is_named"),
    [
        ([], True),
        ([{"output_type": "error", "ename": "OverloadedError", "evalue": "529"}], True),
        ([{"output_type": "stream", "name": "stdout", "text": REFUSED}], True),
        ([{"output_type": "stream", "name": "stderr", "text": ["UsageError: ", REFUSED]}], False),
        ([{"output_type": "error", "ename": "ConfigurationError", "evalue": REFUSED}], False),
    ],
)
def test_cells_without_an_answer_are_named_unless_they_were_refused(
    outputs: list[Cell], *, is_named: bool
) -> None:
    """By their number, or their first words if they have none."""
    cell = {"cell_type": "code", "source": "%%claude\nWhy?", "outputs": outputs}
    turn = ask(Conversations(), "a", "a")

    notes = notes_on(answered(turn), {**cell, "execution_count": 3}, {**cell, "execution_count": None})

    named = ("2 cells that ask have no saved answer: In[3], “Why?”.",)
    assert notes == (named if is_named else ())


@pytest.mark.parametrize(
    ("change", "prompts", "note"),
    [
        (lambda cell: cell.update(source="%%claude\nb, edited"), ["a"], "Left out, because"),
        (lambda cell: cell.update(outputs=[]), ["a"], "1 cell that asks has no saved answer: “b”."),
        (
            lambda cell: cell["outputs"][0]["data"].update({"text/plain": "mine"}),
            ["a", "b"],
            "1 answer was edited in the file and is used as it is there.",
        ),
        (lambda cell: cell["outputs"][0]["data"].clear(), ["a"], ""),
    ],
)
def test_edits_are_respected(change: Callable[[Cell], object], prompts: list[str], note: str) -> None:
    """Edited answers are used as they are, or left out, with a note."""
    before = Conversations()
    one, two = ask(before, "a", "a"), ask(before, "b", "b")
    cells = [answered(one), answered(two)]
    change(cells[1])

    assert said(after_a_restart(*cells)) == prompts
    assert "".join(notes_on(*cells)).startswith(note)


def test_a_fork_and_a_new_conversation_are_restored() -> None:
    """The turns before the new conversation stay in the tree."""
    before = Conversations()
    one = ask(before, "one", "a")
    before.fork("idea")
    two = ask(before, "two", "b", thread="idea")
    three = ask(before, "three", "c", is_new=True)

    conversations = after_a_restart(*map(answered, (one, two, three)))

    assert said(conversations, thread="idea") == ["one", "two"]
    assert said(conversations) == ["three"]
    assert len(conversations.forest().turns) == 3


def test_existing_turns_are_reused() -> None:
    """With their thinking, if no turn before them was changed; otherwise on a branch of their own."""
    conversations = Conversations()
    one, two = ask(conversations, "a", "a"), ask(conversations, "b", "b", thinks=True)
    for cells, expected in (([one, two], [one, two]), ([two], [one, two])):
        known = conversations.forest().turns
        restored = restore({"cells": [*map(answered, cells)]}, prompt_of=prompt_of, known=known)
        conversations.adopt(restored.forest, forgets_cells=True)
        assert [*conversations.forest().turns.values()][:2] == expected
    assert said(conversations) == ["b"]
    assert len(conversations.forest().turns) == 3


@pytest.mark.parametrize("change", ["rerun", "edited", "deleted"])
def test_thinking_is_dropped_from_every_turn_below_a_changed_one(change: str) -> None:
    """It is bound to all messages before it; the known turn stays as it is, on its own branch."""
    conversations = Conversations()
    one, two, three, four = (ask(conversations, each, each, thinks=True) for each in "abcd")
    cells = [*map(answered, (one, two, three, four))]
    if change == "rerun":
        cells[0] = answered(ask(conversations, "a, edited", "a", thinks=True))
    elif change == "edited":
        cells[0]["outputs"][0]["data"]["text/plain"] = ["another answer"]
    else:
        del cells[0]
    known = conversations.forest().turns

    conversations.adopt(restore({"cells": cells}, prompt_of=prompt_of, known=known).forest)

    now = conversations.forest()
    path = list(now.path(now.threads["main"].head))
    assert [turn.prompt for turn in path[:3]] == ["d", "c", "b"]
    assert [turn.has_thinking for turn in path[:3]] == [False, False, False]
    assert path[0].answer_text == four.answer_text
    assert [now.turns[each.id] for each in (one, two, three, four)] == [one, two, three, four]


def test_what_a_known_turn_contained_is_not_reported_as_missing() -> None:
    conversations = Conversations()
    turn = ask(conversations, "a", "a")
    cell = answered(turn)
    cell["outputs"][0]["metadata"]["claude_magic"]["turn"]["more"] = True

    known = conversations.forest().turns

    assert restore({"cells": [cell]}, prompt_of=prompt_of, known=known).notes == ()
    assert len(notes_on(cell)) == 1


def test_a_cell_that_asked_before_loading_continues_after_it() -> None:
    """It is the cell whose note explained how to load the notebook."""
    turn = ask(Conversations(), "one", "a")
    conversations = Conversations()
    ask(conversations, "What was that?", "b")

    restored = restore({"cells": [answered(turn)]}, prompt_of=prompt_of, known=conversations.forest().turns)
    conversations.adopt(restored.forest, forgets_cells=True)

    assert said(conversations, "b") == ["one"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
PLACES = st.lists(st.integers(0, 20), min_size=1, max_size=8)


FACTS = [
    "model",
    "prompt_sha256",
    "turn",
    "stop_reason",
    "status",
    "asked_at",
    "usage",
    "comparison",
    "exchanges",
    "piece_of",
]
TURN = ["id", "parent", "thread", "cell", "begins", "prompt", "more", "shown_sha256", "text", "start"]


@pytest.mark.parametrize("junk", [{}, [], ["x"], 1, -1, None, True, 1.5, "x" * 100_000, "\ud800"], ids=type)
@pytest.mark.parametrize(("part", "name"), [(0, name) for name in FACTS] + [(1, name) for name in TURN])
def test_any_value_in_a_field_of_the_metadata_is_ignored_or_used(part: int, name: str, junk: Any) -> None:
    """No field is expected to be text, a number or hashable."""
    cell = answered(ask(Conversations(), "one", "a"))
    facts = cell["outputs"][0]["metadata"]["claude_magic"]
    (facts, facts["turn"])[part][name] = junk

    assert len(restore({"cells": [cell]}, prompt_of=prompt_of, known={}).forest.turns) <= 1


@given(PLACES, JUNK)
def test_valid_parts_of_a_damaged_file_are_restored_without_an_error(places: list[int], junk: Any) -> None:
    """With any value in any place."""
    before = Conversations()
    cells = [answered(ask(before, each, each)) for each in "ab"]
    document: Any = {"cells": copy.deepcopy(cells)}
    at: Any = document["cells"]
    for place in places[:-1]:
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        if not keys or not isinstance(at[keys[place % len(keys)]], dict | list):
            break
        at = at[keys[place % len(keys)]]
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    if keys:
        at[keys[places[-1] % len(keys)]] = junk

    forest = restore(document, prompt_of=prompt_of, known={}).forest
    conversations = Conversations()
    conversations.adopt(forest, forgets_cells=True)

    assert len(said(conversations)) <= 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [("[]", "is not a notebook"), ("{", "is not a notebook"), (None, "There is no file")],
)
def test_a_file_that_is_not_a_notebook_is_an_error(tmp_path: Path, content: str | None, problem: str) -> None:
    """Of one line."""
    path = tmp_path / "talk.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=problem):
        read_notebook(path)


def in_outputs(turn: Turn, *pieces: str, question: str = "> b\n\n") -> list[dict[str, Any]]:
    """Return the outputs of a long answer, as a panel shows it."""
    shown = "".join(pieces)
    first, rest = in_pieces(turn_fields(turn, redact=str, text=shown, shown=shown), start=len(question))
    metadata = [{"model": turn.model, "turn": first}, *(rest for _ in pieces[1:])]
    return [
        {
            "output_type": "display_data",
            "data": {"text/markdown": [question + piece] if number == 0 else piece},
            "metadata": {"claude_magic": metadata[number]},
        }
        for number, piece in enumerate(pieces)
    ]


def test_an_answer_in_several_outputs_is_read_from_their_markdown() -> None:
    """Also between the outputs of another answer; edited, or with an output deleted, it is used as it is."""
    before = Conversations()
    one, two = ask(before, "a", None, thread="one"), ask(before, "b", None, thread="two")
    texts = [turn.answer_text for turn in (one, two)]
    first = in_outputs(one, texts[0][:3], texts[0][3:5], texts[0][5:], question="> a\n\n")
    second = in_outputs(two, texts[1][:4], texts[1][4:])
    assert all(text not in json.dumps([each["metadata"] for each in (*first, *second)]) for text in texts)
    panel = {
        "cell_type": "code",
        "id": "p",
        "source": "panel",
        "outputs": [first[0], second[0], *first[1:], second[1]],
    }

    assert [answer.text for answer in saved_answers({"cells": [panel]})] == texts
    assert notes_on(panel) == ()

    second[1]["data"]["text/markdown"] = " mine"
    assert [answer.text for answer in saved_answers({"cells": [panel]})] == [texts[0], texts[1][:4] + " mine"]
    panel["outputs"] = first[:2]
    (answer,) = saved_answers({"cells": [panel]})
    assert answer.text == texts[0][:5]
    assert notes_on(panel) == ("1 answer was edited in the file and is used as it is there.",)


def test_a_thread_with_a_name_that_is_no_longer_possible_is_restored_under_another() -> None:
    """Earlier versions took any name in Python."""
    before = Conversations()
    turns = [
        replace(ask(before, prompt, prompt, thread="side"), thread="my thread") for prompt in ("One", "Two")
    ]

    after = after_a_restart(*map(answered, turns))

    assert said(after, thread="my-thread") == ["One", "Two"]
    assert [each.name for each in after.threads()] == ["main", "my-thread"]
