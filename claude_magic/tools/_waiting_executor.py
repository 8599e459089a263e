"""Tools of a call that blocks: the thread that waits for the answer runs them meanwhile."""

from __future__ import annotations

import concurrent.futures
import contextlib
import inspect
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..client import ToolUseBlock
from ._executor import CallState, ToolResult
from ._interrupts import interrupts_raised
from ._nested_loop import GetLoop, NestedLoopError, run_to_end
from ._running import RunningCall, ToolCall
from ._toolbox import Toolbox

ApproveNow: TypeAlias = Callable[[ToolCall], str]
"""Asks whether a call may run, and blocks: "" for yes, else why not."""


@dataclass(slots=True)
class _Job:
    running: RunningCall
    future: concurrent.futures.Future[ToolResult]
    is_ready: bool
    """It was checked, and may run."""


class WaitingExecutor:
    """Keeps calls until the thread that made this waits for the answer; there they run.

    Args:
        toolbox: The tools.
        approve: Asks whether a call may run; None allows all.
        idle_loop: Gives the event loop for async functions where none runs; None makes one for each call.
    """

    def __init__(
        self, toolbox: Toolbox, *, approve: ApproveNow | None, idle_loop: GetLoop | None = None
    ) -> None:
        self.definitions = toolbox.definitions
        self.notes = toolbox.notes
        self._toolbox = toolbox
        self._approve = approve
        self._idle_loop = idle_loop
        self._thread = threading.get_ident()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._wakers: tuple[Callable[[], None], ...] = ()

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Keep a call, and wake whoever waits; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        if self._approve is not None:  # said now, because the thread that asks is also the one that draws
            report(CallState.APPROVAL, "")
        self._put(_Job(RunningCall(self._toolbox, call, report), future, is_ready=False))
        return future

    def attend(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Say that somebody waits, and how to wake them: then they call `serve`. Returns what takes that back.

        Whoever waits on another thread than the tools belong to is never woken.
        """
        if threading.get_ident() != self._thread:
            return lambda: None
        self._wakers = (*self._wakers, wake)
        if not self._jobs.empty():
            wake()

        def leave() -> None:
            self._wakers = tuple(each for each in self._wakers if each is not wake)

        return leave

    def serve(self) -> None:
        """Take the next step of the call that waits: check it and ask about it, or run it. In between there is time to draw.

        Raises:
            KeyboardInterrupt: Ctrl-C came meanwhile. The call has no result then.
        """
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return
        if job.future.cancelled():
            return
        try:
            with interrupts_raised():
                result = self._run(job.running) if job.is_ready else self._prepare(job.running)
        except KeyboardInterrupt:
            job.future.cancel()
            raise
        except (
            Exception
        ) as error:  # of ours, or a loop that cannot be nested: nothing that the model could do better
            job.future.set_exception(error)
            return
        if result is None:
            job.is_ready = True
            self._put(job)
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it was cancelled meanwhile
            job.future.set_result(result)

    def _put(self, job: _Job) -> None:
        self._jobs.put(job)
        for wake in self._wakers:
            wake()

    def _prepare(self, running: RunningCall) -> ToolResult | None:
        """Return why a call is not made, or None if it is to be."""
        if (unfit := running.unfit()) is not None:
            return unfit
        if self._approve is not None and (reason := self._approve(running.call)):
            return running.refused(reason)
        running.report(CallState.RUNNING, "")
        return None

    def _run(self, running: RunningCall) -> ToolResult:
        try:
            value = running.run()
            if inspect.isawaitable(value):
                value = run_to_end(value, idle_loop=self._idle_loop)
            return running.done(value)
        except (KeyboardInterrupt, NestedLoopError):
            raise
        except BaseException as error:  # SystemExit too: it is the tool that wants to end, not the program
            return running.failed(error)
