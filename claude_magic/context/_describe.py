"""What an object becomes in a prompt. Types of other libraries are known by name, so that none is imported for it.

Others teach it theirs: with a method `_repr_claude_`, or with `register`.
"""

from __future__ import annotations

import dataclasses
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any, TypeAlias

from ._arrays import describe_array
from ._collected import Collected, Part
from ._frames import (
    describe_frame,
    describe_grouping,
    describe_index,
    describe_series,
    describe_styler,
    describe_window,
)
from ._pictures import (
    describe_artist,
    describe_figure,
    describe_picture,
    image_block,
    media_type_of,
)
from ._plots import describe_plot
from ._redaction import redact
from ._safely import bounded, error_text, fenced, noting_redactions, safe_repr
from ._scalars import plain_text
from ._sources import describe_source
from ._structures import describe_structure

DEFAULT_TOKENS = 4_000
CHARS_PER_TOKEN = 3.5
"""Of code and tables; a token of prose is longer."""

Describer: TypeAlias = Callable[[Any, int], "str | Part | Collected"]
"""Takes an object and the number of characters it may take; returns text, a content block, or all that was collected."""

_registered: dict[type | str, Describer] = {}


def register(kind: type | str, describer: Describer) -> None:
    """Say what objects of a type, and of types derived from it, become in a prompt.

    Args:
        kind: The type, or "module.Class" for one that is not to be imported for this.
        describer: Takes the object and the number of characters it may take; returns text, a content block of the API,
            or a `Collected`.
    """
    _registered[kind] = describer


def describe(value: object, *, name: str | None = None, max_tokens: int = DEFAULT_TOKENS) -> Collected:
    """Return what an object becomes in a prompt. Never fails: what cannot be described becomes its bounded `repr`.

    What is collected from inside an object is redacted; a plain text or number that fits is the user's to send as it is.

    Args:
        value: The object.
        name: What it is called in the prompt.
        max_tokens: About how much it may take, in model tokens.
    """
    chars = max(200, round(max_tokens * CHARS_PER_TOKEN))
    with noting_redactions() as labels, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of foreign code that is asked for a summary: nobody can do anything about them
        collected = _describe_safely(value, chars, name or type(value).__name__)
        if plain_text(value) is None:
            collected = _redacted(collected)
    return dataclasses.replace(collected, redacted=tuple(dict.fromkeys([*collected.redacted, *labels])))


def _describe_safely(value: object, chars: int, name: str) -> Collected:
    try:
        return _collected(_describe(value, chars), chars)
    except Exception as error:  # whatever foreign code does, the prompt shall go out
        note = f"{{{{ {name} }}}} could not be described ({error_text(error)}), so its repr is sent."
        return Collected(parts=(safe_repr(value, chars),), notes=(note,))


def _describe(value: object, chars: int) -> str | Part | Collected:
    describer = _registered_for(value)
    if describer is not None:
        return describer(value, chars)
    own = getattr(type(value), "_repr_claude_", None)
    if own is not None:
        return own(value)  # type: ignore[no-any-return]
    text = plain_text(value)
    return _describer_of(type(value))(value, chars) if text is None else text


def _registered_for(value: object) -> Describer | None:
    for kind in type(value).__mro__:
        found = _registered.get(kind) or _registered.get(_qualified(kind))
        if found is not None:
            return found
    return None


def _describer_of(kind: type) -> Describer:
    """Return what describes a type. It asks the type, not the object, which may pretend to be another."""
    for base in kind.__mro__:
        found = _FOREIGN.get(_short(_qualified(base)))
        if found is not None:
            return found
    return next((describer for kinds, describer in _OWN if issubclass(kind, kinds)), describe_structure)


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(qualified: str) -> str:
    """Return the first and the last part of a qualified name: libraries move their classes about inside."""
    first, *_, last = qualified.split(".")
    return f"{first}.{last}"


def _describe_bytes(value: Any, chars: int) -> Collected | str:
    """Describe bytes: as a picture if they are one."""
    data = bytes(value)
    if media_type_of(data) is not None:
        return image_block(data)
    return safe_repr(data, chars // 5)  # most bytes take four characters


def _describe_exception(error: Any, chars: int) -> Collected | str:
    text = "".join(traceback.format_exception(error)).rstrip()
    if "\n" not in text:
        return text
    collected = bounded(text, chars, "traceback")
    return Collected(parts=(fenced(collected.text),), notes=collected.notes)


_FOREIGN: Mapping[str, Describer] = {
    "claude_magic.Reply": lambda reply, chars: Collected(parts=(reply.text,)),  # all of it, as of a string
    "pandas.DataFrame": describe_frame,
    "pandas.Series": describe_series,
    "pandas.Index": describe_index,
    "pandas.BaseGroupBy": describe_grouping,
    "pandas.BaseWindow": describe_window,
    "pandas.Styler": describe_styler,
    "numpy.ndarray": describe_array,
    "torch.Tensor": describe_array,
    "matplotlib.Figure": describe_figure,
    "matplotlib.Artist": describe_artist,
    "seaborn.Grid": lambda grid, chars: describe_figure(grid.figure, chars),
    "IPython.Image": lambda image, chars: _describe_bytes(image.data, chars),
    "PIL.Image": describe_picture,
    "plotly.BaseFigure": describe_plot,
}

_OWN: Sequence[tuple[tuple[type, ...], Describer]] = (
    ((bytes, bytearray, memoryview), _describe_bytes),
    (
        (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, MethodDescriptorType),
        describe_source,
    ),
    ((BaseException,), _describe_exception),
)


def _collected(described: str | Part | Collected, chars: int) -> Collected:
    if isinstance(described, Collected):
        return described
    if isinstance(described, str):
        return bounded(described, chars)
    if isinstance(described, dict):
        return Collected(parts=(described,))
    raise TypeError(f"its description is of type {type(described).__name__}, not text or a content block")


def _redacted(collected: Collected) -> Collected:
    labels: list[str] = list(collected.redacted)
    parts = tuple(_redacted_parts(collected.parts, labels))
    return dataclasses.replace(collected, parts=parts, redacted=tuple(dict.fromkeys(labels)))


def _redacted_parts(parts: Sequence[Part], labels: list[str]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, str):
            text, found = redact(part)
            labels.extend(found)
            yield text
        else:
            yield part
