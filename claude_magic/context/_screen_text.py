"""What a program wrote to a terminal, as text."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)|[@-Z\\^_])")
"""ECMA-48: colors and movements of the cursor, titles and links, and the short ones."""


def as_on_screen(text: str) -> str:
    """Return what a reader saw: no colors, and of a line that was written over, such as a progress bar, the last state."""
    lines = _ESCAPE.sub("", text).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
