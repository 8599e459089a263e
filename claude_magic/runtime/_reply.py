"""`Reply`, the handle of one answer in flight or complete; interruptible waiting for it; and the list of jobs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar, Final, Literal, Protocol, Self, TypeAlias

from .._tracebacks import short_errors
from ..client import ClaudeError, ConfigurationError, Message, NetworkError, Usage
from ..schema import extract_code, extract_json
from ..tools import LoopExecutor, WaitingExecutor, loop_kept_awake, sigint_handled
from ._progress import Phase, Progress, ReplySnapshot
from ._requests import Question

# Blocking waits for a reply, in which no Ctrl-C is lost.
#
# Python raises KeyboardInterrupt wherever the main thread happens to be, and it can be swallowed: inside a callback, a
# `__del__`, a lock. So during the wait, and only then, SIGINT has a handler of its own, which does not raise: it cancels the
# reply and wakes the waiting code, which raises. Measured on ipykernel: none of 450 interrupts was lost.
_CANCEL_TIMEOUT = 2.0
"""Seconds given to an interrupted reply to close its stream and finish its text, which takes milliseconds."""

_POLL_INTERVAL = 0.1
"""Maximum length of one wait in seconds. A longer wait is a series of short ones, because a signal that arrives just
before a thread waits for a lock does not wake the thread; on Windows, no signal does."""

_Wake = Literal["done", "interrupted", "call"]


class Stoppable(Protocol):
    """What can be stopped: a reply, a comparison or a map."""

    def cancel(self) -> None:
        """Request cancellation. Must be safe inside a signal handler."""


class Waitable(Stoppable, Protocol):
    """The interface that waiting for a reply requires."""

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on any thread when it is done, or now if it is; return a function that removes it."""

    @property
    def pending_calls(self) -> WaitingExecutor | None:
        """Tool calls that the waiting thread must run while it waits, or None."""


def wait_interruptibly(reply: Waitable, timeout: float | None = None) -> bool:
    """Block until a reply is done; return False after `timeout` seconds.

    On the main thread the first Ctrl-C cancels the reply, waits for its partial text and raises KeyboardInterrupt; a second
    one raises at once. Other threads get no signals and just wait.

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
    """Wait for a reply in several steps, with other work in between; Ctrl-C takes effect at the next step.

    ```python
    with interrupts_kept_for(reply) as waiting:
        while not waiting.wait(0.1):
            draw(reply.snapshot())
    ```

    Raises:
        KeyboardInterrupt: As in `wait_interruptibly`: from `wait`, or on exit if Ctrl-C came after the last `wait`.
    """
    waiting = Waiting(reply)
    unsubscribe = reply.when_done(waiting.on_done)
    unsubscribe_calls = (
        reply.pending_calls.subscribe(waiting.on_pending_call) if reply.pending_calls is not None else None
    )
    try:
        with sigint_handled(waiting.interrupt):
            yield waiting
    finally:
        unsubscribe()
        if unsubscribe_calls is not None:
            unsubscribe_calls()
    waiting.raise_interrupt()


@contextlib.contextmanager
def stopped_if_left(reply: Stoppable) -> Iterator[None]:
    """Stop a reply if an exception leaves the block: nobody waits for it any more, and what it generates is billed.

    Such an exception is the time limit of a signal handler, or an output that cannot be written.
    """
    try:
        yield
    except BaseException:
        reply.cancel()
        raise


class Waiting:
    """The wait for one reply. Use it on the thread that created it."""

    def __init__(self, reply: Waitable) -> None:
        self._reply = reply
        # A SimpleQueue, because its `put` is reentrant: the signal handler may interrupt a `get` of the same thread.
        self._wakes: queue.SimpleQueue[_Wake] = queue.SimpleQueue()
        self._is_done = False
        self._is_interrupted = False
        self._has_pending_call = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the reply is done, for at most `timeout` seconds; return whether it is.

        Also returns when a tool call is pending. The next call of this method runs it, so that it can be displayed first.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, now or since the last step.
        """
        self._run_pending_call()
        if not self._is_done and not self._is_interrupted:
            self._take(timeout)
        self.raise_interrupt()
        return self._is_done

    def on_done(self) -> None:
        """Wake the wait because the reply is done. Any thread may call it."""
        self._wakes.put("done")

    def on_pending_call(self) -> None:
        """Wake the wait because a tool call is pending. Any thread may call it."""
        self._wakes.put("call")

    def interrupt(self, _signal_number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT: cancel the reply and wake the wait. Only a second SIGINT raises."""
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        self._reply.cancel()
        self._wakes.put("interrupted")

    def raise_interrupt(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed, after the cancelled reply has ended."""
        if not self._is_interrupted:
            return
        deadline = time.monotonic() + _CANCEL_TIMEOUT
        while not self._is_done and (left := deadline - time.monotonic()) > 0:
            self._take(left)
        raise KeyboardInterrupt

    def _take(self, timeout: float | None) -> None:
        """Wait for one wake-up, for at most `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self._wake_for(
                    self._wakes.get(timeout=_POLL_INTERVAL if left is None else min(left, _POLL_INTERVAL))
                )
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


class ShownOnce:
    """A value that can be drawn before IPython displays it as the value of a cell.

    Attributes:
        is_on_screen: Set by the code that has drawn the value. If set, IPython's next display of it as the value of a cell shows
            nothing, and clears this.
    """

    is_on_screen = False

    def _ipython_display_(self) -> None:
        if not self.is_on_screen:
            raise NotImplementedError  # tells IPython to use the default display
        self.is_on_screen = False


Presenter: TypeAlias = Callable[[ReplySnapshot], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""Returns the mimebundle of a snapshot: data and metadata by MIME type. Set by the display layers."""

_WOULD_BLOCK_LOOP = (
    "The tools of this reply run on the event loop of this thread, and waiting for it here would block that. The reply continues; "
    "`await` it instead."
)
_STILL_IN_FLIGHT = (
    "This reply is still in flight, so it cannot be copied or stored: wait for it first with `reply.result()` (or `await "
    "reply`), or use the partial text, `reply.text`."
)
_CANCELLED = "The reply was cancelled. Its `text` is the partial answer."


class Reply(ShownOnce):
    """An answer of Claude, in flight or complete.

    All members may be used from any thread and any event loop. Text, thinking and usage can be read at any time and grow
    while the answer streams. To wait, call `result()` or `await` the reply.

    A reply is not a string, but these operations use its text: `str(reply)`, f-strings with or without a format,
    `len(reply)`, `"word" in reply`, `reply == "text"`. (So an empty reply is false, like an empty string.) For anything
    else use `reply.text`. Two replies are equal only if they are the same object, and the hash is that of identity,
    because the text grows: to look an answer up in a set or dict of strings, use `str(reply)`.

    A reply that has ended can be copied and pickled. The copy contains plain data: text, usage, cost, message, calls, error
    and the parsed object. It contains no state of the kernel, such as its credential or functions used as tools.

    Attributes:
        prompt: The prompt.
        origin: The source of the question in a word or two: "In[4]", "panel", "Python".
        outlives_cell: Whether it belongs to no cell, so that interrupting a cell does not stop it.
        thread: The thread of its conversation, or None.
        asked_with: The question with which to request the rest of a truncated answer; None for a stored reply.
        presenter: Renders replies in this process, stored ones included; None for plain text.
    """

    presenter: ClassVar[Presenter | None] = None

    def __init__(
        self,
        question: Question,
        progress: Progress,
        *,
        thread: str | None,
        asked_with: Question | None,
    ) -> None:
        self.asked_with = asked_with
        self.prompt = question.prompt
        self.origin = question.origin
        self.thread = thread
        self.outlives_cell = question.outlives_cell
        self._schema = question.output_schema
        self._tools = question.tools
        self._progress = progress
        self._pid = os.getpid()
        self._cancel: Callable[[], None] | None = None

    # Content...

    @property
    def text(self) -> str:
        """The text of the answer received so far."""
        return self.snapshot().text

    @property
    def thinking(self) -> str:
        """The summary of the model's thinking received so far; empty if the model sends none."""
        return self.snapshot().thinking

    @property
    def message(self) -> Message | None:
        """The API's message, complete or partial; None before the reply has ended."""
        return self._progress.message

    @property
    def usage(self) -> Usage | None:
        """Cumulative token counts; None until the server has reported them."""
        return self.snapshot().usage

    @property
    def cost(self) -> float | None:
        """Cost in USD by the published prices; None if its model has no price, or no usage is known yet."""
        return self.snapshot().cost

    @property
    def code(self) -> str:
        """The code in the answer: its fenced blocks, joined; empty if there are none."""
        return extract_code(self.text)

    @property
    def has_schema(self) -> bool:
        """Whether the question requested a schema."""
        return self._schema is not None

    @property
    @short_errors
    def parsed(self) -> Any:
        """The answer parsed by its schema at each access; None without a schema.

        Raises:
            SchemaMismatchError: The answer does not fit the schema.
        """
        return None if self._schema is None else self._schema.parse(self.text)

    @short_errors
    def json(self) -> Any:
        """Return the answer parsed as JSON, which may be in a fenced block or between other text.

        Raises:
            NoJSONError: The answer contains no JSON.
        """
        return extract_json(self.text)

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.snapshot().model

    @property
    def stop_reason(self) -> str | None:
        """The API's `stop_reason`; None until the answer has ended."""
        return self.snapshot().stop_reason

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, for support inquiries."""
        return self.snapshot().request_id

    @property
    def error(self) -> ClaudeError | None:
        """The error of a failed reply, or None."""
        return self._progress.error

    @property
    def phase(self) -> Phase:
        """The phase of the reply."""
        return self._progress.phase

    @property
    def seconds(self) -> float:
        """Seconds from the question to now, or to the end of the reply."""
        return self.snapshot().elapsed

    @property
    def is_simulated(self) -> bool:
        """Whether a simulator answered instead of Claude."""
        return self.snapshot().is_simulated

    def add_note(self, note: str) -> None:
        """Add a sentence that is shown to the user with the reply."""
        self._progress.add_note(note)

    def snapshot(self) -> ReplySnapshot:
        """Return the current state of the reply, frozen."""
        return self._progress.snapshot()

    # Waiting and stopping...

    @property
    def pending_calls(self) -> WaitingExecutor | None:
        """Tool calls to be run by the thread that waits for the reply, or None."""
        return self._tools if isinstance(self._tools, WaitingExecutor) else None

    def done(self) -> bool:
        """Whether it has ended: complete, failed or cancelled."""
        return self.phase.is_final

    def cancel(self) -> None:
        """Stop the reply, and keep the partial answer.

        The connection closes within milliseconds in every phase: waiting for the limiter, for a retry, for the first token, or
        streaming. Safe in a signal handler. Does nothing after the end.
        """
        if self._cancel is not None:
            self._cancel()

    @short_errors
    def result(self, timeout: float | None = None) -> Self:
        """Wait until the reply has ended, and return it.

        On the main thread Ctrl-C (the kernel's interrupt) cancels the reply, then raises KeyboardInterrupt.

        Args:
            timeout: Maximum wait in seconds; None for no limit. The reply continues afterwards.

        Raises:
            ClaudeError: The reply failed. The partial text is in `text`.
            ConfigurationError: Its tools run on this thread's event loop, which waiting would block. The reply continues.
            concurrent.futures.CancelledError: The reply was cancelled. The partial text is in `text`.
            TimeoutError: The reply has not ended within `timeout`.
            KeyboardInterrupt: The wait was interrupted.
        """
        if not self.done() and isinstance(self._tools, LoopExecutor) and self._tools.would_deadlock_here():
            raise ConfigurationError(_WOULD_BLOCK_LOOP)
        if not self.done() and not wait_interruptibly(self, timeout):
            raise TimeoutError(
                f"The reply has not ended within {timeout:g} s. It continues; `cancel()` stops it."
            )
        self._raise_failure(concurrent.futures.CancelledError)
        return self

    @short_errors
    def __await__(self) -> Generator[Any, None, Self]:
        """Wait on the running event loop without blocking it.

        Raises like `result`, but `asyncio.CancelledError` if the reply was cancelled.

        Cancelling the awaiting task does *not* cancel the reply, because other code may wait for it too. (A reply started
        by `claude.ask_async` is cancelled with its task, because no other code has a reference to it.)
        """
        if not self.done():
            with loop_kept_awake(asyncio.get_running_loop()):
                yield from ended(self).__await__()
        self._raise_failure(asyncio.CancelledError)
        return self

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once when the reply has ended: on the bridge thread, or now if it has already ended.

        The callback must not block. Returns a function that removes it.
        """
        return self._progress.when_final(callback)

    def observe(self, callback: Callable[[Reply], None]) -> Callable[[], None]:
        """Call `callback` after each change, including the last one, on the bridge thread.

        The callback must be quick and must not block, because it delays all replies in flight. If it raises, the error is
        logged (the first one is printed, too), and it is called again at the next change. Earlier changes are not repeated, so
        read `snapshot()` after registering. Returns a function that removes the callback.
        """
        return self._progress.observe(lambda: callback(self))

    def bind(self, cancel: Callable[[], None]) -> None:
        """Set the function that cancels the reply. Called once, by the runtime that started it."""
        self._cancel = cancel

    def _raise_failure(self, cancelled: type[BaseException]) -> None:
        error = self._progress.error
        if error is not None:
            # Clear the traceback, which would otherwise grow each time the same error is raised.
            raise error.with_traceback(None)
        if self.phase is Phase.CANCELLED:
            raise cancelled(_CANCELLED)

    def abandon(self) -> None:
        """End the reply in a forked child, where the bridge thread does not exist."""
        self._progress.reset_lock()
        self._cancel = None
        reason = f"The reply belongs to process {self._pid}, from which this one was forked; it continues only there."
        self._progress.fail(NetworkError(reason), None)

    # Copies...

    def __getstate__(self) -> dict[str, Any]:
        """Return the reply as data.

        Raises:
            TypeError: The reply has not ended.
        """
        if not self.done():
            raise TypeError(_STILL_IN_FLIGHT)
        excluded = ("_cancel", "_tools", "_pid", "is_on_screen", "asked_with")
        return {name: value for name, value in self.__dict__.items() if name not in excluded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cancel, self._tools, self.asked_with, self._pid = None, None, None, os.getpid()

    # String operations...

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


async def ended(reply: Reply) -> None:
    """Wait on the running loop until a reply has ended, like `await reply`, but without raising its error."""
    loop = asyncio.get_running_loop()
    is_done = loop.create_future()
    unsubscribe = reply.when_done(lambda: _wake(loop, is_done))
    try:
        await is_done
    finally:
        unsubscribe()


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    """Resolve a future of another loop; if that loop is closed, nothing waits for it."""

    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)


class Cancellable(Protocol):
    """A job that can be listed and stopped: a reply or a map."""

    @property
    def prompt(self) -> str:
        """The prompt."""

    @property
    def origin(self) -> str:
        """The source of the question in a word or two."""

    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> None:
        """Stop it."""

    def snapshot(self) -> Any:
        """Return the current state."""


KEPT_JOBS: Final = 50
"""Maximum number of jobs of background cells that stay listed after their end."""


@dataclass(frozen=True, slots=True)
class Job:
    """A numbered answer.

    Attributes:
        number: Number in the kernel, from 1.
        reply: The answer.
    """

    number: int
    reply: Cancellable


class Jobs:
    """Numbers the answers of a kernel, so that they can be stopped by number. Every method may be called from any thread.

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
        """Number the reply of a background cell. It stays listed after its end.

        Args:
            reply: The reply.
            cell: The id of the cell, or None.
        """
        with self._lock:
            self._of_cells[reply] = cell
            self._job(reply)
            ended = [each for each in self._of_cells if each.done()]
            for each in ended[: max(0, len(self._of_cells) - KEPT_JOBS)]:
                del self._of_cells[each]

    def find(self, reply: Cancellable) -> Job:
        """Return the job of a reply; assigns a number if it has none."""
        with self._lock:
            return self._job(reply)

    def stop_of_cell(self, cell: str | None) -> None:
        """Cancel the replies of a cell that is run again, because its previous output is gone."""
        with self._lock:
            replies = [reply for reply, other in self._of_cells.items() if cell is not None and other == cell]
        for reply in replies:
            reply.cancel()

    def all(self) -> tuple[Job, ...]:
        """Return the jobs in flight and the last ones of background cells, by number."""
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
