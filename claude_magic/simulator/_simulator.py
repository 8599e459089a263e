"""The `Simulator` class: a context manager around a server thread."""

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
from ._scenarios import Scenario, answer_normally, find_scenario, scenario
from ._server import READ_TIMEOUT, Connection, RecordedRequest, ServerState
from ._service import Limits, MessageService
from ._stream import Behaviour, Post, refuse
from ._wire import BATCHES_PATH, APIError, Request, Steps, body_steps, json_steps, new_id, opaque

MARK_HEADER = "claude-magic-simulator"
SCENARIO_HEADER = "x-simulator-scenario"
MAX_ATTEMPTS = 10_000
ORGANIZATION_ID = opaque("organization")


class API:
    """The API without sockets: requests in, steps out."""

    def __init__(self, service: MessageService, *, chunk_delay: float, scenario_name: str | None) -> None:
        self._service = service
        self._chunk_delay = chunk_delay
        self._default = None if scenario_name is None else scenario(scenario_name)
        self._scripted: deque[Behaviour] = deque()
        self._attempts: dict[tuple[str, bytes], int] = {}
        """Number of attempts per scenario and request; the oldest entries are dropped."""

    def script(self, behaviours: Sequence[Behaviour | Scenario]) -> None:
        """Queue behaviours; a scenario adds one behaviour per attempt."""
        for behaviour in behaviours:
            self._scripted.extend(behaviour.behaviours if isinstance(behaviour, Scenario) else (behaviour,))

    def clear(self) -> None:
        """Delete scripts, attempts and the state of the service."""
        self._scripted.clear()
        self._attempts.clear()
        self._service.clear()

    def respond(self, request: Request) -> Steps:
        """Return the steps that respond to a request."""
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
        """Return the scripted behaviour, else the one that the request names, else the default."""
        name, undirected = take_directive(request)
        if self._scripted:
            return self._scripted.popleft(), undirected
        named = request.headers.get(SCENARIO_HEADER) or name
        if named is not None:
            return self._next_attempt(find_scenario(named), request), undirected
        if self._default is not None:
            return self._next_attempt(self._default, request), undirected
        return answer_normally, undirected

    def _next_attempt(self, chosen: Scenario, request: Request) -> Behaviour:
        """Return the scenario's behaviour for this attempt."""
        key = (chosen.name, hashlib.sha256(request.raw_body).digest())
        attempt = self._attempts.get(key, 0)
        if attempt < len(chosen.behaviours):
            self._attempts[key] = attempt + 1
            if len(self._attempts) > MAX_ATTEMPTS:
                del self._attempts[next(iter(self._attempts))]
            return chosen.behaviours[attempt]
        if chosen.recovers:
            del self._attempts[key]  # so that the next run of the same cell fails again
            return answer_normally
        return chosen.behaviours[-1]


HOST = "127.0.0.1"
STARTUP_TIMEOUT = 10.0
CLOSING_TIMEOUT = 5.0
BACKLOG = 512


class Simulator:
    """A stand-in for the Messages API on a loopback port, in its own thread.

    ```python
    with Simulator() as sim:
        sim.script(status(529), status(429, retry_after=1))
        ...  # use sim.url as the base URL, then inspect sim.requests
    ```

    All methods are thread-safe. Closing ends open streams immediately.

    Args:
        port: The port on 127.0.0.1; 0 takes any free port.
        chunk_delay: Seconds between two deltas of a stream.
        api_key: The only valid key; by default any key is valid that does not contain "invalid".
        scenario: The default scenario, for requests that do not name one.
        requests_per_minute: The rate limit of each model class. By default no limit is enforced, but the headers
            report one.
        input_tokens_per_minute: As above, for uncached input tokens.
        output_tokens_per_minute: As above, for output tokens.
        burst: Maximum number of requests at once, if less than `requests_per_minute`. Not reported in headers.
        batch_seconds: Processing time of a message batch.
        clock: Returns the time in seconds, for rate limits, cached prompts and batches; tests can replace it.
        max_recorded: Maximum number of requests kept in `requests`; 0 keeps none.
        max_recorded_bytes: Maximum total size of these requests; the oldest are dropped first.
        read_timeout: Maximum seconds from the first to the last byte of a request.

    Raises:
        OSError: The port is taken.
        ValueError: There is no such scenario.
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

    # Start and close.

    def start(self) -> Self:
        """Start the server. Returns when the port accepts connections."""
        if self._thread is None:
            self._thread = _ServerThread(self._state, _listen(self._wanted_port))
            # Also runs at interpreter exit, if the simulator is still open.
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

    # Address.

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

    # Received requests.

    @property
    def requests(self) -> list[RecordedRequest]:
        """The recorded requests, oldest first: a copy of the list with live entries."""
        return list(self._state.requests)

    @property
    def batches(self) -> list[Batch]:
        """The accepted batches that have not been deleted, oldest first."""
        return self._batches.all()

    @property
    def connections(self) -> int:
        """Number of TCP connections accepted so far."""
        return self._state.accepted

    @property
    def open_connections(self) -> int:
        """Number of open TCP connections."""
        return len(self._state.connections)

    # Scripts.

    def script(self, *behaviours: Behaviour | Scenario) -> None:
        """Queue behaviours. Each POST to `/v1/messages` takes one; once the queue is empty, requests are answered normally."""
        self._api.script(behaviours)

    def script_batch(self, script: BatchScript) -> None:
        """Set the outcome of the next batch that is created."""
        self._batches.script(script)

    def script_batch_calls(self, endpoint: Endpoint, *behaviours: Behaviour) -> None:
        """Queue behaviours for the calls of one batch endpoint: "create", "retrieve", "list", "results", "cancel" or "delete"."""
        self._batches.behave(endpoint, *behaviours)

    def clear(self) -> None:
        """Delete scripts, recorded requests, batches and cached prompts, and reset the rate limits."""
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
        """Stop the event loop and wait for the thread. In a forked child, which has no such thread, only close the socket."""
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
        while self._is_accepting():  # noqa: ASYNC110 (asyncio does not notify after accepting)
            await asyncio.sleep(0)
        server.close()
        while self._state.connections:
            for connection in tuple(self._state.connections):
                connection.abort()
            await asyncio.sleep(0)

    def _is_accepting(self) -> bool:
        """Whether asyncio is still creating transports, which it leaks if the server closes before they are ready."""
        busy = {connection.task for connection in self._state.connections} | {asyncio.current_task()}
        return bool(asyncio.all_tasks() - busy)


def _listen(port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY on accepted sockets only if the protocol is explicit.
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
