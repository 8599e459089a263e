"""The client against a simulator that enforces limits, over real sockets, on a loop with a simulated clock.

The amount for one minute is available at the start, so a rate of twice the limit takes a minute to use it up; only then do
the tracked limits matter. All requests are started at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from claude_magic.client import (
    ClientConfig,
    ClientEvent,
    Credential,
    HTTPClaudeClient,
    LimiterWaiting,
    Message,
    MessageRequest,
    RateLimitError,
    ResponseStarted,
    ServerPace,
    TokenBucket,
)
from claude_magic.simulator import Simulator

from .moved_time import MovedLoop, play_moved

KEY = "sk-ant-test-0123456789abcdef"
MODEL = "claude-haiku-5-5"


@dataclass
class Run:
    """The results of many requests."""

    seconds: float
    replies: list[Message]
    failed: int
    statuses: Counter[int]
    reasons: Counter[str]


def ask_all(
    requests: list[MessageRequest],
    *,
    rate: float,
    in_turn: bool = False,
    learns: bool = True,
    **limits: Any,
) -> Run:
    """Send all these requests to a simulator with limits, at once or in turn, and wait for the replies."""
    loop = MovedLoop()
    statuses: Counter[int] = Counter()
    reasons: Counter[str] = Counter()

    def on_event(event: ClientEvent) -> None:
        loop.on_event(event)
        if isinstance(event, ResponseStarted):
            statuses[event.status] += 1
        elif isinstance(event, LimiterWaiting):
            reasons[event.reason] += 1

    async def main() -> Run:
        config = ClientConfig(base_url=simulator.url)
        client = HTTPClaudeClient(
            config,
            Credential(api_key=KEY),
            bucket=TokenBucket(rate, clock=loop.time),
            pace=ServerPace(clock=loop.time) if learns else UntrackedPace(),
            clock=loop.time,
        )
        began = loop.time()
        async with client, asyncio.TaskGroup() as group:
            lock = asyncio.Semaphore(1 if in_turn else len(requests))
            tasks = [group.create_task(send(client, request, lock)) for request in requests]
        outcomes = [task.result() for task in tasks]
        replies = [reply for reply in outcomes if reply is not None]
        return Run(loop.time() - began, replies, len(outcomes) - len(replies), statuses, reasons)

    async def send(
        client: HTTPClaudeClient, request: MessageRequest, turn: asyncio.Semaphore
    ) -> Message | None:
        async with turn:
            try:
                return await client.send_message(request, observer=on_event)
            except RateLimitError:
                return None

    with Simulator(clock=loop.time, **limits) as simulator:
        return play_moved(main, loop, seconds=1500)


class UntrackedPace(ServerPace):
    """A pace that tracks no limits, for comparison."""

    def ticket(self, *_: Any) -> Any:
        return None


def questions(count: int, words: int = 1) -> list[MessageRequest]:
    return [
        MessageRequest(
            model=MODEL,
            max_tokens=1000,
            messages=[{"role": "user", "content": f"{number} " + "word " * words}],
        )
        for number in range(count)
    ]


def test_l3_at_half_of_the_configured_rate_500_requests_meet_next_to_no_429() -> None:
    """No more than 10 of 500. The amount for a minute is used up after half of them."""
    run = ask_all(questions(500), rate=4, requests_per_minute=120)

    assert len(run.replies) == 500
    assert run.statuses[429] <= 10
    assert run.reasons["requests"] > 100
    assert run.seconds >= (500 - 120) / 2 - 1  # else the limit was not needed


def test_without_tracked_limits_the_same_run_meets_many_429s() -> None:
    """Proves that the test above can fail."""
    run = ask_all(questions(200), rate=4, learns=False, requests_per_minute=60)

    assert run.statuses[429] > 50


def test_the_input_token_limit_is_kept_by_estimates() -> None:
    """The requests need twice as many tokens as the limit allows."""
    words = 400
    run = ask_all(questions(160, words), rate=2, input_tokens_per_minute=25_000)

    assert sum(reply.usage.input_tokens for reply in run.replies) > 2 * 25_000
    assert run.statuses[429] <= 10
    assert run.reasons["input tokens"] > 20


def test_the_output_token_limit_is_kept_by_the_usage_of_earlier_replies() -> None:
    """The length of a reply is not known in advance; earlier replies give an estimate."""
    run = ask_all(questions(150), rate=2, output_tokens_per_minute=6_000)

    assert sum(reply.usage.output_tokens for reply in run.replies) > 2 * 6_000
    assert run.statuses[429] <= 10
    assert run.reasons["output tokens"] > 20


def test_a_ban_on_bursts_is_detected_after_some_429s() -> None:
    """60 per minute enforced as one per second: the headers do not show it, the 429s do."""
    run = ask_all(questions(60), rate=2, requests_per_minute=60, burst=1)

    assert len(run.replies) == 60
    assert 0 < run.statuses[429] <= 30


def test_a_request_larger_than_the_limit_is_sent_after_a_minute_at_most() -> None:
    """It can never fit. The simulator accepts it with a full bucket, as the API might not."""
    small, large = questions(1)[0], questions(1, 900)[0]

    run = ask_all([small, large, small], rate=10, in_turn=True, input_tokens_per_minute=300)

    assert len(run.replies) == 3
    assert run.reasons["input tokens"] > 0
    assert run.seconds < 300


def halve_the_limit(simulator: Simulator) -> None:
    """Halve the limit from now on."""
    for limiter in simulator._api._service._limiters.values():
        bucket = limiter._requests
        level = bucket.level
        bucket.per_minute = bucket._capacity = bucket.per_minute // 2
        bucket._level = min(level, bucket._capacity)


def test_a_limit_that_is_halved_in_mid_run_is_kept_and_used_in_full() -> None:
    """Requests in flight may be rejected; ten seconds later almost none are, and the whole limit is used."""
    loop = MovedLoop()
    seen: list[tuple[float, int]] = []
    halved_at = 0.0

    def on_event(event: ClientEvent) -> None:
        nonlocal halved_at
        loop.on_event(event)
        if isinstance(event, ResponseStarted):
            seen.append((loop.time(), event.status))
            if len(seen) == 280:
                halve_the_limit(simulator)
                halved_at = loop.time()

    async def main() -> list[Message]:
        bucket = TokenBucket(100.0, 64, clock=loop.time)
        client = HTTPClaudeClient(
            ClientConfig(base_url=simulator.url),
            Credential(api_key=KEY),
            bucket=bucket,
            pace=ServerPace(clock=loop.time),
            clock=loop.time,
        )
        async with client:
            return await asyncio.gather(
                *(client.send_message(each, observer=on_event) for each in questions(500))
            )

    with Simulator(requests_per_minute=240, clock=loop.time) as simulator:
        replies = play_moved(main, loop, seconds=1500)

    assert all(reply.text for reply in replies)
    counted = [status for at, status in seen if halved_at + 10 < at <= halved_at + 70]
    assert counted.count(429) <= 1
    assert counted.count(200) >= 0.9 * 120
