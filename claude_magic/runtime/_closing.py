"""What of a turn may stand in the history of later requests.

The API refuses a history with a tool call that nobody answered, a reply that ends in thinking, a reply without content.
So a turn is closed before it is kept, however it ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from ..client import Message, ToolUseBlock

Turns = list[dict[str, Any]]

_THINKING = frozenset({"thinking", "redacted_thinking"})


def closed_turn(messages: Sequence[Mapping[str, Any]], reason: str) -> Turns | None:
    """Return the messages of a turn as they may be kept, or None if nothing was answered.

    Args:
        messages: The user's message, and what followed it: replies and results of tools.
        reason: What to say in the place of a result that never came.
    """
    kept = _without_pending_calls([dict(message) for message in messages])
    while kept and kept[-1]["role"] == "assistant" and not _may_end_with(kept[-1]):
        kept.pop()
    if all(message["role"] == "user" for message in kept):
        return None
    if unanswered := _unanswered_calls(kept[-1]):
        kept.append(refused_calls(unanswered, reason))
    return kept


def returned(message: Message) -> dict[str, Any]:
    """Return a whole reply as it goes back to the API: as it came, but for blank text, which it does not take back."""
    param = message.to_param()
    return {**param, "content": [block for block in param["content"] if not _is_blank(block)]}


def with_distinct_calls(message: Message, taken: Set[str]) -> Message:
    """Return a reply whose calls of tools can be told apart, from each other and from those of the conversation before.

    Some servers give two calls one id, count from the same number in each reply, or give none. Each call needs a result
    of its own, and the API refuses a history in which two have the same id.

    Args:
        message: The reply.
        taken: The ids of earlier calls.
    """
    used = set(taken)
    content = []
    for block in message.content:
        if isinstance(block, ToolUseBlock) and block.type == "tool_use":
            block = _with_free_id(block, used)
            used.add(block.id)
        content.append(block)
    return message.model_copy(update={"content": content})


def call_ids(messages: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of all calls of tools in messages."""
    contents = [message["content"] for message in messages if not isinstance(message["content"], str)]
    return {
        str(block.get("id")) for content in contents for block in content if block.get("type") == "tool_use"
    }


def _with_free_id(block: ToolUseBlock, used: Set[str]) -> ToolUseBlock:
    if block.id and block.id not in used:
        return block
    root = block.id or "toolu"
    numbered = (f"{root}_{number}" for number in itertools.count(2 if block.id else 1))
    free = next(each for each in numbered if each not in used)
    return block.model_copy(update={"id": free})


def closed_reply(message: Message) -> dict[str, Any] | None:
    """Return what of a reply that broke off may be kept, or None: its text, and whatever came whole."""
    param = message.to_partial_param()
    if param is None:
        return None
    content = list(param["content"])
    while content and content[-1].get("type") in _THINKING:
        content.pop()
    return {**param, "content": content} if content else None


def refused_calls(call_ids: Sequence[str], reason: str) -> dict[str, Any]:
    """Return a user's message that answers calls with an error."""
    return {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": call_id, "content": reason, "is_error": True}
            for call_id in call_ids
        ],
    }


def _without_pending_calls(messages: Turns) -> Turns:
    """Drop calls at the end that the server makes itself, and whose results would have come with a next reply.

    Only from the last reply: an earlier one was followed by what it asked for, and thinking is bound to it as it is.
    """
    *earlier, last = messages
    if last["role"] != "assistant":
        return messages
    answered = {block.get("tool_use_id") for block in last["content"]}
    content = [block for block in last["content"] if not _is_pending(block, answered)]
    return [*earlier, {**last, "content": content}]


def _is_pending(block: Mapping[str, Any], answered: set[object]) -> bool:
    kind = str(block.get("type"))
    return kind.endswith("_tool_use") and block.get("id") not in answered


def _may_end_with(message: Mapping[str, Any]) -> bool:
    content = message["content"]
    return bool(content) and content[-1].get("type") not in _THINKING


def _is_blank(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _unanswered_calls(message: Mapping[str, Any]) -> list[str]:
    if message["role"] != "assistant":
        return []
    return [str(block["id"]) for block in message["content"] if block.get("type") == "tool_use"]
