"""The tree of turns: where a cell's next turn goes, and that nothing is lost."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ConfigurationError
from claude_magic.conversation import Cleared, Conversations, Turn, fingerprint

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


def ask_several(conversations: Conversations, count: int, run: str) -> None:
    """Ask several questions in one execution of a cell."""
    for number in range(count):
        ask(conversations, f"q{number}{run}", f"q#{number}" if number else "q")


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_what_follows_a_cell_of_several_questions_follows_the_last_of_its_latest_run(count: int) -> None:
    """However many it asks the second time: a loop over another list is an edit further up."""
    conversations = Conversations()
    run_all(conversations, "a")
    ask_several(conversations, 2, "")
    run_all(conversations, "e")

    run_all(conversations, "a", "'")
    ask_several(conversations, count, "'")

    assert said(conversations, "e") == ["a'", *(f"q{number}'" for number in range(count))]


def test_running_the_questions_of_a_cell_again_replaces_them_all() -> None:
    """They follow one another as they did."""
    conversations = Conversations()
    for run in ("", "'"):
        run_all(conversations, "a", run)
        ask_several(conversations, 3, run)

    assert said(conversations) == ["a'", "q0'", "q1'", "q2'"]


def test_ids_of_cells_that_hold_a_number_sign_stay_apart() -> None:
    """As those of VS Code do: they are addresses."""
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


def test_what_is_no_part_of_the_conversation_any_more_is_counted() -> None:
    """A cell that goes on after one that has not been run again leaves the newer branch, and says so."""
    conversations = Conversations()
    run_all(conversations, "abc")
    run_all(conversations, "ad", "'")

    place = conversations.place(cell="c")

    assert [turn["content"] for turn in conversations.messages(place)[::2]] == ["a", "b"]
    assert (place.left_behind, place.left_aside) == (0, 2)


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


def test_a_cell_that_does_not_begin_anew_any_more_goes_on_where_it_would_have() -> None:
    """Taking `--new` away again is an edit like any other."""
    conversations = Conversations()
    run_all(conversations, "a")
    ask(conversations, "b", "b", start_new=True)

    assert said(conversations, "b") == ["a"]
    run_all(conversations, "a", "'")
    assert said(conversations, "b") == ["a'"]
    assert said(conversations, "b", start_new=True) == []


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
def test_what_was_taken_back_does_not_return(count: int, cell: str, expected: list[str]) -> None:
    """A cell whose turn was taken back goes on at the head, as one that never asked."""
    conversations = Conversations()
    run_all(conversations, "abc")
    conversations.undo(count)

    assert said(conversations, cell) == expected


def test_a_run_all_after_undo_is_in_order() -> None:
    """Each cell comes after the one above it."""
    conversations = Conversations()
    run_all(conversations, "abc")
    conversations.undo(2)
    run_all(conversations, "abc", "'")

    assert said(conversations) == ["a'", "b'", "c'"]


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


def test_the_cell_that_made_a_fork_makes_it_again() -> None:
    """So that a second Run All passes it; what the fork held before stays in the tree."""
    conversations = Conversations()
    for run in ("", "'"):
        run_all(conversations, "ab", run)
        conversations.fork("idea", cell="f")
        ask(conversations, f"c{run}", "c", thread="idea")

    assert said(conversations, thread="idea") == ["a'", "b'", "c'"]
    assert len(conversations.forest().turns) == 6
    with pytest.raises(ConfigurationError, match="thread idea already"):
        conversations.fork("idea", cell="another")


def test_clear_forgets_what_no_other_thread_goes_on_from() -> None:
    """For good: nothing of it is in the tree, and its cells begin anew."""
    conversations = Conversations()
    run_all(conversations, "ab")
    conversations.fork("idea")
    run_all(conversations, "cd")

    assert conversations.clear() == Cleared(forgotten=2, kept=2)
    assert said(conversations, "a") == []
    assert said(conversations, thread="idea") == ["a", "b"]
    assert conversations.clear("idea") == Cleared(forgotten=2, kept=0)
    assert conversations.forest().turns == {}


def test_a_name_whose_turns_were_all_taken_back_is_still_taken() -> None:
    """They are in the tree, and would be mixed with those of another conversation."""
    conversations = Conversations()
    ask(conversations, "one", thread="idea")
    conversations.undo(thread="idea")

    with pytest.raises(ConfigurationError, match="clear idea"):
        conversations.fork("idea")

    conversations.clear("idea")
    assert conversations.fork("idea").turns == 0


def test_an_answer_to_a_conversation_that_was_cleared_meanwhile_begins_a_new_one() -> None:
    """Its thinking is bound to what is gone, which the next request has to say."""
    conversations = Conversations()
    run_all(conversations, "a")
    place = conversations.place(cell="b")
    conversations.clear()

    turn = conversations.add(
        place, prompt="b", messages=[{"role": "user", "content": "b"}], model="m", fingerprint=PLAIN
    )

    assert turn.parent is None
    assert said(conversations) == ["b"]
    assert conversations.binding(conversations.place(), fingerprint=PLAIN)


def test_a_forked_process_does_not_wait_for_a_lock_of_its_parent() -> None:
    """The thread that held it does not exist there."""
    conversations = Conversations()
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with conversations._lock:
            is_held.set()
            may_go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(20)

    conversations.reset_lock()  # as the child does
    run_all(conversations, "a")

    may_go.set()
    holder.join(20)
    assert said(conversations) == ["a"]


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


CELLS = st.sampled_from(["a", "b", "c", "c#1", "c#2", None])
THREADS = st.sampled_from([None, "t", "fork"])
STEPS = st.one_of(
    st.tuples(st.just("ask"), CELLS, THREADS),
    st.tuples(st.just("new"), CELLS, THREADS),
    st.tuples(st.just("undo"), st.integers(1, 3), THREADS),
    st.tuples(st.just("fork"), st.none(), THREADS),
)


def take(conversations: Conversations, step: tuple[Any, ...], prompt: str) -> list[Turn]:
    """Do one thing, and return the turns that it adds."""
    what, detail, thread = step
    if what == "undo":
        conversations.undo(detail, thread=thread)
    elif what == "fork":
        with contextlib.suppress(ConfigurationError):
            conversations.fork("fork", thread=thread)
    else:
        return [ask(conversations, prompt, detail, thread=thread, start_new=what == "new")]
    return []


@given(st.lists(STEPS, max_size=40))
def test_whatever_is_done_nothing_is_lost_and_every_path_is_whole(steps: list[tuple[Any, ...]]) -> None:
    """Turns stay, paths end at roots without going in circles, and hold the very objects that were added."""
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
def test_a_place_is_what_becomes_of_it(
    steps: list[tuple[Any, ...]], cell: str | None, thread: str | None
) -> None:
    """What is said before a question is what its turn stands on, message by message the same objects."""
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
