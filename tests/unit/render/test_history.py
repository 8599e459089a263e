"""The tree of turns: sent turns, branches, and limits on its size."""

from __future__ import annotations

import re

import pytest

from claude_magic.conversation import Conversations
from claude_magic.render import render_history

LEGEND = "● is sent with the next question of its thread, ○ is on another branch: %claude switch N continues from turn N."


def ask(conversations: Conversations, prompt: str, cell: str | None = None, **changes: object) -> None:
    """Ask and answer; `changes` are fields of the turn, or `thread` and `is_new` of its place."""
    where = {name: changes.pop(name) for name in ("thread", "is_new") if name in changes}
    place = conversations.place(cell=cell, **where)  # type: ignore[arg-type]
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Yes."}]
    fields = {"model": "claude-sonnet-5-5", "fingerprint": "f", **changes}
    conversations.add(place, prompt=prompt, messages=messages, **fields)  # type: ignore[arg-type]


def tree(conversations: Conversations, thread: str | None = None) -> list[str]:
    """Return the questions in the plain text, with the names of threads after an arrow."""
    text = render_history(conversations.forest(), thread).data["text/plain"]
    lines = text.replace("\N{NO-BREAK SPACE}", " ").splitlines()[1:-2]
    questions = [line[len("turn  ") :] for line in lines]
    return [re.sub(r"\s{2,}(claude\S*)?\s*", " > ", line).removesuffix(" > ") for line in questions]


def test_no_turns_is_said_in_words() -> None:
    """Instead of an empty table."""
    bundle = render_history(Conversations().forest())

    assert bundle.data["text/plain"] == "No turns yet: the next question starts the conversation."
    assert "<table" not in bundle.data["text/html"]


def test_branches_stand_beside_the_way_to_the_head() -> None:
    """A previous answer and its continuation, at the turn where the branches part."""
    conversations = Conversations()
    for prompt, cell in (("one", "a"), ("two", "b"), ("three", "c"), ("two again", "b"), ("three", "c")):
        ask(conversations, prompt, cell)

    assert tree(conversations) == [
        "● one",
        "├ ○ two",
        "│ ○ three",
        "● two again",
        "● three > main",
    ]


def test_each_turn_has_its_number() -> None:
    """In order of creation, on all branches, as `switch` accepts it; numbers of deleted turns are not reused."""
    conversations = Conversations()
    for prompt, cell in (("one", "a"), ("two", "b"), ("two again", "b")):
        ask(conversations, prompt, cell)
    ask(conversations, "elsewhere", thread="idea")
    conversations.clear("idea")
    ask(conversations, "three", "c")

    text = render_history(conversations.forest()).data["text/plain"].replace("\N{NO-BREAK SPACE}", " ")

    assert [line.split()[0] for line in text.splitlines()[1:-2]] == ["1", "2", "3", "5"]
    for number, prompt in ((1, "one"), (2, "two"), (3, "two again"), (5, "three")):
        assert conversations.turn(number).prompt == prompt


def test_conversations_started_with_new_are_separate() -> None:
    """With a blank line between them."""
    conversations = Conversations()
    ask(conversations, "one")
    ask(conversations, "two")
    ask(conversations, "new", is_new=True)

    assert tree(conversations) == ["○ one", "○ two", "", "● new > main"]


def test_one_thread_is_shown_with_what_it_goes_on_from() -> None:
    """Without other threads."""
    conversations = Conversations()
    ask(conversations, "one")
    conversations.fork("idea")
    ask(conversations, "two")
    ask(conversations, "another way", thread="idea")

    assert tree(conversations, "idea") == ["● one", "● another way > idea"]
    assert tree(conversations) == ["● one", "├ ● two > main", "● another way > idea"]


def test_model_tokens_and_broken_answers_are_reported() -> None:
    """With a legend for the symbols."""
    conversations = Conversations()
    ask(conversations, "one", context_tokens=12_345, is_partial=True)

    text = render_history(conversations.forest()).data["text/plain"]

    assert text.splitlines()[0].split() == ["turn", "question", "model", "context", "thread"]
    assert text.splitlines()[1].split() == [
        "1",
        "●",
        "one",
        "(broke",
        "off)",
        "claude-sonnet-5-5",
        "12,345",
        "main",
    ]
    assert text.endswith(LEGEND)


@pytest.mark.parametrize("prompt", ["word " * 1000, "first line\n\n\nsecond line " * 100])
def test_long_prompts_are_cut_to_one_line(prompt: str) -> None:
    """To about 70 characters."""
    conversations = Conversations()
    ask(conversations, prompt)

    (line,) = tree(conversations)

    assert "…" in line
    assert len(line) < 90


def test_a_long_history_shows_its_beginning_and_its_end() -> None:
    """With the number of turns left out."""
    conversations = Conversations()
    for number in range(500):
        ask(conversations, f"question {number}", f"cell-{number}")

    lines = tree(conversations)

    assert len(lines) < 100
    assert lines[0] == "● question 0"
    assert lines[-1] == "● question 499 > main"
    (gap,) = [line for line in lines if "turns" in line]
    assert gap == "… 420 turns …"


def test_deep_branches_stay_on_the_screen() -> None:
    """The indentation is limited."""
    conversations = Conversations()
    ask(conversations, "root", "r")
    for number in range(40):
        conversations.fork(f"t{number}", thread=f"t{number - 1}" if number else None)
        ask(conversations, f"left {number}", thread=f"t{number - 1}" if number else None)
        ask(conversations, f"right {number}", thread=f"t{number}")

    assert max(len(line) for line in tree(conversations)) < 60


def test_prompts_are_text_and_nothing_else() -> None:
    """No markup, links or formulas."""
    conversations = Conversations()
    ask(conversations, '<img src=x onerror="alert(1)"> <script>x</script> $5 to $6 [x](javascript:1)')

    html = render_history(conversations.forest()).data["text/html"]

    assert "<img" not in html
    assert "<script" not in html
    assert "href" not in html
    assert "mathjax_ignore" in html
