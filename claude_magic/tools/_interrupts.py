"""Ctrl-C while a tool runs: it reaches the tool's own code, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from types import FrameType
from typing import Any, TypeAlias

Interrupts: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]


def interrupts_raised() -> contextlib.AbstractContextManager[None]:
    """Let Ctrl-C raise KeyboardInterrupt in what runs here, whatever it does around it.

    While an awaited cell runs, a kernel answers Ctrl-C by cancelling a task, which a function that blocks the loop never sees.
    """
    return _sigint_handled(signal.default_int_handler)


def interrupts_raised_between_cells() -> contextlib.AbstractContextManager[None]:
    """Do the same where a kernel has switched Ctrl-C off, because no cell runs that it could be meant for."""
    return _sigint_handled(signal.default_int_handler, also_where_off=True)


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
        loop.call_soon_threadsafe(_nothing)  # wakes it

    with _sigint_handled(handle):
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
def _sigint_handled(
    handler: Callable[[int, FrameType | None], Any], *, also_where_off: bool = False
) -> Iterator[None]:
    """Install a SIGINT handler where that is possible and Ctrl-C is not switched off."""
    former = signal.getsignal(signal.SIGINT)
    is_off = former is None or (former is signal.SIG_IGN and not also_where_off)
    if threading.current_thread() is not threading.main_thread() or is_off:
        yield
        return
    try:
        signal.signal(signal.SIGINT, handler)
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _nothing() -> None:
    return None
