"""Snapshots of replies, and turns, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from claude_magic.client import Usage
from claude_magic.conversation import Turn
from claude_magic.runtime import BlockSnapshot, Phase, ReplySnapshot

HERE: dict[str, Any] = {"remote_images": False, "kept_in": "claude.last"}
"""Arguments that say where a reply is shown."""


def snapshot(*blocks: tuple[str, str], **changes: Any) -> ReplySnapshot:
    """Return a complete reply of these (kind, text) blocks; `changes` are fields of the snapshot."""
    fields: dict[str, Any] = {
        "phase": Phase.COMPLETE,
        "model": "claude-sonnet-5-5",
        "usage": Usage(input_tokens=1234, output_tokens=567),
        "stop_reason": "end_turn",
        "stop_details": None,
        "stop_sequence": None,
        "request_id": "req_1",
        "is_simulated": False,
        "elapsed": 3.21,
        "wait": None,
        "error": None,
        "attempts": (),
        "version": 1,
    }
    shown = tuple(BlockSnapshot(kind=kind, text=text, is_complete=True) for kind, text in blocks)
    return ReplySnapshot(blocks=shown, **{**fields, **changes})


def turn(prompt: str, *texts: str, **changes: Any) -> Turn:
    """Return a turn with as many rounds as there are texts."""
    replies = [{"role": "assistant", "content": [{"type": "text", "text": text}]} for text in texts]
    messages = ({"role": "user", "content": prompt}, *replies)
    fields = {"id": "1", "parent": None, "follows": None, "thread": "main", "cell": "c", "model": "m"}
    return Turn(prompt=prompt, messages=messages, fingerprint="f", **{**fields, **changes})  # type: ignore[arg-type]
