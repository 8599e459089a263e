"""Snapshots of a reply: frozen data for any thread, and the growing content that they are taken from."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, TypeAlias

from ..client import (
    AnswerRecorded,
    AttemptFinished,
    BlockBuilder,
    ClaudeError,
    ContentBlock,
    Message,
    MessageAccumulator,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)
from ..conversation import Turn
from ..tools import CallState
from ._models import BillLine
from ._provenance import Asked


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSnapshot:
    """One content block, complete or partial.

    Attributes:
        kind: The API's name of the block type: "text", "thinking", "tool_use" ...
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
    """

    phase: Phase
    blocks: tuple[BlockSnapshot, ...]
    model: str
    usage: Usage | None
    stop_reason: str | None
    stop_details: Mapping[str, Any] | None
    stop_sequence: str | None
    request_id: str | None
    is_simulated: bool
    elapsed: float
    wait: Wait | None
    error: ClaudeError | None
    attempts: tuple[AttemptFinished, ...]
    notes: tuple[str, ...] = ()
    version: int
    rounds: tuple[Round, ...] = ()
    cost: float | None = None
    format: str = "md"
    prompt_hash: str = ""
    asked_at: str = ""
    turn: Turn | None = None
    asked: Asked | None = None

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
        """Other models that took part besides the one that answered, billed at their own prices."""
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


def _snapshot_of(builder: BlockBuilder) -> BlockSnapshot:
    """Return the snapshot of a block of the current round."""
    block = builder.block(is_complete=False) if builder.is_complete else builder.begun
    return BlockSnapshot(
        kind=builder.type, text=builder.written, is_complete=builder.is_complete, data=_data(block)
    )


def _settled(block: ContentBlock) -> BlockSnapshot:
    return BlockSnapshot(
        kind=block.type, text=_shown_text(block), is_complete=block.is_complete, data=_data(block)
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


def _data(block: ContentBlock) -> Mapping[str, Any] | None:
    """Return the fields of a block, or None if its text is all of its content."""
    if isinstance(block, ThinkingBlock) or (isinstance(block, TextBlock) and not block.citations):
        return None
    return block.to_param()


class GrowingContent:
    """The blocks of the finished rounds, and those of the current one from the client's accumulator.

    Args:
        beginning: Text that is prepended to the first text block.
    """

    def __init__(self, beginning: str = "") -> None:
        self._beginning = beginning
        self._settled: list[BlockSnapshot] = []
        self._current: MessageAccumulator | None = None
        self._calls: dict[str, CallSnapshot] = {}

    @property
    def usage(self) -> Usage | None:
        """The usage of the current round so far; None before it has begun."""
        return None if self._current is None else self._current.usage

    def follow(self, accumulator: MessageAccumulator) -> None:
        """Take the current round from an accumulator, which grows on the bridge thread."""
        self._current = accumulator

    def snapshot(self) -> tuple[BlockSnapshot, ...]:
        """Return all current blocks, frozen."""
        # An incomplete block is not a call yet, and its id may equal that of an earlier call.
        blocks = [*map(self._with_call, self._settled), *self._growing()]
        return tuple(_with_beginning(blocks, self._beginning) if self._beginning else blocks)

    def settled(self) -> GrowingContent:
        """Return a copy whose current round is finished."""
        content = GrowingContent(self._beginning)
        content._settled = [*self._settled, *self._growing()]
        content._calls = dict(self._calls)
        return content

    def start_over(self) -> None:
        """Discard the current round, because its request is retried."""
        self._current = None

    def adopt(self, message: Message) -> None:
        """End the current round with its message."""
        self._current = None
        for block in message.content:
            self._settled.append(_settled(block))
            if isinstance(block, ToolUseBlock) and block.type == "tool_use" and block.is_complete:
                self._calls[block.id] = CallSnapshot(
                    name=block.name, arguments=block.input, state=CallState.WRITTEN
                )

    def note_call(self, call_id: str, state: CallState, result: str) -> None:
        """Record the state of a call. A final state is kept: a Stop may reach the executor after the end of the call."""
        if not self._calls[call_id].state.is_final:
            self._calls[call_id] = replace(self._calls[call_id], state=state, result=result)

    def _growing(self) -> list[BlockSnapshot]:
        return [] if self._current is None else [_snapshot_of(builder) for builder in self._current.blocks()]

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
