"""The bridge: one daemon thread with an asyncio loop, on which the shared client and all its requests live.

A client that is bound to the kernel's own loop breaks as soon as it is used from another loop or thread, stands still
while a cell computes, and dies with whoever closes that loop. So the client has a loop of its own, which nobody else
runs, blocks or closes; everything else reaches it through this class, from any thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_CLOSING_TIMEOUT = 5.0
"""Seconds for everything in flight to end once the bridge closes; closing a connection takes milliseconds."""

logger = logging.getLogger("claude_magic.runtime")


class BridgeClosedError(RuntimeError):
    """The bridge takes no more work. Its owner makes another one; users never see this error."""


class Bridge:
    """A thread that runs an event loop until `close`.

    Methods may be called from any thread of the process that made it. A forked child has no such thread: there,
    `is_usable` is false and the child needs a bridge of its own.

    Args:
        on_close: Awaited on the loop when everything in flight has ended, before the loop closes.
    """

    def __init__(self, *, on_close: Callable[[], Awaitable[None]]) -> None:
        self._on_close = on_close
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        # A daemon: a thread that Python waits for at exit would keep the kernel from shutting down.
        self._thread = threading.Thread(target=self._run, name="claude-magic-bridge", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """Whether it can take work: it runs, in this process, and is not being closed."""
        return not self._is_closing and self._pid == os.getpid() and self._thread.is_alive()

    def spawn(
        self, work: Coroutine[Any, Any, _Result], *, on_end: Callable[[asyncio.Task[_Result]], None]
    ) -> Callable[[], None]:
        """Run a coroutine on the loop and return a function that cancels it.

        Args:
            work: What to run.
            on_end: Called on the loop with its task, once that has ended. Also where it was cancelled before its first
                step, when none of its own code has run.

        Returns:
            Cancels the coroutine. Any thread, and a signal handler, may call it: it takes no lock. Calling it after
            the end does nothing.

        Raises:
            BridgeClosedError: It takes no more work. The coroutine is closed.
        """
        started: list[asyncio.Task[_Result]] = []

        def start() -> None:
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(on_end)
            started.append(task)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and everything on it has ended
                # Posted after `start`, so the task is there by then.
                self._loop.call_soon_threadsafe(lambda: started[0].cancel())

        with self._lock:
            if self.is_usable:
                self._loop.call_soon_threadsafe(start)
                return cancel
        work.close()
        raise BridgeClosedError

    def submit(self, work: Coroutine[Any, Any, _Result]) -> concurrent.futures.Future[_Result]:
        """Run a coroutine on the loop; its result, or a request to cancel it, goes through the future.

        Raises:
            BridgeClosedError: As for `spawn`.
        """
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        cancel = self.spawn(work, on_end=lambda task: _settle(future, task))
        future.add_done_callback(lambda done: cancel() if done.cancelled() else None)
        return future

    def close(self) -> None:
        """Cancel everything in flight, let it end, and end the thread. Closing twice is fine."""
        with self._lock:
            is_first = self.is_usable
            self._is_closing = True
            if is_first:
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._pid == os.getpid() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_TIMEOUT + 1.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()  # does not wait for a name lookup that hangs in the loop's executor

    async def _serve(self) -> None:
        await self._stop.wait()
        try:
            async with asyncio.timeout(_CLOSING_TIMEOUT):
                await self._cancel_tasks()
                await self._on_close()
                await self._loop.shutdown_asyncgens()
        except (
            Exception
        ) as failure:  # nobody waits for this thread's errors, and the loop must close all the same
            logger.warning("Closing the client failed: %s", type(failure).__name__)

    async def _cancel_tasks(self) -> None:
        """Cancel what was spawned, and wait until it has ended.

        Not the tasks that libraries made underneath: those are cancelled by their owners, in the order they need.
        """
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # lets the callbacks of the last one run


def _settle(future: concurrent.futures.Future[_Result], task: asyncio.Task[_Result]) -> None:
    """Pass the outcome of a task on to a future of another thread."""
    if task.cancelled():
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    failure = task.exception()
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(task.result())
