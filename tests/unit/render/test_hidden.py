"""Invisible characters and bidirectional controls are shown as escapes, except those that ordinary text needs."""

from __future__ import annotations

import ast
import io
import re
from html import unescape

import pytest
from snapshots import HERE, snapshot

from claude_magic.display import AnswerContent
from claude_magic.display._surface import TerminalSurface
from claude_magic.render import (
    Column,
    Exchange,
    LiveFrames,
    neutralise_markdown,
    render_comparison,
    render_question,
    render_reply,
    render_transcript,
)
from claude_magic.render._answer import render_thinking
from claude_magic.render._frame import GrowingMarkdown
from claude_magic.render._markdown import render_markdown
from claude_magic.render._tex import Allowance
from claude_magic.schema import escape_hidden, hidden_in, reveal

HIDDEN = {
    "override": "\u202e",
    "left-to-right override": "\u202d",
    "embedding": "\u202b",
    "isolate": "\u2066",
    "first strong isolate": "\u2068",
    "end of isolate": "\u2069",
    "mark of direction": "\u200f",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "invisible times": "\u2062",
    "byte order mark": "\ufeff",
    "tag": "\U000e0041",
    "variation selector": "\U000e0101",
    "hangul filler": "\u3164",
    "soft hyphen": "\xad",
    "escape": "\x1b",
    "backspace": "\x08",
    "delete": "\x7f",
    "control sequence": "\x9b",
    "annotation": "\ufff9",
    "musical": "\U0001d173",
    "deprecated": "\u206a",
}
KEPT = [
    "مرحبا بالعالم، هذا نص عربي.",
    "می\u200cخواهم بدانم",
    "שלום עולם\u200f!",
    "الإصدار \u2066Python 3.11\u2069 جديد",
    "גרסה \u200eC++\u200e של",
    "👩\u200d🔬 👨\u200d👩\u200d👧\u200d👦 ❤\ufe0f 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "क्\u200dष और श्\u200cर",
    "ภาษา\u200bไทย",
    "葛\U000e0100城市",
    "Donau\xaddampf\xadschiff",
    "e\u0301 ñ 日本語 한국어 \N{NO-BREAK SPACE}x\u202f%",
    "tab\there\nline",
]
CODE = "if access {sign}!= 'user':  # {sign}check\n    pass"
SIGNS = pytest.mark.parametrize("name", HIDDEN)


@SIGNS
def test_a_hidden_character_is_shown_in_code_and_in_prose(name: str) -> None:
    """In every rendering of an answer; none is left in it."""
    sign = HIDDEN[name]
    text = f"Take {sign}care, `a {sign}b`:\n\n```python\nx = 1  # {sign}y\n```\n\n- a [l{sign} m](https://e.org 't {sign}')\n\n    indented {sign}code\n"
    reply = snapshot(("text", text))
    columns = [Column(name="opus", kept_in="out", answer=reply)]
    growing = GrowingMarkdown()
    for length in range(0, len(text), 7):
        growing.update(text[:length])
    bundle = render_reply(reply)

    pictures = [
        render_markdown(text),
        render_thinking(text, allowance=Allowance()),
        render_question(f"a {sign}b"),
        neutralise_markdown(text),
        "".join(block.html for block in growing.update(text, is_final=True).blocks),
        "".join(LiveFrames().slots(reply, 0.0)),
        *bundle.data.values(),
        *render_comparison(columns).data.values(),
        *(
            value
            for each in render_transcript(Exchange(question="?", answer=reply), **HERE)
            for value in each.data.values()
        ),
        *(
            value
            for answer_format in ("text", "code", "math", "html", "json")
            for value in render_reply(snapshot(("text", text), format=answer_format)).data.values()
        ),
    ]

    assert [picture for picture in pictures if sign in picture] == []
    assert reveal(sign) in bundle.data["text/html"]
    assert f"U+{ord(sign):04X}" in bundle.data["text/html"]
    assert "invisible characters" in bundle.data["text/html"]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_odd_ends_of_lines_are_shown_in_code_only(sign: str) -> None:
    """Some languages end a line at them, but other programs and readers see none; in prose they act as spaces."""
    html = render_markdown(f"a{sign}b\n\n```js\n// c{sign}d()\n```")

    assert html.count(sign) == 1
    assert sign not in escape_hidden(f"# c{sign}d()")
    assert reveal("a\x0cb\r\n", is_code=True) == "a\x0cb\r\n"


@SIGNS
def test_a_terminal_gets_no_hidden_character(name: str) -> None:
    """Escape sequences and bidirectional controls are shown, not interpreted."""
    stream = io.StringIO()

    TerminalSurface(stream, AnswerContent(remote_images=False)).finish(
        snapshot(("text", f"a {HIDDEN[name]}[31m b"))
    )

    assert HIDDEN[name] not in stream.getvalue()
    assert "invisible characters" in stream.getvalue()


@SIGNS
def test_code_for_a_new_cell_has_escapes_that_mean_the_same(name: str) -> None:
    """In a Python string, only the notation changes."""
    sign = HIDDEN[name]
    code = f"x = 'a {sign} b'  # {sign}\n"

    shown = escape_hidden(code)

    assert sign not in shown
    assert ast.literal_eval(ast.parse(shown).body[0].value) == f"a {sign} b"  # type: ignore[attr-defined]
    assert shown.isascii()


@pytest.mark.parametrize("text", KEPT)
def test_what_people_write_is_not_harmed(text: str) -> None:
    """Emoji, Arabic, Hebrew, Persian, Indic and Thai text, variation selectors, soft hyphens."""
    assert reveal(text) == text
    assert text in unescape(render_markdown(text)) or "\t" in text
    assert render_reply(snapshot(("text", text))).data["text/plain"] == text
    assert "invisible characters" not in render_reply(snapshot(("text", text))).data["text/html"]


@pytest.mark.parametrize("text", [each for each in KEPT if not re.search("[\u200e\u200f\u2066\u2069]", each)])
def test_strings_in_code_are_not_harmed_either(text: str) -> None:
    """Except for bidirectional controls, which code does not need."""
    assert reveal(f"x = '{text}'", is_code=True) == f"x = '{text}'"
    assert escape_hidden(f"x = '{text}'") == f"x = '{text}'"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("שלום \u2066 עולם", 1),
        ("\u2069שלום", 1),
        ("\u2066a\u2069 latin", 2),
        ("עולם \u202eabc\u202c", 2),
        ("a\u200bb", 1),
        ("a\u200db", 1),
        ("👩\u200d", 1),
        ("a\U000e0067\U000e007f", 2),
        ("שלום\n\u2066abc\u2069", 2),
    ],
)
def test_what_is_needed_elsewhere_is_shown_where_it_is_not(text: str, left: int) -> None:
    """Unclosed or unnecessary ones, each of them."""
    assert len(hidden_in(text)) == left


def test_very_many_hidden_characters_are_bounded_by_what_was_written() -> None:
    """Each becomes only a few visible characters."""
    text = "\u202e" * 100_000

    assert len(reveal(text)) == 8 * len(text)
    assert len(render_markdown(f"```\n{text}\n```")) < 10 * len(text)


def test_a_formula_with_hidden_characters_is_shown_as_source() -> None:
    """They could reverse the text next to it."""
    html = render_markdown("$a \u202e b$")

    assert "mathjax_process" not in html
    assert "U+202E" in html
