"""The connections of one client: which of them a request takes, how many there may be, and which idle ones are kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection, or what makes one when it is first used."""

    async def aclose(self) -> None:
        """Close it."""


_Connection = TypeVar("_Connection", bound=Closable)


class Connections(Generic[_Connection]):
    """Lends each connection to one request at a time. All methods belong to one event loop.

    The HTTP library has a pool of its own, but that looks through all of its connections at the beginning and at the end of each request,
    which at 64 in flight takes longer than anything else. Here a request takes the connection that became idle last, in constant time,
    so that those at the other end grow old and are closed.

    Args:
        make: Makes a connection. What it costs to connect is paid by its first request.
        most: Connections at most.
        most_idle: Idle ones that are kept.
        expiry: Seconds after which an idle one is closed.
        timeout: Seconds to wait for one where all are in use.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        make: Callable[[], _Connection],
        *,
        most: int,
        most_idle: int,
        expiry: float,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._most = most
        self._most_idle = most_idle
        self._expiry = expiry
        self._timeout = timeout
        self._clock = clock
        self._in_use: set[_Connection] = set()
        self._idle: deque[tuple[_Connection, float]] = deque()
        self._waiting: deque[asyncio.Future[_Connection]] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Connections: {len(self._in_use)} in use, {len(self._idle)} idle, {len(self._waiting)} waited for>"

    async def take(self) -> _Connection:
        """Return a connection that no other request has; `give_back` ends that.

        Raises:
            TimeoutError: All were in use for `timeout` seconds.
        """
        if self._idle:
            connection, _ = self._idle.pop()
            self._close_expired()
        elif len(self._in_use) < self._most:
            connection = self._make()
        else:
            return await self._wait()
        self._in_use.add(connection)
        return connection

    def give_back(self, connection: _Connection, *, is_open: bool = True) -> None:
        """Take a connection back, for the next request.

        Args:
            connection: The connection.
            is_open: It can be used again as it is; one that is closed is forgotten.
        """
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._in_use.discard(connection)
        if is_open and len(self._idle) < self._most_idle:
            self._idle.append((connection, self._clock()))
        elif is_open:
            self._close_soon(connection)

    async def aclose(self) -> None:
        """Close all connections, those in use, too."""
        self._most_idle = 0  # those that wait for one, and those in use, give theirs back to be closed
        for connection in (*self._in_use, *(connection for connection, _ in self._idle)):
            self._close_soon(connection)
        self._in_use.clear()
        self._idle.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _wait(self) -> _Connection:
        waiter: asyncio.Future[_Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._timeout):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # it was given one at the same moment
                self.give_back(waiter.result())
            raise

    def _close_expired(self) -> None:
        """Close what has been idle for long: it would stay open as long as fewer are needed."""
        oldest = self._clock() - self._expiry
        while self._idle and self._idle[0][1] < oldest:
            self._close_soon(self._idle.popleft()[0])

    def _close_soon(self, connection: _Connection) -> None:
        task = asyncio.get_running_loop().create_task(_close(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(connection: Closable) -> None:
    with contextlib.suppress(Exception):  # a connection that breaks while it is closed is closed
        await connection.aclose()
