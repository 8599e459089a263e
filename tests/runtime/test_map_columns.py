"""Columns of a table with the names of a map's columns: the user's are never lost, and those of an earlier map are
recognised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from claude_magic import claude
from claude_magic.client import ConfigurationError
from claude_magic.runtime import close_runtime
from claude_magic.simulator import Simulator, reply, status

SAY = "Say exactly: {{ text }}"


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Iterator[None]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "100000")
    yield
    close_runtime()


def own(**columns: Any) -> dict[str, Any]:
    """A table with columns that have the names of a map's columns."""
    return {"text": ["one", "two"], "answer": ["mine", "mine too"], "error": [None, "E7"], **columns}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("repeat", [1, 2])
def test_columns_of_ones_own_are_not_replaced(
    sim: Simulator, make: Callable[[Any], Any], repeat: int
) -> None:
    """Promise: the map is refused before sending, even if all values are null; another prefix avoids the conflict."""
    for table in (own(), own(answer=[None, None], error=[None, None]), own(error=[None, None])):
        with pytest.raises(ConfigurationError, match=r"has a column answer already.*prefix='claude_'"):
            claude.map(SAY, make(table), repeat=repeat)
    assert not sim.requests

    out = pl.DataFrame(claude.map(SAY, make(own()), repeat=repeat, prefix="claude_"))

    assert out["answer"].unique(maintain_order=True).to_list() == ["mine", "mine too"]
    assert out["claude_answer"].unique(maintain_order=True).to_list() == ["one", "two"]


def test_columns_of_ones_own_in_levels_are_not_replaced(sim: Simulator) -> None:
    table = pd.DataFrame([["one", 1, 2]], columns=[["a", "answer", "error"], ["x", "", ""]])

    with pytest.raises(ConfigurationError, match="has a column answer already"):
        claude.map("""Say {{ row["('a', 'x')"] }}""", table)

    out = claude.map("""Say {{ row["('a', 'x')"] }}""", table.drop(columns=["answer", "error"], level=0))
    again = claude.map("""Say {{ row["('a', 'x')"] }}""", out.copy())
    assert list(again.columns) == list(out.columns)


PARTS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "itself": lambda out: out,
    "a copy": lambda out: out.copy(),
    "a filter": lambda out: out[out["text"] != "two"],
    "sorted": lambda out: out.sort_values("text", ascending=False),
    "merged": lambda out: out.merge(pd.DataFrame({"text": ["one", "four"], "n": [1, 2]}), how="outer"),
    "with new rows": lambda out: pd.concat([out, pd.DataFrame({"text": ["five"]})]),
    "polars": pl.from_pandas,
    "arrow": lambda out: pa.Table.from_pandas(out, preserve_index=False),
    "categories": lambda out: out.astype({"answer": "category"}),
    "a row edited": lambda out: out.assign(text=["one", "six", "three"]),
    "without attributes": lambda out: pd.DataFrame(out.to_dict("list")),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_a_map_made_is_known_again(sim: Simulator, part: str) -> None:
    """Promise: running a line on its own result replaces its columns, whatever was done with the table, and with
    another prompt too."""
    sim.script(status(400))
    out = claude.map(SAY, pd.DataFrame({"text": ["one", "two", "three"]}), concurrency=1)

    table = PARTS[part](out)
    again = claude.map(SAY, table)
    other = claude.map(f"Yes. {SAY}", again)

    columns = other.column_names if hasattr(other, "column_names") else list(other.columns)
    assert sorted(set(columns) - {"n"}) == ["answer", "error", "text"]
    assert len(columns) == len(set(columns))


class NoHash:
    def __hash__(self) -> int:
        raise RuntimeError("no")


def test_any_object_in_a_row_is_known_again(sim: Simulator) -> None:
    """Promise: no value of a row prevents a paid result from being returned."""
    around: list[Any] = [1]
    around.append(around)
    for value in (around, {1: "a", "b": 2}, NoHash(), {"a": NoHash()}):
        out = claude.map("Describe {{ x }}", pd.DataFrame({"x": [value]}))
        asked = len(sim.requests)

        again = claude.map("Describe {{ x }}", out.copy())

        assert again["answer"].tolist() == out["answer"].tolist()
        assert len(sim.requests) == asked


def test_the_results_of_two_maps_may_be_concatenated(sim: Simulator) -> None:
    """Promise: failed rows that were mapped separately and put back are recognised, although no map made the whole
    table."""
    sim.script(status(400))
    out = claude.map(SAY, pd.DataFrame({"text": ["one", "two"]}), concurrency=1)
    apart = claude.map(SAY, claude.errors(out))
    sim.clear()

    whole = claude.map(SAY, pd.concat([out[out["error"].isna()], apart]))

    assert sorted(whole["answer"]) == ["one", "two"]
    assert not sim.requests


def test_the_whole_row_is_without_what_the_map_replaces(sim: Simulator) -> None:
    """Promise: a prompt with `{{ row }}` is not sent again for its own result; another map sees all columns."""
    out = claude.map("Describe {{ row }}", pd.DataFrame({"text": ["one", "two"]}))
    sim.clear()

    again = claude.map("Describe {{ row }}", out)

    assert not sim.requests
    assert again.equals(out)
    claude.map("Describe {{ row }}", out.head(1), prefix="b_")
    assert "'answer'" in str(sim.requests[0].body)


def test_what_was_changed_by_hand_is_not_replaced(sim: Simulator) -> None:
    """Promise: a label that the user corrected is kept, even if Claude gives the same label elsewhere."""
    sim.script(*[reply(json.dumps({"label": label})) for label in ("good", "bad")])
    frame = pd.DataFrame({"text": ["one", "two"]})
    out = claude.map("Rate {{ text }}", frame, schema="label str", concurrency=1)
    sim.clear()

    out.loc[0, "label"] = "bad"
    with pytest.raises(ConfigurationError, match=r"has a column label already.*or was changed since"):
        claude.map("Rate {{ text }}", out, schema="label str")

    assert not sim.requests


def test_a_schema_that_has_grown_replaces_what_the_smaller_one_gave(sim: Simulator) -> None:
    frame = claude.map("Rate {{ text }}", pd.DataFrame({"text": ["one"]}), schema="label str")

    frame = claude.map("Rate {{ text }}", frame, schema="label str, score float")

    assert set(frame.columns) == {"text", "label", "score", "error"}


def test_a_second_step_does_not_replace_the_first(sim: Simulator) -> None:
    """Promise: neither the columns that its prompt uses, nor the reasons for missing values in them."""
    out = claude.map(SAY, pd.DataFrame({"text": ["one"]}))
    sim.clear()

    with pytest.raises(ConfigurationError, match="The prompt reads answer, which would be lost"):
        claude.map("Translate {{ answer }}", out)
    with pytest.raises(ConfigurationError, match="has a column error already"):
        claude.map("Translate {{ answer }}", out, schema="translation str")
    assert not sim.requests

    both = claude.map("Translate {{ answer }}", out, prefix="b_")
    assert list(both.columns) == ["text", "answer", "error", "b_answer", "b_error"]


def test_errors_are_those_of_the_map(sim: Simulator) -> None:
    """Promise: also for a part or copy; a column `error` of the user is not confused with it."""
    sim.script(status(400, message="too long"))
    frame = pd.DataFrame(own())

    out = claude.map(SAY, frame, prefix="c_", concurrency=1)

    for part in (out, out.copy(), out[["c_error", "text"]], pl.from_pandas(out)):
        assert list(claude.errors(part)["text"]) == ["one"]
    assert list(out.claude.errors()["text"]) == ["one"]
    assert list(claude.errors(out, "error")["text"]) == ["two"]
    with pytest.raises(ConfigurationError, match=r"claude\.errors\(df, 'error'\)"):
        claude.errors(frame)
    with pytest.raises(ConfigurationError, match="not a result of a map"):
        claude.errors(frame[["text"]])
    assert list(claude.errors(frame, "error")["text"]) == ["two"]


def test_a_mapper_leaves_the_columns_of_its_input_alone(sim: Simulator, tmp_path: Path) -> None:
    """Promise: columns that it does not keep are not lost; a column to keep with a conflicting name is refused at
    creation."""
    frame = pd.DataFrame(own())

    made = claude.mapper("Say exactly: {{ answer }}", journal=tmp_path, keep=["text"])(frame)

    assert made["answer"].tolist() == ["mine", "mine too"]
    assert made["error"].isna().all()
    with pytest.raises(ConfigurationError, match=r"keep= names the column answer.*prefix="):
        claude.mapper(SAY, keep=frame)
