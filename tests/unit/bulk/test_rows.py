"""The accepted inputs of a map, and the errors for others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from claude_magic import claude
from claude_magic.bulk._rows import as_rows, read_once
from claude_magic.client import ConfigurationError


def a_class(module: str, name: str, base: type = object) -> Any:
    """Return an object whose class claims to be from another library."""
    return type(name, (base,), {"__module__": module, "__iter__": lambda self: iter([1])})()


async def numbers() -> Any:
    yield 1


UNREAD: dict[str, tuple[Callable[[], Any], str]] = {
    "polars": (lambda: pl.LazyFrame({"a": [1]}), r"This LazyFrame \(polars\) is lazy\. Collect it first: df\.collect\(\)\."),
    "an expression": (lambda: pl.col("a"), r"df\.select\(expression\)"),
    "dask": (
        lambda: a_class("dask.dataframe.dask_expr._collection", "DataFrame"),
        r"df\.compute\(\), or .* claude\.mapper",
    ),
    "a column of dask": (lambda: a_class("dask.dataframe.dask_expr._collection", "Series"), r"df\.compute\(\)"),
    "pyspark": (lambda: a_class("pyspark.sql.classic.dataframe", "DataFrame"), r"df\.toPandas\(\), or .*mapper"),
    "duckdb": (lambda: a_class("_duckdb", "DuckDBPyRelation"), r"\(duckdb\) is lazy\. Collect it first: relation\.df\(\)"),
    "duckdb before 1.4": (lambda: a_class("duckdb.duckdb", "DuckDBPyRelation"), r"relation\.df\(\)"),
    "ibis": (lambda: a_class("ibis.expr.types.relations", "Table"), r"table\.to_pandas\(\)"),
    "ray": (lambda: a_class("ray.data.dataset", "MaterializedDataset"), r"ds\.to_pandas\(\), or .*mapper"),
    "xarray": (lambda: a_class("xarray.core.dataset", "Dataset", dict), r"ds\.to_dataframe\(\)\.reset_index\(\)"),
    "a derived class": (
        lambda: a_class("mine", "Own", type(a_class("xarray.core.dataarray", "DataArray"))),
        r"array\.to_series\(\)",
    ),
    "a reader": (lambda: pa.table({"a": [1]}).to_reader(), r"reader\.read_all\(\)"),
    "a dataset": (lambda: pyarrow.dataset.dataset(pa.table({"a": [1]})), r"dataset\.to_table\(\)"),
    "an async generator": (numbers, r"\[row async for row in items\]"),
    "a coroutine": (lambda: anext(numbers()), "await"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREAD)
def test_lazy_input_error_names_the_call_that_loads_it(kind: str) -> None:
    """Promise: the call is that library's own, and no row is read."""
    make, words = UNREAD[kind]

    with pytest.raises(ConfigurationError, match=f"{words}.*Nothing was sent"):
        read_once(make())


def test_dask_table_raises() -> None:
    dd: Any = pytest.importorskip("dask.dataframe")
    table = dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1)

    for lazy in (table, table["a"]):
        with pytest.raises(ConfigurationError, match=r"\(dask\) is lazy\. Collect it first: df\.compute\(\)"):
            as_rows(lazy)
    with pytest.raises(ConfigurationError, match=r"ddf\.map_partitions\(mapper, meta=mapper\.meta\)"):
        claude.mapper("Say {{ a }}")(table)


def test_lazy_check_imports_no_library() -> None:
    for name in ("dask", "duckdb", "ibis", "pyspark", "ray", "xarray"):
        if name not in sys.modules:
            as_rows([1])
            assert name not in sys.modules


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (bytearray(b"one"), "this is one text"),
        (memoryview(b"one"), "this is one text"),
        (np.array("one"), r"after 0 the ndarray raised TypeError: .*Nothing was sent\.$"),
        (pd.DataFrame(index=[1, 2]), "no columns"),
        (pl.DataFrame(), "no columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a'"),
    ],
    ids=["bytearray", "memoryview", "no dimension", "no columns", "polars without columns", "twice"],
)
def test_invalid_input_raises(items: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        as_rows(items)


def broken() -> Iterator[str]:
    yield "one"
    raise ValueError("the line is dead")


def test_failing_generator_reports_its_progress() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"after 1 the generator raised ValueError: the line is dead\..*create it again",
    ):
        read_once(broken())
