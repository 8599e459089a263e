"""What a reply looks like at one moment: frozen data for any thread, and the growing content it is taken from."""

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
    """How far a reply has come."""

    QUEUED = "queued"
    """Waits for an earlier answer of its conversation, the rate limiter, or a pause that the server asked for."""
    SENT = "sent"
    """Is sent; no content has come yet."""
    RETRYING = "retrying"
    """An attempt failed; the next one comes after a back-off."""
    STREAMING = "streaming"
    CALLING = "calling"
    """The model has called tools, and waits for their results."""
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (Phase.COMPLETE, Phase.FAILED, Phase.CANCELLED)


WaitKind: TypeAlias = Literal["turn", "rate", "paused", "limit", "backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why nothing happens at present, and until when.

    Attributes:
        kind: "turn" for an earlier answer of the same conversation, "rate" for the configured rate, "paused" for a pause
            that a server asked for, "limit" for a limit that a server told of, "backoff" before a retry.
        reason: What led to it, in a word or two ("overloaded"); which limit it is ("input tokens"); empty for the rate.
        until: When it ends, by `time.monotonic()`; infinite if unknown.
        attempt: The attempt that follows, from 1.
        max_attempts: Most attempts there can be.
    """

    kind: WaitKind
    reason: str
    until: float
    attempt: int
    max_attempts: int

    def remaining(self, now: float | None = None) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.until - (time.monotonic() if now is None else now))


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSnapshot:
    """One content block as far as it has come.

    Attributes:
        kind: The API's name of the block type: "text", "thinking", "tool_use" ...
        text: Its text; for `tool_use` the JSON of its input; empty for blocks that have none.
        is_complete: Nothing more is coming for it.
        data: The block's fields as the API names them, once they have all come; None before that, and for blocks whose
            text says it all.
        call: What has become of the call, if the block is one that this side answers; else None.
    """

    kind: str
    text: str
    is_complete: bool
    data: Mapping[str, Any] | None = None
    call: CallSnapshot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSnapshot:
    """The call of a tool of this side.

    Attributes:
        name: The tool.
        arguments: What it is called with; empty until all of it has come.
        state: How far it is.
        result: What it gave back, or why it gave nothing, as text; empty before.
    """

    name: str
    arguments: Mapping[str, Any]
    state: CallState
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One request of a reply. A reply takes several where tools are called, or where the server makes a pause.

    Attributes:
        model: The model that answered.
        usage: What the request took.
        request_id: The server's id of it, or None.
        bill: What it cost, a line for each model that took part.
        recorded: What the cassette says of it; None where it does not stand there.
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
        phase: Where it is.
        blocks: Its content so far, in order.
        model: The model that answers; until the server has said so, the one that was asked for.
        usage: Tokens so far, of all rounds together; None until the server has said. Until it has counted the output, that is
            an estimate from what has come (`usage.is_estimate`), and so is the cost.
        rounds: The rounds that are over, oldest first.
        cost: What all of it costs so far, in USD; None where a price is not known, or nothing yet.
        stop_reason: Why it ended ("end_turn", "max_tokens", "refusal" ...); None while it has not.
        stop_details: The server's details of that, or None.
        stop_sequence: The stop sequence that was met, or None.
        request_id: The server's id of the request, or None.
        is_simulated: The embedded simulator, or another one, answered.
        elapsed: Seconds since it was started, up to its end.
        wait: What it waits for, or None.
        error: How it failed, or None.
        attempts: The attempts that are over, oldest first.
        notes: What was done differently from what was asked, as sentences ("This model always thinks ...").
        version: Grows with each change; equal versions are equal pictures.
        format: How the answer is to be shown: "md", "text", "code", "json", "html" or "math".
        prompt_hash: SHA-256 of what was asked, in hexadecimal digits.
        asked_at: When it was asked, as RFC 3339 text.
        asked: What was asked with its first request, once that is over.
        turn: Its turn in the conversation, once it stands there; None where it stands alone, also in a reply that was stored.
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
        """Whether the tokens and the cost are estimated, because the server has not counted all of the output."""
        return self.usage is not None and self.usage.is_estimate

    @property
    def recorded(self) -> tuple[AnswerRecorded, ...]:
        """What the cassette says of each round; empty unless all of them stand there."""
        found = tuple(each.recorded for each in self.rounds if each.recorded is not None)
        return found if len(found) == len(self.rounds) else ()

    @property
    def is_replay(self) -> bool:
        """Whether all of it came from the cassette, so that nothing was sent."""
        return bool(self.recorded) and all(each.is_replay for each in self.recorded)

    @property
    def helpers(self) -> tuple[str, ...]:
        """Models that took part beside the one that answered, and are billed at prices of their own."""
        models = dict.fromkeys(line.model for each in self.rounds for line in each.bill)
        return tuple(model for model in models if model != self.model)

    @property
    def text(self) -> str:
        """The text blocks, joined; where something else stood between two, such as a call, with a blank line."""
        texts = [
            "".join(block.text for block in blocks)
            for kind, blocks in groupby(self.blocks, key=lambda block: block.kind)
            if kind == "text"
        ]
        return "\n\n".join(text for text in texts if text)

    @property
    def thinking(self) -> str:
        """The thinking blocks, joined with a blank line between two."""
        return "\n\n".join(block.text for block in self.blocks if block.kind == "thinking" and block.text)


def _snapshot_of(builder: BlockBuilder) -> BlockSnapshot:
    """Return a block of the present round as far as it has come."""
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
    """Return the fields of a block that its text does not tell."""
    if isinstance(block, ThinkingBlock) or (isinstance(block, TextBlock) and not block.citations):
        return None
    return block.to_param()


class GrowingContent:
    """Blocks of the rounds that are over, then those of the present one, as the client's accumulator has them.

    Args:
        beginning: Text that the first text goes on from, as if it were its beginning.
    """

    def __init__(self, beginning: str = "") -> None:
        self._beginning = beginning
        self._settled: list[BlockSnapshot] = []
        self._current: MessageAccumulator | None = None
        self._calls: dict[str, CallSnapshot] = {}

    @property
    def usage(self) -> Usage | None:
        """What the present round has taken so far; None before it has begun."""
        return None if self._current is None else self._current.usage

    def follow(self, accumulator: MessageAccumulator) -> None:
        """Take the present round from an accumulator, which grows on the bridge thread."""
        self._current = accumulator

    def snapshot(self) -> tuple[BlockSnapshot, ...]:
        """All blocks at this moment, frozen."""
        # A block that is still written is no call yet, and its id may be one that was used before.
        blocks = [*map(self._with_call, self._settled), *self._growing()]
        return tuple(_begun(blocks, self._beginning) if self._beginning else blocks)

    def settled(self) -> GrowingContent:
        """Return the same content as it is when nothing more is coming."""
        content = GrowingContent(self._beginning)
        content._settled = [*self._settled, *self._growing()]
        content._calls = dict(self._calls)
        return content

    def start_over(self) -> None:
        """Forget the present round, because it is asked for again."""
        self._current = None

    def adopt(self, message: Message) -> None:
        """End the round with the message that came of it."""
        self._current = None
        for block in message.content:
            self._settled.append(_settled(block))
            if isinstance(block, ToolUseBlock) and block.type == "tool_use" and block.is_complete:
                self._calls[block.id] = CallSnapshot(
                    name=block.name, arguments=block.input, state=CallState.WRITTEN
                )

    def note_call(self, call_id: str, state: CallState, result: str) -> None:
        """Take note of how far a call has come. One that has ended stays as it is: who runs it may hear of a Stop later."""
        if not self._calls[call_id].state.is_final:
            self._calls[call_id] = replace(self._calls[call_id], state=state, result=result)

    def _growing(self) -> list[BlockSnapshot]:
        return [] if self._current is None else [_snapshot_of(builder) for builder in self._current.blocks()]

    def _with_call(self, block: BlockSnapshot) -> BlockSnapshot:
        call_id = None if block.data is None else block.data.get("id")
        call = self._calls.get(call_id) if isinstance(call_id, str) else None
        return block if call is None else replace(block, call=call)


def _begun(blocks: list[BlockSnapshot], beginning: str) -> list[BlockSnapshot]:
    """Return blocks whose first text begins with another; before there is any, that is the text."""
    for index, block in enumerate(blocks):
        if block.kind == "text":
            return [*blocks[:index], replace(block, text=beginning + block.text), *blocks[index + 1 :]]
    return [BlockSnapshot(kind="text", text=beginning, is_complete=False), *blocks]
