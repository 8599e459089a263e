"""Transcripts of panels: complete, safe, and in outputs of moderate size."""

from __future__ import annotations

import re

import pytest
from hostile import HOSTILE
from snapshots import HERE, snapshot, turn

from claude_magic.conversation import OUTPUT_KEY
from claude_magic.render import (
    TRANSCRIPT_CLASS,
    Exchange,
    LiveFrames,
    render_approval,
    render_earlier,
    render_question,
    render_transcript,
)
from claude_magic.render._reply import SECTION_CHARS, _cut
from claude_magic.runtime import Phase

SECTION = "## Part @\n\nSome words with $x_@$ in them.\n\n- one\n- two\n\n```python\nprint(@)\n```\n\n"
LONG = "".join(SECTION.replace("@", str(number)) for number in range(900))


def test_question_and_answer_stand_in_one_output() -> None:
    """With the texts of both, the names of attachments, and the footer, as HTML and Markdown."""
    exchange = Exchange(
        question="What is *this*?", attached=("data.csv",), answer=snapshot(("text", "A **table**."))
    )

    (bundle,) = render_transcript(exchange, **HERE)

    assert set(bundle.data) == {"text/html", "text/markdown"}
    html = bundle.data["text/html"]
    assert html.startswith(f'<div class="{TRANSCRIPT_CLASS}">')
    for words in ("What is *this*?", "Attached: data.csv", "<strong>table</strong>", "claude-sonnet-5-5"):
        assert words in html
    assert "**table**" in bundle.data["text/markdown"]


def test_a_long_answer_becomes_several_outputs_that_hold_all_of_it() -> None:
    """Split between blocks, each of moderate size; the footer is only at the end."""
    bundles = render_transcript(Exchange(question="All?", answer=snapshot(("text", LONG))), **HERE)

    assert len(bundles) > 3
    for number in (0, 450, 899):
        assert sum(f"Part {number}</h2>" in bundle.data["text/html"] for bundle in bundles) == 1
    assert [("tokens&nbsp;in" in bundle.data["text/html"]) for bundle in bundles] == [False] * (
        len(bundles) - 1
    ) + [True]
    assert all(len(bundle.data["text/markdown"]) < 2 * SECTION_CHARS for bundle in bundles)


@pytest.mark.parametrize("text", ["", "one line", "\n\n" + LONG, LONG.replace("\n", "\r\n"), "x" * 40_000])
def test_pieces_joined_are_the_text(text: str) -> None:
    """Splitting loses nothing."""
    pieces = _cut(text)

    assert "".join(pieces) == text
    assert pieces


@pytest.mark.parametrize("payload", HOSTILE)
def test_a_hostile_question_is_shown_as_text(payload: str) -> None:
    """Pasted text may come from anywhere."""
    html = render_question(payload, [payload])

    assert set(re.findall(r"<(\w+)", html)) <= {"div", "blockquote", "br"}
    assert "mathjax_process" not in html


def without_styles(html: str) -> str:
    """Return HTML as on a site that allows neither styles nor classes."""
    return re.sub(r' (style|class)="[^"]*"', "", html)


def test_a_transcript_reads_well_without_its_styles() -> None:
    """The question is a quotation with its line breaks, and the answer is below it."""
    exchange = Exchange(
        question="Sort this:\nb\na", attached=("poem.txt",), answer=snapshot(("text", "a, b"))
    )

    (bundle,) = render_transcript(exchange, **HERE)
    html = without_styles(bundle.data["text/html"])

    assert "<blockquote>Sort this:<br>b<br>a<div>Attached: poem.txt</div></blockquote>" in html
    assert html.index("</blockquote>") < html.index("a, b")
    assert "<style" not in html


@pytest.mark.parametrize("text", ["Short.", LONG])
def test_a_line_says_where_another_thread_begins(text: str) -> None:
    """Above the question. It is no part of the answer that a notebook restores."""
    answer = snapshot(("text", text), turn=turn("And now?", text, id="2"))
    plain, divided = (
        render_transcript(Exchange(question="And now?", answer=answer, threads=threads), **HERE)
        for threads in (None, ("panel-1", "main"))
    )

    line = "Above: thread panel-1. From here on: thread main."
    html, markdown = divided[0].data["text/html"], divided[0].data["text/markdown"]
    assert html.index(line) < html.index("And now?")
    assert markdown.replace("\\", "") == f"{line}\n\n{plain[0].data['text/markdown']}".replace("\\", "")
    starts = [bundles[0].metadata[OUTPUT_KEY]["turn"].get("start") for bundles in (plain, divided)]
    assert starts == [None, None] or markdown[starts[1] :] == plain[0].data["text/markdown"][starts[0] :]


def test_turns_before_a_panel_are_folded_under_their_number() -> None:
    """The last few are shown, with a line on how to see the others; "1 turn" is singular, and without turns there is
    nothing."""
    turns = [turn(f"Question {number}?", f"**Answer {number}.**") for number in range(30)]

    html = render_earlier("main", turns, remote_images=False)

    assert html.startswith("<details")
    assert "main · 30 earlier turns</summary>" in html
    assert "20 more: %claude history main" in html
    assert "Question 19?" not in html
    assert html.index("Question 20?") < html.index("<strong>Answer 20.</strong>") < html.index("Question 29?")
    assert "main · 1 earlier turn</summary>" in render_earlier("main", turns[:1], remote_images=False)
    assert render_earlier("main", [], remote_images=False) == ""


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_turns_before_a_panel_are_shown_as_text(payload: str) -> None:
    """Names of threads, questions and answers."""
    html = render_earlier(
        payload,
        [turn(payload, payload, is_partial=is_partial) for is_partial in (False, True)],
        remote_images=False,
    )

    assert not re.search(r"<(script|iframe|style|img|svg|object|form)\b", html)
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r'"[^"]*"', "", html))


def test_a_call_that_is_asked_about_keeps_every_blank() -> None:
    """The user must see exactly what is allowed, including white space in arguments."""
    assert "white-space:pre-wrap" in render_approval("write(text='a\n    b')")


def test_an_answer_that_failed_shows_why() -> None:
    """A transcript includes incomplete answers, with the reason."""
    answer = snapshot(("text", "Half of"), phase=Phase.CANCELLED, stop_reason=None)

    (bundle,) = render_transcript(Exchange(question="Go on.", answer=answer), **HERE)

    assert "Half of" in bundle.data["text/html"]
    assert "Interrupted" in bundle.data["text/html"]


def test_the_last_picture_keeps_the_blocks_that_were_shown() -> None:
    """At the end of an answer, only its tail is sent again."""
    picture = LiveFrames()
    shown: list[str] = []
    for length in range(0, len(LONG), 2_000):
        shown = picture.slots(snapshot(("text", LONG[:length]), phase=Phase.STREAMING, stop_reason=None), 0.0)

    last = picture.last_slots(snapshot(("text", LONG)))

    assert len(last) > 10
    assert last[: len(shown) - 2] == shown[:-2]
    assert "print(899)" not in "".join(shown)
