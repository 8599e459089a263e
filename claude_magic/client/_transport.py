"""The one module that knows the HTTP library: sends requests, and turns whatever it raises into our errors.

Errors are raised outside the `except` block that caught their cause, so that they carry no `__context__`: an
exception of the HTTP library refers to the request it belongs to, and that to the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, cast

import httpcore2
import httpx2

from .._version import __version__
from ._config import REDACTED, ClientConfig, Credential
from ._connections import Connections
from ._errors import (
    ClaudeError,
    ConfigurationError,
    NetworkError,
    RequestTimeoutError,
    StreamInterruptedError,
    as_sentence,
)
from ._proxy import EnvironmentProxy, proxy_for
from ._retry import describe_seconds

_KEEPALIVE_EXPIRY = 55.0
"""Seconds an idle connection is kept: long enough for the next cell, and just below the 60 s after which
common load balancers drop it. A request that meets a dropped connection may or may not have arrived."""

_MAX_CONNECTIONS = 512
"""Half of the usual limit of 1,024 open files; the rate limiter is what holds requests back, not the pool."""

_MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest response read into memory; twice the largest request the API takes."""

_LONGEST_REMEMBERED = 200
_MOST_REMEMBERED = 500
"""Characters and number of the texts of a server that were found clean of the key. Most headers, and the events that carry no
text, are always the same."""

_LOGGERS = ("httpcore2.connection", "httpcore2.http11", "httpcore2.proxy")
_MAY_HAVE_RUN = "The request may still have been executed and billed."


class SecretHeader(bytes):
    """A header value that goes out as it is, and prints as `[REDACTED]`.

    httpx2 masks only `authorization` where it prints headers; this hides the key in `x-api-key` too.
    """

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return REDACTED

    def __repr__(self) -> str:
        return f"b'{REDACTED}'"

    __str__ = __repr__


def auth_header(credential: Credential, name: str) -> tuple[bytes, SecretHeader]:
    """Return name and value of the header that carries a key; a token has its own, whatever name the settings give."""
    value = credential.reveal().encode("ascii")
    if credential.is_token or name == "authorization":
        return b"authorization", SecretHeader(b"Bearer " + value)
    return b"x-api-key", SecretHeader(value)


class _KeyFilter(logging.Filter):
    """Redacts what the HTTP library logs: at level DEBUG it quotes the headers of each response."""

    def __init__(self, credential: Credential) -> None:
        super().__init__()
        self._credential = credential

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if (clean := self._credential.redact(message)) != message:
            record.msg, record.args = clean, ()
        return True


class HTTPTransport:
    """One pool of connections to one base URL, for the life of a client. Belongs to one event loop.

    It uses the transport of the HTTP library and not its client, which would spend 60 µs more on each request: on cookies
    and redirects, of which nothing is wanted here, and on headers that are the same each time.
    """

    def __init__(self, config: ClientConfig, credential: Credential | None) -> None:
        self._config = config
        self._credential = credential
        self._timeouts = {"timeout": httpx2.Timeout(config.timeout).as_dict()}
        self._urls: dict[str, httpx2.URL] = {}
        self._clean_texts: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._proxy = proxy_for(config.base_url)
        tls, options, proxied = _build_tls(), _socket_options(), _proxy_of(self._proxy)
        self._connections = Connections(
            lambda: _Connection(tls, options, proxied),
            most=_MAX_CONNECTIONS,
            most_idle=config.max_idle_connections,
            expiry=_KEEPALIVE_EXPIRY,
            timeout=config.timeout,
        )
        self._filters = [] if credential is None else [_KeyFilter(credential)]
        for name, key_filter in product(_LOGGERS, self._filters):
            logging.getLogger(name).addFilter(key_filter)

    def redact(self, text: str) -> str:
        """Replace the key in text that came from the server."""
        credential = self._credential
        return text if credential is None or self._is_clean({text}) else credential.redact(text)

    def headers_of(self, response: httpx2.Response) -> dict[str, str]:
        """Return the headers of a response, after the key was replaced where they quote it."""
        headers = dict(response.headers.items())
        if not self._is_clean({*headers, *headers.values()}):
            headers = {self.redact(name): self.redact(value) for name, value in headers.items()}
            response.headers = httpx2.Headers(headers)
        return headers

    def _is_clean(self, texts: set[str]) -> bool:
        """Tell whether none of the texts quotes the key. What is known to be clean is not searched again."""
        unknown = texts - self._clean_texts
        if not unknown or self._credential is None:
            return True
        together = "\n".join(unknown)
        if self._credential.redact(together) != together:
            return False
        if len(self._clean_texts) >= _MOST_REMEMBERED:
            self._clean_texts.clear()
        self._clean_texts.update(text for text in unknown if len(text) <= _LONGEST_REMEMBERED)
        return True

    async def open(
        self, method: str, path: str, body: bytes | None = None, betas: Sequence[str] = ()
    ) -> WireResponse:
        """Send a request and return its response as soon as status and headers are there.

        The caller closes the response. If this raises or is cancelled, nothing is left to close.

        Args:
            method: HTTP method.
            path: Path and query.
            body: JSON in UTF-8, or None.
            betas: Beta features to ask for in addition to those of the settings.

        Raises:
            NetworkError: No response came. `was_sent` tells whether the request may have arrived.
            ConfigurationError: The request cannot be sent at all, or the client is closed.
        """
        if self._is_closed:
            raise ConfigurationError("This client is closed; create another one.")
        try:
            request = self._request(method, path, body, betas)
            response = await self._send(request)
        except Exception as failure:  # the border: whatever the HTTP stack raises leaves it as one of ours
            error = self._translate(failure)
        else:
            response.request = request
            return WireResponse(response, self)
        raise error

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request on a connection, which is given back when the response is closed."""
        try:
            connection = await self._connections.take()
        except TimeoutError:
            raise httpx2.PoolTimeout("all connections are in use") from None
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._connections.give_back(connection, is_open=connection.is_open)
            raise
        response.stream = _Body(
            cast("httpx2.AsyncByteStream", response.stream), connection, self._connections
        )
        return response

    async def aclose(self) -> None:
        """Close all connections. Responses still open break off."""
        if self._closing:
            await asyncio.wait(self._closing)
        self._is_closed = True
        await self._connections.aclose()
        for name, key_filter in product(_LOGGERS, self._filters):
            logging.getLogger(name).removeFilter(key_filter)

    def run_closing(self, closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a closing coroutine in a task of its own, which outlives a cancelled caller."""
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    def _request(self, method: str, path: str, body: bytes | None, betas: Sequence[str]) -> httpx2.Request:
        # With `stream` in the place of `content`, the library adds no headers, which takes it 30 µs.
        headers = self._headers_with(betas) if betas else self._usual_headers.copy()
        if body is not None:
            headers["content-length"] = str(len(body))
        return httpx2.Request(
            method,
            self._url_for(path),
            headers=headers,
            stream=httpx2.ByteStream(body or b""),
            extensions=self._timeouts,
        )

    @cached_property
    def _usual_headers(self) -> httpx2.Headers:
        return self._headers_with(())

    def _headers_with(self, betas: Sequence[str]) -> httpx2.Headers:
        """Return the headers of a request, the key among them; what has no body is sent with these alone."""
        host = httpx2.URL(self._config.base_url).netloc
        headers: list[tuple[bytes, bytes]] = [(b"host", host), *request_headers(self._config, betas)]
        if self._credential is not None:
            headers.append(auth_header(self._credential, self._config.auth_header))
        return httpx2.Headers(headers)

    def _url_for(self, path: str) -> httpx2.URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx2.URL(self._config.base_url + path)
        return url

    def _translate(self, failure: Exception) -> ClaudeError:
        """Say what happened before a response had begun."""
        host = self._config.base_url
        reason = self.redact(_reason_of(failure))
        match failure:
            case (
                httpx2.ConnectTimeout() | httpx2.PoolTimeout() | httpx2.ReadTimeout() | httpx2.WriteTimeout()
            ):
                return _timeout_error(failure, host, self._config.timeout)
            case httpx2.ConnectError():
                return _connect_error(failure, host, reason, self._proxy)
            case httpx2.ProxyError():
                return NetworkError(
                    f"{_named(self._proxy)} refused to connect to {host} ({reason}). Check its address and login, or "
                    "add the host to NO_PROXY.",
                    was_sent=False,
                )
            case httpx2.TransportError():
                return NetworkError(
                    f"The connection to {host} broke before an answer arrived ({reason}). {_MAY_HAVE_RUN}"
                )
            case httpx2.InvalidURL() | ValueError() | ImportError():
                return ConfigurationError(f"No request can be sent to {host}: {as_sentence(reason)}")
        return NetworkError(
            f"Sending to {host} failed ({reason}). {_MAY_HAVE_RUN}",
            is_transient=isinstance(failure, OSError),
        )


class WireResponse:
    """A response whose body is still on the wire.

    Attributes:
        status: HTTP status.
        headers: Its headers; lower-case names, repeated ones joined with a comma.
    """

    __slots__ = ("_chunks", "_peeked", "_response", "_transport", "headers", "status")

    def __init__(self, response: httpx2.Response, transport: HTTPTransport) -> None:
        self._response = response
        self._transport = transport
        self.status = response.status_code
        self.headers = transport.headers_of(response)
        self._chunks = _chunks_of(response, self.headers)
        self._peeked = b""

    @property
    def url(self) -> str:
        """Where it came from, without query. Made only for error messages: it takes 30 µs."""
        return str(self._response.request.url.copy_with(query=None))

    async def read_chunk(self) -> bytes:
        """Return the next bytes of the decoded body as they arrive; empty at its end.

        Raises:
            StreamInterruptedError: The connection broke, or the body cannot be decoded.
            RequestTimeoutError: Nothing came for `timeout` seconds.
        """
        chunk, self._peeked = self._peeked, b""
        if chunk:
            return chunk
        try:
            chunk = await anext(self._chunks, b"")
            if not chunk:
                await self._response.aclose()
        except Exception as failure:  # the border, as in HTTPTransport.open
            error = self._translate(failure)
        else:
            return chunk
        raise error

    async def peek(self) -> bytes:
        """Return the next bytes without taking them: the next read returns them again."""
        self._peeked = await self.read_chunk()
        return self._peeked

    def redact(self, body: bytes) -> bytes:
        """Replace the key in a body: servers do quote keys in their errors."""
        return self._transport.redact(body.decode("latin-1")).encode("latin-1")  # lossless for any bytes

    def redact_text(self, text: str) -> str:
        """Replace the key in text that the server sent."""
        return self._transport.redact(text)

    async def read_body(self) -> bytes:
        """Read the whole body, as far as it fits into memory, and close the response."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < _MAX_BODY_BYTES and (chunk := await self.read_chunk()):
                parts.append(chunk)
                size += len(chunk)
        finally:
            await self.aclose()
        return b"".join(parts)[:_MAX_BODY_BYTES]

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, else close it; again if need be.

        Done even if the caller is cancelled meanwhile: half-closed responses keep their place in the pool.
        """
        if not self._response.is_closed:
            await asyncio.shield(self.close_soon())

    def close_soon(self) -> asyncio.Task[None]:
        """Start closing, and do not wait for it."""
        return self._transport.run_closing(self._close())

    @property
    def is_closed(self) -> bool:
        """Whether the connection was given back or closed."""
        return self._response.is_closed

    async def _close(self) -> None:
        # Both, whatever the first says: a task that still reads keeps `_chunks` busy, but not the connection.
        for close in (self._chunks.aclose, self._response.aclose):
            with contextlib.suppress(Exception):  # a connection that breaks while it is closed is closed
                await close()

    def _translate(self, failure: Exception) -> ClaudeError:
        """Say what happened in the middle of a response."""
        timeout = self._transport._config.timeout
        reason = self._transport.redact(_reason_of(failure))
        if isinstance(failure, httpx2.TimeoutException):
            return RequestTimeoutError(
                f"No data of the reply arrived for {describe_seconds(timeout)}, though it had started. "
                "Raise timeout if the server may be silent for longer."
            )
        if isinstance(failure, httpx2.DecodingError):
            return StreamInterruptedError(f"The reply cannot be decompressed ({reason}).")
        return StreamInterruptedError(f"The connection broke before the reply was complete ({reason}).")


def _chunks_of(response: httpx2.Response, headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
    """Return the body, decoded. One that is not compressed comes from the connection without the layers that decode."""
    if "content-encoding" in headers:
        return response.aiter_bytes()
    return cast("AsyncGenerator[bytes, None]", cast("httpx2.AsyncByteStream", response.stream).__aiter__())


class _Connection(httpx2.AsyncHTTPTransport):
    """One connection: a pool of the HTTP library with a single place, which knows proxies, TLS, and when to connect again."""

    def __init__(
        self, tls: ssl.SSLContext, options: Sequence[tuple[int, int, int]], proxy: httpx2.Proxy | None
    ) -> None:
        limits = httpx2.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_EXPIRY
        )
        super().__init__(verify=tls, limits=limits, socket_options=options, proxy=proxy)
        # The library's own name for it; where another version has another, a request takes one write more.
        if hasattr(self._pool, "_network_backend"):
            self._pool._network_backend = _NETWORK

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return bool(self._pool.connections)


class _Body(httpx2.AsyncByteStream):
    """The body of a response. Its connection is given back when it is closed."""

    def __init__(
        self,
        stream: httpx2.AsyncByteStream,
        connection: _Connection,
        connections: Connections[_Connection],
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._connections = connections
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._stream.aclose()
        finally:
            self._connections.give_back(self._connection, is_open=self._connection.is_open)


class _Network(httpcore2.AnyIOBackend):
    """Connects as the HTTP library does, and writes each request in one piece."""

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return _WholeWrites(await super().connect_tcp(*args, **kwargs))


class _WholeWrites(httpcore2.AsyncNetworkStream):
    """Holds what is written until an answer is read.

    The library writes the head and the body of a request apart, and a write is the dearest step of a short request.
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
            # As the library has it: a server that closes early may have said why.
            with contextlib.suppress(httpcore2.WriteError):
                await self._stream.write(whole, self._timeout)
        return await self._stream.read(max_bytes, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return _WholeWrites(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._socket is not None:
            return _is_readable(self._socket)
        return self._stream.get_extra_info(info)


_NETWORK = _Network()


def _is_readable(connection: socket.socket) -> bool:
    """Whether the server has closed an idle connection, or sent what nobody asked for. The library asks twice for each request."""
    number = connection.fileno()
    if number < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


def _build_tls() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except (OSError, ValueError) as failure:
        reason = type(failure).__name__
    raise ConfigurationError(
        f"The certificates to trust cannot be read ({reason}). Check SSL_CERT_FILE and SSL_CERT_DIR."
    )


def _proxy_of(proxy: EnvironmentProxy | None) -> httpx2.Proxy | None:
    if proxy is None:
        return None
    try:
        return httpx2.Proxy(proxy.url)
    except (ValueError, httpx2.InvalidURL):
        pass  # its text may quote a password
    raise ConfigurationError(
        f"{proxy.variable} is not the address of a proxy ({proxy.address}). Write it as http://host:port."
    )


def request_headers(config: ClientConfig, betas: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Build the headers of every request: once, but for the few that ask for beta features of their own."""
    headers = {
        "accept": "application/json",
        "accept-encoding": "gzip, br",
        "user-agent": f"claude_magic/{__version__}",
        "content-type": "application/json",
        "anthropic-version": config.api_version,
    }
    if all_betas := dict.fromkeys((*config.betas, *betas)):
        headers["anthropic-beta"] = ",".join(all_betas)
    headers |= {name.lower(): value for name, value in config.headers.items()}
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


def _socket_options() -> list[tuple[int, int, int]]:
    """Send small writes at once, and probe silent connections, as far as this platform knows how."""
    wanted = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    probing = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}
    for name, value in probing.items():  # macOS calls the first of them TCP_KEEPALIVE; Windows has few
        if hasattr(socket, name) and not (name == "TCP_KEEPALIVE" and hasattr(socket, "TCP_KEEPIDLE")):
            wanted.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    with (
        socket.socket() as trial
    ):  # a sandbox may know a name and refuse it, which would fail every connection
        return [option for option in wanted if _is_accepted(trial, option)]


def _is_accepted(trial: socket.socket, option: tuple[int, int, int]) -> bool:
    try:
        trial.setsockopt(*option)
    except OSError:
        return False
    return True


def _timeout_error(failure: Exception, host: str, timeout: float) -> RequestTimeoutError:
    limit = describe_seconds(timeout)
    match failure:
        case httpx2.ConnectTimeout():
            return RequestTimeoutError(
                f"No connection to {host} within {limit}. Is the address right?", was_sent=False
            )
        case httpx2.PoolTimeout():
            return RequestTimeoutError(
                f"No free connection to {host} within {limit}: {_MAX_CONNECTIONS} requests are in flight. "
                "Wait for some of them.",
                was_sent=False,
            )
        case httpx2.WriteTimeout():
            return RequestTimeoutError(f"{host} did not accept the request within {limit}. {_MAY_HAVE_RUN}")
    return RequestTimeoutError(
        f"{host} did not answer within {limit}. {_MAY_HAVE_RUN} Raise timeout if it needs more."
    )


def _named(proxy: EnvironmentProxy | None) -> str:
    return "The proxy" if proxy is None else f"The proxy {proxy.address} (from {proxy.variable})"


def _connect_error(
    failure: Exception, host: str, reason: str, proxy: EnvironmentProxy | None
) -> NetworkError:
    if isinstance(_root_cause(failure), ssl.SSLCertVerificationError):
        return NetworkError(
            f"The certificate of {host} is not trusted ({reason}). Behind a company proxy, point "
            "SSL_CERT_FILE at its certificate; otherwise check base_url.",
            was_sent=False,
            is_transient=False,
        )
    if proxy is not None:
        return NetworkError(
            f"{_named(proxy)} cannot be reached ({reason}), or cannot reach {host}. Check the variable, or add the "
            "host to NO_PROXY.",
            was_sent=False,
        )
    return NetworkError(
        f"No connection to {host} ({reason}). Check the network, base_url, and whether the server runs.",
        was_sent=False,
    )


def _root_cause(failure: BaseException) -> BaseException:
    for _ in range(16):  # bounded, because a chain can be circular
        cause = failure.__cause__ or failure.__context__
        if cause is None:
            break
        failure = cause
    return failure


def _reason_of(failure: Exception) -> str:
    """Name the cause in a few words; the HTTP library often leaves its own message empty."""
    root = _root_cause(failure)
    text = str(failure) or (root.strerror if isinstance(root, OSError) else None) or type(root).__name__
    return text.strip().rstrip(".")[:200]
