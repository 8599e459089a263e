"""Redaction of the key in the events of a stream, where it may be split between deltas and blocks. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from ._config import REDACTED
from ._events import ContentBlockDelta, ContentBlockStart, StreamEvent
from ._messages import DELTA_KINDS, kind_of

_KEY_CHARS = 256
"""Number of characters of earlier deltas that are searched together with the next one; longer than any key."""


class KeyInDeltas:
    """Replaces the key in deltas, even if it is split between them: a server or a proxy may quote it in an answer.

    The initial text of a block counts as a delta. The text before a delta is that of its block. A new block continues the block before it, because their texts are joined.
    The first characters of a split key may have passed, but fewer than the shortest part that `Credential.redact`
    redacts.

    Args:
        find: Returns where the key is in a text.
    """

    def __init__(self, find: Callable[[str], Sequence[tuple[int, int]]]) -> None:
        self._find = find
        self._block: tuple[object, ...] = ()
        self._before = ""
        self._is_inside = False
        self._left: dict[tuple[object, ...], tuple[str, bool]] = {}

    def is_in(self, block: tuple[object, ...], texts: Sequence[str]) -> bool:
        """Return whether the key is in the texts of the next deltas. If so, these deltas must be passed to `redact`.

        Args:
            block: Index and kind of the deltas.
            texts: Their texts.
        """
        if block != self._block:
            self._left[self._block] = self._before, self._is_inside
            self._before, self._is_inside = self._left.pop(block, self._left[self._block])
            self._block = block
        whole = "".join([self._before, *texts])
        if self._find(whole):
            return True
        self._before, self._is_inside = whole[-_KEY_CHARS:], False
        return False

    def redact(self, events: Sequence[StreamEvent]) -> list[StreamEvent]:
        """Return the next events of the stream without the key."""
        clean: list[StreamEvent] = []
        for block, group in groupby(events, _block_of):
            alike = list(group)
            if block and self.is_in(block, [text_of(event) for event in alike]):
                clean += [event for event in map(self._redacted, alike) if event is not None]
            else:
                clean += alike
        return clean

    def _redacted(self, event: StreamEvent) -> StreamEvent | None:
        """Return a delta, or the start of a block, without the key; None for a delta if nothing is left."""
        begun = text_of(event)
        window, done = self._before + begun, len(self._before)
        parts: list[str] = []
        was_inside, self._is_inside = self._is_inside, False
        for start, end in self._find(window):
            if end > done:
                is_continued = was_inside and start < len(self._before)
                parts += [window[done:start], "" if is_continued else REDACTED]
                done, self._is_inside = end, end == len(window)
        text = "".join([*parts, window[done:]])
        self._before = window[-_KEY_CHARS:]
        return event if text == begun else with_text(event, text)


def _block_of(event: StreamEvent) -> tuple[object, ...]:
    """Return the index and kind of a delta with text, or of a block's initial text; empty for other events."""
    match event:
        case ContentBlockDelta(text=str(text)) if text:
            return event[:2]
        case ContentBlockStart() if text_of(event):
            return event.index, kind_of(event.raw).pieces
    return ()


def text_of(event: StreamEvent) -> str:
    """Return the text of a delta, or the initial text of a block."""
    if type(event) is ContentBlockDelta:
        return event.text
    text = event.raw.get(_field_of(event)) if type(event) is ContentBlockStart else None
    return text if isinstance(text, str) else ""


def with_text(event: StreamEvent, text: str) -> StreamEvent | None:
    """Return a delta or the start of a block with another text; None for a delta without text, and for other events."""
    match event:
        case ContentBlockStart():
            return ContentBlockStart(event.index, {**event.raw, _field_of(event): text})
        case ContentBlockDelta() if text:
            raw = {name: text if value == event.text else value for name, value in event.raw.items()}
            return event._replace(text=text, raw=raw)
    return None


def _field_of(start: ContentBlockStart) -> str:
    """Return the field of a block that its deltas continue; empty if there is none."""
    pieces = kind_of(start.raw).pieces
    return DELTA_KINDS[pieces].into if pieces else ""
