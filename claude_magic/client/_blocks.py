"""Content blocks: the parts a message consists of.

What the API returned must go back unchanged (signatures, empty thinking blocks, blocks nobody here knows), so a block keeps
every field it came with, and `to_param` gives back those and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ContentBlock(BaseModel):
    """One block of a message's content, of a type that has no class of its own here, or of a shape unknown to it.

    Attributes:
        type: The API's name for the kind of block.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    type: str = ""

    def to_param(self) -> dict[str, Any]:
        """Return the block as it is sent back to the API: just the fields it came with, as they came."""
        return self.model_dump(exclude_unset=True)


class TextBlock(ContentBlock):
    """Text of the answer. `citations`, where there are any, is a list of objects."""

    text: str
    citations: list[Any] | None = None


class ThinkingBlock(ContentBlock):
    """Reasoning before or between the text; `thinking` is empty where the API omits it, the signature is not."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(ContentBlock):
    """Reasoning that is encrypted whole."""

    data: str


class ToolUseBlock(ContentBlock):
    """A call of a tool, by the caller (`tool_use`) or at the server (`server_tool_use`, `mcp_tool_use`).

    Attributes:
        id: The call's id, which its result must name.
        name: The tool.
        input: Its arguments.
        raw_input: The arguments as they arrived, where they are not a JSON object (cut by `max_tokens`, say) or
            not complete yet; None otherwise. Never sent back.
    """

    id: str
    name: str
    input: dict[str, Any] = {}
    raw_input: str | None = Field(default=None, exclude=True)


_CLASS_BY_TYPE: dict[str, type[ContentBlock]] = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
    "tool_use": ToolUseBlock,
    "server_tool_use": ToolUseBlock,
    "mcp_tool_use": ToolUseBlock,
}


def parse_block(fields: Mapping[str, Any], *, raw_input: str | None = None) -> ContentBlock:
    """Make a block of its JSON object. One that lacks what its type should have is kept as a plain `ContentBlock`.

    Raises:
        ValueError: Even its `type` is no string.
    """
    block_class = _CLASS_BY_TYPE.get(fields.get("type", ""), ContentBlock)
    try:
        if raw_input is not None and block_class is ToolUseBlock:
            return ToolUseBlock(**{**fields, "raw_input": raw_input})
        return block_class.model_validate(fields)
    except ValidationError:
        return ContentBlock.model_validate(fields)
