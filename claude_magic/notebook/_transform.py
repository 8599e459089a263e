"""Claude's cells and lines, rewritten into calls before IPython reads anything into them.

A magic is a plain function call, and a blocking one stops everything else on the kernel's event loop: the user's
own tasks, widget callbacks, the Stop button of a panel. So where the cell's caller can await, a whole cell is
rewritten into an `await`: cells whose first line is `%%claude`, and cells that are one line of `%claude` and a prompt.

`%claude` lines among other code are rewritten into what IPython would make of them, but for what it takes away: a
question mark at their end, and a backslash. A cell that has neither is not touched. The transformer stands first in
line, before IPython strips `>>>` and `In [1]:` or takes a question mark for its own: in a prompt those are the user's words.
"""

from __future__ import annotations

import itertools
import keyword
import re
import sys
from typing import Any

from IPython.core.async_helpers import _asyncio_runner
from IPython.core.interactiveshell import InteractiveShell

from ._commands import find_command
from ._names import Scope

# Which lines of a cell begin a statement, and which are inside a string, a bracket or a continued line.
#
# A cell among whose lines are `%claude` lines is no Python, and what stands behind `%claude` least of all, so no tokenizer
# can read it as a whole. This one reads it line by line and is told, before each, whether the line is to be read as code.
_TOKEN = re.compile(r"""(?P<comment>\#)|(?P<quote>'''|\"""|['"])|(?P<opening>[(\[{])|(?P<closing>[)\]}])""")


class StatementReader:
    """Reads the lines of code of a cell, one after the other."""

    def __init__(self) -> None:
        self._quote = ""  # with which the string ends that a line ended in
        self._depth = 0  # of open brackets
        self._is_continued = False  # by a backslash

    def is_at_statement(self) -> bool:
        """Whether the next line begins a statement."""
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
        """Return where the open string ends in a line; where it does not, the line's end, and it stays open if it may."""
        for token in re.compile(rf"\\.|({self._quote})", re.DOTALL).finditer(line, position):
            if token[1]:
                self._quote = ""
                return token.end()
        if len(self._quote) == 1 and not line.endswith("\\"):
            self._quote = ""  # not closed: an error of Python's, and no business of ours
        return len(line)


_CELL = re.compile(r"%%claude(?!\S)")
_WHOLE_LINE = re.compile(r"\s*%claude(?!\S)(?P<words>.*)", re.DOTALL)
_TARGET = r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*|\[[^\[\]\n]*\])*"
_LINE = re.compile(rf"(?P<before>\s*(?:{_TARGET}\s*=\s*)*)%claude(?!\S)(?P<words>.*)", re.DOTALL)
_MISPLACED = re.compile(r"\s*%%claude(?!\S)")
# Lines that are no Python: other magics, shell commands, help; also where their value is assigned.
_FOREIGN = re.compile(rf"\s*(?:{_TARGET}\s*=\s*)*(?:%|!|\?)")
_NAME = re.compile(r"[^\W\d]\w*")
_NESTED = re.compile(r"^[ \t]+(?:async[ \t]+)?def[ \t]", re.MULTILINE)
_MAGICS = "get_ipython().magics_manager.registry['ClaudeMagics']"
# A thread with one of these on its stack runs a cell already, or is about to run one and block on it.
_CELL_RUNNERS = frozenset(
    function.__code__ for function in (InteractiveShell._run_cell, InteractiveShell.run_cell_async)
)


class CellTransformer:
    """Rewrites a `%%claude` cell into a call of `ClaudeMagics`, awaited where the caller can await."""

    # IPython asks "is this input complete?" through the transformers without this mark; the answer for a cell
    # magic depends on seeing its `%%`.
    has_side_effects = True

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._scope = Scope(shell)

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the cell's lines, rewritten if they are ours and unchanged if not."""
        if not any("%claude" in line for line in lines):
            return lines
        # IPython splits at every line boundary Unicode knows; for us a line ends where it ends on the screen.
        text = "".join(itertools.dropwhile(str.isspace, lines))
        line, _, body = text.partition("\n")
        line = line.removesuffix("\r")
        if _CELL.match(line):
            return [self._call(line.removeprefix("%%claude"), body)]
        whole_line = _WHOLE_LINE.match(line)
        if whole_line and not body.strip():
            return self._rewrite_only_line(lines, whole_line["words"])
        if line.startswith("%%"):
            return lines  # another magic's cell, whose body is for it to read
        return _rewrite_among_code(text) or lines

    def _rewrite_only_line(self, lines: list[str], words: str) -> list[str]:
        if find_command(words, self._scope) is not None:
            return lines
        return [self._call(words, None)]

    def _call(self, line: str, body: str | None) -> str:
        call = "await {}.answer_cell" if self._is_awaited() else "{}.answer_cell_blocking"
        return f"{call.format(_MAGICS)}({line!r}, {body!r})\n"

    def _is_awaited(self) -> bool:
        """Whether the caller will await what this cell turns into.

        A kernel transforms a cell on its running loop, and then awaits it. `%%time`, `get_ipython().run_cell(...)`
        and other callers from inside a cell transform too, but run the outcome as plain code.
        """
        if not (self._shell.autoawait and self._shell.loop_runner is _asyncio_runner):
            return False
        import asyncio  # late: loading the extension must not cost this

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return not _is_inside_a_cell()


def _rewrite_among_code(text: str) -> list[str] | None:
    """Return the lines of a cell whose `%claude` lines are made calls; `None` if there are none, or none for sure."""
    reader = StatementReader()
    rewritten: list[str] = []
    written = _names_in_code(text) if _NESTED.search(text) else frozenset()
    has_ours = False
    for line in text.split("\n"):
        code = line.removesuffix("\r")
        if not reader.is_at_statement():
            reader.read(code)
        elif ours := _LINE.fullmatch(code):
            has_ours = True
            call = f"get_ipython().run_line_magic('claude', {ours['words'].lstrip()!r})"
            line = f"{ours['before']}{_mention(ours['words'], written)}{call}"
        elif _MISPLACED.match(code):
            return [f"{_MAGICS}.refuse_cell()\n"]
        elif not _FOREIGN.match(code):
            reader.read(code)
        rewritten.append(line)
    if not has_ours or not reader.is_at_statement():
        return None
    return "\n".join(rewritten).splitlines(keepends=True)


def _names_in_code(text: str) -> frozenset[str]:
    return frozenset(
        name for line in text.split("\n") if not _LINE.match(line) for name in _NAME.findall(line)
    )


def _mention(words: str, written: frozenset[str]) -> str:
    """Return code that mentions the names on a line in a nested function; "" where there is nothing to mention.

    Python keeps for a nested function only those variables of the outer ones that its code mentions. This mentions them, without
    reading them: they may not be bound.

    Args:
        words: What stands behind `%claude`.
        written: The names in the cell; none where it has no nested function.
    """
    names = sorted(written.intersection(_NAME.findall(words)))
    names = [name for name in names if not keyword.iskeyword(name)]
    return f"(lambda: ({', '.join(names)},)) and " if names else ""


def _is_inside_a_cell() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in _CELL_RUNNERS:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
