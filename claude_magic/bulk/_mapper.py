"""A map as one callable, for engines that split tables over processes: Dask, Ray, Spark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ..client import ConfigurationError, read_limiter_url
from ..runtime import get_runtime
from ._plan import ANSWER_COLUMN, ERROR_COLUMN, answer_columns, make_plan
from ._request import Request
from ._rows import check_is_read
from ._shards import open_shards

_DTYPES: Final = {"integer": "Int64", "number": "float64", "boolean": "boolean"}
"""Of columns that may hold nulls."""


class Mapper:
    """Asks about each row of a table: `mapper(frame)` returns a table with the answers, in the order of the rows.

    It can be pickled, and holds no key: each process reads its own settings and credential, from its environment. All processes share one
    limit where `limiter` names a server for it, and one journal where `journal` names a folder that all of them see.

    A table of pandas gives one of pandas (with its index), of polars or pyarrow one of its own kind, a dict of arrays a dict of arrays, an iterator
    of tables an iterator of tables.

    Args:
        request: What is asked, with no items.
        journal: The folder of the journal, or None for none on the disk.
        keep: Columns of the input that the result holds in front of the answers: names, or a table that has them; None for none.
    """

    def __init__(
        self, request: Request, *, journal: str | os.PathLike[str] | None = None, keep: Any = None
    ) -> None:
        _check_limiter(request.settings.get("limiter"))
        names, error = answer_columns(request, () if request.schema is None else request.schema.fields)
        self._request = replace(request, keeps_columns=False)
        self._journal = None if journal is None else os.path.abspath(os.path.expanduser(journal))
        self._kept = _empty(keep)
        if taken := [name for name in (*names, error) if name in self._kept.columns]:
            raise ConfigurationError(
                f"keep= names the column {taken[0]}, and an answer would take its place. Leave it out (answers are joined by the index), or "
                "name those of the answers differently: prefix='claude_'."
            )

    @property
    def meta(self) -> Any:
        """An empty table of pandas like those that come out: `ddf.map_partitions(mapper, meta=mapper.meta)`."""
        import pandas

        columns = {name: pandas.Series([], dtype=dtype) for name, dtype in self._dtypes().items()}
        kept = {name: self._kept[name] for name in self._kept.columns}
        return pandas.DataFrame({**kept, **columns})

    def __call__(self, rows: Any) -> Any:
        """Ask about the rows of a table, and wait for the answers.

        Args:
            rows: A table of pandas, polars or pyarrow, a dict of arrays (as Ray's batches are), or an iterator of tables (as Spark gives).

        Raises:
            ConfigurationError: It cannot be asked so: no key in this process, a column that is missing.
            MapStoppedError: Not all rows were asked. What was answered is kept in the journal.
        """
        if hasattr(rows, "map_partitions"):
            raise ConfigurationError(
                "This table is in partitions, and a mapper takes one of them: ddf.map_partitions(mapper, meta=mapper.meta). Nothing was sent."
            )
        check_is_read(rows)
        if isinstance(rows, Iterator):
            return (self(frame) for frame in rows)
        if isinstance(rows, Mapping):
            import pandas

            made = self(pandas.DataFrame(rows))
            return {name: made[name].to_numpy() for name in made.columns}
        return self._selected(rows, self._asked(rows) if len(rows) else None)

    def __repr__(self) -> str:
        return f"<Mapper {self._request.prompt[:60]!r}>"

    def _asked(self, rows: Any) -> Any:
        runtime = get_runtime()
        journal = False if self._journal is None else open_shards(self._journal)
        plan = make_plan(replace(self._request, items=rows, journal=journal), runtime)
        try:
            for _ in plan.read():
                pass
            plan.check_price(None)
            return plan.start().result()
        finally:
            plan.close()
            runtime.tell_news()

    def _selected(self, rows: Any, result: Any) -> Any:
        """Return the columns of `meta`, as a table of the kind of the input; of no rows where nothing was asked."""
        import narwhals.stable.v2 as nw

        if result is not None and not _is_pandas(rows):
            return nw.from_native(result).select(list(self.meta.columns)).to_native()
        if _is_pandas(rows):
            if result is None:
                missing = [name for name in self._kept.columns if name not in rows.columns]
                if missing:
                    return self.meta
                result = rows.assign(**dict.fromkeys(self._dtypes()))
            return self._fitted(result)[list(self.meta.columns)].astype(self._dtypes())
        frame = nw.from_native(rows)
        backend = nw.get_native_namespace(frame)
        kinds = {"Int64": nw.Int64(), "float64": nw.Float64(), "boolean": nw.Boolean()}
        made = [
            nw.new_series(name, [], kinds.get(str(dtype), nw.String()), backend=backend)
            for name, dtype in self._dtypes().items()
        ]
        return frame.with_columns(*made).select(list(self.meta.columns)).to_native()

    def _fitted(self, table: Any) -> Any:
        """Return a table of pandas with null for numbers that a column of `meta` cannot hold: they are errors of their rows."""
        error = f"{self._request.prefix}{ERROR_COLUMN}"
        for name, dtype in self._dtypes().items():
            if dtype == "Int64" and table[name].dtype == object:
                is_large = table[name].map(lambda value: isinstance(value, int) and value.bit_length() > 63)
                why = f"Claude's answer for {name} has more than 64 bits, which a column of whole numbers cannot hold."
                changed = {name: table[name].mask(is_large, None), error: table[error].mask(is_large, why)}
                table = table.assign(**changed)
        return table

    def _dtypes(self) -> dict[str, Any]:
        import pandas

        text = pandas.Series(["text"]).dtype
        schema, prefix = self._request.schema, self._request.prefix
        types = {ANSWER_COLUMN: "string"} if schema is None or not schema.fields else schema.field_types
        kinds = {"string": text, **_DTYPES}
        answers = {f"{prefix}{name}": kinds.get(kind, "object") for name, kind in types.items()}
        return {**answers, f"{prefix}{ERROR_COLUMN}": text}


def names_in(prompt: str, names: Mapping[str, object]) -> dict[str, object]:
    """Return those of the caller's names that a prompt can mean: what goes along with a mapper is pickled."""
    import re

    words = {
        word
        for part in re.findall(r"\{\{(.*?)\}\}", prompt, re.DOTALL)
        for word in re.findall(r"[^\W\d]\w*", part)
    }
    return {name: names[name] for name in words if name in names}


def _check_limiter(url: object) -> None:
    """Refuse a password, which would be pickled.

    Raises:
        ConfigurationError: There is one.
    """
    if isinstance(url, str) and read_limiter_url(url).has_password:
        raise ConfigurationError(
            "The address of the limiter holds a password, and a mapper is pickled, sent and logged. Set CLAUDE_MAGIC_LIMITER where the workers "
            "start, as the API key is, and leave limiter= out."
        )


def _is_pandas(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "pandas"


def _empty(keep: Any) -> Any:
    """Return the columns to keep as a table of pandas without rows."""
    import pandas

    like = getattr(keep, "_meta", keep)  # of Dask
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
