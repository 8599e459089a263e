"""An answer that belongs to a state of controls, as an output for whoever sees the notebook without its kernel."""

from __future__ import annotations

from html import escape

from ..runtime import ReplySnapshot
from ._neutralise import neutralise_markdown
from ._reply import Bundle, render_reply
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import STATUS_LINE
from ._transcript import TRANSCRIPT_CLASS


def render_state(state: str, answer: ReplySnapshot, *, remote_images: bool = False) -> Bundle:
    """Return the answer with the state above it, as `n = 3`; a view that lives hides it, as it does a transcript."""
    bundle = render_reply(answer, remote_images=remote_images)
    line = sanitise(
        f'<div class="{NO_MATH_CLASSES}"><div style="{STATUS_LINE}">{escape(state, quote=False)}</div></div>'
    )
    data = {
        "text/html": f'<div class="{TRANSCRIPT_CLASS}">{line}{bundle.data["text/html"]}</div>',
        "text/markdown": f"{neutralise_markdown(state)}\n\n{bundle.data['text/markdown']}",
        "text/plain": f"{state}\n\n{bundle.data['text/plain']}",
    }
    return Bundle(data, bundle.metadata)
