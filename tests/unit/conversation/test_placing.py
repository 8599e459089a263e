"""The place of a cell's next turn."""

from __future__ import annotations

import pytest
from talks import ask, run_all, said

from claude_magic.conversation import Conversations


def test_turns_follow_one_another() -> None:
    """With or without cells."""
    conversations = Conversations()
    for prompt in ("one", "two"):
        ask(conversations, prompt)
    ask(conversations, "three", "c")

    assert said(conversations) == ["one", "two", "three"]


def test_a_second_run_all_builds_the_same_path() -> None:
    """Of new turns; the previous ones are kept."""
    conversations = Conversations()
    run_all(conversations, "abc")
    run_all(conversations, "abc", "2")

    assert said(conversations) == ["a2", "b2", "c2"]
    assert len(conversations.forest().turns) == 6


def test_running_a_cell_again_branches_in_its_place() -> None:
    """Its turn follows the cells above, and reports how many turns it leaves behind."""
    conversations = Conversations()
    run_all(conversations, "abcd")

    place = conversations.place(cell="b")
    assert (said(conversations, "b"), place.left_behind) == (["a"], 2)

    ask(conversations, "b2", "b")
    assert said(conversations) == ["a", "b2"]
    assert said(conversations, "c") == ["a", "b2"]
    assert conversations.place(cell="b").left_behind == 0


def test_an_edit_of_an_earlier_cell_takes_effect() -> None:
    """The parent is the current turn of the cell above."""
    conversations = Conversations()
    run_all(conversations, "abc")
    ask(conversations, "a2", "a")

    assert said(conversations, "b") == ["a2"]
    assert said(conversations, "c") == ["a", "b"], (
        "b has not been run again, so its present turn is the old one"
    )


def test_an_interrupted_first_run_continues_where_it_was() -> None:
    """Cells that have not asked continue at the head."""
    conversations = Conversations()
    run_all(conversations, "ab")
    run_all(conversations, "abcd", "2")

    assert said(conversations) == ["a2", "b2", "c2", "d2"]


def test_the_same_cell_twice_gives_two_answers_side_by_side() -> None:
    """Never one after the other."""
    conversations = Conversations()
    run_all(conversations, "a")
    for suffix in "23":
        ask(conversations, f"b{suffix}", "b")

    assert said(conversations) == ["a", "b3"]


def test_a_turn_that_followed_one_without_a_cell_follows_it_again() -> None:
    """For example the turn of a panel."""
    conversations = Conversations()
    ask(conversations, "from a panel")
    ask(conversations, "b", "b")

    assert said(conversations, "b") == ["from a panel"]


def ask_several(conversations: Conversations, count: int, run: str) -> None:
    """Ask several questions in one execution of a cell."""
    for number in range(count):
        ask(conversations, f"q{number}{run}", f"q#{number}" if number else "q")


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_a_cell_after_several_questions_follows_the_last_of_the_latest_run(count: int) -> None:
    """For any number of questions in the second run: a loop over another list is an edit of an earlier cell."""
    conversations = Conversations()
    run_all(conversations, "a")
    ask_several(conversations, 2, "")
    run_all(conversations, "e")

    run_all(conversations, "a", "'")
    ask_several(conversations, count, "'")

    assert said(conversations, "e") == ["a'", *(f"q{number}'" for number in range(count))]


def test_running_the_questions_of_a_cell_again_replaces_them_all() -> None:
    """They follow one another as before."""
    conversations = Conversations()
    for run in ("", "'"):
        run_all(conversations, "a", run)
        ask_several(conversations, 3, run)

    assert said(conversations) == ["a'", "q0'", "q1'", "q2'"]


def test_cell_ids_with_a_number_sign_are_kept_apart() -> None:
    """The ids of VS Code are URLs."""
    first, second = (
        "vscode-notebook-cell:/talk.ipynb#W0sZmlsZQ==",
        "vscode-notebook-cell:/talk.ipynb#W1sZmlsZQ==",
    )
    conversations = Conversations()
    for run in ("", "'"):
        ask(conversations, f"one{run}", first)
        ask(conversations, f"two{run}", second)
        ask(conversations, f"three{run}", f"{second}#1")

    assert said(conversations) == ["one'", "two'", "three'"]


def test_turns_that_leave_the_conversation_are_counted() -> None:
    """A cell that follows one that has not run again leaves the newer branch, and reports it."""
    conversations = Conversations()
    run_all(conversations, "abc")
    run_all(conversations, "ad", "'")

    place = conversations.place(cell="c")

    assert [turn["content"] for turn in conversations.messages(place)[::2]] == ["a", "b"]
    assert (place.left_behind, place.left_aside) == (0, 2)


def test_a_second_run_all_leaves_nothing_aside() -> None:
    """Nor does its first cell, which begins the conversation as before, if a later one began another."""
    conversations = Conversations()
    run_all(conversations, "ab")
    ask(conversations, "n", "n", is_new=True)
    run_all(conversations, "c")

    for cell in "abnc":
        place = conversations.place(cell=cell, is_new=cell == "n")
        assert place.left_aside == 0
        ask(conversations, cell, cell, is_new=cell == "n")


def test_threads_know_their_own_cells() -> None:
    """The same cell begins at the root in another thread."""
    conversations = Conversations()
    run_all(conversations, "ab")
    ask(conversations, "elsewhere", "b", thread="t")

    assert said(conversations) == ["a", "b"]
    assert said(conversations, "b", thread="t") == []


def test_new_begins_at_the_root_also_when_run_again() -> None:
    """Cells that follow continue from there."""
    conversations = Conversations()
    run_all(conversations, "a")
    for _ in range(2):
        ask(conversations, "b", "b", is_new=True)
        ask(conversations, "c", "c")

    assert said(conversations) == ["b", "c"]


def test_a_cell_without_its_new_option_continues_where_it_would_have() -> None:
    """Removing `--new` is an edit like any other."""
    conversations = Conversations()
    run_all(conversations, "a")
    ask(conversations, "b", "b", is_new=True)

    assert said(conversations, "b") == ["a"]
    run_all(conversations, "a", "'")
    assert said(conversations, "b") == ["a'"]
    assert said(conversations, "b", is_new=True) == []


@pytest.mark.parametrize(
    ("count", "cell", "expected"),
    [
        (1, "c", ["a", "b"]),
        (2, "c", ["a"]),
        (2, "b", ["a"]),
        (3, "b", []),
        (3, "a", []),
        (1, "b", ["a"]),
        (1, "new", ["a", "b"]),
    ],
)
def test_a_turn_that_was_taken_back_does_not_return(count: int, cell: str, expected: list[str]) -> None:
    """A cell that runs again continues from the nearest remaining ancestor."""
    conversations = Conversations()
    run_all(conversations, "abc")
    conversations.undo(count)

    assert said(conversations, cell) == expected


def test_a_turn_without_a_cell_that_was_taken_back_does_not_return_either() -> None:
    """Nor in a thread that shares it with another one in which it was not taken back."""
    conversations = Conversations()
    run_all(conversations, "a")
    ask(conversations, "from a panel")
    conversations.fork("idea")
    for thread in (None, "idea"):
        ask(conversations, "b", "b", thread=thread)
    conversations.undo(2)

    assert said(conversations, "b") == ["a"]
    assert said(conversations, "b", thread="idea") == ["a", "from a panel"]


def test_a_run_all_after_undo_is_in_order() -> None:
    """Each cell follows the one above it."""
    conversations = Conversations()
    run_all(conversations, "abc")
    conversations.undo(2)
    run_all(conversations, "abc", "'")

    assert said(conversations) == ["a'", "b'", "c'"]
