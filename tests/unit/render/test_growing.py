"""A growing answer: finished blocks do not change, the tail follows, and the work is linear."""

from __future__ import annotations

import re

import pytest
from answers import ANSWER, CONSTRUCTS
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_magic.render import _frame
from claude_magic.render._frame import MAX_BLOCKS, BlockPlan, GrowingMarkdown
from claude_magic.render._markdown import render_markdown

LONG = "\n".join(f"# Part {number}\n\n{ANSWER}" for number in range(60))

# Texts composed of pieces of Markdown that affect each other, in any order.
PIECES = st.sampled_from(
    (
        *(
            "a",
            "b c",
            "\n",
            "\n\n",
            "- ",
            "1. ",
            "> ",
            "    ",
            "# ",
            "```",
            "~~~",
            "$$",
            "$",
            "\\[",
            "\\]",
            "|",
            "|-|",
        ),
        *(
            "---",
            "===",
            "**",
            "`",
            "[x]",
            "(https://e.org)",
            "[x]: https://e.org",
            "\\begin{align}",
            "\\end{align}",
        ),
        *("\r\n", "\r", "\t", "<b>"),
    )
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)


def source_of(plan: BlockPlan) -> str:
    """Return the text of a plan."""
    return "".join(block.source for block in plan.blocks)


def html_of(plan: BlockPlan) -> str:
    """Return the HTML of all blocks as one, without the wrappers."""
    return without_wrappers("".join(block.html for block in plan.blocks))


def without_wrappers(html: str) -> str:
    """Return HTML without the containers that differ between one rendering and several, and without line breaks."""
    return re.sub(r'<div class="mathjax_ignore tex2jax_ignore">|</div>|\s+', "", html)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, steps=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_finished_blocks_never_change_and_nothing_is_lost(text: str, steps: list[int]) -> None:
    """For any text in any pieces: the blocks contain exactly the text, and a finished one does not change."""
    growing = GrowingMarkdown()
    finished: tuple[_frame.Block, ...] = ()
    position = turn = 0
    while position < len(text):
        position += steps[turn % len(steps)]
        turn += 1

        plan = growing.update(text[:position])

        assert source_of(plan) == text[:position]
        assert plan.finished[: len(finished)] == finished
        finished = plan.finished


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_the_blocks_together_look_like_the_whole(text: str) -> None:
    """The split at block boundaries is not visible, except for link definitions after their use."""
    growing = GrowingMarkdown()
    for length in range(0, len(text), 3):
        growing.update(text[:length])

    plan = growing.update(text, is_final=True)

    if "]:" not in text:
        assert html_of(plan) == without_wrappers(render_markdown(text))


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_each_construct_is_cut_only_where_it_ends(name: str) -> None:
    """Rendered character by character, each construct ends up as if rendered at once."""
    text = f"{'Before. ' * 200}\n\n{CONSTRUCTS[name]}"
    growing = GrowingMarkdown()
    for length in range(len(text)):
        growing.update(text[:length])

    plan = growing.update(text, is_final=True)

    expected = render_markdown(text)
    if name == "definition":  # used before it is defined: only the final rendering can resolve it
        expected = expected.replace(
            '<a href="https://example.org/1" target="_blank" rel="noopener noreferrer">it</a>', ""
        )
        assert without_wrappers(expected).endswith(html_of(plan)[-80:])
    else:
        assert html_of(plan) == without_wrappers(expected)


@pytest.mark.parametrize("max_blocks", [20, MAX_BLOCKS, 70])
@pytest.mark.parametrize("length", [10_000, 50_000, 150_000])
def test_an_answer_of_any_length_needs_no_more_displays_than_lab_shows(length: int, max_blocks: int) -> None:
    """There are at most so many blocks including the tail, and a long answer uses several of them."""
    text = (LONG * (length // len(LONG) + 1))[:length]
    growing = GrowingMarkdown(max_blocks=max_blocks)
    for position in range(0, length, max(200, length // 150)):
        plan = growing.update(text[:position])

    assert 3 < len(plan.finished) + 1 <= max_blocks


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "- item\n" * 2_000,
        "```python\n" + "x = 1\n" * 2_000,
        "word " * 3_000,
        "| a |\n|---|\n" + "| 1 |\n" * 2_000,
    ],
    ids=["everything", "one list", "one block of code", "one line", "one table"],
)
def test_the_work_is_linear_in_the_length_of_the_answer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the answer in twice the pieces renders at most about twice the characters."""
    rendered: list[int] = []
    monkeypatch.setattr(_frame, "render_fragment", lambda source, env: rendered.append(len(source)) or "")
    monkeypatch.setattr(_frame, "close_open_marks", lambda source, **_: source)

    def work(length: int) -> int:
        rendered.clear()
        growing = GrowingMarkdown()
        for position in range(0, length, 100):
            growing.update(text[:position])
        return sum(rendered)

    half, whole = work(len(text) // 2), work(len(text))

    assert whole <= 2.5 * half
    assert whole <= 120 * len(text)


def test_a_text_that_is_not_a_continuation_starts_over() -> None:
    """The answer of a retry replaces the previous text."""
    growing = GrowingMarkdown()
    growing.update(LONG[:20_000])

    plan = growing.update("Another answer.")

    assert plan.finished == ()
    assert "Another answer." in plan.tail.html


def test_nothing_yet_is_shown_as_nothing() -> None:
    """An empty text has no blocks and an empty tail."""
    plan = GrowingMarkdown().update("")

    assert (plan.finished, plan.tail.source, plan.tail.html) == ((), "", "")


def test_a_definition_reaches_the_blocks_after_it() -> None:
    """Reference links work across separately rendered blocks."""
    growing = GrowingMarkdown()
    text = "[home]: https://example.org\n\n" + "word " * 400 + "\n\n" + "word " * 400 + "\n\n[home] again\n"
    for length in range(0, len(text), 50):
        growing.update(text[:length])

    plan = growing.update(text)

    assert len(plan.finished) >= 1
    assert '<a href="https://example.org"' in plan.tail.html


@pytest.mark.parametrize(
    ("so_far", "shown", "not_shown"),
    [
        ("para\n-", "<p>para</p>", "<h2>"),
        ("para\n==", "<p>para</p>", "="),
        ("para\n\n1", "<p>para</p>", "1"),
        ("some **bold te", "<strong>bold te</strong>", "**"),
        ("some **bold*", "<strong>bold</strong>", "*"),
        ("a `code", "<code>code</code>", "`"),
        ("a [link](https://exa", "a link", "exa"),
        ("a [li", "a li", "["),
        ("a ![pic](https://exa", "a pic", "exa"),
        ("text\n\n``", "<p>text</p>", "`"),
        ("```python\nx = '**", "**", "`"),
        ("```python\nx\n``", "x", "`"),
        ("| a | b", "<table", "|"),
        ("| a | b |\n|--", "<table", "|"),
        ("so\n\n$$\nx = \\frac{1", "x = \\frac{1", "mathjax_process"),
        ("so \\(x = ", "(x =", "mathjax_process"),
    ],
)
def test_half_written_marks_do_not_flicker(so_far: str, shown: str, not_shown: str) -> None:
    """Incomplete syntax is shown as what it will most likely become, or held back briefly."""
    html = GrowingMarkdown().update(so_far).tail.html
    visible = html.replace('<div class="mathjax_ignore tex2jax_ignore">', "")

    assert shown in visible
    assert (
        not_shown not in re.sub(r"<[^>]*>", "", visible)
        if not not_shown.startswith("<")
        else not_shown not in visible
    )
    assert "mathjax_process" not in visible


def test_the_end_of_the_answer_is_shown_as_it_is() -> None:
    """In the final text nothing is held back or completed."""
    plan = GrowingMarkdown().update("para\n\n**open and [half", is_final=True)

    assert "**open and [half" in plan.tail.html


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, steps=st.lists(st.integers(1, 30), min_size=1, max_size=9))
def test_blocks_only_ever_become_more(text: str, steps: list[int]) -> None:
    """Each block has a separate display, and a display cannot be removed."""
    growing = GrowingMarkdown()
    filler = "Words that fill a paragraph, and another one after it.\n\n" * 30
    count = position = turn = 0
    text = text + filler + text
    while position < len(text):
        position += steps[turn % len(steps)] * 20
        turn += 1

        blocks = growing.update(text[:position]).blocks

        assert len(blocks) >= count
        count = len(blocks)


def test_what_is_sent_with_each_frame_stays_short() -> None:
    """For a long answer of short blocks, the tail is never longer than the size at which closed blocks are moved."""
    growing = GrowingMarkdown()
    longest = 0
    text = "A paragraph of some words, with $x^2$ in it.\n\n" * 1000
    for position in range(50, len(text), 50):
        longest = max(longest, len(growing.update(text[:position]).tail.source))

    assert longest < 1_000 + 100


FORMULAS = "Some words, $x_1$ and $y_1$.\n\n$$z_1 = 1$$\n\n- with $a_1$\n- and $b_1$\n\n" * 40
SET = "mathjax_process"


def test_a_formula_is_shown_as_its_source_until_its_block_is_whole() -> None:
    """Otherwise a front end would typeset it again with each new word."""
    growing = GrowingMarkdown()

    shown = growing.update("Words before.\n\nThen $x^2$ and $y^2$, and more of")

    assert SET not in shown.tail.html
    assert "x^2" in shown.tail.html
    assert growing.update("Words before.\n\nThen $x^2$ and $y^2$.", is_final=True).tail.html.count(SET) == 2


@pytest.mark.parametrize("block", ["$$\nx = 1\n$$\n", "# A heading with $x$\n"])
def test_a_block_that_ends_by_itself_does_not_wait_for_the_next_one(block: str) -> None:
    """Later lines cannot belong to it."""
    plan = GrowingMarkdown(max_blocks=None).update(block)

    assert [SET in each.html for each in plan.finished] == [True]


def test_in_pieces_each_formula_is_drawn_once() -> None:
    """Closed blocks are finished immediately, and the tail contains no formulas."""
    growing = GrowingMarkdown(max_blocks=None)

    for position in range(0, len(FORMULAS), 7):
        plan = growing.update(FORMULAS[:position])
        assert SET not in plan.pending.html + plan.tail.html
    plan = growing.update(FORMULAS, is_final=True)

    assert source_of(plan) == FORMULAS
    assert sum(each.html.count(SET) for each in plan.blocks) == 5 * 40


def test_pieces_do_not_become_more_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a certain number on, their size grows."""
    monkeypatch.setattr(_frame, "MAX_PIECES", 20)
    growing = GrowingMarkdown(max_blocks=None)

    for position in range(0, len(FORMULAS), 50):
        plan = growing.update(FORMULAS[:position])

    assert 20 < len(plan.finished) < 20 + len(FORMULAS) / 1_000


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, steps=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_pieces_hold_the_text_and_stay_as_they_are(text: str, steps: list[int]) -> None:
    """Like blocks."""
    growing = GrowingMarkdown(max_blocks=None)
    finished: tuple[_frame.Block, ...] = ()
    position = turn = 0
    while position < len(text):
        position += steps[turn % len(steps)]
        turn += 1

        plan = growing.update(text[:position])

        assert source_of(plan) == text[:position]
        assert plan.finished[: len(finished)] == finished
        finished = plan.finished
    if "]:" not in text:
        assert html_of(growing.update(text, is_final=True)) == without_wrappers(render_markdown(text))
