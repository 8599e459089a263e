"""Fixtures for the client's tests: a simulator, clients that record their back-off, raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from claude_magic.client import ClientConfig, Credential, HTTPClaudeClient, MessageRequest
from claude_magic.simulator import Simulator

KEY = "sk-ant-test-0123456789abcdef"
TEST_TIMEOUT = 30.0

Result = TypeVar("Result")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Play(Protocol):
    """A runner for a test's coroutine on a new loop, with a timeout, which checks that no task is left."""

    def __call__(self, main: Callable[[], Coroutine[Any, Any, Result]]) -> Result: ...


class MakeClient(Protocol):
    """A factory of clients for a URL; keyword arguments are settings."""

    def __call__(
        self, url: str, *, credential: Credential | None = ..., **settings: Any
    ) -> HTTPClaudeClient: ...


class Serve(Protocol):
    """A factory of raw socket servers with a handler, as async context managers that return the URL."""

    def __call__(self, handler: Handler) -> contextlib.AbstractAsyncContextManager[str]: ...


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxy variables of the developer's environment."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A new simulator for each test."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sleeps() -> list[float]:
    """The waits between attempts that clients of `make_client` chose, recorded without sleeping."""
    return []


@pytest.fixture
def make_client(sleeps: list[float]) -> MakeClient:
    """Create clients with a fast limiter, and back-off recorded in `sleeps`."""

    async def note(delay: float) -> None:
        sleeps.append(delay)
        await asyncio.sleep(0)

    def make(url: str, *, credential: Credential | None = None, **settings: Any) -> HTTPClaudeClient:
        config = ClientConfig(**{"base_url": url, "rate_limit_rps": 10_000.0, "timeout": 10.0, **settings})
        return HTTPClaudeClient(config, credential or Credential(api_key=KEY), random=lambda: 0.0, sleep=note)

    return make


@pytest.fixture
def play() -> Play:
    """See `Play`."""

    async def bounded(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        async with asyncio.timeout(TEST_TIMEOUT):
            result = await main()
            for _ in range(100):  # what closes in the background needs a turn or two
                if len(asyncio.all_tasks()) == 1:
                    break
                await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()
        return result

    def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        return asyncio.run(bounded(main))

    return run


@pytest.fixture
def serve() -> Serve:
    """Raw socket servers, for behaviour that the simulator does not have."""

    @contextlib.asynccontextmanager
    async def serving(handler: Handler) -> AsyncIterator[str]:
        tasks: set[asyncio.Task[Any]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                with contextlib.suppress(
                    ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
                ):
                    await handler(reader, writer)
            finally:
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return serving


@pytest.fixture
def ask() -> Callable[..., MessageRequest]:
    """Return a small request."""

    def build(prompt: str = "Hello", **fields: Any) -> MessageRequest:
        values = {"model": "claude-haiku-5-5", "max_tokens": 1000, **fields}
        return MessageRequest(messages=[{"role": "user", "content": prompt}], **values)

    return build
