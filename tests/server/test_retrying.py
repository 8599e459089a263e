"""Retries over real sockets: which failures are retried, when, how often, and what is reported."""

from __future__ import annotations

import asyncio
import itertools
import socket
from email.utils import formatdate
from typing import Any

import pytest

from claude_magic.client import (
    AttemptFinished,
    AttemptStarted,
    BillingError,
    ClaudeError,
    ClientConfig,
    ClientEvent,
    Credential,
    ForbiddenError,
    HTTPClaudeClient,
    InvalidApiKeyError,
    InvalidRequestError,
    LimiterWaiting,
    NetworkError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    ServerPace,
    TokenBucket,
    UnknownStatusError,
)
from claude_magic.client._transport import HTTPTransport
from claude_magic.simulator import Simulator, drop_before_headers, reply, slow_headers, status

from .moved_time import MovedLoop, play_moved

KEY = "sk-ant-test-0123456789abcdef"


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504, 529])
def test_r1_t1_a_transient_status_is_retried_and_then_succeeds(
    code: int, is_streamed: bool, sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: each status of R1 costs one back-off, and then the reply arrives as usual."""
    sim.script(status(code), reply("There."))

    async def main() -> str:
        async with make_client(sim.url) as client:
            if not is_streamed:
                return str((await client.send_message(ask())).text)
            async with client.stream_message(ask()) as stream:
                async for _ in stream:
                    pass
            return str(stream.message.text)

    assert play(main) == "There."
    assert len(sim.requests) == 2
    assert sleeps == [10.0]


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (400, InvalidRequestError),
        (401, InvalidApiKeyError),
        (402, BillingError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (413, UnknownStatusError),
        (422, UnknownStatusError),
        (501, UnknownStatusError),
    ],
)
def test_r1_t1_a_final_status_is_not_retried(
    code: int,
    error_class: type[ClaudeError],
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
    sleeps: list[float],
) -> None:
    """Promise: an error that would recur fails at once: one request, no wait."""
    sim.script(status(code))

    async def main() -> ClaudeError:
        async with make_client(sim.url) as client:
            with pytest.raises(ClaudeError) as caught:
                await client.send_message(ask())
            return caught.value

    error = play(main)

    assert type(error) is error_class
    assert (len(sim.requests), sleeps, error.attempts, error.give_up_reason) == (1, [], 1, None)


def test_r2_r5_t1_retries_are_exhausted_after_four_attempts_10_20_40(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: four attempts, doubling waits, then the last error with the number of attempts."""
    sim.script(*(status(529) for _ in range(9)))

    async def main() -> OverloadedError:
        async with make_client(sim.url) as client:
            with pytest.raises(OverloadedError) as caught:
                await client.send_message(ask())
            return caught.value

    error = play(main)

    assert sleeps == [10, 20, 40]
    assert len(sim.requests) == 4
    assert error.attempts == 4
    assert "Gave up after 4 attempts" in str(error)
    assert error.request_id is not None


def test_t1_the_delay_between_attempts_is_really_waited(sim: Simulator, play: Any, ask: Any) -> None:
    """Promise: by the server's clock, at least three quarters of each back-off, because of jitter."""
    sim.script(status(500), status(500))
    config = ClientConfig(base_url=sim.url, initial_backoff=0.1)

    async def main() -> None:
        async with HTTPClaudeClient(config, Credential(api_key=KEY)) as client:
            await client.send_message(ask())

    play(main)

    times = [request.received_at for request in sim.requests]
    assert [
        later - earlier >= 0.75 * wait
        for (earlier, later), wait in zip(itertools.pairwise(times), (0.1, 0.2), strict=True)
    ] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "60"}, 60.0),
        (
            {
                "retry-after": formatdate(1_000_000_030, usegmt=True),
                "date": formatdate(1_000_000_000, usegmt=True),
            },
            30.0,
        ),
        ({"retry-after-ms": "2500", "retry-after": "9"}, 2.5),
        ({"retry-after": "0"}, 10.0),
        ({"retry-after": "-3"}, 10.0),
        ({"retry-after": "soon"}, 10.0),
    ],
)
def test_r3_t1_retry_after_decides_the_wait(
    headers: dict[str, str],
    expected: float,
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
    sleeps: list[float],
) -> None:
    """Promise: the requested wait is kept exactly; zero and invalid values mean the usual back-off."""
    sim.script(status(503, headers=headers))

    async def main() -> None:
        async with make_client(sim.url) as client:
            await client.send_message(ask())

    play(main)

    assert sleeps == [expected]


def test_r3_a_retry_after_of_a_day_fails_now_and_holds_others_for_max_backoff(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: no silent wait of a day; the error contains it, and other callers wait for max_backoff at most."""
    sim.script(status(429, retry_after=86_400))

    async def main() -> tuple[RateLimitError, float]:
        async with make_client(sim.url) as client:
            with pytest.raises(RateLimitError) as caught:
                await client.send_message(ask())
            return caught.value, client.bucket.state.paused_for

    error, paused_for = play(main)

    assert sleeps == []
    assert len(sim.requests) == 1
    assert error.retry_after == 86_400
    assert "86400 s (24 h)" in str(error)
    assert 290 < paused_for <= 300


LIMITS = {"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "7"}
with_or_without_limits = pytest.mark.parametrize("headers", [{}, LIMITS], ids=["no limits", "limits"])


class MovedClock:
    """A simulated clock, which advances only as far as requested."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def clocked(url: str, clock: MovedClock, **settings: Any) -> HTTPClaudeClient:
    return HTTPClaudeClient(
        ClientConfig(base_url=url, **settings),
        Credential(api_key=KEY),
        bucket=TokenBucket(10, clock=clock),
        pace=ServerPace(clock=clock),
        clock=clock,
    )


async def refused(asking: Any) -> RateLimitError:
    with pytest.raises(RateLimitError) as caught:
        await asking
    return caught.value


@with_or_without_limits
@pytest.mark.parametrize(
    ("retry_after", "left"),
    [
        (3600.0, "3600 s (60 min)"),
        (86_400.0, "86400 s (24 h)"),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "30 years or more"),
        ("9" * 300, "30 years or more"),
    ],
)
def test_r3_after_a_wait_that_is_too_long_the_next_call_fails_at_once_too(
    retry_after: Any, left: str, headers: dict[str, str], sim: Simulator, play: Any, ask: Any
) -> None:
    """Promise: no silent minutes: a later call, plain or streamed, raises at once with the remaining wait, and nothing is sent."""
    sim.script(status(429, retry_after=retry_after, headers=headers))
    clock = MovedClock()
    events: list[Any] = []

    async def streamed(client: HTTPClaudeClient) -> None:
        async with client.stream_message(ask(), observer=events.append) as stream:
            async for _ in stream:
                pass

    async def main() -> list[RateLimitError]:
        async with clocked(sim.url, clock) as client:
            errors = [await refused(client.send_message(ask()))]
            errors.append(await refused(client.send_message(ask(), observer=events.append)))
            errors.append(await refused(streamed(client)))
            return errors

    first, *later = play(main)

    assert len(sim.requests) == 1
    assert events == []
    for error in later:
        assert error.retry_after == pytest.approx(first.retry_after)
        assert (error.status, error.attempts) == (429, 0)
        for part in ("Not sent", left, "max_backoff (300 s (5 min))", "another model"):
            assert part in str(error)


@with_or_without_limits
def test_r3_waiting_calls_fail_at_once_with_the_first(
    headers: dict[str, str], sim: Simulator, play: Any, ask: Any
) -> None:
    """Promise: of several questions at once, as in a comparison, none keeps waiting for a wait that is too long."""
    clock = MovedClock()
    events: list[Any] = []

    async def main() -> list[RateLimitError]:
        async with clocked(sim.url, clock, rate_limit_rps=1.0) as client:
            client.bucket.reconfigure(1.0, 1.0)
            sim.script(status(429, retry_after=86_400, headers=headers))
            first = asyncio.create_task(refused(client.send_message(ask())))
            await asyncio.sleep(0)
            others = [
                asyncio.create_task(refused(client.send_message(ask(), observer=events.append)))
                for _ in range(3)
            ]
            errors = [await first, *await asyncio.gather(*others)]
            assert client.bucket.state.waiters == 0
            assert client.bucket.state.level == pytest.approx(0.0)
            return errors

    errors = play(main)

    assert len(sim.requests) == 1
    assert ["Not sent" in str(error) for error in errors] == [False, True, True, True]
    assert [event.reason for event in events][:3] == ["rate"] * 3


@with_or_without_limits
def test_r3_after_max_backoff_one_call_checks_the_server_again(
    headers: dict[str, str], sim: Simulator, play: Any, ask: Any
) -> None:
    """Promise: a header does not block a kernel for a day: others wait for max_backoff at most."""
    sim.script(status(429, retry_after=86_400, headers=headers))
    clock = MovedClock()

    async def main() -> None:
        async with clocked(sim.url, clock) as client:
            await refused(client.send_message(ask()))
            clock.now += 299
            assert "86101 s" in str(await refused(client.send_message(ask())))
            clock.now += 2
            await client.send_message(ask())

    play(main)

    assert len(sim.requests) == 2


@pytest.mark.parametrize("headers", [{}])
def test_r3_lists_and_counts_do_not_wait_silently(
    headers: dict[str, str], sim: Simulator, play: Any, ask: Any
) -> None:
    """Promise: calls that report no wait fail at once during a server's pause, and the health check gives the reason."""
    sim.script(status(429, retry_after=100, headers=headers))
    clock = MovedClock()

    async def main() -> str:
        async with clocked(sim.url, clock, max_retries=0) as client:
            await refused(client.send_message(ask()))
            for call in (client.count_tokens(ask()), client.list_models(), client.retrieve_model("m")):
                assert "100 s are left" in str(await refused(call))
            health = await client.health_check()
            assert health.is_reachable
            clock.now += 101
            await client.count_tokens(ask())
            return health.detail

    assert "100 s are left" in play(main)
    assert [request.path for request in sim.requests] == ["/v1/messages", "/v1/messages/count_tokens"]


def test_r3_a_pause_is_reported_before_the_wait(sim: Simulator, play: Any, ask: Any) -> None:
    """Promise: a wait within the limits is kept, and its reason and length are reported first."""
    sim.script(status(429, retry_after=100))
    clock = MovedClock()
    events: list[Any] = []

    async def main() -> None:
        async with clocked(sim.url, clock, max_retries=0) as client:
            await refused(client.send_message(ask()))
            waiting = asyncio.create_task(client.send_message(ask(), observer=events.append))
            while not events:
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])

    play(main)

    assert [(event.reason, event.expected_wait) for event in events] == [("paused", 100)]


def test_r3_after_a_429_all_callers_wait_and_every_attempt_uses_the_limiter(sim: Simulator, ask: Any) -> None:
    """Promise: one 429 pauses the shared bucket: nothing is sent before its retry-after is over."""
    sim.script(status(429, retry_after=40))
    loop = MovedLoop()
    started: list[float] = []
    events: list[Any] = []

    def on_event(event: ClientEvent) -> None:
        loop.on_event(event)
        if isinstance(event, AttemptStarted):
            started.append(loop.time())
        elif isinstance(event, LimiterWaiting):
            events.append(event)

    async def main() -> None:
        async with HTTPClaudeClient(
            ClientConfig(base_url=sim.url),
            Credential(api_key=KEY),
            bucket=TokenBucket(10, clock=loop.time),
            pace=ServerPace(clock=loop.time),
            clock=loop.time,
        ) as client:
            first = asyncio.create_task(client.send_message(ask(), observer=on_event))
            while not client.bucket.state.paused_for:
                await asyncio.sleep(0.005)
            await asyncio.gather(first, *(client.send_message(ask(), observer=on_event) for _ in range(3)))

    play_moved(main, loop, seconds=100)

    refused, *later = started
    assert len(later) == 4
    assert all(moment - refused == pytest.approx(40, abs=0.5) for moment in later)
    assert all(moment - refused >= 40 for moment in later)
    assert [event.reason for event in events][:3] == ["paused"] * 3
    assert [event.expected_wait for event in events][:3] == [pytest.approx(40, abs=0.5)] * 3


def test_r5_every_attempt_acquires_from_the_limiter_again(sim: Simulator, play: Any, ask: Any) -> None:
    """Promise: a retried call uses capacity for each attempt, so retries cannot exceed the rate."""
    sim.script(status(500), status(500), status(500))
    bucket = TokenBucket(0.001, 10)

    async def main() -> None:
        config = ClientConfig(base_url=sim.url, initial_backoff=0.0)
        async with HTTPClaudeClient(config, Credential(api_key=KEY), bucket=bucket) as client:
            await client.send_message(ask())

    play(main)

    assert bucket.state.level == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_r1_a_spend_cap_is_not_retried(
    code: str, sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a 429 for a spend limit fails at once and pauses nothing."""
    sim.script(status(429, error_code=code))

    async def main() -> None:
        async with make_client(sim.url) as client:
            with pytest.raises(RateLimitError) as caught:
                await client.send_message(ask())
            assert caught.value.is_spend_cap
            assert client.bucket.state.paused_for == 0

    play(main)

    assert (len(sim.requests), sleeps) == (1, [])


def test_r1_x_should_retry_false_is_obeyed(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: the server may prevent a retry that its status would allow."""
    sim.script(status(529, headers={"x-should-retry": "false"}))

    async def main() -> None:
        async with make_client(sim.url) as client:
            with pytest.raises(OverloadedError):
                await client.send_message(ask())

    play(main)

    assert (len(sim.requests), sleeps) == (1, [])


def test_r2_the_total_time_of_retrying_is_bounded(sim: Simulator, play: Any, ask: Any) -> None:
    """Promise: on a simulated clock, a wait that would exceed max_retry_time is not started."""
    sim.script(*(status(500) for _ in range(20)))
    now = 0.0

    async def advance(delay: float) -> None:
        nonlocal now
        now += delay

    async def main() -> ClaudeError:
        config = ClientConfig(base_url=sim.url, max_retries=50, rate_limit_rps=1000)
        client = HTTPClaudeClient(
            config, Credential(api_key=KEY), random=lambda: 0.0, clock=lambda: now, sleep=advance
        )
        async with client:
            with pytest.raises(ServerError) as caught:
                await client.send_message(ask())
            return caught.value

    error = play(main)

    assert now == 10 + 20 + 40 + 80  # the next 160 would exceed 300
    assert "max_retry_time" in str(error)


def test_r1_r4_a_connection_that_drops_before_a_response_is_retried_and_reported_as_ambiguous(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: reset and close before the headers are retried, and reported as possibly executed."""
    sim.script(drop_before_headers(how="reset"), drop_before_headers(how="close"))
    events: list[Any] = []

    async def main() -> None:
        async with make_client(sim.url) as client:
            await client.send_message(ask(), observer=events.append)

    play(main)

    failures = [event.error for event in events if isinstance(event, AttemptFinished) and event.error]
    assert sleeps == [10, 20]
    assert [type(error) for error in failures] == [NetworkError, NetworkError]
    for error in failures:
        assert error.was_sent is True
        assert "may still have been executed" in str(error)


def test_r1_r4_an_unreachable_server_is_retried_and_has_certainly_received_nothing(
    make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a refused connection proves that nothing was sent, and the error contains the address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        async def main() -> NetworkError:
            async with make_client(url) as client:
                with pytest.raises(NetworkError) as caught:
                    await client.send_message(ask())
                return caught.value

        error = play(main)

    assert error.was_sent is False
    assert sleeps == [10, 20, 40]
    assert url in str(error)


def test_r4_content_that_arrives_with_the_start_of_a_block_is_not_paid_twice(
    serve: Any, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a stream that breaks off after it is not begun again, and the error has the text."""
    block = b'{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "All of it."}}'
    posts: list[bytes] = []

    async def break_off(reader: Any, writer: Any) -> None:
        posts.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(b"data: %s\n\n" % block)
        await writer.drain()

    async def main() -> ClaudeError:
        async with serve(break_off) as url, make_client(url) as client:
            with pytest.raises(ClaudeError) as caught:
                async for _ in client.stream_message(ask()):
                    pass
            return caught.value

    error = play(main)

    assert len(posts) == 1
    assert error.partial is not None
    assert error.partial.text == "All of it."


def test_a_fault_of_the_client_itself_is_not_attributed_to_the_network(
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
    sleeps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise: an unexpected exception is named, and not retried."""
    broken = AttributeError("'NoneType' object has no attribute 'x'")
    monkeypatch.setattr(HTTPTransport, "_url_for", lambda *_: (_ for _ in ()).throw(broken))

    async def main() -> NetworkError:
        async with make_client(sim.url) as client:
            with pytest.raises(NetworkError) as caught:
                await client.send_message(ask())
            return caught.value

    error = play(main)

    assert (error.was_sent, error.is_transient, sleeps) == (False, False, [])
    assert "no attribute 'x'" in str(error)
    assert "Nothing was sent" in str(error)
    assert "Check the network" not in str(error)


def test_t1_c2_a_read_timeout_is_retried_and_then_a_request_timeout_error(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a silent server costs `timeout` per attempt; the error says that the request may have run."""
    sim.script(*(slow_headers(20) for _ in range(2)))

    async def main() -> RequestTimeoutError:
        async with make_client(sim.url, timeout=1.0, max_retries=1) as client:
            with pytest.raises(RequestTimeoutError) as caught:
                await client.send_message(ask())
            return caught.value

    error = play(main)

    assert error.was_sent is True
    assert (len(sim.requests), sleeps) == (2, [10])
    assert "may still have been executed" in str(error)


def test_observers_get_one_record_per_step(sim: Simulator, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: a cell can show "overloaded, retrying in 10 s, attempt 2 of 4" from these records alone."""
    sim.script(status(529), reply("Done."))
    events: list[Any] = []

    async def main() -> None:
        async with make_client(sim.url) as client:
            await client.send_message(ask(), observer=events.append)

    play(main)

    assert [type(event).__name__ for event in events] == [
        "AttemptStarted",
        "ResponseStarted",
        "AttemptFinished",
        "AttemptStarted",
        "ResponseStarted",
        "AttemptFinished",
    ]
    failed, finished = (event for event in events if isinstance(event, AttemptFinished))
    assert isinstance(failed.error, OverloadedError)
    assert (failed.attempt, failed.max_attempts, failed.will_retry, failed.delay) == (1, 4, True, 10.0)
    assert (failed.status, failed.method, failed.path) == (529, "POST", "/v1/messages")
    assert (finished.attempt, finished.error, finished.will_retry, finished.delay) == (2, None, False, None)
    assert str(finished.request_id).startswith("req_")
    assert finished.output_tokens
    assert finished.input_tokens
    assert events[3] == AttemptStarted(attempt=2, max_attempts=4)


def test_an_observer_that_raises_does_not_lose_the_reply(
    sim: Simulator, make_client: Any, play: Any, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: an error of the observer is logged, and the request continues."""

    def broken(event: object) -> None:
        raise RuntimeError("observer bug")

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await client.send_message(ask(), observer=broken)

    assert play(main).text
    assert "an observer failed on AttemptStarted" in caplog.text


def test_cancelling_in_backoff_ends_the_call_at_once(sim: Simulator, play: Any, ask: Any) -> None:
    """Promise: an interrupt ends the wait for a retry, and nothing more is sent."""
    sim.script(*(status(500) for _ in range(5)))

    async def main() -> None:
        async with HTTPClaudeClient(ClientConfig(base_url=sim.url), Credential(api_key=KEY)) as client:
            events: list[Any] = []
            call = asyncio.create_task(client.send_message(ask(), observer=events.append))
            while not any(isinstance(event, AttemptFinished) for event in events):
                await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    play(main)

    assert len(sim.requests) == 1


def test_cancelling_in_the_limiter_ends_the_call_at_once_and_leaves_the_bucket_whole(
    sim: Simulator, play: Any, ask: Any
) -> None:
    """Promise: an interrupt while waiting for the limiter sends nothing and uses no capacity."""
    bucket = TokenBucket(0.001, 1)

    async def main() -> None:
        config = ClientConfig(base_url=sim.url)
        async with HTTPClaudeClient(config, Credential(api_key=KEY), bucket=bucket) as client:
            await client.send_message(ask())
            calls = [asyncio.create_task(client.send_message(ask())) for _ in range(5)]
            while bucket.state.waiters < 5:
                await asyncio.sleep(0.005)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert all(call.cancelled() for call in calls)

    play(main)

    assert len(sim.requests) == 1
    assert bucket.state.waiters == 0
    assert bucket.state.level == pytest.approx(0.0, abs=0.1)
