"""One quiet line that stands by itself."""

from __future__ import annotations

from html import escape

from ._reply import Bundle
from ._sanitise import sanitise
from ._styles import FOOTER


def render_notice(text: str) -> Bundle:
    """Return the line, in HTML and in plain text."""
    html = sanitise(f'<div style="{FOOTER}">{escape(text, quote=False)}</div>')
    return Bundle({"text/html": html, "text/plain": text}, {})
