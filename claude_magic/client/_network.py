"""The network backend of connections: one write per request, and a cheap check of idle connections."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import Any

import httpcore2


class Network(httpcore2.AnyIOBackend):
    """A network backend like that of the HTTP library, but with one write per request."""

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return WholeWrites(await super().connect_tcp(*args, **kwargs))


class WholeWrites(httpcore2.AsyncNetworkStream):
    """A network stream that buffers writes until the next read.

    The library writes the head and the body of a request separately, and a write is the most expensive step of a short
    request.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._socket = stream.get_extra_info("socket")
        self._held: list[bytes] = []
        self._timeout: float | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self._held.append(buffer)
            self._timeout = timeout

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            whole = b"".join(self._held)
            self._held.clear()
            # Ignored as in the library: a server that closes the connection early may have sent a response.
            with contextlib.suppress(httpcore2.WriteError):
                await self._stream.write(whole, self._timeout)
        return await self._stream.read(max_bytes, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return WholeWrites(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._socket is not None:
            return _is_readable(self._socket)
        return self._stream.get_extra_info(info)


NETWORK = Network()
"""The backend of all connections; it holds no state."""


def _is_readable(connection: socket.socket) -> bool:
    """Return whether the server has closed an idle connection, or sent data unasked. The library checks twice per request."""
    number = connection.fileno()
    if number < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
