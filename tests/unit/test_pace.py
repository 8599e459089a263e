"""The server's limits and the bucket together, on a simulated clock: the order and time of grants, and the reported reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from claude_magic.client import MessageRequest, ServerPace, TokenBucket, Usage
from claude_magic.client._pace import Ticket
from claude_magic.client._rate_limit import WaitReason
from claude_magic.client._server_limits import Need
from claude_magic.simulator._service import Limits, RateLimiter
from claude_magic.simulator._wire import APIError

from .limit_headers import limit_headers, need
from .moved_loop import MovedLoop, let_run, run, worst_excess

HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"


class Sender:
    """A sender of requests through a pace and a bucket, which records what happens."""

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
        """Simulate a response for a model."""
        self.answer(await self.send("first", model), headers)
        self.sent.clear()


def test_the_configured_rate_is_never_exceeded_however_much_the_server_allows() -> None:
    """Both limits apply, and the slower one decides."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=10**9, remaining=10**9))

        await asyncio.gather(*(sender.send(str(number)) for number in range(60)))

        grants = [(0.0, 1.0)] + [(moment, 1.0) for _, moment in sender.sent]
        assert worst_excess(grants, 10, 10) <= 1e-6
        assert sender.sent[-1][1] == pytest.approx(5.1)

    run(main)


def test_below_the_configured_rate_the_server_sets_the_pace() -> None:
    """300 per minute with none left: one every 0.2 s although ten per second are configured, in order of arrival."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=300, remaining=0))

        await asyncio.gather(*(sender.send(str(number)) for number in range(20)))

        assert sender.sent == [(str(number), pytest.approx((number + 1) * 0.2)) for number in range(20)]

    run(main)


@pytest.mark.parametrize("burst", [None, 3, 20])
def test_a_server_that_enforces_shorter_spans_is_used_in_full(burst: int | None) -> None:
    """Also if responses start a second after the request: a 429 makes the bursts smaller, not the rate."""
    outcomes: list[tuple[float, bool]] = []

    async def ask(sender: Sender, server: RateLimiter) -> None:
        while True:
            ticket = await sender.send("")
            await asyncio.sleep(0.02)
            wait = 0.0
            try:
                server.admit(10)
            except APIError as error:
                wait = float(error.headers["retry-after"])
            outcomes.append((sender.loop.time() - sender.began, not wait))
            await asyncio.sleep(0.02 if wait else 1.0)
            if wait:
                ticket.pause_others(wait)
            sender.answer(ticket, server.headers(), is_429=wait > 0)
            await asyncio.sleep(wait)

    async def main(loop: MovedLoop) -> None:
        server = RateLimiter(Limits(requests_per_minute=600, burst=burst), loop.time)
        sender = Sender(loop, rate=100.0)
        for _ in range(600 if burst is None else 0):
            server.admit(10)  # of the minute's worth nothing is left
        jobs = [asyncio.create_task(ask(sender, server)) for _ in range(40)]
        await asyncio.sleep(50)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    run(main)

    counted = [is_taken for at, is_taken in outcomes if 10 < at <= 50]
    assert counted.count(False) <= 0.01 * len(counted)
    assert counted.count(True) >= 0.95 * 10 * 40


def test_a_slow_class_of_models_does_not_slow_another() -> None:
    """Opus waits for a minute; Haiku overtakes it, and the bucket limits both."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=1, remaining=0), OPUS)
        jobs = [asyncio.create_task(sender.send(f"opus {number}", OPUS)) for number in range(2)]
        await let_run()

        await asyncio.gather(*(sender.send(f"haiku {number}") for number in range(20)))

        assert [name for name, _ in sender.sent] == [f"haiku {number}" for number in range(20)]
        assert sender.sent[-1][1] == pytest.approx(1.1)
        await jobs[0]
        assert sender.sent[-1] == ("opus 0", pytest.approx(60.0))
        await jobs[1]
        assert sender.sent[-1] == ("opus 1", pytest.approx(120.0))

    run(main)


def test_models_of_one_class_wait_together() -> None:
    """Limits reported for Opus 4.1 apply to Opus 4.8."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=60, remaining=0), "claude-opus-4-1")

        await sender.send("other", "claude-opus-4-8")

        assert sender.sent == [("other", pytest.approx(1.0))]

    run(main)


def test_new_limits_apply_at_once() -> None:
    """A response that reports more capacity than expected releases waiting requests."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=1, remaining=1))
        in_flight = await sender.send("in flight")
        job = asyncio.create_task(sender.send("waiting"))
        await asyncio.sleep(5)

        sender.answer(in_flight, limit_headers(limit=60, remaining=30))
        await job

        assert sender.sent[-1] == ("waiting", pytest.approx(5.0))

    run(main)


def test_cancelling_a_waiter_takes_no_capacity_and_keeps_the_order() -> None:
    """The first in line, and one in the middle."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=60, remaining=0))
        jobs = {name: asyncio.create_task(sender.send(name)) for name in "abcdef"}
        await let_run()

        jobs["a"].cancel()
        jobs["c"].cancel()
        await asyncio.gather(*jobs.values(), return_exceptions=True)

        assert sender.sent == [
            (name, pytest.approx(when)) for name, when in zip("bdef", (1, 2, 3, 4), strict=True)
        ]
        (state,) = sender.pace.state
        assert (state.waiting, state.in_flight) == (0, 4)

    run(main)


def test_cancelling_just_after_the_grant_lets_the_next_one_go() -> None:
    """Neither the bucket nor the server's limit counts a request that was not sent."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=60, remaining=1))
        blocker = await sender.send("blocker")
        jobs = [asyncio.create_task(sender.send(name)) for name in ("victim", "next")]
        await let_run()

        blocker.withdraw()
        sender.bucket.recheck()  # the victim is granted, and has not run yet
        jobs[0].cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

        assert sender.sent[1:] == [("next", 0.0)]

    run(main)


def test_a_pause_applies_only_to_the_class_of_the_429() -> None:
    """If the server reports limits for classes, a 429 concerns one class."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=6000, remaining=6000), OPUS)
        refused = await sender.send("refused", OPUS)
        assert refused.pause_others(20.0)
        sender.answer(refused, limit_headers(limit=6000, remaining=6000), is_429=True)

        await asyncio.gather(sender.send("opus", OPUS), sender.send("haiku"))

        assert sender.sent[1:] == [("haiku", 0.0), ("opus", pytest.approx(20.0))]
        assert sender.notices["opus"] == [WaitReason("paused", pytest.approx(20.0))]

    run(main)


def test_without_reported_limits_a_429_pauses_the_bucket() -> None:
    """For example with a gateway that sends no rate limit headers."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        ticket = await sender.send("refused")

        assert ticket.pause_others(20.0) is False

    run(main)


def test_waits_are_reported_with_reason_and_time_and_again_when_these_change() -> None:
    """The status line of a cell uses this for its countdown."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=6, remaining=1) | limit_headers("input-tokens", 6000, 0))
        ticket = sender.ticket("early")
        wait_reason = ticket.expect()
        assert wait_reason is not None
        assert wait_reason.reason == "input tokens"
        ticket.withdraw()

        in_flight = await sender.send("waiting")
        job = asyncio.create_task(sender.send("later"))
        await let_run()
        sender.answer(in_flight, limit_headers(limit=6, remaining=0))
        await job

        assert [(each.reason, round(each.seconds)) for each in sender.notices["later"]][-1] == (
            "requests",
            10,
        )

    run(main)


def test_a_new_limit_is_reported_to_requests_that_wait_for_the_bucket() -> None:
    """They joined the queue before the first response had reported anything."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop, rate=1)
        first = await sender.send("first")
        jobs = [asyncio.create_task(sender.send(str(number))) for number in range(5)]
        await let_run()

        sender.answer(first, limit_headers(limit=6, remaining=0))
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

        assert [sender.notices[str(number)] for number in range(5)] == [
            [WaitReason("requests", pytest.approx(10.0 * (number + 1)))] for number in range(5)
        ]

    run(main)


def test_the_expected_wait_includes_those_ahead() -> None:
    """The third in line waits three times as long."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=60, remaining=0))
        jobs = [asyncio.create_task(sender.send(str(number))) for number in range(2)]
        await let_run()

        third = sender.ticket("third")

        assert third.expect() == WaitReason("requests", pytest.approx(3.0))
        third.withdraw()
        await asyncio.gather(*jobs)

    run(main)


def test_the_first_in_line_waits_for_a_minute_at_most() -> None:
    """Even if the server keeps reporting that nothing is left: after a minute the request is sent, and the server may reject it."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=600, remaining=600))
        others = [await sender.send("other") for _ in range(20)]
        await asyncio.sleep(1)
        sender.sent.clear()
        sender.began = loop.time()
        job = asyncio.create_task(sender.send("patient"))

        for other in others:
            sender.answer(other, limit_headers("input-tokens", 1, 0))
            await asyncio.sleep(10)
        await job

        assert sender.sent == [("patient", pytest.approx(60.0))]

    run(main)


def test_limits_and_pauses_survive_a_reload() -> None:
    """Requests in flight end with the old client."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=60, remaining=0))
        await sender.learn(limit_headers(limit=60, remaining=60), OPUS)
        refused = await sender.send("refused", OPUS)
        refused.pause_others(30.0)
        refused.withdraw()

        after = Sender(loop)
        after.pace = ServerPace(sender.pace.dump(), clock=loop.time)
        await asyncio.gather(after.send("haiku"), after.send("opus", OPUS))

        assert after.sent == [("haiku", pytest.approx(1.0)), ("opus", pytest.approx(30.0))]

    run(main)


def test_the_state_contains_limits_waiters_and_rate() -> None:
    """`%claude limits` and the gauge show it."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=300, remaining=0))
        job = asyncio.create_task(sender.send("waiting"))
        await let_run()

        (state,) = sender.pace.state
        assert (state.model_class, state.waiting, state.in_flight) == (HAIKU, 1, 0)
        assert state.requests_per_second == 5
        assert sender.bucket.state.next_grant == pytest.approx(0.2)
        await job
        assert sender.pace.state[0].in_flight == 1
        assert sender.bucket.state.next_grant is None

    run(main)


def test_a_slightly_longer_wait_is_not_reported_again() -> None:
    """Within a tenth, or a second."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        ticket = sender.ticket("waiting")

        for seconds in (100.0, 109.0, 130.0, 0.5, 1.4):
            ticket.report(WaitReason("requests", seconds))

        assert [wait_reason.seconds for wait_reason in sender.notices["waiting"]] == [100.0, 130.0, 0.5]

    run(main)


def test_try_acquire_asks_the_gate_and_changes_nothing() -> None:
    """The wait is reported when the queue is served: to the request, and to those behind it."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers("input-tokens", 6000, 0))
        job = asyncio.create_task(sender.send("waiting"))
        await let_run()
        told_before = list(sender.notices["waiting"])
        ticket = sender.ticket("tried")
        other = TokenBucket(10, clock=loop.time)  # whose queue is empty

        for _ in range(3):
            assert not other.try_acquire(gate=ticket)
            await asyncio.sleep(1)

        assert (sender.notices["waiting"], sender.notices["tried"]) == (told_before, [])
        assert other.state.level == 10
        ticket.withdraw()
        await job

    run(main)


def test_a_long_line_is_not_forecast_for_each_request() -> None:
    """A thousand requests that join at once are not each compared with all others."""

    async def main(loop: MovedLoop) -> None:
        sender = Sender(loop)
        await sender.learn(limit_headers(limit=60, remaining=0) | limit_headers("output-tokens", 6000))
        counted = _Counted(sender.pace.state[0].model_class)
        tickets = [
            sender.pace.ticket(counted, sender.notices.setdefault(str(number), []).append)
            for number in range(1000)
        ]

        for ticket in tickets:
            assert not sender.bucket.try_acquire(gate=ticket)
            ticket.expect()

        assert counted.looks < 10_000
        for ticket in tickets:
            ticket.withdraw()

    run(main)


class _Counted(Need):
    """A need that counts how often it is read."""

    def __init__(self, name: str) -> None:
        super().__init__(MessageRequest(model=name, max_tokens=1, messages=[]))
        self.looks = 0

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if name == "max_tokens":
            self.looks += 1
        return value
