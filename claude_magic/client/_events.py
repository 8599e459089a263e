"""The typed events of a stream, and how they are decoded. No I/O.

Unknown events and deltas are kept as they came: tolerating them is the API's documented contract. Data that is not quite
as documented, as from some other servers, is read as far as it makes sense.

Events are frozen dataclasses. Named tuples are made 0.2 µs faster, but an empty one is false, and equal to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic_core import from_json

from ._blocks import ContentBlock, parse_block
from ._errors import StreamInterruptedError
from ._json import decode_json
from ._messages import Message, Usage
from ._sse import ServerSentEvent


@dataclass(frozen=True, slots=True)
class MessageStart:
    """The reply begins. `message` has no content yet, as a rule; `raw` is its JSON object."""

    message: Message
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContentBlockStart:
    """Block `index` begins. `raw` is the block's JSON object, as far as it is known at its start."""

    index: int
    block: ContentBlock
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContentBlockDelta:
    """Something was added to block `index`.

    Attributes:
        index: Position of the block in the content.
        kind: The API's name for the delta: `text_delta`, `thinking_delta`, `input_json_delta`, `signature_delta` ...
        text: The text that these four carry; empty for others.
        raw: The delta's JSON object.
    """

    index: int
    kind: str
    text: str
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContentBlockStop:
    """Block `index` is complete."""

    index: int


@dataclass(frozen=True, slots=True)
class MessageDelta:
    """The reply's ending. There may be several.

    Attributes:
        stop_reason: Why the model stopped, or None if this event does not say.
        usage: Counts so far, cumulative, or None.
        raw: The event's JSON object.
    """

    stop_reason: str | None
    usage: Usage | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MessageStop:
    """The reply is complete. `raw` is the event's JSON object."""

    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ping:
    """The connection lives."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The server failed in the middle of the reply. `error` is the event's JSON object."""

    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event of a type that is not known here. `raw` is whatever its data held."""

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

_TEXT_FIELD_BY_DELTA = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
}
"""The deltas that carry text, and the field it stands in."""

_END_OF_OPENAI_STREAM = b"[DONE]"
"""How OpenAI-shaped servers end a stream, some of them on this path too."""


def decode_event(sse: ServerSentEvent) -> StreamEvent:
    """Turn a server-sent event into a typed one.

    Its type is that in the data, or the event's name where the data has none that is known.

    Raises:
        StreamInterruptedError: The data is not JSON, so a part of the reply is lost.
    """
    try:
        raw = from_json(sse.data)  # 0.4 µs for a text delta, where json.loads takes 1.8, jiter and orjson 0.3
    except ValueError:
        raw = _decode_odd_data(sse)
    if not isinstance(raw, dict):
        return UnknownEvent(sse.event, raw)
    kind = raw.get("type")
    if kind == "content_block_delta":  # nearly all events
        return _block_delta(raw)
    decode = _DECODERS.get(kind) if isinstance(kind, str) else None
    decode = decode or _DECODERS.get(sse.event)
    if decode is not None:
        return decode(raw)
    if isinstance(kind, str):
        return UnknownEvent(kind, raw)
    return ErrorEvent(raw) if "error" in raw else UnknownEvent(sse.event, raw)


def _decode_odd_data(sse: ServerSentEvent) -> Any:
    data = sse.data.strip()
    if not data:
        return {}
    if data == _END_OF_OPENAI_STREAM:
        return data.decode()
    try:
        return decode_json(data)
    except ValueError as error:
        reason = error
    raise StreamInterruptedError(
        f"The server sent an event that is not JSON ({data[:60].decode('utf-8', 'replace')!r}…: {reason}). "
        "Check base_url, and any proxy on the way, which may have changed the stream."
    )


def _block_delta(raw: dict[str, Any]) -> StreamEvent:
    try:
        delta = raw["delta"]
        kind = delta["type"]
        text = delta[_TEXT_FIELD_BY_DELTA[kind]]
        index = raw["index"]
    except (KeyError, TypeError):
        return _odd_block_delta(raw)
    if type(text) is str and type(index) is int:
        return ContentBlockDelta(index, kind, text, delta)
    return _odd_block_delta(raw)


def _odd_block_delta(raw: dict[str, Any]) -> StreamEvent:
    """Read a delta that carries no text, or lacks something."""
    delta = raw.get("delta")
    if not isinstance(delta, dict):
        return UnknownEvent("content_block_delta", raw)
    kind = delta.get("type")
    if not isinstance(kind, str):
        kind = next((kind for kind, name in _TEXT_FIELD_BY_DELTA.items() if name in delta), "")
    text = delta.get(_TEXT_FIELD_BY_DELTA.get(kind, ""))
    return ContentBlockDelta(_index(raw), kind, text if isinstance(text, str) else "", delta)


def _block_start(raw: dict[str, Any]) -> StreamEvent:
    block = raw.get("content_block")
    if not isinstance(block, dict):
        return UnknownEvent("content_block_start", raw)
    return ContentBlockStart(_index(raw), parse_block(block, is_complete=False), block)


def _block_stop(raw: dict[str, Any]) -> StreamEvent:
    return ContentBlockStop(_index(raw))


def _message_start(raw: dict[str, Any]) -> StreamEvent:
    message = raw.get("message")
    fields = message if isinstance(message, dict) else {}
    content = fields.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return MessageStart(Message.model_validate({**fields, "content": blocks}), fields)


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
    """Return the block's position; a server that leaves it out has but one block."""
    index = raw.get("index")
    return index if type(index) is int else 0


_DECODERS: dict[str, Callable[[dict[str, Any]], StreamEvent]] = {
    "message_start": _message_start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "content_block_stop": _block_stop,
    "message_delta": _message_delta,
    "message_stop": MessageStop,
    "ping": lambda _raw: Ping(),
    "error": ErrorEvent,
}
