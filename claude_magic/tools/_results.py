"""What a function gave back, or how it failed, as the model gets it."""

from __future__ import annotations

import traceback
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from ..context import describe, join

_MAX_CHARS = 60_000
_MAX_TRACEBACK_CHARS = 3_000

Content = str | list[dict[str, Any]]


def content_of(value: object) -> Content:
    """Return a value as text or content blocks: data as JSON, tables and pictures as in a prompt."""
    if value is None:
        return "Done; the function returned nothing."
    if isinstance(value, str):
        return _bounded(value) or "The function returned an empty string."
    if isinstance(value, BaseModel | dict | list | tuple | set | bool | int | float):
        return _bounded(to_json(value, fallback=repr, inf_nan_mode="strings").decode("utf-8"))
    described = describe(value)
    if all(isinstance(part, str) for part in described.parts):
        return _bounded(join([described]).text.strip())
    return [
        {"type": "text", "text": part} if isinstance(part, str) else part
        for part in described.parts
        if not isinstance(part, str) or part.strip()
    ]


def describe_failure(error: BaseException) -> str:
    """Return an error of a tool's own code, without the frames that led to it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("claude_magic.tools"):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error.with_traceback(trace), trace)
    text = "".join(lines)
    return text if len(text) <= _MAX_TRACEBACK_CHARS else f"[… cut …]\n{text[-_MAX_TRACEBACK_CHARS:]}"


def _bounded(text: str) -> str:
    if len(text) <= _MAX_CHARS:
        return text
    return f"{text[:_MAX_CHARS]}\n[… cut: the result has {len(text):,} characters]"
