"""How many requests a map has in flight."""

from __future__ import annotations

from claude_magic.bulk._engine import Concurrency


def round_of(concurrency: Concurrency) -> int:
    """Let as many requests succeed as are allowed; return how many are allowed then."""
    for _ in range(int(concurrency.limit)):
        concurrency.grow(int(concurrency.limit))
    return int(concurrency.limit)


def test_it_starts_slowly_and_doubles() -> None:
    concurrency = Concurrency(100)

    assert [int(concurrency.limit), *(round_of(concurrency) for _ in range(4))] == [8, 16, 32, 64, 100]


def test_after_a_refusal_it_is_less_and_grows_by_one_a_round() -> None:
    concurrency = Concurrency(100)
    while concurrency.limit < 64:
        concurrency.grow(64)

    concurrency.shrink(sent_at=1.0, now=2.0)

    assert 44 <= concurrency.limit < 45
    assert [round_of(concurrency) for _ in range(2)] == [45, 46]


def test_requests_that_were_sent_together_count_as_one_refusal() -> None:
    """They were all sent under the bound that was too high."""
    concurrency = Concurrency(100)
    concurrency.shrink(sent_at=1.0, now=2.0)
    once = concurrency.limit

    concurrency.shrink(sent_at=1.5, now=2.1)
    assert concurrency.limit == once

    concurrency.shrink(sent_at=2.5, now=3.0)
    assert concurrency.limit < once


def test_it_does_not_grow_while_it_is_not_used() -> None:
    """What was never in flight has proved nothing."""
    concurrency = Concurrency(100)
    for _ in range(50):
        concurrency.grow(2)

    assert concurrency.limit == 8


def test_it_never_ends() -> None:
    concurrency = Concurrency(100)
    for moment in range(50):
        concurrency.shrink(sent_at=moment + 0.5, now=moment + 0.6)

    assert concurrency.limit == 1


def test_a_cap_holds() -> None:
    """The budget has room for three."""
    concurrency = Concurrency(100)
    concurrency.cap(3)
    for _ in range(50):
        concurrency.grow(3)

    assert concurrency.limit == 3
