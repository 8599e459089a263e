"""Which lines of a cell begin a statement, and which are inside a string, a bracket or a continued line.

A cell among whose lines are `%claude` lines is no Python, and what stands behind `%claude` least of all, so no tokenizer
can read it as a whole. This one reads it line by line and is told, before each, whether the line is to be read as code.
"""

from __future__ import annotations

import re

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
