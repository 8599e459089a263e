"""The final picture of a reply, with all its types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from ..runtime import BlockSnapshot, Phase, ReplySnapshot
from ._footer import render_footer
from ._markdown import render_markdown
from ._neutralise import neutralise_markdown
from ._sanitise import sanitise
from ._styles import CODE_BLOCK, FOLD, FOLD_BODY, FOLD_SUMMARY


@dataclass(frozen=True, slots=True)
class Bundle:
    """A mimebundle: `data` by MIME type, and its metadata."""

    data: dict[str, str]
    metadata: dict[str, Any]


def render_reply(snapshot: ReplySnapshot, *, remote_images: bool = False) -> Bundle:
    """Return the one final picture of a reply.

    `text/html` has the folded thinking, the answer and the footer; `text/markdown` and `text/plain` are the answer alone,
    the latter exactly as the model wrote it. The metadata hold neither prompt nor key.
    """
    html = "".join(_render_parts(snapshot, remote_images=remote_images)) + render_footer(snapshot)
    data = {
        "text/html": html,
        "text/markdown": neutralise_markdown(snapshot.text),
        "text/plain": snapshot.text,
    }
    return Bundle(data, {"claude_magic": _metadata(snapshot)})


def render_thinking(text: str, *, is_open: bool = False) -> str:
    """Return thinking folded away under its name; "" where there is none.

    Args:
        text: What the model thought, as Markdown; untrusted.
        is_open: It is still thinking.
    """
    if not text.strip():
        return ""
    return _fold("Thinking…" if is_open else "Thinking", render_markdown(text))


def _render_parts(snapshot: ReplySnapshot, *, remote_images: bool) -> Iterator[str]:
    for kind, blocks in groupby(snapshot.blocks, key=lambda block: block.kind):
        # Citations split a text in mid-sentence, so neighbouring text blocks are one Markdown text.
        if kind == "text":
            yield render_markdown("".join(block.text for block in blocks), remote_images=remote_images)
        elif kind == "thinking":
            yield render_thinking("\n\n".join(block.text for block in blocks))
        else:
            yield "".join(_render_data(block) for block in blocks)


def _render_data(block: BlockSnapshot) -> str:
    if not block.text:
        return ""
    return _fold(
        block.kind, f'<pre style="{CODE_BLOCK}"><code>{escape(block.text, quote=False)}</code></pre>'
    )


def _fold(title: str, html: str) -> str:
    return sanitise(
        f'<details style="{FOLD}"><summary style="{FOLD_SUMMARY}">{escape(title, quote=False)}</summary>'
        f'<div style="{FOLD_BODY}">{html}</div></details>'
    )


def _metadata(snapshot: ReplySnapshot) -> dict[str, Any]:
    facts = {
        "model": snapshot.model,
        "request_id": snapshot.request_id,
        "stop_reason": snapshot.stop_reason,
        "usage": snapshot.usage.model_dump(mode="json", exclude_none=True) if snapshot.usage else None,
        "seconds": round(snapshot.elapsed, 3),
        "simulated": snapshot.is_simulated or None,
        "status": None if snapshot.phase is Phase.COMPLETE else snapshot.phase.value,
        "error": type(snapshot.error).__name__ if snapshot.error else None,
    }
    return {name: value for name, value in facts.items() if value is not None}
