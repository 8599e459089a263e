"""The engine of an online map, with a client that answers at once; and its limit on requests in flight."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from claude_magic.bulk._journal import Answer, Journal
from claude_magic.bulk._online import Concurrency, OnlineEngine
from claude_magic.bulk._requests import MapRequest, RowJob
from claude_magic.bulk._run import Results, Task
from claude_magic.client import (
    InvalidRequestError,
    Message,
    MessageRequest,
    OverloadedError,
    StreamInterruptedError,
    Usage,
)
from claude_magic.runtime import BillLine, BudgetExceededError, Question

TEMPLATE = MessageRequest(model="claude-sonnet-5-5", max_tokens=100, messages=[])


class Accountant:
    """An accountant that admits everything and books nothing."""

    is_simulated = True
    has_reservation = True
    unconfirmed = 0.0

    async def admit(self, client: object, request: object, **_options: object) -> None:
        """Admit any request."""

    def finish(self, arrived: object) -> tuple[()]:
        """Book nothing."""
        return ()

    def on_event(self, event: object) -> None:
        """Ignore the event."""


class Client:
    """A client that calls `answer` one iteration of the event loop later.

    Attributes:
        engine: The engine under test.
        asked: Prompts sent, in order.
        most: Maximum number of requests in flight.
    """

    def __init__(self, answer: Callable[[Client, str], None]) -> None:
        self.engine: OnlineEngine | None = None
        self.asked: list[str] = []
        self.most = self._in_flight = 0
        self._answer = answer

    async def send_message(self, request: MessageRequest, *, observer: Any = None) -> Message:
        """Answer one request."""
        prompt = request.messages[0]["content"]
        self.asked.append(prompt)
        self._in_flight += 1
        self.most = max(self.most, self._in_flight)
        try:
            await asyncio.sleep(0)
            self._answer(self, prompt)
        finally:
            self._in_flight -= 1
        return Message.model_validate({"model": "m", "content": [{"type": "text", "text": f"re: {prompt}"}]})


class Writer:
    """A writer that reports answers as durable immediately."""

    def __len__(self) -> int:
        return 0

    async def wait_for_room(self) -> None:
        """Return immediately."""

    def put(self, answer: Answer, on_end: Callable[[Answer, bool], None]) -> None:
        """Report an answer as durable."""
        on_end(answer, True)


def job(index: int) -> RowJob:
    """Return the job of a row."""
    return RowJob(index, index, index.to_bytes(16, "big"), [{"role": "user", "content": str(index)}])


def run(
    rows: int,
    answer: Callable[[Client, str], None] = lambda _client, _prompt: None,
    accountant: Any = None,
    at_a_time: int = 20,
    concurrency: int | None = None,
    rebuild: Callable[[int], RowJob] = job,
    max_cost: float | None = None,
    client: Client | None = None,
    **task: Any,
) -> tuple[Results, Client]:
    """Run a map of `rows` rows."""
    client, results = client or Client(answer), Results(texts=[None] * rows)
    numbers = iter(range(rows))

    def feed() -> list[RowJob]:
        return [job(index) for index in islice(numbers, at_a_time)]

    async def main() -> None:
        given = Task(
            request=MapRequest(
                question=Question(prompt=""), items=(), names={}, concurrency=concurrency, max_cost=max_cost
            ),
            template=TEMPLATE,
            feed=feed,
            rebuild=lambda index, _row: rebuild(index),
            results=results,
            journal=Journal(None),
            run=1,
            rows=rows,
            **task,
        )
        make: Any = accountant or Accountant
        engine = OnlineEngine(given, client, make, lambda: None)  # type: ignore[arg-type]
        client.engine = engine
        await engine.run(Writer())  # type: ignore[arg-type]

    asyncio.run(main())
    return results, client


@pytest.mark.parametrize("at_a_time", [1, 20])
def test_every_row_is_sent_once(at_a_time: int) -> None:
    """Even if rows are read more slowly than they are answered."""
    results, client = run(100, at_a_time=at_a_time)

    assert results.texts == [f"re: {index}" for index in range(100)]
    assert sorted(map(int, client.asked)) == list(range(100))


def test_all_rows_are_read_when_the_limit_falls_below_the_active_workers() -> None:
    """If there is one worker too many, only one leaves, so that rows left to read are still read."""

    def fall(client: Client, _prompt: str) -> None:
        assert client.engine is not None
        client.engine.concurrency.hold(1)

    results, _ = run(50, fall, at_a_time=1)

    assert None not in results.texts


def test_requests_in_flight_never_exceed_the_maximum() -> None:
    _, client = run(100, concurrency=3)

    assert client.most == 3


def test_transient_failures_are_retried_after_the_rest() -> None:
    failed: list[str] = []

    def fail_once(_client: Client, prompt: str) -> None:
        if prompt == "0" and not failed:
            failed.append(prompt)
            raise OverloadedError("busy", status=529)

    results, client = run(30, fail_once)

    assert None not in results.texts
    assert client.asked[-1] == "0"


def test_retried_rows_are_read_again_off_the_loop() -> None:
    """Their expressions are the user's code, which may take long."""
    threads: set[int] = set()

    def rebuild(index: int) -> RowJob:
        threads.add(threading.get_ident())
        return job(index)

    def fail_at_first(client: Client, prompt: str) -> None:
        if client.asked.count(prompt) == 1:
            raise OverloadedError("busy", status=529)

    results, _ = run(10, fail_at_first, rebuild=rebuild)

    assert None not in results.texts
    assert threading.get_ident() not in threads


def test_permanent_failures_are_not_retried() -> None:
    def fail(_client: Client, prompt: str) -> None:
        if prompt == "3":
            raise InvalidRequestError("too long", status=400)

    results, client = run(30, fail)

    assert list(results.problems) == [3]
    assert client.asked.count("3") == 1


def test_one_request_goes_first_to_warm_the_cache() -> None:
    seen: list[int] = []
    run(20, lambda client, _prompt: seen.append(client.most), warms_cache=True)

    assert seen[0] == 1
    assert max(seen) > 1


def test_budget_for_two_allows_two_in_flight() -> None:
    """Only a request that exceeds the budget alone ends the run."""
    in_flight: list[object] = []

    class Tight(Accountant):
        async def admit(self, client: object, request: object, **_options: object) -> None:
            if len(in_flight) == 2:
                raise BudgetExceededError("No room.")
            in_flight.append(request)

        def finish(self, arrived: object) -> tuple[()]:
            in_flight.pop()
            return ()

    results, client = run(40, accountant=Tight)

    assert None not in results.texts
    assert client.most == 2


def test_rows_that_wait_for_the_budget_have_a_reason_until_there_is_room() -> None:
    """The budget has room for two requests, from the tenth row on for all."""
    seen: list[str] = []
    in_flight: list[object] = []

    class Tight(Accountant):
        async def admit(self, client: object, request: object, **_options: object) -> None:
            if len(in_flight) == 2 and len(seen) < 10:
                raise BudgetExceededError("No room.")
            in_flight.append(request)

        def finish(self, arrived: object) -> tuple[()]:
            in_flight.pop()
            return ()

    def note(client: Client, _prompt: str) -> None:
        assert client.engine is not None
        seen.append(client.engine.results.held_back)

    results, _ = run(40, note, accountant=Tight)

    assert None not in results.texts
    assert [text.partition(";")[0] for text in seen[1:9]] == ["waiting for room in the budget"] * 8
    assert set(seen[15:]) == {""}
    assert results.held_back == ""


def test_exhausted_budget_ends_the_run() -> None:
    class Empty(Accountant):
        async def admit(self, client: object, request: object, **_options: object) -> None:
            raise BudgetExceededError("No room.")

    with pytest.raises(BudgetExceededError, match=r"No room\."):
        run(40, accountant=Empty)


# The most that a map may cost...

WORST = 0.0052
"""USD, of a row of `TEMPLATE`, rounded up."""


class Priced(Accountant):
    """An accountant with a price for each answer, in USD."""

    price = 0.001

    def finish(self, arrived: object) -> tuple[BillLine, ...]:  # type: ignore[override]
        """Bill one answer."""
        return () if arrived is None else (BillLine(model="m", usage=Usage(), cost=self.price),)


def test_a_map_spends_no_more_than_its_max_cost() -> None:
    """Not even in its first wave, when no answer has shown what one costs."""
    client = Client(lambda _client, _prompt: None)

    with pytest.raises(
        BudgetExceededError, match=r"max_cost is \$0\.0035, \$0\.003 are spent.*may cost \$0\.001\."
    ):
        run(200, accountant=Priced, max_cost=0.0035, client=client, expected_cost=0.002)

    assert len(client.asked) == 3


def test_before_the_first_answer_as_many_rows_go_as_can_be_paid_in_the_worst_case() -> None:
    seen: list[int] = []

    run(40, lambda client, _prompt: seen.append(client.most), accountant=Priced, max_cost=3.5 * WORST + 1)
    assert seen[0] == 8

    with pytest.raises(BudgetExceededError):
        run(40, lambda client, _prompt: seen.append(client.most), accountant=Priced, max_cost=3.5 * WORST)
    assert seen[40] == 3


def test_the_first_answer_shows_how_many_rows_may_be_in_flight() -> None:
    """One row alone goes first, because its worst case is above `max_cost`."""
    seen: list[int] = []

    class Cheap(Priced):
        price = 0.000_01

    run(
        100,
        lambda client, _prompt: seen.append(client.most),
        accountant=Cheap,
        max_cost=WORST / 2,
        expected_cost=0.002,
    )

    assert seen[0] == 1
    assert max(seen) > 8


def test_no_row_goes_if_not_even_the_expected_cost_of_one_fits() -> None:
    client = Client(lambda _client, _prompt: None)

    with pytest.raises(BudgetExceededError, match=r"\$0\.00 are spent, .* it may cost \$0\.002"):
        run(40, accountant=Priced, max_cost=0.0001, client=client, expected_cost=0.002)

    assert client.asked == []


def test_a_row_that_fails_counts_with_what_is_billed() -> None:
    """Its answer broke off, and is in no total of the map."""

    def break_off(_client: Client, _prompt: str) -> None:
        raise StreamInterruptedError("cut", partial=Message(model="m", content=[]))

    client = Client(break_off)
    with pytest.raises(BudgetExceededError, match=r"max_cost is \$0\.01, \$0\.009 are spent"):
        run(40, accountant=Priced, max_cost=0.01, expected_cost=0.0015, client=client, asks_again=False)

    assert len(client.asked) == 9


# The limit on requests in flight...


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


def test_a_held_limit_grows_again() -> None:
    """The budget covers three requests, until it is raised."""
    concurrency = Concurrency(100)
    concurrency.hold(3)
    assert concurrency.limit == 3
    concurrency.hold(5)
    assert concurrency.limit == 3

    assert round_of(concurrency) == 6
    concurrency.hold(0)
    assert concurrency.limit == 1
