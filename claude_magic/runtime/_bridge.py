"""One daemon thread with an asyncio loop, the shared client on it, and what is known of the server's limits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from .._tracebacks import is_ours
from ..client import (
    BucketState,
    HTTPClaudeClient,
    PaceState,
    RedisBucket,
    ResponseStarted,
    ServerLimit,
    ServerPace,
    TokenBucket,
    parse_retry_after,
    read_limits,
)
from ._connection import Connection

# The bridge: one daemon thread with an asyncio loop, on which the shared client and all its requests live.
#
# A client that is bound to the kernel's own loop breaks as soon as it is used from another loop or thread, stands still
# while a cell computes, and dies with the code that closes that loop. So the client has a loop of its own, which nobody else
# runs, blocks or closes; everything else reaches it through this class, from any thread.
_Result = TypeVar("_Result")

_CLOSING_TIMEOUT = 5.0
"""Seconds for everything in flight to end once the bridge closes; closing a connection takes milliseconds."""

logger = logging.getLogger("claude_magic.runtime")


class BridgeClosedError(RuntimeError):
    """The bridge takes no more work. Its owner makes another one; users never see this error."""


class Bridge:
    """A thread that runs an event loop until `close`.

    Methods may be called from any thread of the process that made it. A forked child has no such thread: there,
    `is_usable` is false and the child needs a bridge of its own.

    Args:
        on_close: Awaited on the loop when everything in flight has ended, before the loop closes.
    """

    def __init__(self, *, on_close: Callable[[], Awaitable[None]]) -> None:
        self._on_close = on_close
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        # A daemon: a thread that Python waits for at exit would keep the kernel from shutting down.
        self._thread = threading.Thread(target=self._run, name="claude-magic-bridge", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """Whether it can take work: it runs, in this process, and is not being closed."""
        return not self._is_closing and self._pid == os.getpid() and self._thread.is_alive()

    def spawn(
        self, work: Coroutine[Any, Any, _Result], *, on_end: Callable[[asyncio.Task[_Result]], None]
    ) -> Callable[[], None]:
        """Run a coroutine on the loop and return a function that cancels it.

        Args:
            work: What to run.
            on_end: Called on the loop with its task, once that has ended. Also where it was cancelled before its first
                step, when none of its own code has run.

        Returns:
            Cancels the coroutine. Any thread, and a signal handler, may call it: it takes no lock. Calling it after
            the end does nothing.

        Raises:
            BridgeClosedError: It takes no more work. The coroutine is closed.
        """
        started: list[asyncio.Task[_Result]] = []

        def start() -> None:
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(on_end)
            started.append(task)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and everything on it has ended
                # Posted after `start`, so the task is there by then.
                self._loop.call_soon_threadsafe(lambda: started[0].cancel())

        with self._lock:
            if self.is_usable:
                self._loop.call_soon_threadsafe(start)
                return cancel
        work.close()
        raise BridgeClosedError

    def submit(self, work: Coroutine[Any, Any, _Result]) -> concurrent.futures.Future[_Result]:
        """Run a coroutine on the loop; its result, or a request to cancel it, goes through the future.

        Raises:
            BridgeClosedError: As for `spawn`.
        """
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        cancel = self.spawn(work, on_end=lambda task: _settle(future, task))
        future.add_done_callback(lambda done: cancel() if done.cancelled() else None)
        return future

    def close(self) -> None:
        """Cancel everything in flight, let it end, and end the thread. Closing twice is fine."""
        with self._lock:
            is_first = self.is_usable
            self._is_closing = True
            if is_first:
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._pid == os.getpid() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_TIMEOUT + 1.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()  # does not wait for a name lookup that hangs in the loop's executor

    async def _serve(self) -> None:
        await self._stop.wait()
        try:
            async with asyncio.timeout(_CLOSING_TIMEOUT):
                await self._cancel_tasks()
                await self._on_close()
                await self._loop.shutdown_asyncgens()
        except Exception as failure:
            # Nobody waits for this thread's errors, and the loop must close all the same.
            logger.warning("Closing the client failed: %s", type(failure).__name__)

    async def _cancel_tasks(self) -> None:
        """Cancel what was spawned, and wait until it has ended.

        Not the tasks that libraries made underneath: those are cancelled by their owners, in the order they need.
        """
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # lets the callbacks of the last one run


def _settle(future: concurrent.futures.Future[_Result], task: asyncio.Task[_Result]) -> None:
    """Pass the outcome of a task on to a future of another thread."""
    if task.cancelled():
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    failure = task.exception()
    if failure is not None:
        future.set_exception(failure.with_traceback(None) if is_ours(failure) else failure)
    else:
        future.set_result(task.result())


class KnownPace:
    """Keeps the pace for one server and account; another server or credential has limits of its own.

    Args:
        kept: What a previous runtime of this kernel had learnt (`dump`), or None. It names no credential, so the first connection
            to its server is taken for the same account.
    """

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self._base_url: str | None = kept.get("base_url")
        self._connection: Connection | None = None
        self._pace = ServerPace(kept.get("learnt"))

    def holds_for(self, connection: Connection) -> bool:
        """Whether what is known, if anything is, is known of the server and account of a connection."""
        if self._connection is not None:
            return connection.is_same_account(self._connection)
        return self._base_url in (None, connection.config.base_url)

    def for_connection(self, connection: Connection) -> ServerPace:
        """Return the pace for the server of a connection. Belongs to the bridge's loop."""
        if not self.holds_for(connection):
            self._pace = ServerPace()
        self._connection, self._base_url = connection, connection.config.base_url
        return self._pace

    @property
    def state(self) -> tuple[PaceState, ...]:
        """What holds for each class of models that was asked. Any thread may ask."""
        return self._pace.state

    def dump(self) -> Mapping[str, Any]:
        """Return what was learnt, and of which server, as plain data for the runtime that follows."""
        return {"base_url": self._base_url, "learnt": self._pace.dump()}


class SharedClient:
    """Lends the client to requests. Belongs to the bridge's loop.

    When the settings have changed, the next request gets a new client. Those in flight finish on the old one, which is
    closed after the last of them. The bucket outlives them all, and so does what is known of the server's limits.

    Args:
        bucket: The limiter that all clients share.
        known_pace: What is known of the server's limits.
        say: Told what a person should know of a limiter on a server, as a sentence.
    """

    def __init__(self, bucket: TokenBucket, known_pace: KnownPace, say: Callable[[str], None]) -> None:
        self._bucket = bucket
        self._say = say
        self._known_pace = known_pace
        self._common: dict[tuple[str, str], RedisBucket] = {}
        self._current: _Lent | None = None
        self._retired: set[_Lent] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lend(self, connection: Connection) -> AsyncIterator[HTTPClaudeClient]:
        """Lend the client for a connection, for the length of the context."""
        lent = self._client_for(connection)
        self._adapt_rate(lent.client.bucket, connection)
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
        common, self._common = self._common, {}
        for bucket in common.values():
            await bucket.aclose()

    @property
    def bucket(self) -> TokenBucket:
        """The limiter of the client in use: that of this process, or the one it has in common with others. Any thread may ask."""
        return self._bucket if self._current is None else self._current.client.bucket

    def _bucket_for(self, connection: Connection) -> TokenBucket:
        """Return the limiter for a connection."""
        limiter = connection.config.limiter
        if limiter is None:
            return self._bucket
        server = "simulator" if connection.is_simulated else None  # all of them are one
        made = RedisBucket.of(connection.config, connection.credential, server)
        made.say = self._say
        return self._common.setdefault((limiter, made.account), made)

    def _client_for(self, connection: Connection) -> _Lent:
        current = self._current
        if current is not None and not connection.needs_other_client_than(current.connection):
            return current
        if not self._known_pace.holds_for(connection):
            # What one server asked for is not asked of the next, also where the client was closed in between.
            self._bucket.resume()
        client = HTTPClaudeClient(
            connection.config,
            connection.credential,
            bucket=self._bucket_for(connection),
            pace=self._known_pace.for_connection(connection),
        )
        self._current = _Lent(connection, client)
        if current is not None:
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

    def _adapt_rate(self, bucket: TokenBucket, connection: Connection) -> None:
        rate, capacity = connection.config.rate_limit_rps, connection.config.rate_limit_capacity
        if bucket.configured != (rate, capacity or max(1.0, rate)):
            bucket.reconfigure(rate, capacity)


class _Lent:
    """A client, what it was built from, and how many use it."""

    def __init__(self, connection: Connection, client: HTTPClaudeClient) -> None:
        self.connection = connection
        self.client = client
        self.users = 0


class Engine:
    """Runs work with the shared client, on the bridge. Every method may be called from any thread.

    Args:
        kept: Where the limiters of a previous engine of this kernel stood (`dump`), or None.
        say: Told what a person should know of a limiter on a server, as a sentence; on the bridge.
    """

    def __init__(self, kept: Mapping[str, Any] | None, say: Callable[[str], None]) -> None:
        self._say = say
        kept = kept or {}
        self._bucket_state: Mapping[str, float] | None = kept.get("bucket")
        self._known_pace = KnownPace(kept.get("pace"))
        self._bucket: TokenBucket | None = None
        self._bridge: Bridge | None = None
        self._shared: SharedClient | None = None
        self._lock = threading.RLock()

    @property
    def is_running(self) -> bool:
        """Whether thread and client exist."""
        return self._bridge is not None and self._bridge.is_usable

    def spawn(
        self,
        work: Callable[[SharedClient], Coroutine[Any, Any, _Result]],
        *,
        rate: float,
        on_end: Callable[[asyncio.Task[_Result]], None],
    ) -> Callable[[], None]:
        """Run a coroutine; return what cancels it. See `Bridge.spawn`.

        Args:
            work: Makes the coroutine.
            rate: Requests per second, where the bucket is yet to be made.
            on_end: Called on the bridge with its task, once that has ended.
        """
        with self._lock:
            bridge, shared = self._started(rate)
            return bridge.spawn(work(shared), on_end=on_end)

    def submit(
        self, work: Callable[[SharedClient], Coroutine[Any, Any, _Result]], *, rate: float
    ) -> concurrent.futures.Future[_Result]:
        """Run a coroutine; its result comes through the future. Arguments as for `spawn`."""
        with self._lock:
            bridge, shared = self._started(rate)
            return bridge.submit(work(shared))

    def limiter_state(self, rate: float) -> BucketState:
        """Level, queue and pause of the bucket in use; one is made for this rate if there is none yet."""
        with self._lock:
            return self._bucket_for(rate).state if self._shared is None else self._shared.bucket.state

    @property
    def limiter_problem(self) -> str | None:
        """Why the limiter is not shared with other processes as the settings have it, as a sentence; None if it is."""
        bucket = None if self._shared is None else self._shared.bucket
        return bucket.problem if isinstance(bucket, RedisBucket) else None

    def pace_state(self) -> tuple[PaceState, ...]:
        """What the server allows, for each class of models that was asked."""
        return self._known_pace.state

    def close(self) -> None:
        """Cancel what runs, and end client and thread. The limiters stay; the next work starts the rest again."""
        with self._lock:
            bridge, self._bridge, self._shared = self._bridge, None, None
            if bridge is not None:
                bridge.close()

    def dump(self) -> Mapping[str, Any]:
        """Return where the limiters stand, as plain data for the engine of another runtime."""
        bucket = self._bucket_state if self._bucket is None else self._bucket.dump()
        return {"bucket": bucket, "pace": self._known_pace.dump()}

    def _started(self, rate: float) -> tuple[Bridge, SharedClient]:
        if self._bridge is None or self._shared is None or not self._bridge.is_usable:
            self._shared = SharedClient(self._bucket_for(rate), self._known_pace, self._say)
            self._bridge = Bridge(on_close=self._shared.aclose)
        return self._bridge, self._shared

    def _bucket_for(self, rate: float) -> TokenBucket:
        if self._bucket is None:
            self._bucket = TokenBucket(rate)
            if self._bucket_state is not None:
                self._bucket.restore(self._bucket_state)
        return self._bucket


_KEPT_MODELS: Final = 20
_KEPT_REFUSALS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """The limits that hold for one model, as a response told.

    Attributes:
        model: The model. Models of one class share their limits.
        received_at: When the response came, by `time.time()`.
        limits: The limits it told of; empty where the server tells of none.
    """

    model: str
    received_at: float
    limits: tuple[ServerLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that the server refused because of its pace (429).

    Attributes:
        model: The model that was asked.
        at: When, by `time.time()`.
        retry_after: Seconds that it asked to wait, or None.
    """

    model: str
    at: float
    retry_after: float | None


class RateLimits:
    """Remembers the last word of the server on each model, and its last refusals. Any thread may use it.

    Args:
        clock: The time in seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_model: dict[str, ModelLimits] = {}
        self._refusals: deque[Refusal] = deque(maxlen=_KEPT_REFUSALS)

    def note(self, response: ResponseStarted, *, model: str) -> None:
        """Take note of a response to a request for a model."""
        now = self._clock()
        limits = read_limits(response.headers)
        with self._lock:
            if response.status == 429:
                wait = parse_retry_after(response.headers.get("retry-after", ""), now)
                self._refusals.append(Refusal(model=model, at=now, retry_after=wait))
            if limits:
                self._by_model.pop(model, None)
                self._by_model[model] = ModelLimits(model=model, received_at=now, limits=limits)
            while len(self._by_model) > _KEPT_MODELS:
                del self._by_model[next(iter(self._by_model))]

    def by_model(self) -> tuple[ModelLimits, ...]:
        """What was told of each model, the one told of last first."""
        with self._lock:
            return tuple(reversed(self._by_model.values()))

    def refusals(self) -> tuple[Refusal, ...]:
        """The last refusals, newest first."""
        with self._lock:
            return tuple(reversed(self._refusals))
