"""A map as a picklable callable, for engines that distribute tables over processes: Dask, Ray, Spark.

Engines concatenate partitions, so the type of a column must not depend on the answers in one of them: it depends on the schema alone. A
column of nulls, an empty list, and an integer beyond 64 bits do not change it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..client import ConfigurationError, read_limiter_url
from ..runtime import get_runtime, stopped_if_left, wait_interruptibly
from ..tools import interrupts_deferred
from ._plan import ANSWER_COLUMN, ERROR_COLUMN, answer_columns, make_plan
from ._requests import MapRequest
from ._rows import check_not_lazy, wrap_arrow
from ._shards import open_shards

_Answers = tuple[dict[str, list[Any]], list[str | None]]
_TEXT: Final = {"type": "string"}
_PANDAS_DTYPES: Final = {"integer": "Int64", "number": "float64", "boolean": "boolean"}
"""Nullable pandas dtypes by JSON type. Text has pandas' default string dtype; everything else is `object`."""
_MAX_DEPTH: Final = 20
_INT_BITS: Final = 63


class Mapper:
    """A callable that maps a prompt over the rows of a table: `mapper(frame)` returns a table of answers, in the order of the rows.

    A mapper can be pickled and contains no API key: each process reads its own settings and credential from its environment. Processes share
    a rate limit if `limiter` names a server for it, and a journal if `journal` names a folder that all of them can access.

    The result has the type of the input: a pandas data frame (with the same index), a polars or pyarrow table, a dict of arrays, or an
    iterator of tables.

    Args:
        request: Arguments of the map, without items.
        journal: Folder of the shared journal; None keeps answers in memory only.
        keep: Columns of the input to return before the answers: names, or a table with these columns; None for none.

    Raises:
        ConfigurationError: `limiter` contains a password, `keep` is invalid, or an answer would replace a column of `keep`.
    """

    def __init__(self, request: MapRequest, *, journal: str | os.PathLike[str] | None, keep: Any) -> None:
        _check_limiter(request.question.settings.get("limiter"))
        schema = request.question.output_schema
        names, error = answer_columns(request, () if schema is None else schema.fields)
        self._request = replace(request, keeps_columns=False)
        self._journal = None if journal is None else os.path.abspath(os.path.expanduser(journal))
        self._kept = _empty_frame(keep)
        if taken := [name for name in (*names, error) if name in self._kept.columns]:
            raise ConfigurationError(
                f"keep= names the column {taken[0]}, and an answer would take its place. Leave it out (answers are joined by the index), or "
                "name those of the answers differently: prefix='claude_'."
            )

    @property
    def meta(self) -> Any:
        """An empty pandas data frame with the columns and dtypes of the result: `ddf.map_partitions(mapper, meta=mapper.meta)`."""
        import pandas

        columns = {
            name: pandas.Series([], dtype=_pandas_type(schema)) for name, schema in self._columns().items()
        }
        kept = {name: self._kept[name] for name in self._kept.columns}
        return pandas.DataFrame({**kept, **columns})

    def __call__(self, rows: Any) -> Any:
        """Send the rows of a table, and wait for the answers.

        Args:
            rows: A pandas, polars or pyarrow table, a dict of arrays (such as a Ray batch), or an iterator of tables (such as Spark passes).

        Returns:
            A table with the columns of `meta`, of the same kind as `rows`. An iterator of tables is processed lazily.

        Raises:
            ConfigurationError: The map is invalid in this process: no API key, or a missing column.
            MapStoppedError: Not all rows were asked. Answers received so far are kept in the journal.
        """
        if hasattr(rows, "map_partitions"):
            raise ConfigurationError(
                "This table is in partitions, and a mapper takes one of them: ddf.map_partitions(mapper, meta=mapper.meta). Nothing was sent."
            )
        check_not_lazy(rows)
        if isinstance(rows, Iterator):
            return (self(frame) for frame in rows)
        if isinstance(rows, Mapping):
            import pandas

            made = self(pandas.DataFrame(rows))
            return {name: _array_of(made[name]) for name in made.columns}
        names = list(self._columns())
        answers: _Answers = self._ask(rows) if len(rows) else ({name: [] for name in names[:-1]}, [])
        return self._build(rows, answers)

    def __repr__(self) -> str:
        return f"<Mapper {self._request.question.prompt[:60]!r}>"

    def _ask(self, rows: Any) -> _Answers:
        runtime = get_runtime()
        journal = False if self._journal is None else open_shards(self._journal)
        plan = make_plan(replace(self._request, items=rows, journal=journal), runtime)
        try:
            for _ in plan.read():
                pass
            plan.approve_price(None)
            with interrupts_deferred():
                run = plan.start()
                with stopped_if_left(run):
                    wait_interruptibly(run)
            run.check()
            return plan.answers()
        finally:
            plan.close()
            runtime.print_pending_notes()

    def _build(self, rows: Any, answers: _Answers) -> Any:
        """Return a table of the input's kind, with the columns and types of `meta`. A value that does not fit its column is an error of its row."""
        import narwhals.stable.v2 as nw

        schemas, (values, errors) = self._columns(), answers
        *names, error = schemas
        index = rows.index if (is_pandas := _is_pandas(rows)) else None
        frame = rows if is_pandas else nw.from_native(wrap_arrow(rows))
        backend = None if is_pandas else nw.get_native_namespace(frame)

        def column(name: str, of: list[Any]) -> tuple[Any, list[int]]:
            if is_pandas:
                return _pandas_column(schemas[name], of, index)
            return _narwhals_column(name, schemas[name], of, backend)

        made, problems = {}, list(errors)
        for name in names:
            made[name], wrong = column(name, values[name])
            for place in wrong:
                problems[place] = _overflow_message(name)
        made[error], _ = column(error, problems)
        if is_pandas:
            return self._with_kept_columns(made, rows)
        kept = list(self._kept.columns)
        return frame.with_columns(*made.values()).select([*kept, *made]).to_native()

    def _with_kept_columns(self, made: dict[str, Any], rows: Any) -> Any:
        import pandas

        missing = [name for name in self._kept.columns if name not in rows.columns]
        if missing and not len(rows):
            return self.meta
        if missing:
            raise ConfigurationError(f"keep= names the column {missing[0]}, which this table does not have.")
        return pandas.DataFrame(
            {**{name: rows[name] for name in self._kept.columns}, **made}, index=rows.index
        )

    def _columns(self) -> dict[str, Mapping[str, Any]]:
        """Return the JSON schemas of the added columns by name: the answers, then the errors."""
        schema, prefix = self._request.question.output_schema, self._request.prefix
        fields = {"": _TEXT} if schema is None else schema.field_schemas
        answers = {f"{prefix}{name or ANSWER_COLUMN}": field for name, field in fields.items()}
        return {**answers, f"{prefix}{ERROR_COLUMN}": _TEXT}


def _overflow_message(name: str) -> str:
    return f"Claude's answer for {name} has a number of more than 64 bits, which its column cannot hold."


def _array_of(column: Any) -> Any:
    """Return a pandas column as a NumPy array; nulls are None, except in float columns, where they stay NaN."""
    if column.dtype.kind == "f" or not column.isna().any():
        return column.to_numpy()
    return column.astype(object).where(column.notna(), None).to_numpy()


def used_names(prompt: str, names: Mapping[str, object]) -> dict[str, object]:
    """Return the caller's variables that a prompt may use. They are pickled with the mapper, so all others are left out."""
    import re

    words = {
        word
        for part in re.findall(r"\{\{(.*?)\}\}", prompt, re.DOTALL)
        for word in re.findall(r"[^\W\d]\w*", part)
    }
    return {name: names[name] for name in words if name in names}


def _check_limiter(url: object) -> None:
    """Reject a limiter URL with a password, because the mapper is pickled.

    Raises:
        ConfigurationError: The URL contains a password.
    """
    if isinstance(url, str) and read_limiter_url(url).has_password:
        raise ConfigurationError(
            "The URL of the limiter contains a password, and a mapper is pickled, sent and logged. Set "
            "CLAUDE_MAGIC_LIMITER in the environment of the workers, like the API key, and leave limiter= out."
        )


def _is_pandas(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "pandas"


def _empty_frame(keep: Any) -> Any:
    """Return the columns to keep as an empty pandas data frame."""
    import pandas

    like = getattr(keep, "_meta", keep)  # Dask's empty example frame
    if like is None:
        return pandas.DataFrame()
    if _is_pandas(like):
        return like.head(0)
    names = getattr(like, "columns", getattr(like, "column_names", like))
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError("keep= is a list of names of columns, or a table that has them.")
    return pandas.DataFrame({name: pandas.Series([], dtype=object) for name in names})


def _pandas_type(schema: Mapping[str, Any]) -> Any:
    """Return the dtype of a pandas column.

    Args:
        schema: JSON schema of the field, without `$ref`.
    """
    import pandas

    kind = _json_type(schema)[0]
    return pandas.Series(["text"]).dtype if kind == "string" else _PANDAS_DTYPES.get(kind, "object")


def _pandas_column(schema: Mapping[str, Any], values: Sequence[Any], index: Any) -> tuple[Any, list[int]]:
    """Return a pandas column, and the positions of values that do not fit its dtype and became null."""
    import pandas

    converted = [_convert(schema, value) for value in values]
    column = pandas.Series(converted, index=index, dtype=_pandas_type(schema))
    return column, _lost_positions(values, converted)


def _narwhals_type(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """Return the dtype of a narwhals column (polars, pyarrow and others). Values without a single type are stored as JSON text."""
    import narwhals.stable.v2 as nw

    kind, schema = _json_type(schema)
    if depth > _MAX_DEPTH:
        return nw.String()
    if kind == "array" and isinstance(items := schema.get("items"), Mapping):
        return nw.List(_narwhals_type(items, depth + 1))
    if kind == "object" and (fields := schema.get("properties")) and not schema.get("additionalProperties"):
        return nw.Struct({name: _narwhals_type(field, depth + 1) for name, field in fields.items()})
    simple = {"integer": nw.Int64(), "number": nw.Float64(), "boolean": nw.Boolean()}
    return simple.get(kind, nw.String())


def _narwhals_column(
    name: str, schema: Mapping[str, Any], values: Sequence[Any], backend: Any
) -> tuple[Any, list[int]]:
    """Return a native column (polars, pyarrow and others), and the positions of values that do not fit its dtype and became null."""
    import narwhals.stable.v2 as nw

    dtype = _narwhals_type(schema)
    converted = [_convert_nested(dtype, _convert(schema, value)) for value in values]

    def column(of: list[Any]) -> Any:
        return nw.new_series(name, of, dtype, backend=backend)

    try:
        made = column(converted)
    except Exception:  # each library raises its own exception for a value that does not fit
        converted = [value if _fits(column, value) else None for value in converted]
        made = column(converted)
    return made, _lost_positions(values, converted)


def _fits(column: Any, value: Any) -> bool:
    try:
        column([value])
    except Exception:
        return False
    return True


def _lost_positions(values: Sequence[Any], converted: Sequence[Any]) -> list[int]:
    pairs = zip(values, converted, strict=True)
    return [place for place, (value, made) in enumerate(pairs) if made is None and value is not None]


def _convert(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a value converted to the type of its column; None for a number that does not fit a numeric column."""
    kind = _json_type(schema)[0]
    if value is None:
        return None
    if kind == "string":
        return _as_text(value)
    if kind == "integer":
        return value if isinstance(value, int) and value.bit_length() <= _INT_BITS else None
    try:
        return float(value) if kind == "number" else value
    except (OverflowError, ValueError, TypeError):
        return None


def _convert_nested(dtype: Any, value: Any) -> Any:
    """Return a value converted to a narwhals dtype, with parts that have no single type as text."""
    import narwhals.stable.v2 as nw

    if value is None:
        return None
    if isinstance(dtype, nw.List):
        return [_convert_nested(dtype.inner, item) for item in value] if isinstance(value, list) else value
    if isinstance(dtype, nw.Struct):
        return {field.name: _convert_nested(field.dtype, value.get(field.name)) for field in dtype.fields}
    if dtype == nw.Float64():
        return float(value)
    return _as_text(value) if dtype == nw.String() else value


def _as_text(value: Any) -> str:
    """Return a value as text; lists and dicts become JSON."""
    if isinstance(value, str):
        return value
    return (
        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    )


def _json_type(schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the JSON type other than null, and the schema that declares it; "" if several types are possible."""
    choices: Iterable[Any] = schema.get("anyOf") or (schema,)
    found = [each for each in choices if each.get("type") != "null"]
    if len(found) != 1:
        kinds = {_json_type(each)[0] for each in found}
        return (kinds.pop(), schema) if len(kinds) == 1 and not kinds & {"array", "object"} else ("", schema)
    kind = found[0].get("type")
    names = [name for name in (kind if isinstance(kind, list) else [kind]) if name not in (None, "null")]
    return (names[0], found[0]) if len(names) == 1 else ("", schema)
