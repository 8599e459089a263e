"""Emphasis in Chinese, Japanese and Korean, which CommonMark's rules spoil.

A run of `*` or `~` closes emphasis only where what stands before it is no punctuation, or what follows is a blank or punctuation.
Chinese and Japanese have no blanks between words, and Korean particles follow a word at once: so `**结论：**样本` shows its stars. The
published amendment (https://github.com/tats-u/markdown-cjk-friendly) says that beside a character of these languages only
punctuation of other languages holds emphasis back. Where there is none of their characters, nothing changes.

The Markdown that we hand to other parsers gets a sign that nobody sees where they would need the amendment.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from unicodedata import category, east_asian_width

from markdown_it.common.utils import isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline.state_inline import Scanned, StateInline
from typing_extensions import override

from ._safe_tex import UNSEEN

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markdown_it.utils import EnvType

# A citation's number, which becomes a link later: noncharacters around digits.
CITATION_START: Final = "\ufdd0"
CITATION_END: Final = "\ufdd1"
_MAX_CITATION_CHARS: Final = 12
# Vowels and final consonants of Hangul that are written apart count as narrow.
_HANGUL_JAMO: Final = (range(0x1100, 0x1200), range(0xA960, 0xA980), range(0xD7B0, 0xD800))
_RUN: Final = re.compile(r"\*+|~+")
_EMOJI: Final = range(0x1F000, 0x20000)
_FIRST_RADICAL: Final = 0x2E80


class InlineParser(ParserInline):
    """markdown-it's parser of paragraphs, with the amended rule."""

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        """Parse a paragraph into `tokens`."""
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


class _State(StateInline):
    @override
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        end = start
        while end < self.posMax and self.src[end] == self.src[start]:
            end += 1
        before, after = _before(self.src, start), _after(self.src, end, self.posMax)
        opens, closes = _flanks(before, after)
        return Scanned(
            opens and (canSplitWord or not closes or before.is_punctuation),
            closes and (canSplitWord or not opens or after.is_punctuation),
            end - start,
        )


def with_unseen_signs(text: str, start: int, end: int) -> str:
    """Return the marks of emphasis at `start`, so that they open and close for every parser what they do for ours.

    Args:
        text: Markdown.
        start: Where marks begin, of one kind or of several.
        end: Where the last of them ends.
    """
    runs = [_Run.of(text, *run.span()) for run in _RUN.finditer(text, start, end)]
    # Beside a sign that is no punctuation, the neighbour of a run needs one as well.
    is_opening, is_closing = any(run.lacks_opening for run in runs), any(run.lacks_closing for run in runs)
    return "".join(
        (UNSEEN if is_closing and run.closes else "")
        + run.marks
        + (UNSEEN if is_opening and run.opens and not (is_closing and run.closes) else "")
        for run in runs
    )


class _Run(NamedTuple):
    """A run of one mark, what it does for us, and what of that others would not see."""

    marks: str
    opens: bool
    closes: bool
    lacks_opening: bool
    lacks_closing: bool

    @classmethod
    def of(cls, text: str, start: int, end: int) -> _Run:
        opens, closes = _flanks(_before(text, start), _after(text, end, len(text)))
        before, after = _seen_before(text, start), _seen_after(text, end)
        opens_anywhere, closes_anywhere = _flanks_by_the_book(_Character(before), _Character(after))
        return cls(
            text[start:end],
            opens,
            closes,
            # An underscore next to the sign would be within a word, and do nothing there.
            lacks_opening=opens and not opens_anywhere and after != "_",
            lacks_closing=closes and not closes_anywhere and before != "_",
        )


class _Character(NamedTuple):
    """A character beside a run of marks; a blank stands for the edge of a text."""

    sign: str

    @property
    def is_blank(self) -> bool:
        return isWhiteSpace(ord(self.sign))

    @property
    def is_punctuation(self) -> bool:
        return isPunctChar(self.sign)

    @property
    def is_cjk(self) -> bool:
        return _is_cjk(self.sign)


def _flanks(before: _Character, after: _Character) -> tuple[bool, bool]:
    """Return whether a run between these can open and can close emphasis, by the amendment."""
    if not (before.is_cjk or after.is_cjk):
        return _flanks_by_the_book(before, after)
    opens = not after.is_blank and (
        not after.is_punctuation or after.is_cjk or before.is_blank or before.is_punctuation or before.is_cjk
    )
    closes = not before.is_blank and (
        not before.is_punctuation or before.is_cjk or after.is_blank or after.is_punctuation or after.is_cjk
    )
    return opens, closes


def _flanks_by_the_book(before: _Character, after: _Character) -> tuple[bool, bool]:
    """Return the same by CommonMark 0.31.2, section 6.2."""
    opens = not after.is_blank and (not after.is_punctuation or before.is_blank or before.is_punctuation)
    closes = not before.is_blank and (not before.is_punctuation or after.is_blank or after.is_punctuation)
    return opens, closes


def _before(text: str, start: int) -> _Character:
    """Return what a reader sees before `start`: not the number of a citation, nor what picks the shape of a character."""
    while start and text[start - 1] == CITATION_END:
        opening = text.rfind(CITATION_START, max(0, start - _MAX_CITATION_CHARS), start)
        if opening < 0:
            break
        start = opening
    sign = text[start - 1] if start else " "
    if start > 1 and _picks_shape(sign) and _is_cjk(text[start - 2]):
        sign = text[start - 2]
    return _Character(sign)


def _after(text: str, end: int, text_end: int) -> _Character:
    while end < text_end and text[end] == CITATION_START:
        closing = text.find(CITATION_END, end, min(text_end, end + _MAX_CITATION_CHARS))
        if closing < 0:
            break
        end = closing + 1
    return _Character(text[end] if end < text_end else " ")


def _seen_before(text: str, start: int) -> str:
    """Return what another parser sees before `start`: a citation has become a link by then."""
    sign = text[start - 1] if start else " "
    return ")" if sign == CITATION_END else sign


def _seen_after(text: str, end: int) -> str:
    sign = text[end] if end < len(text) else " "
    return "[" if sign == CITATION_START else sign


@lru_cache(maxsize=4096)
def _is_cjk(sign: str) -> bool:
    """Tell whether `sign` is written in Chinese, Japanese or Korean: letters, wide punctuation, no emoji."""
    code = ord(sign)
    if any(code in jamo for jamo in _HANGUL_JAMO):
        return True
    is_symbol = category(sign) == "So" and code < _FIRST_RADICAL
    return east_asian_width(sign) in "WFH" and code not in _EMOJI and not is_symbol


def _picks_shape(sign: str) -> bool:
    """Tell whether `sign` is a variation selector."""
    return "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef"
