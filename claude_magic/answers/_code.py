"""The code of an answer: its fenced blocks, or all of it if it is nothing but code."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from textwrap import dedent
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PYTHON_TAGS: Final = frozenset({"python", "py", "python3", "py3", "ipython", "ipython3", "jupyter"})
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_LINE_END: Final = re.compile(r"\r\n?")
_IPYTHON_LINE: Final = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)
# Longer than this, a text without fences is not tried as Python: no cell is that long, and parsing it takes seconds.
_MAX_BARE_CHARS: Final = 200_000


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A piece of code, and the language that its fence names, in lower case ("" for none)."""

    code: str
    language: str


def extract_code(text: str) -> str:
    """Return the code of an answer, without a line end at its end; "" if there is none.

    All fenced blocks, joined; only those in Python if there are any. Without fences it is the whole text, if that is
    Python and not prose. A last block that was cut before its closing fence counts.
    """
    return join_code(find_code(text))


def find_code(text: str) -> list[CodeBlock]:
    """Return the blocks that make up the code of an answer; see `extract_code`."""
    blocks = [block for block in fenced_blocks(text) if block.code.strip()]
    if blocks:
        return [block for block in blocks if block.language in _PYTHON_TAGS] or blocks
    return [CodeBlock(text.strip("\n"), "python")] if _is_python(text) else []


def join_code(blocks: list[CodeBlock]) -> str:
    """Return the blocks as one text, with a blank line between two."""
    return "\n\n".join(block.code.strip("\n").rstrip() for block in blocks)


def fenced_blocks(text: str) -> Iterator[CodeBlock]:
    """Yield the fenced blocks of a Markdown text from top to bottom, those in lists and quotes too."""
    md = _parser()
    tokens: list[Token] = []
    md.block.parse(_LINE_END.sub("\n", text), md, {}, tokens)
    for token in tokens:
        if token.type == "fence":
            yield CodeBlock(token.content, _language(token.info))
        elif token.type == "code_block" and _FENCE.match(token.content):
            # A fence that is indented too far: for Markdown that is code which shows a fence, for models it is a fence.
            yield from fenced_blocks(dedent(token.content))


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark")


def _language(info: str) -> str:
    words = info.replace("{", " ").replace("}", " ").split(maxsplit=1)
    return words[0].lower().strip(".,:") if words else ""


def _is_python(text: str) -> bool:
    """Tell whether the text is Python (as IPython knows it) that does something, not words that happen to parse."""
    if not text.strip() or len(text) > _MAX_BARE_CHARS:
        return False
    if text.lstrip().startswith("%%"):
        return True
    source = dedent(_IPYTHON_LINE.sub(r"\1_()", text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in its strings, say
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
    """Tell a call from a word with a remark (in parentheses)."""
    if not isinstance(node, ast.Call):
        return False
    line, column = (node.func.end_lineno or 1) - 1, node.func.end_col_offset or 0
    return lines[line].encode()[column : column + 1] == b"("
