"""The adaptive limit on requests in flight."""

from __future__ import annotations

from claude_magic.bulk._engine import Concurrency


def round_of(concurrency: Concurrency) -> int:
    """Complete as many requests as the limit allows, and return the new limit."""
    for _ in range(int(concurrency.limit)):
        concurrency.grow(int(concurrency.limit))
    return int(concurrency.limit)


def test_limit_starts_low_and_doubles() -> None:
    concurrency = Concurrency(100)

    assert [int(concurrency.limit), *(round_of(concurrency) for _ in range(4))] == [8, 16, 32, 64, 100]


def test_limit_falls_after_a_refusal_then_grows_by_one_a_round() -> None:
    concurrency = Concurrency(100)
    while concurrency.limit < 64:
        concurrency.grow(64)

    concurrency.shrink(sent_at=1.0, now=2.0)

    assert 44 <= concurrency.limit < 45
    assert [round_of(concurrency) for _ in range(2)] == [45, 46]


def test_requests_sent_together_count_as_one_refusal() -> None:
    """They were all sent under the old limit."""
    concurrency = Concurrency(100)
    concurrency.shrink(sent_at=1.0, now=2.0)
    once = concurrency.limit

    concurrency.shrink(sent_at=1.5, now=2.1)
    assert concurrency.limit == once

    concurrency.shrink(sent_at=2.5, now=3.0)
    assert concurrency.limit < once


def test_unused_limit_does_not_grow() -> None:
    """Without enough requests in flight, a success is no evidence of spare capacity."""
    concurrency = Concurrency(100)
    for _ in range(50):
        concurrency.grow(2)

    assert concurrency.limit == 8


def test_limit_never_falls_below_one() -> None:
    concurrency = Concurrency(100)
    for moment in range(50):
        concurrency.shrink(sent_at=moment + 0.5, now=moment + 0.6)

    assert concurrency.limit == 1


def test_cap_bounds_the_limit() -> None:
    """The budget covers three requests."""
    concurrency = Concurrency(100)
    concurrency.cap(3)
    for _ in range(50):
        concurrency.grow(3)

    assert concurrency.limit == 3
