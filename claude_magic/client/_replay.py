"""Turns a whole message into the events it would have been, for servers that ignore `stream: true`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

_STREAMED_FIELDS = {"text": "text", "thinking": "thinking"}
"""Block type: the field that streams, in a delta named after it."""


def encode_as_stream(message: Mapping[str, Any]) -> bytes:
    """Encode a message as the bytes of an event stream. Feeding them to the parser gives the message back.

    Args:
        message: The message as it came, its content made a list of objects.
    """
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode("ascii"), to_json(event))
        for event in _events(message)
    )


def _events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    ending = {
        name: message.get(name)
        for name in ("stop_reason", "stop_sequence", "stop_details")
        if name in message
    }
    yield {"type": "message_start", "message": {**message, "content": [], **dict.fromkeys(ending)}}
    for index, block in enumerate(content if isinstance(content, list) else ()):
        yield from _block_events(index, block)
    yield {"type": "message_delta", "delta": ending, "usage": message.get("usage") or {}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block.get("type")
    start, deltas = dict(block), []
    field = _STREAMED_FIELDS.get(kind) if isinstance(kind, str) else None
    if field is not None and isinstance(start.get(field), str):
        deltas.append({"type": f"{field}_delta", field: start[field]})
        start[field] = ""
    elif kind in ("tool_use", "server_tool_use", "mcp_tool_use") and isinstance(start.get("input"), dict):
        deltas.append({"type": "input_json_delta", "partial_json": to_json(start["input"]).decode()})
        start["input"] = {}
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}
