"""DataFrames and Series: shape, types, what is missing, statistics, the first and last rows. Nothing is copied whole.

What is cheap over all rows is told of all rows: extremes, means and missing values of numbers and dates, read in pieces.
What is not (quartiles, what is most common, anything about objects) comes, beyond `_SAMPLE_ROWS`, from rows at equal
distances, and the text says so.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ._collected import Collected
from ._safely import one_line
from ._tallies import Tally, is_countable, is_numeric, tally

_SAMPLE_ROWS = 20_000
_EDGE_ROWS = 5
_MAX_COLUMNS = 40
_MIN_COLUMNS = 4
_MAX_COUNTED_COLUMNS = 10_000
_MAX_CELL_CHARS = 60
_MOST_COMMON = 3


def describe_frame(frame: Any, chars: int) -> Collected:
    """Describe a pandas DataFrame in about `chars` characters."""
    rows, columns = frame.shape
    described = min(columns, _MAX_COLUMNS)
    sample = _sample(frame).iloc[:, :described]  # rows first: before pandas 3, a slice of columns is a copy
    notes: list[str] = []
    parts = [f"DataFrame: {rows:,} rows × {columns:,} columns"]
    if described < columns:
        parts[0] += f" (the first {described} are described; {_rest(frame)})"
        notes.append(f"Of {columns:,} columns, the first {described} are described.")
    if len(sample) < rows:
        notes.append(_note_on(sample, rows))
    if columns:
        tallies = [tally(frame.iloc[:, index], sample.iloc[:, index]) for index in range(described)]
        parts.append(_columns(sample, tallies, is_sampled=len(sample) < rows))
        if rows:
            parts.append(_statistics(sample, tallies, rows))
            parts.append(_edges(frame, described, room=chars - sum(map(len, parts))))
    return _fitted(parts, chars, notes)


def describe_series(series: Any, chars: int) -> Collected:
    """Describe a pandas Series in about `chars` characters."""
    rows = len(series)
    is_named = series.name is not None
    frame = series.to_frame() if is_named else series.to_frame("values")
    sample = _sample(frame)
    counted = tally(series, sample.iloc[:, 0])
    where = " in the sample" if len(sample) < rows and not counted.is_exact else ""
    missing = f", {counted.missing:,} missing{where}" if counted.missing else ""
    heading = f"Series {_label(series.name)}" if is_named else "Series"
    parts = [f"{heading}: {rows:,} values of type {one_line(series.dtype, _MAX_CELL_CHARS)}{missing}"]
    if rows:
        parts += [_statistics(sample, [counted], rows), _edges(frame, 1, room=chars)]
    return _fitted(parts, chars, [_note_on(sample, rows)] if len(sample) < rows else [])


def describe_index(index: Any, chars: int) -> Collected:
    """Describe a pandas Index in about `chars` characters."""
    length = len(index)
    labels = [_label(label) for label in index[: 2 * _EDGE_ROWS].tolist()]
    if length > 2 * _EDGE_ROWS:
        labels[_EDGE_ROWS:] = ["…", *(_label(label) for label in index[-_EDGE_ROWS:].tolist())]
    heading = f"{type(index).__name__}: {length:,} labels of type {index.dtype}"
    return _fitted([heading, ", ".join(labels)], chars, [])


def _sample(data: Any) -> Any:
    """Return rows at equal distances: a view where the data allow one, never a copy of all."""
    return data if len(data) <= _SAMPLE_ROWS else data.iloc[:: _step(len(data))]


def _step(rows: int) -> int:
    return -(-rows // _SAMPLE_ROWS)


def _note_on(sample: Any, rows: int) -> str:
    return f"Quartiles and common values of the table are from {len(sample):,} of its {rows:,} rows."


def _rest(frame: Any) -> str:
    """Count the types of the columns that are not described."""
    types = frame.dtypes.iloc[_MAX_COLUMNS : _MAX_COLUMNS + _MAX_COUNTED_COLUMNS]
    counted = Counter(map(str, types.tolist())).most_common(_MOST_COMMON)
    return "of the others " + ", ".join(f"{count:,} are {name}" for name, count in counted)


def _columns(sample: Any, tallies: list[Tally], *, is_sampled: bool) -> str:
    lines = []
    for name, dtype, counted in zip(sample.columns.tolist(), sample.dtypes.tolist(), tallies, strict=True):
        where = " in the sample" if is_sampled and not counted.is_exact else ""
        missing = f", {counted.missing:,} missing{where}" if counted.missing else ""
        lines.append(f"- {_label(name)}: {one_line(dtype, _MAX_CELL_CHARS)}{missing}")
    return "Columns:\n" + "\n".join(lines)


def _statistics(sample: Any, tallies: list[Tally], rows: int) -> str:
    is_sampled = len(sample) < rows
    numbers = [index for index in range(sample.shape[1]) if is_numeric(sample.iloc[:, index])]
    others = [index for index in range(sample.shape[1]) if index not in numbers]
    tables = [_quartiles(sample.iloc[:, numbers], [tallies[index] for index in numbers])] if numbers else []
    tables += [_values(sample.iloc[:, index], tallies[index]) for index in others]
    if not is_sampled:
        return "Statistics:\n" + "\n".join(tables)
    is_exact = any(tallies[index].is_exact for index in numbers)
    of_all = "; of numbers, count, mean, min and max are of all rows" if is_exact else ""
    return f"Statistics (from one row in {_step(rows)}{of_all}):\n" + "\n".join(tables)


def _quartiles(numbers: Any, tallies: list[Tally]) -> str:
    """Return pandas' own table of statistics, with what was read from all rows in its place."""
    table = numbers.describe().T.astype(object).map(lambda value: _number(value, digits=4))
    for column in ("count", "mean", "min", "max"):
        table[column] = [_number(getattr(counted, column), digits=6) for counted in tallies]
    table.index = [_label(name) for name in numbers.columns.tolist()]
    return str(table.to_string())


def _values(column: Any, counted: Tally) -> str:
    """Say what is in a column that holds no numbers: the span of dates, else what is most common."""
    name = _label(column.name)
    if not counted.count:
        return f"{name}: nothing but missing"
    if is_countable(column):
        return f"{name}: from {counted.min} to {counted.max}"
    try:
        counts = column.value_counts()
    except Exception:  # lists and dicts in the cells, and objects that cannot be compared
        kinds = Counter(type(value).__name__ for value in column.tolist()).most_common(_MOST_COMMON)
        return f"{name}: of type " + ", ".join(f"{kind} ({count:,}×)" for kind, count in kinds)
    counts = counts[counts > 0]
    common = ", ".join(f"{_label(value)} ({count:,}×)" for value, count in counts.head(_MOST_COMMON).items())
    return (
        f"{name}: {len(counts):,} distinct; most common: {common}"
        if common
        else f"{name}: nothing but missing"
    )


def _edges(frame: Any, columns: int, *, room: int) -> str:
    """Return the first and the last rows, of as many of the first columns as there is room for."""
    text = _rows(frame, columns)
    while len(text) > room and columns > _MIN_COLUMNS:
        columns = max(_MIN_COLUMNS, columns // 2)
        text = f"{_rows(frame, columns)}\n(of the first {columns} columns)"
    return text


def _rows(frame: Any, columns: int) -> str:
    if len(frame) <= 2 * _EDGE_ROWS:
        return f"All rows:\n{_table(frame.iloc[:, :columns])}"
    first, last = frame.head(_EDGE_ROWS).iloc[:, :columns], frame.tail(_EDGE_ROWS).iloc[:, :columns]
    return f"First rows:\n{_table(first)}\nLast rows:\n{_table(last)}"


def _table(frame: Any) -> str:
    """Write few rows out. Labels are shortened where they are plain; those of several levels are left to pandas."""
    shown = frame.astype(object).map(_cell)
    for axis in ("index", "columns"):
        labels = getattr(shown, axis)
        if labels.nlevels == 1:
            setattr(shown, axis, [_label(label) for label in labels.tolist()])
    return str(shown.to_string())


def _cell(value: Any) -> Any:
    """Shorten what would make a table unreadable, and big: long texts, nested lists."""
    if type(value) in (bool, int, float, complex):
        return value
    return one_line(value, _MAX_CELL_CHARS)


def _label(value: Any) -> str:
    return one_line(value, _MAX_CELL_CHARS)


def _number(value: Any, *, digits: int) -> str:
    """Write a statistic: whole numbers in full."""
    is_fraction = hasattr(value, "__float__") and not hasattr(value, "__index__")
    return f"{float(value):.{digits}g}" if is_fraction else one_line(value, _MAX_CELL_CHARS)


def _fitted(parts: list[str], chars: int, notes: list[str]) -> Collected:
    """Join the parts; what is too long is cut at the end of a line, which is said."""
    text = "\n\n".join(parts)
    if len(text) > chars:
        text = text[:chars].rpartition("\n")[0] or text[:chars]
        notes.append(f"The description of a table was cut to {len(text):,} characters.")
        text += "\n[… the rest of the description was left out]"
    return Collected(parts=(f"\n{text}\n",), notes=tuple(notes))
