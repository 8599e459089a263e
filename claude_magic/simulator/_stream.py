"""A complete message as the events of a stream, with the types that behaviours use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ._wire import (
    JSON,
    APIError,
    Chunk,
    HangUp,
    Head,
    Pause,
    Request,
    Steps,
    encode_json,
    error_envelope,
    json_steps,
    new_id,
    split_tokens,
)

STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
TOKENS_PER_DELTA = (2, 3, 1, 4, 2, 3, 5)
"""Tokens per delta, in turn; the sizes vary as in the real API."""
PING_INTERVAL = 10.0
"""Seconds of paced output after which a ping is sent."""

PING: JSON = {"type": "ping"}


def new_message(
    model: str, content: Sequence[JSON], stop_reason: str | None, stop_sequence: str | None, usage: JSON
) -> JSON:
    """Return a message in the form of a response without streaming."""
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": usage,
    }


def message_events(message: JSON) -> Iterator[JSON]:
    """Yield the events of a message, from `message_start` to `message_stop`.

    Args:
        message: The complete message, in the form of a response without streaming.
    """
    yield {"type": "message_start", "message": _opening(message)}
    for index, block in enumerate(message["content"]):
        yield from block_events(index, block)
        if index == 0:
            yield PING
    yield closing_event(message)
    yield {"type": "message_stop"}


def _opening(message: JSON) -> JSON:
    usage = {**message["usage"], "output_tokens": min(1, message["usage"]["output_tokens"])}
    usage.pop("output_tokens_details", None)
    usage.pop("server_tool_use", None)
    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    opening.pop("stop_details", None)
    opening.pop("context_management", None)
    return opening


def closing_event(message: JSON) -> JSON:
    """Return the `message_delta` with the stop reason and the total usage."""
    delta: JSON = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    delta.update({key: message[key] for key in ("stop_details", "container") if message.get(key) is not None})
    event = {"type": "message_delta", "delta": delta, "usage": _closing_usage(message["usage"])}
    if "context_management" in message:
        event["context_management"] = message["context_management"]
    return event


def _closing_usage(usage: JSON) -> JSON:
    cumulative = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
        "server_tool_use",
    )
    return {key: usage[key] for key in cumulative if usage.get(key) is not None}


def block_events(index: int, block: JSON) -> Iterator[JSON]:
    """Yield a block's start, deltas and stop."""
    opening, deltas = _opening_and_deltas(block)
    yield {"type": "content_block_start", "index": index, "content_block": opening}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _opening_and_deltas(block: JSON) -> tuple[JSON, Iterable[JSON]]:
    kind = block["type"]
    if kind == "text":
        return _text(block)
    if kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}, _thinking_deltas(block)
    if kind in ("tool_use", "server_tool_use"):
        return {**block, "input": {}}, _input_deltas(block["input"])
    return block, ()


def _text(block: JSON) -> tuple[JSON, list[JSON]]:
    citations: Sequence[JSON] = block.get("citations") or ()
    opening: JSON = {"type": "text", "text": ""}
    if citations:
        opening["citations"] = []
    deltas: list[JSON] = [{"type": "citations_delta", "citation": citation} for citation in citations]
    deltas += [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    return opening, deltas


def _thinking_deltas(block: JSON) -> Iterator[JSON]:
    for piece in pieces(block["thinking"]):
        yield {"type": "thinking_delta", "thinking": piece}
    yield {"type": "signature_delta", "signature": block["signature"]}


def _input_deltas(arguments: JSON) -> Iterator[JSON]:
    """Yield the arguments as JSON, one key with its value per delta."""
    yield {"type": "input_json_delta", "partial_json": ""}
    opening = "{"
    for key, value in arguments.items():
        yield {
            "type": "input_json_delta",
            "partial_json": f"{opening}{encode_json(key).decode()}: {encode_json(value).decode()}",
        }
        opening = ", "
    if arguments:
        yield {"type": "input_json_delta", "partial_json": "}"}


def pieces(text: str) -> Iterator[str]:
    """Yield the pieces of a text for its deltas."""
    tokens = split_tokens(text)
    start = turn = 0
    while start < len(tokens):
        size = TOKENS_PER_DELTA[turn % len(TOKENS_PER_DELTA)]
        yield "".join(tokens[start : start + size])
        start += size
        turn += 1


def encode_event(event: JSON) -> bytes:
    """Encode a server-sent event; the event's name is its type."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + encode_json(event) + b"\n\n"


def paced(events: Iterable[JSON], chunk_delay: float) -> Steps:
    """Send events, with a pause after each delta."""
    since_ping = 0.0
    for event in events:
        yield Chunk(encode_event(event))
        if chunk_delay <= 0 or event["type"] != "content_block_delta":
            continue
        yield Pause(chunk_delay)
        since_ping += chunk_delay
        if since_ping >= PING_INTERVAL:
            yield Chunk(encode_event(PING))
            since_ping = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The message that answers a request, with its additional headers."""

    message: JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A POST to `/v1/messages`, as passed to behaviours."""

    request: Request
    request_id: str
    chunk_delay: float
    headers: Mapping[str, str]
    """Headers of every response, such as the request id."""
    answer: Callable[[], Answer]
    """Validates and answers the request; raises `APIError` for an invalid request."""


Behaviour: TypeAlias = Callable[[Post], Steps]
"""Returns the steps of the response to one request."""


Change: TypeAlias = Callable[[Iterable[JSON]], Iterable[JSON]]
"""Modifies the events of a message."""


def deliver(post: Post, answer: Answer, change: Change | None = None) -> Steps:
    """Send the answer as JSON or, with `stream`, as events, optionally modified and paced by `chunk_delay`."""
    if not post.request.wants_stream:
        yield from json_steps(200, answer.message, {**post.headers, **answer.headers})
        return
    events: Iterable[JSON] = message_events(answer.message)
    yield stream_head(post, answer)
    yield from paced(change(events) if change else events, post.chunk_delay)


def stream_head(post: Post, answer: Answer | None = None, extra: Mapping[str, str] | None = None) -> Head:
    """Return the head of a stream."""
    of_answer = answer.headers if answer is not None else {}
    headers = {**STREAM_HEADERS, **post.headers, **of_answer, **(extra or {})}
    return Head(200, tuple(headers.items()))


_FLUSH_TIME = 0.02
"""Seconds before a connection ends, which give the data sent so far time to arrive."""


def hang_up(how: Literal["reset", "close"]) -> Steps:
    """End the connection in the middle of a response."""
    yield Pause(_FLUSH_TIME)
    yield HangUp(how)


def refuse(fault: APIError, request_id: str, headers: Mapping[str, str]) -> Steps:
    """Send an error response."""
    return json_steps(fault.status, error_envelope(fault, request_id), {**headers, **fault.headers})
