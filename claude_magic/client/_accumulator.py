"""Folds the events of a stream into a `Message`. No I/O.

Text is collected in pieces and joined when a message is asked for; the arguments of a tool are parsed once, when their
block ends. Usage is replaced field by field, because the counts of the API are cumulative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from ._blocks import ContentBlock, parse_block
from ._events import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageDelta,
    MessageStart,
    MessageStop,
    StreamEvent,
    message_of,
    usage_of,
)
from ._messages import Message, Usage

_BLOCK_TYPE_BY_DELTA = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""What a block must be whose deltas arrive without its start."""


class MessageAccumulator:
    """One reply in the making.

    Blocks are kept by index: servers that interleave the deltas of several blocks, or leave out events, do no harm.

    Attributes:
        has_content_delta: Content has begun to arrive.
        has_stop_reason: The model has said why it stopped.
        is_complete: The reply is complete.
        unknown: Events and deltas that are not known here, as they came, oldest first.
    """

    def __init__(self) -> None:
        self.has_content_delta = False
        self.has_stop_reason = False
        self.is_complete = False
        self.unknown: list[StreamEvent] = []
        self._fields: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def add(self, event: StreamEvent) -> None:
        """Take in the next event."""
        kind = type(event)
        if kind is ContentBlockDelta:
            self._add_delta(event)  # type: ignore[arg-type]  # `type() is` costs half of isinstance, for nearly all events
            return
        match event:
            case ContentBlockStart():
                self._blocks[event.index] = _Block(event.raw)
            case ContentBlockStop():
                if event.index in self._blocks:
                    self._blocks[event.index].finish()
            case MessageStart():
                self._fields |= {
                    name: value for name, value in event.raw.items() if name not in ("content", "usage")
                }
                self._merge_usage(event.raw.get("usage"))
            case MessageDelta():
                self._end(event)
            case MessageStop():
                self.is_complete = True
            case _:
                self.unknown.append(event)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join("".join(block.text) for _, block in sorted(self._blocks.items()))

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        return usage_of(self._usage)

    def message(self) -> Message:
        """Return the reply as far as it has come."""
        content = [block.parsed() for _, block in sorted(self._blocks.items())]
        return message_of({**self._fields, "usage": self._usage}, content)

    def _add_delta(self, event: ContentBlockDelta) -> None:
        self.has_content_delta = True
        block = self._blocks.get(event.index)
        if block is None:
            if event.kind not in _BLOCK_TYPE_BY_DELTA:
                self.unknown.append(event)
                return
            block = self._blocks[event.index] = _Block({"type": _BLOCK_TYPE_BY_DELTA[event.kind]})
        if event.kind == "text_delta":
            block.text.append(event.text)
        elif not block.add(event):
            self.unknown.append(event)

    def _end(self, event: MessageDelta) -> None:
        """Take in why the reply ends. What a later event leaves out or sends as null stays as it was."""
        delta = event.raw.get("delta")
        ending = {name: value for name, value in event.raw.items() if name not in ("type", "delta", "usage")}
        ending |= delta if isinstance(delta, dict) else {}
        for name, value in ending.items():
            if value is not None or name not in self._fields:
                self._fields[name] = value
        self._merge_usage(event.raw.get("usage"))
        self.has_stop_reason = self.has_stop_reason or event.stop_reason is not None

    def _merge_usage(self, update: object) -> None:
        if isinstance(update, Mapping):
            self._usage |= {
                name: value for name, value in update.items() if value is not None or name not in self._usage
            }


class _Block:
    """One content block in the making: the fields of its start, and what deltas add to them."""

    __slots__ = ("_citations", "_fields", "_json", "_raw_input", "_thinking", "text")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)
        self.text = _beginning(fields, "text")
        self._thinking = _beginning(fields, "thinking")
        self._citations: list[Any] = []
        self._json: list[str] = []
        self._raw_input: str | None = None

    def add(self, event: ContentBlockDelta) -> bool:
        """Take in a delta other than text; return False if it is not known."""
        match event.kind:
            case "thinking_delta":
                self._thinking.append(event.text)
            case "input_json_delta":
                self._json.append(event.text)
            case "signature_delta":
                self._fields["signature"] = event.text
            case "citations_delta":
                self._citations.append(event.raw.get("citation"))
            case "compaction_delta":
                self._fields |= {name: value for name, value in event.raw.items() if name != "type"}
            case _:
                return False
        return True

    def finish(self) -> None:
        """The block is complete: parse what can be parsed only now."""
        fragments = "".join(self._json)
        if not fragments:
            return  # no arguments, or all of them in the block's start
        self._raw_input = None
        self._json.clear()
        try:
            value = from_json(fragments)
        except ValueError:
            value = None
        if isinstance(value, dict):
            self._fields["input"] = value
        else:
            self._raw_input = fragments

    def parsed(self) -> ContentBlock:
        """Return the block as it is now."""
        fields = dict(self._fields)
        kind = fields.get("type")
        for name, pieces in (("text", self.text), ("thinking", self._thinking)):
            if pieces:
                fields[name] = "".join(pieces)
            elif kind == name:
                fields.setdefault(name, "")
        if self._citations:
            fields["citations"] = [*(fields.get("citations") or []), *self._citations]
        if kind in ("tool_use", "server_tool_use", "mcp_tool_use") and not isinstance(
            fields.get("input"), dict
        ):
            fields["input"] = {}
        raw_input = self._raw_input if self._raw_input is not None else "".join(self._json) or None
        return parse_block(fields, raw_input=raw_input)


def _beginning(fields: Mapping[str, Any], name: str) -> list[str]:
    """Return the text that a block starts with; it is empty as a rule."""
    value = fields.get(name)
    return [value] if isinstance(value, str) and value else []
