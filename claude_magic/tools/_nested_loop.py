"""Waits for an awaitable in a blocking call.

If no event loop runs, the awaitable runs on a new loop, or on one that the caller provides. In a kernel a loop already
runs, and the awaitable may belong to it. Then nest-asyncio2, which is imported only for this, runs the loop nested
inside itself. The restrictions come from failures in kernels: with versions before 1.7.3, or after the older
nest_asyncio, shell messages were lost; inside an async cell or `asyncio.timeout`, a cell never replies, or the kernel
dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import inspect
import os
import re
import signal
import socket
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from types import FrameType
from typing import Any, TypeAlias, TypeVar

from ..client import ConfigurationError

_Result = TypeVar("_Result")

Interrupts: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]

_REPEAT_AFTER = 0.1
"""Seconds after which a signal is repeated if its handler has not run."""


def interrupts_raised() -> contextlib.AbstractContextManager[None]:
    """Make Ctrl-C raise KeyboardInterrupt in the code of this block.

    While an awaited cell runs, the kernel handles Ctrl-C by cancelling a task, which does not stop a function that blocks the
    loop.
    """
    return sigint_handled(signal.default_int_handler)


def interrupts_raised_between_cells() -> contextlib.AbstractContextManager[None]:
    """Make Ctrl-C raise KeyboardInterrupt between cells, when the kernel ignores SIGINT because no cell runs."""
    return sigint_handled(signal.default_int_handler, also_if_ignored=True)


@contextlib.contextmanager
def interruptible_read() -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt in a read from a terminal, even at the moment when the read begins.

    Python runs signal handlers between bytecodes, and after a system call that a signal has interrupted. A signal that arrives
    between the last bytecode and the system call of `input` is not handled before the next key press (measured: 1 to
    20 of 3,000 signals sent as soon as the prompt is on the screen). A thread repeats such a signal until its handler
    runs.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
        yield  # on Windows, `input` waits for signals too
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    is_reading = is_interrupted = False
    is_over = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        is_over.set()
        if is_reading:
            raise KeyboardInterrupt

    def repeat() -> None:
        while numbers := reader.recv(64):
            if previous != -1:  # the file descriptor of an event loop
                with contextlib.suppress(OSError):
                    os.write(previous, numbers)
            while signal.SIGINT in numbers and not is_over.wait(_REPEAT_AFTER):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    repeating = threading.Thread(target=repeat, name="claude-magic-interrupts", daemon=True)
    with sigint_handled(handle), reader:
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            repeating.start()
            is_reading = True
            yield
        finally:
            is_reading = False
            is_over.set()
            signal.set_wakeup_fd(previous)
            writer.close()
            repeating.join()
    if is_interrupted:
        raise KeyboardInterrupt


# Waking an event loop regularly, so that a kernel interrupt takes effect.
#
# A kernel interrupts an awaited cell by scheduling its cancellation in the handler of SIGINT. With tornado 6.6 that is
# a plain `call_soon`, which does not wake a sleeping loop: the interrupt of a cell that only waits has no effect until
# the loop wakes for another reason (measured on ipykernel 7.4: `await asyncio.sleep(100)` cannot be interrupted). A loop of our own is
# not woken by a signal that arrives just before it begins to wait.
_HEARTBEAT_INTERVAL = 0.05
"""Seconds; the maximum delay of an interrupt."""


@contextlib.contextmanager
def loop_kept_awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake a loop 20 times a second while the context is open, with one timer for all contexts. Enter it on that loop."""
    heartbeat = _heartbeats.setdefault(loop, _Heartbeat())
    heartbeat.waiters += 1
    if heartbeat.waiters == 1:
        heartbeat.beat(loop)
    try:
        yield
    finally:
        heartbeat.waiters -= 1
        if not heartbeat.waiters:
            heartbeat.stop()


class _Heartbeat:
    """A repeating timer that wakes an event loop."""

    def __init__(self) -> None:
        self.waiters = 0
        self._timer: asyncio.TimerHandle | None = None

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_HEARTBEAT_INTERVAL, self.beat, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_heartbeats: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Heartbeat] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def interrupts_cancelling(task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> Iterator[list[int]]:
    """Make the first Ctrl-C cancel a task, and a second one raise KeyboardInterrupt, as `asyncio.run` does.

    An immediate KeyboardInterrupt could hit other code on the loop: a handler of kernel messages, or another task.

    Returns:
        A list to which the received signals are added.
    """
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # wakes the loop

    with sigint_handled(handle):
        yield received


class Interruptible:
    """An awaitable that Ctrl-C can also interrupt while it computes or blocks.

    Args:
        awaitable: The inner awaitable.
        interrupts: Returns a context in which Ctrl-C raises KeyboardInterrupt.
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
            except BaseException as error:  # usually a cancellation, which is passed on to the tool
                step = functools.partial(steps.throw, error)
            else:
                step = functools.partial(steps.send, sent)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@contextlib.contextmanager
def sigint_handled(
    handler: Callable[[int, FrameType | None], Any], *, also_if_ignored: bool = False
) -> Iterator[None]:
    """Install a SIGINT handler if this is the main thread and SIGINT is not ignored."""
    previous = signal.getsignal(signal.SIGINT)
    is_off = previous is None or (previous is signal.SIG_IGN and not also_if_ignored)
    if threading.current_thread() is not threading.main_thread() or is_off:
        yield
        return
    try:
        signal.signal(signal.SIGINT, handler)
        if isinstance(previous, _Deferral):
            previous.deliver()
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defer Ctrl-C until a handler is installed inside the block, or until the block ends.

    For code that starts a request and then waits for it with `interrupts_kept_for`: an interrupt in between would raise before
    anything can cancel the request. A second Ctrl-C is not deferred, because the code may hang.
    """
    deferral = _Deferral()
    try:
        with sigint_handled(deferral):
            yield
    finally:
        deferral.deliver()


class _Deferral:
    """A SIGINT handler that remembers the first signal."""

    def __init__(self) -> None:
        self._is_pending = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_pending:
            signal.default_int_handler(number, frame)
        self._is_pending = True

    def deliver(self) -> None:
        """Send the remembered signal again, to the handler that is installed now."""
        if self._is_pending:
            self._is_pending = False
            signal.raise_signal(signal.SIGINT)


GetLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

_MIN_VERSION = (1, 7, 3)
_SAFE_COROUTINES = frozenset({"Kernel.shell_main", "Kernel.dispatch_queue"})
"""The coroutines that run a plain cell: the loops over shell messages of ipykernel 7 and ipykernel 6."""
_ALTERNATIVE = "Use `await claude.ask_async(...)`, or a separate %%claude cell."


def run_blocking(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine that never suspends. Return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("A coroutine of a blocking cell has suspended.")


class NestedLoopError(ConfigurationError):
    """The running event loop cannot be nested."""


def run_to_end(awaitable: Awaitable[Any], *, idle_loop: GetLoop | None = None) -> Any:
    """Wait for an awaitable on this thread, and return its result or raise its exception.

    Args:
        awaitable: The awaitable.
        idle_loop: Returns the loop to use if none runs; None to make one.

    Raises:
        NestedLoopError: The running event loop cannot be nested; the message names an alternative.
        KeyboardInterrupt: Ctrl-C was pressed. The awaitable is cancelled, so that it does not continue unnoticed.
    """
    loop = running_loop()
    if loop is not None:
        _make_nestable(loop, awaitable)
        return _run_on(loop, awaitable)
    if idle_loop is not None:
        return _run_on(idle_loop(), awaitable)
    # Not asyncio.run: with its own SIGINT handler, Ctrl-C would become an error of the tool.
    with asyncio.Runner() as runner:
        return _run_on(runner.get_loop(), awaitable)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running loop of this thread; None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _outcome(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Return the result and the exception of an awaitable, because SystemExit or KeyboardInterrupt would stop the loop."""
    try:
        with loop_kept_awake(asyncio.get_running_loop()):
            return await Interruptible(awaitable), None
    except BaseException as error:
        return None, error


def _run_on(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Any:
    task = loop.create_task(_outcome(awaitable))
    with interrupts_cancelling(task, loop) as received:
        try:
            value, error = loop.run_until_complete(task)
        except asyncio.CancelledError:  # before its first step
            value, error = None, asyncio.CancelledError()
    if received:
        raise KeyboardInterrupt
    if error is not None:
        raise error
    return value


def _make_nestable(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> None:
    """Make the running loop nestable; if that fails, close the coroutine, so that it does not remain unawaited."""
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
            f"An async function cannot be waited for inside a coroutine ({running}). {_ALTERNATIVE}"
        )
    version = importlib.metadata.version("nest-asyncio2")
    if _numbers(version) < _MIN_VERSION:
        raise NestedLoopError(
            f"nest-asyncio2 {version} loses messages of the kernel; 1.7.3 is needed. {_ALTERNATIVE}"
        )
    import nest_asyncio2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the older nest_asyncio; see the error below
        try:
            nest_asyncio2.apply(loop)
        except ValueError as error:  # uvloop
            raise NestedLoopError(f"This event loop cannot be nested ({error}). {_ALTERNATIVE}") from None
    if getattr(type(loop), "_run_once").__module__ != "nest_asyncio2":  # noqa: B009  a private attribute
        raise NestedLoopError(f"Another package has already patched the event loop. {_ALTERNATIVE}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
