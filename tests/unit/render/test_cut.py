"""An answer that was stopped, broke off or reached a limit: it is shown without half-written marks, and kept with them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from snapshots import HERE, snapshot, turn

from claude_magic.client import ClaudeError
from claude_magic.render import (
    Column,
    Exchange,
    LiveFrames,
    render_comparison,
    render_earlier,
    render_footer,
    render_reply,
    render_state,
    render_transcript,
)
from claude_magic.render._markdown import close_open_marks
from claude_magic.runtime import BlockSnapshot, Phase, ReplySnapshot

CUT_TEXTS: Final = {
    "bold": ("some **bold te", "some bold te"),
    "bold that has just begun": ("some **", "some"),
    "bold before a space": ("some **bold ", "some bold"),
    "bold in a list": ("- one\n- **two", "one two"),
    "bold around code": ("some **bold `co", "some bold co"),
    "code span": ("call `f(x", "call f(x"),
    "code span that has just begun": ("call `", "call"),
    "power in a code span": ("call `2**3", "call 2**3"),
    "fence": ("so\n\n```python\nx = '**", "so x = '**"),
    "half of the closing fence": ("so\n\n```python\nx = 1\n``", "so x = 1"),
    "fence that has just begun": ("so\n\n``", "so"),
    "table head": ("| a | b", "a b"),
    "delimiter row": ("| a | b |\n|--", "a b"),
    "bold in a table head": ("| a | **b", "a b"),
    "table row": ("| a | b |\n|---|---|\n| 1 | **2", "a b 1 2"),
    "table row that has just begun": ("| a | b |\n|---|---|\n| 1 | 2 |\n|", "a b 1 2"),
    "list item": ("- one\n- ", "one"),
    "numbered item": ("1. one\n2. two\n3", "one two"),
    "heading": ("so\n\n##", "so"),
    "underline": ("so\n-", "so"),
    "label of a link": ("see [the do", "see the do"),
    "address of a link": ("see [the docs](https://exa", "see the docs"),
    "address with brackets": ("see [Gulls](https://example.org/Gull_(bi", "see Gulls"),
    "title of a link": ("see [the docs](https://example.org 'All of th", "see the docs"),
    "image": ("see ![a gull](https://exa", "see a gull"),
    "formula": ("so $x = \\frac{1", "so $x = \\frac{1"),
    "display formula": ("so\n\n$$\nx = \\frac{1\n$", "so $$ x = \\frac{1"),
}
"""What had come of an answer, and what is read of it."""

WHOLE_TEXTS: Final = {
    "number": ("42", "42"),
    "number after words": ("The answer is:\n\n42", "The answer is: 42"),
    "number after a list": ("1. one\n2. two\n\nIn all:\n\n3", "one two In all: 3"),
    "marks alone": ("+=", "+="),
    "index": ("the first is x[0]", "the first is x[0]"),
    "half an index": ("the first is x[i", "the first is x[i"),
    "reference": ("as in [1]", "as in [1]"),
    "rule in code": ("```\na\n---", "a ---"),
    "row in code": ("```\n\n| a | b", "| a | b"),
    "number in code": ("```\n3\n2\n1", "3 2 1"),
}
"""What may be all that was asked for, although more was to come."""

ENDINGS: Final[dict[str, dict[str, Any]]] = {
    "stopped": {"phase": Phase.CANCELLED, "stop_reason": None},
    "broke off": {"phase": Phase.FAILED, "stop_reason": None, "error": ClaudeError("x")},
    "max_tokens": {"stop_reason": "max_tokens"},
    "context window": {"stop_reason": "model_context_window_exceeded"},
}
CUT: Final = ENDINGS["stopped"]
LONG: Final = "A paragraph of some words.\n\n" * 1_000


def visible(html: str) -> str:
    """Return the text of HTML, as it is read."""
    text = re.sub(r"<[^>]*>", "", html).replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">")
    return " ".join(text.split())


def words_of(html: str, answer: ReplySnapshot) -> str:
    """Return the text of an answer without its footer."""
    return visible(html).removesuffix(visible(render_footer(answer, kept_in="claude.last"))).rstrip()


def last_frame(text: str) -> str:
    """Return what is shown of the last frame before an answer is cut."""
    growing = snapshot(("text", text), phase=Phase.STREAMING, stop_reason=None)
    return visible("".join(LiveFrames().slots(growing, 0.0)))


@pytest.mark.parametrize("name", CUT_TEXTS)
def test_an_answer_that_was_cut_looks_as_in_its_last_frame(name: str) -> None:
    """In each way of drawing, and in every kind of mark."""
    text, expected = CUT_TEXTS[name]
    answer = snapshot(("text", text), **CUT)
    frames = LiveFrames()
    frames.slots(dataclasses.replace(answer, phase=Phase.STREAMING), 0.0)

    assert last_frame(text) == expected
    assert visible("".join(frames.last_slots(answer))) == expected
    assert words_of(render_reply(answer).data["text/html"], answer) == expected


@pytest.mark.parametrize("name", WHOLE_TEXTS)
def test_no_word_of_an_answer_that_was_cut_is_held_back(name: str) -> None:
    """A short limit may leave just the number that was asked for."""
    text, expected = WHOLE_TEXTS[name]
    answer = snapshot(("text", text), **CUT)

    assert words_of(render_reply(answer).data["text/html"], answer) == expected


@pytest.mark.parametrize("text", [text for text, _ in (CUT_TEXTS | WHOLE_TEXTS).values()])
def test_what_is_kept_of_an_answer_that_was_cut_is_as_it_came(text: str) -> None:
    """As plain text, as Markdown, from which a notebook restores the conversation, and in the reply."""
    cut, whole = snapshot(("text", text), **CUT), snapshot(("text", text))

    for kind in ("text/plain", "text/markdown"):
        assert render_reply(cut).data[kind] == render_reply(whole).data[kind]
    assert render_reply(cut).data["text/plain"] == cut.text == text


@pytest.mark.parametrize("text", ["a **b", "a `b", "a [b](c", "a\n|", "| a | b"])
@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", None])
def test_an_answer_that_is_whole_is_shown_as_it_is(text: str, stop_reason: str | None) -> None:
    """Nobody knows better than the model what it meant."""
    answer = snapshot(("text", text), stop_reason=stop_reason)

    assert words_of(render_reply(answer).data["text/html"], answer) != last_frame(text)


def earlier(answer: ReplySnapshot) -> str:
    """Return the answer as a panel shows it that continues its conversation."""
    is_partial = answer.phase is not Phase.COMPLETE or answer.stop_reason == "max_tokens"
    return render_earlier("main", [turn("Go on.", answer.text, is_partial=is_partial)], remote_images=False)


DRAWINGS: Final[dict[str, Callable[[ReplySnapshot], str]]] = {
    "cell": lambda answer: render_reply(answer).data["text/html"],
    "widgets": lambda answer: "".join(LiveFrames().last_slots(answer)),
    "columns": lambda answer: render_comparison(
        [Column(name="m", kept_in="claude.last", answer=answer)]
    ).data["text/html"],
    "controls": lambda answer: render_state("n = 1", answer, **HERE).data["text/html"],
    "transcript": lambda answer: render_transcript(Exchange(question="Go on.", answer=answer), **HERE)[
        -1
    ].data["text/html"],
    "earlier turns": earlier,
}


@pytest.mark.parametrize("ending", ["stopped", "broke off", "max_tokens"])
@pytest.mark.parametrize("length", [0, 20_000])
@pytest.mark.parametrize("name", DRAWINGS)
def test_each_place_that_shows_an_answer_closes_its_marks(name: str, length: int, ending: str) -> None:
    """However it was cut, and however long it is; the last of a long one's earlier turns are shortened."""
    text = f"{LONG[:length]}\n\nsome **bold and [a link](https://exa"

    html = DRAWINGS[name](snapshot(("text", text), **ENDINGS[ending]))

    if name == "earlier turns" and length:
        assert "…" in html
    else:
        assert "<strong>bold and a link</strong>" in html
    assert "exa" not in visible(html)


def test_earlier_turns_that_are_shortened_have_no_half_marks() -> None:
    """They are cut in the middle of a word, too."""
    html = earlier(snapshot(("text", f"{'x' * 14_990} **{'y' * 20_000}**")))

    assert visible(html).endswith("yyyyy…")
    assert "<strong>yyy" in html
    assert "**" not in html


def test_only_the_end_of_an_answer_is_cut() -> None:
    """A text before a call is whole, and so is one whose later thinking was cut."""
    call = BlockSnapshot(kind="server_tool_use", text="", is_complete=False, data={"name": "web_search"})
    text = snapshot(("text", "5 **")).blocks
    answers = (
        snapshot(**CUT),
        dataclasses.replace(snapshot(**CUT), blocks=(*text, call)),
        snapshot(("text", "5 **"), ("thinking", "so **fa"), **CUT),
        snapshot(("text", f"{LONG}5 **"), ("thinking", "so **fa"), **CUT),
    )

    for answer in answers[1:]:
        for drawing in (DRAWINGS["cell"], DRAWINGS["widgets"], DRAWINGS["transcript"]):
            assert "5 **" in drawing(answer)
    assert "so <strong>fa</strong>" in DRAWINGS["cell"](answers[2])
    assert visible(DRAWINGS["widgets"](answers[0])) == ""


def test_citations_of_an_answer_that_was_cut_stay_in_place() -> None:
    """The number stands behind what it is about, within the bold words that were not closed."""
    cited = {"url": "https://example.org/a", "title": "A"}
    block = BlockSnapshot(kind="text", text="so **it is", is_complete=True, data={"citations": [cited]})
    answer = dataclasses.replace(snapshot(**CUT), blocks=(block,))

    html = render_reply(answer).data["text/html"]

    assert re.search(r"<strong>it is<sup[^>]*><a[^>]*>\[1\]</a></sup></strong>", html)


@pytest.mark.parametrize("end", ["\n", " \n\n"])
def test_blank_lines_at_the_end_do_not_keep_marks_open(end: str) -> None:
    """A closing mark stands behind a word."""
    assert close_open_marks(f"some **bold{end}", is_cut=True) == f"some **bold**{end}"


def test_addresses_full_of_brackets_take_no_time() -> None:
    """They are read once."""
    text = "[a](" + "(x" * 50_000 + " !"

    assert close_open_marks(text, is_cut=True) == text
