"""The state of one reply: written on the bridge thread as events arrive, read from any thread as frozen snapshots.

The lock is held for a few assignments at a time, never while calling third-party code. Text is collected in pieces and joined
when it is read: once for an unobserved reply, once a frame for one that is drawn.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal, TypeAlias

from .._observers import Callback, Observers
from ..client import (
    AnswerRecorded,
    APIError,
    AttemptFinished,
    AttemptStarted,
    CassetteRemark,
    ClaudeError,
    ClientEvent,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
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
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
    fallback_model,
)
from ..conversation import Turn
from ..tools import CallState
from ._connection import SIMULATOR_HEADER
from ._models import BillLine, bill_of, cost_of, total
from ._provenance import Asked
from ._requests import Question


class Phase(enum.Enum):
    """The phase of a reply."""

    QUEUED = "queued"
    """Waiting for an earlier answer of its conversation, the rate limiter, or a pause that the server requested."""
    SENT = "sent"
    """Sent; no content received yet."""
    RETRYING = "retrying"
    """An attempt failed; the next one follows after a backoff."""
    STREAMING = "streaming"
    CALLING = "calling"
    """The model has called tools; their results are pending."""
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the reply has ended."""
        return self in (Phase.COMPLETE, Phase.FAILED, Phase.CANCELLED)


WaitKind: TypeAlias = Literal["turn", "rate", "paused", "limit", "backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a reply is waiting, and until when.

    Attributes:
        kind: "turn" for an earlier answer of the same conversation, "rate" for the configured rate, "paused" for a pause
            that a server requested, "limit" for a limit that a server reported, "backoff" before a retry.
        reason: The reason in a word or two ("overloaded"), or the name of the limit ("input tokens"); empty for the rate.
        until: End of the wait by `time.monotonic()`; infinite if unknown.
        attempt: Number of the next attempt, from 1.
        max_attempts: Maximum number of attempts.
    """

    kind: WaitKind
    reason: str
    until: float
    attempt: int
    max_attempts: int

    def remaining(self, now: float | None = None) -> float:
        """Return the remaining seconds, at least 0."""
        return max(0.0, self.until - (time.monotonic() if now is None else now))


_LIMITER_WAITS: Mapping[str, tuple[WaitKind, str]] = {
    "rate": ("rate", ""),
    "paused": ("paused", "rate limited"),
}
"""Kind and reason of a wait by the limiter's reason; any other is the name of a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSnapshot:
    """One content block, complete or partial.

    Attributes:
        kind: The API's name of the block type: "text", "thinking", "tool_use" ...; empty if it has no valid one.
        text: Its text; for `tool_use` the JSON of its input; empty for blocks without text.
        is_complete: Whether the block is complete.
        data: The block's fields as the API names them (until it is complete, its initial ones); None for blocks with only text.
        call: The state of the call, if the block calls a client tool; else None.
    """

    kind: str
    text: str
    is_complete: bool
    data: Mapping[str, Any] | None = None
    call: CallSnapshot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSnapshot:
    """A call of a client tool.

    Attributes:
        name: The tool.
        arguments: The arguments; empty until they are complete.
        state: The state of the call.
        result: The result or the error as text; empty until the call has ended.
    """

    name: str
    arguments: Mapping[str, Any]
    state: CallState
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One request of a reply. A reply takes several if the model calls tools, or if the server pauses the turn.

    Attributes:
        model: The model that answered.
        usage: The token counts of the request.
        request_id: The server's id of the request, or None.
        bill: The costs, a line for each model that took part.
        recorded: The recording in the cassette, or None.
    """

    model: str
    usage: Usage
    request_id: str | None
    bill: tuple[BillLine, ...] = ()
    recorded: AnswerRecorded | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySnapshot:
    """A reply at one moment.

    Attributes:
        phase: The phase.
        blocks: The content so far, in order.
        model: The model that answers; the requested model until the server names it.
        usage: Tokens so far, of all rounds together; None until the server reports them. Until the server has counted the
            output, it is an estimate from the content received (`usage.is_estimate`), and so is the cost.
        rounds: The finished rounds, oldest first.
        cost: Cost so far in USD; None if a price is not known, or no usage yet.
        stop_reason: The API's reason for the end ("end_turn", "max_tokens", "refusal" ...); None before the end.
        stop_details: The server's details of that, or None.
        stop_sequence: The stop sequence that was generated, or None.
        request_id: The server's id of the request, or None.
        is_simulated: A simulator answered, embedded or not.
        elapsed: Seconds from the start to now, or to the end.
        wait: The current wait, or None.
        error: The error of a failed reply, or None.
        attempts: The finished attempts, oldest first.
        notes: Differences from the requested options, as sentences ("This model always thinks ...").
        version: Grows with each change; equal versions look the same.
        format: Display format of the answer: "md", "text", "code", "json", "html" or "math".
        prompt_hash: SHA-256 of the prompt, in hexadecimal digits.
        asked_at: Time of the question, in RFC 3339 format.
        asked: The record of its first request, once that has ended.
        turn: Its turn in the conversation, once added; None for a standalone or stored reply.
        origin: Source of the question, as in `Question`.
    """

    phase: Phase = Phase.QUEUED
    blocks: tuple[BlockSnapshot, ...] = ()
    model: str
    usage: Usage | None = None
    rounds: tuple[Round, ...] = ()
    cost: float | None = None
    stop_reason: str | None = None
    stop_details: Mapping[str, Any] | None = None
    stop_sequence: str | None = None
    request_id: str | None = None
    is_simulated: bool = False
    elapsed: float = 0.0
    wait: Wait | None = None
    error: ClaudeError | None = None
    attempts: tuple[AttemptFinished, ...] = ()
    notes: tuple[str, ...] = ()
    version: int = 0
    format: str = "md"
    prompt_hash: str = ""
    asked_at: str = ""
    asked: Asked | None = None
    turn: Turn | None = None
    origin: str = ""

    @property
    def is_estimate(self) -> bool:
        """Whether tokens and cost are estimates, because the server has not counted all of the output."""
        return self.usage is not None and self.usage.is_estimate

    @property
    def recorded(self) -> tuple[AnswerRecorded, ...]:
        """The recordings of all rounds; empty if a round is not recorded."""
        found = tuple(each.recorded for each in self.rounds if each.recorded is not None)
        return found if len(found) == len(self.rounds) else ()

    @property
    def is_replay(self) -> bool:
        """Whether all rounds came from the cassette, so that nothing was sent."""
        return bool(self.recorded) and all(each.is_replay for each in self.recorded)

    @property
    def helpers(self) -> tuple[str, ...]:
        """The models that took part in addition to the one that answered. Each is billed at its own price."""
        models = dict.fromkeys(line.model for each in self.rounds for line in each.bill)
        return tuple(model for model in models if model != self.model)

    @property
    def text(self) -> str:
        """The text blocks, joined; with a blank line where another block, such as a call, was between them."""
        texts = [
            "".join(block.text for block in blocks)
            for kind, blocks in groupby(self.blocks, key=lambda block: block.kind)
            if kind == "text"
        ]
        return "\n\n".join(text for text in texts if text)

    @property
    def thinking(self) -> str:
        """The thinking blocks, joined with blank lines."""
        return "\n\n".join(block.text for block in self.blocks if block.kind == "thinking" and block.text)


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
        self._observers = Observers("a reply")
        self._content = GrowingContent(question.beginning)
        self._max_attempts = max_attempts
        self._requested_model = model
        """The model that the server took the current request for, before any fallback."""
        self._started_at = clock()
        self._ended_at: float | None = None
        self._message: Message | None = None
        self._recorded: AnswerRecorded | None = None
        self._version = 0
        self._state = ReplySnapshot(
            model=model,
            notes=notes,
            format=question.format,
            prompt_hash=hashlib.sha256(question.prompt.encode("utf-8", "surrogatepass")).hexdigest(),
            asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
            origin=question.origin,
        )
        """The last snapshot without what grows with each delta."""

    # Reading, from any thread...

    @property
    def phase(self) -> Phase:
        """The phase of the reply."""
        return self._state.phase

    @property
    def message(self) -> Message | None:
        """The last message, complete or partial; None before the reply has ended."""
        return self._message if self.phase.is_final else None

    @property
    def error(self) -> ClaudeError | None:
        """The error of a failed reply, or None."""
        return self._state.error

    def snapshot(self) -> ReplySnapshot:
        """Return the current state, frozen."""
        with self._lock:
            current = self._content.usage
            return replace(
                self._state,
                blocks=self._content.snapshot(),
                usage=self._total_usage(current),
                cost=self._cost(current),
                elapsed=(self._ended_at or self._clock()) - self._started_at,
                version=self._version,
            )

    def observe(self, callback: Callback) -> Callback:
        """Call `callback` after each change, on the bridge thread; return a function that removes it."""
        return self._observers.add(callback)

    def when_final(self, callback: Callback) -> Callback:
        """Call `callback` once the state is final: on the bridge thread, or now if it is final already.

        Returns a function that removes the callback.
        """
        return self._observers.add_for_end(callback)

    # Writing, on the bridge thread...

    def on_event(self, event: ClientEvent) -> None:
        """Process an event of the client about its attempts."""
        self._change(lambda: self._apply_client_event(event))

    def wait_for_turn(self) -> None:
        """Enter the queued phase: an earlier answer of the same conversation is still in flight."""
        self._change(lambda: self._enter(Phase.QUEUED, self._wait("turn", "", None, attempt=1)))

    def feed(self, event: StreamEvent, accumulator: MessageAccumulator) -> None:
        """Process one event of the stream; `accumulator` already contains it, and perhaps later ones."""
        with self._lock:
            if self._state.phase.is_final:
                return
            self._content.follow(accumulator)
            if not self._apply_event(event):
                return
            self._version += 1
        self._observers.notify()

    def end_round(self, message: Message) -> None:
        """Add the complete reply of a request; another request may follow."""
        self._change(lambda: self._apply_round(message))

    def set_call(self, call_id: str, state: CallState, result: str) -> None:
        """Record the state of a tool call."""

        def take_call() -> None:
            self._content.set_call(call_id, state, result)
            self._enter(Phase.CALLING, None)

        self._change(take_call)

    def add_note(self, note: str) -> None:
        """Add a sentence for the reader, unless it was already added."""
        with self._lock:
            if note not in self._state.notes:
                self._set(notes=(*self._state.notes, note))
                self._version += 1

    def set_turn(self, turn: Turn | None) -> None:
        """Record the reply's turn in the conversation; called before the reply ends."""
        with self._lock:
            self._set(turn=turn)

    def set_asked(self, asked: Asked | None) -> None:
        """Record a request that has ended; only the first is kept, without its prompt."""
        with self._lock:
            if self._state.asked is None and asked is not None:
                self._set(asked=replace(asked, prompt=""))

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
            excluded = ("_lock", "_observers", "_clock")
            fields = {name: value for name, value in self.__dict__.items() if name not in excluded}
            return {**fields, "_state": replace(self._state, turn=None)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clock = time.monotonic
        self._observers = Observers("a reply", has_ended=True)
        self._lock = threading.Lock()

    def reset_lock(self) -> None:
        """Replace the lock in a forked child: the bridge thread, which may have held it, does not exist there."""
        self._lock = threading.Lock()
        if self.phase.is_final:
            # The parent calls the callbacks for the end.
            self._observers = Observers("a reply", has_ended=True)
        self._observers.clear()

    def _change(self, change: Callable[[], None]) -> None:
        """Make a change under the lock and notify the observers; a final state is never changed."""
        with self._lock:
            if self._state.phase.is_final:
                return
            change()
            self._version += 1
        self._observers.notify()

    def _apply_client_event(self, event: ClientEvent) -> None:
        match event:
            case LimiterWaiting():
                kind, reason = _LIMITER_WAITS.get(event.reason, ("limit", event.reason))
                wait = self._wait(kind, reason, event.expected_wait, attempt=event.attempt)
                self._enter(Phase.QUEUED, wait)
            case AttemptStarted():
                self._enter(Phase.SENT, None)
            case ResponseStarted():
                self._set(request_id=event.request_id, is_simulated=SIMULATOR_HEADER in event.headers)
            case AttemptFinished():
                self._apply_attempt(event)
            case AnswerRecorded():
                self._recorded = event
                self._set(request_id=event.request_id, is_simulated=event.is_simulated)
            case CassetteRemark(text=text) if text not in self._state.notes:
                self._set(notes=(*self._state.notes, text))

    def _apply_event(self, event: StreamEvent) -> bool:
        """Process an event, under the lock; return whether it made a visible change."""
        if type(event) is ContentBlockDelta:
            if self._state.phase is not Phase.STREAMING:
                self._enter(Phase.STREAMING, None)
            return True
        match event:
            case MessageStart():
                self._name_model(event.message.model)
                self._requested_model = self._state.model
            case MessageDelta():
                self._name_model(None if event.usage is None else event.usage.fallback_model)
            case ContentBlockStart():
                self._name_model(fallback_model(event.block))
            case _:
                return isinstance(event, ContentBlockStop)
        return True

    def _apply_attempt(self, finished: AttemptFinished) -> None:
        self._set(
            attempts=(*self._state.attempts, finished),
            request_id=finished.request_id or self._state.request_id,
        )
        if finished.will_retry:
            reason, delay = describe_reason(finished.error), finished.delay or 0.0
            self._enter(Phase.RETRYING, self._wait("backoff", reason, delay, attempt=finished.attempt + 1))
            self._content.start_over()

    def _wait(self, kind: WaitKind, reason: str, seconds: float | None, *, attempt: int) -> Wait:
        """Return a wait that begins now; `seconds` is None if it is not known how long it takes."""
        until = math.inf if seconds is None else self._clock() + seconds
        return Wait(kind=kind, reason=reason, until=until, attempt=attempt, max_attempts=self._max_attempts)

    def _set(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)

    def _enter(self, phase: Phase, wait: Wait | None) -> None:
        self._set(phase=phase, wait=wait)

    def _name_model(self, model: str | None) -> None:
        """Note the model that answers; None or "" if the server has not named one."""
        if model and model != self._state.model:
            self._set(model=model)

    def _end(self, phase: Phase, *, partial: Message | None, error: ClaudeError | None = None) -> None:
        """Enter a final phase; ignored if the phase is final already."""
        with self._lock:
            if self._state.phase.is_final:
                return
            if error is not None:
                self._set(error=error, request_id=error.request_id or self._state.request_id)
            if partial is not None:
                self._apply_round(partial)
            if (message := self._message) is not None:
                self._set(
                    stop_reason=message.stop_reason,
                    stop_details=message.stop_details,
                    stop_sequence=message.stop_sequence,
                )
            self._enter(phase, None)
            self._ended_at = self._clock()
            self._version += 1
        self._observers.end()

    def _apply_round(self, message: Message) -> None:
        self._message = message
        self._name_model(message.model)
        self._content.adopt(message)
        notes = self._state.notes
        if message.model and (message.usage.fallback_model or any(map(fallback_model, message.content))):
            notes += (f"{message.model} answered, because {self._requested_model} declined.",)
        ended = Round(
            model=self._state.model,
            usage=message.usage,
            request_id=self._state.request_id,
            bill=bill_of(message, requested=self._requested_model) if message.usage.model_fields_set else (),
            recorded=self._recorded,
        )
        self._set(notes=notes, rounds=(*self._state.rounds, ended))
        self._recorded = None

    def _total_usage(self, current: Usage | None) -> Usage | None:
        usages = [each.usage for each in self._state.rounds] + ([] if current is None else [current])
        known = [usage for usage in usages if usage.model_fields_set]
        return sum(known[1:], start=known[0]) if known else None

    def _cost(self, current: Usage | None) -> float | None:
        costs = [total(line.cost for line in each.bill) if each.bill else None for each in self._state.rounds]
        if current is not None and current.model_fields_set:
            costs.append(cost_of(self._state.model, current))
        return total(costs) if costs else None


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


def _frozen(block: ContentBlock, text: str) -> BlockSnapshot:
    is_text = isinstance(block, ThinkingBlock) or (isinstance(block, TextBlock) and not block.citations)
    return BlockSnapshot(
        kind=block.type if block.has_type else "",
        text=text,
        is_complete=block.is_complete,
        data=None if is_text else block.to_param(),
    )


def _shown_text(block: ContentBlock) -> str:
    match block:
        case TextBlock():
            return block.text
        case ThinkingBlock():
            return block.thinking
        case ToolUseBlock():
            return block.raw_input or (json.dumps(block.input, ensure_ascii=False) if block.input else "")
    return ""


class GrowingContent:
    """The blocks of the finished rounds, and those of the current one from the client's accumulator.

    Args:
        beginning: Text that is prepended to the first text block.
    """

    def __init__(self, beginning: str = "") -> None:
        self._beginning = beginning
        self._finished: list[BlockSnapshot] = []
        self._current: MessageAccumulator | None = None
        self._calls: dict[str, CallSnapshot] = {}

    @property
    def usage(self) -> Usage | None:
        """The usage of the current round so far; None before it has begun."""
        return None if self._current is None else self._current.usage

    def follow(self, accumulator: MessageAccumulator) -> None:
        """Set the accumulator of the current round. It grows on the bridge thread."""
        self._current = accumulator

    def snapshot(self) -> tuple[BlockSnapshot, ...]:
        """Return all current blocks, frozen."""
        # An incomplete block is not a call yet, and its id may equal that of an earlier call.
        blocks = [*map(self._with_call, self._finished), *self._growing()]
        return tuple(_with_beginning(blocks, self._beginning) if self._beginning else blocks)

    def start_over(self) -> None:
        """Discard the current round, because its request is retried."""
        self._current = None

    def adopt(self, message: Message) -> None:
        """End the current round with its message."""
        self._current = None
        for block in message.content:
            self._finished.append(_frozen(block, _shown_text(block)))
            if isinstance(block, ToolUseBlock) and block.type == "tool_use" and block.is_complete:
                self._calls[block.id] = CallSnapshot(
                    name=block.name, arguments=block.input, state=CallState.WRITTEN
                )

    def set_call(self, call_id: str, state: CallState, result: str) -> None:
        """Record the state of a call. A final state is kept: a Stop may reach the executor after the end of the call."""
        if not self._calls[call_id].state.is_final:
            self._calls[call_id] = replace(self._calls[call_id], state=state, result=result)

    def __getstate__(self) -> dict[str, Any]:
        """Return the blocks as data, all of them finished."""
        return {**self.__dict__, "_finished": [*self._finished, *self._growing()], "_current": None}

    def _growing(self) -> list[BlockSnapshot]:
        """Return the blocks of the current round: the fields of each at its start, until it is complete."""
        builders = () if self._current is None else self._current.blocks()
        return [
            _frozen(each.block(is_complete=False) if each.is_complete else each.begun, each.written)
            for each in builders
        ]

    def _with_call(self, block: BlockSnapshot) -> BlockSnapshot:
        call_id = None if block.data is None else block.data.get("id")
        call = self._calls.get(call_id) if isinstance(call_id, str) else None
        return block if call is None else replace(block, call=call)


def _with_beginning(blocks: list[BlockSnapshot], beginning: str) -> list[BlockSnapshot]:
    """Return the blocks with a text prepended to the first text block; if there is none, add one."""
    for index, block in enumerate(blocks):
        if block.kind == "text":
            return [*blocks[:index], replace(block, text=beginning + block.text), *blocks[index + 1 :]]
    return [BlockSnapshot(kind="text", text=beginning, is_complete=False), *blocks]
