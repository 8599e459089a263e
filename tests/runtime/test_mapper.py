"""A map as a callable: results, pickling, the journal of shards, and four Dask processes of which one is killed."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from claude_magic import ConfigurationError, JournalError, MapStoppedError, claude
from claude_magic.bulk._journal import Answer
from claude_magic.bulk._shards import JournalShards, open_shards
from claude_magic.simulator import Simulator, reply, status

from ..redis_server import redis_server

KEY = "sk-ant-test-0123456789abcdef"
PROMPT = "Classify: {{ text }}"
SCHEMA = "label, confidence float, count int, is_new bool"


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator for this process and those that it starts."""
    with Simulator() as simulator:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", simulator.url)
        monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "1000")
        yield simulator


@pytest.fixture
def frame() -> pd.DataFrame:
    """Three rows with an index other than a range."""
    return pd.DataFrame({"id": [1, 2, 3], "text": ["one", "two", "three"]}, index=[7, 7, 9])


def test_a_table_gives_its_answers_in_the_columns_of_meta(
    sim: Simulator, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Promise: the result has the columns, types and index that `meta` declares."""
    mapper = claude.mapper(PROMPT, schema=SCHEMA, journal=tmp_path)

    made = mapper(frame)

    assert list(made.columns) == ["label", "confidence", "count", "is_new", "error"]
    assert list(made.index) == [7, 7, 9]
    pd.testing.assert_series_equal(made.dtypes, mapper.meta.dtypes)
    assert made["error"].isna().all()
    assert mapper(frame.head(0)).equals(mapper.meta.set_index(frame.index[:0]))
    assert len(sim.requests) == 3


def test_a_number_that_no_column_holds_is_an_error_of_its_row(sim: Simulator, frame: pd.DataFrame) -> None:
    """Promise: the types are those of `meta`, whatever Claude answers, and other answers are kept."""
    sim.script(*[reply(json.dumps({"n": number})) for number in (2**70, 5, -(2**70))])
    mapper = claude.mapper("Count {{ text }}", schema="n int", concurrency=1)

    made = mapper(frame)

    assert made["n"].isna().tolist() == [True, False, True]
    assert made["n"].iloc[1] == 5
    assert made["error"].isna().tolist() == [False, True, False]
    assert "more than 64 bits" in made["error"].iloc[0]
    pd.testing.assert_series_equal(made.dtypes, mapper.meta.dtypes)


KINDS: dict[str, Callable[[Any], Any]] = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}


def types_of(table: Any) -> Any:
    """Return the columns of a table with their types, which engines compare."""
    return table.dtypes.to_dict() if isinstance(table, pd.DataFrame) else table.schema


def values_of(table: Any, name: str) -> list[Any]:
    if isinstance(table, pd.DataFrame):
        return [None if value is pd.NA else value for value in table[name]]
    return list(table[name].to_list() if isinstance(table, pl.DataFrame) else table[name].to_pylist())


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_number_is_an_error_of_its_row_in_each_kind_of_table(sim: Simulator, kind: str) -> None:
    """Promise: the partition with the number has the same types as all others and as `meta`."""
    make = KINDS[kind]
    sim.script(*[reply(json.dumps({"n": number})) for number in (2**63, 2**63 - 1, -(2**70), 1)])
    mapper = claude.mapper("Count {{ text }}", schema="n int", concurrency=1)

    large = mapper(make({"text": ["a", "b", "c"]}))
    small = mapper(make({"text": ["d"]}))

    assert values_of(large, "n") == [None, 2**63 - 1, None]
    assert values_of(small, "n") == [1]
    errors = values_of(large, "error")
    assert "Claude's answer for n has a number of more than 64 bits" in errors[0]
    assert types_of(large) == types_of(small)


class Place(BaseModel):
    name: str
    at: tuple[float, float] | None = None


class Found(BaseModel):
    tags: list[str]
    counts: list[list[int]]
    places: list[Place]
    first: Place | None
    mixed: int | str
    day: datetime.date
    share: float


FOUND = {
    "tags": ["a"],
    "counts": [[1, 2], []],
    "places": [{"name": "Bree", "at": None}],
    "first": {"name": "Bree", "at": None},
    "mixed": 5,
    "day": "2026-01-02",
    "share": 1,
}
EMPTY = {**FOUND, "tags": [], "counts": [], "places": [], "first": None, "mixed": "five"}
WRAPPED: list[Any] = [int, list[str], str, list[Place]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schema", [Found, SCHEMA, None, *WRAPPED], ids=str)
def test_all_partitions_have_the_same_types(sim: Simulator, kind: str, schema: Any) -> None:
    """Promise: also partitions of only nulls, of empty lists or without rows, for any schema, so that engines can
    concatenate them."""
    make = KINDS[kind]
    if schema is Found:
        sim.script(reply(json.dumps(FOUND)), reply(json.dumps(EMPTY)))
    mapper = claude.mapper("Find {{ text }}", schema=schema, keep=["text"], concurrency=1)

    parts = [mapper(make({"text": texts})) for texts in (["a"], ["b"], [None, None])]
    parts.append(
        mapper(make({"text": ["a"]})[0:0] if kind != "arrow" else pa.table({"text": ["a"]}).slice(0, 0))
    )

    answers = [
        {name: each for name, each in dict(types_of_columns(part)).items() if name != "text"}
        for part in parts
    ]
    assert all(each == answers[0] for each in answers)
    if kind == "pandas":
        assert answers[0] == {name: each for name, each in types_of(mapper.meta).items() if name != "text"}
    assert list(mapper.meta.columns) == ["text", *answers[0]]
    if schema is Found:
        assert values_of(parts[0], "counts") == [[[1, 2], []]]
        assert values_of(parts[1], "tags") == [[]]
        assert values_of(parts[0], "day") == ["2026-01-02"]
        assert [str(value) for part in parts[:2] for value in values_of(part, "mixed")] == ["5", "five"]


def types_of_columns(table: Any) -> Any:
    types = types_of(table)
    return zip(types.names, types.types, strict=True) if isinstance(table, pa.Table) else types.items()


def test_arrays_have_none_where_there_is_no_answer(sim: Simulator) -> None:
    """Promise: Ray converts them to columns with nulls; it accepts neither NaN as text nor pandas' NA."""
    made = claude.mapper("Count {{ text }}", schema="n int, x float")(
        {"text": np.array(["a", None], dtype=object)}
    )

    assert pa.array(made["n"]).type == pa.int64()
    assert pa.array(made["error"]).null_count == 1
    assert made["x"].dtype == np.float64


def test_what_is_kept_stands_in_front(sim: Simulator, frame: pd.DataFrame) -> None:
    """Promise: input columns by name, or as in a given table, with their types."""
    by_name = claude.mapper(PROMPT, keep=["id"])
    by_table = claude.mapper(PROMPT, keep=frame)

    assert list(by_name(frame).columns) == ["id", "answer", "error"]
    assert list(by_table(frame).columns) == ["id", "text", "answer", "error"]
    assert by_table.meta["id"].dtype == frame["id"].dtype
    with pytest.raises(ConfigurationError, match="keep= is a list of names"):
        claude.mapper(PROMPT, keep=[1])


def test_each_kind_of_table_gives_its_own_kind(sim: Simulator, frame: pd.DataFrame, tmp_path: Path) -> None:
    """Promise: polars, pyarrow, Ray's dict of arrays and Spark's iterator of frames, also without rows."""
    mapper = claude.mapper(PROMPT, schema=SCHEMA, journal=tmp_path, keep=["id"])
    names = ["id", "label", "confidence", "count", "is_new", "error"]

    of_polars = mapper(pl.from_pandas(frame))
    assert of_polars.columns == names
    assert mapper(pl.from_pandas(frame).head(0)).schema == of_polars.schema
    assert mapper(pa.Table.from_pandas(frame, preserve_index=False)).column_names == names
    arrays = mapper({name: frame[name].to_numpy() for name in frame})
    assert list(arrays) == names
    assert arrays["error"].tolist() == [None, None, None]
    assert [part.shape for part in mapper(iter([frame, frame.head(0)]))] == [(3, 6), (0, 6)]
    assert len(sim.requests) == 3


def test_no_key_is_in_the_pickle_and_no_password(sim: Simulator, tmp_path: Path) -> None:
    """Promise: data sent to workers contains neither; workers read their own environment."""
    data = pickle.dumps(claude.mapper(PROMPT, schema=SCHEMA, journal=tmp_path, limiter="redis://host/0"))

    assert KEY.encode() not in data
    assert pickle.loads(data).meta.columns[0] == "label"
    with pytest.raises(ConfigurationError, match="CLAUDE_MAGIC_LIMITER") as caught:
        claude.mapper(PROMPT, limiter="redis://:hunter2@host/0")
    assert "hunter2" not in str(caught.value)


def shorten(text: str) -> str:
    return text[:2]


def test_names_of_the_prompt_are_pickled_and_no_others(sim: Simulator, frame: pd.DataFrame) -> None:
    """Promise: functions that the prompt calls are pickled with it, but no other variables of the notebook."""
    large = bytes(100_000)
    mapper = pickle.loads(pickle.dumps(claude.mapper("Classify: {{ shorten(text) }}")))

    mapper(frame)

    assert {request.body["messages"][0]["content"] for request in sim.requests} == {
        f"Classify: {text[:2]}" for text in frame["text"]
    }
    assert len(pickle.dumps(mapper)) < len(large) / 10


def test_wrong_options_are_refused_before_anything_is_sent(sim: Simulator) -> None:
    """Promise: an error of one line at creation."""
    with pytest.raises(TypeError, match="There is no option 'journl'"):
        claude.mapper(PROMPT, journl="x")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="limiter"):
        claude.mapper(PROMPT, limiter="localhost:6379")
    with pytest.raises(ConfigurationError, match="has a field error"):
        claude.mapper(PROMPT, schema="label, error")


# Shards...


def answer(number: int, text: str = "silt") -> Answer:
    return Answer(number.to_bytes(16, "big"), text, None, "m", None, 1, 2, 0.5, True)


def test_a_stopped_map_with_shards_says_that_the_same_line_asks_only_the_rest(
    sim: Simulator, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """The answers so far are in the journal of shards."""
    mapper = claude.mapper(PROMPT, journal=tmp_path, concurrency=1)
    sim.script(reply("first"), status(401), status(401))
    with pytest.raises(MapStoppedError, match="running the same line again asks only the rest"):
        mapper(frame)
    sim.clear()

    assert mapper(frame)["error"].isna().all()
    assert len(sim.requests) == 2


def test_shards_of_several_processes_are_one_journal(tmp_path: Path) -> None:
    """Promise: each process writes its own file, and finds the answers of all, including later ones."""
    one, other = JournalShards(tmp_path), JournalShards(tmp_path)
    one.add([answer(1), answer(2, "sand\n“Kies”")], 0)
    other.add([answer(3)], 0)

    keys = [answer(number).key for number in range(5)]
    assert other.find(keys) == {each.key: each for each in (answer(1), answer(2, "sand\n“Kies”"), answer(3))}
    one.add([answer(4)], 0)
    assert answer(4).key in other.find(keys)
    assert len(list(tmp_path.iterdir())) == 2
    assert open_shards(str(tmp_path)) is open_shards(str(tmp_path))


def test_a_line_that_was_cut_is_no_answer_and_hides_none(tmp_path: Path) -> None:
    """Promise: `kill -9` during a write loses only that line, and the next reader finds all others."""
    JournalShards(tmp_path).add([answer(1), answer(2)], 0)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    keys = [answer(1).key, answer(2).key]

    path.write_bytes(data[:-20])
    reader = JournalShards(tmp_path)
    assert list(reader.find(keys)) == keys[:1]
    path.write_bytes(data)  # it was slow, not dead
    assert list(reader.find(keys)) == keys
    path.write_bytes(data.replace(b'"key"', b'"kex"', 1))
    assert list(JournalShards(tmp_path).find(keys)) == keys[1:]


@pytest.mark.parametrize(
    "field",
    [
        {"text": "\ud800 half"},
        {"text": None},
        {"problem": {"a": 1}},
        {"model": None},
        {"tokens_in": "many"},
        {"tokens_out": 10**30},
        {"cost": "free"},
        {"key": "ab"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_line_with_a_wrong_value_is_no_answer_and_hides_none(tmp_path: Path, field: dict[str, Any]) -> None:
    """Promise: its request is sent again, whatever has damaged the file."""
    JournalShards(tmp_path).add([answer(1), answer(2)], 0)
    (path,) = tmp_path.iterdir()
    header, first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, json.dumps({**json.loads(first), **field}) + "\n", *rest]))

    assert list(JournalShards(tmp_path).find([answer(1).key, answer(2).key])) == [answer(2).key]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: a failed write is an error, and later writes can be read."""
    shards = JournalShards(tmp_path)
    shards.add([answer(1)], 0)
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(JournalError, match="No space left on device"):
        shards.add([answer(2)], 0)
    monkeypatch.setattr(os, "fsync", sync)
    shards.add([answer(3)], 0)

    found = JournalShards(tmp_path).find([answer(number).key for number in (1, 2, 3)])

    assert set(found) == {answer(1).key, answer(3).key}


def test_a_disk_that_is_full_from_the_start_leaves_no_file_that_is_no_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: once there is space, the same process continues, and others read what it writes."""
    shards, sync = JournalShards(tmp_path), os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(JournalError, match="No space left on device"):
        shards.add([answer(1)], 0)
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(os, "fsync", sync)
    shards.add([answer(2)], 0)
    assert set(JournalShards(tmp_path).find([answer(1).key, answer(2).key])) == {answer(2).key}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{}", "is not part of a journal"),
        ('{"journal": "claude_magic journal shard", "version": 9}', "newer"),
    ],
)
def test_what_is_no_shard_is_named(line: str, words: str, tmp_path: Path) -> None:
    """Promise: a file of another program or of a newer version is an error with its name."""
    (tmp_path / "x.jsonl").write_text(f"{line}\n")

    with pytest.raises(JournalError, match=words):
        JournalShards(tmp_path).find([bytes(16)])


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, frame: pd.DataFrame, sim: Simulator) -> None:
    """Promise: if the journal's path is a file, the error says so, and nothing is sent."""
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="Name a folder that all workers can write"):
        claude.mapper(PROMPT, journal=tmp_path / "file" / "journal")(frame)

    assert not sim.requests


_KILLED = """
import sys, os, threading
import pandas as pd
from claude_magic import claude
mapper = claude.mapper("Classify: {{ text }}", journal=sys.argv[1])
mapper(pd.DataFrame({"text": [f"row {number}" for number in range(100)]}))
"""


def test_the_finished_rows_of_a_killed_process_count(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: after `kill -9`, another process asks only the rest and the rows that were in flight."""
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "40")
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)])
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("*.jsonl")) < 20:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = sum(path.read_bytes().count(b"\n") - 1 for path in tmp_path.glob("*.jsonl"))
    before = sum(row.requests for row in claude.runtime.ledger.rows())
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "1000")
    frame = pd.DataFrame({"text": [f"row {number}" for number in range(100)]})

    made = claude.mapper(PROMPT, journal=tmp_path)(frame)

    assert made["answer"].notna().all()
    assert sum(row.requests for row in claude.runtime.ledger.rows()) - before == 100 - kept


# Dask...


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_four_processes_of_dask_share_a_limit_and_survive_a_kill(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: one bucket for all, each row answered, rows in flight at a kill sent at most twice, and nothing sent
    by a second run."""
    distributed = pytest.importorskip("distributed")
    dd: Any = pytest.importorskip("dask.dataframe")
    rows, rate = 120, 15.0
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", str(rate))
    table = pd.DataFrame({"text": [f"row {number}" for number in range(rows)]})
    with (
        redis_server() as server,
        distributed.LocalCluster(
            n_workers=4,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        distributed.Client(cluster) as dask,
    ):
        mapper = claude.mapper(PROMPT, schema="label str", limiter=server.url, journal=tmp_path / "journal")
        parts = dd.from_pandas(table, npartitions=12).map_partitions(mapper, meta=mapper.meta)
        victim = next(iter(dask.run(os.getpid).values()))
        killer = threading.Thread(target=_kill_once, args=(sim, victim, rows // 3))
        killer.start()
        started = time.monotonic()
        made = parts.compute()
        killer.join()
        asked = Counter(request.body["messages"][0]["content"] for request in sim.requests)
        again = parts.compute()

    assert made["label"].notna().all()
    assert list(made.index) == list(range(rows))
    assert again.equals(made)
    assert set(asked) == {f"Classify: row {number}" for number in range(rows)}
    assert sum(asked.values()) - rows <= 10  # a partition's, at most
    assert len(sim.requests) == sum(asked.values())
    # Measured from the call: a process that is slow to send its first request would shorten the time from the first arrival.
    assert sim.requests[-1].received_at - started >= (rows - rate) / rate * 0.95


def _kill_once(sim: Simulator, process: int, after: int) -> None:
    deadline = time.monotonic() + 120
    while len(sim.requests) < after and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
