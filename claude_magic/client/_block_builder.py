"""One content block in the making: the fields of its start, and what deltas add to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._blocks import ContentBlock, parse_block
from ._events import ContentBlockDelta
from ._json import decode_json
from ._messages import estimate_tokens

_PIECE_KIND_BY_TYPE: Mapping[str, str | None] = {
    "text": "text_delta",
    "thinking": "thinking_delta",
    "tool_use": "input_json_delta",
    "server_tool_use": "input_json_delta",
    "mcp_tool_use": "input_json_delta",
    "redacted_thinking": None,
    "compaction": None,
}
"""Block type: the delta whose texts make it up piece by piece, or None if it comes whole."""

_TEXT_FIELD_BY_PIECE_KIND = {"text_delta": "text", "thinking_delta": "thinking"}
_PIECE_KINDS = frozenset((*_TEXT_FIELD_BY_PIECE_KIND, "input_json_delta"))

_START_BY_DELTA: Mapping[str, Mapping[str, Any]] = {
    "text_delta": {"type": "text", "text": ""},
    "citations_delta": {"type": "text", "text": ""},
    "thinking_delta": {"type": "thinking", "thinking": ""},
    "signature_delta": {"type": "thinking", "thinking": ""},
    "input_json_delta": {"type": "tool_use", "id": "", "name": "", "input": {}},
    "compaction_delta": {"type": "compaction"},
}
"""What a block must be whose deltas arrive without its start."""


class BlockBuilder:
    """Collects one block.

    Attributes:
        index: Its position in the content.
        start: The fields it began with.
        type: The API's name for its kind.
        piece_kind: The kind of delta whose texts go straight to `pieces`, or None.
        pieces: What they carried, in order.
    """

    __slots__ = ("_built", "_changes", "_citations", "index", "piece_kind", "pieces", "start", "type")

    def __init__(self, index: int, start: Mapping[str, Any]) -> None:
        kind = start.get("type")
        self.index = index
        self.start = start
        self.type = kind if isinstance(kind, str) else ""
        self.piece_kind = _PIECE_KIND_BY_TYPE.get(self.type)
        self.pieces: list[str] = []
        self._changes: dict[str, Any] = {}
        self._citations: list[Any] = []
        self._built: ContentBlock | None = None

    @classmethod
    def of_delta(cls, event: ContentBlockDelta) -> BlockBuilder | None:
        """Begin the block that a delta needs whose block was never started; None if no one can say what it is."""
        start = _START_BY_DELTA.get(event.kind)
        return None if start is None else cls(event.index, start)

    @property
    def text(self) -> str:
        """The text or thinking so far, with what the block began with; empty for other types."""
        begun = self.start.get(_TEXT_FIELD_BY_PIECE_KIND.get(self.piece_kind or "", ""))
        return "".join((begun if isinstance(begun, str) else "", *self.pieces))

    @property
    def estimated_tokens(self) -> int:
        """About how many tokens the model has written for it; thinking that is not shown is told by its signature."""
        written = estimate_tokens("".join(self.pieces))
        hidden = self._changes.get("signature") or self.start.get("data")
        return max(written, estimate_tokens(hidden) if isinstance(hidden, str) else 0)

    def apply(self, event: ContentBlockDelta) -> bool:
        """Take in a delta of another kind than `piece_kind`; return False if nobody knows what it means here."""
        if event.kind == "signature_delta" and self._may_be("thinking"):
            self._changes["signature"] = event.text
        elif event.kind == "citations_delta" and self._may_be("text"):
            self._citations.append(event.raw.get("citation"))
        elif event.kind == "compaction_delta" and self._may_be("compaction"):
            self._changes |= {name: value for name, value in event.raw.items() if name != "type"}
        elif event.kind in _PIECE_KINDS and self.piece_kind is None and self.type not in _PIECE_KIND_BY_TYPE:
            self.piece_kind = event.kind  # a new type of block, made of pieces of a kind that is known
            self.pieces.append(event.text)
        else:
            return False
        return True

    def finish(self) -> None:
        """The block is complete: join and parse, once."""
        self._built = self._build(is_complete=True)

    def reopen(self) -> None:
        """More has come after all."""
        self._built = None

    def block(self, *, is_complete: bool) -> ContentBlock:
        """Return the block as it is now.

        Args:
            is_complete: Whether the reply is complete, and with it a block that never was stopped.
        """
        return self._built or self._build(is_complete=is_complete)

    def _may_be(self, block_type: str) -> bool:
        """Whether the block is of this type, or of one that is not known here."""
        return self.type == block_type or self.type not in _PIECE_KIND_BY_TYPE

    def _build(self, *, is_complete: bool) -> ContentBlock:
        fields = {**self.start, **self._changes}
        if self._citations:
            begun = self.start.get("citations")
            fields["citations"] = [*(begun if isinstance(begun, list) else ()), *self._citations]
        raw_input = None
        if self.piece_kind == "input_json_delta":
            fields["input"], raw_input = self._read_input()
        elif self.piece_kind is not None:
            fields[_TEXT_FIELD_BY_PIECE_KIND[self.piece_kind]] = self.text
        return parse_block(fields, raw_input=raw_input, is_complete=is_complete)

    def _read_input(self) -> tuple[dict[str, Any], str | None]:
        """Return the arguments of a tool, and their text if they are no JSON object."""
        raw_input = "".join(self.pieces)
        if not raw_input.strip():
            begun = self.start.get("input")
            return begun if isinstance(begun, dict) else {}, None
        try:
            value = decode_json(raw_input)
        except ValueError:
            value = None
        return (value, None) if isinstance(value, dict) else ({}, raw_input)
