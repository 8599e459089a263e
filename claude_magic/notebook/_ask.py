"""From a parsed line to its answer, in one of the ways that a cell can be answered. Imported when the first cell asks.

There is one coroutine for cells that are awaited and for those that block. Where a cell blocks, what it awaits waits on this
thread instead, so that the coroutine never suspends, and `run_blocking` runs it in one step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ..client import ClaudeError
from ..runtime import Reply
from ._answer import WAITED, answer, answer_in_background, can_answer_in_background, with_short_traceback
from ._question import prepare

if TYPE_CHECKING:
    from ._cell import Cell
    from ._commands import Line
    from ._compare import Comparison

_Result = TypeVar("_Result")


def run_blocking(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("A cell that blocks has awaited something.")


async def ask(line: Line, cell: Cell) -> Reply | Comparison | None:
    """Ask and show; None where nothing was to be sent.

    Raises:
        KeyboardInterrupt: The cell was interrupted; the partial answer stays.
        ClaudeError: The request failed; likewise. Or it could not be sent.
    """
    cell.close_previous_view()
    try:
        if line.options.interact and not line.options.dry_run:
            from ._interact import interact  # late: it imports ipywidgets

            return await interact(line, cell)
        line, question = prepare(line, cell)
        if line.options.dry_run:
            from ._dry_run import show_dry_run

            show_dry_run(line, question, cell)
            return None
        if line.options.compare:
            from ._compare import compare  # late: most cells ask one model

            return await compare(line, question, cell)
        if can_answer_in_background(line, cell):
            return answer_in_background(line, question, cell)
        if line.options.background:
            question = dataclasses.replace(question, outlives_cell=False, notes=(*question.notes, WAITED))
        return await answer(line, question, cell)
    except (ClaudeError, KeyboardInterrupt) as error:
        raise with_short_traceback(error, cell.shell) from None
    finally:
        # The controls of `--interact` keep the cell, and must not keep the user's frames with it.
        cell.scope.leave()
