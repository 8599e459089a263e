"""Executors for tool calls: on the event loop of an awaited cell, and on a thread that waits for the answer."""

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

from .._observers import Observers
from ..client import ConfigurationError, ToolUseBlock
from ._call import NOBODY, REFUSED, CallState, Report, RunningCall, ToolCall, ToolResult
from ._nested_loop import (
    GetLoop,
    Interruptible,
    Interrupts,
    NestedLoopError,
    interruptible_read,
    interrupts_raised,
    run_to_end,
    running_loop,
)
from ._tool import Toolbox

Approve: TypeAlias = Callable[[ToolCall], Awaitable[str]]
"""Asks whether a call may run; the result is "" for yes, else the reason."""

_DRAW_DELAY = 0.1
"""Seconds to wait before asking for approval, or before a function blocks the loop. In this time the call is drawn (at
13 frames per second), so that the question appears below it."""


class LoopExecutor:
    """An executor that runs calls on an event loop, one after the other, in a cell's context, which receives their output.

    `async def` functions run concurrently with the user's other tasks. Other functions block the loop, as in a cell.

    Args:
        toolbox: The tools.
        loop: The loop.
        context: The context of the calls.
        approve: Asks whether a call may run; None to allow all.
        interrupt: Stops the whole answer; called after Ctrl-C in a tool.
        interrupts: Returns a context in which Ctrl-C raises KeyboardInterrupt.
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

    def would_deadlock_here(self) -> bool:
        """Return whether blocking this thread would prevent the calls from running."""
        return running_loop() is self._loop

    def submit(self, call: ToolUseBlock, report: Report) -> concurrent.futures.Future[ToolResult]:
        """Start a call; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        running = RunningCall(self.toolbox, call, report)
        with contextlib.suppress(RuntimeError):  # the kernel shuts down, and the result is not needed
            self._loop.call_soon_threadsafe(self._start, running, future, context=self._context)
        return future

    def _start(self, running: RunningCall, future: concurrent.futures.Future[ToolResult]) -> None:
        if future.cancelled():
            return
        task = self._loop.create_task(self._complete(running, future))

        def cancel(ended: concurrent.futures.Future[ToolResult]) -> None:
            if ended.cancelled():
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(cancel)

    async def _complete(self, running: RunningCall, future: concurrent.futures.Future[ToolResult]) -> None:
        try:
            result = await self._result(running)
        except KeyboardInterrupt:
            future.cancel()
            self._interrupt()
            return
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # a bug in this package: the waiting thread must not hang
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_exception(error)
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # cancelled meanwhile
            future.set_result(result)

    async def _result(self, running: RunningCall) -> ToolResult:
        with self._interrupts():
            invalid = running.check()
        if invalid is not None:
            return invalid
        if self._approve is not None:
            running.report(CallState.APPROVAL, "")
            await asyncio.sleep(_DRAW_DELAY)
            if reason := await self._approve(running.call):
                return running.refused(reason)
        running.report(CallState.RUNNING, "")
        if not running.is_async:
            await asyncio.sleep(_DRAW_DELAY)
        return await self._run(running)

    async def _run(self, running: RunningCall) -> ToolResult:
        try:
            with self._interrupts():
                value = running.run()
            if inspect.isawaitable(value):
                value = await Interruptible(value, self._interrupts)
            with self._interrupts():  # describing a large table takes a while
                return running.done(value)
        except KeyboardInterrupt:
            raise
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            return running.failed(error)  # the tool cancelled one of its own tasks
        except BaseException as error:  # SystemExit too: it ends the tool, not the kernel
            return running.failed(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


ApproveNow: TypeAlias = Callable[[ToolCall], str]
"""Asks whether a call may run, and blocks; the result is "" for yes, else the reason."""


@dataclass(slots=True)
class _PendingCall:
    running: RunningCall
    future: concurrent.futures.Future[ToolResult]
    is_ready: bool
    """Whether the call was checked and approved."""


class WaitingExecutor:
    """An executor that queues calls and runs them on its creating thread, while that thread waits for the answer.

    Args:
        toolbox: The tools.
        approve: Asks whether a call may run; None to allow all.
        idle_loop: Returns the event loop for async functions if none runs; None to make one for each call.
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
        self._wakers = Observers("tool calls")

    def submit(self, call: ToolUseBlock, report: Report) -> concurrent.futures.Future[ToolResult]:
        """Queue a call, and wake the waiting thread; see `ToolExecutor.submit`."""
        future: concurrent.futures.Future[ToolResult] = concurrent.futures.Future()
        if self._approve is not None:  # reported now, because the thread that asks also draws
            report(CallState.APPROVAL, "")
        self._put(_PendingCall(RunningCall(self.toolbox, call, report), future, is_ready=False))
        return future

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Register a callback that wakes the waiting thread to call `run_next`. Return a function that unregisters it.

        On a thread other than the creating one, nothing is registered.
        """
        if threading.get_ident() != self._thread:
            return lambda: None
        unsubscribe = self._wakers.add(wake)
        if not self._pending.empty():
            self._wakers.notify()
        return unsubscribe

    def run_next(self) -> None:
        """Perform one step of the next call: check and approve it, or run it. The caller can draw between the steps.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The call is cancelled.
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
            # A bug in this package, or a loop that cannot be nested: the model cannot fix either.
            pending.future.set_exception(error)
            return
        if result is None:
            pending.is_ready = True
            self._put(pending)
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # cancelled meanwhile
            pending.future.set_result(result)

    def _put(self, pending: _PendingCall) -> None:
        self._pending.put(pending)
        self._wakers.notify()

    def _prepare(self, running: RunningCall) -> ToolResult | None:
        """Return the result of a call that is invalid or not approved; None if it may run."""
        if (invalid := running.check()) is not None:
            return invalid
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
        except BaseException as error:  # SystemExit too: it ends the tool, not the program
            return running.failed(error)


def needs_approval(approve: str | None) -> bool:
    """Return whether the user is asked before each call, given the option `approve`; None is its default.

    Raises:
        ConfigurationError: The option has another value.
    """
    if approve not in (None, "ask", "never"):
        raise ConfigurationError(f'approve is "ask" or "never", not {approve!r}. Nothing was sent.')
    return approve != "never"


_ALL = "all"
_MEANINGS = {"y": "yes", "yes": "yes", "n": "no", "no": "no", "a": _ALL, "all": _ALL}


class Approval:
    """The base class of approval prompts for the calls of one answer. Allowing all applies to the whole answer."""

    is_all_allowed = False

    def conclude(self, *, is_allowed: bool, for_all: bool) -> str:
        """Record a decision; return the reason why the call may not run, or "" if it may."""
        self.is_all_allowed = for_all
        return "" if is_allowed else REFUSED


class TypedApproval(Approval):
    """An approval prompt that uses `input`."""

    def ask(self, call: ToolCall) -> str:
        """Ask and wait for the answer; return the reason why the call may not run, or "" if it may.

        A long call is shown page by page, and can be approved on its last page.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed instead.
        """
        if self.is_all_allowed:
            return ""
        try:
            with interruptible_read():
                meaning = self._typed(call)
        except (RuntimeError, EOFError, OSError):  # kernels and terminals without input
            return NOBODY
        return self.conclude(is_allowed=meaning != "no", for_all=meaning == _ALL)

    def _typed(self, call: ToolCall) -> str:
        *before, last = call.pages()
        for number, page in enumerate(before, 1):
            begins = "Run " if number == 1 else ""
            typed = input(f"{begins}{page}… [{number} of {len(before) + 1}; Enter shows more, [n]o]: ")
            if _meaning(typed) == "no":
                return "no"
        begins = "" if before else "Run "
        while True:
            typed = input(f"{begins}{last}? [y]es, [n]o, [a]ll of this answer: ")
            if (meaning := _meaning(typed)) is not None:
                return meaning

    async def ask_on_loop(self, call: ToolCall) -> str:
        """Call `ask` on an event loop, which is blocked until the user has answered."""
        with interrupts_raised():
            return self.ask(call)


def _meaning(typed: str) -> str | None:
    return _MEANINGS.get(typed.strip().lower())
