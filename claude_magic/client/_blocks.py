"""Content blocks: the parts a message consists of.

What the API returned must go back unchanged (signatures, empty thinking blocks, blocks nobody here knows), so a block
keeps every field it came with, and `to_param` gives back those and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PrivateAttr, SkipValidation, ValidationError

from ._received import ShortReprModel


class ContentBlock(ShortReprModel):
    """One block of a message's content, of a type that has no class of its own here, or of a shape unknown to it.

    Its fields are attributes, whatever they are.

    Attributes:
        type: The API's name for the kind of block.
    """

    type: SkipValidation[str] = ""

    _is_complete: bool = PrivateAttr(default=True)

    @property
    def is_complete(self) -> bool:
        """Whether all of the block had arrived; False for what was under way when a stream broke off."""
        return self._is_complete

    def to_param(self) -> dict[str, Any]:
        """Return the block as it is sent back to the API: just the fields it came with, as they came."""
        fields = self.model_dump(exclude_unset=True, warnings=False)
        return {"type": self.type, **fields} if self.type else fields


class TextBlock(ContentBlock):
    """Text of the answer. `citations`, where there are any, is a list of objects."""

    type: str = "text"
    text: str
    citations: list[Any] | None = None


class ThinkingBlock(ContentBlock):
    """Reasoning before or between the text; `thinking` is empty where the API omits it, the signature is not."""

    type: str = "thinking"
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(ContentBlock):
    """Reasoning that is encrypted whole."""

    type: str = "redacted_thinking"
    data: str


class ToolUseBlock(ContentBlock):
    """A call of a tool, by the caller (`tool_use`) or at the server (`server_tool_use`, `mcp_tool_use`).

    Attributes:
        id: The call's id, which its result must name.
        name: The tool.
        input: Its arguments.
    """

    type: str = "tool_use"
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)

    _raw_input: str | None = PrivateAttr(default=None)

    @property
    def raw_input(self) -> str | None:
        """The arguments as they arrived, where they are no JSON object (cut by `max_tokens`, say); else None.

        Then `input` is empty. It is never sent back; the documented answer is a `tool_result` with `is_error`.
        """
        return self._raw_input


_CLASS_BY_TYPE: dict[str, type[ContentBlock]] = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
    "tool_use": ToolUseBlock,
    "server_tool_use": ToolUseBlock,
    "mcp_tool_use": ToolUseBlock,
}


def parse_block(
    fields: Mapping[str, Any], *, raw_input: str | None = None, is_complete: bool = True
) -> ContentBlock:
    """Make a block of its JSON object. One that lacks what its type should have is kept as a plain `ContentBlock`.

    Args:
        fields: The object as it came.
        raw_input: The arguments of a tool that are no JSON object.
        is_complete: Whether all of the block has arrived.
    """
    kind = fields.get("type")
    block_class = _CLASS_BY_TYPE.get(kind, ContentBlock) if isinstance(kind, str) else ContentBlock
    try:
        block = block_class.model_validate(fields)
    except ValidationError:
        block = ContentBlock.model_validate(fields)
    block._is_complete = is_complete
    if isinstance(block, ToolUseBlock):
        block._raw_input = raw_input
    return block


def may_go_back(block: ContentBlock, answered: frozenset[str]) -> bool:
    """Tell whether a block of a reply that broke off may stand in the history of a later request.

    Half blocks may not, but for text; nor may thinking without a signature, calls without their result, blank text.

    Args:
        block: The block.
        answered: Ids of the calls whose result stands in the same message.
    """
    match block:
        case TextBlock():
            return bool(block.text.strip())
        case ThinkingBlock():
            return bool(block.signature)  # it comes last, so the block is whole
        case ToolUseBlock():
            return block.is_complete and block.id in answered
        case RedactedThinkingBlock():
            return block.is_complete
    is_malformed = not isinstance(block.type, str) or block.type in _CLASS_BY_TYPE
    return block.is_complete and not is_malformed
