"""The tree of turns: undo, fork, clear, switch, and the binding of thinking."""

from __future__ import annotations

import threading

import pytest
from talks import PLAIN, ask, run_all, said

from claude_magic.client import ConfigurationError
from claude_magic.conversation import Conversations, fingerprint_of
from claude_magic.conversation._tree import Cleared


def test_undo_goes_back_and_keeps_the_turn() -> None:
    """The next question continues from the parent."""
    conversations = Conversations()
    run_all(conversations, "abc")

    assert [turn.prompt for turn in conversations.undo(2)] == ["c", "b"]
    ask(conversations, "d", "d")

    assert said(conversations) == ["a", "d"]
    assert len(conversations.forest().turns) == 4
    assert [turn.prompt for turn in conversations.undo(9)] == ["d", "a"]
    assert conversations.undo() == []


def test_a_fork_continues_from_its_beginning() -> None:
    """Both threads share the earlier turns; a name in use is refused."""
    conversations = Conversations()
    run_all(conversations, "ab")
    conversations.fork("idea")
    ask(conversations, "c", "c", thread="idea")

    assert said(conversations, thread="idea") == ["a", "b", "c"]
    assert said(conversations) == ["a", "b"]
    with pytest.raises(ConfigurationError, match="thread idea already"):
        conversations.fork("idea")


def test_the_cell_that_made_a_fork_may_make_it_again() -> None:
    """So that a second Run All works; previous turns of the fork stay in the tree."""
    conversations = Conversations()
    for run in ("", "'"):
        run_all(conversations, "ab", run)
        conversations.fork("idea", cell="f")
        ask(conversations, f"c{run}", "c", thread="idea")

    assert said(conversations, thread="idea") == ["a'", "b'", "c'"]
    assert len(conversations.forest().turns) == 6
    with pytest.raises(ConfigurationError, match="thread idea already"):
        conversations.fork("idea", cell="another")


def test_clear_deletes_turns_that_no_other_thread_continues_from() -> None:
    """They leave the tree, and their cells begin again."""
    conversations = Conversations()
    run_all(conversations, "ab")
    conversations.fork("idea")
    run_all(conversations, "cd")

    assert conversations.clear() == Cleared(forgotten=2, kept=2)
    assert said(conversations, "a") == []
    assert said(conversations, thread="idea") == ["a", "b"]
    assert conversations.clear("idea") == Cleared(forgotten=2, kept=0)
    assert conversations.forest().turns == {}


def test_an_answer_that_arrives_after_undo_restores_its_ancestors() -> None:
    """It is the last turn, so that all its ancestors are part of the conversation."""
    conversations = Conversations()
    run_all(conversations, "ab")
    place = conversations.place(cell="c")
    conversations.undo()
    conversations.add(
        place, prompt="c", messages=[{"role": "user", "content": "c"}], model="m", fingerprint=PLAIN
    )

    assert said(conversations) == said(conversations, "new") == ["a", "b", "c"]
    assert said(conversations, "c") == ["a", "b"]


def test_a_name_whose_turns_were_all_taken_back_is_still_in_use() -> None:
    """The turns are in the tree, and would be mixed with those of another conversation."""
    conversations = Conversations()
    ask(conversations, "one", thread="idea")
    conversations.undo(thread="idea")

    with pytest.raises(ConfigurationError, match="clear idea"):
        conversations.fork("idea")

    conversations.clear("idea")
    assert conversations.fork("idea").turns == 0


def test_an_answer_to_a_conversation_that_was_cleared_meanwhile_begins_a_new_one() -> None:
    """Its thinking is bound to deleted turns, which the next request must report."""
    conversations = Conversations()
    run_all(conversations, "a")
    place = conversations.place(cell="b")
    conversations.clear()

    turn = conversations.add(
        place, prompt="b", messages=[{"role": "user", "content": "b"}], model="m", fingerprint=PLAIN
    )

    assert turn.parent is None
    assert said(conversations) == ["b"]
    assert conversations.is_rebound(conversations.place(), PLAIN)


def test_a_forked_process_does_not_wait_for_a_lock_of_its_parent() -> None:
    """The thread that held the lock does not exist there."""
    conversations = Conversations()
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with conversations._lock:
            is_held.set()
            may_go.wait(120)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(120)

    conversations.reset_lock()  # as the child does
    run_all(conversations, "a")

    may_go.set()
    holder.join(120)
    assert said(conversations) == ["a"]


def test_thinking_of_another_system_prompt_is_reported() -> None:
    """For good on that branch, from the first turn whose thinking is bound to another one."""
    conversations = Conversations()
    other = fingerprint_of("Be brief.", [])
    ask(conversations, "one", thinks=True)

    def is_rebound(fingerprint: str) -> bool:
        return conversations.is_rebound(conversations.place(), fingerprint)

    assert (is_rebound(PLAIN), is_rebound(other)) == (False, True)
    ask(conversations, "two", fingerprint=other)
    assert (is_rebound(PLAIN), is_rebound(other)) == (True, True)


def test_no_turn_continues_from_one_beside_the_conversation() -> None:
    """Several answers to one question have the same place; the thread continues from the one that is not beside."""
    conversations = Conversations()
    ask(conversations, "a", "a")
    for run in ("1", "2"):
        places = [
            conversations.place(cell="b", is_side_branch=True),
            conversations.place(cell="b"),
        ]
        assert {place.parent for place in places} == {conversations.forest().threads["main"].cells["a"]}
        beside = ask(conversations, f"beside {run}", "b", is_side_branch=True)
        ask(conversations, f"b {run}", "b")
        ask(conversations, f"c {run}", "c")

    assert said(conversations) == ["a", "b 2", "c 2"]
    assert beside.id in conversations.forest().turns
    assert len(conversations.forest().turns) == 7
    assert conversations.place(cell="b", is_side_branch=True).left_behind == 0
    assert conversations.place(cell="b").left_behind == 1


def test_a_thread_returns_to_the_same_question_of_its_last_cell() -> None:
    """In the same place, and only while no turn has continued from the cell."""
    conversations = Conversations()
    ask(conversations, "a", "a")
    for prompt in ("three", "seven"):
        ask(conversations, prompt, "b")
    three = {"role": "user", "content": "three"}
    assert conversations.ends_in("b")
    assert not conversations.ends_in("a")

    conversations.return_to(three, cell="b")
    assert said(conversations) == ["a", "three"]
    conversations.return_to({"role": "user", "content": "never asked"}, cell="b")
    assert said(conversations) == ["a", "three"]

    ask(conversations, "c", "c")
    conversations.return_to({"role": "user", "content": "seven"}, cell="b")
    assert said(conversations) == ["a", "three", "c"]
    assert not conversations.ends_in("b")
    assert len(conversations.forest().turns) == 4


def test_a_cell_that_has_not_asked_ends_no_thread() -> None:
    """Nor does a cell without a key, or one in an unknown thread."""
    conversations = Conversations()
    ask(conversations, "a", None)

    assert not conversations.ends_in(None)
    assert not conversations.ends_in("a")
    assert not conversations.ends_in("a", thread="elsewhere")


def test_a_thread_switches_to_a_later_state_and_back() -> None:
    """After an earlier cell has run again, the number in the place leads back."""
    conversations = Conversations()
    run_all(conversations, "abcd")
    place = conversations.place(cell="b")
    ask(conversations, "b again", "b")

    assert (place.left_behind, place.left_head) == (2, 4)
    turn, previous = conversations.switch(4)

    assert (turn.prompt, previous) == ("d", 5)
    assert said(conversations) == ["a", "b", "c", "d"]
    assert said(conversations, "c") == ["a", "b"], "cells ask in the places that they have on this way"
    conversations.switch(previous)
    assert said(conversations) == ["a", "b again"]
    assert said(conversations, "c") == ["a", "b again"]


def test_a_thread_switches_to_a_turn_beside_it_or_taken_back() -> None:
    """To the answer of another model, or to a turn that `undo` removed."""
    conversations = Conversations()
    ask(conversations, "one", "a")
    ask(conversations, "by another model", "b", is_side_branch=True)
    ask(conversations, "two", "b")
    conversations.undo()

    conversations.switch(2)
    assert said(conversations) == ["one", "by another model"]
    conversations.switch(3)
    assert said(conversations) == ["one", "two"]
    assert said(conversations, "c") == ["one", "two"]


def test_later_questions_of_an_execution_are_kept_apart_by_a_switch() -> None:
    """A state in which a cell had asked twice has both questions again."""
    conversations = Conversations()
    for key in ("a", "loop", "loop#1"):
        ask(conversations, key, key)
    ask(conversations, "loop once", "loop")

    conversations.switch(3)

    assert said(conversations) == ["a", "loop", "loop#1"]
    assert said(conversations, "loop") == ["a"]
    assert said(conversations, "loop#1") == ["a", "loop"]


def test_a_switch_moves_only_the_thread_of_the_turn() -> None:
    conversations = Conversations()
    ask(conversations, "one")
    conversations.fork("idea")
    ask(conversations, "two", thread="idea")
    ask(conversations, "three", thread="idea")

    turn, previous = conversations.switch(2)

    assert (turn.thread, previous) == ("idea", 3)
    assert said(conversations, thread="idea") == ["one", "two"]
    assert said(conversations) == ["one"]


def test_an_unknown_number_is_an_error_and_changes_nothing() -> None:
    """The message names the command that lists the numbers."""
    conversations = Conversations()
    ask(conversations, "one")

    with pytest.raises(ConfigurationError, match=r"There is no turn 7: %claude history shows"):
        conversations.switch(7)
    assert said(conversations) == ["one"]


@pytest.mark.parametrize("name", ["", " ", "one two", "-x", ".x", "a/b", "x\n", 5])
def test_a_thread_has_a_name_of_one_word(name: str) -> None:
    """For a question and for a fork, so that `--thread` and panels can continue each thread. Nothing is changed."""
    conversations = Conversations()

    for act in (lambda: conversations.place(thread=name), lambda: conversations.fork(name)):
        with pytest.raises(
            ConfigurationError, match="cannot be the name of a thread: it is one word of letters"
        ):
            act()

    assert [each.name for each in conversations.threads()] == ["main"]
