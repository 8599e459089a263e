"""What goes into a tool and comes out of it, as text of bounded length."""

from __future__ import annotations

from html import escape
from typing import Final

from ..answers import reveal
from ._styles import CALL_DATA, QUIET

_MAX_CHARS: Final = 8_000


def render_data(text: str) -> str:
    """Return `text` in a box, cut where it is long and saying so; HTML that is not sanitised yet, "" for blank text."""
    if not text.strip():
        return ""
    cut = len(text) - _MAX_CHARS
    shown = f"{text[:_MAX_CHARS]}\n… {cut:,} more characters" if cut > 0 else text
    return f'<pre style="{CALL_DATA}">{escape(reveal(shown, is_code=True), quote=False)}</pre>'


def render_remark(text: str) -> str:
    """Return a quiet line, as HTML that is not sanitised yet."""
    return f'<div style="{QUIET}">{escape(text, quote=False)}</div>'


def short(text: str, most: int) -> str:
    """Return `text` with at most `most` characters, the last one an ellipsis where it is cut."""
    return text if len(text) <= most else text[: most - 1] + "…"
