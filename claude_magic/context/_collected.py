"""What was collected for a prompt: text and content blocks, in order, and what the reader should know about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Part = str | dict[str, Any]
"""Text, or a content block as the API takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Things of the user's, ready to be sent.

    Attributes:
        parts: Text and content blocks, in order.
        notes: Sentences for the reader: what was cut, sampled, left as typed.
        redacted: What became `[REDACTED]`, by label ("an API key"), never by value.
        exposed: What looks like credentials and would be sent as it is, since the user named it: where, and by label.
    """

    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))


def join(pieces: Iterable[Collected]) -> Collected:
    """Return all pieces as one, in order; text that meets text becomes one part, a note or label stands once."""
    parts: list[Part] = []
    texts: list[str] = []
    notes: dict[str, None] = {}
    redacted: dict[str, None] = {}
    exposed: dict[str, None] = {}
    for piece in pieces:
        notes |= dict.fromkeys(piece.notes)
        redacted |= dict.fromkeys(piece.redacted)
        exposed |= dict.fromkeys(piece.exposed)
        for part in piece.parts:
            if isinstance(part, str):
                texts.append(part)
            else:
                _flush(texts, parts)
                parts.append(part)
    _flush(texts, parts)
    return Collected(parts=tuple(parts), notes=tuple(notes), redacted=tuple(redacted), exposed=tuple(exposed))


def _flush(texts: list[str], parts: list[Part]) -> None:
    text = "".join(texts)
    texts.clear()
    if text:
        parts.append(text)
