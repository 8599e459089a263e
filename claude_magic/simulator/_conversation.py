"""Reading a conversation: what was asked last, and what before."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from ._exchange import JSON, Request, encode_json
from ._media import read_document, read_image

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
