"""The final picture of a reply, with all its types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..runtime import Phase, ReplySnapshot
from ._answer import render_answer
from ._footer import LAST, render_footer


@dataclass(frozen=True, slots=True)
class Bundle:
    """A mimebundle: `data` by MIME type, and its metadata."""

    data: dict[str, str]
    metadata: dict[str, Any]


def render_reply(snapshot: ReplySnapshot, *, remote_images: bool = False, kept_in: str = LAST) -> Bundle:
    """Return the one final picture of a reply.

    `text/html` has the folded thinking, the calls, the answer and the footer; `text/markdown` and `text/plain` are the answer
    alone, the latter as the model wrote it but for characters that cannot be seen (where a format asks for its code or its
    JSON, just that). The metadata hold neither prompt nor key.

    Args:
        snapshot: The reply.
        remote_images: Load images from other hosts.
        kept_in: The expression that has a partial answer.
    """
    answer = render_answer(snapshot, remote_images=remote_images)
    data = {
        "text/html": answer.html + render_footer(snapshot, kept_in=kept_in),
        "text/markdown": answer.markdown,
        "text/plain": answer.plain,
    }
    return Bundle(data, {"claude_magic": facts_on(snapshot)})


def facts_on(snapshot: ReplySnapshot) -> dict[str, Any]:
    """Return what is saved about a reply beside its picture; neither prompt nor key."""
    facts = {
        "model": snapshot.model,
        "request_id": snapshot.request_id,
        "prompt_sha256": snapshot.prompt_hash,
        "asked_at": snapshot.asked_at,
        "stop_reason": snapshot.stop_reason,
        "usage": snapshot.usage.model_dump(mode="json", exclude_none=True) if snapshot.usage else None,
        "cost_usd": None if snapshot.cost is None else round(snapshot.cost, 6),
        "estimated": snapshot.is_estimate or None,
        "seconds": round(snapshot.elapsed, 3),
        "simulated": snapshot.is_simulated or None,
        "status": None if snapshot.phase is Phase.COMPLETE else snapshot.phase.value,
        "error": type(snapshot.error).__name__ if snapshot.error else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}
