"""Scalars and arrays of other libraries are plain values in a prompt, at any depth, in a map and elsewhere."""

from __future__ import annotations

import datetime
from collections import OrderedDict, deque, namedtuple
from decimal import Decimal
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from claude_magic.bulk._rows import as_rows
from claude_magic.context import NullValueError, interpolate, row_prompt

Point = namedtuple("Point", "x y")


class Colour(StrEnum):
    RED = "red"


def in_a_row(value: object) -> str:
    """Return the prompt of a row with this value."""
    (part,) = row_prompt("{{ x }}", ["x"], {}).fill({"x": value})
    return str(part)


DAY = datetime.date(2026, 1, 2)
SINGLE: list[tuple[Any, str]] = [
    (pa.scalar(1), "1"),
    (pa.scalar("a"), "a"),
    (pa.scalar(2.5), "2.5"),
    (pa.scalar(True), "True"),
    (pa.scalar(DAY), "2026-01-02"),
    (pa.scalar(Decimal("1.50")), "1.50"),
    (pa.scalar([1, None]), "[1, None]"),
    (pa.scalar({"a": 1, "b": [1.5]}), "{'a': 1, 'b': [1.5]}"),
    (pa.array(["a"]).dictionary_encode()[0], "a"),
    (np.int64(1), "1"),
    (np.float32(0.5), "0.5"),
    (np.str_("a"), "a"),
    (np.bool_(True), "True"),
    (np.datetime64("2026-01-02"), "2026-01-02"),
    (pd.Period("2026-01"), "2026-01"),
    (pd.Interval(0, 1), "(0, 1]"),
]
NESTED: list[tuple[Any, str]] = [
    ([np.int64(1), np.float64(2.5), np.bool_(False)], "[1, 2.5, False]"),
    ((np.int64(1), 2), "(1, 2)"),
    ([np.str_("it's")], '["it\'s"]'),
    ({"a": {"b": [pa.scalar(1)]}}, "{'a': {'b': [1]}}"),
    ({np.int64(1): "a", pa.scalar("k"): 2}, "{1: 'a', 'k': 2}"),
    ([DAY, datetime.datetime(2026, 1, 2, 3, 4), datetime.time(5, 6)], "[2026-01-02, 2026-01-02 03:04:00, 05:06:00]"),
    ([pd.Timestamp("2026-01-02", tz="UTC"), pd.Period("2026-01")], "[2026-01-02 00:00:00+00:00, 2026-01]"),
    ([Decimal("1.50"), UUID(int=1)], "[1.50, 00000000-0000-0000-0000-000000000001]"),
    ([PurePosixPath("a/b"), datetime.timedelta(hours=1)], "[a/b, 1:00:00]"),
    ([pd.NA, pd.NaT, None], "[None, None, None]"),
    ([Colour.RED], "['red']"),
    ([np.array([1, 2]), np.array(["a"], dtype=object)], "[[1, 2], ['a']]"),
    ({"d": np.array(["2026-01-02"], dtype="datetime64[D]")}, "{'d': [2026-01-02]}"),
    ([pl.Series([1, 2]), pa.array([1, None]), pd.array([1, None], dtype="Int64")], "[[1, 2], [1, None], [1, None]]"),
    ([pd.Categorical(["a", "b"]), pd.Index([1])], "[['a', 'b'], [1]]"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [*SINGLE, *NESTED], ids=[text for _, text in [*SINGLE, *NESTED]])
def test_it_is_written_as_a_plain_value(value: Any, text: str) -> None:
    assert in_a_row(value) == text
    assert interpolate("{{ x }}", {"x": value}).text == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (np.array(5), "5"),
        (np.array(["a", "b"], dtype=object), "['a', 'b']"),
        (pa.array([1, 2]), "[1, 2]"),
        (pl.Series(["a", None]), "['a', None]"),
        (OrderedDict(a=deque([np.int64(1)])), "{'a': [1]}"),
        ({np.int64(1)}, "{1}"),
        (["x" * 1_000] * 300, str(["x" * 1_000] * 300)),
        (list(range(2_000)), str(list(range(2_000)))),
    ],
    ids=range(9),
)
def test_the_data_of_a_row_is_sent_in_full(value: Any, text: str) -> None:
    """Like a string; a list in a cell is not summarised like a table."""
    assert in_a_row(value) == text


def test_lists_that_contain_themselves_are_described() -> None:
    """Promise: they are not written out level by level, which would take years."""
    twice: list[Any] = []
    twice += [twice, twice]
    fan: list[Any] = [0] * 10
    for _ in range(12):
        fan = [fan] * 10

    assert len(in_a_row(twice)) < 20_000
    assert len(in_a_row({"fan": fan})) < 20_000


def test_other_objects_are_described() -> None:
    """A model keeps its name, and huge data is shortened."""
    assert in_a_row(Point(1, np.int64(2))) == "Point(x=1, y=2)"
    assert len(in_a_row(np.zeros(1_000_000))) < 20_000


@pytest.mark.parametrize(
    "null", [pa.scalar(None), pa.scalar(None, pa.int64()), np.datetime64("NaT"), np.array(np.nan)]
)
def test_a_null_of_any_library_is_null(null: object) -> None:
    if isinstance(null, np.ndarray):
        assert in_a_row(null) == "nan"
        return
    with pytest.raises(NullValueError):
        in_a_row(null)


COLUMNS = {
    "tags": [["a", "b"], []],
    "place": [{"x": 1, "y": [2.5]}, {"x": 2, "y": None}],
    "cost": [Decimal("1.50"), Decimal("2.00")],
    "day": [DAY, DAY],
    "kind": ["p", "q"],
}


@pytest.mark.parametrize("library", ["pandas", "pandas of arrow", "parquet", "polars", "arrow"])
def test_cells_of_any_table_are_plain(library: str, tmp_path: Any) -> None:
    """Lists, structs, decimals, dates and categories of each library."""
    table = pa.table(COLUMNS)
    table = table.set_column(4, "kind", table["kind"].dictionary_encode())
    made: Any = {
        "pandas": lambda: pd.DataFrame(COLUMNS).astype({"kind": "category"}),
        "pandas of arrow": lambda: table.to_pandas(types_mapper=pd.ArrowDtype),
        "parquet": lambda: table.to_pandas(),
        "polars": lambda: pl.from_arrow(table),
        "arrow": lambda: table,
    }[library]()
    rows = as_rows(made)
    prompt = row_prompt("{{ tags }} {{ place }} {{ cost }} {{ day }} {{ kind }}", rows.names, {})

    first, second = ("".join(map(str, prompt.fill(row))) for row in rows.read(0, 2, prompt.columns))

    assert first == "['a', 'b'] {'x': 1, 'y': [2.5]} 1.50 2026-01-02 p"
    assert second == "[] {'x': 2, 'y': None} 2.00 2026-01-02 q"
