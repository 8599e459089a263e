"""Reading a conversation: what was asked last, and what before."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._wire import JSON, Request, count_tokens, encode_json

PATCH_PIXELS = 28
MAX_IMAGE_TOKENS = 4784
UNKNOWN_IMAGE_TOKENS = 1568
TOKENS_PER_PAGE = 1500
_PAGE = re.compile(rb"/Type\s*/Page[^s]")
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is known of an image."""

    description: str
    tokens: int


def read_image(block: JSON) -> Picture:
    """Describe an image block by its kind, dimensions and size."""
    source: JSON = block.get("source", {})
    data = _decode(source)
    if data is None:
        where = source.get("url") or source.get("file_id") or "elsewhere"
        return Picture(description=f"an image at {where}", tokens=UNKNOWN_IMAGE_TOKENS)
    kind = str(source.get("media_type", "image")).removeprefix("image/").upper()
    size = image_size(data)
    if size is None:
        return Picture(description=f"a {kind} image of {_bytes(len(data))}", tokens=UNKNOWN_IMAGE_TOKENS)
    width, height = size
    tokens = min(MAX_IMAGE_TOKENS, math.ceil(width / PATCH_PIXELS) * math.ceil(height / PATCH_PIXELS))
    return Picture(
        description=f"a {kind} image, {width} by {height} pixels, {_bytes(len(data))}", tokens=max(1, tokens)
    )


def read_document(block: JSON) -> Picture:
    """Describe a document block that is not plain text."""
    source: JSON = block.get("source", {})
    title = f"“{block['title']}”, " if block.get("title") else ""
    data = _decode(source)
    if data is None:
        where = source.get("url") or source.get("file_id") or "elsewhere"
        return Picture(description=f"{title}a document at {where}", tokens=TOKENS_PER_PAGE)
    pages = max(1, len(_PAGE.findall(data)))
    plural = "page" if pages == 1 else "pages"
    return Picture(
        description=f"{title}a PDF of {pages} {plural}, {_bytes(len(data))}", tokens=pages * TOKENS_PER_PAGE
    )


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, from the file's first bytes; None where they tell nothing."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
            return width, height
        if data[:4] == b"GIF8":
            width, height = struct.unpack("<HH", data[6:10])
            return width, height
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
    except (struct.error, IndexError):
        return None
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    form = data[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def _decode(source: JSON) -> bytes | None:
    if source.get("type") != "base64":
        return None
    try:
        return base64.b64decode(source.get("data", ""))
    except (binascii.Error, ValueError):
        return b""


def _bytes(count: int) -> str:
    return f"{count} bytes" if count < 1000 else f"{count / 1000:.1f} kB"


_DIRECTIVE = re.compile(r"\A[ \t]*!simulate[ \t]+(?P<name>[\w-]+)[ \t]*(?:\r?\n|\Z)")
_REMINDER = re.compile(r"<(system-reminder)>.*?</\1>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request as one who answers it sees it."""

    prompt: str
    """The last turn's text."""
    system: str
    earlier_prompts: tuple[str, ...]
    """The texts of the user's turns before, oldest first."""
    earlier_answers: tuple[str, ...]
    """The texts of the assistant's turns, oldest first."""
    attachments: tuple[str, ...]
    """What came with the last turn, each in a few words."""
    documents: tuple[str, ...]
    """The texts of the plain-text documents of the last turn."""
    tool_results: tuple[JSON, ...]
    """The results that the last turn holds."""
    tool_calls: tuple[JSON, ...]
    """Every call of the conversation."""
    is_resumed: bool
    """The last turn is a paused one of the assistant."""


def read_conversation(fields: JSON) -> Conversation:
    """Read a request that was found in order."""
    turns = _merged_turns(fields["messages"])
    last_role, last_blocks = turns[-1]
    texts = {
        role: tuple(_joined(blocks) for who, blocks in turns if who == role) for role in ("user", "assistant")
    }
    prompts = tuple(_spoken(strip_directive(text)) for text in texts["user"])
    return Conversation(
        prompt=prompts[-1] if prompts else "",
        system="\n".join([text_of(fields.get("system") or ""), *_system_turns(fields["messages"])]),
        earlier_prompts=prompts[:-1],
        earlier_answers=tuple(_joined(blocks) for role, blocks in turns if role == "assistant"),
        attachments=tuple(_attachments(last_blocks)),
        documents=tuple(_documents(last_blocks)),
        tool_results=tuple(block for block in last_blocks if block["type"] == "tool_result"),
        tool_calls=tuple(block for _, blocks in turns for block in blocks if block["type"] == "tool_use"),
        is_resumed=last_role == "assistant"
        and any(block["type"] == "server_tool_use" for block in last_blocks),
    )


def _has_server_call(blocks: list[JSON]) -> bool:
    return any(block["type"] == "server_tool_use" for block in blocks)


def _merged_turns(messages: list[JSON]) -> list[tuple[str, list[JSON]]]:
    """Roles and blocks; neighbours of the same role are one turn, `system` messages belong to none."""
    turns: list[tuple[str, list[JSON]]] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "system":
            continue
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return turns


def _system_turns(messages: list[JSON]) -> list[str]:
    return [text_of(message["content"]) for message in messages if message["role"] == "system"]


def _spoken(text: str) -> str:
    """What a person said: not what a program that speaks for them has put around it."""
    return _REMINDER.sub("", text).strip() or text


def _joined(blocks: list[JSON]) -> str:
    return "\n".join(block["text"] for block in blocks if block["type"] == "text")


def _attachments(blocks: list[JSON]) -> list[str]:
    found = [read_image(block).description for block in blocks if block["type"] == "image"]
    for block in blocks:
        if block["type"] != "document":
            continue
        if block["source"].get("type") == "text":
            words = len(block["source"]["data"].split())
            found.append(f"{block.get('title') or 'a text'}, {words} words")
        else:
            found.append(read_document(block).description)
    return found


def _documents(blocks: list[JSON]) -> list[str]:
    sources = [block["source"] for block in blocks if block["type"] == "document"]
    return [source["data"] for source in sources if source.get("type") == "text"]


def text_of(content: Any) -> str:
    """The text of a message's content, its blocks joined by line breaks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = (block for block in content if isinstance(block, dict) and block.get("type") == "text")
    return "\n".join(str(block.get("text", "")) for block in blocks)


def strip_directive(text: str) -> str:
    """The text without its `!simulate` line, if it begins with one and goes on."""
    return _DIRECTIVE.sub("", text, count=1) or text


def take_directive(request: Request) -> tuple[str | None, Request]:
    """Find `!simulate NAME` as the first line of the last user text.

    Returns:
        The scenario's name, if there is one, and the request without that line.
    """
    messages = request.fields.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return None, request
    last: JSON = messages[-1]
    match = _DIRECTIVE.match(text_of(last.get("content")))
    if match is None or last.get("role") != "user":
        return None, request
    body = {**request.fields, "messages": [*messages[:-1], _without_first_line(last)]}
    return match["name"], dataclasses.replace(request, raw_body=encode_json(body))


def _without_first_line(message: JSON) -> JSON:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": strip_directive(content)}
    blocks = list(content)
    for index, block in enumerate(blocks):
        if isinstance(block, dict) and block.get("type") == "text":
            blocks[index] = {**block, "text": strip_directive(block["text"])}
            break
    return {**message, "content": blocks}


TOKENS_PER_MESSAGE = 3
TOKENS_PER_TOOL = 12
TOKENS_FOR_TOOLS = 60
"""The instructions that a request with tools is also given."""
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
