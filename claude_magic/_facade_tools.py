"""Tools of a question that plain Python asks: who runs them, and who is asked before they run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from typing import Any

from .client import ConfigurationError
from .tools import LoopExecutor, Toolbox, TypedApproval, WaitingExecutor

Functions = Iterable[Callable[..., Any]] | None


def execute_while_waiting(functions: Functions, approve: str | None) -> WaitingExecutor | None:
    """Return what runs functions on the thread that calls this, once it waits for the answer; None if there are none.

    Raises:
        ConfigurationError: One of them cannot be a tool.
    """
    toolbox = _toolbox(functions)
    if toolbox is None:
        return None
    return WaitingExecutor(toolbox, approve=TypedApproval().ask if _is_asked(approve) else None)


def execute_on_loop(functions: Functions, approve: str | None) -> LoopExecutor | None:
    """Return what runs functions on the loop of the task that calls this. Raises as `execute_while_waiting` does."""
    toolbox, task = _toolbox(functions), asyncio.current_task()
    if toolbox is None or task is None:
        return None
    return LoopExecutor(
        toolbox,
        asyncio.get_running_loop(),
        contextvars.copy_context(),
        approve=TypedApproval().ask_on_loop if _is_asked(approve) else None,
        interrupt=task.cancel,
    )


def _toolbox(functions: Functions) -> Toolbox | None:
    given = tuple(functions or ())
    return Toolbox(given) if given else None


def _is_asked(approve: str | None) -> bool:
    if approve not in (None, "ask", "never"):
        raise ConfigurationError(f'approve is "ask" or "never", not {approve!r}. Nothing was sent.')
    return approve != "never"
