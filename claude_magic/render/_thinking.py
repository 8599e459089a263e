"""What a model thought, folded away."""

from __future__ import annotations

from html import escape

from ._allowance import Allowance
from ._markdown import render_markdown
from ._sanitise import sanitise
from ._styles import FOLD, FOLD_BODY, FOLD_SUMMARY


def render_thinking(text: str, *, is_open: bool = False, allowance: Allowance | None = None) -> str:
    """Return thinking folded away under its name; "" where there is none.

    Args:
        text: What the model thought, as Markdown; untrusted.
        is_open: It is still thinking.
        allowance: What may still be drawn of the answer.
    """
    if not text.strip():
        return ""
    title = "Thinking…" if is_open else "Thinking"
    return sanitise(
        f'<details style="{FOLD}"><summary style="{FOLD_SUMMARY}">{escape(title, quote=False)}</summary>'
        f'<div style="{FOLD_BODY}">{render_markdown(text, allowance=allowance)}</div></details>'
    )
