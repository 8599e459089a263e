"""`%%claude` as an awaited cell.

A magic is a plain function call, and a blocking one stops everything else on the kernel's event loop: the user's
own tasks, widget callbacks, the Stop button of a panel. So where the cell's caller can await, the whole cell is
rewritten into an `await`. The transformer sees cells whose first line is `%%claude`, and cells that are one line of
`%claude` and a prompt; it touches no other. It stands first in line, before IPython strips `>>>` and `In [1]:` or
takes a question mark for its own: in a prompt those are the user's words.
"""

import asyncio
import itertools
import re
import sys
from typing import Any

from IPython.core.async_helpers import _asyncio_runner
from IPython.core.interactiveshell import InteractiveShell

from ._commands import find_command

_CELL = re.compile(r"%%claude(?!\S)")
_LINE = re.compile(r"%claude(?!\S)")
_MAGICS = "get_ipython().magics_manager.registry['ClaudeMagics']"
# Whoever has one of these on its stack runs a cell already, or is about to run one and block on it.
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

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the cell's lines, rewritten if they are ours and unchanged if not."""
        # IPython splits at every line boundary Unicode knows; for us a line ends where it ends on the screen.
        text = "".join(itertools.dropwhile(str.isspace, lines))
        line, _, body = text.partition("\n")
        line = line.removesuffix("\r")
        if _CELL.match(line):
            return [self._call(line.removeprefix("%%claude"), body)]
        if _LINE.match(line) and not body.strip() and find_command(line.removeprefix("%claude")) is None:
            return [self._call(line.removeprefix("%claude"), None)]
        return lines

    def _call(self, line: str, body: str | None) -> str:
        door = "await {}.answer_cell" if self._is_awaited() else "{}.answer_cell_blocking"
        return f"{door.format(_MAGICS)}({line!r}, {body!r})\n"

    def _is_awaited(self) -> bool:
        """Whether the caller will await what this cell turns into.

        A kernel transforms a cell on its running loop, and then awaits it. `%%time`, `get_ipython().run_cell(...)`
        and other callers from inside a cell transform too, but run the outcome as plain code.
        """
        if not (self._shell.autoawait and self._shell.loop_runner is _asyncio_runner):
            return False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return not _is_inside_a_cell()


def _is_inside_a_cell() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in _CELL_RUNNERS:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
