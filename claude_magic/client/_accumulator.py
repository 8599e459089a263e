"""Folds the events of a stream into a `Message`. No I/O.

Text is collected in pieces and joined when a block is complete or a message is asked for; the arguments of a tool are
parsed once, when their block ends. Usage is replaced field by field, because the counts of the API are cumulative. Until
its last event a stream says that there was one token of output, so for a reply that ends without that, it is estimated.
"""

from __future__ import annotations

from typing import Any

from ._block_builder import BlockBuilder
from ._blocks import ContentBlock
from ._events import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorEvent,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    StreamEvent,
)
from ._messages import Message, Usage

_NOT_SET_BY_DELTA = ("type", "content", "usage", "delta")


class MessageAccumulator:
    """One reply in the making.

    Servers that interleave the deltas of several blocks, number them badly, or leave out events, do no harm.

    Attributes:
        has_content_delta: Content has begun to arrive; thinking counts.
        is_complete: The reply is complete.
        unknown: Events and deltas that are not known here, as they came, oldest first.
    """

    def __init__(self) -> None:
        self.has_content_delta = False
        self.is_complete = False
        self.unknown: list[StreamEvent] = []
        self._fields: dict[str, Any] = {}
        self._begun: list[ContentBlock] = []
        self._builders: list[BlockBuilder] = []
        self._open: dict[int, BlockBuilder] = {}
        self._told = Usage()
        self._counted_pieces: int | None = None

    @property
    def has_stop_reason(self) -> bool:
        """Whether the model has said why it stopped."""
        return isinstance(self._fields.get("stop_reason"), str)

    @property
    def usage(self) -> Usage:
        """The counts so far. What has come since the server counted last is estimated, and so marked."""
        if not self._told.model_fields_set or self._counted_pieces == self._pieces():
            return self._told
        return self._told.estimated(sum(builder.estimated_tokens for builder in self._builders))

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(builder.text for builder in self._in_order() if builder.type == "text")

    def add(self, event: StreamEvent) -> None:
        """Take in the next event. None is refused."""
        if type(event) is not ContentBlockDelta:  # half the cost of isinstance, for nearly all events
            self._add_landmark(event)
            return
        self.has_content_delta = True
        builder = self._open.get(event.index) or self._find(event)
        if builder is None:
            self.unknown.append(event)
        elif event.kind == builder.piece_kind:
            builder.pieces.append(event.text)
        elif not builder.apply(event):
            self.unknown.append(event)

    def message(self) -> Message:
        """Return the reply as far as it has come. Its blocks know whether they are complete."""
        content = [builder.block(is_complete=self.is_complete) for builder in self._in_order()]
        return Message.model_validate(
            {**self._fields, "content": content or self._begun, "usage": self.usage}
        )

    def _add_landmark(self, event: StreamEvent) -> None:
        match event:
            case ContentBlockStart():
                self._start_block(event)
            case ContentBlockStop():
                builder = self._open.pop(event.index, None)
                if builder is not None:
                    builder.finish()
            case MessageStart():
                # A second one, from a gateway that began anew, updates the fields and keeps the content.
                self._fields |= event.raw
                self._begun = event.message.content
                self._told = self._told.merged(event.message.usage)
            case MessageDelta():
                self._end(event)
            case MessageStop():
                self.is_complete = True
            case Ping() | ErrorEvent():
                pass
            case _:
                self.unknown.append(event)

    def _start_block(self, event: ContentBlockStart) -> None:
        current = self._open.get(event.index)
        if current is not None:
            if current.start == event.raw:
                return  # the same start twice
            current.finish()
        builder = self._open[event.index] = BlockBuilder(event.index, event.raw)
        self._builders.append(builder)

    def _find(self, event: ContentBlockDelta) -> BlockBuilder | None:
        """Return the block of a delta whose block is not open: it ended too early, or never began."""
        builder = next(
            (builder for builder in reversed(self._builders) if builder.index == event.index), None
        )
        if builder is not None:
            builder.reopen()
        else:
            builder = BlockBuilder.of_delta(event)
            if builder is None:
                return None
            self._builders.append(builder)
        self._open[event.index] = builder
        return builder

    def _end(self, event: MessageDelta) -> None:
        """Take in why the reply ends. What a later event leaves out or sends as null stays as it was."""
        delta = event.raw.get("delta")
        ending = {**event.raw, **(delta if isinstance(delta, dict) else {})}
        for name, value in ending.items():
            if name not in _NOT_SET_BY_DELTA and (value is not None or name not in self._fields):
                self._fields[name] = value
        if event.usage is None:
            return
        self._told = self._told.merged(event.usage)
        if "output_tokens" in event.usage.model_fields_set:
            self._counted_pieces = self._pieces()

    def _pieces(self) -> int:
        """How much has come. It only grows."""
        return sum(len(builder.pieces) for builder in self._builders)

    def _in_order(self) -> list[BlockBuilder]:
        """Return the blocks by index; where a server gave two the same, the earlier first."""
        return sorted(self._builders, key=lambda builder: builder.index)
