"""Who runs the tools of a cell, and who is asked before they run.

In an awaited cell of a front end that draws widgets, on a kernel that handles clicks while a cell runs, a person presses a
button. Elsewhere they type an answer. Where nobody can be asked, a call is refused.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..display import ApprovalButtons, keeps_displays
from ..tools import LoopExecutor, Toolbox, ToolExecutor, TypedApproval, WaitingExecutor

if TYPE_CHECKING:
    from ._cell import Cell
    from ._options import Options


def execute_tools(options: Options, names: Mapping[str, object], cell: Cell) -> ToolExecutor:
    """Return what runs the tools of a cell: on its loop where it is awaited, else on the thread that waits.

    Args:
        options: What the cell asks for.
        names: Where the tools are found.
        cell: The cell.

    Raises:
        ConfigurationError: A tool does not exist, or cannot be one.
    """
    toolbox, is_asked = Toolbox.named(options.tools, names), options.approve != "never"
    if not cell.is_awaited:
        return WaitingExecutor(
            toolbox, approve=TypedApproval().ask if is_asked else None, idle_loop=_loop_between_cells
        )
    context, task = contextvars.copy_context(), asyncio.current_task()
    context.run(keeps_displays.set, True)
    ask = ApprovalButtons().ask if cell.front_end.runs_clicks else TypedApproval().ask_on_loop
    return LoopExecutor(
        toolbox,
        asyncio.get_running_loop(),
        context,
        approve=ask if is_asked else None,
        interrupt=_nothing if task is None else task.cancel,
    )


def _loop_between_cells() -> asyncio.AbstractEventLoop:
    """Return the loop on which a terminal runs cells that await, and on which what they have made lives."""
    from IPython.core.async_helpers import get_asyncio_loop

    loop: asyncio.AbstractEventLoop = get_asyncio_loop()
    return loop


def _nothing() -> None:
    return None
