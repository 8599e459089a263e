"""Behaviours that tests and demonstrations script, each one POST to `/v1/messages`.

Those here replace the answer altogether: the request is not even checked. The ones in `_faults` spoil the
answer that the request would have had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ._delivery import Answer, Behaviour, Exchange, deliver, deliver_events, stream_head
from ._errors import MESSAGE_OF_STATUS, APIError, error_envelope
from ._exchange import JSON, Chunk, HangUp, Head, Pause, Steps, body_steps, encode_json
from ._ids import new_id
from ._stream import encode_event, message_events
from ._tokens import count_tokens

Ending = Literal["chunk", "close", "reset", "eof"]

DEFAULT_MODEL = "claude-sonnet-5-5"
SETTLING_TIME = 0.02
"""Seconds before a reset, so that what was sent before it has arrived."""


def status(
    code: int,
    *,
    error_type: str | None = None,
    message: str | None = None,
    error_code: str | None = None,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    content_type: str | None = None,
) -> Behaviour:
    """Answer with a status, by default with the error body that the API sends with it.

    Args:
        code: The HTTP status.
        error_type: The error's type, where not the usual one.
        message: The error's text, where not the usual one.
        error_code: A stable code for `error.details`.
        retry_after: The `retry-after` header, in seconds or literally.
        headers: Further headers.
        body: Exactly this body instead of the error's.
        content_type: The body's type; `application/json` by default.
    """
    fault = APIError(
        code,
        message or MESSAGE_OF_STATUS.get(code, f"The simulator was told to answer {code}."),
        error_type=error_type,
        details=None if error_code is None else {"error_code": error_code},
    )
    extra = {"content-type": content_type or "application/json", **(headers or {})}
    if retry_after is not None:
        extra["retry-after"] = str(retry_after)

    def behave(exchange: Exchange) -> Steps:
        content = encode_json(error_envelope(fault, exchange.request_id)) if body is None else body
        return body_steps(code, content, {**exchange.headers, **extra})

    return behave


def reply(
    text: str = "",
    *,
    thinking: str | None = None,
    content: Sequence[JSON] | None = None,
    stop_reason: str | None = "end_turn",
    stop_sequence: str | None = None,
    stop_details: JSON | None = None,
    usage: JSON | None = None,
    chunks: Iterable[str] | None = None,
    chunk_delay: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer with this text, whatever was asked, as JSON or as a stream.

    Args:
        text: The text of the answer.
        thinking: Thinking to show before it.
        content: All content blocks, instead of `text` and `thinking`.
        stop_reason: Why the answer ends.
        stop_sequence: The stop sequence that ended it.
        stop_details: Details of a refusal.
        usage: Fields of `usage` to set; the rest is estimated.
        chunks: The exact text deltas of a stream, instead of `text`.
        chunk_delay: Seconds between deltas; by default the simulator's.
        headers: Further response headers.
    """
    deltas = None if chunks is None else list(chunks)
    blocks = list(content) if content is not None else _blocks("".join(deltas) if deltas else text, thinking)

    def behave(exchange: Exchange) -> Steps:
        message = build_message(exchange, blocks, stop_reason, stop_sequence, stop_details, usage)
        answer = Answer(message=message, headers=dict(headers or {}))
        paced_exchange = exchange if chunk_delay is None else _with_delay(exchange, chunk_delay)
        if deltas is None or not exchange.request.wants_stream:
            return deliver(paced_exchange, answer)
        return deliver_events(paced_exchange, answer, with_text_deltas(message_events(message), deltas))

    return behave


def stream_bytes(
    raw: bytes,
    *,
    chunk_bytes: int | None = None,
    delay: float = 0.0,
    end: Ending = "chunk",
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer 200 with exactly these bytes as the body of a stream.

    Args:
        raw: The body.
        chunk_bytes: How many bytes go out in one write; by default all at once.
        delay: Seconds after each write.
        end: How the body ends. "chunk" ends it properly; "close" closes the connection without the last
            chunk; "reset" resets it; "eof" sends a body that is delimited by the connection's end.
        headers: Headers to add or replace.
    """

    def behave(exchange: Exchange) -> Steps:
        head = stream_head(exchange, extra=headers)
        yield Head(head.status, head.headers, is_close_delimited=end == "eof")
        size = chunk_bytes or max(1, len(raw))
        for start in range(0, len(raw), size):
            yield Chunk(raw[start : start + size])
            if delay > 0:
                yield Pause(delay)
        if end in ("close", "reset"):
            yield Pause(SETTLING_TIME)
            yield HangUp("close" if end == "close" else "reset")

    return behave


def stream_events(
    *events: JSON, chunk_bytes: int | None = None, delay: float = 0.0, end: Ending = "chunk"
) -> Behaviour:
    """Answer 200 with exactly these events, each a dictionary with its `type`; see `stream_bytes`."""
    return stream_bytes(b"".join(map(encode_event, events)), chunk_bytes=chunk_bytes, delay=delay, end=end)


def drop_before_headers(*, how: Literal["reset", "close"] = "reset") -> Behaviour:
    """End the connection without a word."""

    def behave(_exchange: Exchange) -> Steps:
        yield HangUp(how)

    return behave


def build_message(
    exchange: Exchange,
    content: Sequence[JSON],
    stop_reason: str | None = "end_turn",
    stop_sequence: str | None = None,
    stop_details: JSON | None = None,
    usage: JSON | None = None,
) -> JSON:
    """A message around content that was made up without asking the request."""
    fields = exchange.request.fields
    message: JSON = {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": fields.get("model") or DEFAULT_MODEL,
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": {**_estimated_usage(fields, content), **(usage or {})},
    }
    if stop_details is not None:
        message["stop_details"] = stop_details
    return message


def _estimated_usage(fields: JSON, content: Sequence[JSON]) -> JSON:
    asked = encode_json(fields.get("messages")).decode(errors="replace")
    answered = "".join(str(block.get("thinking", block.get("text", ""))) for block in content)
    return {
        "input_tokens": count_tokens(asked),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": max(1, count_tokens(answered)),
        "service_tier": "standard",
    }


def _blocks(text: str, thinking: str | None) -> list[JSON]:
    blocks: list[JSON] = [{"type": "text", "text": text}]
    if thinking is not None:
        blocks.insert(0, {"type": "thinking", "thinking": thinking, "signature": "c2ltdWxhdGVk"})
    return blocks


def _with_delay(exchange: Exchange, chunk_delay: float) -> Exchange:
    return Exchange(
        request=exchange.request,
        request_id=exchange.request_id,
        chunk_delay=chunk_delay,
        headers=exchange.headers,
        answer=exchange.answer,
    )


def with_text_deltas(events: Iterable[JSON], deltas: Sequence[str]) -> Iterable[JSON]:
    """The events, with the last block's text told in exactly these deltas."""
    pending: list[str] | None = list(deltas)
    for event in events:
        if event["type"] != "content_block_delta" or event["delta"]["type"] != "text_delta":
            yield event
        elif pending is not None:
            for text in pending:
                yield {**event, "delta": {"type": "text_delta", "text": text}}
            pending = None
