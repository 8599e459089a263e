"""The one client of the kernel: built once, kept, and exchanged only when a setting it depends on has changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ..client import ClaudeClient, HTTPClaudeClient, TokenBucket
from ._connection import Connection
from ._known_pace import KnownPace


class SharedClient:
    """Lends the client to whoever sends a request. Belongs to the bridge's loop.

    When the settings have changed, the next request gets a new client. Those in flight finish on the old one, which is
    closed after the last of them. The bucket outlives them all, and so does what is known of the server's limits.

    Args:
        bucket: The limiter that all clients share.
        known_pace: What is known of the server's limits.
    """

    def __init__(self, bucket: TokenBucket, known_pace: KnownPace) -> None:
        self._bucket = bucket
        self._known_pace = known_pace
        self._current: _Lent | None = None
        self._retired: set[_Lent] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lend(self, connection: Connection) -> AsyncIterator[ClaudeClient]:
        """Lend the client for a connection, for the length of the context."""
        self._adapt_rate(connection)
        lent = self._client_for(connection)
        lent.users += 1
        try:
            yield lent.client
        finally:
            lent.users -= 1
            if lent in self._retired and not lent.users:
                self._close(lent)

    async def aclose(self) -> None:
        """Close all connections. The next request gets a new client."""
        if self._current is not None:
            self._close(self._current)
            self._current = None
        for lent in tuple(self._retired):
            self._close(lent)
        if self._closing:
            await asyncio.wait(self._closing)

    def _client_for(self, connection: Connection) -> _Lent:
        current = self._current
        if current is not None and not connection.needs_other_client_than(current.connection):
            return current
        client = HTTPClaudeClient(
            connection.config,
            connection.credential,
            bucket=self._bucket,
            pace=self._known_pace.for_connection(connection),
        )
        self._current = _Lent(connection, client)
        if current is not None:
            if not connection.is_same_account(current.connection):
                self._bucket.resume()  # what a server asked for is not asked of the next
            self._retire(current)
        return self._current

    def _retire(self, lent: _Lent) -> None:
        self._retired.add(lent)
        if not lent.users:
            self._close(lent)

    def _close(self, lent: _Lent) -> None:
        """Close a client, in a task of its own, which outlives a cancelled caller."""
        self._retired.discard(lent)
        task = asyncio.get_running_loop().create_task(lent.client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _adapt_rate(self, connection: Connection) -> None:
        rate, capacity = connection.config.rate_limit_rps, connection.config.rate_limit_capacity
        state = self._bucket.state
        if (state.refill_rate, state.capacity) != (rate, capacity or max(1.0, rate)):
            self._bucket.reconfigure(rate, capacity)


class _Lent:
    """A client, what it was built from, and how many use it."""

    def __init__(self, connection: Connection, client: HTTPClaudeClient) -> None:
        self.connection = connection
        self.client = client
        self.users = 0
