"""Descriptions of polars and pyarrow tables, like those of pandas."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from claude_magic.client import ConfigurationError
from claude_magic.context import describe

COLUMNS: dict[str, list[Any]] = {
    "price": [1.5, 2.5, None],
    "city": ["Oslo", "Oslo", "Rome"],
    "count": [1, 2, 4],
    "share": [0.5, float("nan"), None],
    "day": [datetime.date(2026, 1, day) for day in (1, 2, 3)],
    "flag": [True, False, None],
    "tags": [["a"], ["b"], None],
    "boat": [{"name": "Ada"}, None, {"name": "Bea"}],
    "cost": [Decimal("1.50"), Decimal("2.50"), None],
    "raw": [b"ab", b"ab", None],
    "none": [None, None, None],
}
TABLES = {
    "polars": pl.DataFrame(COLUMNS),
    "pyarrow": pa.table(COLUMNS),
    "batch": pa.RecordBatch.from_pydict(COLUMNS),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_a_table_is_described_by_shape_types_statistics_and_rows(table: Any) -> None:
    """The usual first look, for every type."""
    collected = describe(table)
    text = " ".join(collected.text.split())

    for words in (
        "3 rows × 11 columns",
        "- price: Float64, 1 missing",
        "- share: Float64, 1 missing, 1 NaN",
        "price 2 2 0.7071 1.5 1.75 2 2.25 2.5",
        "count 3 2.33333 1.528 1 1.5 2 3 4",
        "city: 2 distinct; most common: Oslo (2×), Rome (1×)",
        "day: from 2026-01-01 to 2026-01-03",
        "none: only missing values",
        "{'name': 'Ada'}",
    ):
        assert words in text
    assert collected.notes == ()
    assert " at 0x" not in text


def test_values_that_occur_once_each_have_no_counts() -> None:
    """None of them is common."""
    text = describe(pl.DataFrame({"month": ["Jan", "Feb"]})).text

    assert "2 distinct, each once: " in text
    assert "×)" not in text


def test_the_rows_are_aligned_in_columns() -> None:
    """Missing values are null; a short table is shown in full."""
    text = describe(pl.DataFrame({"n": [1, None, 300], "name": ["a", "long", None]})).text

    assert text.endswith("All rows:\n   n  name\n   1     a\nnull  long\n 300  null\n")


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table])
def test_a_wide_table_is_described_by_forty_columns_and_names_more(make: Any) -> None:
    """The others are counted by type."""
    collected = describe(make({f"wave {number}": [number] for number in range(1_000)}))

    assert "- wave 39: Int64" in collected.text
    assert "of the others 960 are Int64" in collected.text
    assert "Other columns: wave 40, " in collected.text
    assert collected.notes == ("Of 1,000 columns, the first 40 are described.",)


def test_sampling_is_reported_and_extremes_cover_all_rows() -> None:
    """A sample would miss a single wrong value."""
    values = list(range(100_000))
    values[12_344] = 10**9

    collected = describe(pl.DataFrame({"tide": values, "kind": ["a", "b"] * 50_000}))

    row = next(line.split() for line in collected.text.splitlines() if line.strip().startswith("tide  "))
    assert row[0] == "tide"
    assert row[-1] == "1000000000"
    assert "one row in 5" in collected.text
    assert "99998" in collected.text
    assert collected.notes == (
        "Quartiles and common values of the table are from 20,000 of its 100,000 rows.",
    )


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pl.Series("tide", [1, 2, None]), ["Series (polars) tide: 3 values", "Int64, 1 missing", "null"]),
        (pl.Series([1.5]), ["Series (polars): 1 values", "values: Float64"]),
        (pl.Series("kind", ["x", "y"], dtype=pl.Categorical), ["2 distinct"]),
        (pl.Series("none", []), ["0 values"]),
        (pa.chunked_array([[1, 2], [3]]), ["3 values", "Int64"]),
        (pa.array(["x", "x"]), ["x (2×)"]),
    ],
)
def test_a_column_is_described_like_a_table(column: Any, words: list[str]) -> None:
    """With its name, if it has one."""
    text = describe(column).text

    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("max_tokens", [100, 1_000, 4_000])
def test_the_description_keeps_its_limit(max_tokens: int) -> None:
    """Long texts in cells and names are shortened, columns and rows left out."""
    book = "word " * 2_000
    table = pl.DataFrame({f"{book} {number}": [book] * 20 for number in range(50)})

    assert len(describe(table, max_tokens=max_tokens).text) <= 3.5 * max_tokens + 100


@pytest.mark.parametrize(
    "table",
    [pl.DataFrame(), pl.DataFrame({"a": []}), pa.table({}), pa.table({"a": pa.array([], pa.int64())})],
)
def test_a_table_without_rows_is_described(table: Any) -> None:
    """By its columns, if it has any."""
    assert "0 rows" in describe(table).text


def explode(frame: pl.DataFrame) -> pl.DataFrame:
    raise AssertionError("it was computed")


def test_a_lazy_table_is_described_by_schema_and_plan_and_not_computed() -> None:
    """Whatever the cost would be."""
    lazy = (
        pl.LazyFrame({"tide": [1, 2], "kind": ["a", "b"]})
        .filter(pl.col("tide") > 1)
        .map_batches(explode, schema={"tide": pl.Int64, "kind": pl.String})
    )

    collected = describe(lazy)
    inside = describe({"query": lazy})

    for text in (collected.text, inside.text):
        assert "LazyFrame (polars): 2 columns, not computed" in text
        assert "- tide: Int64" in text
        assert "Plan:\n" in text
        assert "FILTER" in text
    assert collected.notes == ()


def test_a_lazy_table_with_a_missing_file_is_described_as_such() -> None:
    """Not by a memory address."""
    text = describe(pl.scan_csv("not_here.csv")).text

    assert "its columns are unknown (FileNotFoundError" in text
    assert " at 0x" not in text


def test_a_dataset_of_files_is_described_by_its_schema(tmp_path: Any) -> None:
    """It is not read."""
    pl.DataFrame(COLUMNS).select("price", "city").write_parquet(tmp_path / "sales.parquet")

    text = describe(pyarrow.dataset.dataset(tmp_path / "sales.parquet")).text

    assert "not read" in text
    assert "price: double" in text


def test_groups_and_expressions_of_polars_are_described() -> None:
    """Groups by their table; never by a memory address."""
    grouped = describe(pl.DataFrame(COLUMNS).group_by("city")).text

    assert "3 rows × 11 columns" in grouped
    assert "'city'" in grouped
    assert describe(pl.col("tide") > 1).text == "<Expr ['[(col(\"tide\")) > (dyn int: 1)]']>"


def test_a_reader_that_reads_only_once_is_refused() -> None:
    """Like a generator."""
    reader = pa.RecordBatchReader.from_batches(TABLES["batch"].schema, [TABLES["batch"]])

    with pytest.raises(ConfigurationError, match="only once"):
        describe(reader)
    assert reader.read_all().num_rows == 3


def test_secrets_in_cells_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every table."""
    monkeypatch.setenv("VAULT_PASSWORD", "correct-horse-" * 10)

    collected = describe(pl.DataFrame({"a": ["it is " + "correct-horse-" * 10]}))

    assert "correct-horse" not in collected.text
    assert collected.redacted == ("environment variable VAULT_PASSWORD",)


def test_no_library_of_tables_is_imported_to_describe_something_else() -> None:
    """Loading stays fast: narwhals, polars and pandas are not imported before one is used."""
    code = (
        "import sys; from claude_magic.context import describe; describe([1, {'a': object()}]);"
        "print([name for name in ('narwhals', 'polars', 'pandas', 'pyarrow', 'PIL') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
