"""Connections to the server: the pool that lends them, what they write and check, and the proxy that they go through.

The HTTP library reads and writes. Its pool and its network streams are replaced here, because with many requests in flight they
cost more than the whole client. Proxy variables are read here too, only for the server that the client uses: an invalid proxy for
other hosts does not matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import os
import re
import select
import socket
import ssl
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from ._config import REDACTED, is_loopback
from ._errors import ConfigurationError

if TYPE_CHECKING:
    import httpcore2


class Closable(Protocol):
    """A connection, or an object that connects when it is first used."""

    async def aclose(self) -> None:
        """Close it."""


_Connection = TypeVar("_Connection", bound=Closable)


class Connections(Generic[_Connection]):
    """A pool that lends each connection to one request at a time. All methods must run on one event loop.

    The HTTP library has its own pool, but that scans all connections at the start and at the end of each request, which
    takes longer than anything else with 64 requests in flight. Here a request takes the connection that became idle last,
    in constant time, so that connections that are no longer needed expire.

    Args:
        make: Creates a connection. It connects with its first request.
        most: Maximum number of connections.
        most_idle: Maximum number of idle connections.
        expiry: Seconds after which an idle connection is closed.
        timeout: Seconds to wait for a connection if all are in use.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        make: Callable[[], _Connection],
        *,
        most: int,
        most_idle: int,
        expiry: float,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._most = most
        self._most_idle = most_idle
        self._expiry = expiry
        self._timeout = timeout
        self._clock = clock
        self._in_use: set[_Connection] = set()
        self._idle: deque[tuple[_Connection, float]] = deque()
        self._waiting: deque[asyncio.Future[_Connection]] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Connections: {len(self._in_use)} in use, {len(self._idle)} idle, {len(self._waiting)} waited for>"

    async def take(self) -> _Connection:
        """Return a connection for exclusive use until `give_back`.

        Raises:
            TimeoutError: All were in use for `timeout` seconds.
        """
        if self._idle:
            connection, _ = self._idle.pop()
            self._close_expired()
        elif len(self._in_use) < self._most:
            connection = self._make()
        else:
            return await self._wait()
        self._in_use.add(connection)
        return connection

    def give_back(self, connection: _Connection, *, is_open: bool = True) -> None:
        """Return a connection to the pool.

        Args:
            connection: The connection.
            is_open: The connection is open and can be reused; otherwise it is closed and dropped.
        """
        self._in_use.discard(connection)
        if not is_open:
            self.run_closing(_close(connection))
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                passed = connection if is_open else self._make()
                self._in_use.add(passed)
                waiter.set_result(passed)
                return
        if is_open and len(self._idle) < self._most_idle:
            self._idle.append((connection, self._clock()))
        elif is_open:
            self.run_closing(_close(connection))

    async def aclose(self) -> None:
        """Close all connections, including those in use."""
        await self._finish_closing()
        self._most_idle = 0  # connections that are returned later are closed
        for connection in (*self._in_use, *(connection for connection, _ in self._idle)):
            self.run_closing(_close(connection))
        self._in_use.clear()
        self._idle.clear()
        await self._finish_closing()

    def run_closing(self, closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a closing coroutine in a separate task, which continues if the caller is cancelled. `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _finish_closing(self) -> None:
        if self._closing:
            await asyncio.wait(self._closing)

    async def _wait(self) -> _Connection:
        waiter: asyncio.Future[_Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._timeout):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # a connection arrived at the same moment
                self.give_back(waiter.result())
            raise

    def _close_expired(self) -> None:
        """Close connections that have been idle for too long; otherwise, surplus connections would stay open."""
        oldest = self._clock() - self._expiry
        while self._idle and self._idle[0][1] < oldest:
            self.run_closing(_close(self._idle.popleft()[0]))


async def _close(connection: Closable) -> None:
    with contextlib.suppress(Exception):  # an error while closing leaves the connection closed
        await connection.aclose()


_TO_PROXY = (b"CONNECT ", b"\x05", b"\x01")
"""How what is written to a proxy begins, before a server can be reached: an HTTP tunnel, SOCKS 5, and its login."""


class Network:
    """The HTTP library's way to connect, but with `WholeWrites`. It keeps the last stream, to close it.

    Attributes:
        has_sent: Whether any part of the request was written. What asks a proxy for a connection is no part of it.
    """

    def __init__(self, backend: httpcore2.AsyncNetworkBackend) -> None:
        self._backend = backend
        self._stream: WholeWrites | None = None
        self.has_sent = False

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> WholeWrites:
        self._stream = WholeWrites(await self._backend.connect_tcp(*args, **kwargs), self._on_write)
        return self._stream

    def _on_write(self, data: bytes) -> None:
        self.has_sent = self.has_sent or not data.startswith(_TO_PROXY)

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()


_LARGE_WRITE = 64 * 1024
"""Largest write in bytes that the system is assumed to take at once, so that no response can arrive before its end."""

_MOST_EARLY = 64
"""Maximum number of reads while a request is written."""

_LAST_READ = 1.0
"""Seconds to read what arrived before a write failed. It is in memory already."""


class WholeWrites:
    """A network stream that buffers writes until the next read.

    The library writes the head and the body of a request separately, and a write is the most expensive step of a short
    request. This is no subclass of the library's stream, because importing that takes 30 ms, and the first frame of a cell does
    not need it.

    Args:
        stream: The network stream.
        on_write: Called with the bytes of each write, before they are written.
    """

    def __init__(
        self, stream: httpcore2.AsyncNetworkStream, on_write: Callable[[bytes], None] = lambda _data: None
    ) -> None:
        self._stream = stream
        self._on_write = on_write
        self._socket = stream.get_extra_info("socket")
        self._held: list[bytes] = []
        self._timeout: float | None = None
        self._early: deque[bytes] = deque()
        self._is_broken = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self._held.append(buffer)
            self._timeout = timeout

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            import httpcore2

            whole = b"".join(self._held)
            self._held.clear()
            self._on_write(whole)
            # Ignored as in the library: a server that closes the connection early may have sent a response.
            with contextlib.suppress(httpcore2.WriteError):
                if len(whole) <= _LARGE_WRITE:
                    await self._stream.write(whole, self._timeout)
                else:
                    await self._write_and_read(whole, max_bytes)
        return self._early.popleft() if self._early else await self._stream.read(max_bytes, timeout)

    async def _write_and_read(self, whole: bytes, max_bytes: int) -> None:
        """Write a large request, and keep what arrives in the meantime: a server may reject it early and close.

        A write to a closed connection fails, and with that asyncio drops what was not read yet.
        """
        import httpcore2

        reading = asyncio.ensure_future(self._read_early(max_bytes))
        try:
            # It reads from now on; the loop handles what arrived before what can be written.
            await asyncio.sleep(0)
            await self._stream.write(whole, self._timeout)
        except httpcore2.WriteError:
            await asyncio.wait([reading], timeout=_LAST_READ)  # it ends, because the connection is closed
            raise
        except httpcore2.WriteTimeout:
            if not self._early:
                raise
            # The server answered without reading: the rest of the request is still unsent.
            self._is_broken = True
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read_early(self, max_bytes: int) -> None:
        with contextlib.suppress(Exception):  # the next read reports it
            while len(self._early) < _MOST_EARLY and (data := await self._stream.read(max_bytes, None)):
                self._early.append(data)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> WholeWrites:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return WholeWrites(stream, self._on_write)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._socket is not None:
            return self._is_broken or bool(self._early) or _is_readable(self._socket)
        return self._stream.get_extra_info(info)


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


_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_SOCKS = ("socks5", "socks5h")
_ENTRY = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[^\]]*\]|[^:/]*)(?::(?P<port>\d{1,5}))?/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentProxy:
    """The proxy that the environment configures for a server.

    Attributes:
        variable: Name of the environment variable, for messages.
        url: URL of the proxy; not in the repr, because it may contain a password.
        address: Host and port, for messages.
    """

    variable: str
    url: str = field(repr=False)
    address: str

    def redact(self, text: str) -> str:
        """Replace the password in text that came from the proxy."""
        written = urlsplit(self.url).password or ""
        for password in {written, unquote(written)} - {""}:
            text = text.replace(password, REDACTED)
        return text


def proxy_for(base_url: str) -> EnvironmentProxy | None:
    """Return the proxy for requests to a server; None if they are sent directly.

    This machine is always reached directly. Otherwise HTTP_PROXY or HTTPS_PROXY applies, by the server's scheme, or else
    ALL_PROXY, unless NO_PROXY matches the server. NO_PROXY lists `*`, host names (which include their subdomains),
    addresses and networks, optionally with a port. Lower-case variables take precedence. If no variable is set, the
    settings of Windows or macOS apply.

    Raises:
        ConfigurationError: The proxy for this server is not usable. The message does not contain its password.
    """
    server = urlsplit(base_url)
    host = (server.hostname or "").rstrip(".").lower()
    if _is_this_machine(host):
        return None
    proxies = urllib.request.getproxies()
    kind = server.scheme if proxies.get(server.scheme) else "all"
    address = proxies.get(kind, "").strip()
    if not address or is_exempt(proxies.get("no", ""), server.scheme, host, server.port):
        return None
    variable = _name_of(kind)
    url = address if "://" in address else f"http://{address}"
    return EnvironmentProxy(variable=variable, url=url, address=_checked(url, variable, host))


def is_exempt(no_proxy: str, scheme: str, host: str, port: int | None) -> bool:
    """Return whether NO_PROXY matches a server. Invalid entries are ignored.

    Args:
        no_proxy: Value of the variable.
        scheme: The server's scheme.
        host: The server's host, in lower case, IPv6 without brackets.
        port: The server's port; None for the scheme's default.
    """
    server = (scheme, host, port or _PORTS.get(scheme, 0))
    return any(_matches(entry, *server) for entry in re.split(r"[,;\s]+", no_proxy.lower()) if entry)


def _matches(entry: str, scheme: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    network, name = _network(entry), ""
    if network is None:
        parts = _ENTRY.fullmatch(entry)
        if parts is None or parts["scheme"] not in (None, scheme, "all"):
            return False
        if parts["port"] and int(parts["port"]) != port:
            return False
        name = parts["host"].strip("[]").rstrip(".")
        network = _network(name)
    if network is not None:
        address = _ip(host)
        return address is not None and address in network
    name = name.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or fnmatchcase(host, name) or fnmatchcase(host, f"*.{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_this_machine(host: str) -> bool:
    address = _ip(host)
    return is_loopback(host) or (address is not None and (address.is_loopback or address.is_unspecified))


def _name_of(kind: str) -> str:
    name = f"{kind}_proxy"
    found = (variable for variable in (name, name.upper(), *os.environ) if variable.lower() == name)
    return next((variable for variable in found if os.environ.get(variable)), "the system's proxy setting")


def _checked(url: str, variable: str, host: str) -> str:
    """Return host and port of a proxy.

    Raises:
        ConfigurationError: The proxy is not usable.
    """
    advice = f"To reach {host} without it, add {host} to NO_PROXY."
    try:
        parts = urlsplit(url)
        address = _address_of(parts)
    except ValueError:
        address = ""
    if not address:
        raise ConfigurationError(
            f"{variable} is not the address of a proxy. Write it as http://host:port, with special characters of a "
            f"password encoded as in a URL (%40 for @). {advice}"
        )
    if parts.scheme not in (*_PORTS, *_SOCKS):
        raise ConfigurationError(
            f"{variable} names a proxy of the kind {parts.scheme[:20]!r} ({address}), which cannot be used; http, https and "
            f"socks5 can. {advice}"
        )
    importlib.invalidate_caches()  # socksio may have just been installed
    if parts.scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{variable} names a SOCKS proxy ({address}), which needs the package socksio: run `%pip install socksio`, "
            f"then run this again. {advice}"
        )
    return address


def _address_of(parts: SplitResult) -> str:
    """Return host and port for messages; empty if there is no valid host. Raises ValueError for an invalid port."""
    host = parts.hostname or ""
    if not host.isprintable() or any(char in host for char in " \"'<>\\^`{|}"):
        return ""
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{parts.port}" if parts.port else name
