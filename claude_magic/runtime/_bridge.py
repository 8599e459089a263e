"""The bridge (a daemon thread with an asyncio loop), and the shared client that runs on it.

Which client answers: a runtime chooses the `Source` by the settings, the `Engine` starts the work on the bridge, and
`Source.client` lends the shared client (`DirectSource`), or a cassette in front of it (`CassetteSource`).
"""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeAlias, TypeVar

from .._tracebacks import is_ours
from ..client import (
    BucketState,
    ClaudeClient,
    HTTPClaudeClient,
    PaceState,
    RedisBucket,
    ServerPace,
    TokenBucket,
)
from ._cassette import Cassettes
from ._connection import Connection, Connector, redact_key
from ._replay import ReplayClient
from ._settings import ResolvedSettings

# The bridge: one daemon thread with an asyncio loop, on which the shared client and all its requests run.
#
# A client bound to the kernel's own loop fails when it is used from another loop or thread, stalls while a cell computes, and
# stops working when other code closes that loop. So the client has its own loop, which no other code runs, blocks or closes.
# Other threads reach it through this class.
_Result = TypeVar("_Result")

_CLOSING_TIMEOUT = 5.0
"""Seconds that tasks in flight get to end when the bridge closes; closing a connection takes milliseconds."""

logger = logging.getLogger("claude_magic.runtime")


class _Workers(concurrent.futures.ThreadPoolExecutor):
    """The threads for blocking steps on the bridge, such as reading rows, journals and host names.

    They also work while Python waits at its exit for threads of the user, when a pool accepts nothing more.
    """

    def submit(
        self, function: Callable[..., _Result], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[_Result]:
        try:
            return super().submit(function, *args, **kwargs)
        except RuntimeError:
            future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
            step = partial(_run_into, future, partial(function, *args, **kwargs))
            threading.Thread(target=step, name="claude-magic-step", daemon=True).start()
            return future


def _run_into(future: concurrent.futures.Future[_Result], function: Callable[[], _Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


class BridgeClosedError(RuntimeError):
    """Raised when the bridge is closed. The owner creates a new one; users never see this error."""


class Bridge:
    """A thread that runs an event loop until `close`.

    Methods may be called from any thread of the process that created it. A forked child does not inherit the thread: there,
    `is_usable` is false, and the child needs its own bridge.

    Args:
        on_close: Awaited on the loop after all tasks in flight have ended, before the loop closes.
    """

    def __init__(self, *, on_close: Callable[[], Awaitable[None]]) -> None:
        self._on_close = on_close
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Workers(thread_name_prefix="claude-magic-step"))
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        # A daemon thread, because Python waits for other threads at exit, which would keep the kernel from shutting down.
        self._thread = threading.Thread(target=self._run, name="claude-magic-bridge", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """Whether the bridge accepts work: it runs in this process and is not closing."""
        return not self._is_closing and self._pid == os.getpid() and self._thread.is_alive()

    def spawn(
        self, work: Coroutine[Any, Any, _Result], *, on_end: Callable[[asyncio.Task[_Result]], None]
    ) -> Callable[[], None]:
        """Run a coroutine on the loop and return a function that cancels it.

        Args:
            work: The coroutine.
            on_end: Called on the loop with the task when it has ended, even if it was cancelled before its first step and
                none of its code has run.

        Returns:
            A function that cancels the coroutine. Any thread or signal handler may call it: it takes no lock. It does
            nothing after the end.

        Raises:
            BridgeClosedError: The bridge is closed. The coroutine is closed, too.
        """
        started: list[asyncio.Task[_Result]] = []

        def start() -> None:
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(on_end)
            started.append(task)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and all its tasks have ended
                # This callback runs after `start`, so the task exists.
                self._loop.call_soon_threadsafe(lambda: started[0].cancel())

        with self._lock:
            if self.is_usable:
                self._loop.call_soon_threadsafe(start)
                return cancel
        work.close()
        raise BridgeClosedError

    def submit(self, work: Coroutine[Any, Any, _Result]) -> concurrent.futures.Future[_Result]:
        """Run a coroutine on the loop and return a future for its result. Cancelling the future cancels the coroutine.

        Raises:
            BridgeClosedError: As for `spawn`.
        """
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        cancel = self.spawn(work, on_end=lambda task: _finish(future, task))
        future.add_done_callback(lambda done: cancel() if done.cancelled() else None)
        return future

    def close(self) -> None:
        """Cancel all tasks in flight, wait for them, and end the thread. Closing twice is allowed."""
        with self._lock:
            is_first = self.is_usable
            self._is_closing = True
            if is_first:
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._pid == os.getpid() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_TIMEOUT + 1.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        serving = self._loop.create_task(self._serve())
        try:
            while not serving.done():
                # asyncio stops the loop if user code raises one of these. The task has it as its outcome, and the others go on.
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    self._loop.run_until_complete(serving)
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
            # No caller receives this thread's errors, and the loop must close in any case.
            logger.warning("Closing the client failed: %s", type(failure).__name__)

    async def _cancel_tasks(self) -> None:
        """Cancel the spawned tasks and wait until they have ended.

        Tasks that libraries created are left alone: their owners cancel them in the order they need.
        """
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # lets the callbacks of the last one run


def _finish(future: concurrent.futures.Future[_Result], task: asyncio.Task[_Result]) -> None:
    """Copy the outcome of a task to a future of another thread."""
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
    """The known limits (pace) of one server and account. They are replaced when the server or the credential changes.

    Args:
        kept: The dump of a previous runtime of this kernel, or None. It contains no credential, so the first connection to
            its server is assumed to use the same account.
    """

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self._base_url: str | None = kept.get("base_url")
        self._connection: Connection | None = None
        self._pace = ServerPace(kept.get("classes"))

    def holds_for(self, connection: Connection) -> bool:
        """Whether the known pace applies to the server and account of a connection; True if none is known."""
        if self._connection is not None:
            return connection.is_same_account(self._connection)
        return self._base_url in (None, connection.config.base_url)

    def for_connection(self, connection: Connection) -> ServerPace:
        """Return the pace for the server of a connection. Call it on the bridge's loop."""
        if not self.holds_for(connection):
            self._pace = ServerPace()
        self._connection, self._base_url = connection, connection.config.base_url
        return self._pace

    @property
    def state(self) -> tuple[PaceState, ...]:
        """The pace of each model class that was used. Any thread may read it."""
        return self._pace.state

    def dump(self) -> Mapping[str, Any]:
        """Return the known limits and their server as plain data for the next runtime."""
        return {"base_url": self._base_url, "classes": self._pace.dump()}


class SharedClient:
    """Lends the client to requests. Use it on the bridge's loop only.

    When the settings have changed, the next request gets a new client. Requests in flight finish on the old one, which is
    closed after the last of them. The bucket and the known limits of the server outlive all clients.

    Args:
        bucket: The limiter that all clients share.
        known_pace: The known limits of the server.
        notify_user: Called with a message for the user when the connection to a shared limiter is lost or restored.
    """

    def __init__(
        self, bucket: TokenBucket, known_pace: KnownPace, notify_user: Callable[[str], None]
    ) -> None:
        self._bucket = bucket
        self._notify_user = notify_user
        self._known_pace = known_pace
        self._common: dict[tuple[str, str], RedisBucket] = {}
        self._current: _RefCountedClient | None = None
        self._retired: set[_RefCountedClient] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lend(self, connection: Connection) -> AsyncIterator[HTTPClaudeClient]:
        """Lend the client for a connection while the context is open."""
        entry = self._client_for(connection)
        config = connection.config
        entry.client.bucket.reconfigure(config.rate_limit_rps, config.rate_limit_capacity)
        entry.users += 1
        try:
            yield entry.client
        finally:
            entry.users -= 1
            if entry in self._retired and not entry.users:
                self._close(entry)

    async def aclose(self) -> None:
        """Close all connections. The next request gets a new client."""
        if self._current is not None:
            self._close(self._current)
            self._current = None
        for entry in tuple(self._retired):
            self._close(entry)
        if self._closing:
            await asyncio.wait(self._closing)
        common, self._common = self._common, {}
        for bucket in common.values():
            await bucket.aclose()

    @property
    def bucket(self) -> TokenBucket:
        """The limiter of the client in use: of this process, or shared with other processes. Any thread may read it."""
        return self._bucket if self._current is None else self._current.client.bucket

    def _bucket_for(self, connection: Connection) -> TokenBucket:
        """Return the limiter for a connection."""
        limiter = connection.config.limiter
        if limiter is None:
            return self._bucket
        server = "simulator" if connection.is_simulated else None  # all simulators count as one server
        made = RedisBucket.of(connection.config, connection.credential, server)
        made.notify_user = self._notify_user
        return self._common.setdefault((limiter, made.account), made)

    def _client_for(self, connection: Connection) -> _RefCountedClient:
        current = self._current
        if current is not None and not connection.needs_other_client_than(current.connection):
            return current
        if not self._known_pace.holds_for(connection):
            # A pause that one server requested does not apply to the next, even if the client was closed in between.
            self._bucket.resume()
        client = HTTPClaudeClient(
            connection.config,
            connection.credential,
            bucket=self._bucket_for(connection),
            pace=self._known_pace.for_connection(connection),
        )
        self._current = _RefCountedClient(connection, client)
        if current is not None:
            self._retire(current)
        return self._current

    def _retire(self, entry: _RefCountedClient) -> None:
        self._retired.add(entry)
        if not entry.users:
            self._close(entry)

    def _close(self, entry: _RefCountedClient) -> None:
        """Close a client in its own task, which outlives a cancelled caller."""
        self._retired.discard(entry)
        task = asyncio.get_running_loop().create_task(entry.client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _RefCountedClient:
    """A client, the connection it was built from, and its number of users."""

    def __init__(self, connection: Connection, client: HTTPClaudeClient) -> None:
        self.connection = connection
        self.client = client
        self.users = 0


ClientContext: TypeAlias = AbstractAsyncContextManager[ClaudeClient]
"""Lends the client that answers, while the context is open."""


class Source(abc.ABC):
    """The source of answers: the server, or a cassette in front of it. The settings of the request decide.

    Args:
        settings: The settings.
        connector: Makes the connection.

    Attributes:
        is_simulated: The embedded simulator is known to answer.
        redact: Removes the API key from text.

    Raises:
        ConfigurationError: There is no key, and replay is off.
    """

    def __init__(self, settings: ResolvedSettings, connector: Connector) -> None:
        found = None if settings.values.replay == "only" else connector.find_credential()
        self.is_simulated = connector.is_demo(settings, found)
        self.redact = partial(redact_key, found=found, secrets=settings.values.secrets)
        self._connect = partial(connector.connect, settings, found)

    @abc.abstractmethod
    def client(self, shared: SharedClient) -> ClientContext:
        """Return the client that answers. `shared` lends the one that sends."""


class DirectSource(Source):
    """The server: the shared client answers."""

    def __init__(self, settings: ResolvedSettings, connector: Connector) -> None:
        super().__init__(settings, connector)
        self._connection = self._connect()

    def client(self, shared: SharedClient) -> ClientContext:
        return shared.lend(self._connection)


class CassetteSource(Source):
    """A cassette: a `ReplayClient` answers. It borrows the shared client for the first request that the cassette lacks."""

    def __init__(self, settings: ResolvedSettings, connector: Connector, cassettes: Cassettes) -> None:
        super().__init__(settings, connector)
        self._settings = settings.values
        self._cassette = cassettes.at(self._settings.cassette)

    def client(self, shared: SharedClient) -> ClientContext:
        return ReplayClient(self._cassette, self._settings, partial(self._lend, shared), self.redact)

    @contextlib.asynccontextmanager
    async def _lend(self, shared: SharedClient) -> AsyncIterator[HTTPClaudeClient]:
        # On a thread, because it may start the simulator.
        connection = await asyncio.get_running_loop().run_in_executor(None, self._connect)
        async with shared.lend(connection) as client:
            yield client


class Engine:
    """Runs coroutines with the shared client on the bridge. Every method may be called from any thread.

    Args:
        kept: The limiter state of a previous engine of this kernel (`dump`), or None.
        rate: Returns the requests per second of the settings, for a new bucket.
        notify_user: Called on the bridge with a message for the user when the connection to a shared limiter is lost or
            restored.
        before_close: Awaited on the bridge before the client is closed.
    """

    def __init__(
        self,
        kept: Mapping[str, Any] | None,
        rate: Callable[[], float],
        notify_user: Callable[[str], None],
        before_close: Callable[[], Awaitable[None]],
    ) -> None:
        self._rate = rate
        self._notify_user = notify_user
        self._before_close = before_close
        kept = kept or {}
        self._bucket_state: Mapping[str, float] | None = kept.get("bucket")
        self._known_pace = KnownPace(kept.get("pace"))
        self._bucket: TokenBucket | None = None
        self._bridge: Bridge | None = None
        self._shared: SharedClient | None = None
        self._lock = threading.RLock()

    @property
    def is_running(self) -> bool:
        """Whether the thread and the client exist."""
        return self._bridge is not None and self._bridge.is_usable

    def spawn(
        self,
        source: Source,
        work: Callable[[ClientContext], Coroutine[Any, Any, _Result]],
        *,
        on_end: Callable[[asyncio.Task[_Result]], None],
    ) -> Callable[[], None]:
        """Run a coroutine and return a function that cancels it. See `Bridge.spawn`.

        Args:
            source: Source of the client.
            work: Called with the client's context; returns the coroutine.
            on_end: Called on the bridge with the task when it has ended.
        """
        with self._lock:
            bridge, shared = self._started()
            return bridge.spawn(work(source.client(shared)), on_end=on_end)

    def submit(
        self, source: Source, work: Callable[[ClientContext], Coroutine[Any, Any, _Result]]
    ) -> concurrent.futures.Future[_Result]:
        """Run a coroutine and return a future for its result. Arguments as for `spawn`."""
        with self._lock:
            bridge, shared = self._started()
            return bridge.submit(work(source.client(shared)))

    def limiter_state(self) -> BucketState:
        """Return level, queue and pause of the bucket in use; creates one if needed."""
        with self._lock:
            return self._own_bucket().state if self._shared is None else self._shared.bucket.state

    @property
    def limiter_problem(self) -> str | None:
        """A sentence that explains why the limiter is not shared as configured; None if it is."""
        bucket = None if self._shared is None else self._shared.bucket
        return bucket.problem if isinstance(bucket, RedisBucket) else None

    def pace_state(self) -> tuple[PaceState, ...]:
        """Return the server's pace for each model class that was used."""
        return self._known_pace.state

    def close(self) -> None:
        """Cancel all tasks, and end client and thread. The next task starts new ones. The limiters are kept."""
        with self._lock:
            bridge, self._bridge, self._shared = self._bridge, None, None
            if bridge is not None:
                bridge.close()

    def dump(self) -> Mapping[str, Any]:
        """Return the state of the limiters as plain data for the engine of another runtime."""
        bucket = self._bucket_state if self._bucket is None else self._bucket.dump()
        return {"bucket": bucket, "pace": self._known_pace.dump()}

    def _started(self) -> tuple[Bridge, SharedClient]:
        if self._bridge is None or self._shared is None or not self._bridge.is_usable:
            self._shared = SharedClient(self._own_bucket(), self._known_pace, self._notify_user)
            self._bridge = Bridge(on_close=partial(self._close_shared, self._shared))
        return self._bridge, self._shared

    async def _close_shared(self, shared: SharedClient) -> None:
        await self._before_close()
        await shared.aclose()

    def _own_bucket(self) -> TokenBucket:
        if self._bucket is None:
            self._bucket = TokenBucket(self._rate())
            if self._bucket_state is not None:
                self._bucket.restore(self._bucket_state)
        return self._bucket
