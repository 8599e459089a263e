"""Renders data as text: single values, plain data in full, and dicts, lists, models and arrays in limited length."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, Final, Protocol
from uuid import UUID

from ._collected import Collected, bounded, one_line, safe_repr
from ._pictures import Lifted, is_address, without_addresses

# Single values, arrays of other libraries, and plain data. Types of other libraries are matched by name, so none is imported.
_PLAIN_NUMBERS: Final = frozenset({bool, int, float, complex, type(None)})
_READABLE: Final = (datetime.date, datetime.time, datetime.timedelta, Decimal, Fraction, PurePath, UUID)
_READABLE_NAMES: Final = frozenset({"numpy.generic", "pandas.Interval", "pandas.Period"})
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


def library_names(kind: type) -> Iterator[str]:
    """Yield the names of a type and its bases as "library.Class", because libraries move their classes between modules."""
    for base in kind.__mro__:
        yield f"{str(base.__module__).partition('.')[0]}.{base.__qualname__}"


def plain_text(value: Any) -> str | None:
    """Return the text of a single value such as a string, number or date; None for anything else.

    It is neither cut nor redacted: the user named exactly this value.
    """
    kind = type(value)
    try:
        if issubclass(kind, str):
            return str.__str__(value)
        if kind in _PLAIN_NUMBERS:
            return repr(value)
        if issubclass(kind, _READABLE) or not _READABLE_NAMES.isdisjoint(library_names(kind)):
            return str(value)
    except Exception:  # an integer with too many digits for Python, a broken subclass
        return None
    return None


def is_missing(value: object) -> bool:
    """Return whether a value is a missing one of pandas or numpy."""
    return type(value).__name__ in ("NAType", "NaTType", "MaskedConstant")


def unwrapped(value: Any) -> Any:
    """Return the Python value of an Arrow scalar; anything else as it is."""
    kind = type(value)
    if kind.__module__ != "pyarrow.lib" or "pyarrow.Scalar" not in library_names(kind):
        return value
    try:
        return value.as_py()
    except Exception:  # a struct with a repeated name, a time with nanoseconds
        return str(value)


def array_items(value: Any, most: int, *, dimensions: int) -> Any:
    """Return an array as a list, and a 0-dimensional one as a scalar; anything else, and a larger array, as it is."""
    if _ARRAYS.isdisjoint(library_names(type(value))):
        return value
    shape = getattr(value, "shape", None)
    if shape == ():
        return value[()]
    is_small = (len(shape) if isinstance(shape, tuple) else 1) <= dimensions and len(value) <= most
    return list(value) if is_small else value


def leaf_text(value: Any) -> str | None:
    """Return the text of a single value in a container: strings in quotes, others like `plain_text`; else None."""
    if is_missing(value):
        return "None"
    if isinstance(value, str):
        return repr(str.__str__(value))
    return None if isinstance(value, bytes) else plain_text(value)


def written(value: Any) -> str | None:
    """Return plain data in full, in Python notation on one line; None for other data, or for too many values.

    Args:
        value: Numbers, strings, dates and the like, in lists, tuples, sets, dicts and arrays: up to 10,000 in one container, 100,000 in
            all, and 50 levels deep.
    """
    try:
        return _written(value, 0, iter(range(_MOST_IN_ALL)))
    except Exception:  # the user's containers may raise anything, too
        return None


def _written(value: Any, depth: int, places: Iterator[int]) -> str:
    """Return the same.

    Raises:
        Exception: The data are not plain, or too many.
    """
    next(places)
    value = array_items(unwrapped(value), _MOST_VALUES, dimensions=_DEEPEST)
    if (leaf := leaf_text(value)) is not None:
        return leaf
    kind = type(value)
    is_container = issubclass(kind, Mapping | list | tuple | deque | Set) and not hasattr(kind, "_fields")
    if not is_container or len(value) > _MOST_VALUES or depth > _DEEPEST:
        raise ValueError("no plain data, or too many")
    if issubclass(kind, Mapping):
        pairs = (
            f"{_written(key, depth + 1, places)}: {_written(each, depth + 1, places)}"
            for key, each in value.items()
        )
        return f"{{{', '.join(pairs)}}}"
    items = ", ".join([_written(each, depth + 1, places) for each in value])
    if issubclass(kind, tuple):
        return f"({items})"
    return f"{{{items}}}" if issubclass(kind, Set) and items else f"[{items}]"


# Nested data in a notation like JSON, cut where it is long.
_MAX_ITEMS = (200, 100, 30)
"""Items shown of a container at depth 0, at depth 1, and deeper."""
_MAX_DEPTH = 8
_MAX_LEAF_CHARS = 500
_MAX_SMALL_ARRAY = 20
"""The largest array inside a container that is written as a list, in values."""
_MAX_KEY_CHARS = 80
_MAX_INNER_CHARS = 3_500
"""Characters of a table or another described object in a container."""
_MAX_OFFERS = 20
_INNER_ADDRESS = re.compile(r"(?<=.)<[\w.<>]+ object at 0x[0-9A-Fa-f]+>", re.DOTALL)
_ABSENT: Final = object()
_LINE = 100
_SHORT = 24
"""The longest item, in characters, of which several share a line."""


class Inner(Protocol):
    """Describes objects inside a container."""

    def __call__(self, value: Any, chars: int, *, with_picture: bool) -> Collected | None:
        """Return the description of an object; None for data and for objects whose `repr` is best."""
        ...


def describe_structure(value: Any, chars: int, inner: Inner) -> Collected:
    """Describe nested data in about `chars` characters, with image blocks in place.

    Args:
        value: The data, or an object that is described by its fields.
        chars: The approximate maximum number of characters.
        inner: Describes objects inside that are not data.
    """
    rendering = _Rendering(chars, inner)
    text = rendering.render(value, depth=0, above=())
    collected = bounded(text, chars, "structure")
    shown = collected.text if "\n" not in text else f"\n{collected.text}\n"
    parts = rendering.lifted.parts(shown)
    return Collected(parts=parts, notes=(*rendering.notes, *collected.notes, *rendering.lifted.notes()))


@dataclass(frozen=True, slots=True)
class _Items:
    """The contents of a container: brackets, pairs of prefix and item, and the number of items."""

    opening: str
    closing: str
    pairs: Iterable[tuple[str, Any]]
    length: int


class _Rendering:
    """The rendering of one value, which stops descending when the room is used up."""

    def __init__(self, chars: int, inner: Inner) -> None:
        self.lifted = Lifted()
        self.notes: dict[str, None] = {}
        self._room = chars
        self._inner = inner
        self._drawn: dict[int, Any] = {}  # holds the objects, so that their ids are not reused

    def render(self, value: Any, *, depth: int, above: tuple[int, ...]) -> str:
        value = unwrapped(value)
        if depth:
            value = array_items(value, _MAX_SMALL_ARRAY, dimensions=1)
        if id(value) in above:
            return "<itself again>"
        text = self._described(value) if depth else None
        items = _items_of(value) if text is None else None
        before = ""
        if text is None and items is None:
            text = self.lifted.plain(_leaf(value) if depth else safe_repr(value, self._room))
            if is_address(text):
                own_text = self.lifted.plain(_own_str(value, _MAX_LEAF_CHARS if depth else self._room))
                items = _public_fields(value)
                text = None if items else own_text or self._opaque(value)
                before = f"{own_text}\n" if own_text and items and not depth else ""
            elif not isinstance(value, str | bytes):
                if _INNER_ADDRESS.search(text):
                    self._note(f"Inside {type(value).__name__}, only the types of objects are sent.")
                text = without_addresses(text)
        if items is None:
            self._room -= len(text or "")
            return text or ""
        if depth == _MAX_DEPTH:
            return "…"
        lines = [*self._lines(items, depth, (*above, id(value)))]
        return before + _laid_out(items, lines, "  " * depth)

    def _described(self, value: Any) -> str | None:
        """Return the description of an object that is not data, with marks for images; None for data."""
        source = _picture_source(value)
        if id(source) in self._drawn:
            return "<the same picture>"
        described = self._inner(
            value, min(self._room // 4, _MAX_INNER_CHARS), with_picture=not self.lifted.is_full
        )
        if described is None:
            return None
        self.notes |= dict.fromkeys(described.notes)
        if any(not isinstance(part, str) for part in described.parts):
            self._drawn[id(source)] = source
        return self.lifted.marked(described.parts).strip("\n")

    def _opaque(self, value: Any) -> str:
        kind = type(value)
        self._note(
            f"Only the type of a {kind.__module__}.{kind.__qualname__} is sent: its repr shows nothing else."
        )
        offers = [name for name in dir(kind) if not name.startswith("_")]
        rest = f", and {len(offers) - _MAX_OFFERS} more" if len(offers) > _MAX_OFFERS else ""
        shown = f" with {', '.join(offers[:_MAX_OFFERS])}{rest}" if offers else ""
        return f"<{kind.__qualname__}{shown}>"

    def _note(self, note: str) -> None:
        self.notes.setdefault(note)

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


def _picture_source(value: Any) -> Any:
    """Return the figure of a matplotlib artist, so that several artists share one image; any other value as it is."""
    is_artist = "matplotlib.Artist" in library_names(type(value))
    return (getattr(value, "figure", None) or value) if is_artist else value


def _laid_out(items: _Items, lines: Sequence[str], indent: str) -> str:
    """Lay out items: all on one line if they fit, else short items several to a line, others one to a line."""
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
    """Return the contents of a container; None if a value is not a container."""
    kind = type(value)
    if issubclass(kind, str | bytes | bytearray | type):
        return None
    for is_such, items_of in _KINDS:
        if is_such(kind):
            return items_of(value)
    return None


def _public_fields(value: Any) -> _Items | None:
    """Return the public instance attributes and slots of an object; None if it has none."""
    names = list(getattr(value, "__dict__", None) or ())
    for kind in reversed(type(value).__mro__):
        slots = vars(kind).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    public = [name for name in names if isinstance(name, str) and not name.startswith("_")]
    found = {name: item for name in public if (item := getattr(value, name, _ABSENT)) is not _ABSENT}
    return _fields(value, found) if found else None


def _named_fields(value: Any, names: Iterable[str]) -> _Items:
    return _fields(value, {name: getattr(value, name, None) for name in names})


def _fields(value: Any, fields: Mapping[str, Any]) -> _Items:
    pairs = ((f"{name}=", item) for name, item in fields.items())
    return _Items(f"{type(value).__name__}(", ")", pairs, len(fields))


def _items_of_mapping(value: Any) -> _Items:
    pairs = ((f"{_key(key)}: ", item) for key, item in value.items())
    opening, closing = _brackets(value, dict, "{", "}")
    return _Items(opening, closing, pairs, len(value))


def _key(key: Any) -> str:
    text = written(key)
    return text if text is not None and len(text) <= _MAX_KEY_CHARS else safe_repr(key, _MAX_KEY_CHARS)


def _items_of_sequence(value: Any) -> _Items:
    kind, first, last = (tuple, "(", ")") if isinstance(value, tuple) else (list, "[", "]")
    opening, closing = _brackets(value, kind, first, last)
    return _Items(opening, closing, (("", item) for item in value), len(value))


def _items_of_set(value: Any) -> _Items:
    opening, closing = _brackets(value, set, "{", "}") if value else (f"{type(value).__name__}(", ")")
    return _Items(opening, closing, (("", item) for item in value), len(value))


def _items_of_values(value: Any) -> _Items:
    return _Items(f"{type(value).__name__}([", "])", (("", item) for item in value), len(value))


def _brackets(value: Any, plain: type, opening: str, closing: str) -> tuple[str, str]:
    """Return the brackets of a container, with the name of its type if it is a subclass."""
    if type(value) is plain:
        return opening, closing
    return f"{type(value).__name__}({opening}", f"{closing})"


_KINDS: Sequence[tuple[Callable[[type], bool], Callable[[Any], _Items]]] = (
    # Fields excluded from the repr are left out: they are often passwords.
    (
        dataclasses.is_dataclass,
        lambda value: _named_fields(value, (each.name for each in dataclasses.fields(value) if each.repr)),
    ),
    (
        lambda kind: isinstance(getattr(kind, "__attrs_attrs__", None), tuple),
        lambda value: _named_fields(value, (each.name for each in value.__attrs_attrs__ if each.repr)),
    ),
    (
        lambda kind: hasattr(kind, "__struct_fields__"),
        lambda value: _named_fields(value, value.__struct_fields__),
    ),
    (lambda kind: hasattr(kind, "model_fields"), lambda value: _fields(value, dict(value.__repr_args__()))),
    (lambda kind: issubclass(kind, Mapping), _items_of_mapping),
    (
        lambda kind: issubclass(kind, tuple) and hasattr(kind, "_asdict"),
        lambda value: _fields(value, value._asdict()),
    ),
    (lambda kind: issubclass(kind, list | tuple | deque), _items_of_sequence),
    (lambda kind: issubclass(kind, Set), _items_of_set),
    (lambda kind: issubclass(kind, ValuesView), _items_of_values),
    (
        lambda kind: issubclass(kind, SimpleNamespace | argparse.Namespace),
        lambda value: _fields(value, vars(value)),
    ),
)


def is_data(kind: type) -> bool:
    """Return whether values of a type are described by their contents: containers, records, models."""
    return not issubclass(kind, str | bytes | bytearray | type) and any(
        is_such(kind) for is_such, _ in _KINDS
    )


def _own_str(value: object, chars: int) -> str:
    """Return an object's `str` if its class defines one that is not just an address; else ""."""
    if type(value).__str__ is object.__str__:
        return ""
    text = "\n".join(one_line(line, chars) for line in str(value)[: 2 * chars].splitlines())
    return "" if is_address(text) else text


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        return safe_repr(str.__str__(value), _MAX_LEAF_CHARS)
    text = leaf_text(value)
    return text if text is not None and len(text) <= _MAX_LEAF_CHARS else safe_repr(value, _MAX_LEAF_CHARS)


_SMALL = 200
_SAMPLE = 1_000_000
_FIRST = 20
_MAX_VALUE_CHARS = 100
_NUMBERS = "iufb"


def describe_array(array: Any, chars: int) -> Collected:
    """Describe an array in about `chars` characters: in full if it is small, else by shape, type and statistics."""
    size = int(array.numel()) if hasattr(array, "numel") else int(array.size)
    heading = f"Array: {' × '.join(f'{length:,}' for length in array.shape) or 'scalar'}, {array.dtype}"
    is_simple = _kind_of(array) not in "OV"
    if size <= _SMALL and is_simple:
        return bounded(f"{heading}\n{safe_repr(array, chars)}", chars, "array")
    flat = _flat(array)
    step = max(1, -(-size // _SAMPLE))
    lines = [heading]
    if _kind_of(array) in _NUMBERS:
        lines += _statistics(flat[::step], is_sampled=step > 1)
    lines.append(f"first values: {_listed(flat[:_FIRST], is_all=size <= _FIRST)}")
    notes = (f"Statistics of an array are from one in {step} of its {size:,} values.",) if step > 1 else ()
    collected = bounded("\n".join(lines), chars, "array")
    return Collected(parts=(f"\n{collected.text}\n",), notes=(*notes, *collected.notes))


def _flat(array: Any) -> Any:
    """Return a flat view of an array that can be sliced, without a copy."""
    return array.flat if hasattr(array, "flat") else array.detach().reshape(-1)


def _kind_of(array: Any) -> str:
    """Return numpy's letter for the kind of a dtype; "f" for tensors of other libraries, which hold numbers."""
    return str(getattr(array.dtype, "kind", "f"))


def _statistics(sample: Any, *, is_sampled: bool) -> list[str]:
    is_number = sample == sample
    nan = len(sample) - int(is_number.sum())
    values = sample[is_number] if nan else sample
    if len(values) == 0:
        return ["all values are NaN"]
    facts = f"min {float(values.min()):.6g}, max {float(values.max()):.6g}, mean {_mean(values):.6g}"
    return [facts + (f", {nan:,} NaN" if nan else "") + (" (in the sample)" if is_sampled else "")]


def _mean(values: Any) -> float:
    if hasattr(values, "numel"):
        return float(values.float().mean())  # integer tensors have no mean
    return float(values.mean(dtype=float))


def _listed(values: Any, *, is_all: bool) -> str:
    shown = [
        f"{value:.6g}" if isinstance(value, float) else one_line(value, _MAX_VALUE_CHARS)
        for value in values.tolist()
    ]
    return ", ".join(shown if is_all else [*shown, "…"])
