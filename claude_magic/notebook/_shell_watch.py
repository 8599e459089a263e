"""Looks after what a cell leaves behind when it ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runtime import Reply
    from ._errors import Errors

# By name, so that a terminal need not import asyncio for this.
_INTERRUPTS = ("KeyboardInterrupt", "CancelledError")
_DISPLAY_FAILED = "_last_traceback_during_displayhook"


class ShellWatch:
    """Tells the errors when cells begin and end, and cancels replies that an interrupted cell has started and nobody waits for any more.

    In terminal IPython, Ctrl-C during `await reply` tears the loop down and leaves the reply streaming on the bridge,
    unseen and paid for.
    """

    def __init__(self, shell: Any, errors: Errors) -> None:
        self._shell = shell
        self._errors = errors
        self._in_flight_before: frozenset[Reply] = frozenset()

    def start(self) -> None:
        """Watch from the next cell on."""
        self._shell.events.register("pre_run_cell", self._on_start)
        self._shell.events.register("post_run_cell", self._on_end)

    def stop(self) -> None:
        """Watch no longer."""
        self._shell.events.unregister("pre_run_cell", self._on_start)
        self._shell.events.unregister("post_run_cell", self._on_end)

    def _on_start(self, info: Any) -> None:
        self._errors.enter(str(getattr(info, "raw_cell", "") or ""))
        if getattr(self._shell, _DISPLAY_FAILED, False):
            # Of a former cell. ipykernel 7.4 forgets it before blocking cells only, and would call awaited ones failed.
            setattr(self._shell, _DISPLAY_FAILED, False)
        self._in_flight_before = frozenset(_in_flight())

    def _on_end(self, result: Any) -> None:
        if (last := _last()) is not None:  # an empty reply is false
            # It stands on the screen for this cell's own value only; as the value of a later cell it shows again.
            last.is_on_screen = False
        self._errors.leave()
        if _was_interrupted(result):
            for reply in _in_flight():
                if reply not in self._in_flight_before and not reply.outlives_cell:
                    reply.cancel()


def _was_interrupted(result: Any) -> bool:
    # Where Ctrl-C comes between two statements, IPython counts it as an error before the execution.
    errors = (getattr(result, "error_in_exec", None), getattr(result, "error_before_exec", None))
    return any(type(error).__name__ in _INTERRUPTS for error in errors)


def _runtime() -> Any:
    """The runtime if anything has used it; looking must not import it."""
    module = sys.modules.get("claude_magic.runtime")
    return None if module is None else module.get_runtime()


def _in_flight() -> tuple[Reply, ...]:
    runtime = _runtime()
    return () if runtime is None else runtime.in_flight()


def _last() -> Reply | None:
    runtime = _runtime()
    return None if runtime is None else runtime.last
