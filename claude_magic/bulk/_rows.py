"""The inputs of a map: tables, columns, lists, dicts. Each is read in chunks as rows with named values, and returned with the answers added."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import json
import sys
from collections.abc import AsyncIterable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from pydantic import BaseModel

from ..client import ConfigurationError, as_sentence

ITEM: Final = "item"
ROW: Final = "row"
KEY: Final = "key"
DRAW: Final = "draw"
Columns = Mapping[str, list[Any]]
_MAPPER_HINT: Final = ", or map it in place with claude.mapper"
_LOADERS: Final[Mapping[str, str]] = {
    "polars.LazyFrame": "df.collect()",
    "polars.Expr": "df.select(expression)",
    "dask.*": f"df.compute(){_MAPPER_HINT}",
    "pyspark.*": f"df.toPandas(){_MAPPER_HINT}",
    "ray.*": f"ds.to_pandas(){_MAPPER_HINT}",
    "duckdb.DuckDBPyRelation": "relation.df(), relation.pl() or relation.arrow()",
    "ibis.*": "table.to_pandas(), table.to_polars() or table.to_pyarrow()",
    "sqlframe.*": "df.toPandas()",
    "daft.*": "df.to_pandas()",
    "datafusion.*": "df.to_pandas()",
    "snowflake.*": "df.to_pandas()",
    "xarray.Dataset": "ds.to_dataframe().reset_index()",
    "xarray.DataArray": "array.to_series()",
    "pyarrow.RecordBatchReader": "reader.read_all()",
    "pyarrow.Dataset": "dataset.to_table()",
    "pyarrow.Scanner": "scanner.to_table()",
}
"""How to load the rows of lazy objects, by library and class name. Names instead of types, so that no library is imported."""


class Rows(Protocol):
    """The rows of an input.

    Attributes:
        count: Number of rows.
        names: Names that a prompt can use for the values of a row.
        columns: Column names of the input.
        answer_columns: Columns that an answer would replace, by the name of the answer.
        replaced: Columns that the map replaces; they are not part of the whole row.
    """

    count: int
    names: tuple[str, ...]
    columns: tuple[str, ...]
    answer_columns: Mapping[str, str]
    replaced: Collection[str]

    def read(self, start: int, stop: int, needed: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows from `start` to `stop` as dicts with the values named in `needed`."""

    def build(self, answers: Columns, errors: Sequence[str | None], *, error_name: str, repeat: int) -> Any:
        """Return the input with the answers added.

        Args:
            answers: Values by answer column, `repeat` values for each row.
            errors: Reason why an answer is missing, or None; `repeat` values for each row.
            error_name: Name of the error column.
            repeat: Number of draws of each row.
        """


class ClaudeAccessor:
    """The failed rows of a map's result, as the accessor `out.claude`.

    pandas and polars data frames have it after the first map that returns one; results for lists and dicts always have it.
    """

    def __init__(self, result: Any) -> None:
        self._result = result

    def errors(self, column: str | None = None) -> Any:
        """Return the rows that have no answer, like `claude.errors(out)`.

        Args:
            column: Name of the error column; None for the one that the map added.

        Returns:
            For a table, the failed rows as a table of the same kind. For a list or dict, a dict of reasons by position or key.

        Raises:
            ConfigurationError: This is not a result of a map, or it has no such column.
        """
        return _facade().errors(self._result, column)

    def retry(self) -> Any:
        """Run the map again for the rows that have no answer, like `claude.retry(out)`.

        Unlike running the map's line again, this includes rows whose answer was truncated, declined, or did not fit the schema.

        Returns:
            The complete result, including the new answers.

        Raises:
            ConfigurationError: This is not a result of a map of this kernel, or is a copy of one.
            MapStoppedError: Not all rows were asked. Its `result` has the answers so far.
        """
        return _facade().retry(self._result)


def _facade() -> Any:
    # Imported by name because the facade is in a higher layer.
    return importlib.import_module("claude_magic").claude


class WithErrors:
    """The answers for a list or dict, with the reasons for missing ones."""

    errors: dict[Any, str]

    @property
    def claude(self) -> ClaudeAccessor:
        """The accessor with `errors()` and `retry()`, as on data frames."""
        return ClaudeAccessor(self)


class Answers(WithErrors, list[Any]):
    """A list of answers, in the order of the input; None for a missing answer.

    Attributes:
        errors: Reasons for missing answers, by position in the list.
    """

    def __init__(self, answers: Iterable[Any] = (), errors: Mapping[int, str] | None = None) -> None:
        super().__init__(answers)
        self.errors = dict(errors or {})


class AnswersByKey(WithErrors, dict[Any, Any]):
    """A dict of answers, with the keys of the input; None for a missing answer.

    Attributes:
        errors: Reasons for missing answers, by key.
    """

    def __init__(
        self, answers: Mapping[Any, Any] | None = None, errors: Mapping[Any, str] | None = None
    ) -> None:
        super().__init__(answers or {})
        self.errors = dict(errors or {})


def read_once(items: Any) -> Any:
    """Return items that can be iterated repeatedly: a generator as a list, anything else unchanged.

    Raises:
        ConfigurationError: The input is lazy, or the generator raised an error or is exhausted.
    """
    check_not_lazy(items)
    if not isinstance(items, Iterator):
        return items
    if not (read := _read_all(items)):
        raise ConfigurationError(
            f"The {type(items).__name__} yields nothing, so nothing was sent. A generator that was read before is exhausted: create it again."
        )
    return read


def as_rows(items: Any) -> Rows:
    """Return an input as rows.

    Args:
        items: A table or column of pandas, polars or another library that narwhals supports; a dict; or any other iterable, which
            is consumed.

    Raises:
        ConfigurationError: The input is of another type, or has no rows. Nothing was sent.
    """
    check_not_lazy(items)
    if isinstance(items, str | bytes | bytearray | memoryview):
        raise ConfigurationError(
            "A map asks about each of several items, and this is one text. Put it into a list, or use claude.ask. Nothing was sent."
        )
    rows: Rows | None
    if isinstance(items, Mapping):
        rows = _DictRows(items)
    elif isinstance(items, list | tuple | range):
        rows = _ListRows(items)
    elif (rows := _as_table(wrap_arrow(items))) is None:
        rows = _ListRows(_read_all(items))
    if not rows.count:
        raise ConfigurationError("There are no rows to map, so nothing was sent.")
    return rows


def check_not_lazy(items: Any) -> None:
    """Reject lazy and remote tables: loading them may be slow, and returns a table of another library.

    Raises:
        ConfigurationError: The input is lazy or asynchronous. Nothing was sent.
    """
    kind = type(items)
    if isinstance(items, AsyncIterable | Coroutine):
        how = "what `await` returns" if isinstance(items, Coroutine) else "[row async for row in items]"
        raise ConfigurationError(
            f"A map does not await the rows of a {kind.__name__}. Give it {how}. Nothing was sent."
        )
    for base in kind.__mro__:
        library, name = base.__module__.partition(".")[0].lstrip("_"), base.__qualname__
        if how := _LOADERS.get(f"{library}.{name}") or _LOADERS.get(f"{library}.*", ""):
            why = "holds no rows. Make a table of it" if library == "xarray" else "is lazy. Collect it first"
            raise ConfigurationError(f"This {kind.__name__} ({library}) {why}: {how}. Nothing was sent.")


def _read_all(items: Any) -> list[Any]:
    """Read an iterable, which may run the user's code.

    Raises:
        ConfigurationError: It is not iterable, or raised an error.
    """
    if not isinstance(items, Iterable):
        raise ConfigurationError(
            f"A map takes a table, a column, a list, a dict or a generator, not {type(items).__name__}. Nothing was sent."
        )
    read: list[Any] = []
    try:
        read.extend(items)
    except Exception as error:
        kind = type(items).__name__
        again = (
            " A generator that failed is exhausted: create it again." if isinstance(items, Iterator) else ""
        )
        raise ConfigurationError(
            f"The items cannot be read to their end: after {len(read):,} the {kind} raised {type(error).__name__}: {as_sentence(str(error))} Nothing was sent."
            f"{again}"
        ) from error
    return read


def wrap_arrow(items: Any) -> Any:
    """Return a pyarrow `Array` as a `ChunkedArray`, a `RecordBatch` as a `Table`, and anything else unchanged."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(items, arrow.Array):
        return arrow.chunked_array([items])
    if arrow is not None and isinstance(items, arrow.RecordBatch):
        return arrow.Table.from_batches([items])
    return items


def _as_table(items: Any) -> Rows | None:
    """Return the rows of a table or column; None for anything else."""
    import narwhals.stable.v2 as nw  # imported here because lists do not need it

    try:
        seen = nw.from_native(items, allow_series=True, pass_through=True)
    except Exception as error:  # each library raises its own exception for duplicate column names
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigurationError(f"This table cannot be mapped: {reason}. Nothing was sent.") from None
    if isinstance(seen, nw.LazyFrame):
        raise ConfigurationError(
            f"This {type(items).__name__} is lazy. Collect it first, into a table that has its rows. Nothing was sent."
        )
    if isinstance(seen, nw.Series):
        name = seen.name if isinstance(seen.name, str) and seen.name else ITEM
        return _FrameRows(seen.alias(name).to_frame(), is_column=True)
    if isinstance(seen, nw.DataFrame) and not seen.columns:
        raise ConfigurationError(
            "The table has no columns, so there is nothing to ask about. Nothing was sent."
        )
    return _FrameRows(seen) if isinstance(seen, nw.DataFrame) else None


class _FrameRows:
    """The rows of a table, or of a single column."""

    def __init__(self, frame: Any, *, is_column: bool = False) -> None:
        self._frame = frame
        self.count = len(frame)
        self._names = _names_to_labels(frame.columns)
        self.columns = tuple(self._names)
        self.answer_columns: Mapping[str, str] = dict(_answer_columns(self._names))
        self.replaced: Collection[str] = ()
        self._is_column = is_column
        extra = [ROW] + ([ITEM] if is_column else [])
        self.names = tuple(dict.fromkeys([*self.columns, *extra]))

    def read(self, start: int, stop: int, needed: Sequence[str]) -> list[dict[str, Any]]:
        whole = ROW in needed and ROW not in self.columns
        wanted = [name for name in self.columns if whole or name in needed or self._is_column]
        part = self._frame[start:stop]
        values = [_values_of(part.get_column(self._names[name])) for name in wanted]
        rows = [dict(zip(wanted, row, strict=True)) for row in zip(*values, strict=True)]
        for row in rows:
            if self._is_column:
                row.setdefault(ITEM, row[self.columns[0]])
            if whole:
                row[ROW] = {name: value for name, value in row.items() if name not in self.replaced}
        return rows

    def build(self, answers: Columns, errors: Sequence[str | None], *, error_name: str, repeat: int) -> Any:
        frame, made = self._frame, dict(answers)
        if repeat > 1:
            frame = frame[[index for index in range(self.count) for _ in range(repeat)]]
            made = {DRAW: [draw for _ in range(self.count) for draw in range(1, repeat + 1)], **made}
        made[error_name] = list(errors)
        native = frame.to_native()
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(native, pandas.DataFrame):
            return _with_pandas_columns(pandas, native, made, error_name)
        return _with_columns(frame, made)


def _names_to_labels(columns: Iterable[Any]) -> dict[str, Any]:
    """Return the column labels by their names in a prompt; pandas labels may be numbers or tuples.

    Raises:
        ConfigurationError: Two labels have the same name.
    """
    named: dict[str, Any] = {}
    for column in columns:
        if (other := named.setdefault(str(column), column)) is not column:
            raise ConfigurationError(
                f"This table cannot be mapped: a prompt cannot tell its columns {other!r} and {column!r} apart. Rename one. Nothing was sent."
            )
    return named


def _answer_columns(named: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the answer names that would replace a column, with that column. With multi-level columns, an answer sets only the top level."""
    for name, label in named.items():
        if not isinstance(label, tuple):
            yield name, name
        elif label and not any(label[1:]):
            yield str(label[0]), name


def _values_of(column: Any) -> list[Any]:
    """Return the values of a column, with None for every null, including NaN, NaT and `pandas.NA`."""
    values = cast(list[Any], column.to_list())
    if column.null_count():
        missing = column.is_null().to_list()
        return [None if is_null else value for value, is_null in zip(values, missing, strict=True)]
    return values


def _with_pandas_columns(pandas: Any, frame: Any, made: Columns, error_name: str) -> Any:
    # Align by position, because an index may contain duplicates.
    added = {}
    for name, values in made.items():
        kinds = {type(value) for value in values if value is not None}
        dtype: Any = "Int64" if kinds == {int} else "boolean" if kinds == {bool} else None
        dtype = dtype if None in values else (object if not kinds else None)
        if name == error_name:  # one dtype, whether a row has failed or not
            dtype = pandas.Series(["text"]).dtype
        try:
            added[name] = pandas.Series(values, index=frame.index, dtype=dtype)
        except (OverflowError, ValueError, TypeError):  # an integer beyond 64 bits
            added[name] = pandas.Series(values, index=frame.index, dtype=object)
    levels = frame.columns.nlevels
    if levels == 1:
        return frame.assign(**added)
    whole = frame.copy(deep=False)
    for name, column in added.items():
        whole[name, *[""] * (levels - 1)] = column
    return whole


def _with_columns(frame: Any, made: Columns) -> Any:
    import narwhals.stable.v2 as nw

    backend = nw.get_native_namespace(frame)
    series = []
    for name, values in made.items():
        try:
            kind = nw.String() if all(value is None or isinstance(value, str) for value in values) else None
            series.append(nw.new_series(name, values, kind, backend=backend))
        except Exception:  # each library raises its own exception for mixed types
            texts = [
                value if value is None or isinstance(value, str) else json.dumps(value, default=str)
                for value in values
            ]
            series.append(nw.new_series(name, texts, nw.String(), backend=backend))
    return frame.with_columns(*series).to_native()


class _ListRows:
    """The rows of a list, or of an iterable read into a list."""

    def __init__(self, items: Sequence[Any], *, keys: Sequence[Any] | None = None) -> None:
        self._items = items
        self._keys = keys
        self.count = len(items)
        self.columns: tuple[str, ...] = ()
        self.answer_columns: Mapping[str, str] = {}
        self.replaced: Collection[str] = ()
        # As in JSON lines, records need not have all fields.
        found = dict.fromkeys(name for item in items for name in item) if _are_mappings(items) else {}
        fields = [name for name in found if isinstance(name, str)]
        self.names = tuple(dict.fromkeys([*fields, ITEM, *(() if keys is None else (KEY,))]))
        self._fields = frozenset(fields)

    def read(self, start: int, stop: int, needed: Sequence[str]) -> list[dict[str, Any]]:
        rows = []
        for index in range(start, min(stop, self.count)):
            item = self._items[index]
            row = {ITEM: item}
            if self._keys is not None:
                row[KEY] = self._keys[index]
            if self._fields:
                row |= {name: item.get(name) for name in needed if name in self._fields}
            rows.append(row)
        return rows

    def build(self, answers: Columns, errors: Sequence[str | None], *, error_name: str, repeat: int) -> Any:
        (values,) = answers.values()
        reasons: dict[int, str] = {}
        for place, error in enumerate(errors):
            if error is not None:
                reasons.setdefault(place // repeat, error)
        if repeat > 1:
            values = [values[start : start + repeat] for start in range(0, len(values), repeat)]
        return Answers(values, reasons)


class _DictRows(_ListRows):
    """The rows of a dict, one for each value."""

    def __init__(self, items: Mapping[Any, Any]) -> None:
        self._own_keys = list(items)
        super().__init__(list(items.values()), keys=self._own_keys)

    def build(self, answers: Columns, errors: Sequence[str | None], *, error_name: str, repeat: int) -> Any:
        made = super().build(answers, errors, error_name=error_name, repeat=repeat)
        return AnswersByKey(
            dict(zip(self._own_keys, made, strict=True)),
            {self._own_keys[place]: error for place, error in made.errors.items()},
        )


def _are_mappings(items: Sequence[Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) for item in items)


def field_values(value: Any, fields: Sequence[str]) -> list[Any]:
    """Return the values of an object's fields as plain data, with nested models as dicts."""
    if isinstance(value, Mapping):
        return [plain(value.get(name)) for name in fields]
    if isinstance(value, BaseModel):
        names = {
            str(field.validation_alias or field.alias or name): name
            for name, field in type(value).model_fields.items()
        }
        return [plain(getattr(value, names.get(name, name), None)) for name in fields]
    return [plain(getattr(value, name, None)) for name in fields]


def plain(value: Any) -> Any:
    """Return a value as plain data: models and dataclasses as dicts, enum members as their values."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def register_accessors(result: Any) -> None:
    """Register the accessor `claude` on pandas or polars data frames, if the result is one and the accessor is missing."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and _lacks_accessor(result, pandas.DataFrame):
        pandas.api.extensions.register_dataframe_accessor("claude")(ClaudeAccessor)
    if polars is not None and _lacks_accessor(result, polars.DataFrame):
        polars.api.register_dataframe_namespace("claude")(ClaudeAccessor)


def _lacks_accessor(result: Any, kind: Any) -> bool:
    return isinstance(result, kind) and not hasattr(kind, "claude")
