r"""Makes Markdown harmless for front ends that render `text/markdown` themselves.

JupyterLab executes raw HTML in the Markdown of a new output, so the Markdown must contain none. The changes are small.
Outside of code and formulas, a `<` that could open a tag becomes `&lt;`, links to other schemes than http, https and
mailto are escaped, and `![` becomes `\![`, which turns an image into a link. An invisible character after the
backslash disables commands that are not allowed in formulas, because parsers differ in what they treat as a formula.
Code blocks are fenced again, so that all parsers see the same blocks. In other code, where parsers may differ, tags
that could have an effect are escaped too.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from html import unescape
from typing import Any, Final

from markdown_it.token import Token

from ..context import fence_around
from ..schema import reveal
from ._markdown import VERBATIM, MarkdownBlock, is_linkable, new_env, split_blocks
from ._syntax import find_formula, with_invisible_marks, with_newlines
from ._tex import WORD_JOINER, Allowance, is_too_much, is_unsafe_command

_TAG_START: Final = re.compile(r"<(?=[A-Za-z/!?])")
_HARMLESS_TAG: Final = re.compile(r"<(?:br ?/?|(?:https?://|mailto:)[^\s<>\"'`]*)>", re.IGNORECASE)
_BLANK_LINE: Final = re.compile(r"\n[ \t]*\n")
_MARK: Final = re.compile(r"[\\$<]|`+|!\[|\]\(|\]:|[*~]+")
_DESTINATION: Final = re.compile(r"\s*<?\s*([^\s)>]{0,2000})")
# The beginnings of HTML, a link or an image for parsers without formulas. A space is added, which has no meaning in a
# formula.
_MARKUP_IN_FORMULA: Final = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:])|!(?=\[)")
_FORMULA_MARK: Final = re.compile(r"\$\$|\\[\[\]]|\\(?=begin|end)")
# What MathJax treats as the start of a formula in rendered text.
_LONE_MARK: Final = re.compile(r"\\\\[(\[]|\\?\$|\\begin")
_ROW_START: Final = re.compile(r"^([\s>]*)")
# Other parsers take the rest for prose.
_VERBATIM: Final = VERBATIM.keys() - {"math_open", "plain_text"}
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9_+#.\-]*")

# A tag in code that is harmless even if a parser treats it as HTML: it has no attribute values, and is none of these
# elements.
_IDLE_TAG: Final = re.compile(r"</?([A-Za-z][\w:.\-]*)[^<>=]*>")
_ACTIVE_ELEMENT_NAMES: Final = """
    a applet area audio base body button embed form frame frameset head html iframe image img input link
    marquee math meta noembed noframes noscript object plaintext portal script select style svg template
    textarea title video xmp
"""
_ACTIVE_ELEMENTS: Final = frozenset(_ACTIVE_ELEMENT_NAMES.split())


def neutralise_markdown(text: str) -> str:
    """Return Markdown with raw HTML, dangerous links and remote images made harmless; its visible text is unchanged."""
    text = reveal(with_newlines(text))
    lines = text.split("\n")
    allowance = Allowance()
    env = new_env(remote_images=False, allowance=allowance)
    pieces: list[str] = []
    position = 0
    for start, end, token in _verbatim_blocks(split_blocks(text, env)):
        pieces += _prose(lines[position:start], allowance)
        follows_text = start > 0 and bool(lines[start - 1].strip())
        pieces += _verbatim(token, lines[start:end], allowance, follows_text=follows_text)
        position = end
    pieces += _prose(lines[position:], allowance)
    return "\n".join(pieces)


def _verbatim_blocks(blocks: Iterable[MarkdownBlock]) -> Iterator[tuple[int, int, Token]]:
    position = 0
    for block in blocks:
        for token in block.tokens if block.is_admitted else (_source_of(block),):
            if token.type in _VERBATIM and token.map and token.map[0] >= position:
                start, position = token.map
                yield start, position, token


def _source_of(block: MarkdownBlock) -> Token:
    """Return a code token with the source of a block that the allowance does not admit."""
    return Token("code_block", "", 0, map=[block.start, block.end], content=block.source + "\n")


def _verbatim(token: Token, lines: list[str], allowance: Allowance, *, follows_text: bool) -> list[str]:
    if token.type == "math_block":
        if allowance.admit_formula(token.content):
            return [_spaced(line) for line in lines]
        return _prose([_FORMULA_MARK.sub("", line) for line in lines], allowance)
    if token.type == "sparse_table" and token.level:
        # With an escaped second row, no parser treats it as a table.
        return _prose([lines[0], _ROW_START.sub(r"\1\\", lines[1], count=1), *lines[2:]], allowance)
    if token.level:
        return [_without_active_tags(line) for line in lines]
    return ["", *_fenced(token)] if follows_text else _fenced(token)


def _spaced(formula: str) -> str:
    return _MARKUP_IN_FORMULA.sub(lambda mark: mark[0] + " ", formula)


def _fenced(token: Token) -> list[str]:
    """Return the lines of a code block, with a fence that is longer than any fence inside."""
    fence = fence_around(token.content)
    words = token.info.split() if token.type == "fence" else []
    language = _LANGUAGE.match(words[0]) if words else None
    code = reveal(token.content.removesuffix("\n"), is_code=True)
    return [fence + (language[0] if language else ""), code, fence]


def _without_active_tags(code: str) -> str:
    code = reveal(code, is_code=True)

    def escaped(start: re.Match[str]) -> str:
        tag = _IDLE_TAG.match(code, start.start())
        return "<" if tag and tag[1].lower() not in _ACTIVE_ELEMENTS else "&lt;"

    return _TAG_START.sub(escaped, code)


# Running text


def _prose(lines: list[str], allowance: Allowance) -> list[str]:
    return [_Prose("\n".join(lines), allowance).neutralised()] if lines else []


def _expensive_paragraphs(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each paragraph that would be too expensive if parsed as a formula."""
    ends = [*(blank.start() for blank in _BLANK_LINE.finditer(text)), len(text)]
    starts = [0, *ends[:-1]]
    return [
        (start, end)
        for start, end in zip(starts, ends, strict=True)
        if _LONE_MARK.search(text, start, end) and is_too_much(text[start:end])
    ]


class _Prose:
    """Neutralises text outside of code blocks in one pass, from one special character to the next."""

    def __init__(self, text: str, allowance: Allowance) -> None:
        self._text = text
        self._allowance = allowance
        self._wild = _expensive_paragraphs(text)
        self._memory: dict[str, Any] = {}
        self._ticks: defaultdict[int, list[int]] = defaultdict(list)
        for run in re.finditer("`+", text):
            self._ticks[len(run[0])].append(run.start())

    def neutralised(self) -> str:
        pieces: list[str] = []
        position = 0
        while mark := _MARK.search(self._text, position):
            pieces.append(self._text[position : mark.start()])
            piece, position = self._at(mark[0], mark.start())
            pieces.append(piece)
        pieces.append(self._text[position:])
        return "".join(pieces)

    def _at(self, mark: str, start: int) -> tuple[str, int]:
        """Return the replacement of the syntax that begins with a special character, and its end position."""
        after = start + len(mark)
        match mark:
            case "\\" if self._text.startswith("<", after):
                return "&lt;", after + 1
            case "\\":
                return self._formula(start) or self._stray_delimiter(start) or self._backslash(start)
            case "$":
                return self._formula(start) or self._stray_delimiter(start) or self._plain(start, after)
            case "<":
                kept = _HARMLESS_TAG.match(self._text, start)
                if kept or not _TAG_START.match(self._text, start):
                    return self._plain(start, kept.end() if kept else after)
                return "&lt;", after
            case "![":
                return "\\![", after
            case "](" | "]:":
                return (mark if self._is_harmless(after) else f"]\\{mark[1]}"), after
            case _ if mark[0] in "*~":
                return with_invisible_marks(self._text, start, after), after
            case _:
                return self._code(start, after)

    def _plain(self, start: int, end: int) -> tuple[str, int]:
        return self._text[start:end], min(end, len(self._text))

    def _backslash(self, start: int) -> tuple[str, int]:
        # Markdown turns two backslashes into one, so MathJax would see a command.
        after = start + (2 if self._text.startswith("\\\\", start) else 1)
        if is_unsafe_command(self._text, after - 1):
            return self._text[start:after] + WORD_JOINER, after
        return self._plain(start, start + 2)

    def _formula(self, start: int) -> tuple[str, int] | None:
        found = find_formula(self._text, start, self._memory)
        if found is None or _BLANK_LINE.search(self._text, start, found.end):
            return None
        if not self._allowance.admit_formula(found.source):
            return f"`` {_without_active_tags(found.source.replace('`', chr(39)))} ``", found.end
        return _spaced(self._text[start : found.end]), found.end

    def _stray_delimiter(self, start: int) -> tuple[str, int] | None:
        """Return an escaped delimiter if it would start a harmful formula only in other parsers; else None."""
        mark = _LONE_MARK.match(self._text, start)
        if mark is None or not self._is_in_expensive_paragraph(start):
            return None
        if mark[0] == r"\begin":
            return f"\\{WORD_JOINER}begin", mark.end()
        return f"`{mark[0].removeprefix(chr(92))}`", mark.end()

    def _is_in_expensive_paragraph(self, position: int) -> bool:
        index = bisect_right(self._wild, (position, len(self._text))) - 1
        return index >= 0 and position < self._wild[index][1]

    def _code(self, start: int, after: int) -> tuple[str, int]:
        length = after - start
        closings = self._ticks[length]
        index = bisect_right(closings, start)
        if index == len(closings) or _BLANK_LINE.search(self._text, after, closings[index]):
            return self._plain(start, after)
        end = closings[index] + length
        return _without_active_tags(self._text[start:end]), end

    def _is_harmless(self, start: int) -> bool:
        destination = _DESTINATION.match(self._text, start)
        return destination is not None and is_linkable(_UNSEEN.sub("", unescape(destination[1])))
