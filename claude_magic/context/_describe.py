"""What an object becomes in a prompt. Types of other libraries are known by name, so that none is imported for it.

Others teach it theirs: with a method `_repr_claude_`, or with `register`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

from ._arrays import describe_array
from ._collected import Collected, Part
from ._frames import describe_frame, describe_series
from ._pictures import describe_figure, describe_picture, describe_plot
from ._redaction import redact
from ._safely import bounded, safe_repr
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

    What is collected from inside an object is redacted; a plain string or number that the user names is theirs to send.

    Args:
        value: The object.
        name: What it is called in the prompt.
        max_tokens: About how much it may take, in model tokens.
    """
    chars = max(200, round(max_tokens * CHARS_PER_TOKEN))
    try:
        collected = _collected(_describe(value, chars))
    except Exception as error:  # whatever foreign code does, the prompt shall go out
        what = f"{{{{ {name} }}}}" if name else type(value).__name__
        note = f"{what} could not be described ({type(error).__name__}), so its repr is sent."
        collected = Collected(parts=(safe_repr(value, chars),), notes=(note,))
    return collected if isinstance(value, str | int | float) else _redacted(collected)


def _describe(value: object, chars: int) -> str | Part | Collected:
    own = getattr(type(value), "_repr_claude_", None)
    if own is not None:
        return own(value)  # type: ignore[no-any-return]
    describer = _describer_of(value)
    return safe_repr(value, chars) if describer is None else describer(value, chars)


def _describer_of(value: object) -> Describer | None:
    for kind in type(value).__mro__:
        qualified = f"{kind.__module__}.{kind.__qualname__}"
        found = _registered.get(kind) or _registered.get(qualified) or _FOREIGN.get(_short(qualified))
        if found is not None:
            return found
    return next((describer for kinds, describer in _OWN if isinstance(value, kinds)), None) or (
        describe_structure if dataclasses.is_dataclass(value) and not isinstance(value, type) else None
    )


def _short(qualified: str) -> str:
    """Return the first and the last part of a qualified name: libraries move their classes about inside."""
    first, *_, last = qualified.split(".")
    return f"{first}.{last}"


def _describe_text(value: Any, chars: int) -> Collected:
    text = value if isinstance(value, str) else repr(bytes(value[:chars]))
    return bounded(text, chars)


_FOREIGN: Mapping[str, Describer] = {
    "pandas.DataFrame": describe_frame,
    "pandas.Series": describe_series,
    "pandas.Index": describe_series,
    "numpy.ndarray": describe_array,
    "torch.Tensor": describe_array,
    "matplotlib.Figure": describe_figure,
    "matplotlib.Axes": lambda axes, chars: describe_figure(axes.get_figure(), chars),
    "PIL.Image": describe_picture,
    "plotly.BaseFigure": describe_plot,
    "pydantic.BaseModel": describe_structure,
}

_CODE: tuple[type, ...] = (
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
)

_OWN: Sequence[tuple[tuple[type, ...], Describer]] = (
    ((str, bytes, bytearray), _describe_text),
    (_CODE, describe_source),
    ((PurePath,), lambda path, _chars: str(path)),
    ((Mapping, list, tuple, Set), describe_structure),
)


def _collected(described: str | Part | Collected) -> Collected:
    if isinstance(described, Collected):
        return described
    if isinstance(described, str | dict):
        return Collected(parts=(described,))
    raise TypeError(f"_repr_claude_ returned {type(described).__name__}")


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
