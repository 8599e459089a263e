"""The server's limits and the bucket together, on a clock that is moved: who is let through when, and what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from claude_magic.client import MessageRequest, ServerPace, TokenBucket, Usage
from claude_magic.client._pace import Ticket
from claude_magic.client._server_limits import Need, WaitReason
from claude_magic.simulator._service import Limits, RateLimiter
from claude_magic.simulator._wire import APIError

from .moved_loop import MovedLoop, let_run, run, worst_excess
from .told import need, told

HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"


class Office:
    """Sends requests past a pace and a bucket, and notes what happens."""

    def __init__(self, loop: MovedLoop, rate: float = 10.0) -> None:
        self.loop = loop
        self.bucket = TokenBucket(rate, clock=loop.time)
        self.pace = ServerPace(clock=loop.time)
        self.sent: list[tuple[str, float]] = []
        self.notices: dict[str, list[WaitReason]] = {}
        self.began = loop.time()

    def ticket(self, name: str, model: str = HAIKU) -> Ticket:
        return self.pace.ticket(need(model), self.notices.setdefault(name, []).append)

    async def send(self, name: str, model: str = HAIKU) -> Ticket:
        ticket = self.ticket(name, model)
        try:
            if not self.bucket.try_acquire(gate=ticket):
                if (wait_reason := ticket.expect()) is not None:
                    ticket.report(wait_reason)
                await self.bucket.acquire(gate=ticket)
        except BaseException:
            ticket.withdraw()
            self.bucket.recheck()
            raise
        self.sent.append((name, round(self.loop.time() - self.began, 6)))
        return ticket

    def answer(self, ticket: Ticket, headers: Mapping[str, str], *, is_429: bool = False) -> None:
        ticket.update_from_headers(headers, is_429=is_429)
        ticket.finish(None if is_429 else Usage())
        self.bucket.recheck()

    async def learn(self, headers: Mapping[str, str], model: str = HAIKU) -> None:
        """Let the server say something about a model."""
        self.answer(await self.send("first", model), headers)
        self.sent.clear()


def test_the_configured_rate_is_never_exceeded_however_much_the_server_allows() -> None:
    """Both limits hold, and the slower one decides."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=10**9, remaining=10**9))

        await asyncio.gather(*(office.send(str(number)) for number in range(60)))

        grants = [(0.0, 1.0)] + [(moment, 1.0) for _, moment in office.sent]
        assert worst_excess(grants, 10, 10) <= 1e-6
        assert office.sent[-1][1] == pytest.approx(5.1)

    run(main)


def test_below_the_configured_rate_the_server_sets_the_pace() -> None:
    """300 a minute with none left: one in 0.2 s, at ten a second configured, in the order of arrival."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=300, remaining=0))

        await asyncio.gather(*(office.send(str(number)) for number in range(20)))

        assert office.sent == [(str(number), pytest.approx((number + 1) * 0.2)) for number in range(20)]

    run(main)


@pytest.mark.parametrize("burst", [None, 3, 20])
def test_a_server_that_looks_at_shorter_spans_is_used_in_full(burst: int | None) -> None:
    """Also where answers begin a second after they were asked for: a refusal makes the bursts smaller, not the rate."""
    outcomes: list[tuple[float, bool]] = []

    async def ask(office: Office, server: RateLimiter) -> None:
        while True:
            ticket = await office.send("")
            await asyncio.sleep(0.02)
            wait = 0.0
            try:
                server.admit(10)
            except APIError as error:
                wait = float(error.headers["retry-after"])
            outcomes.append((office.loop.time() - office.began, not wait))
            await asyncio.sleep(0.02 if wait else 1.0)
            if wait:
                ticket.pause_others(wait)
            office.answer(ticket, server.headers(), is_429=wait > 0)
            await asyncio.sleep(wait)

    async def main(loop: MovedLoop) -> None:
        server = RateLimiter(Limits(requests_per_minute=600, burst=burst), loop.time)
        office = Office(loop, rate=100.0)
        for _ in range(600 if burst is None else 0):
            server.admit(10)  # of the minute's worth nothing is left
        jobs = [asyncio.create_task(ask(office, server)) for _ in range(40)]
        await asyncio.sleep(50)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    run(main)

    counted = [is_taken for at, is_taken in outcomes if 10 < at <= 50]
    assert counted.count(False) <= 0.01 * len(counted)
    assert counted.count(True) >= 0.95 * 10 * 40


def test_a_slow_class_of_models_does_not_slow_another() -> None:
    """Opus waits for a minute; Haiku overtakes it, and the bucket bounds them both."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=1, remaining=0), OPUS)
        jobs = [asyncio.create_task(office.send(f"opus {number}", OPUS)) for number in range(2)]
        await let_run()

        await asyncio.gather(*(office.send(f"haiku {number}") for number in range(20)))

        assert [name for name, _ in office.sent] == [f"haiku {number}" for number in range(20)]
        assert office.sent[-1][1] == pytest.approx(1.1)
        await jobs[0]
        assert office.sent[-1] == ("opus 0", pytest.approx(60.0))
        await jobs[1]
        assert office.sent[-1] == ("opus 1", pytest.approx(120.0))

    run(main)


def test_models_of_one_class_wait_together() -> None:
    """What Opus 4.1 was told holds for Opus 4.8."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=60, remaining=0), "claude-opus-4-1")

        await office.send("other", "claude-opus-4-8")

        assert office.sent == [("other", pytest.approx(1.0))]

    run(main)


def test_news_are_acted_upon_at_once() -> None:
    """An answer that says more is left than was thought lets the waiting go."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=1, remaining=1))
        under_way = await office.send("under way")
        job = asyncio.create_task(office.send("waiting"))
        await asyncio.sleep(5)

        office.answer(under_way, told(limit=60, remaining=30))
        await job

        assert office.sent[-1] == ("waiting", pytest.approx(5.0))

    run(main)


def test_to_be_cancelled_while_waiting_takes_nothing_and_keeps_the_order() -> None:
    """The first in line, and one in the middle."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=60, remaining=0))
        jobs = {name: asyncio.create_task(office.send(name)) for name in "abcdef"}
        await let_run()

        jobs["a"].cancel()
        jobs["c"].cancel()
        await asyncio.gather(*jobs.values(), return_exceptions=True)

        assert office.sent == [
            (name, pytest.approx(when)) for name, when in zip("bdef", (1, 2, 3, 4), strict=True)
        ]
        (state,) = office.pace.state
        assert (state.waiting, state.under_way) == (0, 4)

    run(main)


def test_to_be_cancelled_just_after_the_grant_gives_the_way_to_the_next() -> None:
    """Neither the bucket nor the server's limit has paid for what was never sent."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=60, remaining=1))
        blocker = await office.send("blocker")
        jobs = [asyncio.create_task(office.send(name)) for name in ("victim", "next")]
        await let_run()

        blocker.withdraw()
        office.bucket.recheck()  # the victim is granted, and has not run yet
        jobs[0].cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

        assert office.sent[1:] == [("next", 0.0)]

    run(main)


def test_a_pause_holds_the_class_that_was_refused_and_no_other() -> None:
    """A 429 is about one class where the server tells limits of classes."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=6000, remaining=6000), OPUS)
        refused = await office.send("refused", OPUS)
        assert refused.pause_others(20.0)
        office.answer(refused, told(limit=6000, remaining=6000), is_429=True)

        await asyncio.gather(office.send("opus", OPUS), office.send("haiku"))

        assert office.sent[1:] == [("haiku", 0.0), ("opus", pytest.approx(20.0))]
        assert office.notices["opus"] == [WaitReason("paused", pytest.approx(20.0))]

    run(main)


def test_where_no_limits_are_told_a_refusal_is_for_the_bucket_to_heed() -> None:
    """A gateway that sends no such headers is treated as before."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        ticket = await office.send("refused")

        assert ticket.pause_others(20.0) is False

    run(main)


def test_who_waits_is_told_why_and_for_how_long_and_again_when_that_changes() -> None:
    """The status line of a cell counts down by it."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=6, remaining=1) | told("input-tokens", 6000, 0))
        ticket = office.ticket("early")
        wait_reason = ticket.expect()
        assert wait_reason is not None
        assert wait_reason.reason == "input tokens"
        ticket.withdraw()

        under_way = await office.send("waiting")
        job = asyncio.create_task(office.send("later"))
        await let_run()
        office.answer(under_way, told(limit=6, remaining=0))
        await job

        assert [(each.reason, round(each.seconds)) for each in office.notices["later"]][-1] == (
            "requests",
            10,
        )

    run(main)


def test_those_who_queued_for_the_bucket_are_told_when_a_limit_of_the_servers_turns_up() -> None:
    """They joined before the first answer had said anything."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop, rate=1)
        first = await office.send("first")
        jobs = [asyncio.create_task(office.send(str(number))) for number in range(5)]
        await let_run()

        office.answer(first, told(limit=6, remaining=0))
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

        assert [office.notices[str(number)] for number in range(5)] == [
            [WaitReason("requests", pytest.approx(10.0 * (number + 1)))] for number in range(5)
        ]

    run(main)


def test_the_expectation_counts_those_before() -> None:
    """The third in line waits three times as long."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=60, remaining=0))
        jobs = [asyncio.create_task(office.send(str(number))) for number in range(2)]
        await let_run()

        third = office.ticket("third")

        assert third.expect() == WaitReason("requests", pytest.approx(3.0))
        third.withdraw()
        await asyncio.gather(*jobs)

    run(main)


def test_nobody_waits_at_the_head_for_longer_than_a_minute() -> None:
    """However often the server says that nothing is left: after a minute it may refuse the request itself."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=600, remaining=600))
        others = [await office.send("other") for _ in range(20)]
        await asyncio.sleep(1)
        office.sent.clear()
        office.began = loop.time()
        job = asyncio.create_task(office.send("patient"))

        for other in others:
            office.answer(other, told("input-tokens", 1, 0))
            await asyncio.sleep(10)
        await job

        assert office.sent == [("patient", pytest.approx(60.0))]

    run(main)


def test_what_was_learnt_survives_a_reload() -> None:
    """Limits and pauses go on; requests in flight end with the old client."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=60, remaining=0))
        await office.learn(told(limit=60, remaining=60), OPUS)
        refused = await office.send("refused", OPUS)
        refused.pause_others(30.0)
        refused.withdraw()

        after = Office(loop)
        after.pace = ServerPace(office.pace.dump(), clock=loop.time)
        await asyncio.gather(after.send("haiku"), after.send("opus", OPUS))

        assert after.sent == [("haiku", pytest.approx(1.0)), ("opus", pytest.approx(30.0))]

    run(main)


def test_the_state_tells_limits_waiting_and_rate() -> None:
    """What `%claude limits` and the gauge show."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=300, remaining=0))
        job = asyncio.create_task(office.send("waiting"))
        await let_run()

        (state,) = office.pace.state
        assert (state.model_class, state.waiting, state.under_way) == (HAIKU, 1, 0)
        assert state.requests_per_second == 5
        assert office.bucket.state.next_grant == pytest.approx(0.2)
        await job
        assert office.pace.state[0].under_way == 1
        assert office.bucket.state.next_grant is None

    run(main)


def test_a_wait_that_turns_out_a_little_longer_is_no_news() -> None:
    """A tenth of it, or a second."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        ticket = office.ticket("waiting")

        for seconds in (100.0, 109.0, 130.0, 0.5, 1.4):
            ticket.report(WaitReason("requests", seconds))

        assert [wait_reason.seconds for wait_reason in office.notices["waiting"]] == [100.0, 130.0, 0.5]

    run(main)


def test_a_crowd_in_line_is_looked_along_seldom() -> None:
    """A thousand who join at once are not each compared with all before them."""

    async def main(loop: MovedLoop) -> None:
        office = Office(loop)
        await office.learn(told(limit=60, remaining=0) | told("output-tokens", 6000))
        counted = _Counted(office.pace.state[0].model_class)
        tickets = [
            office.pace.ticket(counted, office.notices.setdefault(str(number), []).append)
            for number in range(1000)
        ]

        for ticket in tickets:
            assert not office.bucket.try_acquire(gate=ticket)
            ticket.expect()

        assert counted.looks < 10_000
        for ticket in tickets:
            ticket.withdraw()

    run(main)


class _Counted(Need):
    """A need that counts how often it is asked about."""

    def __init__(self, name: str) -> None:
        super().__init__(MessageRequest(model=name, max_tokens=1, messages=[]))
        self.looks = 0

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if name == "max_tokens":
            self.looks += 1
        return value
