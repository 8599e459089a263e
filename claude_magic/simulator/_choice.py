"""Choosing among things so that the same text always leads to the same choice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def pick(text: str, choices: Sequence[T]) -> T:
    """One of the choices; the same one for the same text, in every process."""
    digest = hashlib.sha256(text.encode()).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]
