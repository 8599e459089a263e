"""The connection pool: reuse, limits, and expiry of idle connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import httpcore2
import pytest

from claude_magic.client._connections import Connections, WholeWrites
from claude_magic.client._connections import Network as TrackedNetwork


class Wire:
    """A connection that only records whether it was closed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_closed = False

    async def aclose(self) -> None:
        """Close it."""
        self.is_closed = True

    def __repr__(self) -> str:
        return f"<{self.number}>"


class Wires:
    """A factory of numbered connections, with a simulated clock."""

    def __init__(self, **settings: Any) -> None:
        self.made: list[Wire] = []
        self.now = 0.0
        kwargs: dict[str, Any] = {"most": 512, "most_idle": 10, "expiry": 55.0, "timeout": 10.0, **settings}
        self.pool: Connections[Wire] = Connections(self._make, clock=lambda: self.now, **kwargs)

    def _make(self) -> Wire:
        self.made.append(Wire(len(self.made)))
        return self.made[-1]

    @property
    def closed(self) -> list[int]:
        """The numbers of the closed connections."""
        return [wire.number for wire in self.made if wire.is_closed]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def let_others_run() -> None:
    """Let background closing finish."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_sequential_requests_share_a_connection() -> None:
    """The most recently used connection is reused: it is the least likely to have been dropped."""

    async def main() -> None:
        wires = Wires()
        first, second = await wires.pool.take(), await wires.pool.take()
        wires.pool.give_back(second)
        wires.pool.give_back(first)
        for _ in range(5):
            assert await wires.pool.take() is first
            wires.pool.give_back(first)
        assert len(wires.made) == 2

    run(main)


def test_idle_connections_beyond_the_limit_are_closed() -> None:
    """With a limit of 0, each is closed after its request."""

    async def main(kept: int) -> None:
        wires = Wires(most_idle=kept)
        for wire in [await wires.pool.take() for _ in range(6)]:
            wires.pool.give_back(wire)
        await let_others_run()
        assert wires.closed == list(range(kept, 6))

    for kept in (0, 2, 10):
        run(lambda kept=kept: main(kept))  # type: ignore[misc]


def test_expired_connections_are_closed_while_others_are_used() -> None:
    """Otherwise connections from a burst would stay open as long as one is enough."""

    async def main() -> None:
        wires = Wires()
        for wire in [await wires.pool.take() for _ in range(3)]:
            wires.pool.give_back(wire)
        wires.now = 30.0
        wires.pool.give_back(await wires.pool.take())
        wires.now = 60.0
        wires.pool.give_back(await wires.pool.take())
        await let_others_run()
        assert wires.closed == [0, 1]

    run(main)


def test_a_broken_connection_is_closed_and_dropped() -> None:
    """It does not count as idle, and the next request gets another one."""

    async def main() -> None:
        wires = Wires(most_idle=1)
        broken, sound = await wires.pool.take(), await wires.pool.take()
        wires.pool.give_back(broken, is_open=False)
        wires.pool.give_back(sound)
        assert await wires.pool.take() is sound
        await let_others_run()
        assert wires.closed == [0]

    run(main)


def test_a_waiter_gets_a_new_connection_instead_of_a_broken_one() -> None:
    """The number of connections in use stays the same."""

    async def main() -> None:
        wires = Wires(most=1)
        broken = await wires.pool.take()
        waiting = asyncio.create_task(wires.pool.take())
        await let_others_run()
        wires.pool.give_back(broken, is_open=False)
        assert (await waiting).number == 1
        assert wires.closed == [0]
        assert repr(wires.pool) == "<Connections: 1 in use, 0 idle, 0 waited for>"

    run(main)


def test_requests_wait_in_order_if_all_connections_are_in_use() -> None:
    """First come, first served; a waiter that gives up takes no place."""

    async def main() -> None:
        wires = Wires(most=1)
        held = await wires.pool.take()
        waiting = [asyncio.create_task(wires.pool.take()) for _ in range(3)]
        await let_others_run()
        assert repr(wires.pool) == "<Connections: 1 in use, 0 idle, 3 waited for>"
        waiting[0].cancel()
        wires.pool.give_back(held)
        assert await waiting[1] is held
        assert not waiting[2].done()
        wires.pool.give_back(held)
        assert await waiting[2] is held
        wires.pool.give_back(held)
        assert repr(wires.pool) == "<Connections: 0 in use, 1 idle, 0 waited for>"

    run(main)


def test_a_waiter_cancelled_at_the_same_moment_passes_its_connection_on() -> None:
    """Otherwise the connection would be lost, and its place."""

    async def main() -> None:
        wires = Wires(most=1)
        held = await wires.pool.take()
        waiting = [asyncio.create_task(wires.pool.take()) for _ in range(2)]
        await let_others_run()
        wires.pool.give_back(held)
        waiting[0].cancel()
        assert await waiting[1] is held
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]

    run(main)


def test_waiting_times_out() -> None:
    """After the setting `timeout`, with the queue unchanged."""

    async def main() -> None:
        wires = Wires(most=1, timeout=0.0)
        held = await wires.pool.take()
        with pytest.raises(TimeoutError):
            await wires.pool.take()
        wires.pool.give_back(held)
        assert await wires.pool.take() is held

    run(main)


def test_closing_includes_connections_in_use() -> None:
    """Also those that are returned later."""

    async def main() -> None:
        wires = Wires()
        used, idle = await wires.pool.take(), await wires.pool.take()
        wires.pool.give_back(idle)
        await wires.pool.aclose()
        assert wires.closed == [0, 1]
        used.is_closed = False
        wires.pool.give_back(used)
        await let_others_run()
        assert used.is_closed

    run(main)


class Network(httpcore2.AsyncNetworkStream):
    """A network that notes each step, and answers every request alike.

    Args:
        refuses: Writing fails, as where a server has closed the connection.
    """

    def __init__(self, *, refuses: bool = False) -> None:
        self.steps: list[bytes | str] = []
        self._refuses = refuses

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Record a write."""
        self.steps.append(buffer)
        if self._refuses:
            raise httpcore2.WriteError("broken pipe")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return a response."""
        self.steps.append("read")
        return b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def start_tls(self, *_args: Any, **_kwargs: Any) -> httpcore2.AsyncNetworkStream:
        """Record the start of TLS."""
        self.steps.append("tls")
        return self

    async def aclose(self) -> None:
        """Close it."""

    def get_extra_info(self, info: str) -> Any:
        """Return nothing."""
        return None


async def send(network: httpcore2.AsyncNetworkStream) -> httpcore2.Response:
    """Send a request with a body, as the HTTP library sends it."""
    origin = httpcore2.Origin(b"http", b"localhost", 80)
    connection = httpcore2.AsyncHTTP11Connection(origin, network)
    headers = {"host": "localhost", "content-length": "4"}
    request = httpcore2.Request("POST", "http://localhost/v1", headers=headers, content=b"body")
    return await connection.handle_async_request(request)


def test_head_and_body_of_a_request_are_written_at_once() -> None:
    """Two writes would cost another system call and another packet; the same after the start of TLS."""

    async def main() -> None:
        network = Network()
        plain = WholeWrites(network)
        assert (await send(plain)).status == 413
        assert (await send(await plain.start_tls(ssl.create_default_context()))).status == 413
        request = b"POST /v1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody"
        assert network.steps == [request, "read", "tls", request, "read"]

    run(main)


def test_a_response_before_the_whole_request_was_read_is_received() -> None:
    """A request that is too large may be rejected before it has arrived, and then the write fails."""

    async def main() -> None:
        assert (await send(WholeWrites(Network(refuses=True)))).status == 413

    run(main)


@pytest.mark.parametrize(
    ("written", "is_sent"),
    [
        ([b"\x05\x01\x02", b"\x01\x04user\x04pass", b"\x05\x01\x00\x03\x04host\x01\xbb"], False),
        ([b"CONNECT host:443 HTTP/1.1\r\n\r\n"], False),
        ([], False),
        ([b"\x05\x01\x00", b"\x05\x01\x00\x03\x04host\x00P", b"POST /v1/messages HTTP/1.1\r\n\r\n"], True),
        ([b"POST http://host/v1/messages HTTP/1.1\r\n\r\n"], True),
        ([b"CONNECT host:443 HTTP/1.1\r\n\r\n", "tls", b"POST /v1/messages HTTP/1.1\r\n\r\n"], True),
    ],
    ids=["SOCKS", "tunnel", "nothing", "SOCKS and request", "forwarded request", "tunnel and request"],
)
def test_what_asks_a_proxy_to_connect_is_not_the_request(written: list[bytes | str], is_sent: bool) -> None:
    """It certainly did not reach the server, so that it is neither billed nor dangerous to repeat."""

    class Backend(httpcore2.AsyncNetworkBackend):
        async def connect_tcp(self, *_args: Any, **_kwargs: Any) -> httpcore2.AsyncNetworkStream:
            return Network()

    async def main() -> None:
        tracked = TrackedNetwork(Backend())
        stream = await tracked.connect_tcp("proxy", 1080)
        for each in written:
            if isinstance(each, str):
                stream = await stream.start_tls(ssl.create_default_context())
            else:
                await stream.write(each)
                await stream.read(4096)
        assert tracked.has_sent is is_sent

    run(main)


class SlowNetwork(Network):
    """A network whose writes end after the response has arrived: with an error, or never.

    Args:
        failure: How a write ends.
    """

    def __init__(self, failure: Exception | None) -> None:
        super().__init__()
        self._failure = failure
        self._pieces = [b"HTTP/1.1 413 Too Large\r\n", b"content-length: 2\r\n\r\n", b"no"]
        self._is_lost = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Fail, and lose what was not read before."""
        await asyncio.sleep(0.01)
        self._is_lost = self._failure is not None
        if self._failure is not None:
            raise self._failure

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the response in pieces."""
        if self._is_lost:
            raise httpcore2.ReadError("lost")
        if not self._pieces:
            await asyncio.sleep(3600)
        return self._pieces.pop(0)


@pytest.mark.parametrize(
    "failure",
    [httpcore2.WriteError("broken pipe"), httpcore2.WriteTimeout("not read"), None],
    ids=["closed", "not read", "read"],
)
def test_what_arrives_while_a_large_request_is_written_is_kept(failure: Exception | None) -> None:
    """A failed write closes the connection, and with it the answer that explains why."""

    async def main() -> None:
        stream = WholeWrites(SlowNetwork(failure))
        await stream.write(b"x" * 100_000)
        pieces = [await stream.read(65536, 1.0) for _ in range(3)]
        assert b"".join(pieces) == b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
        assert len(asyncio.all_tasks()) == 1

    run(main)


def test_what_arrived_behind_an_early_response_ends_the_reuse_of_its_connection() -> None:
    """It would be read as the answer to the next request."""
    ours, theirs = socket.socketpair()

    class Connected(SlowNetwork):
        def get_extra_info(self, info: str) -> Any:
            """Return a socket that has nothing to read."""
            return ours if info == "socket" else None

    async def main() -> None:
        stream = WholeWrites(Connected(None))
        await stream.write(b"x" * 100_000)
        for _ in range(2):
            await stream.read(65536, 1.0)
        assert stream.get_extra_info("is_readable") is True
        await stream.read(65536, 1.0)
        assert stream.get_extra_info("is_readable") is False

    with ours, theirs:
        run(main)


def test_a_large_request_that_nobody_reads_times_out() -> None:
    """Without an answer, the limit of the write applies as before."""

    class Stalled(SlowNetwork):
        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            """Never return."""
            await asyncio.sleep(3600)
            return b""

    async def main() -> None:
        stream = WholeWrites(Stalled(httpcore2.WriteTimeout("not read")))
        await stream.write(b"x" * 100_000)
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.read(65536, 1.0)
        assert len(asyncio.all_tasks()) == 1

    run(main)
