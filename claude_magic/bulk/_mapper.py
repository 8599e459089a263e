"""A map as a picklable callable, for engines that distribute tables over processes: Dask, Ray, Spark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ..client import ConfigurationError, read_limiter_url
from ..runtime import get_runtime
from ._columns import narwhals_column, pandas_column, pandas_type
from ._plan import ANSWER_COLUMN, ERROR_COLUMN, answer_columns, make_plan
from ._request import Request
from ._rows import check_not_lazy, wrap_arrow
from ._shards import open_shards

_Answers = tuple[dict[str, list[Any]], list[str | None]]
_TEXT: Final = {"type": "string"}


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

    def __init__(
        self, request: Request, *, journal: str | os.PathLike[str] | None = None, keep: Any = None
    ) -> None:
        _check_limiter(request.settings.get("limiter"))
        names, error = answer_columns(request, () if request.schema is None else request.schema.fields)
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
            name: pandas.Series([], dtype=pandas_type(schema)) for name, schema in self._columns().items()
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
        return f"<Mapper {self._request.prompt[:60]!r}>"

    def _ask(self, rows: Any) -> _Answers:
        runtime = get_runtime()
        journal = False if self._journal is None else open_shards(self._journal)
        plan = make_plan(replace(self._request, items=rows, journal=journal), runtime)
        try:
            for _ in plan.read():
                pass
            plan.approve_price(None)
            plan.start().wait()
            return plan.answers()
        finally:
            plan.close()
            runtime.tell_news()

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
                return pandas_column(schemas[name], of, index)
            return narwhals_column(name, schemas[name], of, backend)

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
        schema, prefix = self._request.schema, self._request.prefix
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
            "The address of the limiter holds a password, and a mapper is pickled, sent and logged. Set CLAUDE_MAGIC_LIMITER where the workers "
            "start, as the API key is, and leave limiter= out."
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
