"""Sockets: one `Connection` speaks HTTP/1.1 with one client, h11 does the framing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import h11

from ._exchange import Chunk, HangUp, Head, Hold, Pause, Request, Step, Steps
from ._recording import RecordedRequest

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_HEADER_BYTES = 256 * 1024
CHUNKS_BETWEEN_YIELDS = 16
"""An unpaced stream lets others run after this many chunks."""

GATE_POLL_INTERVAL = 0.005

Responder = Callable[[Request], Steps]


class ServerState:
    """What all connections of one server share; touched on the server's loop only."""

    def __init__(self, respond: Responder, *, max_recorded: int) -> None:
        self.respond = respond
        self.max_recorded = max_recorded
        self.requests: list[RecordedRequest] = []
        self.accepted = 0
        self.connections: set[Connection] = set()

    def record(self, request: Request, connection: int) -> RecordedRequest:
        """Keep a request, and forget the oldest ones beyond the limit."""
        recorded = RecordedRequest(
            method=request.method,
            path=request.path,
            headers=dict(request.headers),
            body=request.body,
            raw_body=request.raw_body,
            received_at=time.monotonic(),
            connection=connection,
        )
        self.requests.append(recorded)
        if len(self.requests) > self.max_recorded:
            del self.requests[: len(self.requests) - self.max_recorded]
        return recorded


class Connection(asyncio.Protocol):
    """One client's connection, from accept to close."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._transport: asyncio.Transport
        self._number = 0
        self._incoming: _Incoming | None = None
        self._response: _Response | None = None
        self.task: asyncio.Task[None] | None = None
        """What responds, if anything does."""
        self._is_half_closed = False
        self._can_write = asyncio.Event()
        self._can_write.set()

    # What asyncio tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a client."""
        self._transport = cast(asyncio.Transport, transport)
        self._state.accepted += 1
        self._number = self._state.accepted
        self._state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._is_half_closed:
            self._transport.abort()
            return
        self._h11.receive_data(data)
        self._read_events()

    def eof_received(self) -> bool:
        """Take the end of what the client has to say; it counts as its departure."""
        self._leave_to_client()
        return False

    def connection_lost(self, _exception: Exception | None) -> None:
        """Note that the connection is gone, by whomever."""
        self._leave_to_client()
        self._can_write.set()
        self._state.connections.discard(self)

    def pause_writing(self) -> None:
        """Stop sending: the client reads slower than we write."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Send on."""
        self._can_write.set()

    def abort(self) -> None:
        """End the connection at once because the server closes."""
        if self.task is not None:
            self.task.cancel()
        self._response = None  # what is cut off now was not the client's doing
        self._transport.abort()

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
            self._refuse(error)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._incoming = _Incoming(event)
        elif self._incoming is not None and isinstance(event, h11.Data):
            self._incoming.add(event.data)
        elif self._incoming is not None and isinstance(event, h11.EndOfMessage):
            self._begin_response(self._incoming.request())

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        body = f"Bad request: {error}\n".encode()
        headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
        headers.append(("connection", "close"))
        with contextlib.suppress(h11.LocalProtocolError):
            self._send(h11.Response(status_code=error.error_status_hint, headers=headers))
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
        except Exception as error:  # a task has nobody else to tell, and the simulator prints nothing
            response.recorded.failure = repr(error)
            self._transport.abort()
        is_abandoned = self._transport.is_closing() and self._response is response and not response.is_over
        response.recorded.client_gone = is_abandoned and response.recorded.failure is None
        self._response = None
        self._is_half_closed = response.is_half_closed
        if self._is_half_closed or self._transport.is_closing():
            return
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            self._read_events()
        else:
            self._transport.close()

    def _leave_to_client(self) -> None:
        response, self._response = self._response, None
        if response is None or self.task is None:
            return
        response.recorded.client_gone = not response.is_over
        self.task.cancel()


class _Incoming:
    """A request while it arrives."""

    def __init__(self, head: h11.Request) -> None:
        self._head = head
        self._body = bytearray()
        self._is_too_large = False

    def add(self, data: bytes | bytearray) -> None:
        """Keep bytes of the body; beyond the limit none is kept, though all are read."""
        self._is_too_large = self._is_too_large or len(self._body) + len(data) > MAX_BODY_BYTES
        if self._is_too_large:
            self._body.clear()
        else:
            self._body += data

    def request(self) -> Request:
        """The request, now that it is complete."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._head.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        return Request(
            method=self._head.method.decode("ascii"),
            target=self._head.target.decode("latin-1"),
            headers=headers,
            raw_body=bytes(self._body),
            is_too_large=self._is_too_large,
        )


class _Response:
    """Performs the steps of one response."""

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
    def is_over(self) -> bool:
        """Whether all was sent that is to be sent."""
        return self.recorded.is_finished or self._has_hung_up

    async def perform(self, steps: Steps) -> None:
        """Perform every step, then end the body if no step did."""
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
            # h11 would frame such a body in chunks for an HTTP/1.1 client: we write it ourselves.
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
    """Close with a TCP reset, so that the client sees an error rather than an end."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _reason_phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Overloaded" if status == 529 else b"Unknown"
