"""Code folded away under a title: long things that are there for who wants to look."""

from __future__ import annotations

from html import escape

from ._code import render_code
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import FOLD, FOLD_BODY, FOLD_SUMMARY


def render_folded_code(title: str, code: str, language: str) -> str:
    """Return the HTML of a code block that opens on a click."""
    return sanitise(
        f'<div class="{NO_MATH_CLASSES}"><details style="{FOLD}">'
        f'<summary style="{FOLD_SUMMARY}">{escape(title, quote=False)}</summary>'
        f'<div style="{FOLD_BODY}">{render_code(code, language)}</div></details></div>'
    )
