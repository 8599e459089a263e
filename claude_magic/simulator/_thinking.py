"""Thinking: when there is any, how it is shown, and whether what comes back still fits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

from ._errors import invalid
from ._exchange import JSON
from ._models import Model
from ._prefix import Item

PLACEHOLDER_SIGNATURE = "c2ltdWxhdGVk"
"""The signature of scripted thinking, which fits anywhere."""
BINDING_BETA = "thinking-binding-controls-2026-08-01"

_SECRET = b"claude-magic-simulator"
"""No secret at all; constant, so that a conversation survives the simulator that began it."""
_SEAL_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """Whether and how a request's answer thinks."""

    is_on: bool
    display: Literal["omitted", "summarized"]


def thinking_of(fields: JSON, model: Model) -> Thinking:
    """What the request and the model's defaults come to."""
    asked: JSON = fields.get("thinking") or {}
    kind = asked.get("type") or ("adaptive" if model.thinks_by_default else "disabled")
    display = asked.get("display") or ("omitted" if model.omits_thinking else "summarized")
    return Thinking(
        is_on=kind in ("adaptive", "enabled"),
        display="omitted" if display == "omitted" else "summarized",
    )


def is_adaptive(fields: JSON) -> bool:
    """Whether it is left to the model if it thinks."""
    return (fields.get("thinking") or {}).get("type") in (None, "adaptive")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    model: str
    prefix: bytes
    text: bytes


def sign(model: Model, prefix: bytes, text: str) -> str:
    """A signature that binds thinking to its model, its text and the conversation before it."""
    payload = model.id.encode() + b"\0" + prefix + hashlib.sha256(text.encode()).digest()
    return base64.b64encode(_seal(payload) + payload).decode()


def _seal(payload: bytes) -> bytes:
    return hmac.digest(_SECRET, payload, "sha256")


def _read(signature: str) -> _Signed | None:
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    seal, payload = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(payload)):
        return None
    model, _, rest = payload.partition(b"\0")
    return _Signed(model=model.decode(), prefix=rest[:-32], text=rest[-32:])


def check_returned_thinking(
    items: list[Item], model: Model, fields: JSON, betas: frozenset[str]
) -> list[JSON]:
    """Check the thinking blocks that a request sends back.

    Returns:
        What was dropped instead of refused, as `input_transformations` tells it.

    Raises:
        APIError: 400, a block was changed, or belongs to another conversation.
    """
    binding: JSON = (fields.get("thinking") or {}).get("block_binding") or {}
    may_drop = BINDING_BETA in betas and binding.get("prefix_mismatch_behavior") == "drop_block"
    dropped: list[JSON] = []
    before = b""
    for item in items:
        complaint = _complaint(item, model, before)
        if complaint is not None and item.path is not None:
            path = f"messages.{item.path[0]}.content.{item.path[1]}"
            if not may_drop:
                raise invalid(f"{path}: Invalid `signature` in `thinking` block{complaint}")
            dropped.append({"type": "thinking_dropped", "path": path, "reason": "prefix_mismatch"})
        before = item.digest
    return dropped


def _complaint(item: Item, model: Model, before: bytes) -> str | None:
    block = item.block
    if block.get("type") != "thinking" or block["signature"] == PLACEHOLDER_SIGNATURE:
        return None
    signed = _read(block["signature"])
    if signed is None:
        return ""
    if signed.text != hashlib.sha256(block["thinking"].encode()).digest():
        return ": the block was changed after it was produced"
    if not model.checks_thinking or signed.model != model.id:
        return None  # a block of another model is left unread, without a word
    return None if signed.prefix == before else ": it is bound to another conversation"
