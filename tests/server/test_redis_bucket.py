"""The shared bucket: dying processes, errors of the server, and the behaviour while it is unreachable. On the real clock."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from claude_magic.client import (
    ClientConfig,
    ConfigurationError,
    Credential,
    HTTPClaudeClient,
    RedisBucket,
    account_name,
    read_limiter_url,
)
from claude_magic.simulator import Simulator

from ..redis_server import RedisServer, redis_server
from .conftest import KEY, Play

LONG = 1000
"""Acquires that would take minutes."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server for all tests of this file, except those that stop it."""
    with redis_server() as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may stop."""
    with redis_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts for reconnecting and giving up."""
    monkeypatch.setattr("claude_magic.client._redis._MOST_BACKOFF", 0.05)
    monkeypatch.setattr("claude_magic.client._redis._FIRST_BACKOFF", 0.01)


@asynccontextmanager
async def buckets(
    server: RedisServer, account: str, *, count: int = 1, rate: float = 20, capacity: float = 2, url: str = ""
) -> AsyncIterator[list[RedisBucket]]:
    """Return buckets that share one account, like separate processes."""
    made = [RedisBucket(url or server.url, rate, capacity, account=account) for _ in range(count)]
    try:
        yield made
    finally:
        for bucket in made:
            await bucket.aclose()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def waiting(server: RedisServer, account: str) -> int:
    """Return the number of bookings in the server's line."""
    return int(server.command("ZCARD", f"claude-magic:{{{account}}}:line"))


def begin(bucket: RedisBucket, count: int) -> list[asyncio.Task[float]]:
    return [asyncio.create_task(bucket.acquire()) for _ in range(count)]


async def drop(tasks: list[asyncio.Task[float]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_two_processes_get_the_rate_of_one(server: RedisServer, play: Play) -> None:
    """Promise: two processes together stay within capacity and rate, and use them in full."""

    async def main() -> None:
        async with buckets(server, "two", count=2, rate=200, capacity=10) as (one, other):
            loop = asyncio.get_running_loop()
            started = loop.time()
            await asyncio.gather(*(bucket.acquire() for _ in range(55) for bucket in (one, other)))
            took = loop.time() - started

        assert took >= 100 / 200
        assert one.state.refill_rate == 200

    play(main)


def test_a_cancelled_waiter_lets_other_processes_move_up(server: RedisServer, play: Play) -> None:
    """Promise: a long queue that is cancelled in one process is given back at once to the waiters behind it."""

    async def main() -> None:
        async with buckets(server, "cancelled", count=2) as (one, other):
            crowd = begin(one, LONG)
            await until(lambda: waiting(server, "cancelled") >= LONG - 2)
            behind = asyncio.create_task(other.acquire())
            await until(lambda: waiting(server, "cancelled") >= LONG - 1)
            await drop(crowd)
            async with asyncio.timeout(10):
                await behind

    play(main)


_WAITER = """
import asyncio, sys
from claude_magic.client import RedisBucket

async def main():
    bucket = RedisBucket(sys.argv[1], 20, 2, account="killed")
    await asyncio.gather(*(bucket.acquire() for _ in range(int(sys.argv[2]))))

asyncio.run(main())
"""


def test_no_slot_is_lost_when_a_process_dies_in_the_queue(server: RedisServer, play: Play) -> None:
    """Promise: after `kill -9` of a process with a long queue, the next one does not wait for its bookings."""

    async def main() -> None:
        process = subprocess.Popen([sys.executable, "-c", _WAITER, server.url, str(LONG)])
        try:
            await until(lambda: waiting(server, "killed") >= LONG - 50)
            async with buckets(server, "killed") as (bucket,):
                behind = begin(bucket, 2)
                await until(lambda: bucket.state.waiters == 2 and bucket.expected_wait() > 10)
                process.send_signal(signal.SIGKILL)
                process.wait()
                async with asyncio.timeout(20):
                    await asyncio.gather(*behind)
        finally:
            process.kill()
            process.wait()

    play(main)


def test_a_pause_and_its_end_apply_to_all_processes(server: RedisServer, play: Play) -> None:
    """Promise: a 429 in one process pauses the others; when one resumes, all do."""

    async def main() -> None:
        async with buckets(server, "paused", count=2) as (one, other):
            await one.acquire()
            await other.acquire()
            one.pause_for(500, asked=600)
            await until(lambda: other.state.paused_for > 400)
            assert other.asked_for() > 500
            held = asyncio.create_task(other.acquire())
            await until(lambda: waiting(server, "paused") == 1)
            one.resume()
            async with asyncio.timeout(10):
                await held

    play(main)


def test_a_pause_applies_to_processes_that_start_later(server: RedisServer, play: Play) -> None:
    """Promise: a process that starts during a pause waits, and does not need its own 429."""

    async def main() -> None:
        async with buckets(server, "later", count=2) as (one, other):
            await one.acquire()
            one.pause_for(500)
            await until(lambda: one._sending is None)
            newcomer = asyncio.create_task(other.acquire())
            await until(lambda: other.state.paused_for > 400)
            await drop([newcomer])

    play(main)


def test_a_wait_is_reported_when_the_server_has_responded(server: RedisServer, play: Play) -> None:
    """Promise: a cell can show the wait as soon as the server has responded."""

    async def main() -> None:
        waits: list[float] = []
        async with buckets(server, "waits", rate=1, capacity=1) as (bucket,):
            await bucket.acquire()
            task = asyncio.create_task(bucket.acquire(on_delay=waits.append))
            await until(lambda: waits)
            assert 0.5 < waits[0] <= 1.0
            await drop([task])

    play(main)


def test_the_lowest_rate_applies_to_all_processes(server: RedisServer, play: Play) -> None:
    """Promise: a process that joins with a lower rate slows all; a higher rate changes nothing; a reconfiguration applies to all."""

    async def main() -> None:
        async with buckets(server, "rates", rate=50) as (one,), buckets(server, "rates", rate=10) as (slow,):
            await one.acquire()
            await slow.acquire()
            await one.acquire()
            assert one.state.refill_rate == 10
            async with buckets(server, "rates", rate=500) as (fast,):
                await fast.acquire()
                assert fast.state.refill_rate == 10
                assert fast.configured == (500, 2)
                fast.reconfigure(500, 2)  # as with each request: no change
                await fast.acquire()
                assert fast.state.refill_rate == 10
                one.reconfigure(40, 4)
                await one.acquire()
                await fast.acquire()
                assert (fast.state.refill_rate, fast.state.capacity) == (40, 4)

    play(main)


def test_a_process_that_was_busy_causes_no_burst(server: RedisServer, play: Play) -> None:
    """Promise: after a loop was blocked for a second, its bookings are scheduled again, in order, at the head of the line."""

    async def main() -> None:
        import time

        loop = asyncio.get_running_loop()
        async with buckets(server, "busy", rate=50, capacity=1) as (bucket,):
            moments: list[tuple[int, float]] = []

            async def take(number: int) -> None:
                await bucket.acquire()
                moments.append((number, loop.time()))

            tasks = [asyncio.create_task(take(number)) for number in range(40)]
            await until(lambda: moments)
            time.sleep(0.4)  # some twenty moments pass
            after = loop.time()
            await asyncio.gather(*tasks)

        assert [number for number, _ in moments] == list(range(40))
        assert sum(moment <= after + 0.1 for _, moment in moments) < 15

    play(main)


def test_a_server_that_loses_its_data_is_set_up_again(server: RedisServer, play: Play) -> None:
    """Promise: FLUSHALL and SCRIPT FLUSH in mid-run lose no slot and no waiter."""

    async def main() -> None:
        async with buckets(server, "flushed", rate=20, capacity=1) as (bucket,):
            tasks = begin(bucket, 15)
            await until(lambda: waiting(server, "flushed") > 5)
            server.command("SCRIPT", "FLUSH")
            server.command("FLUSHALL")
            async with asyncio.timeout(20):
                await asyncio.gather(*tasks)

    play(main)


# Away...


def test_without_a_server_a_share_of_the_limit_applies_and_one_line_is_logged(
    own_server: RedisServer, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: neither a stampede nor a standstill: a share of the rate, empty at first, reported once; shared again after a reconnect."""
    own_server.kill()

    async def main() -> None:
        url = f"{own_server.url}?members=10"
        async with buckets(own_server, "down", rate=400, capacity=10, url=url) as (bucket,):
            loop = asyncio.get_running_loop()
            started = loop.time()
            await asyncio.gather(*(bucket.acquire() for _ in range(8)))
            assert loop.time() - started >= 7 / 40
            assert bucket.state.refill_rate == pytest.approx(40)
            assert bucket.problem is not None

            own_server.start()
            await until(lambda: bucket.problem is None)
            await bucket.acquire()
            assert bucket.state.refill_rate == 400

    with caplog.at_level(logging.WARNING, "claude_magic.client"):
        play(main)

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "cannot be reached" in said[0]
    assert "TLS" not in said[0]
    assert "1/10 of the limit" in said[0]
    assert "is shared again" in said[1]


def test_the_reason_for_an_unreachable_server_is_that_of_the_system(
    play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For example that the socket does not exist. An address with TLS is mentioned, because a server without TLS does not respond."""

    async def main() -> None:
        for url in (f"unix://{tmp_path}/s", "rediss://:hunter2-secret@127.0.0.1:1/0"):
            bucket = RedisBucket(url, 1000)
            await bucket.acquire()
            await bucket.aclose()

    with caplog.at_level(logging.WARNING, "claude_magic.client"):
        play(main)

    said = [record.getMessage() for record in caplog.records]
    assert "cannot be reached (No such file or directory)." in said[0]
    assert "The address asks for TLS; without it, it begins with redis://." in said[1]
    assert "hunter2" not in caplog.text


def test_a_server_that_dies_in_mid_run_is_replaced_by_a_share_until_it_is_back(
    own_server: RedisServer, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: waiters continue with the share for the last known number of processes, and are in the common line again afterwards."""

    async def main() -> None:
        async with buckets(own_server, "dies", count=2, rate=100, capacity=10) as (one, other):
            tasks = begin(one, 100) + begin(other, 100)
            await until(
                lambda: waiting(own_server, "dies") > 100 and one.link.members == other.link.members == 2
            )
            own_server.kill()
            await until(lambda: one.problem and other.problem)
            assert one.state.refill_rate == pytest.approx(50)
            own_server.start()
            await until(lambda: one.problem is None and other.problem is None)
            async with asyncio.timeout(20):
                await asyncio.gather(*tasks)
            assert one.state.refill_rate == 100

    with caplog.at_level(logging.WARNING, "claude_magic.client"):
        play(main)


def test_local_grants_are_subtracted_from_the_shared_bucket(own_server: RedisServer, play: Play) -> None:
    """Promise: a reconnect causes no second burst."""

    async def main() -> None:
        async with buckets(own_server, "back", rate=1, capacity=10) as (bucket,):
            await bucket.acquire()
            own_server.kill()
            await until(lambda: bucket.problem)
            own_server.start()
            await until(lambda: bucket.problem is None)
            await bucket.acquire(0.01)
            assert bucket.state.level < 2

    play(main)


def test_a_server_that_hangs_counts_as_unreachable(
    own_server: RedisServer, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: a server that accepts calls but does not respond blocks nobody."""
    monkeypatch.setattr("claude_magic.client._redis._CALL_TIMEOUT", 0.2)
    monkeypatch.setattr("claude_magic.client._redis._CONNECT_TIMEOUT", 0.2)

    async def main() -> None:
        async with buckets(own_server, "hangs", rate=100, capacity=10) as (bucket,):
            await bucket.acquire()
            own_server.signal(signal.SIGSTOP)
            async with asyncio.timeout(10):
                await bucket.acquire()
            assert "does not answer" in str(bucket.problem)
            own_server.signal(signal.SIGCONT)
            await until(lambda: bucket.problem is None)

    play(main)


# What a server refuses...


REFUSALS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "password": (("--requirepass", "right"), "", "refuses the user or password"),
    "database": ((), "?db=99", "has no database with the number"),
    "memory": (("--maxmemory", "1"), "", "has no memory left"),
    "replica": (("--replicaof", "127.0.0.1 1"), "", "is a read-only replica"),
    "cluster": (("--cluster-enabled", "yes"), "", "is part of a cluster"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_error_of_the_server_is_one_line_with_advice(name: str, server: RedisServer, play: Play) -> None:
    """Promise: nobody waits, nothing is sent, and the line contains neither user nor password."""
    options, query, words = REFUSALS[name]

    async def main(of: RedisServer) -> ConfigurationError:
        url = of.url + query if name != "password" else of.url.replace("unix://", "unix://user:secret-word@")
        async with buckets(of, "refused", url=url) as (bucket,):
            with pytest.raises(ConfigurationError) as caught:
                await bucket.acquire()
        return caught.value

    if options:
        with redis_server(*options) as refusing:
            error = play(lambda: main(refusing))
    else:
        error = play(lambda: main(server))

    assert words in error.message
    assert "\n" not in error.message
    assert "secret-word" not in error.message


def test_a_server_without_memory_counts_as_unreachable(own_server: RedisServer, play: Play) -> None:
    """Promise: a run continues with a share if the limiter's server has no memory left, and the reason is reported."""

    async def main() -> None:
        async with buckets(own_server, "full", rate=100, capacity=10) as (bucket,):
            await bucket.acquire()
            own_server.command("CONFIG", "SET", "maxmemory", "1")
            async with asyncio.timeout(10):
                await bucket.acquire()
            assert "has no memory left" in str(bucket.problem)
            own_server.command("CONFIG", "SET", "maxmemory", "0")
            await until(lambda: bucket.problem is None)

    play(main)


def test_another_kind_of_server_is_not_waited_for(sim: Simulator, play: Play) -> None:
    """Promise: with an HTTP server at the address, a share applies and the problem is reported."""

    async def main() -> None:
        bucket = RedisBucket(sim.url.replace("http://", "redis://") + "/0", 100, 10)
        async with asyncio.timeout(20):
            await bucket.acquire()
        assert bucket.problem
        await bucket.aclose()

    play(main)


def test_without_the_package_the_error_says_what_to_install(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: `limiter` without the extra is one line, and nothing is sent."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    async def main() -> None:
        bucket = RedisBucket("redis://localhost/0", 10)
        with pytest.raises(ConfigurationError, match=r"pip install 'claude_magic\[redis\]'"):
            await bucket.acquire()
        await bucket.aclose()

    play(main)


@pytest.mark.parametrize(
    "url",
    [
        "http://host/0",
        "redis//host",
        "host:6379",
        "redis://",
        "redis://host:port/0",
        "redis://host:0/0",
        "redis://ho st/0",
        "redis://:hunter2@host/name",
        "redis://:hunter2@[::1/0",
        "redis://:hunter2@host/0#x",
        "unix://",
        "redis://host/0?members=none",
        "redis://host/0?member=16",
        "redis://host/0?socket_timeout=soon",
        "redis://host/0?db=first",
        "redis://host?db=1&db=2",
        "redis://host/0?ssl_certfile=/certificate.pem",
        "rediss://host/0?ssl_version=3",
        "redis://:hunter2@host/0?hunter2=1",
    ],
)
def test_an_invalid_address_is_rejected_without_being_shown(url: str) -> None:
    """Promise: a typo in the setting is one line, and does not reveal a password."""
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig(limiter=url)

    assert "limiter" in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hunter2@host:6380/3?members=8", "redis://host:6380/3"),
        ("rediss://:hunter2@host", "rediss://host"),
        ("rediss://host/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=no&account=lab", "rediss://host/0"),
        ("valkeys://:hunter2@host/1", "rediss://host/1"),
        ("unix:///run/redis.sock?db=2&password=hunter2", "unix:///run/redis.sock"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    """Promise: addresses are shown without user, password and query."""
    address = read_limiter_url(url)

    assert address.shown == shown
    for text in (repr(address), repr(ClientConfig(limiter=url)), repr(RedisBucket(url, 1))):
        assert "hunter2" not in text


def test_redis_keys_contain_no_api_key_and_expire(
    server: RedisServer, sim: Simulator, play: Play, ask: Any
) -> None:
    """Promise: data on the server names the account by a hash, and expires an hour after its last use."""
    server.command("FLUSHALL")

    async def main() -> None:
        config = ClientConfig(base_url=sim.url, limiter=server.url, rate_limit_rps=100)
        async with HTTPClaudeClient(config, Credential(api_key=KEY)) as client:
            await client.send_message(ask())

    play(main)
    names = server.command("KEYS", "*")
    kept = [
        server.command(
            {"hash": "HGETALL", "zset": "ZRANGE", "string": "GET"}[server.command("TYPE", name)], name, *rest
        )
        for name in names
        for rest in [(0, -1) if name.endswith("line") else ()]
    ]

    assert names
    assert all(name.startswith(f"claude-magic:{{{account_name(KEY, sim.url)}}}:") for name in names)
    assert KEY not in str(kept)
    assert all(0 < server.command("TTL", name) <= 3600 for name in names)


def test_a_client_uses_the_shared_bucket(server: RedisServer, sim: Simulator, play: Play, ask: Any) -> None:
    """Promise: clients of one account wait for each other; those of another do not."""

    async def main() -> None:
        config = ClientConfig(base_url=sim.url, limiter=server.url, rate_limit_rps=5, rate_limit_capacity=1)
        loop = asyncio.get_running_loop()
        async with (
            HTTPClaudeClient(config, Credential(api_key=KEY)) as one,
            HTTPClaudeClient(config, Credential(api_key=KEY)) as other,
            HTTPClaudeClient(config, Credential(api_key=KEY + "x")) as stranger,
        ):
            started = loop.time()
            await asyncio.gather(one.send_message(ask()), other.send_message(ask()))
            together = loop.time() - started
            await stranger.send_message(ask())

        assert together >= 0.2
        for key in (KEY, KEY + "x"):
            assert server.command("KEYS", f"claude-magic:{{{account_name(key, sim.url)}}}:*")

    play(main)


def test_loading_the_client_does_not_import_redis() -> None:
    """Promise: users who do not need it do not pay for the import."""
    code = "import sys, claude_magic.client; sys.exit('redis' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
