"""From what was collected to the content of a user's turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._collected import Collected, join

Block = dict[str, Any]


def content_of(sections: Sequence[Sequence[str | Mapping[str, Any]]]) -> str | list[Block]:
    """Return a user's turn: plain text where that is all there is, else content blocks.

    Args:
        sections: Text and content blocks, in order. Text of two sections is not joined.
    """
    if len(sections) == 1 and all(isinstance(part, str) for part in sections[0]):
        return "".join(str(part) for part in sections[0])
    return [block for parts in sections for block in _blocks(parts)]


def _blocks(parts: Sequence[str | Mapping[str, Any]]) -> Iterator[Block]:
    """Join neighbouring text. The API takes no blank text, which between two pictures means nothing anyway."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text.strip():
            yield {"type": "text", "text": text}
        text = ""
        yield dict(part)
    if text.strip():
        yield {"type": "text", "text": text}


def notes_on(collected: Iterable[Collected]) -> tuple[str, ...]:
    """Return what the reader should know about what is sent, as sentences, each once; secrets by label, never by value."""
    whole = join(collected)
    if not whole.redacted:
        return whole.notes
    return (*whole.notes, f"Redacted before sending: {', '.join(whole.redacted)}.")
