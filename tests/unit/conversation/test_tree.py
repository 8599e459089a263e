"""The tree of turns: where a cell's next turn goes, and that nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ConfigurationError
from claude_magic.conversation import Conversations, Turn, fingerprint

PLAIN = fingerprint(None, [])


def ask(
    conversations: Conversations,
    prompt: str,
    cell: str | None = None,
    *,
    thread: str | None = None,
    start_new: bool = False,
    thinks: bool = False,
    binding: str = PLAIN,
) -> Turn:
    """Ask and answer in a cell."""
    place = conversations.place(thread=thread, cell=cell, start_new=start_new)
    content: list[dict[str, Any]] = [{"type": "text", "text": f"answer to {prompt}"}]
    if thinks:
        content.insert(0, {"type": "thinking", "thinking": "", "signature": "x"})
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}]
    return conversations.add(place, prompt=prompt, messages=messages, model="m", fingerprint=binding)


def said(conversations: Conversations, cell: str | None = None, **where: Any) -> list[str]:
    """The user's words that would go before the next question of a cell."""
    place = conversations.place(cell=cell, **where)
    return [turn["content"] for turn in conversations.messages(place) if turn["role"] == "user"]


def run_all(conversations: Conversations, cells: str, suffix: str = "") -> None:
    for cell in cells:
        ask(conversations, cell + suffix, cell)


def test_turns_follow_one_another() -> None:
    """Without cells as with them."""
    conversations = Conversations()
    for prompt in ("one", "two"):
        ask(conversations, prompt)
    ask(conversations, "three", "c")

    assert said(conversations) == ["one", "two", "three"]


def test_a_second_run_all_builds_the_same_path() -> None:
    """Of new turns throughout; the former ones stay."""
    conversations = Conversations()
    run_all(conversations, "abc")
    run_all(conversations, "abc", "2")

    assert said(conversations) == ["a2", "b2", "c2"]
    assert len(conversations.forest().turns) == 6


def test_running_a_cell_again_branches_in_its_place() -> None:
    """It sees what stood above it, and says how many turns it leaves behind."""
    conversations = Conversations()
    run_all(conversations, "abcd")

    place = conversations.place(cell="b")
    assert (said(conversations, "b"), place.left_behind) == (["a"], 2)

    ask(conversations, "b2", "b")
    assert said(conversations) == ["a", "b2"]
    assert said(conversations, "c") == ["a", "b2"]
    assert conversations.place(cell="b").left_behind == 0


def test_an_edit_further_up_counts() -> None:
    """The parent is what the cell above says now."""
    conversations = Conversations()
    run_all(conversations, "abc")
    ask(conversations, "a2", "a")

    assert said(conversations, "b") == ["a2"]
    assert said(conversations, "c") == ["a", "b"], (
        "b has not been run again, so its present turn is the old one"
    )


def test_a_first_run_that_was_interrupted_goes_on_where_it_was() -> None:
    """Cells that never asked come after the head."""
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
    """A panel's turn, say."""
    conversations = Conversations()
    ask(conversations, "from a panel")
    ask(conversations, "b", "b")

    assert said(conversations, "b") == ["from a panel"]


def test_threads_know_their_own_cells() -> None:
    """The same cell in another thread begins there."""
    conversations = Conversations()
    run_all(conversations, "ab")
    ask(conversations, "elsewhere", "b", thread="t")

    assert said(conversations) == ["a", "b"]
    assert said(conversations, "b", thread="t") == []


def test_new_begins_at_the_root_also_when_run_again() -> None:
    """And cells that follow go on from there."""
    conversations = Conversations()
    run_all(conversations, "a")
    for _ in range(2):
        ask(conversations, "b", "b", start_new=True)
        ask(conversations, "c", "c")

    assert said(conversations) == ["b", "c"]


def test_undo_goes_back_and_keeps() -> None:
    """The next question goes on from the parent."""
    conversations = Conversations()
    run_all(conversations, "abc")

    assert [turn.prompt for turn in conversations.undo(2)] == ["c", "b"]
    ask(conversations, "d", "d")

    assert said(conversations) == ["a", "d"]
    assert len(conversations.forest().turns) == 4
    assert [turn.prompt for turn in conversations.undo(9)] == ["d", "a"]
    assert conversations.undo() == []


def test_a_fork_goes_on_from_where_it_began() -> None:
    """Both threads share what came before; a name that is taken is refused."""
    conversations = Conversations()
    run_all(conversations, "ab")
    conversations.fork("idea")
    ask(conversations, "c", "c", thread="idea")

    assert said(conversations, thread="idea") == ["a", "b", "c"]
    assert said(conversations) == ["a", "b"]
    with pytest.raises(ConfigurationError, match="thread idea already"):
        conversations.fork("idea")


def test_clear_forgets_what_no_other_thread_goes_on_from() -> None:
    """For good: nothing of it is in the tree, and its cells begin anew."""
    conversations = Conversations()
    run_all(conversations, "ab")
    conversations.fork("idea")
    run_all(conversations, "cd")

    assert conversations.clear() == 2
    assert said(conversations, "a") == []
    assert said(conversations, thread="idea") == ["a", "b"]
    assert conversations.clear("idea") == 2
    assert conversations.forest().turns == {}


def test_thinking_of_another_system_prompt_is_told() -> None:
    """From the first turn on whose thinking is bound to another one, for good on that branch."""
    conversations = Conversations()
    other = fingerprint("Be brief.", [])
    ask(conversations, "one", thinks=True)

    def is_rebound(binding: str) -> bool:
        return conversations.binding(conversations.place(), fingerprint=binding)

    assert (is_rebound(PLAIN), is_rebound(other)) == (False, True)
    ask(conversations, "two", binding=other)
    assert (is_rebound(PLAIN), is_rebound(other)) == (True, True)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from("abcde"), st.sampled_from([None, "t"])),
            st.tuples(st.just("undo"), st.integers(1, 3)),
            st.tuples(st.just("new"), st.sampled_from("abcde")),
        ),
        max_size=30,
    )
)
def test_whatever_is_done_nothing_is_lost_and_every_path_is_whole(steps: list[tuple[Any, ...]]) -> None:
    """Turns stay, paths end at roots without going in circles, and hold the very objects that were added."""
    conversations = Conversations()
    added: list[Turn] = []
    for number, step in enumerate(steps):
        if step[0] == "undo":
            conversations.undo(step[1])
        else:
            thread = step[2] if step[0] == "ask" else None
            added.append(ask(conversations, str(number), step[1], thread=thread, start_new=step[0] == "new"))

    forest = conversations.forest()
    assert [*forest.turns.values()] == added
    for turn in added:
        path = list(forest.path(turn.id))
        assert len({each.id for each in path}) == len(path) <= len(added)
        assert path[-1].parent is None


@given(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), st.integers(1, 4))
def test_every_run_all_has_the_shape_of_the_first(cells: list[str], runs: int) -> None:
    """However often."""
    conversations = Conversations()
    for run in range(runs):
        run_all(conversations, "".join(cells), str(run))

    assert said(conversations) == [f"{cell}{runs - 1}" for cell in cells]
