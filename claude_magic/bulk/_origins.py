"""The origins of map results: which map made a table, and which of its columns are answers.

Column names are not sufficient: a table may have its own columns `answer` and `error`. So two fingerprints of each row
of a result are kept: eight bytes for the values that the prompt read, and eight for the answer. They also match copies,
filtered and merged tables, and tables of other libraries with the same rows.
"""

from __future__ import annotations

import contextlib
import json
import weakref
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..client import ConfigurationError
from ..context import safe_repr
from ._rows import Rows, WithErrors, as_rows

_CHUNK: Final = 4_096
_MAX_REMEMBERED: Final = 64
"""Number of results whose columns are recognised in this process."""
_LONGEST_REPR: Final = 1_000_000
_EMPTY: Final = 0
"""Fingerprint of a row whose answer and error are null."""


@dataclass(frozen=True, slots=True)
class MapColumns:
    """The columns that a map adds to a table, with fingerprints of its result.

    Attributes:
        answers: Names of the answer columns.
        error: Name of the error column.
        read: Columns of the input that the prompt reads.
        rows: Fingerprint of the values read, by row of the result.
        values: Fingerprint of the answer and its error, by row of the result.
        reasons: Fingerprints of the reasons for missing answers.
    """

    answers: tuple[str, ...]
    error: str
    read: tuple[str, ...]
    rows: array[int] = field(default_factory=lambda: array("q"))
    values: array[int] = field(default_factory=lambda: array("q"))
    reasons: set[int] = field(default_factory=set)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all added columns."""
        return (*self.answers, self.error)

    def empty(self) -> MapColumns:
        """Return the same columns, without fingerprints."""
        return MapColumns(self.answers, self.error, self.read)

    def is_like(self, other: MapColumns) -> bool:
        """Return whether both read and add the same columns."""
        return (self.answers, self.error, self.read) == (other.answers, other.error, other.read)

    def take(self, result: Rows) -> None:
        """Add the fingerprints of a result."""
        for row, value, reason in self._fingerprints(result):
            self.rows.append(row)
            self.values.append(value)
            if reason is not None:
                self.reasons.add(hash(reason))

    def matches(self, table: Rows, *, is_result: bool) -> bool:
        """Return whether the columns of these names in a table were made by this map, with no value from elsewhere.

        Rows whose input changed, and new rows without an answer, are allowed.

        Args:
            table: The table.
            is_result: The table is known to be the map's result, although its rows may have changed.
        """
        if not {*self.columns, *self.read} <= {*table.columns, *table.answer_columns}:
            return False
        pairs, known, given = set(zip(self.rows, self.values, strict=True)), set(self.rows), set(self.values)
        for row, value, _ in self._fingerprints(table):
            if (row, value) in pairs:
                is_result = True
            elif value != _EMPTY and (row in known or value not in given):
                return False
        return is_result

    def has_reasons(self, reasons: Iterable[Any]) -> bool:
        """Return whether all of these reasons come from this map."""
        return all(isinstance(reason, str) and hash(reason) in self.reasons for reason in reasons)

    def _fingerprints(self, table: Rows) -> Iterator[tuple[int, int, Any]]:
        made = [table.answer_columns.get(name, name) for name in self.columns]
        for start in range(0, table.count, _CHUNK):
            for row in table.read(start, start + _CHUNK, [*self.read, *made]):
                values = [row[name] for name in made]
                is_empty = all(value is None for value in values)
                value = _EMPTY if is_empty else _hash(values)
                yield _hash(row[name] for name in self.read), value, values[-1]


def _hash(values: Iterable[Any]) -> int:
    plain = tuple(None if isinstance(value, float) and value != value else value for value in values)
    try:
        return hash(plain)
    except Exception:  # lists and dicts, and objects of the user's, which may raise anything
        return hash(_text_of(plain))


def _text_of(values: tuple[Any, ...]) -> str:
    try:
        return json.dumps(values, default=_as_json, sort_keys=True)
    except Exception:  # a dict with keys of several types, a list that contains itself
        return safe_repr(values, _LONGEST_REPR)


def _as_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


_recent: deque[MapColumns] = deque(maxlen=_MAX_REMEMBERED)
_origins: dict[int, tuple[weakref.ref[Any], Any, MapColumns | None]] = {}


def remember_origin(result: Any, origin: Any, made: MapColumns | None) -> None:
    """Remember the origin of a result for its lifetime, and its columns for the lifetime of the process.

    Args:
        result: The result.
        origin: Object that `origin_of` returns for the result.
        made: Columns that the map added, if the result is a table.
    """
    if made is not None:
        made.take(as_rows(result))
        _recent.append(made)
    mark = id(result)
    with contextlib.suppress(TypeError):  # tables that do not support weak references
        _origins[mark] = (weakref.ref(result, lambda _gone: _origins.pop(mark, None)), origin, made)


def _lookup(result: Any) -> tuple[Any, MapColumns | None] | None:
    found = _origins.get(id(result))
    return None if found is None or found[0]() is not result else found[1:]


def origin_of(result: Any) -> Any:
    """Return the origin of a result.

    Raises:
        ConfigurationError: The object is not a result of a map, or is a copy of one.
    """
    if (found := _lookup(result)) is None:
        raise ConfigurationError(
            "This is not a result of a map of this kernel, or it is a copy. Run the line of the map again: it asks the rows without an answer."
        )
    return found[0]


def check_columns(added: MapColumns, table: Rows, items: Any, *, is_extended: bool) -> None:
    """Check that a map replaces no columns of the input, except those made by an earlier map.

    Args:
        added: Columns that the map adds.
        table: Rows of the input.
        items: The input, as passed.
        is_extended: The result has more rows than the input, so it cannot replace an earlier one.

    Raises:
        ConfigurationError: A column of the input would be lost.
    """
    taken = [name for name in added.columns if name in table.answer_columns]
    if not taken:
        return
    why = _conflict_reason(added, taken, table, items, is_extended=is_extended)
    if why is None:
        return
    raise ConfigurationError(
        f"The table has a column {taken[0]} already, and an answer would go there. {why} Rename or drop the column, or name those of the "
        "answers differently (in Python, prefix='claude_'). Nothing was sent."
    )


def _conflict_reason(
    added: MapColumns, taken: Sequence[str], table: Rows, items: Any, *, is_extended: bool
) -> str | None:
    if is_extended:
        return "With repeat= it is never replaced."
    if read := [name for name in taken if table.answer_columns[name] in added.read]:
        return f"The prompt reads {read[0]}, which would be lost."
    found = _lookup(items)
    if taken == [added.error]:
        return "It may contain the errors of another answer column."
    own = None if found is None else found[1]
    is_known = any(
        {*taken} <= {*made.columns} and made.matches(table, is_result=own is not None and made.is_like(own))
        for made in _joined_by_columns([*_recent, *([] if own is None or own in _recent else [own])])
    )
    return None if is_known else "It was not made by a map of this kernel, or was changed since."


def _joined_by_columns(results: Iterable[MapColumns]) -> list[MapColumns]:
    """Return results of maps that read and add the same columns as one: their rows may be concatenated."""
    joined: list[MapColumns] = []
    for made in results:
        if (same := next((each for each in joined if each.is_like(made)), None)) is None:
            joined.append(same := made.empty())
        same.rows.extend(made.rows)
        same.values.extend(made.values)
    return joined


def failed_rows(result: Any, column: str | None) -> Any:
    """Return the failed rows of a table, as a table of the same kind; or the reasons by position or key for a list or dict.

    Args:
        result: Result of a map, or a part of it.
        column: Name of the error column; None for the one that the map added.

    Raises:
        ConfigurationError: The object is not a result of a map, or has no such column.
    """
    if isinstance(result, WithErrors):
        return dict(result.errors)
    import narwhals.stable.v2 as nw

    frame = nw.from_native(result, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        raise ConfigurationError(f"This is not a result of a map: its type is {type(result).__name__}.")
    # With multi-level columns, the map's columns have names in the top level only.
    labels = {(name[0] if isinstance(name, tuple) else name): name for name in reversed(frame.columns)}
    errors = {name: frame.get_column(label) for name, label in labels.items()}
    name = _error_column(result, errors) if column is None else column
    if name not in errors:
        raise ConfigurationError(
            f"This is not a result of a map: it has no column {name}. If prefix= was given, name the column: 'PREFIXerror'."
        )
    return frame.filter(~errors[name].is_null()).to_native()


def _error_column(result: Any, columns: dict[str, Any]) -> str:
    """Return the name of the error column that a map of this kernel added.

    Raises:
        ConfigurationError: The table has a column `error` that no map of this kernel made.
    """
    if (found := _lookup(result)) is not None and found[1] is not None:
        return found[1].error
    for made in reversed(_recent):
        if made.error in columns and made.has_reasons(columns[made.error].drop_nulls().to_list()):
            return made.error
    if "error" in columns and columns["error"].null_count() < len(columns["error"]):
        raise ConfigurationError(
            "No map of this kernel has made the column error of this table, or it was changed since. If it says why rows have no answer, "
            "name it: claude.errors(df, 'error')."
        )
    return "error"
