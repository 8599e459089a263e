"""DataFrames and Series: shape, types, what is missing, statistics, the first and last rows. Nothing is copied whole.

A statistic over all rows costs what pandas needs for it; over a million rows that is too long for a prompt. So beyond
`_SAMPLE_ROWS` it comes from rows at equal distances, and the text says so.
"""

from __future__ import annotations

from typing import Any

from ._collected import Collected

_SAMPLE_ROWS = 20_000
_EDGE_ROWS = 5
_MAX_COLUMNS = 40
_MAX_CELL_CHARS = 60


def describe_frame(frame: Any, chars: int) -> Collected:
    """Describe a pandas DataFrame in about `chars` characters."""
    rows, columns = frame.shape
    shown = frame.iloc[:, :_MAX_COLUMNS]
    sample = _sample(shown)
    notes: list[str] = []
    is_sampled = len(sample) < rows
    parts = [
        f"DataFrame: {rows:,} rows × {columns:,} columns",
        _columns(shown, sample, is_sampled=is_sampled),
    ]
    if columns > _MAX_COLUMNS:
        parts[0] += f" (the first {_MAX_COLUMNS} are described)"
        notes.append(f"Of {columns:,} columns, the first {_MAX_COLUMNS} are described.")
    if rows and columns:
        parts.append(f"Statistics{_of_sample(sample, rows)}:\n{_statistics(sample)}")
        parts.append(_edges(shown, rows))
    if is_sampled:
        notes.append(f"Statistics of the table are from {len(sample):,} of its {rows:,} rows.")
    return _fitted(parts, chars, notes)


def describe_series(series: Any, chars: int) -> Collected:
    """Describe a pandas Series or Index in about `chars` characters."""
    if not hasattr(series, "iloc"):
        series = series.to_series()
    rows = len(series)
    sample = _sample(series)
    parts = [
        f"Series {series.name!r}: {rows:,} values of type {series.dtype}, {int(sample.isna().sum()):,} missing"
        f"{_of_sample(sample, rows)}"
    ]
    if rows:
        parts += [
            f"Statistics{_of_sample(sample, rows)}:\n{_short(sample.describe().to_string())}",
            _edges(series, rows),
        ]
    notes = [f"Statistics are from {len(sample):,} of {rows:,} values."] if len(sample) < rows else []
    return _fitted(parts, chars, notes)


def _sample(data: Any) -> Any:
    """Return rows at equal distances: a view where the data allow one, never a copy of all."""
    return data if len(data) <= _SAMPLE_ROWS else data.iloc[:: -(-len(data) // _SAMPLE_ROWS)]


def _of_sample(sample: Any, rows: int) -> str:
    return "" if len(sample) == rows else f" (of every {-(-rows // _SAMPLE_ROWS)}th row)"


def _columns(frame: Any, sample: Any, *, is_sampled: bool) -> str:
    missing = sample.isna().sum().tolist()
    share = " in the sample" if is_sampled else ""
    lines = [
        f"- {name}: {dtype}" + (f", {count:,} missing{share}" if count else "")
        for name, dtype, count in zip(frame.columns.tolist(), frame.dtypes.tolist(), missing, strict=True)
    ]
    return "Columns:\n" + "\n".join(lines)


def _statistics(sample: Any) -> str:
    numeric = sample.select_dtypes(include="number")
    tables = []
    if numeric.shape[1]:
        tables.append(numeric.describe().T.to_string(float_format=lambda number: f"{number:.4g}"))
    others = sample.loc[:, [not is_number for is_number in _is_numeric(sample)]]
    tables += [_most_common(others.iloc[:, index]) for index in range(others.shape[1])]
    return "\n".join(table for table in tables if table)


def _is_numeric(sample: Any) -> list[bool]:
    return [getattr(dtype, "kind", "O") in "iufc" for dtype in sample.dtypes.tolist()]


def _most_common(column: Any) -> str:
    if getattr(column.dtype, "kind", "") in "mM":
        return f"{column.name}: from {column.min()} to {column.max()}"
    try:
        counts = column.value_counts().head(3)
        distinct = column.nunique()
    except TypeError:  # lists and dicts in the cells, which cannot be counted
        return f"{column.name}: cells that cannot be compared"
    values = ", ".join(f"{_cell(value)} ({count:,}×)" for value, count in counts.items())
    return f"{column.name}: {distinct:,} distinct; most common: {values}"


def _edges(data: Any, rows: int) -> str:
    if rows <= 2 * _EDGE_ROWS:
        return f"All rows:\n{_table(data)}"
    return f"First rows:\n{_table(data.head(_EDGE_ROWS))}\nLast rows:\n{_table(data.tail(_EDGE_ROWS))}"


def _table(data: Any) -> str:
    if hasattr(data, "columns"):
        return str(data.map(_cell).to_string())
    return str(data.map(_cell).to_string())


def _cell(value: Any) -> Any:
    """Shorten what would make a table unreadable, and big: long texts, nested lists."""
    if isinstance(value, bool | int | float | complex) or value is None:
        return value
    text = str(value)
    return text if len(text) <= _MAX_CELL_CHARS else f"{text[:_MAX_CELL_CHARS]}…"


def _short(text: str) -> str:
    return "\n".join(line[:200] for line in text.splitlines())


def _fitted(parts: list[str], chars: int, notes: list[str]) -> Collected:
    """Join as many parts as fit; the last that does is cut, which is said."""
    text = "\n\n".join(parts)
    if len(text) > chars:
        cut = text[:chars].rpartition("\n")[0]
        text = f"{cut}\n[… the rest of the description was left out]"
        notes.append(f"The description of a table was cut to {len(cut):,} characters.")
    return Collected(parts=(f"\n{text}\n",), notes=tuple(notes))
