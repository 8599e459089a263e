"""The input transformer that rewrites `%%claude` cells and `%claude` lines into calls.

A magic is a plain function call, and a blocking one stops everything else on the kernel's event loop: the user's
own tasks, widget callbacks, the Stop button of a panel. So if the caller can await, a whole cell is rewritten
into an `await`: a cell whose first line is `%%claude`, or one that consists of a single `%claude` line with a prompt.

`%claude` lines among other code are rewritten into the call that IPython would make, except that a question mark or
backslash at the end of the line is kept. The transformer runs first, before IPython strips `>>>` and `In [1]:` or
interprets a question mark: in a prompt these are text.
"""

from __future__ import annotations

import itertools
import keyword
import re
import sys
from typing import Any

from IPython.core.async_helpers import _asyncio_runner
from IPython.core.interactiveshell import InteractiveShell

from ._cell import Scope
from ._commands import find_command

# Finds which lines of a cell begin a statement, and which continue a string, a bracket or a line.
#
# A cell with `%claude` lines is not valid Python, so Python's tokenizer cannot read it as a whole. This reader takes only the lines
# of code, one at a time.
_TOKEN = re.compile(r"""(?P<comment>\#)|(?P<quote>'''|\"""|['"])|(?P<opening>[(\[{])|(?P<closing>[)\]}])""")


class StatementReader:
    """Reads a cell's lines of code one at a time, and tracks whether the next line begins a statement."""

    def __init__(self) -> None:
        self._quote = ""  # the closing quote of a string that continues on the next line
        self._depth = 0  # open brackets
        self._is_continued = False  # the last line ends with a backslash

    def is_at_statement(self) -> bool:
        """Return whether the next line begins a statement."""
        return not (self._quote or self._depth or self._is_continued)

    def read(self, line: str) -> None:
        """Read a line of code, without its line break."""
        position = self._end_of_string(line, 0) if self._quote else 0
        while not self._quote and (token := _TOKEN.search(line, position)):
            position = token.end()
            if token["comment"]:
                self._is_continued = False
                return
            if token["quote"]:
                self._quote = token["quote"]
                position = self._end_of_string(line, position)
            elif token["opening"]:
                self._depth += 1
            else:
                self._depth = max(0, self._depth - 1)
        self._is_continued = not self._quote and line.endswith("\\")

    def _end_of_string(self, line: str, position: int) -> int:
        """Return the position after the open string, or the line's end; there, only a string that may continue stays open."""
        for token in re.compile(rf"\\.|({self._quote})", re.DOTALL).finditer(line, position):
            if token[1]:
                self._quote = ""
                return token.end()
        if len(self._quote) == 1 and not line.endswith("\\"):
            self._quote = ""  # an unclosed string: Python reports the error
        return len(line)


_CELL = re.compile(r"%%claude(?!\S)")
_WHOLE_LINE = re.compile(r"\s*%claude(?!\S)(?P<words>.*)", re.DOTALL)
_TARGET = r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*|\[[^\[\]\n]*\])*"
_LINE = re.compile(rf"(?P<before>\s*(?:{_TARGET}\s*=\s*)*)%claude(?!\S)(?P<words>.*)", re.DOTALL)
_MISPLACED = re.compile(r"\s*%%claude(?!\S)")
# Lines that are not Python: other magics, shell commands and help, also if their value is assigned to a variable.
_FOREIGN = re.compile(rf"\s*(?:{_TARGET}\s*=\s*)*(?:%|!|\?)")
_NAME = re.compile(r"[^\W\d]\w*")
_NESTED = re.compile(r"^[ \t]+(?:async[ \t]+)?def[ \t]", re.MULTILINE)
_MAGICS = "get_ipython().magics_manager.registry['ClaudeMagics']"
# A thread with one of these on its stack is running a cell, or is about to run one and block until it ends.
_CELL_RUNNERS = frozenset(
    function.__code__ for function in (InteractiveShell._run_cell, InteractiveShell.run_cell_async)
)


class CellTransformer:
    """Rewrites `%%claude` cells and `%claude` lines into calls of `ClaudeMagics`, awaited if the caller can await."""

    # To check whether input is complete, IPython runs only the transformers without this flag, and the check of a cell
    # magic needs to see its `%%`.
    has_side_effects = True

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._scope = Scope(shell)

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the cell's lines, with `%%claude` and `%claude` rewritten."""
        if not any("%claude" in line for line in lines):
            return lines
        # IPython splits at every Unicode line boundary; here only a newline ends a line, as on the screen.
        text = "".join(itertools.dropwhile(str.isspace, lines))
        line, _, body = text.partition("\n")
        line = line.removesuffix("\r")
        if _CELL.match(line):
            return [self._call(line.removeprefix("%%claude"), body)]
        whole_line = _WHOLE_LINE.match(line)
        if whole_line and not body.strip():
            return self._rewrite_only_line(lines, whole_line["words"])
        if line.startswith("%%"):
            return lines  # a cell of another magic, which interprets its body
        return _rewrite_among_code(text) or lines

    def _rewrite_only_line(self, lines: list[str], words: str) -> list[str]:
        if find_command(words, self._scope) is not None:
            return lines
        return [self._call(words, None)]

    def _call(self, line: str, body: str | None) -> str:
        call = "await {}.answer_cell" if self._is_awaited() else "{}.answer_cell_blocking"
        return f"{call.format(_MAGICS)}({line!r}, {body!r})\n"

    def _is_awaited(self) -> bool:
        """Return whether the caller will await the rewritten cell.

        A kernel transforms a cell on its running event loop, and then awaits it. `%%time`, `get_ipython().run_cell(...)`
        and other callers inside a cell transform code too, but run it synchronously.
        """
        if not (self._shell.autoawait and self._shell.loop_runner is _asyncio_runner):
            return False
        import asyncio  # late: importing it would slow down loading the extension

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return not _is_inside_a_cell()


def _rewrite_among_code(text: str) -> list[str] | None:
    """Return the lines of a cell with its `%claude` lines as calls; `None` if it has none, or if its last statement is incomplete."""
    reader = StatementReader()
    rewritten: list[str] = []
    in_code = _names_in_code(text) if _NESTED.search(text) else frozenset()
    has_magic_line = False
    for line in text.split("\n"):
        code = line.removesuffix("\r")
        if not reader.is_at_statement():
            reader.read(code)
        elif magic_line := _LINE.fullmatch(code):
            has_magic_line = True
            call = f"get_ipython().run_line_magic('claude', {magic_line['words'].lstrip()!r})"
            line = f"{magic_line['before']}{_mention(magic_line['words'], in_code)}{call}"
        elif _MISPLACED.match(code):
            return [f"{_MAGICS}.refuse_cell()\n"]
        elif not _FOREIGN.match(code):
            reader.read(code)
        rewritten.append(line)
    if not has_magic_line or not reader.is_at_statement():
        return None
    return "\n".join(rewritten).splitlines(keepends=True)


def _names_in_code(text: str) -> frozenset[str]:
    return frozenset(
        name for line in text.split("\n") if not _LINE.match(line) for name in _NAME.findall(line)
    )


def _mention(words: str, in_code: frozenset[str]) -> str:
    """Return code that mentions the names on a `%claude` line in a nested function; "" if there are none.

    A closure contains only the variables of outer functions that the inner function's code mentions. The returned code mentions
    them without reading them, because they may be unbound.

    Args:
        words: The text after `%claude`.
        in_code: The names in the cell's code; empty if it has no nested function.
    """
    names = sorted(in_code.intersection(_NAME.findall(words)))
    names = [name for name in names if not keyword.iskeyword(name)]
    return f"(lambda: ({', '.join(names)},)) and " if names else ""


def _is_inside_a_cell() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in _CELL_RUNNERS:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
