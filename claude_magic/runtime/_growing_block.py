"""One content block of a reply while it grows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..client import ContentBlock, ContentBlockDelta, TextBlock, ThinkingBlock, ToolUseBlock
from ._snapshot import BlockSnapshot

_SHOWN_DELTAS = frozenset({"text_delta", "thinking_delta", "input_json_delta"})


class GrowingBlock:
    """Collects pieces of text, and joins them when somebody looks.

    Attributes:
        kind: The API's name of the block type.
        is_complete: Nothing more is coming.
    """

    __slots__ = ("_data", "_pieces", "_text", "is_complete", "kind")

    def __init__(
        self,
        kind: str,
        text: str = "",
        *,
        is_complete: bool = False,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.is_complete = is_complete
        self._text = text
        self._data = data
        self._pieces: list[str] = []

    @classmethod
    def of(cls, block: ContentBlock, *, is_complete: bool) -> GrowingBlock:
        """Begin with what a block holds already."""
        return cls(block.type, _shown_text(block), is_complete=is_complete, data=_data(block))

    def append(self, delta: ContentBlockDelta) -> None:
        """Take in what a delta adds to the text that is shown."""
        if delta.kind in _SHOWN_DELTAS:
            self._pieces.append(delta.text)

    def snapshot(self) -> BlockSnapshot:
        """The block at this moment, frozen."""
        if self._pieces:
            self._text += "".join(self._pieces)
            self._pieces.clear()
        return BlockSnapshot(kind=self.kind, text=self._text, is_complete=self.is_complete, data=self._data)


def kind_of_delta(delta: ContentBlockDelta) -> str:
    """Say what a block must be whose deltas come without its start, as from some servers."""
    return {"thinking_delta": "thinking", "input_json_delta": "tool_use"}.get(delta.kind, "text")


def _shown_text(block: ContentBlock) -> str:
    match block:
        case TextBlock():
            return block.text
        case ThinkingBlock():
            return block.thinking
        case ToolUseBlock():
            return block.raw_input or (json.dumps(block.input, ensure_ascii=False) if block.input else "")
    return ""


def _data(block: ContentBlock) -> Mapping[str, Any] | None:
    """Return the fields of a block that its text does not tell."""
    if isinstance(block, ThinkingBlock) or (isinstance(block, TextBlock) and not block.citations):
        return None
    return block.to_param()
