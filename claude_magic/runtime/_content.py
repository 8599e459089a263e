"""The content of a reply while it grows, over all its rounds. Guarded by the lock of `Progress`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..client import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Message,
    StreamEvent,
    ToolUseBlock,
    estimate_tokens,
)
from ..tools import CallState
from ._growing_block import GrowingBlock, kind_of_delta
from ._snapshot import BlockSnapshot, CallSnapshot


class GrowingContent:
    """Blocks of the rounds that are over, then those of the present one, by the numbers the server gives them.

    Args:
        beginning: Text that the first text goes on from, as if it were its beginning.
    """

    def __init__(self, beginning: str = "") -> None:
        self._beginning = beginning
        self._settled: list[BlockSnapshot] = []
        self._current: dict[int, GrowingBlock] = {}
        self._calls: dict[str, CallSnapshot] = {}

    def snapshot(self) -> tuple[BlockSnapshot, ...]:
        """All blocks at this moment, frozen."""
        # A block that is still written is no call yet, and its id may be one that was used before.
        current = [block.snapshot() for _, block in sorted(self._current.items())]
        blocks = [*map(self._with_call, self._settled), *current]
        return tuple(_begun(blocks, self._beginning) if self._beginning else blocks)

    def settled(self) -> GrowingContent:
        """Return the same content as it is when nothing more is coming."""
        content = GrowingContent(self._beginning)
        content._settled = [*self._settled, *(block.snapshot() for _, block in sorted(self._current.items()))]
        content._calls = dict(self._calls)
        return content

    def estimated_tokens(self) -> int:
        """About how many tokens the model has written in the present round."""
        return sum(estimate_tokens(block.snapshot().text) for block in self._current.values())

    def take(self, event: StreamEvent) -> bool:
        """Take in an event of a block; return whether it was one."""
        match event:
            case ContentBlockDelta():
                block = self._current.get(event.index)
                if block is None:
                    block = self._current[event.index] = GrowingBlock(kind_of_delta(event))
                block.append(event)
            case ContentBlockStart():
                self._current[event.index] = GrowingBlock.of(event.block, is_complete=False)
            case ContentBlockStop():
                if event.index in self._current:
                    self._current[event.index].is_complete = True
            case _:
                return False
        return True

    def start_over(self) -> None:
        """Forget the present round, because it is asked for again."""
        self._current.clear()

    def adopt(self, message: Message) -> None:
        """End the round with the message that came of it. It may be some events ahead of those that were taken in."""
        self._current.clear()
        for block in message.content:
            self._settled.append(GrowingBlock.of(block, is_complete=block.is_complete).snapshot())
            if isinstance(block, ToolUseBlock) and block.type == "tool_use" and block.is_complete:
                self._calls[block.id] = CallSnapshot(
                    name=block.name, arguments=block.input, state=CallState.WRITTEN
                )

    def note_call(self, call_id: str, state: CallState, result: str) -> None:
        """Take note of how far a call has come."""
        self._calls[call_id] = replace(self._calls[call_id], state=state, result=result)

    def _with_call(self, block: BlockSnapshot) -> BlockSnapshot:
        call_id = _id_of(block.data)
        return replace(block, call=self._calls[call_id]) if call_id in self._calls else block


def _begun(blocks: list[BlockSnapshot], beginning: str) -> list[BlockSnapshot]:
    """Return blocks whose first text begins with another; before there is any, that is the text."""
    for index, block in enumerate(blocks):
        if block.kind == "text":
            return [*blocks[:index], replace(block, text=beginning + block.text), *blocks[index + 1 :]]
    return [BlockSnapshot(kind="text", text=beginning, is_complete=False), *blocks]


def _id_of(data: Mapping[str, object] | None) -> str:
    call_id = None if data is None else data.get("id")
    return call_id if isinstance(call_id, str) else ""
