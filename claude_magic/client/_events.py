"""The typed events of a stream, and how they are decoded. No I/O.

Events are named tuples: of the immutable classes, the cheapest to make (0.3 µs where a frozen dataclass takes 1.0).
Unknown events and deltas are kept as they came: tolerating them is the API's documented contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from pydantic import ValidationError
from pydantic_core import from_json

from ._blocks import ContentBlock, parse_block
from ._errors import StreamInterruptedError
from ._messages import Message, Usage
from ._sse import ServerSentEvent


class MessageStart(NamedTuple):
    """The reply begins. `message` has no content yet; `raw` is its JSON object."""

    message: Message
    raw: Mapping[str, Any]


class ContentBlockStart(NamedTuple):
    """Block `index` begins. `raw` is the block's JSON object, as far as it is known at its start."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    block: ContentBlock
    raw: Mapping[str, Any]


class ContentBlockDelta(NamedTuple):
    """Something was added to block `index`.

    Attributes:
        index: Position of the block in the content.
        kind: The API's name for the delta: `text_delta`, `thinking_delta`, `input_json_delta`, `signature_delta` ...
        text: The text that these four carry; empty for others.
        raw: The delta's JSON object.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    kind: str
    text: str
    raw: Mapping[str, Any]


class ContentBlockStop(NamedTuple):
    """Block `index` is complete."""

    index: int  # type: ignore[assignment]  # hides tuple.index


class MessageDelta(NamedTuple):
    """The reply's ending. There may be several.

    Attributes:
        stop_reason: Why the model stopped, or None if this event does not say.
        usage: Counts so far, cumulative, or None.
        raw: The event's JSON object.
    """

    stop_reason: str | None
    usage: Usage | None
    raw: Mapping[str, Any]


class MessageStop(NamedTuple):
    """The reply is complete."""


class Ping(NamedTuple):
    """The connection lives."""


class ErrorEvent(NamedTuple):
    """The server failed in the middle of the reply. `error` is the event's JSON object."""

    error: Mapping[str, Any]


class UnknownEvent(NamedTuple):
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

DELTA_TEXT_FIELD = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
}
"""The deltas that carry text, and the field it stands in."""


def decode_event(sse: ServerSentEvent) -> StreamEvent:
    """Turn a server-sent event into a typed one.

    Its type is that in the data, or the event's name where the data has none.

    Raises:
        StreamInterruptedError: The data is not JSON.
    """
    try:
        raw = from_json(sse.data)  # 0.5 µs for a delta; json.loads takes 1.5
    except ValueError:
        return _undecodable(sse)
    if not isinstance(raw, dict):
        return UnknownEvent(sse.event, raw)
    kind = raw.get("type", sse.event)
    if kind == "content_block_delta":  # nearly all events
        return _block_delta(raw)
    decode = _DECODERS.get(kind) if isinstance(kind, str) else None
    return UnknownEvent(str(kind), raw) if decode is None else decode(raw)


def _undecodable(sse: ServerSentEvent) -> StreamEvent:
    if (
        sse.data.strip() == b"[DONE]"
    ):  # how OpenAI-shaped servers end a stream, some of them also on this path
        return UnknownEvent(sse.event or "[DONE]", "[DONE]")
    raise StreamInterruptedError(
        f"The server sent an event that is not JSON ({sse.data[:60].decode('utf-8', 'replace')!r} …). "
        "Check base_url, and any proxy on the way, which may have changed the stream."
    )


def _block_delta(raw: dict[str, Any]) -> StreamEvent:
    delta = raw.get("delta")
    if not isinstance(delta, dict):
        return UnknownEvent("content_block_delta", raw)
    kind = delta.get("type", "")
    field = DELTA_TEXT_FIELD.get(kind) if isinstance(kind, str) else None
    text = delta.get(field, "") if field is not None else ""
    return ContentBlockDelta(_index(raw), str(kind), text if isinstance(text, str) else "", delta)


def _block_start(raw: dict[str, Any]) -> StreamEvent:
    block = raw.get("content_block")
    if not isinstance(block, dict) or not isinstance(block.get("type", ""), str):
        return UnknownEvent("content_block_start", raw)
    return ContentBlockStart(_index(raw), parse_block(block), block)


def _block_stop(raw: dict[str, Any]) -> StreamEvent:
    return ContentBlockStop(_index(raw))


def _message_start(raw: dict[str, Any]) -> StreamEvent:
    message = raw.get("message")
    fields = message if isinstance(message, dict) else {}
    return MessageStart(message_of(fields, []), fields)


def _message_delta(raw: dict[str, Any]) -> StreamEvent:
    delta = raw.get("delta")
    stop_reason = delta.get("stop_reason") if isinstance(delta, dict) else None
    usage = raw.get("usage")
    return MessageDelta(
        stop_reason if isinstance(stop_reason, str) else None,
        usage_of(usage) if isinstance(usage, dict) else None,
        raw,
    )


def message_of(fields: Mapping[str, Any], content: list[ContentBlock]) -> Message:
    """Make a message of the fields a server sent and the blocks collected; fields of a wrong type are left out."""
    values = {**fields, "content": content}
    while True:
        try:
            return Message.model_validate(values)
        except ValidationError as invalid:
            wrong = {problem["loc"][0] for problem in invalid.errors(include_url=False)}
            values = {name: value for name, value in values.items() if name not in wrong or name == "content"}


def usage_of(fields: Mapping[str, Any]) -> Usage:
    """Make usage of the counts a server sent; those of a wrong type are left out."""
    try:
        return Usage.model_validate(fields)
    except ValidationError as invalid:
        wrong = {problem["loc"][0] for problem in invalid.errors(include_url=False)}
    return Usage.model_validate({name: value for name, value in fields.items() if name not in wrong})


def _index(raw: Mapping[str, Any]) -> int:
    """Return the block's position; a server that leaves it out has but one block."""
    index = raw.get("index", 0)
    return index if type(index) is int else 0


_DECODERS: dict[str, Callable[[dict[str, Any]], StreamEvent]] = {
    "message_start": _message_start,
    "content_block_start": _block_start,
    "content_block_stop": _block_stop,
    "message_delta": _message_delta,
    "message_stop": lambda _raw: MessageStop(),
    "ping": lambda _raw: Ping(),
    "error": lambda raw: ErrorEvent(raw),
}
