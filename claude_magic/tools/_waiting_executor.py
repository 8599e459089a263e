"""Tools of a call that blocks: the thread that waits for the answer runs them meanwhile."""

from __future__ import annotations

import concurrent.futures
import contextlib
import inspect
import queue
from collections.abc import Callable
from typing import Any, TypeAlias

from ..client import ToolUseBlock
from ._executor import CallState, ToolResult
from ._nested_loop import NestedLoopError, run_to_end
from ._running import RunningCall, ToolCall, interrupts_raised
from ._toolbox import Toolbox

ApproveNow: TypeAlias = Callable[[ToolCall], str]
"""Asks whether a call may run, and blocks: "" for yes, else why not."""

_Job = tuple[RunningCall, "concurrent.futures.Future[ToolResult]"]


class WaitingExecutor:
    """Keeps calls until somebody who waits runs them.

    Args:
        toolbox: The tools.
        approve: Asks whether a call may run; None allows all.
    """

    def __init__(self, toolbox: Toolbox, *, approve: ApproveNow | None) -> None:
        self.definitions = toolbox.definitions
        self._toolbox = toolbox
        self._approve = approve
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._wakers: tuple[Callable[[], None], ...] = ()

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Keep a call, and wake whoever waits; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        self._jobs.put((RunningCall(self._toolbox, call, report), future))
        for wake in self._wakers:
            wake()
        return future

    def attend(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Say that somebody waits, and how to wake them: then they call `serve`. Returns what takes that back."""
        self._wakers = (*self._wakers, wake)
        if not self._jobs.empty():
            wake()

        def leave() -> None:
            self._wakers = tuple(each for each in self._wakers if each is not wake)

        return leave

    def serve(self) -> None:
        """Run the calls that wait, on this thread.

        Raises:
            KeyboardInterrupt: Ctrl-C came while one ran. It has no result then.
        """
        while True:
            try:
                running, future = self._jobs.get_nowait()
            except queue.Empty:
                return
            if not future.cancelled():
                self._serve_one(running, future)

    def _serve_one(self, running: RunningCall, future: concurrent.futures.Future[ToolResult]) -> None:
        try:
            with interrupts_raised():
                result = self._result(running)
        except KeyboardInterrupt:
            future.cancel()
            raise
        except NestedLoopError as error:  # nothing that the model could do better
            future.set_exception(error)
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            future.set_result(result)

    def _result(self, running: RunningCall) -> ToolResult:
        tool = running.tool
        if tool is None:
            return running.impossible()
        if self._approve is not None:
            running.report(CallState.APPROVAL, "")
            if reason := self._approve(running.call):
                return running.refused(reason)
        running.report(CallState.RUNNING, "")
        try:
            value: Any = tool.call(running.call.arguments)
            return running.done(run_to_end(value) if inspect.isawaitable(value) else value)
        except (KeyboardInterrupt, NestedLoopError):
            raise
        except BaseException as error:  # SystemExit too: it is the tool that wants to end, not the program
            return running.failed(error)
