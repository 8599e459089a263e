"""Tools of an awaited cell: they run on the kernel's own loop, in the cell's context, so that what they print goes there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ..client import ToolUseBlock
from ._executor import CallState, ToolResult
from ._interrupts import Interruptible, Interrupts, interrupts_raised
from ._running import RunningCall, ToolCall
from ._toolbox import Toolbox

Approve: TypeAlias = Callable[[ToolCall], Awaitable[str]]
"""Asks whether a call may run: "" for yes, else why not."""

_TIME_TO_DRAW = 0.1
"""Seconds before a person is asked or a function blocks the loop, so that the screen can show what about: a frame is due 13
times a second. A question comes below what it asks about."""


class LoopExecutor:
    """Runs calls on an event loop, one after the other.

    Functions that are `async def` run beside the user's other tasks; all others block the loop, as they would in a cell.

    Args:
        toolbox: The tools.
        loop: The loop.
        context: The context in which they run.
        approve: Asks whether a call may run; None allows all.
        interrupt: Called when Ctrl-C has ended a tool: the whole answer is to end with it.
        interrupts: What lets Ctrl-C raise in a tool.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        *,
        approve: Approve | None,
        interrupt: Callable[[], object],
        interrupts: Interrupts = interrupts_raised,
    ) -> None:
        self.definitions = toolbox.definitions
        self.notes = toolbox.notes
        self._toolbox = toolbox
        self._loop = loop
        self._context = context
        self._approve = approve
        self._interrupt = interrupt
        self._interrupts = interrupts

    def is_held_up_here(self) -> bool:
        """Whether blocking this thread would keep the calls from running."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Run a call; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        running = RunningCall(self._toolbox, call, report)
        with contextlib.suppress(RuntimeError):  # the kernel shuts down: nobody waits for the result either
            self._loop.call_soon_threadsafe(self._start, running, future, context=self._context)
        return future

    def _start(self, running: RunningCall, future: concurrent.futures.Future[ToolResult]) -> None:
        if future.cancelled():
            return
        task = self._loop.create_task(self._serve(running, future))

        def cancel(ended: concurrent.futures.Future[ToolResult]) -> None:
            if ended.cancelled():
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(cancel)

    async def _serve(self, running: RunningCall, future: concurrent.futures.Future[ToolResult]) -> None:
        try:
            result = await self._result(running)
        except KeyboardInterrupt:
            future.cancel()
            self._interrupt()
            return
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # of ours: whoever waits shall not wait for ever
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_exception(error)
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it was cancelled meanwhile
            future.set_result(result)

    async def _result(self, running: RunningCall) -> ToolResult:
        with self._interrupts():
            unfit = running.unfit()
        if unfit is not None:
            return unfit
        if self._approve is not None:
            running.report(CallState.APPROVAL, "")
            await asyncio.sleep(_TIME_TO_DRAW)
            if reason := await self._approve(running.call):
                return running.refused(reason)
        running.report(CallState.RUNNING, "")
        if not running.is_async:
            await asyncio.sleep(_TIME_TO_DRAW)
        return await self._run(running)

    async def _run(self, running: RunningCall) -> ToolResult:
        try:
            with self._interrupts():
                value = running.run()
            if inspect.isawaitable(value):
                value = await Interruptible(value, self._interrupts)
            with self._interrupts():  # a large table takes a while to describe
                return running.done(value)
        except KeyboardInterrupt:
            raise
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            return running.failed(error)  # of something that the tool has cancelled itself
        except BaseException as error:  # SystemExit too: it is the tool that wants to end, not the kernel
            return running.failed(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
