"""Behaviours for tests and demonstrations, each for one POST to `/v1/messages`.

Most behaviours of this module replace the answer, and the request is not validated. The behaviours in `_faults` modify the
normal answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Literal

from ._composer import PLACEHOLDER_SIGNATURE, search_result
from ._conversation import blocks_of
from ._stream import (
    Answer,
    Behaviour,
    Change,
    Post,
    deliver,
    encode_event,
    hang_up,
    new_message,
    stream_head,
)
from ._wire import (
    JSON,
    APIError,
    Chunk,
    Gate,
    HangUp,
    Head,
    Hold,
    Pause,
    Steps,
    body_steps,
    count_tokens,
    encode_json,
    error_envelope,
    new_id,
    read_corpus,
    split_tokens,
)

Ending = Literal["chunk", "close", "reset", "eof"]

DEFAULT_MODEL = "claude-sonnet-5-5"


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
    """Answer with a status, by default with the API's error body for that status.

    Args:
        code: The HTTP status.
        error_type: The error's type; by default the type for the status.
        message: The error's message; by default the message for the status.
        error_code: `error_code` in `error.details`.
        retry_after: The `retry-after` header, in seconds or as text.
        headers: Additional headers.
        body: The exact body, instead of the error's JSON.
        content_type: The body's content type; `application/json` by default.
    """
    fault = APIError(
        code,
        message,
        error_type=error_type,
        details=None if error_code is None else {"error_code": error_code},
    )
    extra = {"content-type": content_type or "application/json", **(headers or {})}
    if retry_after is not None:
        extra["retry-after"] = str(retry_after)

    def behave(post: Post) -> Steps:
        content = encode_json(error_envelope(fault, post.request_id)) if body is None else body
        return body_steps(code, content, {**post.headers, **extra})

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
    """Answer every request with this text, as JSON or as a stream.

    Args:
        text: The text of the answer.
        thinking: Text of a thinking block before it.
        content: All content blocks, instead of `text` and `thinking`.
        stop_reason: The answer's `stop_reason`.
        stop_sequence: The answer's `stop_sequence`.
        stop_details: Details of a refusal.
        usage: Fields of `usage`; missing fields are estimated.
        chunks: The exact text deltas of a stream, instead of `text`.
        chunk_delay: Seconds between deltas; by default the simulator's.
        headers: Additional response headers.
    """
    deltas = None if chunks is None else list(chunks)
    blocks = list(content) if content is not None else _blocks("".join(deltas) if deltas else text, thinking)

    def behave(post: Post) -> Steps:
        message = build_message(post, blocks, stop_reason, stop_sequence, stop_details, usage)
        answer = Answer(message=message, headers=dict(headers or {}))
        paced = post if chunk_delay is None else dataclasses.replace(post, chunk_delay=chunk_delay)
        return deliver(paced, answer, None if deltas is None else partial(with_text_deltas, deltas))

    return behave


def stream_bytes(
    raw: bytes,
    *,
    chunk_bytes: int | None = None,
    delay: float = 0.0,
    end: Ending = "chunk",
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer 200 with exactly these bytes as the stream's body.

    Args:
        raw: The body.
        chunk_bytes: Number of bytes per write; by default all at once.
        delay: Seconds after each write.
        end: How the body ends. "chunk" ends it properly; "close" closes the connection without the last
            chunk; "reset" resets the connection; "eof" delimits the body by the end of the connection.
        headers: Headers to add or replace.
    """

    def behave(post: Post) -> Steps:
        head = stream_head(post, extra=headers)
        yield Head(head.status, head.headers, is_close_delimited=end == "eof")
        size = chunk_bytes or max(1, len(raw))
        for start in range(0, len(raw), size):
            yield Chunk(raw[start : start + size])
            if delay > 0:
                yield Pause(delay)
        if end == "close" or end == "reset":
            yield from hang_up(end)

    return behave


def stream_events(
    *events: JSON, chunk_bytes: int | None = None, delay: float = 0.0, end: Ending = "chunk"
) -> Behaviour:
    """Answer 200 with exactly these events, each a dictionary with a `type`; see `stream_bytes`."""
    return stream_bytes(b"".join(map(encode_event, events)), chunk_bytes=chunk_bytes, delay=delay, end=end)


def drop_before_headers(*, how: Literal["reset", "close"] = "reset") -> Behaviour:
    """End the connection without a response."""

    def behave(_post: Post) -> Steps:
        yield HangUp(how)

    return behave


def accept_unheard(*, how: Literal["reset", "close"] = "reset", gate: Gate | None = None) -> Behaviour:
    """Process the request, then end the connection without a response.

    Args:
        how: How the connection ends.
        gate: A gate to wait for before the connection ends.
    """

    def behave(post: Post) -> Steps:
        post.answer()
        if gate is not None:
            yield Hold(gate)
        yield HangUp(how)

    return behave


def build_message(
    post: Post,
    content: Sequence[JSON],
    stop_reason: str | None = "end_turn",
    stop_sequence: str | None = None,
    stop_details: JSON | None = None,
    usage: JSON | None = None,
) -> JSON:
    """Return a message with this content for a request that is not validated."""
    fields = post.request.fields
    counted = {**_estimated_usage(fields, content), **(usage or {})}
    message = new_message(fields.get("model") or DEFAULT_MODEL, content, stop_reason, stop_sequence, counted)
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
        blocks.insert(0, {"type": "thinking", "thinking": thinking, "signature": PLACEHOLDER_SIGNATURE})
    return blocks


def with_text_deltas(deltas: Sequence[str], events: Iterable[JSON]) -> Iterable[JSON]:
    """Replace all text deltas of the events by exactly these."""
    pending: list[str] | None = list(deltas)
    for event in events:
        if event["type"] != "content_block_delta" or event["delta"]["type"] != "text_delta":
            yield event
        elif pending is not None:
            for text in pending:
                yield {**event, "delta": {"type": "text_delta", "text": text}}
            pending = None


LONG_ANSWER_BYTES = 100_000


@cache
def long_answer() -> str:
    """Return about 100 kB of Markdown with many formulas."""
    parts = ["# Sums of powers, at length\n\n"]
    size = 0
    while size < LONG_ANSWER_BYTES:
        number = len(parts)
        parts.append(_long_section(number, k=1 + number % 7))
        size += len(parts[-1])
    return "".join(parts) + "That was the last section."


def _long_section(number: int, k: int) -> str:
    rows = []
    for n in range(number, number + 5):
        exact, estimate = sum(i**k for i in range(1, n + 1)), n ** (k + 1) / (k + 1)
        rows.append(f"| {n} | {exact} | {estimate:.2f} | {exact / estimate:.4f} |")
    return read_corpus("long-section.txt").format(number=number, k=k, k_plus=k + 1, rows="\n".join(rows))


MULTILINGUAL = (
    "Grüße aus Zürich, 東京, Αθήνα und القاهرة: café, naïve, smörgåsbord, ½ ≤ √2 ≈ 1.414. "
    "Emoji: 🧪 🚀 👩‍🔬 🏳️‍🌈 🇯🇵. Combining: é = e\u0301. Line separators: a\u2028b\u0085c."
)


LONG_ANSWER_DELTAS = 2000
REFUSAL = {
    "type": "refusal",
    "category": "cyber",
    "explanation": "This is a simulated refusal.",
}


def with_content(message: JSON, content: list[JSON], **fields: object) -> JSON:
    """Return the message with other content and updated output tokens."""
    tokens = sum(count_tokens(block.get("text", "") + block.get("thinking", "")) for block in content)
    details = message["usage"].get("output_tokens_details")
    usage = {**message["usage"], "output_tokens": tokens}
    if details is not None:
        usage["output_tokens"] += details.get("thinking_tokens", 0)
    return {**message, "content": content, "usage": usage, **fields}


def with_text(message: JSON, text: str, **fields: object) -> JSON:
    """Return the message with its thinking, if any, followed by this text only."""
    kept = [block for block in message["content"] if block["type"] == "thinking"]
    return with_content(message, [*kept, {"type": "text", "text": text}], **fields)


def text_of_message(message: JSON) -> str:
    """Return the message's text blocks, joined."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def _half(message: JSON) -> str:
    tokens = split_tokens(text_of_message(message))
    return "".join(tokens[: max(1, len(tokens) // 2)])


def refuse(message: JSON) -> JSON:
    """Refuse before any output."""
    return with_content(message, [], stop_reason="refusal", stop_details=REFUSAL)


def stop_halfway(stop_reason: str, **details: object) -> Callable[[JSON], JSON]:
    """Stop after half of the text, with this stop reason."""
    return lambda message: with_text(message, _half(message), stop_reason=stop_reason, **details)


def unknown_stop_reason(message: JSON) -> JSON:
    """Stop with an unknown stop reason."""
    return {**message, "stop_reason": "full_moon"}


def empty_content(message: JSON) -> JSON:
    """Answer without content."""
    return with_content(message, [])


def thinking_only(message: JSON) -> JSON:
    """Spend all of `max_tokens` on thinking."""
    thinking = [block for block in message["content"] if block["type"] == "thinking"]
    thinking = thinking or [{"type": "thinking", "thinking": "", "signature": PLACEHOLDER_SIGNATURE}]
    return with_content(message, thinking, stop_reason="max_tokens")


def hostile_markdown(message: JSON) -> JSON:
    """Answer with Markdown that tries to run scripts."""
    return with_text(message, read_corpus("hostile.txt"))


def long_message(post: Post) -> Steps:
    """Answer with about 100 kB of text, in deltas as large as a fast model's."""
    answer = post.answer()
    text = long_answer()
    answer = dataclasses.replace(answer, message=with_text(answer.message, text))
    size = -(-len(text) // LONG_ANSWER_DELTAS)
    deltas = [text[start : start + size] for start in range(0, len(text), size)]
    return deliver(post, answer, partial(with_text_deltas, deltas))


def pause_turn(post: Post) -> Steps:
    """Pause in a server-side turn. When the client sends the turn back, continue with the result of the search."""
    history = post.request.fields.get("messages") or [{}]
    if history[-1].get("role") == "assistant":
        answer = post.answer()
        results = [search_result(call, "a search that takes long") for call in _pending_searches(history[-1])]
        message = {**answer.message, "content": [*results, *answer.message["content"]]}
        return deliver(post, dataclasses.replace(answer, message=message))
    call = {
        "type": "server_tool_use",
        "id": new_id("srvtoolu"),
        "name": "web_search",
        "input": {"query": "a search that takes long"},
    }
    text = {"type": "text", "text": "I am still searching."}
    return deliver(post, Answer(message=build_message(post, [text, call], "pause_turn")))


def _pending_searches(message: JSON) -> list[str]:
    blocks = blocks_of(message["content"])
    answered = {block.get("tool_use_id") for block in blocks}
    return [
        block["id"]
        for block in blocks
        if block.get("type") == "server_tool_use" and block["id"] not in answered
    ]


def tool_call(change: Change) -> Behaviour:
    """Call the request's first tool, or a tool `tide_table`, with modified events."""

    def behave(post: Post) -> Steps:
        tools = post.request.fields.get("tools") or [{}]
        call = {
            "type": "tool_use",
            "id": new_id("toolu"),
            "name": tools[0].get("name", "tide_table"),
            "input": {"port": "Brest", "day": 3},
        }
        return deliver(post, Answer(message=build_message(post, [call], "tool_use")), change)

    return behave
