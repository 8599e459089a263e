"""`claude.map`: no row is lost or sent again after its answer, and the cost is limited before sending."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from claude_magic import ClaudeError, claude
from claude_magic.bulk import (
    Journal,
    JournalError,
    MapRequest,
    MapStoppedError,
    Runs,
    _plan,
    journal_path,
    make_plan,
)
from claude_magic.client import ConfigurationError, InvalidApiKeyError
from claude_magic.runtime import Question, close_runtime, format_usd, get_runtime
from claude_magic.simulator import (
    Behaviour,
    Gate,
    Post,
    Simulator,
    close_mid_stream,
    drop_before_headers,
    hold,
    reply,
    scenario,
    status,
)
from claude_magic.simulator._wire import Hold

QUICK = {
    "CLAUDE_MAGIC_RATE_LIMIT_RPS": "100000",
    "CLAUDE_MAGIC_INITIAL_BACKOFF": "0.01",
    "CLAUDE_MAGIC_MAX_BACKOFF": "0.02",
}


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Iterator[None]:
    """This process as a kernel whose environment points at `sim`, without waiting times."""
    for name, value in {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": sim.url, **QUICK}.items():
        monkeypatch.setenv(name, value)
    yield
    get_runtime().ledger.set_budget(None)
    close_runtime()


def prompts(sim: Simulator) -> list[str]:
    """Return the prompts of the requests, in order of arrival."""
    asked = [seen.body for seen in sim.requests if seen.path == "/v1/messages"]
    contents = [body["messages"][0]["content"] for body in asked]
    return [content if isinstance(content, str) else content[-1]["text"] for content in contents]


def spent() -> float:
    """Return the simulated cost of this process so far, in USD."""
    return get_runtime().ledger.account(is_simulated=True).committed


def answer_with(text: str) -> Behaviour:
    """Answer with a text."""
    return reply(text)


class Label(BaseModel):
    label: Literal["good", "bad"]
    score: float


GOOD = json.dumps({"label": "good", "score": 0.75})


# What comes back...


def test_a_table_comes_back_with_the_answers_beside_it() -> None:
    """After its own columns, with its index."""
    frame = pd.DataFrame({"text": ["one", "two"], "n": [1, 2]}, index=[7, 7])

    out = claude.map("Say exactly: {{ text }}", frame)

    assert list(out.columns) == ["text", "n", "answer", "error"]
    assert list(out.index) == [7, 7]
    assert out["answer"].tolist() == ["one", "two"]
    assert out["error"].isna().all()
    assert list(frame.columns) == ["text", "n"]


def test_a_schema_makes_a_column_of_each_field(sim: Simulator) -> None:
    sim.script(answer_with(GOOD))

    out = claude.map("Rate {{ text }}", pd.DataFrame({"text": ["fine"]}), schema=Label)

    assert out.loc[0, ["label", "score"]].tolist() == ["good", 0.75]
    assert sim.requests[0].body["output_config"]["format"]["type"] == "json_schema"


def test_a_schema_may_be_a_description() -> None:
    out = claude.map("Rate {{ text }}", pd.DataFrame({"text": ["fine"]}), schema="label, tags list[str]")

    assert list(out.columns) == ["text", "label", "tags", "error"]
    assert isinstance(out.loc[0, "tags"], list)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_number_beyond_64_bits_loses_no_answer(sim: Simulator, make: Callable[[Any], Any]) -> None:
    """No pandas column can store it as a number next to a null."""
    sim.script(answer_with(json.dumps({"n": 2**70})))

    out = claude.map("Count {{ text }}", make({"text": ["stars", None]}), schema="n int")

    counted, _ = out["n"].to_pylist() if hasattr(out, "to_pylist") else out["n"]
    assert int(counted) == 2**70


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table])
def test_a_table_of_another_library_stays_one(make: Callable[[Any], Any]) -> None:
    out = claude.map("Say {{ text }}", make({"text": ["one", None]}), schema="label, score float")

    assert type(out) is type(make({"text": []}))
    rows = out.to_pylist() if hasattr(out, "to_pylist") else out.to_dicts()
    assert rows[1]["label"] is None
    assert "null" in rows[1]["error"]
    assert isinstance(rows[0]["score"], float)


def test_a_column_becomes_a_table() -> None:
    """The column is included."""
    out = claude.map("Say {{ item }} {{ word }}", pd.Series(["one", "two"], name="word", index=["a", "b"]))

    assert list(out.columns) == ["word", "answer", "error"]
    assert list(out.index) == ["a", "b"]


def test_a_list_a_dict_and_a_generator() -> None:
    as_list = claude.map("Say exactly: {{ item }}", ["one", "two"])
    as_dict = claude.map("Say exactly: {{ item }} of {{ key }}", {"a": "one", "b": None})
    generated = claude.map("Say exactly: {{ item * 2 }}", (number for number in range(2)))

    assert as_list == ["one", "two"]
    assert as_dict == {"a": "one of a", "b": None}
    assert list(as_dict.errors) == ["b"]
    assert generated == ["0", "2"]


def test_objects_for_a_list_with_a_schema(sim: Simulator) -> None:
    sim.script(answer_with(GOOD))

    assert claude.map("Rate {{ item }}", ["fine"], schema=Label) == [Label(label="good", score=0.75)]


def test_items_that_are_dicts_have_names() -> None:
    out = claude.map("Say exactly: {{ word }}", [{"word": "one"}, {"word": "two"}])

    assert out == ["one", "two"]


def test_records_need_not_have_all_fields_each(sim: Simulator) -> None:
    """As in JSON lines: missing fields are null."""
    out = claude.map("Say exactly: {{ a }} {{ b }}", [{"a": 1}, {"a": 2, "b": 3}])

    assert list(out) == [None, "2 3"]
    assert "{{ b }} is null" in out.errors[0]


@pytest.mark.parametrize(
    "items", [pa.array(["one", None]), pa.RecordBatch.from_pydict({"item": ["one", None]})]
)
def test_a_piece_of_a_column_or_table_of_arrow_is_one(items: Any) -> None:
    out = claude.map("Say exactly: {{ item }}", items)

    assert out.column("answer").to_pylist() == ["one", None]
    assert "null" in out.column("error").to_pylist()[1]


def test_the_callers_names_are_known_and_the_rows_own_go_first(sim: Simulator) -> None:
    language, text = "German", "not this"

    claude.map("In {{ language }}: {{ text.upper() }}", pd.DataFrame({"text": ["fine"]}))

    assert prompts(sim) == ["In German: FINE"]
    assert (language, text) == ("German", "not this")


def test_awaited_it_lets_the_loop_run(sim: Simulator) -> None:
    gate = Gate()
    sim.script(hold(gate))

    async def main() -> Any:
        async def open_gate() -> None:
            gate.open()

        mapping = asyncio.create_task(claude.map_async("Say {{ item }}", ["one"]))
        await asyncio.sleep(0)
        await open_gate()
        return await mapping

    assert len(asyncio.run(main())) == 1


# Each request once...


def test_equal_rows_are_asked_once(sim: Simulator) -> None:
    out = claude.map("Say exactly: {{ item }}", ["one", "two", "one", "one"])

    assert sorted(prompts(sim)) == ["Say exactly: one", "Say exactly: two"]
    assert out == ["one", "two", "one", "one"]


def test_running_it_again_asks_nothing(sim: Simulator) -> None:
    frame = pd.DataFrame({"text": ["one", "two"]})
    first = claude.map("Say {{ text }}", frame)
    sim.clear()

    again = claude.map("Say {{ text }}", frame)

    assert sim.requests == []
    pd.testing.assert_frame_equal(first, again)


def test_only_what_has_changed_is_asked(sim: Simulator) -> None:
    """A row, a column, the prompt, or the model."""
    frame = pd.DataFrame({"text": ["one", "two", "three"]})
    claude.map("Say {{ text }}", frame)

    def asked(prompt: str = "Say {{ text }}", **options: Any) -> list[str]:
        sim.clear()
        claude.map(prompt, frame, **options)
        return sorted(prompts(sim))

    frame.loc[1, "text"] = "four"
    assert asked() == ["Say four"]
    frame["more"] = 1
    assert asked() == []
    assert asked("Tell {{ text }}") == ["Tell four", "Tell one", "Tell three"]
    assert len(asked(model="claude-opus-5-5")) == 3
    assert len(asked(max_tokens=99)) == 3
    assert asked(concurrency=3) == []
    monkeypatched = dict(os.environ, CLAUDE_MAGIC_TIMEOUT="77", CLAUDE_MAGIC_MAX_RETRIES="1")
    os.environ.update(
        {name: monkeypatched[name] for name in ("CLAUDE_MAGIC_TIMEOUT", "CLAUDE_MAGIC_MAX_RETRIES")}
    )
    try:
        assert asked() == []
    finally:
        del os.environ["CLAUDE_MAGIC_TIMEOUT"], os.environ["CLAUDE_MAGIC_MAX_RETRIES"]


def test_its_own_result_is_mapped_again_for_nothing(sim: Simulator) -> None:
    """`df = claude.map(..., df)`, run twice, costs nothing the second time."""
    frame = claude.map("Say {{ text }}", pd.DataFrame({"text": ["one"]}))
    sim.clear()

    frame = claude.map("Say {{ text }}", frame)

    assert list(frame.columns) == ["text", "answer", "error"]
    assert sim.requests == []


def test_draws_are_requests_of_their_own(sim: Simulator) -> None:
    out = claude.map("Say {{ text }}", pd.DataFrame({"text": ["one", "two"]}), repeat=3)
    assert len(sim.requests) == 6
    assert out["draw"].tolist() == [1, 2, 3, 1, 2, 3]
    assert out["text"].tolist() == ["one"] * 3 + ["two"] * 3

    sim.clear()
    assert [len(draws) for draws in claude.map("Say {{ item }}", ["one", "two"], repeat=4)] == [4, 4]
    assert len(sim.requests) == 2


def test_the_part_that_all_rows_share_is_cached_and_one_request_goes_first(sim: Simulator) -> None:
    shared = "A long instruction. " * 200
    gate = Gate()
    sim.script(hold(gate))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            claude.map(f"{shared}Rate {{{{ item }}}}", ["one", "two", "three"])
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not sim.requests:
            pass
        assert len(sim.requests) == 1
    finally:
        gate.open()
        thread.join()

    assert failed == []
    contents = [seen.body["messages"][0]["content"] for seen in sim.requests]
    assert [content[0]["cache_control"] for content in contents] == [{"type": "ephemeral"}] * 3
    assert len({content[0]["text"] for content in contents}) == 1
    assert sorted(content[1]["text"] for content in contents) == ["one", "three", "two"]


def test_a_long_system_prompt_is_cached(sim: Simulator) -> None:
    claude.map("{{ item }}", ["one"], system="A long instruction. " * 200)

    assert sim.requests[0].body["system"][0]["cache_control"] == {"type": "ephemeral"}


# Rows that fail...


def test_a_row_that_fails_is_a_value(sim: Simulator) -> None:
    """Running the line again asks only this row again."""
    frame = pd.DataFrame({"text": ["one", "two"]})
    sim.script(status(400, message="too long"))

    out = claude.map("Say {{ text }}", frame, concurrency=1)
    assert out["answer"].isna().tolist() == [True, False]
    assert "InvalidRequestError 400: " in out.loc[0, "error"]
    assert "too long" in out.loc[0, "error"]
    assert claude.errors(out)["text"].tolist() == ["one"]
    assert out.claude.errors()["text"].tolist() == ["one"]
    sim.clear()

    out = claude.map("Say {{ text }}", frame)

    assert prompts(sim) == ["Say one"]
    assert out["error"].isna().all()


def test_a_row_whose_answer_cannot_be_read_may_be_billed(sim: Simulator) -> None:
    sim.script(status(200, body=b"paid for", content_type="text/plain"))
    before = get_runtime().ledger.account(is_simulated=True).unconfirmed

    out = claude.map("Say {{ item }}", ["one"])

    assert "UnknownStatusError 200: " in out.errors[0]
    assert get_runtime().ledger.account(is_simulated=True).unconfirmed > before


@pytest.mark.parametrize(("retries", "requests"), [("0", 3), ("1", 5)])
def test_a_row_whose_answer_broke_off_is_asked_again_unless_retries_are_ruled_out(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, retries: str, requests: int
) -> None:
    """A request without a complete answer may have been billed, and `max_retries = 0` rules out a second one."""
    monkeypatch.setenv("CLAUDE_MAGIC_MAX_RETRIES", retries)
    sim.script(close_mid_stream(), close_mid_stream())

    claude.map("Say {{ item }}", ["a", "b", "c"], max_tokens=20_000)

    assert len(sim.requests) == requests


@pytest.mark.parametrize("journal", [None, False])
def test_retry_asks_the_failed_rows_alone(sim: Simulator, journal: bool | None) -> None:
    sim.script(status(400), status(400))
    out = claude.map(
        "Say {{ text }}", pl.DataFrame({"text": ["one", "two", "three"]}), concurrency=1, journal=journal
    )
    sim.clear()

    again = out.claude.retry()

    assert prompts(sim) == ["Say one", "Say two"]
    assert again["error"].null_count() == 3
    assert out["error"].null_count() == 1


def test_rows_of_a_generator_can_be_asked_again(sim: Simulator) -> None:
    """The generator is read once, and its rows are kept."""
    sim.script(status(400))
    out = claude.map("Say exactly: {{ item }}", (word for word in ["one", "two"]), concurrency=1)
    assert list(out.errors) == [0]

    assert claude.retry(out) == ["one", "two"]
    assert len(sim.requests) == 3


def test_a_copy_cannot_be_retried() -> None:
    out = claude.map("Say {{ text }}", pd.DataFrame({"text": ["one"]}))

    with pytest.raises(ConfigurationError, match="Run the line of the map again"):
        claude.retry(out.copy())


def test_an_answer_that_does_not_fit_is_asked_once_more_with_the_complaint(sim: Simulator) -> None:
    sim.script(answer_with('{"label": "ugly", "score": 1}'), answer_with(GOOD))

    out = claude.map("Rate {{ text }}", pd.DataFrame({"text": ["fine"]}), schema=Label)

    assert out.loc[0, "label"] == "good"
    again = sim.requests[1].body["messages"]
    assert [turn["role"] for turn in again] == ["user", "assistant", "user"]
    assert "label" in again[2]["content"]


def test_one_that_never_fits_is_an_error_of_its_row_and_paid_for_once(sim: Simulator) -> None:
    """Running the line again does not pay for it again; `retry` does."""
    frame = pd.DataFrame({"text": ["fine"]})
    sim.script(answer_with("no"), answer_with("no"))

    out = claude.map("Rate {{ text }}", frame, schema=Label)
    assert "does not fit the schema, even when asked again" in out.loc[0, "error"]
    assert len(sim.requests) == 2

    again = claude.map("Rate {{ text }}", frame, schema=Label)
    assert len(sim.requests) == 2
    assert again.loc[0, "error"] == out.loc[0, "error"]

    sim.script(answer_with(GOOD))
    assert claude.retry(again).loc[0, "label"] == "good"
    assert claude.map("Rate {{ text }}", frame, schema=Label).loc[0, "label"] == "good"
    assert len(sim.requests) == 3


@pytest.mark.parametrize(
    ("name", "why"), [("max_tokens", "cut at max_tokens"), ("refusal", "declined"), ("empty_answer", "empty")]
)
def test_half_an_answer_is_none(sim: Simulator, name: str, why: str) -> None:
    sim.script(scenario(name))

    out = claude.map("Say {{ item }}", ["one"])

    assert out == [None]
    assert why in out.errors[0]


@pytest.mark.parametrize(("rows", "place"), [(["one", "two"], 0), ({"a": "one", "b": "two"}, "a")])
def test_a_list_and_a_dict_have_the_functions_of_a_table(sim: Simulator, rows: Any, place: object) -> None:
    """`claude.errors(out)`, `out.claude.errors()` and the attribute; the same for `retry`."""
    sim.script(status(400, message="too long"))

    out = claude.map("Say exactly: {{ item }}", rows, concurrency=1)

    assert out.claude.errors() == claude.errors(out) == out.errors
    assert list(out.errors) == [place]

    again = out.claude.retry()

    assert type(again) is type(out)
    assert again[place] == "one"
    assert again.claude.errors() == {}


def test_null_cells_are_not_asked(sim: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"text": ["one", None], "number": [float("nan"), 2.0]})

    out = claude.map("Say {{ text }}", frame)
    assert prompts(sim) == ["Say one"]
    assert out.loc[1, "error"] == "{{ text }} is null: this row was not asked."
    assert "2 rows, 1 of 1 requests answered · 1 row not asked" in capsys.readouterr().err

    out = claude.map("Say {{ number }}", frame, prefix="n_")
    assert out["n_error"].isna().tolist() == [False, True]

    out = claude.map("Say {{ text or 'nothing' }}", frame, prefix="m_")
    assert out["m_error"].isna().all()


@pytest.mark.parametrize("via", ["online", "batch"])
def test_rows_are_sent_in_the_context_in_which_they_were_read(sim: Simulator, via: str) -> None:
    """Such as the precision of decimals. Otherwise the same line would not find its answers, and pay again."""
    items = [Decimal(3), Decimal(7)]
    with localcontext(prec=5):
        out = claude.map("Say exactly: {{ 1 / item }}", items, via=via)
        asked = len(sim.requests)
        again = claude.map("Say exactly: {{ 1 / item }}", items, via=via)

    assert out == again == ["0.33333", "0.14286"]
    assert len(sim.requests) == asked


def test_an_expression_that_fails_is_an_error_of_its_row(sim: Simulator) -> None:
    out = claude.map("Say {{ 6 // item }}", [0, 2])

    assert "ZeroDivisionError" in out.errors[0]
    assert prompts(sim) == ["Say 3"]


def test_a_row_with_a_key_is_not_sent(sim: Simulator) -> None:
    secret = "sk-ant-api03-" + "abcDEF123_" * 9

    out = claude.map("Say {{ item }}", ["fine", secret])
    assert prompts(sim) == ["Say fine"]
    assert "looks like credentials" in out.errors[1]
    assert secret not in str(out.errors)

    claude.map("Say {{ item }}", ["fine", secret], raw=True)
    assert prompts(sim)[1:] == [f"Say {secret}"]


# What ends a run...


def test_a_refused_key_ends_it_at_once(sim: Simulator) -> None:
    """All other rows would fail as well."""
    sim.script(*[status(401)] * 300)

    with pytest.raises(
        MapStoppedError, match=r"InvalidApiKeyError 401.*running the same line again asks only the rest"
    ) as stopped:
        claude.map("Say {{ item }}", range(300))

    assert len(sim.requests) < 20
    assert len(stopped.value.result) == 300
    assert "not asked" in stopped.value.result.errors[299]
    assert InvalidApiKeyError.__name__


def test_what_a_stopped_map_gave_can_be_retried(sim: Simulator) -> None:
    sim.script(*[status(401)] * 2)
    with pytest.raises(MapStoppedError) as stopped:
        claude.map("Say {{ item }}", ["a", "b"], concurrency=1)
    sim.clear()

    assert None not in claude.retry(stopped.value.result)


@pytest.mark.parametrize(
    ("options", "way", "again"),
    [
        (
            {"journal": False},
            r"1 of 3 requests are answered; there is no journal, so .*`claude.retry`",
            3,
        ),
        (
            {"replay": "record"},
            "answered and kept; running the same line again with --replay auto asks only",
            3,
        ),
        ({"replay": "auto"}, "answered and kept; running the same line again asks only the rest", 2),
    ],
)
def test_a_stopped_map_says_which_line_asks_only_the_rest(
    sim: Simulator, options: dict[str, Any], way: str, again: int
) -> None:
    """Without a journal, running the same line pays for all rows again."""
    sim.script(answer_with("one"), status(402))
    with pytest.raises(MapStoppedError, match=way) as stopped:
        claude.map("Say {{ item }}", range(3), concurrency=1, **options)
    sim.clear()

    if options.get("journal") is False:
        assert claude.retry(stopped.value.result)[0] == "one"
        assert len(sim.requests) == 2
        sim.clear()
    claude.map("Say {{ item }}", range(3), **options)
    assert len(sim.requests) == again


def test_a_map_that_sends_nothing_needs_no_approval_of_its_price(sim: Simulator) -> None:
    """With replay="only", the error is about the cassette, not about the price."""
    items = range(5_000)
    assert "not sent" in str(claude.map("Say {{ item }}", items, replay="only", dry_run=True))
    with pytest.raises(MapStoppedError, match="no answer to this request, and replay is 'only'"):
        claude.map("Say {{ item }}", items, replay="only")
    assert not sim.requests


def test_a_server_that_is_gone_ends_it(sim: Simulator) -> None:
    """After a few rows, not after all of them."""
    sim.script(*[status(500)] * 4_000)

    with pytest.raises(MapStoppedError, match=r"0 of 1,000 requests are answered"):
        claude.map("Say {{ item }}", range(1_000), concurrency=4, max_cost=50)

    assert len(sim.requests) < 200


def test_a_budget_that_ends_in_mid_run_keeps_what_there_is(sim: Simulator) -> None:
    before = spent()
    get_runtime().ledger.set_budget(before + 0.2)

    with pytest.raises(MapStoppedError, match=r"are spent.*Raise the budget") as stopped:
        claude.map("Say {{ item }}", range(200), max_tokens=300)

    answered = sum(answer is not None for answer in stopped.value.result)
    assert 0 < answered < 200
    assert 0.1 < spent() - before <= 0.2
    sim.clear()
    get_runtime().ledger.set_budget(None)

    claude.map("Say {{ item }}", range(200), max_tokens=300)

    assert len(sim.requests) == 200 - answered


def test_max_cost_is_checked_before_and_kept(sim: Simulator) -> None:
    before = spent()
    with pytest.raises(ConfigurationError, match=r"would cost about .*max_cost is \$0.01"):
        claude.map("Say {{ item }}", range(100), max_cost=0.01)
    assert sim.requests == []

    with pytest.raises(
        ConfigurationError, match=r"Above \$1.00 \(setting map_ask_above\) it needs your approval: max_cost="
    ):
        claude.map("Say {{ item }}", range(1_000))
    assert sim.requests == []

    sim.script(*[answer_with("word " * 600)] * 100)
    with pytest.raises(MapStoppedError, match="the next row could pass it"):
        claude.map("Say {{ item }}", range(100), max_cost=0.25, concurrency=2)
    assert 0.2 < spent() - before <= 0.25


@pytest.mark.parametrize("is_mapper", [False, True])
def test_the_first_wave_does_not_pass_max_cost(sim: Simulator, tmp_path: Path, is_mapper: bool) -> None:
    """The answers are three times as long as estimated. Those that are paid for are kept."""
    before, frame = spent(), pd.DataFrame({"text": [f"number {n}" for n in range(6)]})
    sim.script(*[answer_with("word " * 600)] * 6)

    def ask(**options: Any) -> Any:
        if is_mapper:
            return claude.mapper("Say {{ text }}", journal=tmp_path, **options)(frame)
        return claude.map("Say {{ text }}", frame, **options)

    with pytest.raises(MapStoppedError, match=r"the next row could pass it"):
        ask(max_cost=0.015)

    assert 0.005 < spent() - before <= 0.015
    assert len(sim.requests) == 2
    sim.clear()
    ask()
    assert len(sim.requests) == 4


def test_interrupting_it_keeps_what_there_is(sim: Simulator) -> None:
    gate = Gate()
    sim.script(*[scenario("plain")] * 30, *[hold(gate)] * 200)
    interrupt = threading.Thread(target=lambda: _interrupt_after(sim, 40))
    interrupt.start()

    with pytest.raises(KeyboardInterrupt, match="running the same line again asks only the rest"):
        claude.map("Say {{ item }}", range(200))
    interrupt.join()
    gate.open()

    (run,) = Runs(Journal(journal_path())).all()
    assert (run.state, run.answers) == ("stopped", 30)
    sim.clear()

    assert len(claude.map("Say {{ item }}", range(200)).errors) == 0
    # What was in flight at the interrupt may reach the simulator only now.
    assert len(set(prompts(sim))) == 170


def test_interrupting_it_leaves_one_attempt_of_each_row_in_flight_unconfirmed(
    sim: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    """None of the retries began, although the budget reserves them before a row is sent. The summary has the amount."""
    claude.map("Say {{ item }}", ["first"])  # its answer shows that a simulator answers
    sim.clear()
    gate, ledger = Gate(), get_runtime().ledger
    before = ledger.account(is_simulated=True).unconfirmed
    ledger.set_budget(spent() + 5)
    sim.script(*[_before_any_header(gate)] * 3)
    interrupt = threading.Thread(target=lambda: _interrupt_after(sim, 3, answers=0))
    interrupt.start()

    with pytest.raises(KeyboardInterrupt):
        claude.map("Say {{ item }}", range(200), max_tokens=1_000, concurrency=3)
    interrupt.join()
    gate.open()

    account = ledger.account(is_simulated=True)
    unconfirmed = account.unconfirmed - before
    assert (account.reserved, len(sim.requests)) == (0, 3)
    # 1,000 tokens of output for 10 USD per million, and the upper bound of the input.
    assert 3 * 0.01 < unconfirmed < 3 * 0.015
    assert f"up to {format_usd(unconfirmed)} (simulated) more may be billed" in capfd.readouterr().err


def test_interrupted_without_a_journal_the_error_has_what_there_is(sim: Simulator) -> None:
    """These answers were paid for, and are stored nowhere else."""
    gate = Gate()
    sim.script(answer_with("one"), answer_with("two"), hold(gate))

    def interrupt() -> None:
        while len(sim.requests) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt, match="only in the `result` of this error") as stopped:
        claude.map("Say {{ item }}", range(5), concurrency=1, journal=False)
    thread.join()
    gate.open()

    result = stopped.value.result  # type: ignore[attr-defined]
    assert result == ["one", "two", None, None, None]
    assert list(result.errors) == [2, 3, 4]


def test_cancelling_the_task_that_awaits_it_stops_it_and_keeps_what_there_is(sim: Simulator) -> None:
    gate = Gate()
    sim.script(answer_with("one"), answer_with("two"), hold(gate))

    async def main() -> None:
        task = asyncio.create_task(claude.map_async("Say {{ item }}", range(5), concurrency=1))
        while len(sim.requests) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gate.open()
    (run,) = Runs(Journal(journal_path())).all()
    assert (run.state, run.answers) == ("stopped", 2)
    sim.clear()

    assert claude.map("Say {{ item }}", range(5))[:2] == ["one", "two"]
    assert sorted(set(prompts(sim))) == ["Say 2", "Say 3", "Say 4"]


def _before_any_header(gate: Gate) -> Behaviour:
    """Return a behaviour that does not even say that a simulator answers, until the gate is opened."""

    def behave(post: Post) -> Iterator[Any]:
        yield Hold(gate)
        yield from answer_with("late")(post)

    return behave


def _interrupt_after(sim: Simulator, requests: int, answers: int = 30) -> None:
    while len(sim.requests) < requests or (answers and len(_keys()) < answers):
        time.sleep(0.01)  # a loop without a sleep would starve the map of CPU time
    os.kill(os.getpid(), signal.SIGINT)


def _keys() -> list[bytes]:
    with sqlite3.connect(journal_path()) as database:
        found = [key for (key,) in database.execute("SELECT key FROM answers")]
    database.close()
    return found


# Through it all...


FAULTS: list[Behaviour] = [
    status(429, retry_after=0.01),
    status(529),
    drop_before_headers(),
    close_mid_stream(after_events=3),
    status(500, body=b'{"type":"error","error":{"ty'),
    status(200, body=b'{"id": "msg_1", "cont', content_type="application/json"),
]


@pytest.mark.parametrize("max_tokens", [1_000, 16_000])
def test_with_a_third_of_all_requests_failing_all_rows_are_right(sim: Simulator, max_tokens: int) -> None:
    """Streamed and not streamed; in order, and none is sent again after its answer."""
    chance = random.Random(7)
    script = [chance.choice(FAULTS) if chance.random() < 0.3 else None for _ in range(2_000)]
    sim.script(*[fault or scenario("plain") for fault in script])

    out = claude.map("Say exactly: number {{ item }}", range(300), max_tokens=max_tokens)
    if out.errors:
        out = claude.map("Say exactly: number {{ item }}", range(300), max_tokens=max_tokens)

    assert out == [f"number {number}" for number in range(300)]
    outcomes: dict[str, list[bool]] = {}
    for prompt, fault in zip(prompts(sim), script, strict=False):
        outcomes.setdefault(prompt, []).append(fault is None)
    assert set(outcomes) == {f"Say exactly: number {number}" for number in range(300)}
    again = [prompt for prompt, answered in outcomes.items() if True in answered[:-1]]
    assert again == [], "asked again after an answer"


def test_refusals_of_many_at_once_end_no_run(sim: Simulator) -> None:
    """When the server rejects concurrent requests, some workers stop, but never all, however many rows are left to
    read."""
    chance = random.Random(3)
    sim.script(*[status(529) if chance.random() < 0.5 else scenario("plain") for _ in range(900)])

    out = claude.map("Say number {{ item }}.", range(900), max_tokens=1_000, concurrency=64, max_cost=50)

    assert out.errors == {}
    assert len(set(prompts(sim))) == 900


KILLED = """
    from claude_magic import claude

    out = claude.map("Say exactly: number a{{ item }}", range(250), max_tokens=1000, max_cost=50)
    assert not out.errors, out.errors
    wrong = [answer for number, answer in enumerate(out) if answer != f"number a{number}"]
    assert wrong == [], wrong
    print("whole")
"""


def test_killed_three_times_it_loses_no_answer_and_asks_none_again(
    sim: Simulator, tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """Rows whose answers are in the journal at a kill are not sent again by later runs."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kept() -> set[str]:
        path = journal_path(tmp_path / ".claude-magic")
        if not path.exists():
            return set()
        database = sqlite3.connect(path)
        try:
            found = {text.split("number a")[1] for (text,) in database.execute("SELECT text FROM answers")}
        except sqlite3.OperationalError:  # the tables do not exist yet
            found = set()
        database.close()
        return found

    for _ in range(3):
        before = kept()
        sim.clear()
        process = start()
        eventually(lambda: len(kept()) >= len(before) + 30 or process.poll() is not None)  # noqa: B023 (called at once)
        process.kill()
        process.communicate()
        # Requests in flight at the kill are sent again, and may reach the simulator only now.
        eventually(lambda: sim.open_connections == 0)
        asked = {prompt.split("number a")[1] for prompt in prompts(sim)}
        assert asked.isdisjoint(before)

    sim.clear()
    before = kept()
    assert len(before) >= 90
    process = start()
    printed, complaints = process.communicate(timeout=300)

    assert (printed, process.returncode) == ("whole\n", 0), complaints
    asked = [prompt.split("number a")[1] for prompt in prompts(sim)]
    assert before.isdisjoint(asked)
    assert sorted(asked, key=int) == sorted({str(number) for number in range(250)} - before, key=int)


# Wrong inputs...


@pytest.mark.parametrize(
    ("prompt", "items", "options", "why"),
    [
        ("Say it", ["one"], {}, r"no value of a row in it.*\{\{ item \}\}"),
        ("{{ txet }}", pd.DataFrame({"text": ["one"]}), {}, "a row has no txet.*Did you mean text"),
        ("{{ text }}", pd.DataFrame({"text": []}), {}, "no rows to map"),
        ("{{ item }}", "one text", {}, "this is one text. Put it into a list"),
        (["a", "b"], "Say {{ item }}", {}, "not list. The arguments are swapped: the prompt comes first"),
        (pd.DataFrame({"text": ["a"]}), "Say {{ text }}", {}, "not DataFrame. The arguments are swapped"),
        ({("a", 1): "one"}, "Say {{ item }}", {}, "not dict. The arguments are swapped"),
        (None, ["a"], {}, "not NoneType. The prompt comes first"),
        (
            "Say {text}",
            pd.DataFrame({"text": ["a"]}),
            {},
            r"\{text\} in single braces is sent as typed. Write .*: \{\{ text \}\}",
        ),
        ("{{ item }}", 5, {}, "takes a table, a column, a list, a dict or a generator, not int"),
        ("{{ text }}", pl.LazyFrame({"text": ["one"]}), {}, "is lazy. Collect it first"),
        ("{{ text }}", pd.DataFrame([[1, 2]], columns=["text", "text"]), {}, "cannot be mapped: .*unique"),
        ("{{ row }}", pd.DataFrame([[1, 2]], columns=[1, "1"]), {}, "its columns 1 and '1' apart"),
        ("{{ item }}", iter([]), {}, "yields nothing.*exhausted: create it again"),
        ("{{ item }}", ["a"], {"max_cost": "2"}, "max_cost is an amount in USD.*not '2'"),
        ("{{ item }}", ["a"], {"concurrency": True}, "concurrency is a whole number.*not True"),
        ("{{ item }}", ["a"], {"prefix": 3}, "prefix is a text.*not 3"),
        (
            "{{ text }}",
            pd.DataFrame({"text": ["one"]}),
            {"schema": "label, error", "prefix": "a_"},
            "has a field error, and in the result the column a_error says why a row has no answer",
        ),
        (
            "{{ text }}",
            pd.DataFrame({"text": ["one"]}),
            {"schema": "draw int", "repeat": 2},
            "has a field draw, and in the result the column draw says which draw it is",
        ),
        (
            "{{ text }}",
            pd.DataFrame({"text": ["one"], "answer": [1]}),
            {},
            "has a column answer already.*prefix=",
        ),
        ("{{ item }}", ["one"], {"repeat": 0}, "repeat is a whole number from 1"),
        ("{{ item }}", ["one"], {"concurrency": 0}, "concurrency is a whole number from 1"),
        ("{{ item }}", ["one"], {"concurrency": 2, "via": "batch"}, "a batch has none"),
        ("{{ item }}", ["one"], {"max_cost": -1}, "max_cost is an amount in USD"),
        ("{{ item }}", ["one"], {"schema": "labell sstr"}, "--schema"),
        ("{{ item }}", ["one"], {"extra": {"messages": []}}, "messages cannot be set"),
        ("   ", ["one"], {}, "no value of a row"),
    ],
)
def test_a_wrong_input_is_a_clear_error_and_nothing_is_sent(
    sim: Simulator, prompt: str, items: Any, options: Any, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"(?s){why}"):
        claude.map(prompt, items, **options)

    assert sim.requests == []


def test_a_generator_that_raises_in_mid_way_says_where(sim: Simulator) -> None:
    """The error has the generator's exception as its cause, with the user's traceback."""

    def lines() -> Iterator[str]:
        yield from ("one", "two")
        raise OSError("the share is gone")

    with pytest.raises(
        ConfigurationError, match="after 2 the generator raised OSError: the share is gone"
    ) as seen:
        claude.map("Say {{ item }}", lines())

    assert isinstance(seen.value.__cause__, OSError)
    assert sim.requests == []


@pytest.mark.parametrize(
    ("table", "prompt", "asked"),
    [
        (pd.DataFrame([["one", 1]]), "Say {{ row['0'] }}", "Say one"),
        (pd.Series(["one"], name=3), "Say {{ item }}", "Say one"),
        (
            pd.DataFrame([["one", 1]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
            """Say {{ row["('a', 'x')"] }}""",
            "Say one",
        ),
        (pd.DataFrame({"list": ["one"], "id": [3]}), "Say {{ list }} {{ id }}", "Say one 3"),
        (pd.DataFrame({"row": ["one"], "item": ["two"]}), "Say {{ row }} {{ item }}", "Say one two"),
        (pd.DataFrame({"c": pd.Categorical(["one"])}), "Say {{ c }}", "Say one"),
        (pd.DataFrame({"c": [b"\xff"]}), "Say {{ c }}", r"Say b'\xff'"),
        (pd.DataFrame({"c": [[1, {"a": 2}]]}), "Say {{ c }}", "Say [1, {'a': 2}]"),
        (pd.DataFrame({"c": pd.to_datetime(["2026-11-27"])}), "Say {{ c }}", "Say 2026-11-27 00:00:00"),
        (pl.DataFrame({"c": [{"a": None}]}), "Say {{ c }}", "Say {'a': None}"),
        (["\ud83d half, \ud83d\ude00 whole"], "Say {{ item }}", "Say \ufffd half, \U0001f600 whole"),
        (["whole"], "Say half \ud83d, {{ item }}", "Say half \ufffd, whole"),
        (["x" * 1_000_000], "Say {{ item }}", "Say " + "x" * 1_000_000),
    ],
)
def test_every_kind_of_name_and_cell_is_asked_as_it_reads(
    sim: Simulator, table: Any, prompt: str, asked: str
) -> None:
    """Column names that are numbers, tuples or builtins; cells of all kinds."""
    out = claude.map(prompt, table, max_cost=50)

    assert len(out) == 1
    assert prompts(sim) == [asked]


def test_each_kind_of_null_is_null(sim: Simulator) -> None:
    """In columns of any type, and among items."""
    nulls = (None, float("nan"), pd.NA, pd.NaT, Decimal("NaN"), complex("nan"))
    for empty in (*nulls, np.float32("nan"), np.datetime64("NaT"), np.timedelta64("NaT"), np.ma.masked):
        assert list(claude.map("Say {{ item }}", [empty, "a"]).errors) == [0]
    for column in (
        pd.Series([1.5, float("nan")]),
        pd.Series([1, None], dtype="Int64"),
        pd.Series(pd.to_datetime(["2026-11-27", None])),
    ):
        out = claude.map("Say {{ c }}", pd.DataFrame({"c": column}))
        assert "is null: this row was not asked" in out["error"][1]
        assert pd.isna(out["error"][0])

    assert not any(
        word in prompt.lower() for prompt in prompts(sim) for word in ("nan", "na>", "nat", "none")
    )


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_the_errors_have_one_type_with_and_without_a_failed_row(sim: Simulator, make: Any) -> None:
    """That of a column of texts, so that results can be concatenated."""
    results = [claude.map("Say {{ t }}", make({"t": texts})) for texts in (["a", "b"], ["a", None])]

    types = {str(out["error"].dtype) for out in results}
    assert types == {str(make({"t": ["text", None]})["t"].dtype)}


def test_columns_in_levels_get_the_answers_as_a_column_of_their_own() -> None:
    table = pd.DataFrame([["one", 1]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))

    out = claude.map("""Say exactly: {{ row["('a', 'x')"] }}""", table)

    assert list(out.columns) == [("a", "x"), ("a", "y"), ("answer", ""), ("error", "")]
    assert list(out["answer"]) == ["one"]
    assert list(table.columns) == [("a", "x"), ("a", "y")]
    assert len(claude.errors(out)) == 0

    table.loc[1] = [None, 2]
    out = claude.map("""Say exactly: {{ row["('a', 'x')"] }}""", table)
    assert list(out.claude.errors().index) == [1]


def test_rows_keep_their_index(sim: Simulator) -> None:
    """Also an index with duplicates or several levels."""
    for index in (pd.Index([7, 7]), pd.MultiIndex.from_tuples([(1, "x"), (1, "y")], names=["i", "j"])):
        table = pd.DataFrame({"text": ["a", "b"]}, index=index)
        out = claude.map("Say exactly: {{ text }}", table)
        assert out.index.equals(index)
        assert list(out["answer"]) == ["a", "b"]

    assert len(sim.requests) == 2


def test_a_row_beyond_the_context_window_is_an_error_of_its_row(sim: Simulator) -> None:
    """Other rows are not affected."""
    too_long = {
        "type": "invalid_request_error",
        "message": "prompt is too long: 1000001 tokens > 1000000 maximum",
    }
    sim.script(status(400, body=json.dumps({"type": "error", "error": too_long}).encode()))

    out = claude.map("Say exactly: {{ item }}", ["x", "y"], concurrency=1)

    assert "prompt is too long" in out.errors[0]
    assert out[1] == "y"


def test_a_short_name_is_found_in_the_table_while_the_bridge_is_busy(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as by a callback that blocks; a server that does not list its models is no reason to fail, either."""
    monkeypatch.setattr(_plan, "_RESOLVING_TIMEOUT", 0.05)
    is_planned, is_busy = threading.Event(), threading.Event()

    async def block(_client: object) -> None:
        is_busy.set()
        is_planned.wait(60)

    get_runtime().submit(block)
    assert is_busy.wait(60)
    question = Question(prompt="Say {{ item }}", settings={"model": "opus"})
    request = MapRequest(question=question, items=["a"], names={}, journal=False)
    try:
        plan = make_plan(request, get_runtime())
    finally:
        is_planned.set()
    list(plan.read())
    plan.start().result(60)

    assert [seen.body["model"] for seen in sim.requests if seen.path == "/v1/messages"] == ["claude-opus-5-5"]


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="no option 'modle'"):
        claude.map("{{ item }}", ["one"], modle="x")  # type: ignore[call-arg]


def test_a_journal_that_cannot_be_read_sends_nothing(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "mine.sqlite").write_bytes(b"no database at all, and rather long for one" * 100)

    with pytest.raises(JournalError, match="cannot be read"):
        claude.map("{{ item }}", ["one"], journal=tmp_path / "mine.sqlite")

    assert sim.requests == []


def test_a_disk_that_fills_up_ends_it_and_keeps_what_was_written(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Journal.add
    calls: list[int] = []

    def add(self: Journal, answers: Any, run: int) -> None:
        calls.append(len(answers))
        if len(calls) == 2:
            (pages,) = self._database.execute("PRAGMA page_count").fetchone()
            self._database.execute(f"PRAGMA max_page_count = {pages}")
        original(self, answers, run)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", add)
        with pytest.raises(
            MapStoppedError, match="Free some space on its disk, then run the same line again"
        ):
            claude.map("Say {{ item }}", range(2_000), max_cost=50, max_tokens=1_000)

    assert len(sim.requests) < 2_000
    assert len(_keys()) >= calls[0]


def test_a_last_commit_that_fails_is_no_success(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that could not be written do not count, even the last ones."""

    def add(self: Journal, answers: Any, run: int) -> None:
        raise JournalError("The disk has gone.")

    monkeypatch.setattr(Journal, "add", add)

    with pytest.raises(
        MapStoppedError, match=r"The disk has gone.*0 of 2 requests.*2 answers could not be kept"
    ):
        claude.map("Say {{ item }}", ["one", "two"])


def test_what_a_full_disk_does_not_take_is_in_the_result(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These answers were paid for, and are stored nowhere else; so are those of requests in flight."""
    gate = Gate()
    sim.script(answer_with("one"), hold(gate))

    def add(self: Journal, answers: Any, run: int) -> None:
        gate.open()
        raise JournalError("The disk has gone.")

    monkeypatch.setattr(Journal, "add", add)
    before = spent()

    with pytest.raises(MapStoppedError) as stopped:
        claude.map("Say exactly: {{ item }}", range(50), concurrency=2)

    answered = [text for text in stopped.value.result if text is not None]
    assert len(answered) == len(sim.requests) < 50
    assert answered[0] == "one"
    assert spent() > before


def test_dry_run_sends_nothing_and_shows_three_requests(sim: Simulator) -> None:
    claude.map("Say {{ item }}", ["a", "b"])
    sim.clear()

    preview = claude.map("Say {{ item }}", ["a", "b", "c", "d", None, "d"], dry_run=True)

    assert (preview.rows, preview.requests, preview.known, preview.to_ask, preview.unasked) == (6, 4, 2, 2, 1)
    assert [body["messages"][0]["content"] for body in preview.samples] == ["Say a", "Say b", "Say c"]
    assert "answered already   2" in str(preview)
    assert sim.requests == []


def test_what_stands_behind_a_value_and_cannot_be_cached_is_reported() -> None:
    preview = claude.map("{{ item }}\n" + "A long instruction. " * 200, ["a", "b"], dry_run=True)

    assert "cannot be cached there" in " ".join(preview.notes)


def test_every_answer_is_booked(sim: Simulator) -> None:
    before = sum(row.requests for row in get_runtime().ledger.rows())

    claude.map("Say {{ item }}", range(20))

    assert sum(row.requests for row in get_runtime().ledger.rows()) - before == 20


def test_errors_are_ours() -> None:
    assert issubclass(MapStoppedError, ClaudeError)
