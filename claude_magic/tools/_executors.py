"""Tools of an awaited cell: they run on the kernel's own loop, in the cell's context, so that what they print goes there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import queue
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..client import ToolUseBlock
from ._call import NOBODY, REFUSED, CallState, RunningCall, ToolCall, ToolResult
from ._nested_loop import (
    GetLoop,
    Interruptible,
    Interrupts,
    NestedLoopError,
    interrupts_raised,
    run_to_end,
    running_loop,
)
from ._tool import Toolbox

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
        self.toolbox = toolbox
        self._loop = loop
        self._context = context
        self.is_asked = approve is not None
        self._approve = approve
        self._interrupt = interrupt
        self._interrupts = interrupts

    def is_held_up_here(self) -> bool:
        """Whether blocking this thread would keep the calls from running."""
        return running_loop() is self._loop

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Run a call; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        running = RunningCall(self.toolbox, call, report)
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
        except Exception as error:  # a fault of ours: the waiting thread must not wait for ever
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


ApproveNow: TypeAlias = Callable[[ToolCall], str]
"""Asks whether a call may run, and blocks: "" for yes, else why not."""


@dataclass(slots=True)
class _PendingCall:
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
        self.toolbox = toolbox
        self.is_asked = approve is not None
        self._approve = approve
        self._idle_loop = idle_loop
        self._thread = threading.get_ident()
        self._pending: queue.SimpleQueue[_PendingCall] = queue.SimpleQueue()
        self._wakers: tuple[Callable[[], None], ...] = ()

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Keep a call, and wake the thread that waits; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        if self._approve is not None:  # said now, because the thread that asks is also the one that draws
            report(CallState.APPROVAL, "")
        self._put(_PendingCall(RunningCall(self.toolbox, call, report), future, is_ready=False))
        return future

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Say that somebody waits, and how to wake them: then they call `run_next`. Returns what takes that back.

        A thread other than the one that the tools belong to is never woken.
        """
        if threading.get_ident() != self._thread:
            return lambda: None
        self._wakers = (*self._wakers, wake)
        if not self._pending.empty():
            wake()

        def leave() -> None:
            self._wakers = tuple(each for each in self._wakers if each is not wake)

        return leave

    def run_next(self) -> None:
        """Take the next step of the call that waits: check it and ask about it, or run it. In between there is time to draw.

        Raises:
            KeyboardInterrupt: Ctrl-C came meanwhile. The call has no result then.
        """
        try:
            pending = self._pending.get_nowait()
        except queue.Empty:
            return
        if pending.future.cancelled():
            return
        try:
            with interrupts_raised():
                result = self._run(pending.running) if pending.is_ready else self._prepare(pending.running)
        except KeyboardInterrupt:
            pending.future.cancel()
            raise
        except Exception as error:
            # A fault of ours, or a loop that cannot be nested: nothing that the model could do better.
            pending.future.set_exception(error)
            return
        if result is None:
            pending.is_ready = True
            self._put(pending)
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it was cancelled meanwhile
            pending.future.set_result(result)

    def _put(self, pending: _PendingCall) -> None:
        self._pending.put(pending)
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


_ALL = "all"
_MEANINGS = {"y": "yes", "yes": "yes", "n": "no", "no": "no", "a": _ALL, "all": _ALL}


class Approval:
    """What a person has decided on the calls of one answer: to allow all holds to its end. Whatever asks derives from this."""

    is_all_allowed = False

    def conclude(self, *, is_allowed: bool, for_all: bool) -> str:
        """Take a decision; return why the call may not run, or "" if it may."""
        self.is_all_allowed = for_all
        return "" if is_allowed else REFUSED


class TypedApproval(Approval):
    """Asks through `input`."""

    def ask(self, call: ToolCall) -> str:
        """Wait for a typed answer; return why the call may not run, or "" if it may.

        A long call is shown page by page, and can be allowed once all of it was seen.

        Raises:
            KeyboardInterrupt: Ctrl-C, instead of an answer.
        """
        if self.is_all_allowed:
            return ""
        *before, last = call.pages()
        try:
            for number, page in enumerate(before, 1):
                begins = "Run " if number == 1 else ""
                typed = input(f"{begins}{page}… [{number} of {len(before) + 1}; Enter shows more, [n]o]: ")
                if _meaning(typed) == "no":
                    return REFUSED
            begins = "" if before else "Run "
            while (
                meaning := _meaning(input(f"{begins}{last}? [y]es, [n]o, [a]ll of this answer: "))
            ) is None:
                pass
        except (RuntimeError, EOFError, OSError):  # kernels and closed terminals, where nobody can type
            return NOBODY
        return self.conclude(is_allowed=meaning != "no", for_all=meaning == _ALL)

    async def ask_on_loop(self, call: ToolCall) -> str:
        """Do the same on an event loop, which stands still meanwhile."""
        with interrupts_raised():
            return self.ask(call)


def _meaning(typed: str) -> str | None:
    return _MEANINGS.get(typed.strip().lower())
