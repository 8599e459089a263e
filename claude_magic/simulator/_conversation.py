"""Reading a conversation: what was asked last, and what before."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ._exchange import JSON, Request, encode_json

_DIRECTIVE = re.compile(r"\A[ \t]*!simulate[ \t]+(?P<name>[\w-]+)[ \t]*(?:\r?\n|\Z)")


def text_of(content: Any) -> str:
    """The text of a message's content, its blocks joined by line breaks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = (block for block in content if isinstance(block, dict) and block.get("type") == "text")
    return "\n".join(str(block.get("text", "")) for block in blocks)


def take_directive(request: Request) -> tuple[str | None, Request]:
    """Find `!simulate NAME` as the first line of the last user text.

    Returns:
        The scenario's name, if there is one, and the request without that line.
    """
    messages = request.fields.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return None, request
    last: JSON = messages[-1]
    text = text_of(last.get("content"))
    match = _DIRECTIVE.match(text)
    if match is None or last.get("role") != "user":
        return None, request
    body = {**request.fields, "messages": [*messages[:-1], _without_first_line(last, match.group())]}
    return match["name"], dataclasses.replace(request, raw_body=encode_json(body))


def _without_first_line(message: JSON, line: str) -> JSON:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": content.removeprefix(line)}
    blocks = list(content)
    for index, block in enumerate(blocks):
        if isinstance(block, dict) and block.get("type") == "text":
            blocks[index] = {**block, "text": block["text"].removeprefix(line)}
            break
    return {**message, "content": blocks}
