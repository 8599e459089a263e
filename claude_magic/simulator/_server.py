"""HTTP/1.1 server: one `Connection` per client, with h11 for the framing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import h11

from ._checks import find_foreign_request
from ._wire import (
    BATCHES_PATH,
    APIError,
    Chunk,
    HangUp,
    Head,
    Hold,
    Pause,
    Request,
    Step,
    Steps,
    read_json,
    split_target,
)

_BYTES_PER_RECORD = 1_000
"""Approximate size of header names and Python's overhead."""


@dataclass(slots=True, kw_only=True)
class RecordedRequest:
    """A received request and the state of its response."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    raw_body: bytes
    received_at: float
    """`time.monotonic()` when the request had been read completely."""
    connection: int
    """Number of the TCP connection, counted from 1."""
    status: int | None = None
    """The status that was sent; None before the response head."""
    is_finished: bool = False
    """Whether the response was sent completely."""
    client_gone: bool = False
    """Whether the client closed the connection before the response was complete."""
    failure: str | None = None
    """An exception in the simulator, as text: a bug in the simulator or in a script. Normally None."""

    @property
    def body(self) -> Any:
        """The body as JSON, or None if it is not JSON. Parsed at each access, because the result takes more memory."""
        return read_json(self.raw_body)

    @property
    def size(self) -> int:
        """Approximate memory size in bytes."""
        return _BYTES_PER_RECORD + len(self.raw_body) + sum(map(len, self.headers.values()))


MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_DRAINED_BYTES = 2 * MAX_BODY_BYTES
"""Maximum number of bytes of an oversized body that are read and discarded, so that the client can read the error."""
MAX_BATCH_BYTES = 256 * 1024 * 1024
"""Maximum body size of a message batch, whose requests are parsed one by one."""
MAX_HELD_BYTES = {False: 4 * MAX_BODY_BYTES, True: 2 * MAX_BATCH_BYTES}
"""Maximum total size of the bodies of all requests in flight: of batches (True) and of all others (False)."""
MAX_VALUES = 1_000_000
"""Maximum number of values in a body: a value of two bytes takes far more memory once parsed."""
MAX_HEADER_BYTES = 256 * 1024
MAX_EARLY_BYTES = 1024 * 1024
"""Maximum number of bytes that a client may send before the response to its last request is complete."""
MAX_CONNECTIONS = 1_000
READ_TIMEOUT = 60.0
"""Maximum seconds from the first to the last byte of a request."""
IDLE_TIMEOUT = 600.0
"""Seconds after which a connection without a request is closed."""
CHUNKS_BETWEEN_YIELDS = 16
"""Number of chunks after which a stream without pauses yields to other tasks."""

GATE_POLL_INTERVAL = 0.005

Responder = Callable[[Request], Steps]


class ServerState:
    """State that all connections of a server share. Used only in the server's event loop."""

    def __init__(
        self,
        respond: Responder,
        *,
        max_recorded: int,
        max_recorded_bytes: int,
        read_timeout: float,
    ) -> None:
        self.respond = respond
        self.read_timeout = read_timeout
        self._max_recorded = max_recorded
        self._max_recorded_bytes = max_recorded_bytes
        self.requests: list[RecordedRequest] = []
        self._recorded_bytes = 0
        self.received = 0
        self.held_bytes = {False: 0, True: 0}
        """Total size of held bodies: of batches (True) and of all others (False)."""
        self.accepted = 0
        self.connections: set[Connection] = set()

    def record(self, request: Request, connection: int) -> RecordedRequest:
        """Record a request, and drop the oldest ones beyond the limits."""
        recorded = RecordedRequest(
            method=request.method,
            path=request.path,
            headers=dict(request.headers),
            raw_body=request.raw_body,
            received_at=time.monotonic(),
            connection=connection,
        )
        self.received += 1
        self.requests.append(recorded)
        self._recorded_bytes += recorded.size
        while self.requests and (
            len(self.requests) > self._max_recorded or self._recorded_bytes > self._max_recorded_bytes
        ):
            self._recorded_bytes -= self.requests.pop(0).size
        return recorded

    def forget(self) -> None:
        """Drop all recorded requests."""
        self.requests.clear()
        self._recorded_bytes = self.received = 0


class Connection(asyncio.Protocol):
    """A client's connection, from accept to close."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._transport: asyncio.Transport
        self._number = 0
        self._incoming: _IncomingRequest | None = None
        self._response: _Response | None = None
        self.task: asyncio.Task[None] | None = None
        """The task that sends the response, if any."""
        self._is_half_closed = False
        self._is_reading = False
        self._early_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._can_write = asyncio.Event()
        self._can_write.set()

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving a client."""
        self._transport = cast(asyncio.Transport, transport)
        if len(self._state.connections) >= MAX_CONNECTIONS:
            self._transport.abort()
            return
        self._state.accepted += 1
        self._number = self._state.accepted
        self._state.connections.add(self)
        self._set_timeout(IDLE_TIMEOUT, self._transport.close)

    def data_received(self, data: bytes) -> None:
        """Process bytes of a request."""
        if self._response is not None:
            self._early_bytes += len(data)
        if self._is_half_closed or self._early_bytes > MAX_EARLY_BYTES:
            self._transport.abort()
            return
        self._h11.receive_data(data)
        self._read_events()

    def eof_received(self) -> bool:
        """Treat a half-closed connection as closed by the client."""
        self._on_client_close()
        return False

    def connection_lost(self, _exception: Exception | None) -> None:
        """Clean up after either side has closed the connection."""
        self._on_client_close()
        self._can_write.set()
        self._set_timeout(None)
        self._release()
        self._state.connections.discard(self)

    def pause_writing(self) -> None:
        """Pause sending: the client reads slower than the server writes."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Resume sending."""
        self._can_write.set()

    def abort(self) -> None:
        """Abort the connection because the server closes."""
        if self.task is not None:
            self.task.cancel()
        self._response = None  # so that it does not count as closed by the client
        self._transport.abort()

    # Timeouts and memory.

    def _set_timeout(self, seconds: float | None, give_up: Callable[[], object] | None = None) -> None:
        """Set the connection's only timer; None clears it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None and give_up is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, give_up)

    def _on_read_timeout(self) -> None:
        seconds = self._state.read_timeout
        self._refuse(f"The request was not complete after {seconds:g} s.", HTTPStatus.REQUEST_TIMEOUT)

    def _release(self) -> None:
        """Release the body of the last request."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.release()

    # Reading requests.

    def _read_events(self) -> None:
        try:
            while self._response is None:
                event = self._h11.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    break
                self._take(event)
            if self._h11.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
        except h11.RemoteProtocolError as error:
            self._refuse(f"Bad request: {error}", error.error_status_hint)
            return
        has_begun = self._incoming is not None or bool(self._h11.trailing_data[0])
        if has_begun and self._response is None and not self._is_reading:
            self._is_reading = True
            self._set_timeout(self._state.read_timeout, self._on_read_timeout)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._incoming = _IncomingRequest(event, self._state)
        elif self._incoming is not None and isinstance(event, h11.Data):
            self._incoming.add(event.data)
        is_complete = isinstance(event, h11.EndOfMessage)
        if self._incoming is not None and (is_complete or self._incoming.is_oversized):
            self._set_timeout(None)
            self._is_reading = False
            self._begin_response(self._incoming.request())

    def _refuse(self, reason: str, status: int) -> None:
        body = f"{reason}\n".encode()
        headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
        headers.append(("connection", "close"))
        with contextlib.suppress(h11.LocalProtocolError):
            self._send(h11.Response(status_code=status, headers=headers))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        self._transport.close()

    def _send(self, event: h11.Event) -> None:
        self._transport.write(self._h11.send(event) or b"")

    # Responding.

    def _begin_response(self, request: Request) -> None:
        recorded = self._state.record(request, self._number)
        self._response = _Response(request, recorded, self._h11, self._transport, self._can_write)
        self.task = asyncio.get_running_loop().create_task(self._respond(request, self._response))

    async def _respond(self, request: Request, response: _Response) -> None:
        try:
            await response.perform(self._state.respond(request))
        except Exception as error:  # recorded, because the simulator prints nothing
            response.recorded.failure = repr(error)
            self._transport.abort()
        finally:
            self._release()
        is_abandoned = self._transport.is_closing() and self._response is response and not response.has_ended
        response.recorded.client_gone = is_abandoned and response.recorded.failure is None
        self._response = None
        self._is_half_closed = response.is_half_closed
        if self._is_half_closed or self._transport.is_closing():
            return
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._set_timeout(IDLE_TIMEOUT, self._transport.close)
            self._h11.start_next_cycle()
            self._early_bytes = len(self._h11.trailing_data[0])
            self._read_events()
        else:
            self._transport.close()

    def _on_client_close(self) -> None:
        response, self._response = self._response, None
        if response is None or self.task is None:
            return
        response.recorded.client_gone = not response.has_ended
        self.task.cancel()


class _IncomingRequest:
    """A request while it is received. The body of a rejected request is discarded.

    Args:
        head: The request head.
        state: The shared state, which counts the bytes of all bodies.
    """

    def __init__(self, head: h11.Request, state: ServerState) -> None:
        self._method = head.method.decode("ascii")
        self._target = head.target.decode("latin-1")
        self._headers = _joined_headers(head)
        self._state = state
        self._body = bytearray()
        self._fault = find_foreign_request(self._target, self._headers)
        self._is_batch = (self._method, split_target(self._target).path) == ("POST", BATCHES_PATH)
        self._most = MAX_BATCH_BYTES if self._is_batch else MAX_BODY_BYTES
        most_drained = self._most + MAX_DRAINED_BYTES - MAX_BODY_BYTES
        self._left_to_drain = most_drained
        if sum(map(len, self._headers.values())) > MAX_HEADER_BYTES:
            # h11 checks the size only while the head is incomplete.
            self._drop(APIError(431, "Request header fields are too large"))
        declared = int(self._headers.get("content-length", "0"))
        self.is_oversized = declared > most_drained
        """Whether the body is too large to be read to its end."""
        if declared > self._most:
            self._drop(APIError(413))

    def add(self, data: bytes | bytearray) -> None:
        """Append bytes of the body, within the limits."""
        self._left_to_drain -= len(data)
        self.is_oversized = self.is_oversized or self._left_to_drain < 0
        if self._fault is not None:
            return
        if len(self._body) + len(data) > self._most:
            self._drop(APIError(413))
        elif self._state.held_bytes[self._is_batch] + len(data) > MAX_HELD_BYTES[self._is_batch]:
            self._drop(APIError(529, "Overloaded: the simulator holds too many large requests at once"))
        else:
            self._state.held_bytes[self._is_batch] += len(data)
            self._body += data

    def _drop(self, fault: APIError) -> None:
        self._fault = self._fault or fault
        self.release()

    def release(self) -> None:
        """Release the body."""
        self._state.held_bytes[self._is_batch] -= len(self._body)
        self._body = bytearray()

    def request(self) -> Request:
        """Return the complete request."""
        is_long = len(self._body) > MAX_VALUES and not self._is_batch
        if is_long and sum(map(self._body.count, (b"[", b"{", b","))) > MAX_VALUES:
            self._drop(APIError(413, f"Request exceeds the maximum of {MAX_VALUES:,} values"))
        return Request(
            method=self._method,
            target=self._target,
            headers=self._headers,
            raw_body=bytes(self._body),
            fault=self._fault,
        )


def _joined_headers(head: h11.Request) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in head.headers:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ",".join(each) for name, each in values.items()}


class _Response:
    """A response in progress, which performs its steps."""

    def __init__(
        self,
        request: Request,
        recorded: RecordedRequest,
        protocol: h11.Connection,
        transport: asyncio.Transport,
        can_write: asyncio.Event,
    ) -> None:
        self.recorded = recorded
        self.is_half_closed = False
        self._has_hung_up = False
        self._has_body = request.method != "HEAD"
        self._h11 = protocol
        self._transport = transport
        self._can_write = can_write
        self._is_raw = False

    @property
    def has_ended(self) -> bool:
        """Whether the response is complete or has hung up."""
        return self.recorded.is_finished or self._has_hung_up

    async def perform(self, steps: Steps) -> None:
        """Perform all steps, then end the body if no step has ended it."""
        unpaced = 0
        for step in steps:
            await self._perform_one(step)
            unpaced = unpaced + 1 if isinstance(step, Chunk) else 0
            if unpaced >= CHUNKS_BETWEEN_YIELDS:
                await asyncio.sleep(0)
                unpaced = 0
            if self._transport.is_closing():
                return
        self._finish()

    async def _perform_one(self, step: Step) -> None:
        if isinstance(step, Chunk):
            await self._can_write.wait()
            self._write(step.data)
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Head):
            self._begin(step)
        elif isinstance(step, Hold):
            while not step.gate.is_open:  # noqa: ASYNC110 (a gate is opened from any thread)
                await asyncio.sleep(GATE_POLL_INTERVAL)
        elif isinstance(step, HangUp):
            self._hang_up(step)
        else:
            self._finish()

    def _begin(self, head: Head) -> None:
        self.recorded.status = head.status
        response = h11.Response(
            status_code=head.status, headers=list(head.headers), reason=_reason_phrase(head.status)
        )
        encoded = self._h11.send(response) or b""
        if head.is_close_delimited:
            # h11 would use chunked encoding for an HTTP/1.1 client, so the body is written directly.
            self._is_raw = True
            encoded = encoded.replace(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n")
        self._transport.write(encoded)

    def _write(self, data: bytes) -> None:
        if self._has_body:
            self._transport.write(data if self._is_raw else self._h11.send(h11.Data(data=data)) or b"")

    def _finish(self) -> None:
        if self.recorded.is_finished:
            return
        self.recorded.is_finished = True
        if self._is_raw:
            self._transport.close()
        else:
            self._transport.write(self._h11.send(h11.EndOfMessage()) or b"")

    def _hang_up(self, step: HangUp) -> None:
        self._has_hung_up = True
        if step.how == "half":
            self.is_half_closed = True
            self._transport.write_eof()
        elif step.how == "close":
            self._transport.close()
        else:
            _reset(self._transport)


def _reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset, which the client sees as an error."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _reason_phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Overloaded" if status == 529 else b"Unknown"
