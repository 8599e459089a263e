"""Extracts code or JSON from an answer, and makes hidden characters visible."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, islice
from textwrap import dedent
from typing import Any, Final
from unicodedata import bidirectional, category

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ..client import ClaudeError

_PYTHON_TAGS: Final = frozenset({"python", "py", "python3", "py3", "ipython", "ipython3", "jupyter"})
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_LINE_END: Final = re.compile(r"\r\n?")
_IPYTHON_LINE: Final = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)
# A longer text without fences is not parsed as Python: no cell is that long, and parsing would take seconds.
_MAX_BARE_CHARS: Final = 200_000


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A code block and the language of its fence, in lower case ("" for none)."""

    code: str
    language: str


def extract_code(text: str) -> str:
    """Return the code of an answer, without a final newline; "" if there is none.

    The code is all fenced blocks, joined; if some are Python, only those. Without fences it is the whole text, if that is
    Python and not prose. A last block without a closing fence counts.
    """
    return join_code(find_code(text))


def find_code(text: str) -> list[CodeBlock]:
    """Return the code blocks of an answer; see `extract_code`."""
    blocks = [block for block in fenced_blocks(text) if block.code.strip()]
    if blocks:
        return [block for block in blocks if block.language in _PYTHON_TAGS] or blocks
    return [CodeBlock(text.strip("\n"), "python")] if _is_python(text) else []


def join_code(blocks: list[CodeBlock]) -> str:
    """Return the blocks as one text, separated by blank lines."""
    return "\n\n".join(block.code.strip("\n").rstrip() for block in blocks)


def fenced_blocks(text: str) -> Iterator[CodeBlock]:
    """Yield the fenced blocks of a Markdown text in order, also those in lists and quotes."""
    md = _parser()
    tokens: list[Token] = []
    md.block.parse(_LINE_END.sub("\n", text), md, {}, tokens)
    for token in tokens:
        if token.type == "fence":
            yield CodeBlock(token.content, _language(token.info))
        elif token.type == "code_block" and _FENCE.match(token.content):
            # A fence that is indented too far: Markdown parses it as indented code, but the model meant a fence.
            yield from fenced_blocks(dedent(token.content))


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark")


def _language(info: str) -> str:
    words = info.replace("{", " ").replace("}", " ").split(maxsplit=1)
    return words[0].lower().strip(".,:") if words else ""


def _is_python(text: str) -> bool:
    """Return whether the text is Python or IPython code that does something, and not words that happen to parse."""
    if not text.strip() or len(text) > _MAX_BARE_CHARS:
        return False
    if text.lstrip().startswith("%%"):
        return True
    source = dedent(_IPYTHON_LINE.sub(r"\1_()", text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes, for example
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    lines = source.splitlines()
    return any(_does_something(statement, lines) for statement in tree.body)


def _does_something(statement: ast.stmt, lines: list[str]) -> bool:
    match statement:
        case ast.Expr():
            return any(_is_call(node, lines) for node in ast.walk(statement.value))
        case ast.AnnAssign(value=None) | ast.Pass() | ast.Break() | ast.Continue():
            return False  # "Note: this", or a single word
    return True


def _is_call(node: ast.AST, lines: list[str]) -> bool:
    """Return whether a node is a call, and not a word followed by a remark (in parentheses)."""
    if not isinstance(node, ast.Call):
        return False
    line, column = (node.func.end_lineno or 1) - 1, node.func.end_col_offset or 0
    return lines[line].encode()[column : column + 1] == b"("


class AnswerError(ClaudeError, ValueError):
    """The answer does not have the requested form.

    Also a ValueError, like the errors of `json`.

    Attributes:
        text: The text of the answer.
    """

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class NoJSONError(AnswerError):
    """The answer contains no complete JSON value."""


class SchemaMismatchError(AnswerError):
    """The answer does not match the schema.

    Attributes:
        problems: The problems, each with its field ("age: Input should be a valid integer").
    """

    def __init__(self, message: str, *, text: str, problems: tuple[str, ...]) -> None:
        super().__init__(message, text=text)
        self.problems = problems


_AT_LINE_START: Final = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
# A bracket that what follows does not rule out at once.
_BRACKET: Final = re.compile(r"""\[(?=\s*(?:["\[{\]\-\dtfnNI]|\Z))|\{(?=\s*(?:["}]|\Z))""")
_UNFINISHED: Final = re.compile(
    r"[\s,:]*(?:t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?|-|\\(?:u[0-9a-fA-F]{0,3})?)?"
)
# Each opening bracket in prose may be parsed to the end of the text before it fails. At most this many characters are parsed
# per character of the text.
_MAX_READS: Final = 20
_MAX_CANDIDATES: Final = 5_000

_decoder: Final = json.JSONDecoder()


def extract_json(text: str) -> Any:
    """Return the JSON value of an answer.

    The value is the whole text, else the first fenced block that is JSON, else the first complete object or array in the text;
    one at the start of a line is preferred to one inside a sentence.

    Raises:
        NoJSONError: The answer contains no complete value.
    """
    return find_json(text)[0]


def find_json(text: str) -> tuple[Any, str]:
    """Return the JSON value of an answer and its source; raise like `extract_json`."""
    stripped = text.strip().removeprefix("\ufeff")
    for source in chain([stripped], (block.code.strip() for block in fenced_blocks(text))):
        try:
            return _decoder.decode(source), source
        except (ValueError, RecursionError):
            continue
    found = _first_in_prose(text)
    if found is None:
        raise NoJSONError(_describe_missing(stripped), text=text)
    return found


def _first_in_prose(text: str) -> tuple[Any, str] | None:
    """Return the first complete object or array that begins a line, or else the first one; None if there is none.

    Values inside another one are not candidates. So if a value has no end, because the answer was cut, neither its parts nor
    what follows it are returned.
    """
    allowance = _MAX_READS * len(text) + 10_000
    found, found_end = None, 0
    for start in islice((bracket.start() for bracket in _BRACKET.finditer(text)), _MAX_CANDIDATES):
        if start < found_end:
            continue
        try:
            value, end = _decoder.raw_decode(text, start)
        except RecursionError:
            allowance -= 10_000
        except ValueError as error:
            position = getattr(error, "pos", len(text))
            if _has_no_end(str(error), text[position:]):
                break
            allowance -= position - start
        else:
            found_end = end
            found = found or (value, text[start:end])
            if not text[text.rfind("\n", 0, start) + 1 : start].strip(" \t"):
                return value, text[start:end]
        if allowance < 0:
            return None
    return found


def _has_no_end(problem: str, rest: str) -> bool:
    """Return whether the text ended within a value: in a string, in a word such as `true`, or before a bracket was closed."""
    return problem.startswith("Unterminated string") or _UNFINISHED.fullmatch(rest) is not None


def _describe_missing(text: str) -> str:
    if not text:
        return "The answer is empty, so there is no JSON in it."
    opening = _AT_LINE_START.search(text)
    if opening is None:
        return "The answer contains no complete JSON value. Ask for it with -f json, or say what it should look like with --schema."
    try:
        _decoder.raw_decode(text, opening.end())
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        if error.pos >= len(text):
            return f"The JSON of the answer is incomplete ({where}): the answer may have been cut."
        return f"The answer is not JSON: {error.msg} ({where})."
    except (ValueError, RecursionError) as error:
        return f"The JSON of the answer cannot be read: {error}."
    return "The answer contains no complete JSON."


# Invisible characters and characters that change the text direction, which can make code look like other code.
#
# They are shown by their code points, as in editors. Legitimate uses are kept: joiners inside emoji and in scripts that need
# them, direction marks in Arabic and Hebrew prose, soft hyphens within words.
#
# See https://www.unicode.org/reports/tr55 (source code) and https://trojansource.codes.

# Controls, format characters, other default-ignorable characters, and characters that are blank but not spaces.
HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001345f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MARKS_OF_DIRECTION: Final = "\u061c\u200e\u200f"
_OPENING: Final = "\u202a\u202b\u2066\u2067\u2068"  # embeddings and isolates; overrides are never needed
_CLOSING: Final = {"\u202c": "\u202a\u202b", "\u2069": "\u2066\u2067\u2068"}
_BLANKS: Final = "\r\x0b\x0c\x85\u2028\u2029"  # line ends for some programs, white space for others
_JOINERS: Final = "\u200c\u200d"
_LINE: Final = re.compile(r"[^\r\n\x85\u2028\u2029]+")
_TAG_SEQUENCE: Final = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f")
_BRACKETED: Final = (
    "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}U+{:04X}\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"
)


def reveal(text: str, *, is_code: bool = False) -> str:
    """Return `text` with each hidden character replaced by a visible form: `\u27e6U+202E\u27e7`, or `\u241b` for a control.

    Args:
        text: Prose or code.
        is_code: Whether the text is code, which needs no direction marks.
    """
    return _replaced(text, _mark_of, is_code=is_code)


def escape_hidden(code: str) -> str:
    r"""Return `code` with each hidden character as a Python escape such as `\u202e`, which means the same in a string."""
    return _replaced(code, lambda sign: sign.encode("unicode_escape").decode("ascii"), is_code=True)


def hidden_in(text: str, *, is_code: bool = False) -> list[str]:
    """Return the hidden characters of `text`, in order."""
    return [text[position] for position in _positions(text, is_code=is_code)]


def describe_hidden(signs: list[str]) -> str:
    """List hidden characters, each once: "U+202E, U+2066 and 3 more"."""
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
    found = [match.start() for match in HIDDEN.finditer(text)]
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
    """Return whether a character affects the shape of its neighbours."""
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
    """Return whether a joiner may be next to `sign`: a non-ASCII letter or mark, or a part of an emoji."""
    return not sign.isascii() and category(sign)[0] in "LMS"


def _needed_for_direction(text: str) -> set[int]:
    """Return the positions of direction marks, and of closed embeddings and isolates, in lines with right-to-left letters."""
    needed: set[int] = set()
    for found in _LINE.finditer(text):
        line = range(*found.span())
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
