"""Dicts, lists, models and the like, as bounded text that looks like JSON."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ._collected import Collected
from ._safely import bounded, safe_repr
from ._scalars import is_numpy_scalar, plain_text

_MAX_ITEMS = (200, 100, 30)
"""In a container, in one inside it, and in any deeper one."""
_MAX_DEPTH = 8
_MAX_LEAF_CHARS = 500
_MAX_KEY_CHARS = 80
_MAX_SMALL_TABLE = 20
_LINE = 100
_SHORT = 24
"""Characters of an item of which several stand on a line."""


def describe_structure(value: Any, chars: int) -> Collected:
    """Describe nested data in about `chars` characters."""
    text = _Rendering(chars).render(value, depth=0, above=())
    collected = bounded(text, chars, "structure")
    if "\n" not in text:
        return collected
    return Collected(parts=(f"\n{collected.text}\n",), notes=collected.notes)


@dataclass(frozen=True, slots=True)
class _Items:
    """What is in a container: its brackets, its items with what stands before each, and their number."""

    opening: str
    closing: str
    pairs: Iterable[tuple[str, Any]]
    length: int


class _Rendering:
    """One description, which stops to go into things when the room is used up."""

    def __init__(self, chars: int) -> None:
        self._room = chars

    def render(self, value: Any, *, depth: int, above: tuple[int, ...]) -> str:
        if id(value) in above:
            return "<itself again>"
        items = _items_of(value)
        if items is None:
            leaf = _leaf(value) if depth else safe_repr(value, self._room)
            self._room -= len(leaf)
            return leaf
        if depth == _MAX_DEPTH:
            return "…"
        lines = [*self._lines(items, depth, (*above, id(value)))]
        return _laid_out(items, lines, "  " * depth)

    def _lines(self, items: _Items, depth: int, above: tuple[int, ...]) -> Iterator[str]:
        shown = 0
        for prefix, item in islice(items.pairs, _MAX_ITEMS[min(depth, len(_MAX_ITEMS) - 1)]):
            if self._room <= 0:
                break
            self._room -= len(prefix) + 2
            yield f"{prefix}{self.render(item, depth=depth + 1, above=above)}"
            shown += 1
        if shown < items.length:
            yield f"… {items.length - shown:,} more"


def _laid_out(items: _Items, lines: Sequence[str], indent: str) -> str:
    """Put items on one line if they fit, short ones on few lines, others on one line each."""
    text = f"{items.opening}{', '.join(lines)}{items.closing}"
    if len(text) + len(indent) <= _LINE and "\n" not in text:
        return text
    inner = f"{indent}  "
    rows = _packed(lines) if all(len(line) <= _SHORT and "\n" not in line for line in lines) else lines
    return f"{items.opening}\n{inner}" + f",\n{inner}".join(rows) + f"\n{indent}{items.closing}"


def _packed(lines: Sequence[str]) -> list[str]:
    rows: list[str] = []
    for line in lines:
        if rows and len(rows[-1]) + len(line) + 2 <= _LINE:
            rows[-1] += f", {line}"
        else:
            rows.append(line)
    return rows


def _items_of(value: Any) -> _Items | None:
    """Return what is in a container; None for what is none."""
    kind = type(value)
    if issubclass(kind, str | bytes | bytearray | type):
        return None
    for is_such, items_of in _KINDS:
        if is_such(kind):
            return items_of(value)
    return None


def _fields_of_dataclass(value: Any) -> _Items:
    # What a class keeps out of its repr is kept out here: often it is a password.
    shown = [field.name for field in dataclasses.fields(value) if field.repr]
    return _fields(value, {name: getattr(value, name, None) for name in shown})


def _fields_of_object(value: Any) -> _Items:
    return _fields(value, {name: item for name, item in vars(value).items() if not name.startswith("_")})


def _fields(value: Any, fields: Mapping[str, Any]) -> _Items:
    pairs = ((f"{name}=", item) for name, item in fields.items())
    return _Items(f"{type(value).__name__}(", ")", pairs, len(fields))


def _items_of_mapping(value: Any) -> _Items:
    pairs = ((f"{_key(key)}: ", item) for key, item in value.items())
    opening, closing = _brackets(value, dict, "{", "}")
    return _Items(opening, closing, pairs, len(value))


def _items_of_sequence(value: Any) -> _Items:
    kind, first, last = (tuple, "(", ")") if isinstance(value, tuple) else (list, "[", "]")
    opening, closing = _brackets(value, kind, first, last)
    return _Items(opening, closing, (("", item) for item in value), len(value))


def _items_of_set(value: Any) -> _Items:
    opening, closing = _brackets(value, set, "{", "}") if value else (f"{type(value).__name__}(", ")")
    return _Items(opening, closing, (("", item) for item in value), len(value))


def _brackets(value: Any, plain: type, opening: str, closing: str) -> tuple[str, str]:
    """Return the brackets of a container, with its name where it is of no plain type."""
    if type(value) is plain:
        return opening, closing
    return f"{type(value).__name__}({opening}", f"{closing})"


def _is_bare(kind: type) -> bool:
    """Tell objects whose own repr says nothing but where they are."""
    return getattr(kind, "__repr__", None) is object.__repr__ and kind.__dictoffset__ != 0


_KINDS: Sequence[tuple[Callable[[type], bool], Callable[[Any], _Items]]] = (
    (dataclasses.is_dataclass, _fields_of_dataclass),
    (lambda kind: hasattr(kind, "model_fields"), lambda value: _fields(value, dict(value.__repr_args__()))),
    (lambda kind: issubclass(kind, Mapping), _items_of_mapping),
    (
        lambda kind: issubclass(kind, tuple) and hasattr(kind, "_asdict"),
        lambda value: _fields(value, value._asdict()),
    ),
    (lambda kind: issubclass(kind, list | tuple | deque), _items_of_sequence),
    (lambda kind: issubclass(kind, Set), _items_of_set),
    (_is_bare, _fields_of_object),
)


def _key(key: object) -> str:
    return safe_repr(key, _MAX_KEY_CHARS)


def _leaf(value: Any) -> str:
    if is_numpy_scalar(value):
        return plain_text(value) or safe_repr(value, _MAX_LEAF_CHARS)
    return _table(value) or safe_repr(value, _MAX_LEAF_CHARS)


def _table(value: Any) -> str:
    """Name a table or an array inside something else by its shape; "" for anything else, and for a small one."""
    kind = type(value)
    if kind.__module__.partition(".")[0] not in ("pandas", "numpy", "polars", "torch"):
        return ""
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or _product(shape) <= _MAX_SMALL_TABLE:
        return ""
    dtype = getattr(value, "dtype", None)
    return f"<{kind.__name__} {' × '.join(f'{length:,}' for length in shape)}{f' {dtype}' if dtype else ''}>"


def _product(lengths: Iterable[int]) -> int:
    product = 1
    for length in lengths:
        product *= length
    return product
