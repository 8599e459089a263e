"""A line that stands by itself."""

from __future__ import annotations

from html import escape

from ._reply import Bundle
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import APPROVAL, FAILURE, FOOTER


def render_notice(text: str) -> Bundle:
    """Return the line, in HTML and in plain text."""
    html = sanitise(f'<div class="{NO_MATH_CLASSES}" style="{FOOTER}">{escape(text, quote=False)}</div>')
    return Bundle({"text/html": html, "text/plain": text}, {})


def render_approval(text: str) -> str:
    """Return the HTML of what a person is asked about a call of a tool: all of it, with every blank."""
    question = f'<div style="{APPROVAL}">{escape(text, quote=False)}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{question}</div>')


def render_complaint(text: str) -> str:
    """Return the HTML of a line that says what went wrong."""
    line = f'<div style="{FAILURE}">{escape(text, quote=False)}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{line}</div>')
