"""Snapshots of replies for the tests of this folder."""

from __future__ import annotations

from typing import Any

from claude_magic.client import Usage
from claude_magic.runtime import BlockSnapshot, Phase, ReplySnapshot


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
