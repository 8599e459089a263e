"""Messages that end, or say, something out of the ordinary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from ._behaviours import build_message, with_text_deltas
from ._delivery import Answer, Behaviour, Exchange, deliver, deliver_events
from ._exchange import JSON, Steps
from ._ids import new_id
from ._specimens import HOSTILE_MARKDOWN, long_answer
from ._stream import message_events
from ._tokens import count_tokens, split_tokens
from ._web_search import search_result

LONG_ANSWER_DELTAS = 2000
REFUSAL = {
    "type": "refusal",
    "category": "cyber",
    "explanation": "This is what a refusal looks like; the simulator was told to refuse.",
}


def with_content(message: JSON, content: list[JSON], **fields: object) -> JSON:
    """The message with other content, its output counted anew."""
    spoken = sum(count_tokens(block.get("text", "") + block.get("thinking", "")) for block in content)
    details = message["usage"].get("output_tokens_details")
    usage = {**message["usage"], "output_tokens": spoken}
    if details is not None:
        usage["output_tokens"] += details.get("thinking_tokens", 0)
    return {**message, "content": content, "usage": usage, **fields}


def with_text(message: JSON, text: str, **fields: object) -> JSON:
    """The message with its thinking, if any, and this text instead of the rest."""
    kept = [block for block in message["content"] if block["type"] == "thinking"]
    return with_content(message, [*kept, {"type": "text", "text": text}], **fields)


def text_of_message(message: JSON) -> str:
    """The message's text blocks, joined."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def _half(message: JSON) -> str:
    tokens = split_tokens(text_of_message(message))
    return "".join(tokens[: max(1, len(tokens) // 2)])


def refuse(message: JSON) -> JSON:
    """Refuse before any output."""
    return with_content(message, [], stop_reason="refusal", stop_details=REFUSAL)


def refuse_half_way(message: JSON) -> JSON:
    """Refuse after half of the text."""
    return with_text(message, _half(message), stop_reason="refusal", stop_details=REFUSAL)


def cut_by_max_tokens(message: JSON) -> JSON:
    """Stop half-way for want of tokens."""
    return with_text(message, _half(message), stop_reason="max_tokens")


def fill_context(message: JSON) -> JSON:
    """Stop half-way for want of context."""
    return with_text(message, _half(message), stop_reason="model_context_window_exceeded")


def stop_strangely(message: JSON) -> JSON:
    """Stop for a reason that nobody knows."""
    return {**message, "stop_reason": "full_moon"}


def say_nothing(message: JSON) -> JSON:
    """Answer with no content at all."""
    return with_content(message, [])


def only_think(message: JSON) -> JSON:
    """Spend all of `max_tokens` on thinking."""
    thinking = [block for block in message["content"] if block["type"] == "thinking"]
    thinking = thinking or [{"type": "thinking", "thinking": "", "signature": "c2ltdWxhdGVk"}]
    return with_content(message, thinking, stop_reason="max_tokens")


def attack(message: JSON) -> JSON:
    """Say what an attacker would."""
    return with_text(message, HOSTILE_MARKDOWN)


def ramble(exchange: Exchange) -> Steps:
    """Say very much, in deltas as large as a fast model's."""
    answer = exchange.answer()
    text = long_answer()
    answer = dataclasses.replace(answer, message=with_text(answer.message, text))
    if not exchange.request.wants_stream:
        return deliver(exchange, answer)
    size = -(-len(text) // LONG_ANSWER_DELTAS)
    deltas = [text[start : start + size] for start in range(0, len(text), size)]
    return deliver_events(exchange, answer, with_text_deltas(message_events(answer.message), deltas))


def pause_turn(exchange: Exchange) -> Steps:
    """Pause in a server-side turn; go on, first with the result of the search, when the client sends the turn back."""
    history = exchange.request.fields.get("messages") or [{}]
    if history[-1].get("role") == "assistant":
        answer = exchange.answer()
        results = [search_result(call, "a search that takes long") for call in _pending_searches(history[-1])]
        message = {**answer.message, "content": [*results, *answer.message["content"]]}
        return deliver(exchange, dataclasses.replace(answer, message=message))
    call = {
        "type": "server_tool_use",
        "id": new_id("srvtoolu"),
        "name": "web_search",
        "input": {"query": "a search that takes long"},
    }
    text = {"type": "text", "text": "I am still searching."}
    return deliver(exchange, Answer(message=build_message(exchange, [text, call], "pause_turn")))


def _pending_searches(message: JSON) -> list[str]:
    blocks = message["content"] if isinstance(message["content"], list) else []
    answered = {block.get("tool_use_id") for block in blocks}
    return [
        block["id"]
        for block in blocks
        if block.get("type") == "server_tool_use" and block["id"] not in answered
    ]


def tool_call(change: Callable[[Iterable[JSON]], Iterable[JSON]]) -> Behaviour:
    """Call the request's first tool, or one named `tide_table`, in changed events."""

    def behave(exchange: Exchange) -> Steps:
        tools = exchange.request.fields.get("tools") or [{}]
        call = {
            "type": "tool_use",
            "id": new_id("toolu"),
            "name": tools[0].get("name", "tide_table"),
            "input": {"port": "Brest", "day": 3},
        }
        answer = Answer(message=build_message(exchange, [call], "tool_use"))
        if not exchange.request.wants_stream:
            return deliver(exchange, answer)
        return deliver_events(exchange, answer, change(message_events(answer.message)))

    return behave
