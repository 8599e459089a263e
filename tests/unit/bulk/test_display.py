"""What a map shows: the text of the progress bar, and the summary at the end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tqdm.std import tqdm

from claude_magic.bulk._display import MapSurface, Preview, approve_price, describe_end, describe_progress
from claude_magic.bulk._requests import MapRequest
from claude_magic.bulk._run import MapRun, MapSnapshot, Results
from claude_magic.client import ConfigurationError
from claude_magic.runtime import Phase, Question

SNAPSHOT = MapSnapshot(
    phase=Phase.STREAMING,
    version=1,
    model="claude-sonnet-5-5",
    rows=12_000,
    requests=12_000,
    known=0,
    answered=5_000,
    failed=0,
    tokens_in=180_000,
    tokens_out=920_000,
    cost=9.5678,
    elapsed=500.0,
    error=None,
    unasked=0,
)


@pytest.mark.parametrize("is_simulated", [False, True])
def test_a_map_is_not_started_if_its_estimate_is_above_max_cost(is_simulated: bool):
    """The simulator costs nothing, but shows what would happen. There, a price needs no approval."""
    preview = Preview(
        model="claude-sonnet-5-5",
        rows=200,
        requests=200,
        known=0,
        recorded=0,
        unasked=0,
        to_ask=200,
        tokens_in=4_000,
        tokens_out=40_000,
        cost=0.41,
        seconds=1.0,
        is_simulated=is_simulated,
        notes=(),
        samples=(),
    )

    with pytest.raises(
        ConfigurationError, match=r"about \$0\.41, and max_cost is \$0\.0001\. Nothing was sent"
    ):
        approve_price(preview, 0.0001, asks_above=1.0, front_end=None)
    approve_price(preview, 0.5, asks_above=0.1, front_end=None)
    if is_simulated:
        approve_price(preview, None, asks_above=0.1, front_end=None)


def test_narrow_terminal_shows_the_cost():
    """Text that does not fit is truncated at the end: tokens, not the cost."""
    line = tqdm.format_meter(
        5_000,
        SNAPSHOT.requests,
        SNAPSHOT.elapsed,
        ncols=80,
        prefix=SNAPSHOT.model,
        unit="row",
        postfix=describe_progress(SNAPSHOT),
    )

    assert len(line) <= 80
    assert "$9.57" in line


def test_bar_says_why_few_rows_run_at_once():
    """After the cost, which stays visible."""
    held_back = replace(SNAPSHOT, held_back="waiting for room in the budget")

    assert describe_progress(held_back) == "$9.57, waiting for room in the budget, 180.0k in, 920.0k out"


def test_summary_counts_missing_answers_and_points_to_the_reasons():
    """Failed rows and rows that could not be sent are counted separately; zero counts are omitted."""
    ended = replace(SNAPSHOT, phase=Phase.COMPLETE, requests=11_999)

    line = describe_end(replace(ended, failed=2, unasked=1))

    assert " · 2 failed · 1 row not asked · `claude.errors(RESULT)` says why · " in line
    named = describe_end(replace(ended, unasked=1), "out")
    assert " · 1 row not asked · `claude.errors(out)` says why · " in named
    assert "claude.errors" not in describe_end(ended)


def test_map_is_free_to_run_again_only_if_it_is_complete():
    """The rows that are missing cost something."""
    recorded = replace(SNAPSHOT, recorded_on="2026-11-28", phase=Phase.COMPLETE)

    assert describe_end(recorded).endswith("costs nothing")
    for phase in (Phase.FAILED, Phase.CANCELLED):
        assert "costs nothing" not in describe_end(replace(recorded, phase=phase))


def test_map_stopped_before_its_first_answer_may_be_billed():
    """Requests were in flight. Only a map that sent nothing reports that nothing was paid."""
    unanswered = replace(SNAPSHOT, answered=0, cost=None, phase=Phase.CANCELLED)

    assert "may be billed" in describe_end(unanswered)
    assert "nothing paid" not in describe_end(unanswered)
    assert "nothing was asked, nothing paid" in describe_end(replace(unanswered, phase=Phase.COMPLETE))


@pytest.mark.parametrize("answered", [0, 18])
def test_summary_has_the_amount_that_broken_attempts_may_cost(answered: int):
    """Beside the price of the answers, which it is not part of."""
    ended = replace(SNAPSHOT, phase=Phase.CANCELLED, answered=answered, unconfirmed=0.4927, is_simulated=True)

    line = describe_end(ended)

    assert " · up to $0.493 (simulated) more may be billed for attempts that broke off · " in line
    assert "requests in flight" not in line
    assert "nothing paid" not in line
    assert ("$9.57 (simulated)" in line) is bool(answered)


FIVE = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("batches", "ended", "state"),
    [
        (("a",), (), "a goes on at the server"),
        (("a",), ("a",), "a has ended at the server"),
        (("a", "b"), (), "a, b go on at the server"),
        (("a", "b"), ("a", "b"), "a, b have ended at the server"),
        (("a", "b"), ("b",), "b has ended; a goes on at the server"),
        (FIVE, (), "a, b, c and 2 more go on at the server"),
        (FIVE, FIVE, "a, b, c and 2 more have ended at the server"),
        (FIVE, FIVE[:4], "a, b, c and 1 more have ended; e goes on at the server"),
    ],
)
def test_summary_and_error_say_the_same_about_batches(
    batches: tuple[str, ...], ended: tuple[str, ...], state: str
) -> None:
    results = Results(batches=batches, ended_batches=ended)
    task: Any = SimpleNamespace(
        request=MapRequest(question=Question(prompt=""), items=[], names={}), results=results
    )
    error = MapRun(task, list, again="").how_to_continue()
    stopped = replace(
        SNAPSHOT, answered=0, cost=0.0, phase=Phase.CANCELLED, batches=batches, ended_batches=ended
    )

    is_running = len(batches) > len(ended)
    does = "waits for" if is_running else "fetches"
    assert f" · {state}: the same line {does} the answers · " in describe_end(stopped)
    assert error.startswith(f"{state}, nothing was cancelled: " if is_running else f"{state}: ")
    assert f"running the same line again {does} " in error
    assert ("cancels one of them" in error) is (len(batches) - len(ended) > 1)


def test_only_new_batches_are_reported() -> None:
    """Where nothing is drawn; not the rest once a batch is done."""
    said: list[str] = []
    front_end: Any = SimpleNamespace(has_kernel=True, has_widgets=False, say=said.append)
    surface = MapSurface(front_end, is_live=False)

    for batches, waiting in ((("a",), "one"), (("a", "b"), "two"), (("b",), "three"), ((), "four")):
        surface.draw(replace(SNAPSHOT, batches=batches, waiting=waiting))

    assert said == ["one", "two"]
