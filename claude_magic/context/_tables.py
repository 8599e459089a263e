"""Tables of polars, pyarrow and other libraries that narwhals knows, told as those of pandas are.

Lazy ones (of polars, DuckDB, Ibis, dask, Spark) are told by their columns and their plan: nothing is computed for a prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from ._collected import Collected
from ._frames import (
    EDGE_ROWS,
    MAX_CELL_CHARS,
    MAX_COLUMNS,
    MAX_NAMED,
    MOST_COMMON,
    SAMPLE_ROWS,
    edges,
    fitted,
    number,
)
from ._safely import bounded, error_text, one_line

_MAX_ROWS = 10_000_000
"""Beyond this, extremes and means are of the sample, too."""
_STATISTICS: Final = ("count", "mean", "std", "min", "25%", "50%", "75%", "max")
_LIBRARIES: Final = frozenset(
    {"cudf", "dask", "duckdb", "ibis", "modin", "polars", "pyarrow", "pyspark", "sqlframe"}
)


def is_table(value: object) -> bool:
    """Tell a table, a column or a lazy table of a library that narwhals knows, pandas aside."""
    if type(value).__module__.partition(".")[0].lstrip("_") not in _LIBRARIES:
        return False
    return _known(value) is not value


def describe_table(value: Any, chars: int) -> Collected:
    """Describe what `is_table` tells, in about `chars` characters."""
    import narwhals.stable.v2 as nw

    table = _known(value)
    if isinstance(table, nw.LazyFrame):
        return _describe_lazy(table, value, chars)
    if isinstance(table, nw.Series):
        return _describe_column(table, value, chars)
    return _describe_rows(table, value, chars)


def describe_dataset(dataset: Any, chars: int) -> Collected:
    """Describe a pyarrow dataset, of which nothing is read, by its files and its schema."""
    files = list(getattr(dataset, "files", ()))
    where = f" of {len(files):,} files, the first {one_line(files[0], MAX_CELL_CHARS)}" if files else ""
    return bounded(f"{type(dataset).__name__}{where}, not read\n{dataset.schema}", chars, "schema")


def _known(value: Any) -> Any:
    """Return a table as narwhals sees it; the value itself if it is none."""
    import narwhals.stable.v2 as nw

    if type(value).__module__.partition(".")[0] == "pyarrow":
        value = _whole(value)
    return nw.from_native(value, pass_through=True, allow_series=True)


def _whole(part: Any) -> Any:
    """Return a batch of pyarrow as a table, an array as a column, without copying them; anything else as it is."""
    import pyarrow

    if isinstance(part, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([part])
    return pyarrow.chunked_array([part]) if isinstance(part, pyarrow.Array) else part


def _title(table: Any, value: Any) -> str:
    return f"{type(value).__name__} ({table.implementation})"


def _describe_lazy(table: Any, value: Any, chars: int) -> Collected:
    try:
        columns = [
            f"- {_label(name)}: {one_line(dtype, MAX_CELL_CHARS)}"
            for name, dtype in table.collect_schema().items()
        ]
        shown = [
            *columns[: 2 * MAX_COLUMNS],
            *([f"… {len(columns) - 2 * MAX_COLUMNS:,} more"] if len(columns) > 2 * MAX_COLUMNS else []),
        ]
        schema = f"{len(columns):,} columns, not computed\n\nColumns:\n" + "\n".join(shown)
    except Exception as error:  # a file that is not there, a query that does not fit it
        schema = f"not computed; its columns are unknown ({error_text(error)})"
    parts = [f"{_title(table, value)}: {schema}", *_plan(value)]
    return fitted(parts, chars, [])


def _plan(value: Any) -> Iterator[str]:
    """Yield what a lazy table will do, where it can say so without doing it."""
    explain: Any = getattr(value, "explain", None) or getattr(value, "sql_query", None)
    plan = None if explain is None else _try(explain)
    if isinstance(plan, str):
        yield f"Plan:\n{plan.rstrip()}"


def _describe_rows(table: Any, value: Any, chars: int) -> Collected:
    rows, columns = table.shape
    names = list(table.columns)
    shown = names[:MAX_COLUMNS]
    notes = []
    parts = [f"{_title(table, value)}: {rows:,} rows × {columns:,} columns"]
    if len(shown) < columns:
        others = Counter(str(dtype) for dtype in list(table.schema.values())[MAX_COLUMNS:]).most_common(
            MOST_COMMON
        )
        kinds = ", ".join(f"{count:,} are {kind}" for kind, count in others)
        rest = names[MAX_COLUMNS : MAX_COLUMNS + MAX_NAMED]
        more = columns - MAX_COLUMNS - len(rest)
        parts[0] += (
            f" (the first {len(shown)} are described; of the others {kinds})\n"
            f"Other columns: {', '.join(map(_label, rest))}{f', and {more:,} more' if more else ''}"
        )
        notes.append(f"Of {columns:,} columns, the first {len(shown)} are described.")
    parts += _described(table.select(shown), rows, chars, notes)
    return fitted(parts, chars, notes)


def _describe_column(column: Any, value: Any, chars: int) -> Collected:
    rows, notes = len(column), list[str]()
    name = column.name or ""
    frame = column.alias(name or "values").to_frame()
    parts = [f"{_title(column, value)}{f' {_label(name)}' if name else ''}: {rows:,} values"]
    return fitted([*parts, *_described(frame, rows, chars, notes)], chars, notes)


def _described(table: Any, rows: int, chars: int, notes: list[str]) -> Iterator[str]:
    """Yield what is told of the columns of a table, and its first and last rows."""
    if not table.columns:
        return
    step = -(-rows // SAMPLE_ROWS) if rows > SAMPLE_ROWS else 1
    sample = table.gather_every(step) if step > 1 else table
    facts = [_facts(table[name], sample[name], rows) for name in table.columns]
    yield "Columns:\n" + "\n".join(f"- {each}" for each, _ in facts)
    if not rows:
        return
    heading = "Statistics"
    if step > 1:
        notes.append(
            f"Quartiles and common values of the table are from {len(sample):,} of its {rows:,} rows."
        )
        heading += f" (from one row in {step}; count and missing are of all rows"
        heading += ", as are mean, min and max)" if rows <= _MAX_ROWS else ")"
    numbers = [
        (name, *row) for name, (_, row) in zip(table.columns, facts, strict=True) if isinstance(row, list)
    ]
    others = [text for _, text in facts if isinstance(text, str) and text]
    tables = [_written(("", *_STATISTICS), numbers, first_left=True)] if numbers else []
    yield f"{heading}:\n" + "\n".join([*tables, *others])
    yield edges(rows, len(table.columns), room=chars, write=lambda part, columns: _rows(table, part, columns))


def _facts(column: Any, sample: Any, rows: int) -> tuple[str, list[str] | str]:
    """Return a column's name and type with what is missing, and its statistics: a row of numbers, or a line."""
    name, dtype = _label(column.name), column.dtype
    missing = int(column.null_count())
    not_numbers = int(_try(lambda: column.is_nan().sum()) or 0) if dtype.is_float() else 0
    heading = f"{name}: {one_line(dtype, MAX_CELL_CHARS)}"
    heading += f", {missing:,} missing" if missing else ""
    heading += f", {not_numbers:,} NaN" if not_numbers else ""
    if missing + not_numbers == rows:
        return heading, f"{name}: nothing but missing" if rows else ""
    counted = column if rows <= _MAX_ROWS else sample
    if not_numbers:
        counted, sample = (
            each.drop_nulls().filter(~each.drop_nulls().is_nan()) for each in (counted, sample)
        )
    if dtype.is_numeric():
        return heading, [str(rows - missing - not_numbers), *_statistics(counted, sample)]
    if dtype.is_temporal():
        first, last = _try(counted.min), _try(counted.max)
        return heading, "" if first is None else f"{name}: from {first} to {last}"
    return heading, _common(name, sample.drop_nulls())


def _statistics(column: Any, sample: Any) -> list[str]:
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
    if counts is None:  # lists and records, which a library may not compare
        return ""
    common = ", ".join(f"{_label(value)} ({count:,}×)" for value, count in counts[:MOST_COMMON])
    return f"{name}: {len(counts):,} distinct; most common: {common}"


def _rows(table: Any, part: str, columns: int) -> str:
    shown = table.select(table.columns[:columns])
    if part == "first":
        shown = shown.head(EDGE_ROWS)
    elif part == "last":
        shown = shown.tail(EDGE_ROWS)
    return _written(shown.columns, shown.rows())


def _written(names: Sequence[str], rows: Sequence[Sequence[Any]], *, first_left: bool = False) -> str:
    """Write a table out in columns, aligned to the right, but for a first one that holds names."""
    lines = [[_label(name) for name in names], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
    if first_left:
        lines = [[line[0].ljust(widths[0]), *line[1:]] for line in lines]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.8g}" if type(value) is float else one_line(value, MAX_CELL_CHARS)


def _label(value: Any) -> str:
    return one_line(value, MAX_CELL_CHARS)


def _number(value: Any, *, digits: int) -> str:
    return "" if value is None else number(value, digits=digits)


def _try(compute: Callable[[], Any]) -> Any:
    """Return what a library computes; None where it does not for this type."""
    with suppress(Exception):
        return compute()
    return None
