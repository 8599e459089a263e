"""Describes tables and columns: shape, types, missing values, statistics, first and last rows. Tables are never copied in full.

Cheap statistics cover all rows: minimum, maximum, mean and missing values of numbers and dates, read in chunks. Others
(quartiles, common values, anything about objects) come from evenly spaced rows if there are more than `SAMPLE_ROWS`, and
the text reports that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ._collected import Collected, bounded, error_text, one_line

_PIECE_ROWS = 250_000
_MAX_ROWS = 10_000_000
"""With more rows, reading all would take seconds, so all statistics come from the sample."""
_NUMBERS = "iuf"
_DATES = "mM"


@dataclass(frozen=True, slots=True)
class Tally:
    """Statistics of a column.

    Attributes:
        missing: The number of missing values.
        count: The number of other values.
        min: The minimum; None without values, or if they have no order.
        max: The maximum, or None as for `min`.
        mean: The mean of numbers; NaN without numbers.
        is_exact: Whether all rows were read, not only the sample.
    """

    missing: int
    count: int
    min: Any = None
    max: Any = None
    mean: float = math.nan
    is_exact: bool = True


def is_numeric(column: Any) -> bool:
    """Return whether a column holds real numbers."""
    return _kind_of(column) in _NUMBERS


def is_countable(column: Any) -> bool:
    """Return whether a column holds numbers or dates, which are fast to read and have an order."""
    return _kind_of(column) in _NUMBERS + _DATES


def tally(column: Any, sample: Any) -> Tally:
    """Return the statistics of a column: over all rows if that is cheap, else over a sample.

    Args:
        column: A pandas Series.
        sample: Some of its rows.
    """
    if not is_countable(column):
        present = int(sample.count())
        return Tally(len(sample) - present, present, is_exact=len(sample) == len(column))
    counted = column if len(column) <= _MAX_ROWS else sample
    pieces = [_tally_piece(counted.iloc[at : at + _PIECE_ROWS]) for at in range(0, len(counted), _PIECE_ROWS)]
    filled = [piece for piece in pieces if piece.count]
    total = sum(piece.count for piece in filled)
    return Tally(
        missing=len(counted) - total,
        count=total,
        min=min((piece.min for piece in filled), default=None),
        max=max((piece.max for piece in filled), default=None),
        mean=sum(piece.mean * (piece.count / total) for piece in filled) if filled else math.nan,
        is_exact=counted is column,
    )


def _tally_piece(piece: Any) -> Tally:
    present = int(piece.count())
    missing = len(piece) - present
    if not present:
        return Tally(missing, present)
    return Tally(
        missing, present, piece.min(), piece.max(), float(piece.mean()) if is_numeric(piece) else math.nan
    )


def _kind_of(column: Any) -> str:
    """Return numpy's letter for a dtype, also for pandas' own dtypes; "O" for categorical and sparse ones."""
    dtype = column.dtype
    has_no_order = str(dtype) == "category" or type(dtype).__name__ == "SparseDtype"
    return "O" if has_no_order else str(getattr(dtype, "kind", "O"))


SAMPLE_ROWS = 20_000
EDGE_ROWS = 5
_MAX_WHOLE_ROWS = 60
"""A table of at most this many rows is shown in full if there is room, as in pandas, because each row may have a label."""
MAX_COLUMNS = 40
_MIN_COLUMNS = 4
_MAX_COUNTED_COLUMNS = 10_000
MAX_CELL_CHARS = 60
MOST_COMMON = 3
MAX_NAMED = 25
"""Columns that are only named, after the described ones; the others are counted."""


def describe_frame(frame: Any, chars: int) -> Collected:
    """Describe a pandas DataFrame in about `chars` characters."""
    rows, columns = frame.shape
    described = min(columns, MAX_COLUMNS)
    # Rows are sliced first: before pandas 3, a slice of columns is a copy.
    sample = _sample(frame).iloc[:, :described]
    notes: list[str] = []
    others = slice(MAX_COLUMNS, MAX_COLUMNS + _MAX_COUNTED_COLUMNS)
    heading = _heading(
        "DataFrame", frame.shape, frame.columns[others].tolist(), frame.dtypes.iloc[others].tolist(), notes
    )
    if len(sample) < rows:
        notes.append(_note_on(sample, rows))
    parts = [heading + _index_line(frame.index)]
    if columns:
        tallies = [tally(frame.iloc[:, index], sample.iloc[:, index]) for index in range(described)]
        parts.append(_columns(sample, tallies, is_sampled=len(sample) < rows))
        if rows:
            parts.append(_statistics(sample, tallies, rows))
            parts.append(_edges(frame, described, room=chars - sum(map(len, parts))))
    return fitted(parts, chars, notes)


def describe_series(series: Any, chars: int) -> Collected:
    """Describe a pandas Series in about `chars` characters."""
    rows = len(series)
    is_named = series.name is not None
    frame = series.to_frame() if is_named else series.to_frame("values")
    sample = _sample(frame)
    counted = tally(series, sample.iloc[:, 0])
    missing = _missing(counted, is_sampled=len(sample) < rows)
    heading = f"Series {_label(series.name)}" if is_named else "Series"
    parts = [f"{heading}: {rows:,} values of type {one_line(series.dtype, MAX_CELL_CHARS)}{missing}"]
    parts[0] += _index_line(series.index)
    if rows:
        parts += [_statistics(sample, [counted], rows), _edges(frame, 1, room=chars)]
    return fitted(parts, chars, [_note_on(sample, rows)] if len(sample) < rows else [])


def describe_index(index: Any, chars: int) -> Collected:
    """Describe a pandas Index in about `chars` characters."""
    length = len(index)
    labels = [_label(label) for label in index[: 2 * EDGE_ROWS].tolist()]
    if length > 2 * EDGE_ROWS:
        labels[EDGE_ROWS:] = ["…", *(_label(label) for label in index[-EDGE_ROWS:].tolist())]
    names = _names(index)
    heading = (
        f"{type(index).__name__}{f' {names}' if names else ''}: {length:,} labels of type {_type_of(index)}"
    )
    return fitted([heading, ", ".join(labels)], chars, [])


def describe_grouping(grouped: Any, chars: int) -> Collected:
    """Describe a grouped or resampled pandas frame or series: the rows of each group, and the data."""
    sizes = grouped.size()
    if sizes.ndim == 2:  # with as_index=False, a frame whose last column holds the sizes
        sizes = sizes.set_index(sizes.columns[:-1].tolist()).iloc[:, 0]
    sizes = sizes.rename("rows")
    heading = (
        f"{type(grouped).__name__}: {len(sizes):,} groups by {_names(sizes.index) or 'values without a name'}"
    )
    return _of_data(
        heading,
        [("Rows of each group", describe_series(sizes, chars // 3)), ("Data", _data(grouped, chars // 2))],
    )


def describe_window(window: Any, chars: int) -> Collected:
    """Describe a rolling, expanding or weighted window over a pandas frame or series."""
    return _of_data(one_line(window, 10 * MAX_CELL_CHARS), [("Data", _data(window, chars // 2))])


def _data(view: Any, chars: int) -> Collected:
    data = view.obj
    return describe_series(data, chars) if data.ndim == 1 else describe_frame(data, chars)


def _of_data(heading: str, inner: list[tuple[str, Collected]]) -> Collected:
    text = "".join(f"\n{title}:{collected.text}" for title, collected in inner)
    notes = [note for _, collected in inner for note in collected.notes]
    return Collected(parts=(f"\n{heading}\n{text}",), notes=tuple(dict.fromkeys(notes)))


def _index_line(index: Any) -> str:
    """Return a line with the names of an index, by which a table was grouped or pivoted; "" without names."""
    names = _names(index)
    return f"\nIndex: {names} ({_type_of(index)})" if names else ""


def _names(labels: Any) -> str:
    """Return the names of all levels of an axis; "" if it has none."""
    names = list(labels.names)
    if all(name is None for name in names):
        return ""
    return ", ".join("(no name)" if name is None else _label(name) for name in names)


def _type_of(labels: Any) -> str:
    types = [level.dtype for level in labels.levels] if labels.nlevels > 1 else [labels.dtype]
    return ", ".join(one_line(each, MAX_CELL_CHARS) for each in types)


def _sample(data: Any) -> Any:
    """Return evenly spaced rows: a view if possible, never a copy of all rows."""
    return data if len(data) <= SAMPLE_ROWS else data.iloc[:: _step(len(data))]


def _step(rows: int) -> int:
    return -(-rows // SAMPLE_ROWS)


def _note_on(sample: Any, rows: int) -> str:
    return f"Quartiles and common values of the table are from {len(sample):,} of its {rows:,} rows."


def _heading(
    title: str, shape: tuple[int, int], names: Sequence[Any], types: Sequence[Any], notes: list[str]
) -> str:
    """Return the first lines of a description; `names` and `types` are those of the columns that are not described."""
    rows, columns = shape
    heading = f"{title}: {rows:,} rows × {columns:,} columns"
    if columns <= MAX_COLUMNS:
        return heading
    notes.append(f"Of {columns:,} columns, the first {MAX_COLUMNS} are described.")
    counted = Counter(map(str, types)).most_common(MOST_COMMON)
    kinds = ", ".join(f"{count:,} are {kind}" for kind, count in counted)
    more = columns - MAX_COLUMNS - MAX_NAMED
    named = ", ".join(map(_label, names[:MAX_NAMED])) + (f", and {more:,} more" if more > 0 else "")
    return f"{heading} (the first {MAX_COLUMNS} are described; of the others {kinds})\nOther columns: {named}"


def _columns(sample: Any, tallies: list[Tally], *, is_sampled: bool) -> str:
    lines = []
    for name, dtype, counted in zip(sample.columns.tolist(), sample.dtypes.tolist(), tallies, strict=True):
        missing = _missing(counted, is_sampled=is_sampled)
        lines.append(f"- {_label(name)}: {_label(dtype)}{missing}")
    names = _names(sample.columns)
    return f"Columns{f' ({names})' if names else ''}:\n" + "\n".join(lines)


def _missing(counted: Tally, *, is_sampled: bool) -> str:
    where = " in the sample" if is_sampled and not counted.is_exact else ""
    return f", {counted.missing:,} missing{where}" if counted.missing else ""


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
    """Return the table of `DataFrame.describe`, with count, mean, min and max from the tallies."""
    table = numbers.describe().T.astype(object).map(lambda value: number(value, digits=4))
    for column in ("count", "mean", "min", "max"):
        table[column] = [number(getattr(counted, column), digits=6) for counted in tallies]
    table.index = [_label(name) for name in numbers.columns.tolist()]
    return str(table.to_string())


def _values(column: Any, counted: Tally) -> str:
    """Describe a column without numbers: the range of dates, else the most common values."""
    name = _label(column.name)
    if not counted.count:
        return f"{name}: only missing values"
    if is_countable(column):
        return f"{name}: from {counted.min} to {counted.max}"
    try:
        counts = column.value_counts()
    except Exception:  # lists and dicts in the cells, and objects that cannot be compared
        kinds = Counter(type(value).__name__ for value in column.tolist()).most_common(MOST_COMMON)
        return f"{name}: of type " + ", ".join(f"{kind} ({count:,}×)" for kind, count in kinds)
    counts = counts[counts > 0]
    return f"{name}: " + (
        _most_common(list(counts.head(MOST_COMMON).items()), len(counts)) or "only missing values"
    )


def _most_common(counts: Sequence[tuple[Any, int]], distinct: int) -> str:
    """Describe the most common values, most common first; without counts if each occurs once."""
    if not counts:
        return ""
    if counts[0][1] == 1:
        first = ", ".join(_label(value) for value, _ in counts)
        return f"{distinct:,} distinct, each once: {first}{', …' if distinct > len(counts) else ''}"
    common = ", ".join(f"{_label(value)} ({count:,}×)" for value, count in counts)
    return f"{distinct:,} distinct; most common: {common}"


def edges(rows: int, columns: int, *, room: int, write: Callable[[str, int], str]) -> str:
    """Return all rows of a table, or the first and last ones, with as many of the first columns as fit.

    Args:
        rows: The number of rows.
        columns: The number of described columns.
        room: The maximum number of characters.
        write: Renders "all", the "first" or the "last" rows, with the given number of columns.
    """
    for text in _edge_candidates(rows, columns, write):
        if len(text) <= room:
            break
    return text


def _edge_candidates(rows: int, columns: int, write: Callable[[str, int], str]) -> Iterator[str]:
    def whole(shown: int) -> str:
        return f"All rows:\n{write('all', shown)}"

    def ends(shown: int) -> str:
        return f"First rows:\n{write('first', shown)}\nLast rows:\n{write('last', shown)}"

    if rows <= _MAX_WHOLE_ROWS:
        yield whole(columns)
    if rows > 2 * EDGE_ROWS:
        yield ends(columns)
    while columns > _MIN_COLUMNS:
        columns = max(_MIN_COLUMNS, columns // 2)
        few = whole(columns) if rows <= 2 * EDGE_ROWS else ends(columns)
        yield f"{few}\n(of the first {columns} columns)"


def _edges(frame: Any, columns: int, *, room: int) -> str:
    return edges(len(frame), columns, room=room, write=lambda part, shown: _rows(frame, part, shown))


def _part_of(table: Any, part: str) -> Any:
    """Return "all", the "first" or the "last" rows of a table."""
    if part == "all":
        return table
    return table.head(EDGE_ROWS) if part == "first" else table.tail(EDGE_ROWS)


def _rows(frame: Any, part: str, columns: int) -> str:
    """Render rows with pandas, with the names of both axes; long labels and values are shortened."""
    frame = _part_of(frame, part).iloc[:, :columns]
    shown = frame.astype(object).map(_cell)
    shown.index = _shortened(frame.index)
    shown.columns = _shortened(frame.columns)
    return str(shown.to_string())


def _shortened(labels: Any) -> Any:
    """Return an index with shortened labels and names."""
    import pandas  # already imported: the labels are from pandas

    names = [None if name is None else _label(name) for name in labels.names]
    if labels.nlevels == 1:
        return pandas.Index([_label(label) for label in labels.tolist()], dtype=object, name=names[0])
    rows = [tuple(map(_label, label)) for label in labels.tolist()]
    return pandas.MultiIndex.from_tuples(rows, names=names)


def _cell(value: Any) -> Any:
    """Shorten values that would make a table unreadable, such as long strings and nested lists."""
    if type(value) in (bool, int, float, complex):
        return value
    return one_line(value, MAX_CELL_CHARS)


def _label(value: Any) -> str:
    return one_line(value, MAX_CELL_CHARS)


def number(value: Any, *, digits: int) -> str:
    """Return a statistic as text; integers are written in full."""
    is_fraction = hasattr(value, "__float__") and not hasattr(value, "__index__")
    return f"{float(value):.{digits}g}" if is_fraction else one_line(value, MAX_CELL_CHARS)


def fitted(parts: list[str], chars: int, notes: list[str]) -> Collected:
    """Join the parts; if the text is too long, cut it at the end of a line and note that."""
    text = "\n\n".join(parts)
    if len(text) > chars:
        text = text[:chars].rpartition("\n")[0] or text[:chars]
        notes.append(f"The description of a table was cut to {len(text):,} characters.")
        text += "\n[… the rest of the description was left out]"
    return Collected(parts=(f"\n{text}\n",), notes=tuple(notes))


_STATISTICS: Final = ("count", "mean", "std", "min", "25%", "50%", "75%", "max")
_LIBRARIES: Final = frozenset(
    {"cudf", "dask", "duckdb", "ibis", "modin", "polars", "pyarrow", "pyspark", "sqlframe"}
)


# Tables of polars, pyarrow and other libraries that narwhals supports, described like those of pandas.
#
# Lazy tables (polars, DuckDB, Ibis, dask, Spark) are described by their columns and plan; nothing is computed for a prompt.


def is_table(value: object) -> bool:
    """Return whether a value is a table, column or lazy table of a library that narwhals supports, except pandas."""
    if type(value).__module__.partition(".")[0].lstrip("_") not in _LIBRARIES:
        return False
    return _as_narwhals(value) is not value


def describe_table(value: Any, chars: int) -> Collected:
    """Describe a value for which `is_table` is true, in about `chars` characters."""
    import narwhals.stable.v2 as nw

    table = _as_narwhals(value)
    if isinstance(table, nw.LazyFrame):
        return _describe_lazy(table, value, chars)
    if isinstance(table, nw.Series):
        return _describe_column(table, value, chars)
    return _describe_rows(table, value, chars)


def describe_dataset(dataset: Any, chars: int) -> Collected:
    """Describe a pyarrow dataset by its files and its schema, without reading it."""
    files = list(getattr(dataset, "files", ()))
    where = f" of {len(files):,} files, the first {one_line(files[0], MAX_CELL_CHARS)}" if files else ""
    return bounded(f"{type(dataset).__name__}{where}, not read\n{dataset.schema}", chars, "schema")


def _as_narwhals(value: Any) -> Any:
    """Return a table as a narwhals object; any other value as it is."""
    import narwhals.stable.v2 as nw

    if type(value).__module__.partition(".")[0] == "pyarrow":
        value = _as_table(value)
    return nw.from_native(value, pass_through=True, allow_series=True)


def _as_table(part: Any) -> Any:
    """Return a pyarrow record batch as a table, and an array as a chunked array, without a copy; anything else as it is."""
    import pyarrow

    if isinstance(part, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([part])
    return pyarrow.chunked_array([part]) if isinstance(part, pyarrow.Array) else part


def _title(table: Any, value: Any) -> str:
    return f"{type(value).__name__} ({table.implementation})"


def _describe_lazy(table: Any, value: Any, chars: int) -> Collected:
    try:
        columns = [f"- {_label(name)}: {_label(dtype)}" for name, dtype in table.collect_schema().items()]
        shown = columns[: 2 * MAX_COLUMNS]
        if len(columns) > len(shown):
            shown.append(f"… {len(columns) - len(shown):,} more")
        schema = f"{len(columns):,} columns, not computed\n\nColumns:\n" + "\n".join(shown)
    except Exception as error:  # a missing file, an invalid query
        schema = f"not computed; its columns are unknown ({error_text(error)})"
    parts = [f"{_title(table, value)}: {schema}", *_plan(value)]
    return fitted(parts, chars, [])


def _plan(value: Any) -> Iterator[str]:
    """Yield the query plan of a lazy table, if available without computing it."""
    explain: Any = getattr(value, "explain", None) or getattr(value, "sql_query", None)
    plan = None if explain is None else _try(explain)
    if isinstance(plan, str):
        yield f"Plan:\n{plan.rstrip()}"


def _describe_rows(table: Any, value: Any, chars: int) -> Collected:
    names, types = list(table.columns), list(table.schema.values())
    notes: list[str] = []
    parts = [_heading(_title(table, value), table.shape, names[MAX_COLUMNS:], types[MAX_COLUMNS:], notes)]
    parts += _described(table.select(names[:MAX_COLUMNS]), len(table), chars, notes)
    return fitted(parts, chars, notes)


def _describe_column(column: Any, value: Any, chars: int) -> Collected:
    rows, notes = len(column), list[str]()
    name = column.name or ""
    frame = column.alias(name or "values").to_frame()
    parts = [f"{_title(column, value)}{f' {_label(name)}' if name else ''}: {rows:,} values"]
    return fitted([*parts, *_described(frame, rows, chars, notes)], chars, notes)


def _described(table: Any, rows: int, chars: int, notes: list[str]) -> Iterator[str]:
    """Yield the columns of a table, their statistics, and the first and last rows."""
    if not table.columns:
        return
    step = _step(rows)
    sample = table.gather_every(step) if step > 1 else table
    facts = [_facts(table[name], sample[name], rows) for name in table.columns]
    yield "Columns:\n" + "\n".join(f"- {each}" for each, _ in facts)
    if not rows:
        return
    heading = "Statistics"
    if step > 1:
        notes.append(_note_on(sample, rows))
        heading += f" (from one row in {step}; count and missing are of all rows"
        heading += ", as are mean, min and max)" if rows <= _MAX_ROWS else ")"
    numbers = [
        (name, *row) for name, (_, row) in zip(table.columns, facts, strict=True) if isinstance(row, list)
    ]
    others = [text for _, text in facts if isinstance(text, str) and text]
    tables = [_written(("", *_STATISTICS), numbers, first_left=True)] if numbers else []
    yield f"{heading}:\n" + "\n".join([*tables, *others])
    yield edges(
        rows, len(table.columns), room=chars, write=lambda part, columns: _table_rows(table, part, columns)
    )


def _facts(column: Any, sample: Any, rows: int) -> tuple[str, list[str] | str]:
    """Return a column's name, type and missing values, and its statistics: a row of numbers, or a line."""
    name, dtype = _label(column.name), column.dtype
    missing = int(column.null_count())
    not_numbers = int(_try(lambda: column.is_nan().sum()) or 0) if dtype.is_float() else 0
    heading = f"{name}: {one_line(dtype, MAX_CELL_CHARS)}"
    heading += f", {missing:,} missing" if missing else ""
    heading += f", {not_numbers:,} NaN" if not_numbers else ""
    if missing + not_numbers == rows:
        return heading, f"{name}: only missing values" if rows else ""
    counted = column if rows <= _MAX_ROWS else sample
    if not_numbers:
        counted, sample = (
            each.drop_nulls().filter(~each.drop_nulls().is_nan()) for each in (counted, sample)
        )
    if dtype.is_numeric():
        return heading, [str(rows - missing - not_numbers), *_column_statistics(counted, sample)]
    if dtype.is_temporal():
        first, last = _try(counted.min), _try(counted.max)
        return heading, "" if first is None else f"{name}: from {first} to {last}"
    return heading, _common(name, sample.drop_nulls())


def _column_statistics(column: Any, sample: Any) -> list[str]:
    quartiles = [_try(partial(sample.quantile, share, interpolation="linear")) for share in (0.25, 0.5, 0.75)]
    return [
        _number(_try(column.mean), digits=6),
        _number(_try(sample.std), digits=4),
        _number(_try(column.min), digits=6),
        *(_number(value, digits=4) for value in quartiles),
        _number(_try(column.max), digits=6),
    ]


def _common(name: str, values: Any) -> str:
    counts = _try(lambda: values.value_counts(sort=True).rows())
    if counts is None:  # lists and structs, which some libraries cannot compare
        return ""
    return f"{name}: {_most_common(counts[:MOST_COMMON], len(counts))}"


def _table_rows(table: Any, part: str, columns: int) -> str:
    shown = _part_of(table.select(table.columns[:columns]), part)
    return _written(shown.columns, shown.rows())


def _written(names: Sequence[str], rows: Sequence[Sequence[Any]], *, first_left: bool = False) -> str:
    """Render a table with right-aligned columns; with `first_left`, the first column is left-aligned."""
    lines = [[_label(name) for name in names], *([_table_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
    if first_left:
        lines = [[line[0].ljust(widths[0]), *line[1:]] for line in lines]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def _table_cell(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.8g}" if type(value) is float else one_line(value, MAX_CELL_CHARS)


def _number(value: Any, *, digits: int) -> str:
    return "" if value is None else number(value, digits=digits)


def _try(compute: Callable[[], Any]) -> Any:
    """Return the result of `compute`; None if the library does not support it for this type."""
    with suppress(Exception):
        return compute()
    return None
