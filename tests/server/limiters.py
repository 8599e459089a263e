"""A common interface to the two kinds of bucket, in a process and on a Redis server, both on a simulated clock."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import pytest

from claude_magic.client import TokenBucket
from claude_magic.client._redis import RedisLink, RedisScript
from claude_magic.client._redis_bucket import RedisBucket

from ..redis_server import RedisServer
from ..unit.moved_loop import JumpingSelector, MovedLoop, let_run

_numbers = itertools.count()
Main = Callable[[MovedLoop], Coroutine[Any, Any, None]]


class Limiter(Protocol):
    """A kind of bucket."""

    name: str

    def bucket(self, loop: MovedLoop, rate: float, capacity: float | None = None) -> TokenBucket:
        """Return a new bucket."""

    def run(self, main: Main, late_by: Callable[[], float] = lambda: 0.0) -> None:
        """Run a test's coroutine on a simulated clock, and check that it leaves nothing behind."""

    async def let_run(self) -> None:
        """Let the ready tasks run, and the server respond, without moving the clock."""


class InProcess:
    """A bucket in the process."""

    name = "in process"

    def bucket(self, loop: MovedLoop, rate: float, capacity: float | None = None) -> TokenBucket:
        return TokenBucket(rate, capacity, clock=loop.time)

    def run(self, main: Main, late_by: Callable[[], float] = lambda: 0.0) -> None:
        _run(MovedLoop(late_by), main)

    async def let_run(self) -> None:
        await let_run()


class _MovedScript(RedisScript):
    """The bucket's script with a simulated time."""

    @property
    def source(self) -> str:  # type: ignore[override]
        moved = super().source.replace("redis.call('TIME')", "{request.now, 0}")
        assert "'TIME'" not in moved
        return moved


class OnRedis:
    """A bucket on a server. The clock stands still during calls to the server."""

    name = "redis"

    def __init__(self, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url = server.url
        self.clock_offset = 0.0
        """Seconds by which the clock of the server differs from ours."""
        self._busy = 0
        self._made: list[RedisBucket] = []
        monkeypatch.setattr(
            "claude_magic.client._redis_bucket._SCRIPT",
            _MovedScript("bucket.lua", "bucket", "line", "members"),
        )
        monkeypatch.setattr(
            "claude_magic.client._redis_bucket._HELD_BACK", 0.0
        )  # nothing is late here that is not meant to be
        call = RedisLink.call

        async def call_in_no_time(link: RedisLink, script: RedisScript, request: dict[str, Any]) -> Any:
            self._busy += 1
            try:
                return await call(
                    link, script, {**request, "now": asyncio.get_running_loop().time() + self.clock_offset}
                )
            finally:
                self._busy -= 1

        monkeypatch.setattr(RedisLink, "call", call_in_no_time)

    def bucket(self, loop: MovedLoop, rate: float, capacity: float | None = None) -> TokenBucket:
        bucket = RedisBucket(self._url, rate, capacity, account=f"test{next(_numbers)}", clock=loop.time)
        self._made.append(bucket)
        return bucket

    def run(self, main: Main, late_by: Callable[[], float] = lambda: 0.0) -> None:
        async def whole(loop: MovedLoop) -> None:
            try:
                await main(loop)
            finally:
                self._busy += 1
                for bucket in self._made:
                    await bucket.aclose()
                self._made.clear()
                self._busy -= 1

        _run(MovedLoop(late_by, _PatientSelector(late_by, lambda: self._busy > 0)), whole)

    async def let_run(self) -> None:
        await let_run()
        while any(bucket._sending is not None for bucket in self._made):
            await asyncio.sleep(0)
        await let_run()


class _PatientSelector(JumpingSelector):
    """A selector that waits for calls to the server without moving the clock."""

    def __init__(self, late_by: Callable[[], float], is_asking: Callable[[], bool]) -> None:
        super().__init__(late_by)
        self._is_asking = is_asking

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._is_asking():
            return selectors.SelectSelector.select(self, 0 if timeout == 0 else 0.5)
        return super().select(timeout)


def _run(loop: MovedLoop, main: Main) -> None:
    try:
        loop.run_until_complete(main(loop))
        assert not asyncio.all_tasks(loop)
    finally:
        loop.close()
