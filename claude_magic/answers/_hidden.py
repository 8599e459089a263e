"""Characters that cannot be seen, or that turn the direction of writing: in code they make it read as something it is not.

They are shown as editors show them, by their number. What people need stays: the joiners inside of emoji and of scripts that
have them, marks of direction in Arabic and Hebrew prose, soft hyphens within words.

See https://www.unicode.org/reports/tr55 (source code) and https://trojansource.codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Final
from unicodedata import bidirectional, category

# Controls, format characters, and what else Unicode calls default ignorable, or draws blank without being a space.
_CANDIDATE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001345f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MARKS_OF_DIRECTION: Final = "\u061c\u200e\u200f"
_OPENING: Final = "\u202a\u202b\u2066\u2067\u2068"  # embeddings and isolates; overrides are never needed
_CLOSING: Final = {"\u202c": "\u202a\u202b", "\u2069": "\u2066\u2067\u2068"}
_BLANKS: Final = "\r\x0b\x0c\x85\u2028\u2029"  # ends of lines to some, blanks to others
_JOINERS: Final = "\u200c\u200d"
_LINE_END: Final = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_TAG_SEQUENCE: Final = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f")
_BRACKETED: Final = (
    "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}U+{:04X}\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"
)


def reveal(text: str, *, is_code: bool = False) -> str:
    """Return `text` with each hidden character replaced by what can be read: `\u27e6U+202E\u27e7`, or `\u241b` for a control.

    Args:
        text: Prose or code.
        is_code: It is code, in which no mark of direction is needed.
    """
    return _replaced(text, _mark_of, is_code=is_code)


def escape_hidden(code: str) -> str:
    r"""Return `code` with each hidden character as an escape of Python's, such as `\u202e`: in a text it means the same."""
    return _replaced(code, lambda sign: sign.encode("unicode_escape").decode("ascii"), is_code=True)


def hidden_in(text: str, *, is_code: bool = False) -> list[str]:
    """Return the hidden characters of `text`, in their order."""
    return [text[position] for position in _positions(text, is_code=is_code)]


def describe_hidden(signs: list[str]) -> str:
    """Name hidden characters, each once: "U+202E, U+2066 and 3 more"."""
    numbers = list(dict.fromkeys(f"U+{ord(sign):04X}" for sign in signs))
    more = f" and {len(numbers) - 4} more" if len(numbers) > 4 else ""
    return ", ".join(numbers[:4]) + more


def _replaced(text: str, replace: Callable[[str], str], *, is_code: bool) -> str:
    pieces: list[str] = []
    done = 0
    for position in _positions(text, is_code=is_code):
        pieces += [text[done:position], replace(text[position])]
        done = position + 1
    return "".join([*pieces, text[done:]]) if pieces else text


@cache
def _mark_of(sign: str) -> str:
    code = ord(sign)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else _BRACKETED.format(code)


def _positions(text: str, *, is_code: bool) -> Iterator[int]:
    found = [match.start() for match in _CANDIDATE.finditer(text)]
    if not found:
        return
    needed = {
        position for flag in _TAG_SEQUENCE.finditer(text) for position in range(flag.start() + 1, flag.end())
    }
    needed |= set() if is_code else _needed_for_direction(text)
    blanks = "\r\x0c" if is_code else _BLANKS
    for position in found:
        if text[position] not in blanks and position not in needed and not _is_needed(text, position):
            yield position


def _is_needed(text: str, position: int) -> bool:
    """Tell whether a character shapes what stands beside it."""
    sign = text[position]
    before = text[position - 1] if position else " "
    after = text[position + 1] if position + 1 < len(text) else " "
    if sign in _JOINERS:
        return _is_joined(before) and _is_joined(after)
    if "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef":
        return before.isprintable() and (not before.isascii() or before in "0123456789#*")
    if sign == "\xad":
        return before.isalpha() and after.isalpha()
    if sign == "\u200b":
        return (before.isalpha() and not before.isascii()) or (after.isalpha() and not after.isascii())
    return "\u180b" <= sign <= "\u180f" and "\u1800" <= before <= "\u18af"


@lru_cache(maxsize=1024)
def _is_joined(sign: str) -> bool:
    """Tell whether a joiner may stand beside `sign`: a letter or a mark of another script, or a part of an emoji."""
    return not sign.isascii() and category(sign)[0] in "LMS"


def _needed_for_direction(text: str) -> set[int]:
    """Return where marks of direction, embeddings and isolates stand in lines that run from right to left, all of them closed."""
    needed: set[int] = set()
    start = 0
    for end, next_start in _line_ends(text):
        line = range(start, end)
        start = next_start
        marks = [
            at
            for at in line
            if text[at] in _MARKS_OF_DIRECTION or text[at] in _OPENING or text[at] in _CLOSING
        ]
        if not marks or not any(
            bidirectional(text[at]) in ("R", "AL") and category(text[at])[0] == "L" for at in line
        ):
            continue
        opened: list[int] = []
        for at in marks:
            if text[at] in _OPENING:
                opened.append(at)
            elif text[at] in _CLOSING:
                if opened and text[opened[-1]] in _CLOSING[text[at]]:
                    needed |= {at, opened.pop()}
            else:
                needed.add(at)
    return needed


def _line_ends(text: str) -> Iterator[tuple[int, int]]:
    for end in _LINE_END.finditer(text):
        yield end.start(), end.end()
    yield len(text), len(text)
