"""Descriptions of pandas tables: of limited length, fast, for any content."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest

from claude_magic.context import describe

MILLION = 1_000_000


@pytest.fixture(scope="module")
def big() -> pd.DataFrame:
    """A million rows of ten kinds."""
    numbers = np.arange(MILLION)
    frame = pd.DataFrame(
        {
            "count": numbers,
            "share": numbers / MILLION,
            "flag": numbers % 2 == 0,
            "when": pd.date_range("2026-01-01", periods=MILLION, freq="s"),
            "where": pd.date_range("2026-01-01", periods=MILLION, freq="s", tz="Europe/Oslo"),
            "kind": pd.Categorical.from_codes(numbers % 3, ["red", "green", "blue"]),
            "text": pd.Series(["a", "b", "c", "d"] * (MILLION // 4)),
            "thing": pd.Series([None, 1, "x", 2.5] * (MILLION // 4), dtype=object),
            "whole": pd.array(numbers % 7, dtype="Int64"),
            "span": pd.to_timedelta(numbers, unit="s"),
        }
    )
    frame.loc[12_345, "share"] = 99.0  # no row that a sample would hit
    frame.loc[[1, 2, 3], "share"] = np.nan
    return frame


def test_a_frame_is_described_by_shape_types_statistics_and_rows() -> None:
    """The usual first look."""
    frame = pd.DataFrame({"price": [1.5, 2.5, None], "city": ["Oslo", "Oslo", "Rome"]})

    text = describe(frame).text

    assert "DataFrame: 3 rows × 2 columns" in text
    assert "- price: float64, 1 missing" in text
    assert "price     2    2  0.7071  1.5  1.75   2  2.25  2.5" in text
    assert "city: 2 distinct; most common: Oslo (2×), Rome (1×)" in text
    assert "1    2.5  Oslo" in text


def test_values_that_occur_once_each_have_no_counts() -> None:
    """None of them is common; the first few are examples."""
    frame = pd.DataFrame({"month": ["Jan", "Feb"], "code": [f"c{number}" for number in range(2)]})

    assert "month: 2 distinct, each once: Jan, Feb\n" in describe(frame).text
    assert "each once: c0, c1, c2, …" in describe(pd.Series([f"c{number}" for number in range(9)])).text


def test_a_million_rows_are_described_without_a_copy(big: pd.DataFrame) -> None:
    """The memory is that of a sample and one chunk of a column, whatever the size of the frame."""
    describe(big)  # what pandas imports at first use is not counted
    tracemalloc.start()

    describe(big)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6 < big.memory_usage(deep=False).sum()


def test_sampling_is_reported_in_the_text_and_in_a_note(big: pd.DataFrame) -> None:
    """The model and the user know the base of the numbers."""
    collected = describe(big)

    assert (
        "Statistics (from one row in 50; of numbers, count, mean, min and max are of all rows):"
        in collected.text
    )
    assert "- thing: object, 0 missing" not in collected.text
    assert "missing in the sample" in collected.text
    assert collected.notes == (
        "Quartiles and common values of the table are from 20,000 of its 1,000,000 rows.",
    )


def test_extremes_and_missing_values_cover_all_rows(big: pd.DataFrame) -> None:
    """A sample would miss a single wrong value."""
    text = describe(big).text

    share = next(line.split() for line in text.splitlines() if line.startswith("share "))
    assert share[-1] == "99"
    assert "- share: float64, 3 missing\n" in text
    assert "when: from 2026-01-01 00:00:00 to 2026-01-12 13:46:39" in text
    assert "999999" in next(line for line in text.splitlines() if line.startswith("count "))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame(), "0 rows × 0 columns"),
        (pd.DataFrame(index=range(3)), "3 rows × 0 columns"),
        (pd.DataFrame({"a": []}), "0 rows × 1 columns"),
        (pd.DataFrame([[1, "x"], [2, "y"]], columns=["a", "a"]), "a: 2 distinct"),
        (pd.DataFrame({"a": [pd.NaT, pd.NaT]}), "a: only missing values"),
        (pd.DataFrame({"a": [None, None]}), "a: only missing values"),
        (pd.DataFrame({"a": [np.nan, np.nan]}), "- a: float64, 2 missing"),
        (pd.DataFrame({"a": [1, "x", None, [2]]}), "- a: object, 1 missing"),
        (pd.DataFrame({"a": [{"k": 1}, {2}]}), "{'k': 1}"),
        (pd.DataFrame({"a": [np.inf, -np.inf, 1]}), "inf"),
        (pd.DataFrame({"a": [1j, 2]}), "complex128"),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), "- a: Int64, 1 missing"),
        (pd.DataFrame({"a": pd.array([True, None], dtype="boolean")}), "- a: boolean, 1 missing"),
        (pd.DataFrame({"a": pd.period_range("2026", periods=2, freq="M")}), "period[M]"),
        (pd.DataFrame({"a": pd.interval_range(0, 2)}), "interval"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}), "Sparse"),
        (pd.DataFrame({"a": pd.Categorical(["x", None])}), "a: 1 distinct"),
        (pd.DataFrame({"a": np.array([1, 2], dtype="float32")}), "float32"),
        (pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")}), "from 0 days 00:00:01 to 0 days 00:00:02"),
        (pd.DataFrame({("a", 1): [1], ("b", 2): [2]}), "('a', 1): int64"),
        (pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])), "x 1"),
        (pd.DataFrame({None: [1], 5: [2], pd.Timestamp("2026"): [3]}), "2026-01-01"),
        (pd.DataFrame({"a": [1, 2]}, index=[0, 0]), "2 rows"),
        (pd.Series([1, 2, 2], name="n"), "Series n: 3 values of type int64"),
        (pd.Series([], dtype=object), "Series: 0 values of type object"),
        (pd.Series(["a", None]), "1 missing"),
        (pd.Index(range(100)), "0, 1, 2, 3, 4, …, 95, 96, 97, 98, 99"),
        (pd.MultiIndex.from_product([["a", "b"], [1]]), "('a', 1), ('b', 1)"),
    ],
)
def test_every_kind_of_table_is_described(frame: Any, expected: str) -> None:
    """Empty, with many levels, with duplicate names, of every type: never just its repr."""
    collected = describe(frame)

    assert expected in collected.text
    assert collected.notes == ()


def test_a_wide_frame_is_described_by_its_first_columns() -> None:
    """Ten thousand columns are counted, forty are described."""
    frame = pd.DataFrame(np.zeros((5, 10_000))).assign(last=True)

    collected = describe(frame)

    assert "(the first 40 are described; of the others 9,960 are float64, 1 are bool)" in collected.text
    assert collected.notes == ("Of 10,001 columns, the first 40 are described.",)


SALES = pd.DataFrame(
    {"region": ["north", "south", "north"], "year": [2025, 2025, 2026], "sales": [1.0, 2.0, 4.5]}
)
FRAMES = {
    "a sum by groups": (SALES.groupby("region")["sales"].sum(), {"region", "north", "south", "sales"}),
    "sums by groups": (SALES.groupby("region").sum(), {"region", "north", "year", "sales"}),
    "by two": (
        SALES.groupby(["region", "year"])["sales"].agg(["min", "max"]),
        {"region", "year", "north", "2026", "max"},
    ),
    "counts of values": (SALES["region"].value_counts(), {"region", "north", "count"}),
    "a pivot table": (
        SALES.pivot_table(index="region", columns="year", values="sales"),
        {"region", "year", "2026", "south"},
    ),
    "a pivot table of levels": (
        SALES.pivot_table(index="region", columns="year", values=["sales"], aggfunc=["sum", "mean"]),
        {"region", "year", "mean", "2025"},
    ),
    "a cross table": (pd.crosstab(SALES["region"], SALES["year"], margins=True), {"region", "year", "All"}),
    "stacked": (SALES.set_index("region").stack(), {"region", "north", "sales"}),
    "transposed": (SALES.groupby("region").sum().T, {"region", "north", "sales"}),
    "no rows": (SALES.set_index("region").rename_axis(columns="measure").iloc[:0], {"region", "measure"}),
    "no columns": (SALES.set_index(["region", "year"])[[]], {"region", "year"}),
    "an index": (SALES.set_index("region").index, {"region", "south"}),
    "an index of levels": (SALES.set_index(["region", "year"]).index, {"region", "year", "2026"}),
    "columns with a name": (SALES.rename_axis(columns="measure").columns, {"measure", "sales"}),
    "dates": (
        SALES.set_index(pd.date_range("2026-01-01", periods=3, name="day"))["sales"],
        {"day", "2026-01-02", "sales"},
    ),
    "categories": (
        SALES.astype({"region": "category"}).groupby("region", observed=True)["sales"].sum(),
        {"region", "north"},
    ),
    "names that are no text": (SALES["sales"].rename_axis(7), {"7", "sales"}),
    "one level with a name": (
        pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")], names=[None, "kind"])),
        {"kind", "a", "b"},
    ),
    "groups": (SALES.groupby("region"), {"region", "north", "2 groups", "3 rows × 3 columns"}),
    "groups without an index": (SALES.groupby("region", as_index=False), {"2 groups by region", "south"}),
    "groups of one column": (SALES.groupby(["region", "year"])["sales"], {"3 groups by region, year"}),
    "resampled": (
        SALES.set_index(pd.date_range("2026-01-01", periods=3, name="day")).resample("2D"),
        {"day", "2 groups", "2026-01-03"},
    ),
    "a window": (SALES["sales"].rolling(2), {"window=2", "sales", "4.5"}),
    "in colours": (SALES.set_index("region").style.format(precision=1), {"region", "north", "sales"}),
}


@pytest.mark.parametrize(("table", "words"), FRAMES.values(), ids=FRAMES.keys())
def test_every_label_of_a_table_is_shown(table: Any, words: set[str]) -> None:
    """Names of both axes and their levels, and all labels of a small table, as in pandas."""
    collected = describe(table)

    assert {word for word in words if word not in collected.text} == set()
    assert "object at 0x" not in collected.text
    assert collected.notes == ()


def test_the_name_of_an_axis_is_above_its_labels() -> None:
    """In the rows, not only in the heading."""
    table = pd.crosstab(SALES["region"], SALES["year"])

    assert describe(table).text.rstrip().endswith(str(table))


def test_every_row_of_a_table_of_a_page_is_shown() -> None:
    """Each may be a group; only a table without room is shown by its first and last rows."""
    page = pd.Series(range(50), index=[f"group {number}" for number in range(50)], name="sum")

    assert all(label in describe(page).text for label in page.index)
    assert "group 20" not in describe(page, max_tokens=200).text
    assert "Last rows" in describe(page, max_tokens=200).text


def test_columns_that_are_not_described_are_named() -> None:
    """Up to a readable number."""
    wide = pd.DataFrame(np.zeros((2, 100)), columns=[f"wave {number}" for number in range(100)])

    text = describe(wide).text

    assert "Other columns: wave 40, wave 41, " in text
    assert "wave 64, and 35 more" in text


def test_long_labels_of_several_levels_are_shortened() -> None:
    """Like those of one level; the names of the levels too."""
    book = "word " * 2_000_000
    levels = pd.MultiIndex.from_product([[book], ["b", "c"]], names=[book, "kind"])

    assert len(describe(pd.DataFrame(np.eye(2), index=levels, columns=levels)).text) < 3_000


@pytest.mark.parametrize("max_tokens", [100, 400, 4_000])
def test_the_description_keeps_its_limit(big: pd.DataFrame, max_tokens: int) -> None:
    """The rest is left out, with a note."""
    wide = pd.DataFrame({f"column number {number}": ["long text " * 9] * 20 for number in range(40)})

    for frame in (big, wide):
        collected = describe(frame, max_tokens=max_tokens)

        assert len(collected.text) <= 3.5 * max_tokens + 100
    assert any("cut" in note for note in describe(big, max_tokens=100).notes)


def test_rows_of_many_columns_show_the_first_ones() -> None:
    """The number of columns shrinks before the description is cut."""
    wide = pd.DataFrame({f"column {number}": ["long text " * 9] * 20 for number in range(40)})

    assert "\n(of the first 10 columns)" in describe(wide, max_tokens=4_000).text


def test_huge_cells_labels_and_names_are_shortened() -> None:
    """A book in a cell is not read in full."""
    book = "word " * 2_000_000
    frame = pd.DataFrame({book: pd.Series([book] * 30, dtype=object, index=[book] * 30)})

    assert len(describe(frame).text) < 6_000


def test_objects_that_raise_in_cells_are_tolerated() -> None:
    """If they cannot be shown, or not compared."""

    class Rude:
        __hash__ = None

        def __str__(self) -> str:
            raise ValueError

        def __eq__(self, other: object) -> bool:
            raise ValueError

    collected = describe(pd.DataFrame({"a": pd.Series([Rude(), Rude()], dtype=object)}))

    assert "<Rude, whose str raises ValueError>" in collected.text


def test_secrets_in_cells_are_redacted_before_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a password is still a secret."""
    secret = "correct-horse-" * 10
    monkeypatch.setenv("VAULT_PASSWORD", secret)

    collected = describe(pd.DataFrame({"a": [f"it is {secret}"]}))

    assert "correct-horse" not in collected.text
    assert collected.redacted == ("environment variable VAULT_PASSWORD",)


def test_a_frame_of_a_derived_class_is_a_frame() -> None:
    """Like those of geopandas; an object that only looks like a frame is not one."""

    class Derived(pd.DataFrame):
        pass

    assert "DataFrame: 1 rows" in describe(Derived({"a": [1]})).text
