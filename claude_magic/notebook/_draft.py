"""What a cell is about to send: the user's words, and what they become for the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question, ready to be sent.

    Attributes:
        prompt: The user's words, for the screen and the history.
        content: What is sent as the user's turn: text, or content blocks.
        options: The options it was asked with.
        notes: What the reader should know, as sentences: what was cut, what stays as typed.
        redacted: What became `[REDACTED]`, by label, never by value.
    """

    prompt: str
    content: str | list[dict[str, Any]]
    options: Options
    notes: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
