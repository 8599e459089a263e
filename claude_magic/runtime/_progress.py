"""The state of one reply: written on the bridge thread as events arrive, read from any thread as snapshots.

The lock is held for a few assignments at a time, never while calling foreign code. Text is collected in pieces and joined
when somebody looks: a reply that nobody watches is joined once, one that is drawn 15 times a second 15 times a second.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from ..client import (
    APIError,
    AttemptFinished,
    AttemptStarted,
    ClaudeError,
    ClientEvent,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    LimiterWaiting,
    Message,
    MessageDelta,
    MessageStart,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseStarted,
    StreamEvent,
    Usage,
)
from ._growing_block import GrowingBlock, kind_of_delta
from ._snapshot import Phase, ReplySnapshot, Wait

SIMULATOR_HEADER = "claude-magic-simulator"
"""Header by which the simulator marks its responses, whatever their URL."""

Callback = Callable[[], None]

logger = logging.getLogger("claude_magic.runtime")


class Progress:
    """How far one reply has come.

    Args:
        model: The model that was asked for.
        max_attempts: Most attempts that the retry policy allows.
        notes: What was done differently from what was asked, as sentences.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        *,
        model: str,
        max_attempts: int,
        notes: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._observers: tuple[Callback, ...] = ()
        self._final_callbacks: list[Callback] = []
        self._blocks: dict[int, GrowingBlock] = {}
        self._started_at = clock()
        self._ended_at: float | None = None
        self._max_attempts = max_attempts
        self._model = model
        self._notes = notes
        self._phase = Phase.QUEUED
        self._wait: Wait | None = None
        self._usage: Usage | None = None
        self._message: Message | None = None
        self._request_id: str | None = None
        self._is_simulated = False
        self._error: ClaudeError | None = None
        self._attempts: tuple[AttemptFinished, ...] = ()
        self._version = 0

    # Reading, from any thread...

    @property
    def phase(self) -> Phase:
        """Where the reply is."""
        return self._phase

    @property
    def message(self) -> Message | None:
        """The message: complete, or as far as it had come when the reply ended; None before its end."""
        return self._message

    @property
    def error(self) -> ClaudeError | None:
        """How it failed, or None."""
        return self._error

    def snapshot(self) -> ReplySnapshot:
        """The present state, frozen."""
        with self._lock:
            message = self._message
            return ReplySnapshot(
                phase=self._phase,
                blocks=tuple(block.snapshot() for _, block in sorted(self._blocks.items())),
                model=self._model,
                usage=self._usage,
                stop_reason=None if message is None else message.stop_reason,
                stop_details=None if message is None else message.stop_details,
                stop_sequence=None if message is None else message.stop_sequence,
                request_id=self._request_id,
                is_simulated=self._is_simulated,
                elapsed=(self._ended_at or self._clock()) - self._started_at,
                wait=self._wait,
                error=self._error,
                attempts=self._attempts,
                notes=self._notes,
                version=self._version,
            )

    def observe(self, callback: Callback) -> Callback:
        """Call back after each change, on the bridge thread; return what takes that back."""
        with self._lock:
            self._observers = (*self._observers, callback)

        def forget() -> None:
            with self._lock:
                self._observers = tuple(each for each in self._observers if each is not callback)

        return forget

    def when_final(self, callback: Callback) -> Callback:
        """Call back once the state is final: on the bridge thread, or at once if it is final already."""
        with self._lock:
            if not self._phase.is_final:
                self._final_callbacks.append(callback)
                return lambda: self._forget_final(callback)
        callback()
        return lambda: None

    def _forget_final(self, callback: Callback) -> None:
        with self._lock:
            self._final_callbacks = [each for each in self._final_callbacks if each is not callback]

    # Writing, on the bridge thread...

    def note(self, event: ClientEvent) -> None:
        """Take in what the client tells about its attempts."""
        with self._lock:
            if self._phase.is_final:
                return
            match event:
                case LimiterWaiting():
                    self._enter(Phase.QUEUED, self._limiter_wait(event))
                case AttemptStarted():
                    self._enter(Phase.SENT, None)
                case ResponseStarted():
                    self._request_id = event.request_id
                    self._is_simulated = SIMULATOR_HEADER in event.headers
                case AttemptFinished():
                    self._take_attempt(event)
            self._version += 1
        self._tell()

    def feed(self, event: StreamEvent) -> None:
        """Take in one event of the stream."""
        with self._lock:
            if self._phase.is_final or not self._take_event(event):
                return
            self._version += 1
        self._tell()

    def complete(self, message: Message) -> None:
        """End well."""
        self._end(Phase.COMPLETE, message=message)

    def fail(self, error: ClaudeError, message: Message | None) -> None:
        """End with an error; `message` is what had arrived."""
        self._end(Phase.FAILED, message=message, error=error)

    def cancel(self, message: Message | None) -> None:
        """End because the caller does not want the rest; `message` is what had arrived."""
        self._end(Phase.CANCELLED, message=message)

    def reset_lock(self) -> None:
        """Make a new lock, in a forked child: the bridge thread, which may have held it, does not exist there."""
        self._lock = threading.Lock()
        self._observers = ()

    def _take_event(self, event: StreamEvent) -> bool:
        """Take in an event, under the lock; return whether it changed anything that can be seen."""
        match event:
            case ContentBlockDelta():
                block = self._blocks.get(event.index)
                if block is None:
                    block = self._blocks[event.index] = GrowingBlock(kind_of_delta(event))
                block.append(event)
                if self._phase is not Phase.STREAMING:
                    self._enter(Phase.STREAMING, None)
            case ContentBlockStart():
                self._blocks[event.index] = GrowingBlock.of(event.block, is_complete=False)
            case ContentBlockStop():
                if event.index in self._blocks:
                    self._blocks[event.index].is_complete = True
            case MessageStart():
                self._model = event.message.model or self._model
                self._usage = event.message.usage
            case MessageDelta():
                if event.usage is not None:
                    self._usage = event.usage if self._usage is None else self._usage.merged(event.usage)
            case _:
                return False
        return True

    def _take_attempt(self, finished: AttemptFinished) -> None:
        self._attempts = (*self._attempts, finished)
        self._request_id = finished.request_id or self._request_id
        if not finished.will_retry:
            return
        wait = Wait(
            kind="backoff",
            reason=describe_reason(finished.error),
            until=self._clock() + (finished.delay or 0.0),
            attempt=finished.attempt + 1,
            max_attempts=finished.max_attempts,
        )
        self._enter(Phase.RETRYING, wait)
        self._blocks.clear()

    def _limiter_wait(self, event: LimiterWaiting) -> Wait:
        return Wait(
            kind=event.reason,
            reason="rate limited" if event.reason == "paused" else "",
            until=math.inf if event.expected_wait is None else self._clock() + event.expected_wait,
            attempt=event.attempt,
            max_attempts=self._max_attempts,
        )

    def _enter(self, phase: Phase, wait: Wait | None) -> None:
        self._phase = phase
        self._wait = wait

    def _end(self, phase: Phase, *, message: Message | None, error: ClaudeError | None = None) -> None:
        """Become final; a second ending is ignored."""
        with self._lock:
            if self._phase.is_final:
                return
            self._enter(phase, None)
            self._message = message
            self._error = error
            if error is not None:
                self._request_id = error.request_id or self._request_id
            if message is not None:
                self._adopt(message)
            self._ended_at = self._clock()
            self._version += 1
            callbacks, self._final_callbacks = self._final_callbacks, []
        self._tell()
        for callback in callbacks:
            _call(callback)

    def _adopt(self, message: Message) -> None:
        """Show what the message holds. It may be some events ahead of those that were fed."""
        self._model = message.model or self._model
        self._usage = message.usage
        self._blocks = {
            index: GrowingBlock.of(block, is_complete=True) for index, block in enumerate(message.content)
        }

    def _tell(self) -> None:
        for callback in self._observers:
            _call(callback)


def describe_reason(error: ClaudeError | None) -> str:
    """Say in a word or two why an attempt failed."""
    match error:
        case OverloadedError():
            return "overloaded"
        case RateLimitError():
            return "rate limited"
        case APIError():
            return f"server error {error.status}" if error.status else "server error"
        case RequestTimeoutError():
            return "timeout"
    return "connection failed"


def _call(callback: Callback) -> None:
    try:
        callback()
    except Exception:  # foreign code; its fault must not cost the reply
        logger.exception("an observer of a reply failed")
