"""Dicts, lists, models and the like, as bounded text that looks like JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from itertools import islice
from typing import Any

from ._collected import Collected
from ._safely import bounded, safe_repr

_MAX_ITEMS = 200
_MAX_DEPTH = 8
_MAX_LEAF_CHARS = 500
_ONE_LINE = 80


def describe_structure(value: Any, chars: int) -> Collected:
    """Describe nested data in about `chars` characters."""
    return bounded(_render(value, depth=0, above=()), chars, "structure")


def _render(value: Any, *, depth: int, above: tuple[int, ...]) -> str:
    if id(value) in above:
        return "<itself again>"
    items = _items_of(value)
    if items is None:
        return safe_repr(value, _MAX_LEAF_CHARS)
    if depth == _MAX_DEPTH:
        return "…"
    opening, closing, pairs, length = items
    inside = (*above, id(value))
    lines = [
        f"{key}{_render(item, depth=depth + 1, above=inside)}" for key, item in islice(pairs, _MAX_ITEMS)
    ]
    if length > _MAX_ITEMS:
        lines.append(f"… {length - _MAX_ITEMS:,} more")
    one_line = f"{opening}{', '.join(lines)}{closing}"
    if len(one_line) <= _ONE_LINE and "\n" not in one_line:
        return one_line
    indent = "  " * (depth + 1)
    return f"{opening}\n{indent}" + f",\n{indent}".join(lines) + f"\n{'  ' * depth}{closing}"


def _items_of(value: Any) -> tuple[str, str, Iterator[tuple[str, Any]], int] | None:
    """Return brackets, items with their keys, and the number of items; None for what has none."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return f"{type(value).__name__}(", ")", _named(fields), len(fields)
    if hasattr(type(value), "model_fields"):
        fields = dict(value)
        return f"{type(value).__name__}(", ")", _named(fields), len(fields)
    match value:
        case Mapping():
            pairs = ((f"{safe_repr(key, _ONE_LINE)}: ", item) for key, item in value.items())
            return "{", "}", pairs, len(value)
        case list():
            return "[", "]", _unnamed(value), len(value)
        case tuple() if hasattr(value, "_asdict"):
            return f"{type(value).__name__}(", ")", _named(value._asdict()), len(value)
        case tuple():
            return "(", ")", _unnamed(value), len(value)
        case Set():
            return "{", "}", _unnamed(value), len(value)
    return None


def _named(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{name}=", item) for name, item in fields.items())


def _unnamed(values: Any) -> Iterator[tuple[str, Any]]:
    return (("", item) for item in values)
