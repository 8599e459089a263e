"""What a function gave back, or how it failed, as the model gets it: bounded, and without what looks like a secret.

Nobody typed it, and it was the model that chose what to call, so it is redacted as all else that is collected for the user.
"""

from __future__ import annotations

import dataclasses
import enum
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from ..client import ConfigurationError
from ..context import Collected, Lifted, describe, join, redact, unread

_MAX_CHARS = 60_000
_MAX_INNER_TOKENS = 1_000
"""Of an object inside of data; about how much of a table is still good to read there."""
_MAX_INNER_NUMBERS = 10_000
_MAX_DEPTH = 20
_MAX_MESSAGE_CHARS = 1_000
_MAX_TRACEBACK_CHARS = 3_000
MAX_YIELDED = 1_000
"""Values that are taken from a generator; it may have no end."""
_DATA = (BaseModel, dict, list, tuple, set, frozenset, bool, int, float, enum.Enum)

Content = str | list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A result as the model gets it.

    Attributes:
        content: Text or content blocks.
        notes: What the reader should know about it, as sentences.
    """

    content: Content
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Yielded:
    """What a generator gave, and whether it was stopped before its end."""

    values: list[Any]
    is_cut: bool


def outcome_of(value: object) -> Outcome:
    """Return a value for the model: data as JSON, tables and pictures as in a prompt, in their places.

    It fails only as the function's own code does: what it yields is computed here.
    """
    if value is None:
        return Outcome("Done; the function returned nothing.")
    if isinstance(value, str):
        return Outcome(_bounded(value) or "The function returned an empty string.")
    if isinstance(value, Yielded):
        return _outcome_of_yielded(value)
    if isinstance(value, Iterator) and unread(value) is not None:
        return _outcome_of_yielded(_taken(value))
    if _is_data(value):
        with suppress(
            Exception
        ):  # it holds itself, or half a character, or what breaks when looked at: see below
            return _outcome_of_data(value)
    return _outcome_described(value)


async def taken_async(values: AsyncIterator[Any]) -> Yielded:
    """Return the first values of an async generator, and close it."""
    taken: list[Any] = []
    try:
        async for value in values:
            if len(taken) == MAX_YIELDED:
                return Yielded(taken, is_cut=True)
            taken.append(value)
        return Yielded(taken, is_cut=False)
    finally:
        if (close := getattr(values, "aclose", None)) is not None:
            await close()


def _taken(values: Iterator[Any]) -> Yielded:
    """Return the first values of a generator, and close it."""
    taken: list[Any] = []
    try:
        for value in values:
            if len(taken) == MAX_YIELDED:
                return Yielded(taken, is_cut=True)
            taken.append(value)
        return Yielded(taken, is_cut=False)
    finally:
        if (close := getattr(values, "close", None)) is not None:
            close()


def _outcome_of_yielded(yielded: Yielded) -> Outcome:
    outcome = outcome_of(yielded.values)
    if not yielded.is_cut:
        return outcome
    said = f"[The function yields more; it was stopped after {MAX_YIELDED:,} values.]"
    content = outcome.content
    whole = f"{content}\n{said}" if isinstance(content, str) else [*content, {"type": "text", "text": said}]
    return Outcome(whole, outcome.notes)


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


def _outcome_of_data(value: object) -> Outcome:
    """Return data as JSON, with the pictures in it in their places."""
    lifted = Lifted()
    notes: dict[str, None] = {}
    text = to_json(
        _prepared(value, 0),
        fallback=lambda inner: _inside(inner, lifted, notes),
        inf_nan_mode="strings",
    ).decode("utf-8")
    parts = lifted.parts(_bounded(text))
    return Outcome(_as_content(parts), (*notes, *lifted.notes()))


class _Held:
    """Holds what would be read, or break, if it were written as JSON."""

    def __init__(self, value: object) -> None:
        self.value = value


def _prepared(value: Any, depth: int) -> Any:
    """Return data that can be written as JSON: of iterators, which may have no end, the first values; no bytes that are no text."""
    if depth > _MAX_DEPTH:
        return value
    if type(value) is dict:
        return {key: _prepared(item, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_prepared(item, depth + 1) for item in value]
    if isinstance(value, Iterator):
        return _prepared(_taken(value).values, depth) if unread(value) is not None else _Held(value)
    return _Held(value) if isinstance(value, bytes | bytearray) and not _is_text(value) else value


def _is_text(data: bytes | bytearray) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _inside(value: object, lifted: Lifted, notes: dict[str, None]) -> Any:
    """Return what stands in data for an object that is none: numbers of numpy as numbers, all else described."""
    if isinstance(value, _Held):
        value = value.value
    to_list = getattr(value, "tolist", None)
    if (
        to_list is not None
        and type(value).__module__ == "numpy"
        and getattr(value, "size", 0) <= _MAX_INNER_NUMBERS
        and getattr(getattr(value, "dtype", None), "kind", "") != "O"
    ):
        return to_list()
    described = _described(value, _MAX_INNER_TOKENS)
    notes |= dict.fromkeys(described.notes)
    return lifted.marked(described.parts) or f"<{type(value).__name__}>"


def _described(value: object, max_tokens: int | None = None) -> Collected:
    """Describe an object; what a user would be refused, such as a damaged picture, is a text for the model."""
    bound = {} if max_tokens is None else {"max_tokens": max_tokens}
    try:
        return describe(value, name="the result", **bound)
    except ConfigurationError as error:
        reason = str(error).removesuffix(" Nothing was sent.")
        return Collected(parts=(f"[It cannot be shown: {reason}]",), notes=(f"Of a tool: {reason}",))


def _outcome_described(value: object) -> Outcome:
    described = _described(value)
    if all(isinstance(part, str) for part in described.parts):
        text = _bounded(join([described]).text.strip())
        return Outcome(text or "The function returned an object without text.", described.notes)
    return Outcome(_as_content(described.parts), described.notes)


def _as_content(parts: tuple[str | dict[str, Any], ...]) -> Content:
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return [
        {"type": "text", "text": part} if isinstance(part, str) else part
        for part in parts
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
