"""Awaiting something in a call that blocks.

Where no event loop runs, that is a loop of its own, or one that the surroundings keep for this. In a kernel the loop runs
already, and what is awaited may live on it: then the loop is let run once more, inside itself, by nest-asyncio2, which is
imported and applied only for this. It has conditions, all of them found by breaking kernels: before 1.7.3, and after the
older nest_asyncio, shell messages were lost; inside an async cell or `asyncio.timeout` a cell never replies, or the
kernel dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import inspect
import re
import signal
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from types import FrameType
from typing import Any, TypeAlias

from ..client import ConfigurationError

Interrupts: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]


def interrupts_raised() -> contextlib.AbstractContextManager[None]:
    """Let Ctrl-C raise KeyboardInterrupt in what runs here, whatever it does around it.

    While an awaited cell runs, a kernel answers Ctrl-C by cancelling a task, which a function that blocks the loop never sees.
    """
    return sigint_handled(signal.default_int_handler)


def interrupts_raised_between_cells() -> contextlib.AbstractContextManager[None]:
    """Do the same where a kernel has switched Ctrl-C off, because no cell runs that it could be meant for."""
    return sigint_handled(signal.default_int_handler, also_where_off=True)


@contextlib.contextmanager
def interrupts_cancelling(task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> Iterator[list[int]]:
    """Let the first Ctrl-C cancel a task, and a second one raise KeyboardInterrupt, as `asyncio.run` does.

    One that raised at once could hit whatever else the loop runs: a message of the kernel, or another task.

    Returns:
        The signals that came, as they come.
    """
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # wakes it

    with sigint_handled(handle):
        yield came


class Interruptible:
    """Awaits something, and lets Ctrl-C reach it where it computes or blocks instead of waiting.

    Args:
        awaitable: What is awaited.
        interrupts: What lets Ctrl-C raise.
    """

    def __init__(self, awaitable: Awaitable[Any], interrupts: Interrupts = interrupts_raised) -> None:
        self._awaitable = awaitable
        self._interrupts = interrupts

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = _awaited(self._awaitable)
        step: Callable[[], Any] = functools.partial(steps.send, None)
        while True:
            with self._interrupts():
                try:
                    awaited = step()
                except StopIteration as end:
                    return end.value
            try:
                sent = yield awaited
            except BaseException as error:  # a cancellation, mostly: it is for the tool to hear
                step = functools.partial(steps.throw, error)
            else:
                step = functools.partial(steps.send, sent)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@contextlib.contextmanager
def sigint_handled(
    handler: Callable[[int, FrameType | None], Any], *, also_where_off: bool = False
) -> Iterator[None]:
    """Install a SIGINT handler where that is possible and Ctrl-C is not switched off."""
    previous = signal.getsignal(signal.SIGINT)
    is_off = previous is None or (previous is signal.SIG_IGN and not also_where_off)
    if threading.current_thread() is not threading.main_thread() or is_off:
        yield
        return
    try:
        signal.signal(signal.SIGINT, handler)
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


GetLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

_OLDEST = (1, 7, 3)
_SAFE_COROUTINES = frozenset({"Kernel.shell_main", "Kernel.dispatch_queue"})
"""What runs a plain cell: ipykernel 7's loop over shell messages, ipykernel 6's."""
_INSTEAD = "Use `await claude.ask_async(...)`, or a separate %%claude cell."


class NestedLoopError(ConfigurationError):
    """The event loop that runs here cannot be let run once more inside itself."""


def run_to_end(awaitable: Awaitable[Any], *, idle_loop: GetLoop | None = None) -> Any:
    """Wait for an awaitable on this thread, and return what it gives, or raise what it raises.

    Args:
        awaitable: What to wait for.
        idle_loop: Gives the loop to run where none runs; None makes one.

    Raises:
        NestedLoopError: The event loop that runs here cannot be nested; the message says what to do instead.
        KeyboardInterrupt: Ctrl-C. The awaitable has been cancelled, so that it does not go on behind the user's back.
    """
    loop = running_loop()
    if loop is not None:
        _let_nest(loop, awaitable)
        return _run_on(loop, awaitable)
    if idle_loop is not None:
        return _run_on(idle_loop(), awaitable)
    # Not asyncio.run, whose own handler of Ctrl-C would make a failure of the tool out of it.
    with asyncio.Runner() as runner:
        return _run_on(runner.get_loop(), awaitable)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs on this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _closed(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Keep what an awaitable raises from the loop, which SystemExit or KeyboardInterrupt would break off."""
    try:
        return await Interruptible(awaitable), None
    except BaseException as error:
        return None, error


def _run_on(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Any:
    task = loop.create_task(_closed(awaitable))
    with interrupts_cancelling(task, loop) as came:
        try:
            value, error = loop.run_until_complete(task)
        except asyncio.CancelledError:  # before its first step
            value, error = None, asyncio.CancelledError()
    if came:
        raise KeyboardInterrupt
    if error is not None:
        raise error
    return value


def _let_nest(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> None:
    """Make the running loop nest, or refuse, and then leave no coroutine behind that nobody awaits."""
    try:
        _nest(loop)
    except NestedLoopError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise


def _nest(loop: asyncio.AbstractEventLoop) -> None:
    task = asyncio.current_task()
    running = None if task is None else getattr(task.get_coro(), "__qualname__", "")
    if running is not None and running not in _SAFE_COROUTINES:
        raise NestedLoopError(
            f"An async function cannot be waited for inside a coroutine ({running}). {_INSTEAD}"
        )
    version = importlib.metadata.version("nest-asyncio2")
    if _numbers(version) < _OLDEST:
        raise NestedLoopError(
            f"nest-asyncio2 {version} loses messages of the kernel; 1.7.3 is needed. {_INSTEAD}"
        )
    import nest_asyncio2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the older one was applied before: said below, with what to do
        try:
            nest_asyncio2.apply(loop)
        except ValueError as error:  # uvloop's
            raise NestedLoopError(f"This event loop cannot be nested ({error}). {_INSTEAD}") from None
    if getattr(type(loop), "_run_once").__module__ != "nest_asyncio2":  # noqa: B009  private, and named so
        raise NestedLoopError(f"Another package has already patched the event loop. {_INSTEAD}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
