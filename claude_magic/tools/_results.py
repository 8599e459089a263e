"""What a function gave back, or how it failed, as the model gets it: bounded, and without what looks like a secret.

Nobody typed it, and it was the model that chose what to call, so it is redacted as all else that is collected for the user.
"""

from __future__ import annotations

import dataclasses
import enum
import traceback
from types import TracebackType
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from ..context import Collected, describe, join, redact

_MAX_CHARS = 60_000
_MAX_INNER_TOKENS = 1_000
"""Of an object inside of data; about how much of a table is still good to read there."""
_MAX_INNER_NUMBERS = 10_000
_MAX_MESSAGE_CHARS = 1_000
_MAX_TRACEBACK_CHARS = 3_000
_DATA = (BaseModel, dict, list, tuple, set, frozenset, bool, int, float, enum.Enum)

Content = str | list[dict[str, Any]]


def content_of(value: object) -> Content:
    """Return a value as text or content blocks: data as JSON, tables and pictures as in a prompt. Never fails."""
    if value is None:
        return "Done; the function returned nothing."
    if isinstance(value, str):
        return _bounded(value) or "The function returned an empty string."
    if _is_data(value):
        try:
            return _bounded(to_json(value, fallback=_inside, inf_nan_mode="strings").decode("utf-8"))
        except Exception:  # it holds itself, or half a character, or what breaks when looked at: see below
            return _content_described(describe(value))
    return _content_described(describe(value))


def describe_failure(error: BaseException) -> str:
    """Return an error of a tool's own code, without the frames that led to it."""
    shown = traceback.TracebackException(type(error), error, _own_frames(error.__traceback__))
    text = redact("".join(shown.format())[-_MAX_CHARS:])[0]
    if len(text) <= _MAX_TRACEBACK_CHARS:
        return text
    message = redact("".join(shown.format_exception_only())[:_MAX_CHARS])[0][:_MAX_MESSAGE_CHARS].rstrip()
    return (
        f"{message}\n[… the start of the traceback is cut …]\n{text[len(message) - _MAX_TRACEBACK_CHARS :]}"
    )


def _is_data(value: object) -> bool:
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return (isinstance(value, _DATA) or is_record) and not hasattr(type(value), "_repr_claude_")


def _inside(value: object) -> Any:
    """Return what stands in data for an object that is none: numbers of numpy as numbers, all else described."""
    to_list = getattr(value, "tolist", None)
    if (
        to_list is not None
        and type(value).__module__ == "numpy"
        and getattr(value, "size", 0) <= _MAX_INNER_NUMBERS
    ):
        return to_list()
    return describe(value, max_tokens=_MAX_INNER_TOKENS).text or f"<{type(value).__name__}>"


def _content_described(described: Collected) -> Content:
    if all(isinstance(part, str) for part in described.parts):
        return _bounded(join([described]).text.strip()) or "The function returned an object without text."
    return [
        {"type": "text", "text": part} if isinstance(part, str) else part
        for part in described.parts
        if not isinstance(part, str) or part.strip()
    ]


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame on that is not ours."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(__package__):
        trace = trace.tb_next
    return trace


def _bounded(text: str) -> str:
    """Cut a text, which is redacted first: half a secret is none that could be recognised."""
    clean = redact(text[: 2 * _MAX_CHARS])[0]
    if len(text) <= _MAX_CHARS:
        return clean
    return f"{clean[:_MAX_CHARS]}\n[… cut: the result has {len(text):,} characters]"
