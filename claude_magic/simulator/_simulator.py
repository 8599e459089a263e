"""The simulator as its users hold it: a context manager around a server thread."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from .._version import __version__
from ._batches import Batch, BatchScript, Endpoint
from ._conversation import take_directive
from ._scenarios import Scenario, as_usual, find_scenario, scenario
from ._server import READ_TIMEOUT, Connection, RecordedRequest, ServerState
from ._service import Limits, MessageService
from ._stream import Behaviour, Post, refuse
from ._wire import BATCHES_PATH, APIError, Request, Steps, body_steps, json_steps, new_id, opaque

MARK_HEADER = "claude-magic-simulator"
SCENARIO_HEADER = "x-simulator-scenario"
MAX_ATTEMPTS = 10_000
ORGANIZATION_ID = opaque("organization")


class API:
    """Answers requests with steps; knows nothing of sockets."""

    def __init__(self, service: MessageService, *, chunk_delay: float, scenario_name: str | None) -> None:
        self._service = service
        self._chunk_delay = chunk_delay
        self._standing = None if scenario_name is None else scenario(scenario_name)
        self._scripted: deque[Behaviour] = deque()
        self._attempts: dict[tuple[str, bytes], int] = {}
        """How often each request met a scenario; the oldest are forgotten."""

    def script(self, behaviours: Sequence[Behaviour | Scenario]) -> None:
        """Queue behaviours; a scenario of several attempts is several behaviours."""
        for behaviour in behaviours:
            self._scripted.extend(behaviour.behaviours if isinstance(behaviour, Scenario) else (behaviour,))

    def clear(self) -> None:
        """Forget what was scripted and what was seen."""
        self._scripted.clear()
        self._attempts.clear()
        self._service.clear()

    def respond(self, request: Request) -> Steps:
        """The steps that answer a request."""
        request_id = new_id("req")
        headers = {
            "request-id": request_id,
            "anthropic-organization-id": ORGANIZATION_ID,
            MARK_HEADER: __version__,
        }
        try:
            if request.fault is not None:
                raise request.fault
            yield from self._route(request, request_id, headers)
        except APIError as fault:
            yield from refuse(fault, request_id, headers)

    def _route(self, request: Request, request_id: str, headers: dict[str, str]) -> Steps:
        if (request.method, request.path) == ("POST", "/v1/messages"):
            return self._create_message(request, request_id, headers)
        if request.path.startswith(f"{BATCHES_PATH}/") or request.path == BATCHES_PATH:
            return self._service.answer_batches(request, request_id, headers)
        if request.method == "OPTIONS":
            return body_steps(200, b"", {**headers, "allow": "GET, HEAD, OPTIONS, POST"})
        return json_steps(200, self._service.other(request), headers)

    def _create_message(self, request: Request, request_id: str, headers: dict[str, str]) -> Steps:
        behaviour, request = self._behaviour(request)
        return behaviour(
            Post(
                request=request,
                request_id=request_id,
                chunk_delay=self._chunk_delay,
                headers=headers,
                answer=lambda: self._service.create(request),
            )
        )

    def _behaviour(self, request: Request) -> tuple[Behaviour, Request]:
        """What was scripted, else what the request asks for itself, else what always holds."""
        name, undirected = take_directive(request)
        if self._scripted:
            return self._scripted.popleft(), undirected
        named = request.headers.get(SCENARIO_HEADER) or name
        if named is not None:
            return self._next_attempt(find_scenario(named), request), undirected
        if self._standing is not None:
            return self._next_attempt(self._standing, request), undirected
        return as_usual, undirected

    def _next_attempt(self, chosen: Scenario, request: Request) -> Behaviour:
        """The scenario's behaviour for this repetition of the request."""
        key = (chosen.name, hashlib.sha256(request.raw_body).digest())
        attempt = self._attempts.get(key, 0)
        if attempt < len(chosen.behaviours):
            self._attempts[key] = attempt + 1
            if len(self._attempts) > MAX_ATTEMPTS:
                del self._attempts[next(iter(self._attempts))]
            return chosen.behaviours[attempt]
        if chosen.recovers:
            del self._attempts[key]  # the next run of the same cell meets the trouble again
            return as_usual
        return chosen.behaviours[-1]


HOST = "127.0.0.1"
STARTUP_TIMEOUT = 10.0
CLOSING_TIMEOUT = 5.0
BACKLOG = 512


class Simulator:
    """A stand-in for the Messages API on a loopback port, in a thread of its own.

    ```python
    with Simulator() as sim:
        sim.script(status(529), status(429, retry_after=1))
        ...  # use sim.url as the base URL, then ask sim.requests what arrived
    ```

    Its methods may be called from any thread. Closing it ends open streams at once.

    Args:
        port: The port on 127.0.0.1; 0 takes any free one.
        chunk_delay: Seconds between two deltas of a stream.
        api_key: The only key that is accepted; by default any is that does not contain "invalid".
        scenario: The named scenario that every request meets which asks for no other.
        requests_per_minute: The rate limit of each class of models; by default nothing is refused, though the
            headers count.
        input_tokens_per_minute: As above, for uncached input tokens.
        output_tokens_per_minute: As above, for output tokens.
        burst: The most requests at once, where that is less than a minute's worth. The headers do not tell of it.
        batch_seconds: How long a batch of messages takes.
        clock: The time in seconds by which limits refill, cached prompts expire and batches proceed, for tests.
        max_recorded: How many of the latest requests are kept in `requests`; 0 keeps none.
        max_recorded_bytes: How many bytes they may take together; the oldest are forgotten first.
        read_timeout: Seconds that a request may take from its first byte to its last.

    Raises:
        OSError: The port is taken.
        ValueError: No scenario has that name.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        chunk_delay: float = 0.0,
        api_key: str | None = None,
        scenario: str | None = None,
        requests_per_minute: int | None = None,
        input_tokens_per_minute: int | None = None,
        output_tokens_per_minute: int | None = None,
        burst: int | None = None,
        batch_seconds: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        max_recorded: int = 10_000,
        max_recorded_bytes: int = 64 * 1024 * 1024,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._wanted_port = port
        limits = Limits(
            requests_per_minute=requests_per_minute,
            input_tokens_per_minute=input_tokens_per_minute,
            output_tokens_per_minute=output_tokens_per_minute,
            burst=burst,
        )
        service = MessageService(api_key=api_key, limits=limits, clock=clock, batch_seconds=batch_seconds)
        self._batches = service.batches
        self._api = API(service, chunk_delay=chunk_delay, scenario_name=scenario)
        self._state = ServerState(
            self._api.respond,
            max_recorded=max_recorded,
            max_recorded_bytes=max_recorded_bytes,
            read_timeout=read_timeout,
        )
        self._thread: _ServerThread | None = None

    def __repr__(self) -> str:
        where = self.url if self._thread is not None else "not started"
        return f"<Simulator {where}, {self._state.received} requests>"

    # Life.

    def start(self) -> Self:
        """Begin to serve; returns when the port answers."""
        if self._thread is None:
            self._thread = _ServerThread(self._state, _listen(self._wanted_port))
            # Also at interpreter exit, where nobody closed it.
            self._finalizer = weakref.finalize(self, self._thread.stop)
        return self

    def close(self) -> None:
        """Stop serving and end every connection; closing twice is fine."""
        if self._thread is not None:
            self._finalizer()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.close()

    # Where it is.

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        if self._thread is None:
            raise RuntimeError("The simulator has no port yet: start it, or use it in a with statement.")
        return self._thread.port

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return f"http://{HOST}:{self.port}"

    # What it saw.

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, oldest first; a copy of the list, with live entries."""
        return list(self._state.requests)

    @property
    def batches(self) -> list[Batch]:
        """The batches that were accepted, and not deleted since, oldest first."""
        return self._batches.all()

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted so far."""
        return self._state.accepted

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open now."""
        return len(self._state.connections)

    # What it does.

    def script(self, *behaviours: Behaviour | Scenario) -> None:
        """Queue behaviours: each POST to `/v1/messages` from now on takes one; then it answers as usual."""
        self._api.script(behaviours)

    def script_batch(self, script: BatchScript) -> None:
        """Let the next batch that is created fare so."""
        self._batches.script(script)

    def script_batch_calls(self, endpoint: Endpoint, *behaviours: Behaviour) -> None:
        """Queue behaviours for the calls of one batch endpoint: "create", "retrieve", "list", "results", "cancel" or "delete"."""
        self._batches.behave(endpoint, *behaviours)

    def clear(self) -> None:
        """Forget what was scripted and not yet taken, the requests, batches, cached prompts and used-up limits."""
        self._api.clear()
        self._state.forget()


class _ServerThread:
    """A daemon thread that runs the server's event loop."""

    def __init__(self, state: ServerState, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self._state = state
        self._listener = listener
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_serving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claude-magic-simulator", daemon=True)
        self._thread.start()
        if not self._is_serving.wait(STARTUP_TIMEOUT):
            raise RuntimeError(f"The simulator's thread did not start within {STARTUP_TIMEOUT:.0f} s.")

    def stop(self) -> None:
        """End the loop and wait for its thread, which a forked child does not have."""
        if os.getpid() != self._pid:
            self._listener.close()
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSING_TIMEOUT)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(
            lambda: Connection(self._state), sock=self._listener, backlog=BACKLOG
        )
        self._is_serving.set()
        await self._stop.wait()
        while self._is_accepting():  # noqa: ASYNC110 (asyncio tells nobody when it has accepted)
            await asyncio.sleep(0)
        server.close()
        while self._state.connections:
            for connection in tuple(self._state.connections):
                connection.abort()
            await asyncio.sleep(0)

    def _is_accepting(self) -> bool:
        """Whether asyncio is still making transports; it leaks the ones for which the server closes too early."""
        busy = {connection.task for connection in self._state.connections} | {asyncio.current_task()}
        return bool(asyncio.all_tasks() - busy)


def _listen(port: int) -> socket.socket:
    # Naming the protocol is what lets asyncio set TCP_NODELAY on what is accepted here.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # elsewhere the option would let two servers share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            text = (
                f"Port {port} on {HOST} is in use by another program. Choose another, or 0 for any free one."
            )
            raise OSError(errno.EADDRINUSE, text) from None
        raise
    listener.setblocking(False)
    return listener
