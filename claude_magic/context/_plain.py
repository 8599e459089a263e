"""Converts scalars and arrays of other libraries into plain Python data.

Types of other libraries are matched by name, so none is imported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Final

from ._collected import plain_text

_DEEPEST: Final = 50
_MOST_VALUES: Final = 10_000
"""Values in one container; a larger one is described, not written out."""
_MOST_IN_ALL: Final = 100_000
"""Values in nested containers. A list that contains itself twice would have 2 ** 50."""
_ARRAYS: Final = frozenset(
    {
        "numpy.ndarray",
        "pyarrow.Array",
        "pyarrow.ChunkedArray",
        "polars.Series",
        "pandas.ExtensionArray",
        "pandas.Index",
    }
)


def _names(kind: type) -> Iterable[str]:
    """Yield the names of a type and its bases, as "library.Class"."""
    return (f"{base.__module__.partition('.')[0]}.{base.__qualname__}" for base in kind.__mro__)


def unwrapped(value: Any) -> Any:
    """Return the Python value of an Arrow scalar; anything else as it is."""
    kind = type(value)
    if kind.__module__ != "pyarrow.lib" or "pyarrow.Scalar" not in _names(kind):
        return value
    try:
        return value.as_py()
    except Exception:  # a struct with a repeated name, a time with nanoseconds
        return str(value)


def array_items(value: Any, most: int, *, dimensions: int) -> Any:
    """Return an array as a list, and a 0-dimensional one as a scalar; anything else, and a larger array, as it is."""
    if _ARRAYS.isdisjoint(_names(type(value))):
        return value
    shape = getattr(value, "shape", None)
    if shape == ():
        return value[()]
    is_small = (len(shape) if isinstance(shape, tuple) else 1) <= dimensions and len(value) <= most
    return list(value) if is_small else value


def leaf_text(value: Any) -> str | None:
    """Return the text of a single value in a container: strings in quotes, others like `plain_text`; else None."""
    if type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return "None"
    if isinstance(value, str | bytes):
        return repr(str.__str__(value)) if isinstance(value, str) else None
    return plain_text(value)


def written(value: Any) -> str | None:
    """Return plain data in full, in Python notation on one line; None for other data, or for too many values.

    Args:
        value: Numbers, strings, dates and the like, in lists, tuples, sets, dicts and arrays: up to 10,000 in one container, 100,000 in
            all, and 50 levels deep.
    """
    try:
        return _written(value, 0, iter(range(_MOST_IN_ALL)))
    except Exception:  # too many values; and the user's containers may raise anything
        return None


def _written(value: Any, depth: int, places: Iterator[int]) -> str | None:
    next(places)
    value = array_items(unwrapped(value), _MOST_VALUES, dimensions=_DEEPEST)
    if (leaf := leaf_text(value)) is not None or depth > _DEEPEST:
        return leaf
    kind = type(value)
    is_container = issubclass(kind, Mapping | list | tuple | deque | Set) and not hasattr(kind, "_fields")
    if not is_container or len(value) > _MOST_VALUES:
        return None
    items = [_written(each, depth + 1, places) for each in value]
    if issubclass(kind, Mapping):
        of_keys = [_written(each, depth + 1, places) for each in value.values()]
        pairs = zip(items, of_keys, strict=True)
        return _joined("{", [None if None in pair else ": ".join(map(str, pair)) for pair in pairs], "}")
    opening, closing = _brackets(kind, len(items))
    return _joined(opening, items, closing)


def _brackets(kind: type, length: int) -> tuple[str, str]:
    if issubclass(kind, tuple):
        return "(", ")"
    return ("{", "}") if issubclass(kind, Set) and length else ("[", "]")


def _joined(opening: str, items: list[str | None], closing: str) -> str | None:
    texts = [item for item in items if item is not None]
    return f"{opening}{', '.join(texts)}{closing}" if len(texts) == len(items) else None
