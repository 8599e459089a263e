"""`Reply`: the handle on one answer, from the moment it was asked for; waiting for it with Ctrl-C; and the list of jobs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar, Final, Literal, Protocol, Self, TypeAlias

from .._tracebacks import short_errors
from ..client import ClaudeError, ConfigurationError, Message, NetworkError, Usage
from ..schema import extract_code, extract_json
from ..tools import LoopExecutor, WaitingExecutor, sigint_handled
from ._progress import Progress
from ._requests import AskedWith, Question
from ._snapshot import Phase, ReplySnapshot

# Waiting for a reply on a plain thread, in such a way that Ctrl-C always works and is never lost.
#
# A KeyboardInterrupt that Python raises wherever the main thread happens to be can be swallowed: inside a callback, a
# `__del__`, a lock. So for the time of the wait, and only then, SIGINT has a handler of ours, which raises nothing: it
# cancels the reply and wakes the waiter, who raises. Measured on ipykernel: none of 450 interrupts was lost.
_SETTLING_TIME = 2.0
"""Seconds given to an interrupted reply to close its stream and finish its text, which takes milliseconds."""

_POLL_INTERVAL = 0.1 if sys.platform == "win32" else None
"""On Windows a signal does not wake a thread that waits for a lock, so there the wait is cut into pieces."""

_Wake = Literal["done", "interrupted", "call"]


class Waitable(Protocol):
    """What can be waited for: a reply."""

    def cancel(self) -> None:
        """Ask it to end; must be safe inside a signal handler."""

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on any thread once it is done, at once if it is already; return what takes that back."""

    @property
    def pending_calls(self) -> WaitingExecutor | None:
        """What the waiting thread is to run meanwhile: calls of tools."""


def wait_interruptibly(reply: Waitable, timeout: float | None = None) -> bool:
    """Block until a reply is done; return False if `timeout` seconds were not enough.

    On the main thread the first Ctrl-C cancels the reply and then raises KeyboardInterrupt, when its partial text has
    settled; a second one raises at once. Other threads get no signals and just wait.

    Raises:
        KeyboardInterrupt: The wait was interrupted. The reply is cancelled.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with interrupts_kept_for(reply) as waiting:
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if waiting.wait(left):
                return True
            if left == 0.0:
                return False


@contextlib.contextmanager
def interrupts_kept_for(reply: Waitable) -> Iterator[Waiting]:
    """Wait for a reply in several steps, drawing in between, with Ctrl-C kept for the next step all the while.

    ```python
    with interrupts_kept_for(reply) as waiting:
        while not waiting.wait(1 / 15):
            draw(reply.snapshot())
    ```

    Raises:
        KeyboardInterrupt: As `wait_interruptibly`: from `wait`, or on leaving where Ctrl-C came after the last one.
    """
    waiting = Waiting(reply)
    forget = reply.when_done(waiting.note_done)
    leave = (
        reply.pending_calls.subscribe(waiting.note_pending_call) if reply.pending_calls is not None else None
    )
    try:
        with sigint_handled(waiting.interrupt):
            yield waiting
    finally:
        forget()
        if leave is not None:
            leave()
    waiting.raise_interrupt()


class Waiting:
    """The wait for one reply, on the thread that made it."""

    def __init__(self, reply: Waitable) -> None:
        self._reply = reply
        # Its `put` may interrupt a `get` of the same thread, as a signal handler does.
        self._wakes: queue.SimpleQueue[_Wake] = queue.SimpleQueue()
        self._is_done = False
        self._is_interrupted = False
        self._has_pending_call = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the reply is done, `timeout` seconds at most; return whether it is.

        It also returns when a tool call is pending: that is run by the next call of this method, so that the screen can tell of it before.

        Raises:
            KeyboardInterrupt: Ctrl-C came, now or since the last step.
        """
        self._run_pending_call()
        if not self._is_done and not self._is_interrupted:
            self._take(timeout)
        self.raise_interrupt()
        return self._is_done

    def note_done(self) -> None:
        """Take note that the reply is done; on any thread."""
        self._wakes.put("done")

    def note_pending_call(self) -> None:
        """Take note that there is something to run; on any thread."""
        self._wakes.put("call")

    def interrupt(self, _signal_number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT: cancel the reply and wake the waiter; raise only for the second one."""
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        self._reply.cancel()
        self._wakes.put("interrupted")

    def raise_interrupt(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came, after the reply has settled."""
        if not self._is_interrupted:
            return
        deadline = time.monotonic() + _SETTLING_TIME
        while not self._is_done and (left := deadline - time.monotonic()) > 0:
            self._take(left)
        raise KeyboardInterrupt

    def _take(self, timeout: float | None) -> None:
        """Wait for one wake, `timeout` seconds at most."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            bounds = [bound for bound in (left, _POLL_INTERVAL) if bound is not None]
            try:
                self._wake_for(self._wakes.get(timeout=min(bounds, default=None)))
                return
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    return

    def _wake_for(self, wake: _Wake) -> None:
        if wake == "done":
            self._is_done = True
        elif wake == "call":
            self._has_pending_call = True

    def _run_pending_call(self) -> None:
        has_pending_call, self._has_pending_call = self._has_pending_call, False
        if not has_pending_call or self._is_interrupted or self._reply.pending_calls is None:
            return
        try:
            self._reply.pending_calls.run_next()
        except KeyboardInterrupt:
            self.interrupt(signal.SIGINT, None)


# Keeping an event loop awake enough to hear the interrupt button.
#
# A kernel interrupts an awaited cell by scheduling its cancellation in the handler of SIGINT. With tornado 6.6 that is
# a plain `call_soon`, which does not wake a loop that sleeps: an interrupt of a cell that only waits goes unheard until
# the loop has something else to do (measured on ipykernel 7.4: `await asyncio.sleep(100)` cannot be interrupted).
HEARTBEAT_INTERVAL = 0.05
"""Seconds; the longest that an interrupt goes unheard."""


@contextlib.contextmanager
def loop_kept_awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake a loop 20 times a second meanwhile; one timer serves all who wait on it. To be entered on that loop."""
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
    """A timer that sets itself again."""

    def __init__(self) -> None:
        self.waiters = 0
        self._timer: asyncio.TimerHandle | None = None

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(HEARTBEAT_INTERVAL, self.beat, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_heartbeats: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Heartbeat] = weakref.WeakKeyDictionary()


Presenter: TypeAlias = Callable[[ReplySnapshot], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""Turns a snapshot into a mimebundle: data and metadata by MIME type. Given by the layers that know how to draw."""

_HELD_UP = (
    "The tools of this reply run on the event loop of this thread, and waiting for it here would block that. The reply continues; "
    "`await` it instead."
)
_ON_ITS_WAY = (
    "This reply is still in flight, so it cannot be copied or stored: wait for it first with `reply.result()` (or `await "
    "reply`), or take what has arrived, `reply.text`."
)
_CANCELLED = "The reply was cancelled. Its text holds what had arrived."


class Reply:
    """One answer of Claude, which may still be in flight.

    Everything may be used from any thread and any event loop. Text, thinking and usage can be read at any time and grow
    while the answer streams. To wait, call `result()` or `await` the reply.

    A reply is not a string, but acts on its text where that is asked of it: `str(reply)`, f-strings with or without a
    format, `len(reply)`, `"word" in reply`, `reply == "text"`. (So an empty one is false, as an empty string is.) For all
    else there is `reply.text`. Two replies are equal only if they are the same one, and the hash is that of identity,
    because the text grows: to look an answer up in a set or dict of strings, use `str(reply)`.

    Once it has ended, a reply can be copied and pickled. It comes back as data, wherever it is read: text, usage, cost, message,
    calls, error and the parsed object; nothing of the kernel goes along, neither its credential nor functions given as tools.

    Attributes:
        prompt: What was asked.
        origin: Who asked, in a word or two: "In[4]", "panel", "Python".
        outlives_cell: It belongs to no cell, so that interrupting one leaves it alone.
        thread: The thread of the conversation it stands in; None where it stands alone.
        asked_with: What its rest is asked for with, if it is cut; None where it was stored.
        is_on_screen: Set by the code that has drawn the answer. The next time IPython would show the reply as the value of a
            cell, it shows nothing and clears this.
        presenter: How replies are drawn in this process, also those that were stored; None for their plain text.
    """

    presenter: ClassVar[Presenter | None] = None

    def __init__(
        self,
        question: Question,
        progress: Progress,
        *,
        thread: str | None = None,
        asked_with: AskedWith | None = None,
    ) -> None:
        self.asked_with = asked_with
        self.prompt = question.prompt
        self.origin = question.origin
        self.thread = thread
        self.outlives_cell = question.outlives_cell
        self._schema = question.output_schema
        self._tools = question.tools
        self.is_on_screen = False
        self._progress = progress
        self._pid = os.getpid()
        self._cancel: Callable[[], None] | None = None

    # What has come...

    @property
    def text(self) -> str:
        """The answer, as far as it has arrived."""
        return self.snapshot().text

    @property
    def thinking(self) -> str:
        """The summary of the model's thinking, as far as it has arrived; empty where the model shows none."""
        return self.snapshot().thinking

    @property
    def message(self) -> Message | None:
        """The message as the API sent it, or as much of it as had come when the reply ended; None before its end."""
        return self._progress.message

    @property
    def usage(self) -> Usage | None:
        """Tokens, cumulative; None until the server has told."""
        return self.snapshot().usage

    @property
    def cost(self) -> float | None:
        """What it cost by the published prices, in USD; None where its model has none, or nothing is known yet."""
        return self.snapshot().cost

    @property
    def code(self) -> str:
        """The code in the answer: its fenced blocks, joined; empty where there is none."""
        return extract_code(self.text)

    @property
    def has_schema(self) -> bool:
        """Whether the answer was asked to fit a schema."""
        return self._schema is not None

    @property
    @short_errors
    def parsed(self) -> Any:
        """The object that the answer was asked to be, made afresh with each look; None where a schema was not given.

        Raises:
            SchemaMismatchError: The answer does not fit the schema.
        """
        return None if self._schema is None else self._schema.parse(self.text)

    @short_errors
    def json(self) -> Any:
        """Return the answer read as JSON, also out of a fenced block or from between prose.

        Raises:
            NoJSONError: There is none in it.
        """
        return extract_json(self.text)

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.snapshot().model

    @property
    def stop_reason(self) -> str | None:
        """Why the answer ended; None as long as it has not."""
        return self.snapshot().stop_reason

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, for its support."""
        return self.snapshot().request_id

    @property
    def error(self) -> ClaudeError | None:
        """How it failed, or None."""
        return self._progress.error

    @property
    def phase(self) -> Phase:
        """How far the reply has come."""
        return self._progress.phase

    @property
    def seconds(self) -> float:
        """Seconds since it was asked for, up to its end."""
        return self.snapshot().elapsed

    @property
    def is_simulated(self) -> bool:
        """Whether a simulator answered, not Claude."""
        return self.snapshot().is_simulated

    def add_note(self, note: str) -> None:
        """Have a sentence shown with it that a person should know."""
        self._progress.add_note(note)

    def snapshot(self) -> ReplySnapshot:
        """Everything about the reply at this moment, frozen."""
        return self._progress.snapshot()

    # Waiting and stopping...

    @property
    def pending_calls(self) -> WaitingExecutor | None:
        """Tool calls for the thread that waits for the reply to run."""
        return self._tools if isinstance(self._tools, WaitingExecutor) else None

    def done(self) -> bool:
        """Whether it has ended: complete, failed or cancelled."""
        return self.phase.is_final

    def cancel(self) -> None:
        """Stop it, and keep what has arrived.

        The connection closes within milliseconds, wherever the reply is: waiting for the limiter, for a retry, for the
        first word, or streaming. Safe in a signal handler; after the end it does nothing.
        """
        if self._cancel is not None:
            self._cancel()

    @short_errors
    def result(self, timeout: float | None = None) -> Self:
        """Wait until it has ended, and return it.

        On the main thread Ctrl-C (the kernel's interrupt) cancels the reply, then raises KeyboardInterrupt.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes. The reply itself goes on afterwards.

        Raises:
            ClaudeError: It failed. Its partial text is in `text`.
            ConfigurationError: Its tools are to run on this thread's event loop, which waiting here would block. It goes on.
            concurrent.futures.CancelledError: It was cancelled. (Likewise.)
            TimeoutError: It has not ended within `timeout`.
            KeyboardInterrupt: The wait was interrupted.
        """
        if not self.done() and isinstance(self._tools, LoopExecutor) and self._tools.is_held_up_here():
            raise ConfigurationError(_HELD_UP)
        if not self.done() and not wait_interruptibly(self, timeout):
            raise TimeoutError(
                f"The reply has not ended within {timeout:g} s. It continues; `cancel()` stops it."
            )
        self._raise_failure()
        if self.phase is Phase.CANCELLED:
            raise concurrent.futures.CancelledError(_CANCELLED)
        return self

    @short_errors
    def __await__(self) -> Generator[Any, None, Self]:
        """Wait on the running event loop, whichever that is, without blocking it.

        Raises as `result` does, but asyncio's own CancelledError if the reply was cancelled.

        Cancelling the task that awaits does *not* cancel the reply: others may wait for it too. (A reply that was started
        by `claude.ask_async` is cancelled with its task, because nobody else has it.)
        """
        if not self.done():
            with loop_kept_awake(asyncio.get_running_loop()):
                yield from ended(self).__await__()
        self._raise_failure()
        if self.phase is Phase.CANCELLED:
            raise asyncio.CancelledError(_CANCELLED)
        return self

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once, when it has ended: on the bridge thread, or at once if it has already.

        The callback must not block. Returns a function that takes it back.
        """
        return self._progress.when_final(callback)

    def observe(self, callback: Callable[[Reply], None]) -> Callable[[], None]:
        """Call back after each change, the last one included, on the bridge thread.

        The callback must be quick and must not block: it holds up every reply in flight. One that raises is logged and
        called again at the next change. Changes before the call are not repeated, so look at `snapshot()` after
        registering. Returns a function that ends it.
        """
        return self._progress.observe(lambda: callback(self))

    def bind(self, cancel: Callable[[], None]) -> None:
        """Say how it is cancelled; done once, by the runtime that started it."""
        self._cancel = cancel

    def _raise_failure(self) -> None:
        error = self._progress.error
        if error is not None:
            # Without its traceback, which would otherwise grow each time the same error is raised.
            raise error.with_traceback(None)

    def abandon(self) -> None:
        """End it in a forked child, where the thread that would go on with it does not exist."""
        self._progress.reset_lock()
        self._cancel = None
        reason = f"The reply belongs to process {self._pid}, from which this one was forked; it continues only there."
        self._progress.fail(NetworkError(reason), None)

    # Copies...

    def __getstate__(self) -> dict[str, Any]:
        """What the reply is as data.

        Raises:
            TypeError: It has not ended.
        """
        if not self.done():
            raise TypeError(_ON_ITS_WAY)
        left_behind = ("_cancel", "_tools", "_pid", "is_on_screen", "asked_with")
        return {name: value for name, value in self.__dict__.items() if name not in left_behind}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cancel, self._tools, self.asked_with, self._pid = None, None, None, os.getpid()
        self.is_on_screen = False

    # Like a string where asked...

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(self.text, spec)

    def __len__(self) -> int:
        return len(self.text)

    def __contains__(self, part: object) -> bool:
        return isinstance(part, str) and part in self.text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.text == other
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        text = self.text
        excerpt = text if len(text) <= 60 else f"{text[:57]}..."
        return f"<Reply {self.phase.value}, {self.model}: {excerpt!r}>"

    # In a notebook...

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        if Reply.presenter is None:
            return {"text/plain": self.text or repr(self)}
        return Reply.presenter(self.snapshot())

    def _ipython_display_(self) -> None:
        if not self.is_on_screen:
            raise NotImplementedError  # IPython's word for "show it in the usual way"
        self.is_on_screen = False


async def ended(reply: Reply) -> None:
    """Return when a reply has ended, in whatever way. For the running loop, as `await reply` is, but raises nothing of the reply's."""
    loop = asyncio.get_running_loop()
    is_done = loop.create_future()
    forget = reply.when_done(lambda: _wake(loop, is_done))
    try:
        await is_done
    finally:
        forget()


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    """Resolve a future of another loop; one whose loop is closed meanwhile has nobody who waits."""

    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)


class Cancellable(Protocol):
    """What can be listed and stopped as a job: a reply, or a map."""

    @property
    def prompt(self) -> str:
        """What was asked."""

    @property
    def origin(self) -> str:
        """Who asked, in a word or two."""

    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> None:
        """Stop it."""

    def snapshot(self) -> Any:
        """Return it as it is at this moment."""


KEPT_JOBS: Final = 50
"""Background cells whose ended jobs are still listed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One answer under its number.

    Attributes:
        number: Counts from 1, as long as the kernel lives.
        reply: The answer.
    """

    number: int
    reply: Cancellable


class Jobs:
    """Numbers the answers of a kernel that can be stopped by name. Every method may be called from any thread.

    Args:
        in_flight: Returns the replies that have not ended, oldest first.
    """

    def __init__(self, in_flight: Callable[[], Iterable[Cancellable]]) -> None:
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._last_number = 0
        self._numbers: dict[Cancellable, int] = {}
        self._of_cells: dict[Cancellable, str | None] = {}

    def add(self, reply: Cancellable, *, cell: str | None) -> None:
        """Give a background cell's reply its number. It is listed also when it has ended.

        Args:
            reply: The reply.
            cell: What tells the cell from others, or None.
        """
        with self._lock:
            self._of_cells[reply] = cell
            self._job(reply)
            ended = [each for each in self._of_cells if each.done()]
            for each in ended[: max(0, len(self._of_cells) - KEPT_JOBS)]:
                del self._of_cells[each]

    def find(self, reply: Cancellable) -> Job:
        """Return a reply under its number, which it gets now if it has none."""
        with self._lock:
            return self._job(reply)

    def stop_of_cell(self, cell: str | None) -> None:
        """Stop what a cell has in flight. It is run again, and what it draws on has gone."""
        with self._lock:
            replies = [reply for reply, other in self._of_cells.items() if cell is not None and other == cell]
        for reply in replies:
            reply.cancel()

    def all(self) -> tuple[Job, ...]:
        """Return all answers in flight, and the last ones of background cells, by number."""
        in_flight = tuple(self._in_flight())
        with self._lock:
            replies = dict.fromkeys((*self._of_cells, *in_flight))
            self._numbers = {reply: number for reply, number in self._numbers.items() if reply in replies}
            return tuple(sorted((self._job(reply) for reply in replies), key=lambda job: job.number))

    def _job(self, reply: Cancellable) -> Job:
        if reply not in self._numbers:
            self._last_number += 1
            self._numbers[reply] = self._last_number
        return Job(self._numbers[reply], reply)
