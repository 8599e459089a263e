"""Typed events of a stream, their decoder, and the accumulator that builds a `Message` from them. No I/O.

Unknown events and deltas are kept unchanged: the API requires clients to tolerate them. Data that deviates from the
documentation, as some compatible servers send it, is read as far as possible.

Events are frozen dataclasses. Creating a named tuple is 0.2 µs faster, but an empty one is falsy, and equal to any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import from_json

from ._errors import StreamInterruptedError
from ._json import decode_json, decode_odd_json, has_surrogate, mended, split_end
from ._messages import (
    BLOCK_KINDS,
    DELTA_KINDS,
    NO_USAGE,
    ContentBlock,
    Message,
    Usage,
    estimate_tokens,
    kind_of,
    parse_block,
    with_type,
)


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        event: The event's name; empty if the stream gives none.
        data: The data lines, joined with a line feed; UTF-8, not decoded.
    """

    event: str
    data: bytes


@dataclass(frozen=True, slots=True)
class MessageStart:
    """The start of the reply. `raw` is the message's JSON object."""

    raw: Mapping[str, Any]

    @property
    def message(self) -> Message:
        """The message at its start, usually without content. Parsed on access, so that the first delta is not delayed."""
        content = self.raw.get("content")
        blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
        return Message.model_validate({**self.raw, "content": blocks})


@dataclass(frozen=True, slots=True)
class ContentBlockStart:
    """The start of block `index`. `raw` is the block's initial JSON object."""

    index: int
    raw: Mapping[str, Any]

    @property
    def block(self) -> ContentBlock:
        """The block at its start. Parsed on access."""
        return parse_block(self.raw, is_complete=False)


class ContentBlockDelta(NamedTuple):
    """An addition to block `index`. A tuple for speed, because nearly all events are deltas.

    Attributes:
        index: Position of the block in the content.
        kind: The API's name for the delta: `text_delta`, `thinking_delta`, `input_json_delta`, `signature_delta` ...
        text: The text in a delta of these four kinds; empty for others.
        raw: The delta's JSON object.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    kind: str
    text: str
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContentBlockStop:
    """The end of block `index`."""

    index: int


@dataclass(frozen=True, slots=True)
class MessageDelta:
    """An update of the message's top-level fields at the end of the reply. There may be several.

    Attributes:
        stop_reason: Why the model stopped, or None if the event does not contain it.
        usage: Cumulative usage, or None.
        raw: The event's JSON object.
    """

    stop_reason: str | None
    usage: Usage | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MessageStop:
    """The end of the reply. `raw` is the event's JSON object."""

    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ping:
    """A keep-alive."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """An error of the server in the middle of the reply. `error` is the event's JSON object."""

    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event of an unknown type. `raw` is its decoded data."""

    type: str
    raw: Any


StreamEvent: TypeAlias = (
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Ping
    | ErrorEvent
    | UnknownEvent
)

_TEXT_FIELDS = {name: kind.field for name, kind in DELTA_KINDS.items() if kind.fold in ("join", "replace")}
"""Kinds of deltas that contain text, and the field of the text."""

_END_OF_OPENAI_STREAM = b"[DONE]"
"""End marker of OpenAI-style streams; some servers send it on the Messages path, too."""

_LF = ord("\n")
_new_tuple = tuple.__new__  # takes half as long as calling the named tuple's class


def decode_event(sse: ServerSentEvent, *, keeps_halves: bool = False) -> StreamEvent:
    """Decode a server-sent event into a typed one.

    The `type` in the data determines the type; if it is missing or unknown, the event's name does.

    Args:
        sse: The event.
        keeps_halves: Keep split characters in the text of blocks unchanged, for `SplitCharacters`.

    Raises:
        StreamInterruptedError: The data is not JSON, so part of the reply is lost.
    """
    try:
        raw = from_json(sse.data)
    except ValueError:
        raw = _decode_odd_data(sse, keeps_halves=keeps_halves)
    return event_of(raw, sse.event)


def event_of(raw: Any, name: str = "") -> StreamEvent:
    """Return the typed event for a JSON object. The event's `name` is used if the object's `type` is missing or unknown."""
    if not isinstance(raw, dict):
        return UnknownEvent(name, raw)
    kind = raw.get("type")
    decode = _DECODERS.get(kind) if isinstance(kind, str) else None
    decode = decode or _DECODERS.get(name)
    if decode is not None:
        return decode(raw)
    if isinstance(kind, str):
        return UnknownEvent(kind, raw)
    return ErrorEvent(raw) if "error" in raw else UnknownEvent(name, raw)


class PlainDeltas:
    """A fast decoder for deltas in the API's usual encoding, which are nearly all events; others go to `decode_event`.

    The deltas of one block have the same bytes around their text, so only the text is parsed. The result is the same as
    from `read_block` and `decode_event`, in a third of the time.
    """

    def __init__(self) -> None:
        self._index = 0
        self._kind = ""
        self._field = ""
        self._beginning = b""

    def expect(self, event: StreamEvent) -> None:
        """Prepare for the deltas that probably follow: those like the given delta, or those of the block that starts."""
        if isinstance(event, ContentBlockDelta):
            kind = event.kind
        elif isinstance(event, ContentBlockStart):
            kind = kind_of(event.raw).pieces or ""
        else:
            return
        index, field = event.index, _TEXT_FIELDS.get(kind)
        if field is None or (kind == self._kind and index == self._index):
            return
        self._index, self._kind, self._field = index, kind, field
        self._beginning = (
            'event: content_block_delta\ndata: {"type":"content_block_delta",'
            f'"index":{index},"delta":{{"type":"{kind}","{field}":'
        ).encode("ascii")

    def decode(self, block: bytes) -> ContentBlockDelta | None:
        """Return the delta in an event if it has text and the expected form, else None.

        Args:
            block: The event's lines, separated by LF.
        """
        rest = block.removeprefix(self._beginning)
        literal = rest.removesuffix(b"}}")
        if len(literal) == len(rest):  # the API pads events with spaces between or after the braces
            literal = rest.rstrip(b" }")
            if rest.count(b"}", len(literal)) != 2:
                return None
        if len(rest) == len(block) or _LF in rest:
            return None
        try:
            text = from_json(literal)
        except ValueError:
            return None
        if type(text) is not str or not text:
            return None
        raw = {"type": self._kind, self._field: text}
        return _new_tuple(ContentBlockDelta, (self._index, self._kind, text, raw))


class SplitCharacters:
    """A joiner for characters, such as emoji, that a server splits between two deltas by cutting UTF-16 or bytes.

    The first half is held back until the second arrives. Without a second half, it becomes U+FFFD when the block ends.

    Attributes:
        held: First halves, by index and kind. While it is empty, deltas without split characters need not be joined.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[int, str], str] = {}

    def join(self, event: StreamEvent) -> Sequence[StreamEvent]:
        """Return the events to pass on for the next event of the stream, in order."""
        match event:
            case ContentBlockDelta():
                return (self._join_delta(event),)
            case ContentBlockStart():
                return (self._split_start(event),)
            case ContentBlockStop():
                return (*self._released(event.index), event)
            case MessageStop():
                return (*self.flush(), event)
        return (event,)

    def flush(self) -> list[ContentBlockDelta]:
        """Return the text that is still held back, at the end of the stream."""
        return [delta for index in {index for index, _ in self.held} for delta in self._released(index)]

    def _join_delta(self, event: ContentBlockDelta) -> ContentBlockDelta:
        key = (event.index, event.kind)
        if event.kind not in _TEXT_FIELDS or not (key in self.held or has_surrogate(event.text)):
            return event
        text, begun = split_end(self.held.pop(key, "") + event.text)
        if begun:
            self.held[key] = begun
        return ContentBlockDelta(*key, text, {**event.raw, _TEXT_FIELDS[event.kind]: text})

    def _split_start(self, event: ContentBlockStart) -> ContentBlockStart:
        """Hold back an incomplete character at the end of a block's initial text."""
        delta = kind_of(event.raw).pieces
        into = "" if delta is None else DELTA_KINDS[delta].into
        text = event.raw.get(into)
        if delta is None or not isinstance(text, str) or not has_surrogate(text):
            return event
        text, begun = split_end(text)
        if begun:
            self.held[event.index, delta] = begun
        raw = {**event.raw, into: text}
        return ContentBlockStart(event.index, raw)

    def _released(self, index: int) -> list[ContentBlockDelta]:
        keys = [key for kind in _TEXT_FIELDS if (key := (index, kind)) in self.held]
        texts = ((key, split_end(self.held.pop(key), is_end=True)[0]) for key in keys)
        return [
            ContentBlockDelta(*key, text, {"type": key[1], _TEXT_FIELDS[key[1]]: text}) for key, text in texts
        ]


def _decode_odd_data(sse: ServerSentEvent, *, keeps_halves: bool) -> Any:
    data = sse.data.strip()
    if not data:
        return {}
    if data == _END_OF_OPENAI_STREAM:
        return data.decode()
    try:
        raw = decode_odd_json(data)
        return _with_halves_in_text(raw) if keeps_halves else mended(raw)
    except ValueError as error:
        reason = error
    raise StreamInterruptedError(
        f"The server sent an event that is not JSON ({data[:60].decode('utf-8', 'replace')!r}…: {reason}). "
        "Check base_url, and any proxy in between, which may have changed the stream."
    )


def _with_halves_in_text(raw: Any) -> Any:
    """Make the strings of a value valid Unicode, except the text of blocks, which may continue in the next delta."""
    valid = mended(raw)
    if not isinstance(raw, dict):
        return valid
    for part in ("delta", "content_block"):
        value = raw.get(part)
        if isinstance(value, dict):
            kept = {
                field: value[field] for field in _TEXT_FIELDS.values() if isinstance(value.get(field), str)
            }
            valid[part] |= kept
    return valid


def _block_delta(raw: dict[str, Any]) -> StreamEvent:
    delta = raw.get("delta")
    if not isinstance(delta, dict):
        return UnknownEvent("content_block_delta", raw)
    kind = delta.get("type")
    if not isinstance(kind, str):
        kind = next((kind for kind, name in _TEXT_FIELDS.items() if name in delta), "")
    text = delta.get(_TEXT_FIELDS.get(kind, ""))
    return ContentBlockDelta(_index(raw), kind, text if isinstance(text, str) else "", delta)


def _block_start(raw: dict[str, Any]) -> StreamEvent:
    block = raw.get("content_block")
    if not isinstance(block, dict):
        return UnknownEvent("content_block_start", raw)
    return ContentBlockStart(_index(raw), with_type(block))


def _message_start(raw: dict[str, Any]) -> StreamEvent:
    message = raw.get("message")
    return MessageStart(message if isinstance(message, dict) else {})


def _message_delta(raw: dict[str, Any]) -> StreamEvent:
    delta = raw.get("delta")
    stop_reason = delta.get("stop_reason") if isinstance(delta, dict) else None
    usage = raw.get("usage")
    return MessageDelta(
        stop_reason if isinstance(stop_reason, str) else None,
        Usage.model_validate(usage) if isinstance(usage, dict) else None,
        raw,
    )


def _index(raw: Mapping[str, Any]) -> int:
    """Return the block's index; 0 if the server omits it, since it then sends only one block."""
    index = raw.get("index")
    return index if type(index) is int else 0


_DECODERS: dict[str, Callable[[dict[str, Any]], StreamEvent]] = {
    "message_start": _message_start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "content_block_stop": lambda raw: ContentBlockStop(_index(raw)),
    "message_delta": _message_delta,
    "message_stop": MessageStop,
    "ping": lambda _raw: Ping(),
    "error": ErrorEvent,
}


class BlockBuilder:
    """A builder of one content block from its start and its deltas.

    Attributes:
        index: Position of the block in the content.
        start: Initial fields of the block.
        type: The API's name for the block's type.
        is_complete: Whether the block has ended.
        piece_kind: Kind of delta whose texts are appended to `pieces`, or None.
        pieces: Texts of these deltas, in order.
        begins_with_content: Its start has content: a text, an input, or all of a block that arrives whole, such as a search result.
    """

    __slots__ = (
        "_built",
        "_changes",
        "_lists",
        "_was_reopened",
        "begins_with_content",
        "index",
        "is_complete",
        "piece_kind",
        "pieces",
        "start",
        "type",
    )

    def __init__(self, index: int, start: Mapping[str, Any]) -> None:
        kind = start.get("type")
        self.index = index
        self.start = start
        self.type = kind if isinstance(kind, str) else ""
        self.piece_kind = kind_of(start).pieces
        self.pieces: list[str] = []
        self._changes: dict[str, Any] = {}
        self._lists: dict[str, list[Any]] = {}
        self.is_complete = False
        self._was_reopened = False
        self._built: ContentBlock | None = None
        whole = any(value for name, value in start.items() if name not in ("type", "id"))
        self.begins_with_content = bool(self.written) if self.piece_kind is not None else whole

    @classmethod
    def of_delta(cls, event: ContentBlockDelta) -> BlockBuilder | None:
        """Return a new block for a delta whose block was never started; None if the kind of delta is unknown."""
        delta = DELTA_KINDS.get(event.kind)
        if delta is None:
            return None
        return cls(event.index, {"type": delta.block, **BLOCK_KINDS[delta.block].blank})

    @property
    def text(self) -> str:
        """The text or thinking so far, including the block's initial text; empty for other types."""
        begun = self.start.get(DELTA_KINDS[self.piece_kind].into) if self.piece_kind else ""
        return "".join((begun if isinstance(begun, str) else "", *self.pieces))

    @property
    def begun(self) -> ContentBlock:
        """The block at its start."""
        return parse_block(self.start, is_complete=False)

    @property
    def written(self) -> str:
        """The text, thinking, or JSON of a tool's input so far; without deltas, the input of the block's start."""
        if self.piece_kind != "input_json_delta":
            return self.text
        begun = self.start.get("input")
        return "".join(self.pieces) or (json.dumps(begun, ensure_ascii=False) if begun else "")

    @property
    def estimated_tokens(self) -> int:
        """Estimated output tokens of the block; the length of hidden thinking is estimated from its signature."""
        written = estimate_tokens(self.written)
        hidden = self._changes.get("signature") or self.start.get("data")
        return max(written, estimate_tokens(hidden) if isinstance(hidden, str) else 0)

    def apply(self, event: ContentBlockDelta) -> bool:
        """Apply a delta of a kind other than `piece_kind`; return False if it is unknown for this type of block."""
        delta = DELTA_KINDS.get(event.kind)
        if delta is None or (self.type in BLOCK_KINDS and self.type != delta.block):
            return False
        match delta.fold:
            case "join" if self.piece_kind is not None:
                return False
            case "join":
                # The block has a known kind of delta, but an unknown type or none.
                self.piece_kind = event.kind
                self.type = self.type or delta.block
                self.pieces.append(event.text)
            case "replace":
                self._changes[delta.into] = event.text
            case "append":
                begun = self.start.get(delta.into)
                items = self._lists.setdefault(delta.into, [*begun] if isinstance(begun, list) else [])
                items.append(event.raw.get(delta.field))
            case "update":
                self._changes |= {name: value for name, value in event.raw.items() if name != "type"}
        return True

    def finish(self) -> None:
        """Mark the block as complete: join and parse its pieces, once. One that was reopened may end often: it is built on access."""
        self.is_complete = True
        self._built = None if self._was_reopened else self._build(is_complete=True)

    def reopen(self) -> None:
        """Continue a block that has ended, because another delta arrived for it."""
        self.is_complete, self._built, self._was_reopened = False, None, True

    def block(self, *, is_complete: bool) -> ContentBlock:
        """Return the block so far.

        Args:
            is_complete: Whether the reply is complete. If so, a block without a stop event is complete, too.
        """
        return self._built or self._build(is_complete=is_complete or self.is_complete)

    def _build(self, *, is_complete: bool) -> ContentBlock:
        fields = {**self.start, **self._changes}
        fields |= {name: [*items] for name, items in self._lists.items()}
        raw_input = None
        if self.piece_kind == "input_json_delta":
            fields["input"], raw_input = self._read_input()
        elif self.piece_kind is not None:
            fields[DELTA_KINDS[self.piece_kind].into] = self.text
        return parse_block(fields, raw_input=raw_input, is_complete=is_complete)

    def _read_input(self) -> tuple[dict[str, Any], str | None]:
        """Return a tool's arguments, and their raw text if it is not a JSON object."""
        raw_input = "".join(self.pieces)
        if not raw_input.strip():
            begun = self.start.get("input")
            return begun if isinstance(begun, dict) else {}, None
        try:
            value = decode_json(raw_input)
        except ValueError:
            value = None
        return (value, None) if isinstance(value, dict) else ({}, raw_input)


# Accumulates the events of a stream into a `Message`. No I/O.
#
# Text is collected in pieces, which are joined when a block is complete or a message is requested. A tool's arguments are
# parsed once, when their block ends. Usage is replaced field by field, because the API's counts are cumulative. Until its
# last event, a stream reports one output token, so the output of a reply that ends early is estimated.
_NOT_SET_BY_DELTA = ("type", "content", "usage", "delta")


class MessageAccumulator:
    """A reply that is being received.

    Interleaved deltas of several blocks, wrong block indexes and missing events are tolerated.

    Attributes:
        has_content: Content, including thinking, has started to arrive.
        is_complete: The reply is complete.
        unknown: Unknown events and deltas, unchanged, oldest first.
    """

    def __init__(self) -> None:
        self.has_content = False
        self.is_complete = False
        self.unknown: list[StreamEvent] = []
        self._fields: dict[str, Any] = {}
        self._start: MessageStart | None = None
        self._builders: list[BlockBuilder] = []
        self._latest: dict[int, BlockBuilder] = {}
        self._open: dict[int, BlockBuilder] = {}
        self._reported: tuple[Usage, MessageStart | None] = (NO_USAGE, None)
        self._counted_pieces: int | None = None

    @property
    def has_stop_reason(self) -> bool:
        """Whether the stop reason has arrived."""
        return isinstance(self._fields.get("stop_reason"), str)

    @property
    def usage(self) -> Usage:
        """The usage so far. If content has arrived since the server's last count, output is estimated and marked as such."""
        reported = self._reported_usage()
        if not reported.model_fields_set or self._counted_pieces == self._pieces():
            return reported
        return reported.estimated(sum(builder.estimated_tokens for builder in self._builders))

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(builder.text for builder in self.blocks() if builder.type == "text")

    def add(self, event: StreamEvent) -> None:
        """Add the next event. Every event is accepted."""
        if not isinstance(event, ContentBlockDelta):
            self._add_other(event)
            return
        self.has_content = True
        builder = self._open.get(event.index) or self._find(event)
        if builder is None:
            self.unknown.append(event)
        elif event.kind == builder.piece_kind:
            builder.pieces.append(event.text)
        elif not builder.apply(event):
            self.unknown.append(event)

    def add_deltas(self, deltas: Sequence[ContentBlockDelta], texts: Sequence[str]) -> None:
        """Add deltas of the same block and kind, with their texts: nearly all events of a stream."""
        first = deltas[0]
        builder = self._open.get(first.index)
        if builder is None or first.kind != builder.piece_kind:
            for delta in deltas:
                self.add(delta)
            return
        self.has_content = True
        builder.pieces += texts

    def blocks(self) -> list[BlockBuilder]:
        """Return the blocks so far, ordered by index; blocks with the same index in order of arrival.

        Any thread may call this, and read the blocks.
        """
        return sorted(self._builders, key=lambda builder: builder.index)

    def message(self) -> Message:
        """Return the reply so far. Each of its blocks has `is_complete`."""
        content = [builder.block(is_complete=self.is_complete) for builder in self.blocks()]
        if not content and self._start is not None:
            content = self._start.message.content
        return Message.model_validate({**self._fields, "content": content, "usage": self.usage})

    def _add_other(self, event: StreamEvent) -> None:
        match event:
            case ContentBlockStart():
                self._start_block(event)
            case ContentBlockStop():
                builder = self._open.pop(event.index, None)
                if builder is not None:
                    builder.finish()
            case MessageStart():
                # A second start, from a gateway that restarted the reply, updates the fields and keeps the content.
                self._fields |= event.raw
                self._reported = (self._reported_usage(), event)
                self._start = event
            case MessageDelta():
                self._end(event)
            case MessageStop():
                self.is_complete = True
            case Ping() | ErrorEvent():
                pass
            case _:
                self.unknown.append(event)

    def _start_block(self, event: ContentBlockStart) -> None:
        current = self._open.get(event.index)
        if current is not None:
            if current.start == event.raw:
                return  # a duplicate
            current.finish()
        builder = self._open[event.index] = BlockBuilder(event.index, event.raw)
        self._append(builder)
        self.has_content |= builder.begins_with_content

    def _append(self, builder: BlockBuilder) -> None:
        self._builders.append(builder)
        self._latest[builder.index] = builder

    def _find(self, event: ContentBlockDelta) -> BlockBuilder | None:
        """Return the block of a delta whose block is not open, because it ended too early or never started."""
        builder = self._latest.get(event.index)
        if builder is not None:
            builder.reopen()
        else:
            builder = BlockBuilder.of_delta(event)
            if builder is None:
                return None
            self._append(builder)
        self._open[event.index] = builder
        return builder

    def _end(self, event: MessageDelta) -> None:
        """Update the message's top-level fields. Fields that a later event omits or sends as null keep their value."""
        delta = event.raw.get("delta")
        ending = {**event.raw, **(delta if isinstance(delta, dict) else {})}
        for name, value in ending.items():
            if name not in _NOT_SET_BY_DELTA and (value is not None or name not in self._fields):
                self._fields[name] = value
        if event.usage is None:
            return
        self._reported = (self._reported_usage().merged(event.usage), None)
        if "output_tokens" in event.usage.model_fields_set:
            self._counted_pieces = self._pieces()

    def _reported_usage(self) -> Usage:
        """The usage reported by the server. The message's start is parsed on access, which any thread may do."""
        usage, start = self._reported
        return usage if start is None else usage.merged(start.message.usage)

    def _pieces(self) -> int:
        """The number of pieces so far, and of blocks whose start has content. It only grows."""
        return sum(len(builder.pieces) + builder.begins_with_content for builder in self._builders)
