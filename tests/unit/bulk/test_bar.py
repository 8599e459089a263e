"""What is told of a map while it runs."""

from __future__ import annotations

from dataclasses import replace

from tqdm.std import tqdm

from claude_magic.bulk._bar import describe_end, describe_progress
from claude_magic.bulk._run import MapSnapshot
from claude_magic.runtime import Phase

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
    first=(),
    error=None,
    is_simulated=False,
)


def test_the_price_is_seen_in_a_narrow_terminal():
    """What does not fit is cut at its end: tokens, not money."""
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


def test_the_end_names_each_row_without_an_answer_and_where_the_reason_is():
    """Rows that failed and rows that could not be asked are counted apart; a map without any says nothing of either."""
    ended = replace(SNAPSHOT, phase=Phase.COMPLETE, requests=11_999)

    line = describe_end(replace(ended, failed=2, unasked=1))

    assert " · 2 failed · 1 row not asked · `claude.errors` says why · " in line
    assert " · 1 row not asked · `claude.errors` says why · " in describe_end(replace(ended, unasked=1))
    assert "claude.errors" not in describe_end(ended)


def test_a_map_that_is_stopped_before_its_first_answer_does_not_say_that_nothing_was_paid():
    """Requests were in flight; one that asks nothing says so."""
    unanswered = replace(SNAPSHOT, answered=0, cost=None, phase=Phase.CANCELLED)

    assert "may be billed" in describe_end(unanswered)
    assert "nothing paid" not in describe_end(unanswered)
    assert "nothing was asked, nothing paid" in describe_end(replace(unanswered, phase=Phase.COMPLETE))
