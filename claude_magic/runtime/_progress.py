"""The state of one reply: written on the bridge thread as events arrive, read from any thread as snapshots.

The lock is held for a few assignments at a time, never while calling third-party code. Text is collected in pieces and joined
when it is read: once for an unobserved reply, 15 times a second for one that is drawn 15 times a second.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import math
import operator
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..client import (
    AnswerRecorded,
    APIError,
    AttemptFinished,
    AttemptStarted,
    CassetteRemark,
    ClaudeError,
    ClientEvent,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    LimiterReason,
    LimiterWaiting,
    Message,
    MessageAccumulator,
    MessageDelta,
    MessageStart,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseStarted,
    StreamEvent,
    Usage,
    fallback_model,
)
from ..conversation import Turn
from ..tools import CallState
from ._models import bill_of, cost_of, total
from ._provenance import Asked
from ._requests import Question
from ._snapshot import GrowingContent, Phase, ReplySnapshot, Round, Wait, WaitKind

SIMULATOR_HEADER = "claude-magic-simulator"
"""Header that marks a simulator's responses, at any URL."""

Callback = Callable[[], None]

logger = logging.getLogger("claude_magic.runtime")


class Progress:
    """The progress of one reply.

    Args:
        question: The question; only the hash of its prompt is kept.
        model: The requested model.
        max_attempts: Maximum number of attempts of the retry policy.
        notes: Differences from the requested options, as sentences.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        question: Question,
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
        self._content = GrowingContent(question.beginning)
        self._rounds: tuple[Round, ...] = ()
        self._format = question.format
        self._prompt_hash = hashlib.sha256(question.prompt.encode("utf-8", "surrogatepass")).hexdigest()
        self._asked_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._started_at = clock()
        self._ended_at: float | None = None
        self._max_attempts = max_attempts
        self._model = self._asked = model
        self._notes = notes
        self._phase = Phase.QUEUED
        self._wait: Wait | None = None
        self._message: Message | None = None
        self._request_id: str | None = None
        self._is_simulated = False
        self._recorded: AnswerRecorded | None = None
        self._error: ClaudeError | None = None
        self._attempts: tuple[AttemptFinished, ...] = ()
        self._turn: Turn | None = None
        self._first_asked: Asked | None = None
        self._version = 0

    # Reading, from any thread...

    @property
    def phase(self) -> Phase:
        """The phase of the reply."""
        return self._phase

    @property
    def message(self) -> Message | None:
        """The last message, complete or partial; None before the reply has ended."""
        return self._message if self._phase.is_final else None

    @property
    def error(self) -> ClaudeError | None:
        """The error of a failed reply, or None."""
        return self._error

    def snapshot(self) -> ReplySnapshot:
        """Return the current state, frozen."""
        with self._lock:
            message = self.message
            current = self._content.usage
            return ReplySnapshot(
                phase=self._phase,
                blocks=self._content.snapshot(),
                model=self._model,
                usage=self._total_usage(current),
                rounds=self._rounds,
                cost=self._cost(current),
                format=self._format,
                prompt_hash=self._prompt_hash,
                asked_at=self._asked_at,
                turn=self._turn,
                asked=self._first_asked,
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
        """Call `callback` after each change, on the bridge thread; return a function that removes it."""
        with self._lock:
            self._observers = (*self._observers, callback)

        def forget() -> None:
            with self._lock:
                self._observers = tuple(each for each in self._observers if each is not callback)

        return forget

    def when_final(self, callback: Callback) -> Callback:
        """Call `callback` once the state is final: on the bridge thread, or now if it is final already.

        Returns a function that removes the callback.
        """
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
        """Process an event of the client about its attempts."""
        self._change(lambda: self._apply_client_event(event))

    def wait_for_turn(self) -> None:
        """Enter the wait for an earlier answer of the same conversation."""
        wait = Wait(kind="turn", reason="", until=math.inf, attempt=1, max_attempts=self._max_attempts)
        self._change(lambda: self._enter(Phase.QUEUED, wait))

    def feed(self, event: StreamEvent, accumulator: MessageAccumulator) -> None:
        """Process one event of the stream; `accumulator` already contains it, and perhaps later ones."""
        with self._lock:
            if self._phase.is_final:
                return
            self._content.follow(accumulator)
            if not self._apply_event(event):
                return
            self._version += 1
        self._notify()

    def end_round(self, message: Message) -> None:
        """Add the complete reply of a request; another request may follow."""
        self._change(lambda: self._apply_round(message))

    def note_call(self, call_id: str, state: CallState, result: str) -> None:
        """Record the state of a tool call."""

        def take_call() -> None:
            self._content.note_call(call_id, state, result)
            self._enter(Phase.CALLING, None)

        self._change(take_call)

    def add_note(self, note: str) -> None:
        """Add a sentence for the reader, unless it is there already."""
        with self._lock:
            if note not in self._notes:
                self._notes = (*self._notes, note)
                self._version += 1

    def note_turn(self, turn: Turn | None) -> None:
        """Record the reply's turn in the conversation; called before the reply ends."""
        with self._lock:
            self._turn = turn

    def note_asked(self, asked: Asked | None) -> None:
        """Record a request that has ended; only the first is kept, without its prompt."""
        with self._lock:
            if self._first_asked is None and asked is not None:
                self._first_asked = dataclasses.replace(asked, prompt="")

    def complete(self) -> None:
        """End successfully, after the last round was passed to `end_round`."""
        self._end(Phase.COMPLETE, partial=None)

    def fail(self, error: ClaudeError, partial: Message | None) -> None:
        """End with an error; `partial` is the incomplete reply of the current round."""
        self._end(Phase.FAILED, partial=partial, error=error)

    def cancel(self, partial: Message | None) -> None:
        """End because of a cancellation; `partial` is the incomplete reply of the current round."""
        self._end(Phase.CANCELLED, partial=partial)

    def __getstate__(self) -> dict[str, Any]:
        """Return a final state as data, without observers."""
        with self._lock:
            # The turn is left out because it contains the attachments of its question.
            excluded = ("_lock", "_observers", "_final_callbacks", "_clock", "_turn")
            state = {name: value for name, value in self.__dict__.items() if name not in excluded}
            return {**state, "_content": self._content.settled()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn, self._clock = None, time.monotonic
        self._observers, self._final_callbacks = (), []
        self._lock = threading.Lock()

    def reset_lock(self) -> None:
        """Replace the lock in a forked child: the bridge thread, which may have held it, does not exist there."""
        self._lock = threading.Lock()
        self._observers = ()

    def _change(self, change: Callable[[], None]) -> None:
        """Make a change under the lock and notify the observers; a final state is never changed."""
        with self._lock:
            if self._phase.is_final:
                return
            change()
            self._version += 1
        self._notify()

    def _apply_client_event(self, event: ClientEvent) -> None:
        match event:
            case LimiterWaiting():
                self._enter(Phase.QUEUED, self._limiter_wait(event))
            case AttemptStarted():
                self._enter(Phase.SENT, None)
            case ResponseStarted():
                self._request_id = event.request_id
                self._is_simulated = SIMULATOR_HEADER in event.headers
            case AttemptFinished():
                self._apply_attempt(event)
            case AnswerRecorded():
                self._recorded = event
                self._request_id, self._is_simulated = event.request_id, event.is_simulated
            case CassetteRemark(text=text) if text not in self._notes:
                self._notes = (*self._notes, text)

    def _apply_event(self, event: StreamEvent) -> bool:
        """Process an event, under the lock; return whether it made a visible change."""
        if type(event) is ContentBlockDelta:
            if self._phase is not Phase.STREAMING:
                self._enter(Phase.STREAMING, None)
            return True
        match event:
            case MessageStart():
                self._model = self._asked = event.message.model or self._model
            case MessageDelta():
                self._model = (event.usage and event.usage.fallback_model) or self._model
            case ContentBlockStart():
                self._model = fallback_model(event.block) or self._model
            case _:
                return isinstance(event, ContentBlockStop)
        return True

    def _apply_attempt(self, finished: AttemptFinished) -> None:
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
        self._content.start_over()

    def _limiter_wait(self, event: LimiterWaiting) -> Wait:
        kind, reason = _kind_of_wait(event.reason)
        return Wait(
            kind=kind,
            reason=reason,
            until=math.inf if event.expected_wait is None else self._clock() + event.expected_wait,
            attempt=event.attempt,
            max_attempts=self._max_attempts,
        )

    def _enter(self, phase: Phase, wait: Wait | None) -> None:
        self._phase = phase
        self._wait = wait

    def _end(self, phase: Phase, *, partial: Message | None, error: ClaudeError | None = None) -> None:
        """Enter a final phase; ignored if the phase is final already."""
        with self._lock:
            if self._phase.is_final:
                return
            self._enter(phase, None)
            self._error = error
            if error is not None:
                self._request_id = error.request_id or self._request_id
            if partial is not None:
                self._apply_round(partial)
            self._ended_at = self._clock()
            self._version += 1
            callbacks, self._final_callbacks = self._final_callbacks, []
        self._notify()
        for callback in callbacks:
            _call(callback)

    def _apply_round(self, message: Message) -> None:
        self._message = message
        self._model = message.model or self._model
        self._content.adopt(message)
        if message.model and (message.usage.fallback_model or any(map(fallback_model, message.content))):
            self._notes += (f"{message.model} answered, because {self._asked} declined.",)
        bill = bill_of(message, asked=self._asked) if message.usage.model_fields_set else ()
        self._rounds += (
            Round(
                model=self._model,
                usage=message.usage,
                request_id=self._request_id,
                bill=bill,
                recorded=self._recorded,
            ),
        )
        self._recorded = None

    def _total_usage(self, current: Usage | None) -> Usage | None:
        usages = [each.usage for each in self._rounds] + ([] if current is None else [current])
        known = [usage for usage in usages if usage.model_fields_set]
        return functools.reduce(operator.add, known) if known else None

    def _cost(self, current: Usage | None) -> float | None:
        costs = [total(line.cost for line in each.bill) if each.bill else None for each in self._rounds]
        if current is not None and current.model_fields_set:
            costs.append(cost_of(self._model, current))
        return total(costs) if costs else None

    def _notify(self) -> None:
        for callback in self._observers:
            _call(callback)


def describe_reason(error: ClaudeError | None) -> str:
    """Return in a word or two why an attempt failed."""
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


def _kind_of_wait(reason: LimiterReason) -> tuple[WaitKind, str]:
    match reason:
        case "rate":
            return "rate", ""
        case "paused":
            return "paused", "rate limited"
    return "limit", reason


def _call(callback: Callback) -> None:
    try:
        callback()
    except Exception:  # third-party code; its errors must not end the reply
        logger.exception("an observer of a reply failed")
