"""A request as one row of items: tools, system, messages.

Prompt caching, the check of returned thinking and the count of input tokens all go along this row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._conversation import strip_directive
from ._exchange import JSON
from ._media import read_document, read_image
from ._tokens import count_tokens

TOKENS_PER_MESSAGE = 3
TOKENS_PER_TOOL = 12
TOKENS_FOR_TOOLS = 60
"""The instructions that a request with tools is given besides."""
UNSEEN = ("cache_control",)
"""Fields that the model does not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One tool, one block of the system prompt or one block of a message."""

    path: tuple[int, int] | None
    """For a block of a message: the message and the block."""
    block: JSON
    tokens: int
    digest: bytes
    """Stands for this item and all before it."""
    cache_control: JSON | None


def items_of(fields: JSON) -> list[Item]:
    """The request's items, in the order of the prefix."""
    items: list[Item] = []
    digest = b""
    for path, role, block, extra_tokens in _rows(fields):
        visible = {key: value for key, value in block.items() if key not in UNSEEN}
        digest = hashlib.sha256(digest + role.encode() + _canonical(visible)).digest()
        items.append(
            Item(
                path=path,
                block=block,
                tokens=extra_tokens + _tokens(visible, role),
                digest=digest,
                cache_control=block.get("cache_control"),
            )
        )
    return items


def _rows(fields: JSON) -> Iterator[tuple[tuple[int, int] | None, str, JSON, int]]:
    extra = TOKENS_FOR_TOOLS
    for tool in fields.get("tools") or []:
        yield None, "tool", tool, extra + TOKENS_PER_TOOL
        extra = 0
    for block in blocks_of(fields.get("system") or ""):
        yield None, "system", block, 0
    for index, message in enumerate(fields["messages"]):
        extra = TOKENS_PER_MESSAGE
        for position, block in enumerate(blocks_of(message["content"])):
            yield (index, position), message["role"], _without_directive(block, message["role"]), extra
            extra = 0


def blocks_of(content: Any) -> list[JSON]:
    """Content as blocks; a string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _without_directive(block: JSON, role: str) -> JSON:
    """Without its `!simulate` line: the answer was made without it, so it must not count as a change."""
    if role != "user" or block.get("type") != "text":
        return block
    return {**block, "text": strip_directive(block["text"])}


def _canonical(block: JSON) -> bytes:
    return json.dumps(block, sort_keys=True, separators=(",", ":")).encode()


def _tokens(block: JSON, role: str) -> int:
    if role == "tool":
        return count_tokens(json.dumps(block, ensure_ascii=False))
    kind = block["type"]
    if kind == "text":
        return count_tokens(block["text"])
    if kind == "thinking":
        return count_tokens(block["thinking"])
    if kind == "image":
        return read_image(block).tokens
    if kind == "document" and block.get("source", {}).get("type") not in ("text", "content"):
        return read_document(block).tokens
    if kind == "tool_result" and not isinstance(block.get("content", ""), str):
        return 4 + sum(_tokens(part, role) for part in block["content"])
    return count_tokens(json.dumps(block, ensure_ascii=False))


def total_tokens(items: list[Item]) -> int:
    """The input tokens of all items."""
    return sum(item.tokens for item in items)
