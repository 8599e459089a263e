"""A conversation for people who see it later: on a web page, or in a notebook whose kernel is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from ..runtime import ReplySnapshot
from ..schema import reveal
from ._answer import render_thinking
from ._markdown import parse_blocks, render_markdown
from ._neutralise import neutralise_markdown
from ._reply import Bundle, render_footer, render_reply
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import ATTACHED, QUESTION, STATUS_LINE
from ._tex import Allowance

TRANSCRIPT_CLASS: Final = "claude-magic-transcript"
"""By it a panel that lives finds the transcript beside it, and hides it."""

SECTION_CHARS: Final = 15_000
"""A browser sets the formulas of an output in one go, during which nobody can type; so a long answer becomes several."""


QUESTION_CHARS: Final = 20_000
"""Of what was asked; a file that somebody has pasted is sent whole, and not shown whole."""

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")
"""As the parser counts them; Python's own `splitlines` knows more ends of lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer.

    Attributes:
        question: The user's words.
        attached: The names of what was attached.
        answer: The answer, as far as it has come.
    """

    question: str
    attached: tuple[str, ...] = ()
    answer: ReplySnapshot


def render_question(question: str, attached: Sequence[str] = ()) -> str:
    """Return the HTML of what the user asked: the words as they were typed, and the names of what went with them."""
    names = " · ".join(attached)
    below = f'<div style="{ATTACHED}">Attached: {escape(names, quote=False)}</div>' if names else ""
    shown = reveal(_shortened(question.strip()))
    words = f'<div style="{QUESTION}">{escape(shown, quote=False)}{below}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{words}</div>')


def render_transcript(exchange: Exchange, *, remote_images: bool = False) -> list[Bundle]:
    """Return an exchange as outputs of moderate size, from top to bottom, each as HTML and as Markdown."""
    question = render_question(exchange.question, exchange.attached)
    sections = list(_sections(exchange.answer, remote_images=remote_images))
    sections[0] = (question + sections[0][0], f"{_quote(exchange.question)}\n\n{sections[0][1]}")
    return [
        Bundle({"text/html": f'<div class="{TRANSCRIPT_CLASS}">{html}</div>', "text/markdown": markdown}, {})
        for html, markdown in sections
    ]


def _sections(answer: ReplySnapshot, *, remote_images: bool) -> Iterator[tuple[str, str]]:
    """Yield the answer as HTML and Markdown: in one piece, but for long ones that are nothing but text."""
    kinds = {block.kind for block in answer.blocks}
    is_plain = answer.format == "md" and kinds <= {"text", "thinking"}
    if not is_plain or len(answer.text) <= SECTION_CHARS or any(block.data for block in answer.blocks):
        bundle = render_reply(answer, remote_images=remote_images)
        yield bundle.data["text/html"], bundle.data["text/markdown"]
        return
    pieces = _cut(answer.text)
    allowance = Allowance()
    thinking = render_thinking(answer.thinking, allowance=allowance)
    for index, piece in enumerate(pieces):
        html = render_markdown(piece, remote_images=remote_images, allowance=allowance)
        if index == 0:
            html = thinking + html
        if index == len(pieces) - 1:
            html += render_footer(answer)
        yield html, neutralise_markdown(piece)


def _cut(text: str) -> list[str]:
    """Cut Markdown where a top-level block begins, into pieces that are no longer than need be."""
    lines = _LINE.findall(text)
    starts = [
        token.map[0] for token in parse_blocks(text) if token.level == 0 and token.nesting >= 0 and token.map
    ]
    pieces: list[str] = []
    begin = 0
    for start, end in pairwise([*starts, len(lines)]):
        if start > begin and sum(map(len, lines[begin:end])) > SECTION_CHARS:
            pieces.append("".join(lines[begin:start]))
            begin = start
    return [*pieces, "".join(lines[begin:])]


def _quote(text: str) -> str:
    """Return the user's own words as a Markdown quotation of literal text."""
    return "\n".join(f"> {line}" for line in neutralise_markdown(_shortened(text)).splitlines()) or ">"


def _shortened(question: str) -> str:
    """Cut a question that nobody can read; all of it was sent."""
    cut = len(question) - QUESTION_CHARS
    return f"{question[:QUESTION_CHARS]} … {cut:,} more characters" if cut > 0 else question


def render_state(state: str, answer: ReplySnapshot, *, remote_images: bool = False) -> Bundle:
    """Return the answer with the state above it, as `n = 3`; a view that lives hides it, as it does a transcript."""
    bundle = render_reply(answer, remote_images=remote_images)
    line = sanitise(
        f'<div class="{NO_MATH_CLASSES}"><div style="{STATUS_LINE}">{escape(state, quote=False)}</div></div>'
    )
    data = {
        "text/html": f'<div class="{TRANSCRIPT_CLASS}">{line}{bundle.data["text/html"]}</div>',
        "text/markdown": f"{neutralise_markdown(state)}\n\n{bundle.data['text/markdown']}",
        "text/plain": f"{state}\n\n{bundle.data['text/plain']}",
    }
    return Bundle(data, bundle.metadata)
