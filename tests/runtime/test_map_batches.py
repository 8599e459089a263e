"""`claude.map(..., via="batch")`: each batch is paid for once, whatever fails, and the same line continues after an
interruption."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import pytest

from claude_magic import ClaudeError, claude
from claude_magic.bulk import (
    Journal,
    MapStoppedError,
    _batch_delivery,
    _batch_notes,
    _batches,
    _plan,
    journal_path,
)
from claude_magic.bulk._journal import Answer
from claude_magic.client import ConfigurationError
from claude_magic.render import Methods
from claude_magic.runtime import close_runtime, get_runtime
from claude_magic.simulator import (
    BatchScript,
    Behaviour,
    Gate,
    Simulator,
    _server,
    accept_unheard,
    drop_before_headers,
    hold,
    slow_headers,
    status,
)
from claude_magic.simulator._stream import Post, deliver, hang_up
from claude_magic.simulator._wire import Chunk, Head, Hold, Pause, json_steps

HOUR = 3600.0
PATH = "/v1/messages/batches"
PROMPT = "Say exactly: {{ text }}"
FRAME = pd.DataFrame({"text": ["one", "two", "three", "four"]})
RIGHT = FRAME["text"].tolist()

Eventually = Callable[[Callable[[], object]], None]


class Clock:
    """A common clock for the simulator and the map; waiting for a batch advances it."""

    def __init__(self) -> None:
        self.moved = 0.0
        self.set_back = 0.0
        self.waits: list[float] = []
        self._started = time.time()

    def __call__(self) -> float:
        return 1000.0 + self.moved

    def now(self) -> float:
        return self._started + self.moved - self.set_back

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.moved += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (_batch_notes, _batch_delivery, _batches, _plan):
        monkeypatch.setattr(module, "now", made.now)
    monkeypatch.setattr(_batches, "sleep", made.sleep)
    return made


@pytest.fixture
def sim(clock: Clock) -> Iterator[Simulator]:
    with Simulator(clock=clock, batch_seconds=60) as simulator:
        yield simulator
        assert [request.failure for request in simulator.requests if request.failure] == []


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Iterator[None]:
    """This process as a kernel whose environment points at `sim`."""
    variables = {
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": sim.url,
        "CLAUDE_MAGIC_RATE_LIMIT_RPS": "100000",
        "CLAUDE_MAGIC_INITIAL_BACKOFF": "0.01",
        "CLAUDE_MAGIC_MAX_BACKOFF": "0.02",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield
    ledger = get_runtime().ledger
    ledger.set_budget(None)
    for name in tuple(ledger._batches):  # of batches that a test did not finish
        ledger.finish_batch(name)
    close_runtime()


def ask(rows: Any = FRAME, **options: Any) -> Any:
    prompt = PROMPT if isinstance(rows, pd.DataFrame) else PROMPT.replace("text", "item")
    return claude.map(prompt, rows, **{"via": "batch", **options})


def posts(sim: Simulator) -> int:
    return sum(request.method == "POST" and request.path == PATH for request in sim.requests)


def calls(sim: Simulator, end: str = "") -> int:
    return sum(
        request.method == "GET" and request.path.endswith(end or request.path) for request in sim.requests
    )


def notes() -> list[_batch_notes.BatchNote]:
    return _batch_notes.BatchNotes(Journal(journal_path())).all()


def spent() -> float:
    return get_runtime().ledger.account(is_simulated=True).spent


def reserved() -> float:
    return get_runtime().ledger.account(is_simulated=True).reserved


def unconfirmed() -> float:
    return get_runtime().ledger.account(is_simulated=True).unconfirmed


# The usual...


def test_a_table_comes_back_with_the_answers_beside_it_at_half_the_price(sim: Simulator) -> None:
    before = spent()

    out = ask()

    assert out["answer"].tolist() == RIGHT
    assert out["error"].isna().all()
    assert (posts(sim), len(sim.batches)) == (1, 1)
    at_half = spent() - before
    claude.map(PROMPT, FRAME, journal=False)
    assert at_half == pytest.approx((spent() - before) / 3)


def test_running_it_again_sends_nothing_and_online_takes_the_same_answers(sim: Simulator) -> None:
    """`via` is not part of the key, so the answers are shared in both directions."""
    ask()
    seen = len(sim.requests)
    assert ask()["answer"].tolist() == claude.map(PROMPT, FRAME)["answer"].tolist() == RIGHT
    assert len(sim.requests) == seen

    ask(["five"], via="online")
    assert ask(["five", "six"]) == ["five", "six"]
    assert len(sim.batches[-1].custom_ids) == 1


def test_equal_rows_are_sent_once_and_draws_are_distinguished(sim: Simulator) -> None:
    out = ask(pd.DataFrame({"text": ["a", "b", "a"]}), repeat=2)

    assert out["answer"].tolist() == ["a", "a", "b", "b", "a", "a"]
    assert len(sim.batches[0].custom_ids) == 4


def test_names_of_rows_fit_the_pattern_and_contain_the_batch_and_the_row(sim: Simulator) -> None:
    ask()

    [note] = notes()
    [batch] = sim.batches
    assert batch.custom_ids == tuple(f"{note.tag}_{key.hex()}" for key in note.row_keys)
    assert all(len(name) <= 64 for name in batch.custom_ids)
    assert (note.state, note.id) == ("merged", batch.id)


def test_what_all_rows_share_is_cached_for_an_hour(sim: Simulator) -> None:
    claude.map("word " * 3000 + "Say exactly: {{ text }}", FRAME, via="batch")

    [line] = [
        row.line for row in sim._batches.all()[0].rows if b'"ephemeral_1h_input_tokens":0' not in row.line
    ]
    assert b"ephemeral_1h_input_tokens" in line


@pytest.mark.parametrize("bound", [{"MAX_BATCH_REQUESTS": 2}, {"MAX_BATCH_BYTES": 1900}])
def test_large_maps_are_split(bound: dict[str, int], sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bound.items():
        monkeypatch.setattr(_batch_delivery, name, value)

    assert ask()["answer"].tolist() == RIGHT
    assert len(sim.batches) == 2
    assert all(len(batch.custom_ids) <= bound.get("MAX_BATCH_REQUESTS", 4) for batch in sim.batches)
    assert len({name for batch in sim.batches for name in batch.custom_ids}) == 4
    created = [
        len(seen.raw_body) for seen in sim.requests if seen.path.endswith("/batches") and seen.raw_body
    ]
    assert max(created) <= bound.get("MAX_BATCH_BYTES", 10_000)


def test_it_is_awaited_as_well(sim: Simulator) -> None:
    out = asyncio.run(claude.map_async(PROMPT, FRAME, via="batch"))

    assert out["answer"].tolist() == RIGHT


def test_the_preview_shows_the_price_and_sends_nothing(sim: Simulator) -> None:
    preview, online = ask(dry_run=True), claude.map(PROMPT, FRAME, dry_run=True)

    assert preview.cost == pytest.approx(online.cost / 2)
    assert "half of the usual" in str(preview)
    # Four answers of 16,000 tokens, at half the price.
    assert preview.worst == pytest.approx(4 * 16_000 * 10 / 1e6 / 2, rel=0.1)
    assert "none more than 24" in str(preview)
    assert sim.requests == []


# Waiting...


def test_it_is_looked_at_now_and_then_less_often_the_older_it_is(
    sim: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute, then after a quarter of the batch's age, at most every ten minutes.

    Batches of a simulator, which take seconds, are checked more often.
    """
    monkeypatch.setattr(_batches, "_FIRST_POLL_SIMULATED", _batches.FIRST_POLL)
    sim.script_batch(BatchScript(seconds=20 * HOUR))

    ask()

    assert clock.waits[:2] == [60.0, 60.0]
    assert clock.waits == sorted(clock.waits)
    assert max(clock.waits) == 600.0
    assert len(clock.waits) < 150


def test_what_the_server_asks_to_wait_is_waited(sim: Simulator, clock: Clock) -> None:
    sim.script_batch(BatchScript(retry_after=1200))

    ask()

    assert clock.waits == [1200.0]


def test_a_clock_that_is_set_back_holds_nothing_up(
    sim: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set back by a day during a wait."""

    async def sleep(seconds: float) -> None:
        if not clock.waits:
            clock.set_back += 24 * HOUR
        await clock.sleep(seconds)

    monkeypatch.setattr(_batches, "sleep", sleep)

    assert ask()["answer"].tolist() == RIGHT
    assert max(clock.waits) <= _batches.MAX_POLL_INTERVAL


def test_a_sign_of_life_from_before_the_clock_was_set_back_holds_no_rows(
    sim: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sending kernel has died, and its batch did not arrive."""
    sim.script_batch_calls("create", drop_before_headers())
    monkeypatch.setattr(_batches, "sleep", stop_here)
    with pytest.raises(MapStoppedError):
        ask()
    monkeypatch.setattr(_batches, "sleep", clock.sleep)
    monkeypatch.setattr(_batch_notes, "_PROCESS", "another")
    clock.set_back += 30 * 24 * HOUR

    assert ask()["answer"].tolist() == RIGHT
    assert len(sim.batches) == 1
    assert _batch_delivery.CREATION_TIMEOUT <= sum(clock.waits) < HOUR


def test_the_next_check_and_the_batch_are_shown(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    waits: list[str] = []
    sleep = clock.sleep

    async def note(seconds: float) -> None:
        waits.append(run_of().snapshot().waiting)
        await sleep(seconds)

    runs: list[Any] = []
    start = _plan.MapPlan.start
    monkeypatch.setattr(_plan.MapPlan, "start", lambda plan: runs.append(start(plan)) or runs[-1])
    monkeypatch.setattr(_batches, "sleep", note)

    def run_of() -> Any:
        while not runs:
            time.sleep(0.001)
        return runs[-1]

    ask()

    assert re.fullmatch(rf"next check \d\d:\d\d:\d\d · in progress · 4 rows in {sim.batches[0].id}", waits[0])


@pytest.mark.parametrize(
    "trouble", [status(429, retry_after=900), status(529), status(502), drop_before_headers()]
)
def test_trouble_while_waiting_is_waited_out(trouble: Any, sim: Simulator, clock: Clock) -> None:
    sim.script_batch_calls("retrieve", *[trouble] * 3)

    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_a_server_that_is_gone_for_a_while_is_waited_for(
    sim: Simulator, clock: Clock, monkeypatch: Any
) -> None:
    """Its port does not accept connections for a while."""
    sleep = clock.sleep
    restarted: list[Simulator] = []

    async def note(seconds: float) -> None:
        if len(clock.waits) == 1:
            await asyncio.to_thread(sim.close)
        if len(clock.waits) == 4:
            sim._thread = None
            sim._wanted_port = port
            restarted.append(await asyncio.to_thread(sim.start))
        await sleep(seconds)

    port = sim.port
    monkeypatch.setattr(_batches, "sleep", note)

    assert ask()["answer"].tolist() == RIGHT
    assert restarted


# What becomes of rows...


def test_expired_cancelled_and_errored_rows_are_values_and_the_same_line_asks_them(
    sim: Simulator,
) -> None:
    sim.script_batch(BatchScript(expired=[0], cancelled=[1], errored=[2]))

    out = ask()

    assert out["answer"].isna().tolist() == [True, True, True, False]
    assert [error and error.split()[2] for error in out["error"][:2]] == ["expired", "was"]
    assert "ServerError" in out["error"][2]
    assert len(claude.errors(out)) == 3
    again = claude.retry(out)
    assert again["answer"].tolist() == RIGHT
    assert len(sim.batches[1].custom_ids) == 3


def test_half_of_a_slow_batch_expires(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    sim.script_batch(BatchScript(seconds=48 * HOUR))
    monkeypatch.setattr(_batches, "MAX_POLL_INTERVAL", 10 * HOUR)

    out = ask()

    assert out["answer"].tolist()[:2] == ["one", "two"]
    assert out["error"].str.contains("expired").tolist()[2:] == [True, True]
    assert ask()["answer"].tolist() == RIGHT


def test_a_row_that_the_batch_refuses_is_named(sim: Simulator) -> None:
    out = claude.map("{{ item }}", ["Say exactly: one", "!simulate bad_request\nx"], via="batch")

    assert out[0] == "one"
    assert out.errors[1].startswith("Refused in the batch: InvalidRequestError")


def test_answers_that_are_none_are_kept_and_asked_again_by_retry_alone(sim: Simulator) -> None:
    """Declined or cut answers were paid for."""
    rows = ["Say exactly: one", "!simulate refusal\nx"]
    out = claude.map("{{ item }}", rows, via="batch")
    assert "declined" in out.errors[1]

    assert "declined" in claude.map("{{ item }}", rows, via="batch").errors[1]
    assert posts(sim) == 1
    claude.retry(out)
    assert len(sim.batches[1].custom_ids) == 1


def test_an_answer_that_does_not_fit_the_schema_is_an_error_of_its_row(sim: Simulator) -> None:
    out = claude.map(
        "{{ item }}", ["!simulate max_tokens\nx", "a"], schema="label str", via="batch", max_tokens=2000
    )

    assert "cut at max_tokens" in out.errors[0]
    assert out[1] is not None


@pytest.mark.parametrize("cut_by", ["reset", "close", "end"])
def test_results_that_break_off_are_read_again(cut_by: Any, sim: Simulator) -> None:
    """Results before the break are stored once."""
    sim.script_batch(BatchScript(cuts=(0, 2, 3), cut_by=cut_by))

    out = ask()

    if cut_by == "end":  # the results always end there: they are requested three times
        assert out["answer"].notna().sum() == 3
        assert out["error"].dropna().tolist()[0].startswith("The results of the batch have no line")
        assert ask()["answer"].tolist() == RIGHT
    else:
        assert out["answer"].tolist() == RIGHT
        assert posts(sim) == 1


def lines(
    sim: Simulator,
    off: bytes,
    *,
    after: bytes = b"",
    off_at: tuple[int, ...] = (1,),
    errored: tuple[int, ...] = (),
    reset_after: int | None = None,
) -> Behaviour:
    """Return the results of the newest batch, of which some are changed.

    Args:
        sim: The simulator.
        off: A line in place of the second result, in which `ID` stands for its name; empty for none.
        after: A last line.
        off_at: Numbers of other results in whose place `off` is.
        errored: Numbers of the results that are errors.
        reset_after: Number of results after which the connection is reset.
    """

    def behave(post: Post) -> Any:
        yield Head(200, (("content-type", "application/x-jsonl"), ("connection", "close")))
        for place, name in enumerate(sim.batches[-1].custom_ids):
            message = {
                "id": f"msg_{place}",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-5-5",
                "content": [{"type": "text", "text": RIGHT[place]}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
            result: dict[str, Any] = {"type": "succeeded", "message": message}
            if place in errored:
                result = {"type": "errored", "error": {"type": "error", "error": {"type": "api_error"}}}
            if place == reset_after:
                yield from hang_up("reset")
                return
            whole = json.dumps({"custom_id": name, "result": result})
            is_off = place in off_at and off
            yield Chunk((off.replace(b"ID", name.encode()) if is_off else whole.encode()) + b"\n")
        yield Chunk(after)

    return behave


@pytest.mark.parametrize(
    "off",
    [
        b'{"custom_id": "ID", "result": {"type": "succeeded"}}',
        b'{"custom_id": "ID", "result": {"type": "succeeded", "message": {"content": 5}}}',
        b'{"custom_id": "ID", "result": null}',
        b'{"custom_id": "ID"}',
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error_of_its_row_and_loses_no_other(
    off: bytes, sim: Simulator
) -> None:
    """It may have been billed, so only `retry` asks again."""
    sim.script_batch_calls("results", lines(sim, off))
    before = unconfirmed()

    for _ in range(2):
        out = ask()
        assert out["answer"].isna().tolist() == [False, True, False, False]
        assert "cannot be read" in out["error"][1]
    assert posts(sim) == 1
    lost = unconfirmed() - before
    assert lost > 0
    assert claude.retry(out)["answer"].notna().all()
    assert unconfirmed() == pytest.approx(before + lost)


UNREADABLE = b'{"custom_id": "ID", "result": {"type": "succeeded"}}'


def test_an_answer_that_cannot_be_read_is_counted_once_although_the_map_stops(
    sim: Simulator, clock: Clock
) -> None:
    """Promise: it counts as possibly billed as soon as it is in the journal, and is no longer reserved."""
    before, reserved_before = unconfirmed(), reserved()
    interrupt_while_waiting(sim, clock)
    whole = reserved() - reserved_before
    sim.script_batch_calls("results", lines(sim, UNREADABLE, reset_after=3), status(401))

    with pytest.raises(MapStoppedError, match="401"):
        ask()
    assert unconfirmed() - before == pytest.approx(whole / 4)
    assert reserved() - reserved_before == pytest.approx(whole * 3 / 4)

    assert ask()["answer"].isna().tolist() == [False, True, False, False]
    assert unconfirmed() - before == pytest.approx(whole / 4)
    assert reserved() == pytest.approx(reserved_before)


def test_an_answer_that_another_kernel_could_not_read_is_counted_in_this_one(
    sim: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: this kernel sent the batch, so its budget knows of the row. The error says why it has no answer."""
    before, reserved_before, spent_before = unconfirmed(), reserved(), spent()
    whole = 0.0

    async def merge_elsewhere(seconds: float) -> None:
        nonlocal whole
        await clock.sleep(seconds)
        whole = reserved() - reserved_before
        [note] = notes()
        first, second, *_ = note.row_keys
        lost = Answer(second, "", "It cannot be read.", note.model, None, 0, 0, None, True)
        journal = Journal(journal_path())
        journal.add([Answer(first, "one", None, note.model, "msg_1", 1, 1, 0.25, True), lost], note.run)
        _batch_notes.BatchNotes(journal).merged(note.tag)

    monkeypatch.setattr(_batches, "sleep", merge_elsewhere)

    out = ask()

    assert out["answer"].isna().tolist() == [False, True, True, True]
    assert out["error"][1] == "It cannot be read."
    assert "another kernel has fetched the others" in out["error"][2]
    assert unconfirmed() - before == pytest.approx(whole / 4)
    assert spent() - spent_before == pytest.approx(0.25)
    assert reserved() == pytest.approx(reserved_before)


ODD_LINES = [
    b"{oops",
    b"[1]",
    b"{}",
    b'{"type": "ping"}',
    b'{"custom_id": 7, "result": {"type": "succeeded"}}',
]


@pytest.mark.parametrize("odd", ODD_LINES)
def test_a_line_that_is_no_result_is_a_remark_if_each_row_has_an_answer(
    odd: bytes, sim: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The batch is finished, and nothing stays reserved for it."""
    before = reserved()
    sim.script_batch_calls("results", lines(sim, b"", after=odd + b"\n"))

    assert ask()["answer"].tolist() == RIGHT
    (note,) = notes()
    assert note.state == "merged"
    assert f"the results of {note.id} have lines that are no results" in "".join(capsys.readouterr())
    assert reserved() == pytest.approx(before)


@pytest.mark.parametrize("odd", ODD_LINES)
def test_a_row_without_a_result_that_is_not_billed_is_asked_again(odd: bytes, sim: Simulator) -> None:
    """By the server's counts, it was refused. The odd line may have said so."""
    before, unconfirmed_before = reserved(), unconfirmed()
    sim.script_batch_calls("results", lines(sim, odd))
    prompts = ["Say exactly: one", "!simulate bad_request", "Say exactly: three", "Say exactly: four"]

    out = claude.map("{{ prompt }}", pd.DataFrame({"prompt": prompts}), via="batch")

    assert out["answer"].isna().tolist() == [False, True, False, False]
    assert "Running the same line again asks it" in out["error"][1]
    assert [note.state for note in notes()] == ["merged"]
    assert reserved() == pytest.approx(before)
    assert unconfirmed() == unconfirmed_before


def answer_elsewhere(row: int) -> None:
    """Store an answer to a row of the only batch, as a map that runs online at the same time does."""
    [note] = notes()
    answer = Answer(note.row_keys[row], RIGHT[row], None, note.model, "msg_2", 1, 1, 0.01, True)
    Journal(journal_path()).add([answer], note.run)


@pytest.mark.parametrize(
    "off_at",
    [
        # The line of row 0 says that it failed, so row 1, whose line is odd, was answered.
        (1,),
        # The lines of both are odd: it is unknown which one failed.
        (0, 1),
    ],
)
def test_a_row_that_may_be_billed_is_not_asked_again_because_another_one_was_answered_elsewhere(
    off_at: tuple[int, ...], sim: Simulator, clock: Clock
) -> None:
    before = reserved()
    sim.script_batch(BatchScript(errored=[0]))
    interrupt_while_waiting(sim, clock)
    whole = reserved() - before
    answer_elsewhere(0)
    sim.script_batch_calls("results", lines(sim, b"{oops", off_at=off_at, errored=(0,)))

    with pytest.raises(MapStoppedError, match="1 row has no answer, but may be billed") as stopped:
        ask()

    assert stopped.value.result["answer"].isna().tolist() == [False, True, False, False]
    assert [note.state for note in notes()] == ["sent"]
    assert reserved() - before == pytest.approx(whole / 4)
    assert ask()["answer"].notna().all()
    assert posts(sim) == 1


def login_page(_post: Post) -> Any:
    """Respond with the login page of a network."""
    yield Head(200, (("content-type", "text/html"), ("connection", "close")))
    yield Chunk(b"<!DOCTYPE html>\n<html>\n<title>Log in</title>\n</html>\n")


@pytest.mark.parametrize(("other", "match"), [(status(302), "302"), (login_page, "web page titled “Log in”")])
def test_a_response_that_is_not_of_the_server_hides_no_reasons(
    other: Any, match: str, sim: Simulator
) -> None:
    """All rows were refused, so no answer is missing, but the reasons are."""
    prompts = ["!simulate bad_request", "!simulate bad_request "]
    sim.script_batch_calls("results", other)

    with pytest.raises(MapStoppedError, match=match) as stopped:
        claude.map("{{ item }}", prompts, via="batch")

    assert "lines that are no results" not in str(stopped.value)
    assert [note.state for note in notes()] == ["sent"]
    out = claude.map("{{ item }}", prompts, via="batch")
    assert [error.startswith("Refused in the batch") for error in out.errors.values()] == [True, True]
    assert posts(sim) == 1


@pytest.mark.parametrize("odd", ODD_LINES)
def test_a_line_that_is_no_result_stops_it_once_all_others_are_kept(
    odd: bytes, sim: Simulator, clock: Clock
) -> None:
    """Its row is unknown, and it may have been billed. Running the same line reads the results again."""
    before = reserved()
    interrupt_while_waiting(sim, clock)
    whole = reserved() - before
    sim.script_batch_calls("results", *[lines(sim, odd)] * 2)

    with pytest.raises(MapStoppedError, match="have lines that are no results") as stopped:
        ask()
    assert stopped.value.result["answer"].isna().tolist() == [False, True, False, False]
    said, batch = str(stopped.value), sim.batches[-1]
    assert f"{batch.id} has ended at the server: running the same line again fetches the rest" in said
    assert (
        f"`%claude batches forget {batch.id}` lets these rows be asked again; they may then be paid for"
        in said
    )
    assert "base_url" not in said
    assert "goes on at the server" not in said
    assert batch.id in stopped.value.result["error"][1]
    assert "had not ended" not in stopped.value.result["error"][1]
    assert reserved() - before == pytest.approx(whole / 4)

    with pytest.raises(MapStoppedError):
        ask()
    assert reserved() - before == pytest.approx(whole / 4)

    assert ask()["answer"].notna().all()
    assert posts(sim) == 1
    assert reserved() == pytest.approx(before)


def test_a_batch_whose_results_stay_odd_can_be_forgotten(sim: Simulator) -> None:
    """Only its missing rows are asked again."""
    sim.script_batch_calls("results", lines(sim, b"{oops", off_at=(1, 2)))
    with pytest.raises(MapStoppedError, match="So 2 rows have no answer, but may be billed") as stopped:
        ask()
    forget = re.search(r"forget (\S+?)`", str(stopped.value))
    assert forget is not None

    assert claude.forget_batch(forget[1]) == 2
    assert ask()["answer"].tolist() == RIGHT
    assert rows_per_batch(sim) == [4, 2]


def test_a_batch_whose_results_do_not_show_whose_it_is_is_not_sent_again(
    sim: Simulator, clock: Clock
) -> None:
    sim.script_batch_calls("create", accept_unheard())
    sim.script_batch_calls("results", lines(sim, b"{oops", off_at=(0, 1, 2, 3)))

    with pytest.raises(
        MapStoppedError, match=r"may contain them, .* cannot be read.*`%claude batches forget cm"
    ):
        ask()

    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_a_row_names_the_batch_that_it_is_in(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The results of the first batch have an odd line; the second one has not ended."""
    monkeypatch.setattr(_batch_delivery, "MAX_BATCH_REQUESTS", 2)
    for seconds in (1, HOUR):
        sim.script_batch(BatchScript(seconds=seconds))

    def odd(post: Post) -> Any:
        yield Head(200, (("content-type", "application/x-jsonl"), ("connection", "close")))
        yield Chunk(b"{oops\n")

    sim.script_batch_calls("results", odd)
    with pytest.raises(MapStoppedError) as stopped:
        ask()

    ended, running = (batch.id for batch in sim.batches)
    reasons = stopped.value.result["error"].tolist()
    assert reasons[:2] == [f"no answer yet: it was not in what was read of the results of {ended}"] * 2
    assert reasons[2:] == [f"no answer yet: {running} had not ended when the map was stopped"] * 2
    state = f"{ended} has ended; {running} goes on at the server"
    assert f"{state}, nothing was cancelled: running the same line again waits" in str(stopped.value)
    assert f" · {state}: the same line waits for the answers · " in "".join(capsys.readouterr())


def test_results_in_any_order_go_to_their_rows(sim: Simulator) -> None:
    sim.script_batch(BatchScript(order="reversed"))

    assert ask()["answer"].tolist() == RIGHT


def test_results_that_were_deleted_are_said_to_be_and_are_not_paid_again_unasked(
    sim: Simulator, clock: Clock
) -> None:
    """After 29 days."""
    interrupt_while_waiting(sim, clock)
    clock.moved += 30 * 24 * HOUR

    out = ask()
    assert out["answer"].isna().all()
    assert out["error"].str.contains("no longer at the server").all()
    ask()
    assert posts(sim) == 1
    assert claude.retry(out)["answer"].tolist() == RIGHT
    assert posts(sim) == 2


def test_a_batch_that_somebody_cancels_ends_with_what_it_has(
    sim: Simulator, clock: Clock, monkeypatch: Any
) -> None:
    sleep = clock.sleep

    async def cancel_then_sleep(seconds: float) -> None:
        [batch] = sim.batches
        if batch.cancelled_at is None and clock.moved > 30:
            batch.cancelled_at = clock()
        await sleep(seconds)

    monkeypatch.setattr(_batches, "sleep", cancel_then_sleep)

    out = ask()

    assert out["answer"].tolist()[:2] == ["one", "two"]
    assert out["error"][3].startswith("The batch was cancelled")


# Interrupts and killed processes...


def interrupt_while_waiting(sim: Simulator, clock: Clock) -> str:
    """Run the line, interrupt it while it waits for its batch, and return its message."""
    is_waiting = threading.Event()

    async def wait(_seconds: float) -> None:
        is_waiting.set()
        await asyncio.sleep(HOUR)

    sleep, _batches.sleep = _batches.sleep, wait  # type: ignore[assignment]
    try:
        return str(interrupt_once(is_waiting))
    finally:
        _batches.sleep = sleep  # type: ignore[assignment]


def interrupt_once(moment: threading.Event) -> Any:
    """Run the line, interrupt it at a moment, and return the exception."""
    main = threading.get_ident()

    def interrupt() -> None:
        assert moment.wait(60)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            ask()
    finally:
        thread.join()
    return caught.value


def test_interrupting_the_download_says_that_the_batch_has_ended(sim: Simulator, clock: Clock) -> None:
    interrupt_while_waiting(sim, clock)
    clock.moved += HOUR
    is_asked, gate = threading.Event(), Gate()

    def held(_post: Post) -> Any:
        is_asked.set()
        yield Hold(gate)

    sim.script_batch_calls("results", held)
    stopped = interrupt_once(is_asked)
    gate.open()

    [batch] = sim.batches
    assert f"{batch.id} has ended at the server: running the same line again fetches the rest" in str(stopped)
    reason = f"no answer yet: it was not in what was read of the results of {batch.id}"
    assert stopped.result["error"].tolist() == [reason] * 4
    assert ask()["answer"].tolist() == RIGHT


def test_interrupting_cancels_nothing_and_the_same_line_goes_on(sim: Simulator, clock: Clock) -> None:
    said = interrupt_while_waiting(sim, clock)

    [batch] = sim.batches
    assert batch.cancelled_at is None
    assert f"{batch.id} goes on at the server, nothing was cancelled" in said
    assert f"`%claude batches cancel {batch.id}`" in said
    close_runtime()  # another kernel, days later
    clock.moved += 20 * HOUR
    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_what_is_in_a_batch_is_not_asked_online_beside_it(sim: Simulator, clock: Clock) -> None:
    interrupt_while_waiting(sim, clock)

    with pytest.raises(
        ConfigurationError, match=r"Of these rows, 4 are in a batch already \(msgbatch_.*paid for twice"
    ):
        claude.map(PROMPT, FRAME)
    assert "would be paid for twice" in str(claude.map(PROMPT, FRAME, dry_run=True))
    assert ask(dry_run=True).in_batches == 4
    assert ask(dry_run=True).to_ask == 0
    # A row beside them is.
    assert ask(["other"], via="online") == ["other"]


def test_rows_that_are_new_are_sent_in_a_batch_of_their_own(sim: Simulator, clock: Clock) -> None:
    interrupt_while_waiting(sim, clock)

    out = ask(pd.DataFrame({"text": [*RIGHT[1:], "five"]}))

    assert out["answer"].tolist() == [*RIGHT[1:], "five"]
    assert [len(batch.custom_ids) for batch in sim.batches] == [4, 1]
    # The answer of the row that is no longer in the table was paid for, and is kept as well.
    assert ask(["one"]) == ["one"]
    assert posts(sim) == 2


CHILD = """
from claude_magic import claude
print(claude.map("Say exactly: {{ item }}", ["one", "two", "three", "four"], via="batch"))
"""
"""The same requests; a list, because importing pandas takes a while."""


@contextlib.contextmanager
def child(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the line in another kernel, which is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        env={**os.environ},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def answers_in_journal(tmp_path: Path) -> int:
    file = tmp_path / ".claude-magic" / "journal.sqlite"
    if not file.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.parametrize("moment", ["before", "lost", "unheard", "waiting", "merging"])
def test_one_batch_is_paid_whenever_the_kernel_is_killed(
    moment: str, sim: Simulator, clock: Clock, tmp_path: Path, eventually: Eventually
) -> None:
    """Before the POST, during it (whether it arrived or not), while waiting, and while merging."""
    gate = Gate()
    if moment == "before":
        sim.script_batch_calls("list", slow_headers(HOUR))
    elif moment == "lost":
        sim.script_batch_calls("create", slow_headers(HOUR))
    elif moment == "unheard":
        sim.script_batch_calls("create", accept_unheard(gate=gate))
    elif moment == "merging":
        sim.script_batch(BatchScript(seconds=0, held_after=2, gate=gate))
    until = {
        "before": lambda: calls(sim) == 1,
        "lost": lambda: posts(sim) == 1,
        "unheard": lambda: len(sim.batches) == 1,
        "waiting": lambda: calls(sim, f"/{sim.batches[0].id}") >= 1 if sim.batches else False,
        "merging": lambda: answers_in_journal(tmp_path) == 2,
    }[moment]

    with child(tmp_path):
        eventually(until)
    gate.open()
    out = ask()

    assert out["answer"].tolist() == RIGHT
    assert len(sim.batches) == 1
    assert posts(sim) == (2 if moment == "lost" else 1)
    assert ask()["answer"].tolist() == RIGHT
    assert [note.state for note in notes()][-1] == "merged"


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_connection_that_breaks_during_the_post_pays_once(
    is_accepted: bool, sim: Simulator, clock: Clock
) -> None:
    """The same run finds out whether the batch was created."""
    sim.script_batch_calls("create", accept_unheard() if is_accepted else drop_before_headers())

    assert ask()["answer"].tolist() == RIGHT
    assert len(sim.batches) == 1
    assert posts(sim) == (1 if is_accepted else 2)
    if not is_accepted:  # not before it is certain
        assert clock.moved > _batch_delivery.CREATION_TIMEOUT


def test_a_batch_of_somebody_else_with_as_many_rows_is_not_taken_for_ours(
    sim: Simulator, clock: Clock
) -> None:
    """The map waits for it while it could be its own; the results show that it is not."""
    sim.script_batch(BatchScript(seconds=3 * HOUR))
    make_batch(sim, 4, after_the_fence=True)

    assert ask()["answer"].tolist() == RIGHT
    assert [len(batch.custom_ids) for batch in sim.batches] == [4, 4]
    assert posts(sim) == 3
    assert clock.moved > 3 * HOUR


def make_batch(sim: Simulator, rows: int, *, after_the_fence: bool = False) -> None:
    """Create a batch of another user in the same workspace: now, or right after the map has listed the newest batch."""

    def create() -> None:
        params = {
            "model": "claude-haiku-5-5",
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": "x"}],
        }
        entries = [{"custom_id": f"theirs-{n}", "params": params} for n in range(rows)]
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        response = httpx2.post(
            f"{sim.url}{PATH}", json={"requests": entries}, headers=headers, trust_env=False
        )
        assert response.status_code == 200
        if after_the_fence:
            sim.script_batch_calls("create", drop_before_headers())

    if not after_the_fence:
        create()
        return

    def listed_then_created(post: Post) -> Any:
        answer = post.answer()
        threading.Thread(target=create).start()
        while not sim._batches._behaviours.get("create"):
            yield Pause(0.01)
        yield from json_steps(200, answer.message, {**post.headers, **answer.headers})

    sim.script_batch_calls("list", listed_then_created)


def test_batches_of_others_from_before_are_no_candidates(sim: Simulator, clock: Clock) -> None:
    sim.script_batch(BatchScript(seconds=20 * HOUR))
    make_batch(sim, 4)
    sim.script_batch_calls("create", drop_before_headers())

    assert ask()["answer"].tolist() == RIGHT
    assert clock.moved < HOUR


def run_twice_concurrently(sim: Simulator, eventually: Eventually) -> list[Any]:
    """Run the line twice; both runs wait for the batch at the same time."""
    gate = Gate()
    sim.script_batch_calls("retrieve", hold(gate), hold(gate))

    def open_when_both_wait() -> None:
        eventually(lambda: sum("/msgbatch_" in request.path for request in sim.requests) == 2)
        gate.open()

    async def both() -> list[Any]:
        return await asyncio.gather(*(claude.map_async(PROMPT, FRAME, via="batch") for _ in range(2)))

    opener = threading.Thread(target=open_when_both_wait)
    opener.start()
    outs = asyncio.run(both())
    opener.join()
    return outs


def test_two_runs_of_the_same_line_at_once_send_one_batch(sim: Simulator, eventually: Eventually) -> None:
    for out in run_twice_concurrently(sim, eventually):
        assert out["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_a_second_kernel_waits_for_the_batch_that_the_first_is_sending(
    sim: Simulator, clock: Clock, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    sim.script_batch_calls("create", create_after_gate(gate))
    sleep, slept = clock.sleep, threading.Event()

    async def wait(seconds: float) -> None:
        slept.set()
        if not gate.is_open:  # the first one is alive, so it sends heartbeats
            _batch_notes.BatchNotes(Journal(journal_path())).beat(notes()[0].tag)
        await sleep(seconds)

    monkeypatch.setattr(_batches, "sleep", wait)
    monkeypatch.setattr(_batch_notes, "HEARTBEAT_TIMEOUT", 10 * HOUR)
    made: list[Any] = []
    with child(tmp_path) as first:
        eventually(lambda: posts(sim) == 1)
        second = threading.Thread(target=lambda: made.append(ask()))
        second.start()
        assert slept.wait(60)
        gate.open()
        second.join(120)
        assert first.stdout is not None
        assert first.stdout.readline().strip() == str(RIGHT)
    assert made[0]["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_rows_without_an_answer_are_so_in_the_run_that_did_not_fetch_them(
    sim: Simulator, eventually: Eventually
) -> None:
    """The price is booked once, in the kernel that sent the batch."""
    sim.script_batch(BatchScript(expired=[1]))
    before, reserved_before = spent(), reserved()

    for out in run_twice_concurrently(sim, eventually):
        assert out["answer"].isna().tolist() == [False, True, False, False]
        assert "asks it" in out["error"][1]
    assert len(sim.batches) == 1
    assert reserved() == pytest.approx(reserved_before)
    [note] = notes()
    costs = [answer.cost for answer in Journal(journal_path()).find(note.row_keys).values()]
    assert spent() - before == pytest.approx(sum(costs))


def test_a_run_that_looks_at_the_moment_of_the_merge_books_nothing_again(
    sim: Simulator, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: two runs of a kernel on one batch book it once, whichever run notices the merge first."""
    has_left = threading.Event()
    merged, leave = _batch_notes.BatchNotes.merged, _batches.BatchEngine._unwatch

    def merge_while_another_looks(notes: Any, tag: str) -> None:
        merged(notes, tag)
        assert has_left.wait(60)

    async def leave_and_tell(engine: Any, note: Any, *, is_dropped: bool) -> None:
        await leave(engine, note, is_dropped=is_dropped)
        has_left.set()

    monkeypatch.setattr(_batch_notes.BatchNotes, "merged", merge_while_another_looks)
    monkeypatch.setattr(_batches.BatchEngine, "_unwatch", leave_and_tell)
    before, reserved_before = spent(), reserved()

    for out in run_twice_concurrently(sim, eventually):
        assert out["answer"].tolist() == RIGHT

    [note] = notes()
    costs = [answer.cost for answer in Journal(journal_path()).find(note.row_keys).values()]
    assert spent() - before == pytest.approx(sum(costs))
    assert reserved() == pytest.approx(reserved_before)


def test_results_that_are_not_there_yet_are_waited_for(sim: Simulator, clock: Clock) -> None:
    """A batch that has just ended is not treated as one with deleted results."""
    sim.script_batch_calls("results", status(404), status(404))

    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def create_after_gate(gate: Gate) -> Any:
    """Create the batch once a gate is open."""

    def behave(post: Any) -> Any:
        yield Hold(gate)
        yield from deliver(post, post.answer())

    return behave


# Another key, another server...


def test_another_workspaces_key_is_an_error_and_nothing_is_sent_again(
    sim: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_while_waiting(sim, clock)
    close_runtime()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "other")

    with pytest.raises(MapStoppedError, match=r"This key finds no batch msgbatch_.*forget msgbatch_"):
        ask()
    close_runtime()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_whether_it_arrived_is_not_asked_of_another_workspace(
    sim: Simulator, clock: Clock, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is not in that workspace's list, which proves nothing."""
    sim.script_batch_calls("create", accept_unheard(gate=Gate()))
    with child(tmp_path):
        eventually(lambda: len(sim.batches) == 1)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "other")
    clock.moved += HOUR

    with pytest.raises(MapStoppedError, match="this key belongs to another workspace"):
        ask()
    assert posts(sim) == 1


def test_a_gateway_that_names_no_account_is_not_believed_to_have_lost_a_batch(
    sim: Simulator, clock: Clock, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another key, its list lacks the earlier batch as well, so it may be that of another workspace."""
    monkeypatch.setattr(
        _batch_delivery.HeaderObserver,
        "account",
        property(lambda self: f"{self.server}|{_batch_delivery._NO_ACCOUNT}"),
    )
    monkeypatch.setattr(_batch_delivery.HeaderObserver, "identifies_account", False)
    make_batch(sim, 1)
    sim.script_batch_calls("create", drop_before_headers())
    monkeypatch.setattr(_batches, "sleep", stop_here)
    with pytest.raises(MapStoppedError):
        ask()
    monkeypatch.setattr(_batches, "sleep", clock.sleep)
    clock.moved += HOUR

    monkeypatch.setenv("ANTHROPIC_API_KEY", "other")
    with pytest.raises(MapStoppedError, match="this key belongs to another workspace"):
        ask()
    close_runtime()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert ask()["answer"].tolist() == RIGHT
    assert [len(batch.custom_ids) for batch in sim.batches] == [1, 4]


async def stop_here(_seconds: float) -> None:
    raise ConfigurationError("stopped by the test")


def test_a_server_without_batches_is_an_error(sim: Simulator) -> None:
    sim.script_batch_calls("list", status(404))

    with pytest.raises(MapStoppedError, match="has no message batches"):
        ask()
    assert [note.state for note in notes()] == ["dropped"]


# Refusals...


@pytest.mark.parametrize("code", [400, 401, 403])
def test_a_batch_that_is_refused_leaves_its_rows_free(code: int, sim: Simulator) -> None:
    sim.script_batch_calls("create", status(code))
    before = reserved()

    with pytest.raises(MapStoppedError):
        ask()
    assert reserved() == before
    assert ask()["answer"].tolist() == RIGHT


@pytest.fixture
def set_max_body_size(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the server reject larger batches, as a proxy in front of it would."""

    def set_most(size: int) -> None:
        monkeypatch.setattr(_server, "MAX_BATCH_BYTES", size)

    return set_most


def rows_per_batch(sim: Simulator) -> list[int]:
    """Return the number of rows of each batch, in order of arrival."""
    return [len(batch.custom_ids) for batch in sim.batches]


def test_a_batch_that_is_too_large_is_sent_in_halves(
    set_max_body_size: Callable[[int], None], sim: Simulator
) -> None:
    """Promise: each row is in one batch; a rejected batch is neither reserved nor counted against `max_cost`."""
    rows = pd.DataFrame({"text": [f"{number} " + "x" * 500 for number in range(8)]})
    set_max_body_size(2_500)
    before = reserved()

    out = ask(rows, max_cost=0.7)

    assert out["error"].isna().all()
    assert rows_per_batch(sim) == [2, 2, 2, 2]
    assert posts(sim) == 7
    assert reserved() == pytest.approx(before)
    assert [note.state for note in notes()].count("merged") == 4
    assert ask(rows)["answer"].tolist() == out["answer"].tolist()
    assert posts(sim) == 7


def test_what_a_server_takes_is_learnt(
    set_max_body_size: Callable[[int], None], sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: later batches are small enough from the start."""
    monkeypatch.setattr(_batch_delivery, "MAX_BATCH_REQUESTS", 4)
    set_max_body_size(2_500)

    ask(pd.DataFrame({"text": [f"{number:02} " + "x" * 500 for number in range(12)]}))

    assert set(rows_per_batch(sim)) == {2}
    assert posts(sim) == 7


def test_a_row_that_is_too_large_by_itself_is_an_error_of_that_row(
    set_max_body_size: Callable[[int], None], sim: Simulator
) -> None:
    """Promise: the others are answered, and running the same line sends this one again."""
    set_max_body_size(6_000)
    rows = pd.DataFrame({"text": ["one", "x" * 9_000, "three", "four"]})

    out = ask(rows)

    assert out["error"].isna().tolist() == [True, False, True, True]
    assert "Too large for a batch: " in out["error"][1]
    assert "413" in out["error"][1]
    assert out["answer"].tolist()[2:] == ["three", "four"]
    before = posts(sim)
    set_max_body_size(60_000)
    assert ask(rows)["error"].isna().all()
    assert posts(sim) == before + 1


def test_a_server_that_takes_no_row_ends_it(set_max_body_size: Callable[[int], None], sim: Simulator) -> None:
    """Promise: not all of a hundred rows are tried."""
    set_max_body_size(10)

    with pytest.raises(MapStoppedError, match="413"):
        ask([f"row {number}" for number in range(100)])

    assert posts(sim) < 60
    assert sim.batches == []


def respond_normally(post: Post) -> Any:
    """Respond to a batch endpoint without a script."""
    answer = post.answer()
    yield from json_steps(200, answer.message, {**post.headers, **answer.headers})


@pytest.mark.parametrize("moment", ["between", "unheard", "waiting"])
def test_halves_are_paid_once_whenever_the_kernel_is_killed(
    moment: str, sim: Simulator, clock: Clock, tmp_path: Path, eventually: Eventually
) -> None:
    """Before the second half is sent, while the first arrives without a response, and while both are in progress."""
    gate = Gate()
    refused = [status(413)]
    if moment == "between":
        sim.script_batch_calls("create", *refused)
        sim.script_batch_calls("list", respond_normally, respond_normally, slow_headers(HOUR))
    elif moment == "unheard":
        sim.script_batch_calls("create", *refused, accept_unheard(gate=gate))
    else:
        sim.script_batch_calls("create", *refused)
    until = {
        "between": lambda: calls(sim) == 3,
        "unheard": lambda: len(sim.batches) == 1,
        "waiting": lambda: len(sim.batches) == 2 and calls(sim, f"/{sim.batches[1].id}") >= 1,
    }[moment]

    with child(tmp_path):
        eventually(until)
    gate.open()
    out = ask()

    assert out["answer"].tolist() == RIGHT
    assert rows_per_batch(sim) == [2, 2]
    rows = [name.rpartition("_")[2] for batch in sim.batches for name in batch.custom_ids]
    assert len(set(rows)) == len(rows) == 4


@pytest.mark.parametrize("code", [429, 529])
def test_a_batch_that_is_refused_for_now_is_sent_again(code: int, sim: Simulator) -> None:
    sim.script_batch_calls("create", status(code))

    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 2


def test_it_is_admitted_with_its_worst_case_and_keeps_that_reserved(sim: Simulator, clock: Clock) -> None:
    """Also after an interrupted wait: the batch continues, and will be billed."""
    ledger, before = get_runtime().ledger, get_runtime().ledger.account(is_simulated=True)
    ledger.set_budget(before.committed + 0.1)
    with pytest.raises(MapStoppedError, match="This batch of 4 requests could cost up to"):
        ask()
    assert posts(sim) == 0

    ledger.set_budget(before.committed + 10)
    interrupt_while_waiting(sim, clock)
    worst = reserved() - before.reserved
    assert worst > 4 * 16_000 * 10 / 1e6 * 0.5
    ask()
    assert reserved() == pytest.approx(before.reserved)
    assert 0 < spent() - before.spent < worst


def test_max_cost_bounds_the_worst_case(sim: Simulator) -> None:
    with pytest.raises(
        MapStoppedError, match=r"could cost up to \$0\.3.*max_cost is \$0\.30.*Lower max_tokens"
    ):
        ask(max_cost=0.3)
    assert posts(sim) == 0
    assert ask(max_cost=0.3, max_tokens=2000)["answer"].tolist() == RIGHT


def test_the_price_that_is_agreed_to_is_the_worst_case(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The amount in the refusal is sufficient."""
    monkeypatch.setenv("CLAUDE_MAGIC_MAP_ASK_ABOVE", "0.001")

    with pytest.raises(ConfigurationError, match=r"This map, 4 requests to .*\(up to \$0\.3.*max_cost=1 "):
        ask()
    assert ask(max_cost=1)["answer"].tolist() == RIGHT


def test_what_cannot_be_asked_in_a_batch_is_refused_before_anything_is_sent(sim: Simulator) -> None:
    with pytest.raises(ConfigurationError, match="no request with speed"):
        ask(extra={"speed": "fast"})
    with pytest.raises(ConfigurationError, match="needs a journal"):
        ask(journal=False)
    with pytest.raises(ConfigurationError, match="via is 'online' or 'batch', not 'post'"):
        ask(via="post")
    assert sim.requests == []


def test_a_journal_that_is_locked_is_reported_and_the_batch_is_found_again(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is locked when the id is to be written, which is the worst moment."""
    monkeypatch.setattr("claude_magic.bulk._journal._LOCK_TIMEOUT", 0.01)
    monkeypatch.setattr(Journal.__init__, "__kwdefaults__", {"lock_timeout": 0.01})
    sent = _batch_notes.BatchNotes.sent

    def locked(self: Any, *arguments: Any) -> None:
        with contextlib.closing(sqlite3.connect(journal_path(), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            sent(self, *arguments)

    monkeypatch.setattr(_batch_notes.BatchNotes, "sent", locked)
    with pytest.raises(ClaudeError, match="locked"):
        ask()
    monkeypatch.setattr(_batch_notes.BatchNotes, "sent", sent)

    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 1


def test_a_journal_from_before_batches_goes_on(sim: Simulator) -> None:
    ask(["one"], via="online")
    with contextlib.closing(sqlite3.connect(journal_path(), isolation_level=None)) as database:
        database.execute("DROP TABLE batches")
        database.execute("PRAGMA user_version = 1")

    assert ask(["one", "two"]) == ["one", "two"]
    assert len(sim.batches[0].custom_ids) == 1


def test_a_batch_with_a_cassette_is_refused_before_its_price_is_asked(sim: Simulator) -> None:
    """And before the journal contains a run."""
    frame = pd.DataFrame({"text": range(5_000)})
    for options in ({"dry_run": True}, {}):
        with pytest.raises(ConfigurationError, match="A batch is not recorded in a cassette"):
            claude.map(PROMPT, frame, via="batch", replay="auto", **options)
    assert not sim.requests
    assert not journal_path().exists()


def test_the_methods_paragraph_counts_the_rows_of_a_batch(sim: Simulator, clock: Clock) -> None:
    """With their half price, the date of sending, and their outcomes."""
    sim.script_batch(BatchScript(expired=[1], errored=[2]))
    before = get_runtime().ledger.account(is_simulated=True).spent
    ask()
    paid = get_runtime().ledger.account(is_simulated=True).spent - before

    methods = Methods(asked=(), maps=get_runtime().log.rows()[-1:], has_appendix=True)

    (found,) = methods.manifest["maps"]
    assert (found["answered"], found["failed"], found["simulated"], len(found["keys"])) == (2, 2, 4, 2)
    assert found["cost_usd"] == pytest.approx(paid)
    assert re.search(
        r"4 requests to .* 2 were answered, 2 failed \((expired: 1|ServerError: 1|, )+\)", str(methods)
    )
    assert re.search(r"claude-sonnet-5-5 \(2 answers, on ", str(methods))
    assert "Say exactly: " in str(methods)


# Batch commands...


def test_batches_are_listed_and_cancelled_with_every_setting_of_replay(
    sim: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_while_waiting(sim, clock)
    monkeypatch.setenv("CLAUDE_MAGIC_REPLAY", "auto")

    [first] = claude.batches()
    assert claude.cancel_batch(first.id).processing_status == "canceling"


def test_batches_are_listed_with_the_maps_that_sent_them(sim: Simulator, clock: Clock) -> None:
    interrupt_while_waiting(sim, clock)
    [first] = claude.batches()
    assert (first.id, first.state, first.left, first.prompt) == (sim.batches[0].id, "in progress", 4, PROMPT)

    clock.moved += HOUR
    assert [(each.state, each.done, each.left) for each in claude.batches()] == [("ended, not fetched", 4, 0)]
    assert "run the line of the map again" in repr(claude.batches())
    ask()
    make_batch(sim, 2)
    listed = claude.batches()
    assert [each.state for each in listed] == ["in progress", "ended, fetched"]
    assert [each.prompt for each in listed] == ["", PROMPT]
    clock.moved += 29 * 24 * HOUR
    assert {each.state for each in claude.batches()} == {"results deleted"}


def test_a_batch_can_be_cancelled_and_the_line_takes_what_was_done(sim: Simulator, clock: Clock) -> None:
    sim.script_batch(BatchScript(seconds=HOUR))
    interrupt_while_waiting(sim, clock)
    clock.moved += HOUR / 2
    [batch] = sim.batches

    assert claude.cancel_batch(batch.id).processing_status == "canceling"
    out = ask()

    assert out["answer"].tolist()[:2] == ["one", "two"]
    assert out["error"].str.contains("cancelled").tolist()[2:] == [True, True]
    assert posts(sim) == 1
    assert ask()["answer"].tolist() == RIGHT
    assert len(sim.batches[1].custom_ids) == 2
    with pytest.raises(ClaudeError, match="has ended"):
        claude.cancel_batch(batch.id)
    with pytest.raises(ConfigurationError, match=r"finds no batch msgbatch_none.*Nothing was cancelled"):
        claude.cancel_batch("msgbatch_none")


def test_a_batch_that_is_lost_can_be_forgotten(
    sim: Simulator, clock: Clock, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy if it cannot be determined whether the batch was created."""
    sim.script_batch_calls("create", accept_unheard(gate=Gate()))
    with child(tmp_path):
        eventually(lambda: len(sim.batches) == 1)
    clock.moved = notes()[0].beat - clock.now()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "other")
    with pytest.raises(ClaudeError, match="is being sent"):
        claude.forget_batch(notes()[0].tag)
    clock.moved += HOUR
    [record] = claude.batches()
    assert (record.id, record.state, record.left) == (notes()[0].tag, "sending broke off", 4)

    assert claude.forget_batch(record.id) == 4
    assert ask()["answer"].tolist() == RIGHT
    assert posts(sim) == 2
    with pytest.raises(ClaudeError, match="has no open batch"):
        claude.forget_batch(record.id)
