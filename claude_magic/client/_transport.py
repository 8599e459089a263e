"""The HTTP transport, which sends requests and converts exceptions to `ClaudeError`s.

Only it and `_connections` import the HTTP library. Errors are raised outside the `except` block that caught their cause,
so that they have no `__context__`: an exception of the HTTP library refers to its request, and that contains the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import httpx2

from .._version import __version__
from ._config import REDACTED, ClientConfig, Credential
from ._connections import Connections, EnvironmentProxy, Network, proxy_for
from ._errors import (
    ClaudeError,
    ConfigurationError,
    NetworkError,
    RequestTimeoutError,
    StreamInterruptedError,
    as_sentence,
)
from ._retry import describe_seconds, mark_as_not_sent

_KEEPALIVE_EXPIRY = 55.0
"""Seconds for which an idle connection is kept: long enough for the next cell, and just below the 60 s after which common
load balancers drop it. With a dropped connection, it is uncertain whether a request has arrived."""

_MAX_CONNECTIONS = 512
"""Half of the usual limit of 1,024 open files. Requests are limited by the rate limiter, not by the pool."""

_MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest response that is read into memory: twice the largest request that the API accepts."""

_DECODED_AT_ONCE = 256 * 1024
"""Number of decompressed bytes after which other tasks run."""

_GZIP = zlib.MAX_WBITS | 16
_GZIP_MAGIC = b"\x1f"

_LONGEST_REMEMBERED = 200
_MOST_REMEMBERED = 500
"""Maximum length in characters, and maximum number, of cached texts that do not contain the key. Most headers, and
events without text, are always the same."""

_LOGGERS = ("httpcore2.connection", "httpcore2.http11", "httpcore2.proxy")
_BEFORE_SENDING = (httpx2.PoolTimeout, httpx2.ConnectTimeout, httpx2.ConnectError, httpx2.ProxyError)
_MAY_HAVE_RUN = "The request may still have been executed and billed."
_NOT_SENT = "Nothing was sent."


class SecretHeader(bytes):
    """A header value that is sent unchanged, but printed as `[REDACTED]`.

    httpx2 masks only `authorization` when it prints headers; this class also hides the key in `x-api-key`.
    """

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return REDACTED

    def __repr__(self) -> str:
        return f"b'{REDACTED}'"

    __str__ = __repr__


def auth_scheme(credential: Credential, name: str) -> tuple[str, str]:
    """Return the name of the header for a credential, and what precedes the credential in it. A token is always sent as Bearer."""
    is_bearer = credential.is_token or name == "authorization"
    return ("authorization", "Bearer ") if is_bearer else ("x-api-key", "")


def auth_header(credential: Credential, name: str) -> tuple[bytes, SecretHeader]:
    """Return name and value of the header for a credential."""
    name, prefix = auth_scheme(credential, name)
    return name.encode("ascii"), SecretHeader(f"{prefix}{credential.reveal()}".encode("ascii"))


class _KeyFilter(logging.Filter):
    """A log filter that redacts the key in records of the HTTP library, which logs response headers at level DEBUG."""

    def __init__(self, credential: Credential) -> None:
        super().__init__()
        self._credential = credential

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if (clean := self._credential.redact(message)) != message:
            record.msg, record.args = clean, ()
        return True


class HTTPTransport:
    """The connection pool of a client for one base URL, bound to one event loop.

    It uses the HTTP library's transport instead of its client, which would take 60 µs more per request for cookies,
    redirects, and headers that are always the same.
    """

    def __init__(self, config: ClientConfig, credential: Credential) -> None:
        self._config = config
        self.credential = credential.hiding(config.secrets)
        self._timeouts = {"timeout": httpx2.Timeout(config.timeout).as_dict()}
        self._urls: dict[str, httpx2.URL] = {}
        self._clean_texts: set[str] = set()
        self._is_closed = False
        self._proxy = proxy_for(config.base_url)
        tls, options, proxied = _build_tls(config.base_url), _socket_options(), _proxy_of(self._proxy)
        self.connections = Connections(
            lambda: _Connection(tls, options, proxied),
            most=_MAX_CONNECTIONS,
            most_idle=config.max_idle_connections,
            expiry=_KEEPALIVE_EXPIRY,
            timeout=config.timeout,
        )
        self._key_filter = _KeyFilter(self.credential)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._key_filter)

    def redact(self, text: str) -> str:
        """Replace the key in text that came from the server."""
        return text if self._is_clean({text}) else self.credential.redact(text)

    def headers_of(self, response: httpx2.Response) -> dict[str, str]:
        """Return the headers of a response, with the key replaced."""
        headers = dict(response.headers.items())
        if not self._is_clean({*headers, *headers.values()}):
            headers = {self.redact(name): self.redact(value) for name, value in headers.items()}
            response.headers = httpx2.Headers(headers)
        return headers

    def _is_clean(self, texts: set[str]) -> bool:
        """Return whether none of the texts contains the key. Texts that are known to be clean are not searched again."""
        unknown = texts - self._clean_texts
        if not unknown:
            return True
        together = "\n".join(unknown)
        if self.credential.redact(together) != together:
            return False
        if len(self._clean_texts) >= _MOST_REMEMBERED:
            self._clean_texts.clear()
        self._clean_texts.update(text for text in unknown if len(text) <= _LONGEST_REMEMBERED)
        return True

    async def open(
        self, method: str, path: str, body: bytes | None = None, betas: Sequence[str] = ()
    ) -> WireResponse:
        """Send a request, and return its response as soon as status and headers have arrived.

        The caller must close the response. If this raises or is cancelled, there is nothing to close.

        Args:
            method: HTTP method.
            path: Path and query.
            body: JSON in UTF-8, or None.
            betas: Beta features to request in addition to those of the settings.

        Raises:
            NetworkError: No response arrived. `was_sent` is False if the request certainly did not arrive.
            ConfigurationError: The request cannot be sent, or the client is closed.
        """
        if self._is_closed:
            raise ConfigurationError("This client is closed; create another one.")
        connection: _Connection | None = None
        try:
            request = self._request(method, path, body, betas)
            connection = await self._take()
            return await self._send(request, connection)
        except asyncio.CancelledError as cancelled:
            if connection is None or not connection.has_sent:
                mark_as_not_sent(cancelled)
            raise
        except Exception as failure:  # whatever the HTTP library raises is converted
            error = self._translate(failure, was_sent=connection is not None and connection.has_sent)
        raise error

    async def _take(self) -> _Connection:
        try:
            return await self.connections.take()
        except TimeoutError:
            raise httpx2.PoolTimeout("all connections are in use") from None

    async def _send(self, request: httpx2.Request, connection: _Connection) -> WireResponse:
        """Send a request on a connection, which is released when the response is closed."""
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self.connections.give_back(connection, is_open=connection.is_open)
            raise
        response.request = request
        return WireResponse(response, connection, self)

    async def aclose(self) -> None:
        """Close all connections. Open responses break off."""
        self._is_closed = True
        await self.connections.aclose()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._key_filter)

    def _request(self, method: str, path: str, body: bytes | None, betas: Sequence[str]) -> httpx2.Request:
        # With `stream` instead of `content`, the library adds no headers, which saves 30 µs.
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
        """Return the headers of a request, including the key. Only a request with a body has an additional header."""
        host = httpx2.URL(self._config.base_url).netloc
        own = request_headers(self._config, betas)
        encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in own.items()]
        authorization = auth_header(self.credential, self._config.auth_header)
        return httpx2.Headers([(b"host", host), *encoded, authorization])

    def _url_for(self, path: str) -> httpx2.URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx2.URL(self._config.base_url + path)
        return url

    def _translate(self, failure: Exception, *, was_sent: bool) -> ClaudeError:
        """Convert an exception from before the response had started.

        Args:
            failure: The exception.
            was_sent: Whether any part of the request was written.
        """
        was_sent = was_sent and not isinstance(failure, _BEFORE_SENDING)
        host, limit = self._config.shown_base_url, describe_seconds(self._config.timeout)
        reason = self.redact(_reason_of(failure))
        if self._proxy is not None:
            reason = self._proxy.redact(reason)
        match failure:
            case httpx2.PoolTimeout():
                return RequestTimeoutError(
                    f"No free connection to {host} within {limit}: {_MAX_CONNECTIONS} requests are in flight. "
                    "Wait for some of them.",
                    was_sent=False,
                )
            case httpx2.TimeoutException() if not was_sent:
                message = f"No connection to {host} within {limit}. Is the address right?"
                if self._proxy is not None:
                    message = (
                        f"{_describe_proxy(self._proxy)} did not connect to {host} within {limit}. Check the variable, or "
                        "add the host to NO_PROXY."
                    )
                return RequestTimeoutError(message, was_sent=False)
            case httpx2.WriteTimeout():
                return RequestTimeoutError(
                    f"{host} did not accept the request within {limit}. {_MAY_HAVE_RUN}"
                )
            case httpx2.TimeoutException():
                return RequestTimeoutError(
                    f"{host} did not answer within {limit}. {_MAY_HAVE_RUN} Raise timeout if it needs more."
                )
            case httpx2.ProxyError():
                return NetworkError(
                    f"{_describe_proxy(self._proxy)} refused to connect to {host} ({reason}). Check its address and login, or "
                    "add the host to NO_PROXY.",
                    was_sent=False,
                )
            case httpx2.TransportError() if was_sent:
                return NetworkError(
                    f"The connection to {host} broke before an answer arrived ({reason}). {_MAY_HAVE_RUN}"
                )
            case httpx2.InvalidURL() | ValueError() | ImportError():
                return ConfigurationError(f"No request can be sent to {host}: {as_sentence(reason)}")
        if not was_sent and isinstance(failure, httpx2.TransportError | OSError):
            return _connect_error(failure, host, reason, self._proxy)
        return NetworkError(
            f"Sending to {host} failed ({reason}). {_MAY_HAVE_RUN if was_sent else _NOT_SENT}",
            was_sent=was_sent,
            is_transient=isinstance(failure, OSError),
        )


class WireResponse:
    """A response whose body has not been read.

    Attributes:
        status: HTTP status.
        headers: Response headers with lower-case names; repeated ones are joined with a comma.
        is_closed: The connection was released or closed.
    """

    def __init__(self, response: httpx2.Response, connection: _Connection, transport: HTTPTransport) -> None:
        self._response = response
        self._connection = connection
        self._transport = transport
        self.is_closed = False
        self.status = response.status_code
        self.headers = transport.headers_of(response)
        self._chunks = _chunks_of(response, self.headers)
        self._unread = b""

    @property
    def url(self) -> str:
        """URL without query and secrets. Computed only for error messages, because it takes 30 µs."""
        return self._transport.redact(str(self._response.request.url.copy_with(query=None)))

    async def read_chunk(self) -> bytes:
        """Return the next bytes of the decoded body as they arrive; empty at the end of the body.

        Raises:
            StreamInterruptedError: The connection broke, or the body cannot be decoded.
            RequestTimeoutError: Nothing arrived for `timeout` seconds.
        """
        chunk, self._unread = self._unread, b""
        if chunk:
            return chunk
        try:
            chunk = await anext(self._chunks, b"")
            if not chunk:
                await self._release()
        except Exception as failure:  # converted as in HTTPTransport.open
            error = self._translate(failure)
        else:
            return chunk
        raise error

    def unread(self, start: bytes) -> None:
        """Give back the bytes read so far: the next read returns them again."""
        self._unread = start

    def redact(self, body: bytes) -> bytes:
        """Replace the key in a body: servers quote keys in their errors."""
        return self._transport.redact(body.decode("latin-1")).encode("latin-1")  # lossless for any bytes

    def redact_text(self, text: str) -> str:
        """Replace the key in text from the server."""
        return self._transport.redact(text)

    def spans_of_key(self, text: str) -> Sequence[tuple[int, int]]:
        """Return where the key is in a text; see `Credential.spans_in`."""
        return self._transport.credential.spans_in(text)

    async def read_body(self) -> bytes:
        """Read the whole body, up to `_MAX_BODY_BYTES`, and close the response."""
        body = bytearray()
        try:
            while len(body) < _MAX_BODY_BYTES and (chunk := await self.read_chunk()):
                body += chunk
        finally:
            await self.aclose()
        return bytes(body[:_MAX_BODY_BYTES])

    async def aclose(self) -> None:
        """Release the connection if the body was read to its end, else close it. May be called repeatedly.

        Completes even if the caller is cancelled, because a half-closed response would keep its place in the pool.
        """
        if not self.is_closed:
            await asyncio.shield(self.close_soon())

    def close_soon(self) -> asyncio.Task[None]:
        """Start closing the response, without waiting for it."""
        return self._transport.connections.run_closing(self._close())

    async def _close(self) -> None:
        # Close both, even if the first fails: while another task reads, `_chunks` cannot be closed, but the connection can.
        for close in (self._chunks.aclose, self._release):
            with contextlib.suppress(Exception):  # an error while closing leaves the connection closed
                await close()

    async def _release(self) -> None:
        """Close the response, and give its connection back: open if the body was read to its end."""
        if self.is_closed:
            return
        self.is_closed = True
        connection = self._connection
        try:
            await self._response.aclose()
            if connection.has_surplus:
                await connection.aclose()
        finally:
            self._transport.connections.give_back(connection, is_open=connection.is_open)

    def _translate(self, failure: Exception) -> ClaudeError:
        """Convert an exception in the middle of a response."""
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
    """Return the decoded body. An uncompressed body is read directly from the connection, without the decoding layers."""
    raw = cast("AsyncGenerator[bytes, None]", cast("httpx2.AsyncByteStream", response.stream).__aiter__())
    match headers.get("content-encoding", "").lower():
        case "":
            return raw
        case "gzip" | "x-gzip":
            return _with_pauses(_unzipped(raw))
    return _with_pauses(response.aiter_bytes())


async def _with_pauses(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return the same pieces, but let other tasks and deadlines run: one read of compressed data can yield gigabytes."""
    size = 0
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            size += len(piece)
            if size > _DECODED_AT_ONCE:
                size = 0
                await asyncio.sleep(0)
            yield piece


async def _unzipped(raw: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return a decompressed body. The HTTP library's decoder ends after the first of several members (RFC 1952)."""
    member = zlib.decompressobj(_GZIP)
    async with contextlib.aclosing(raw):
        async for data in raw:
            piece = b""
            while data or len(piece) == _DECODED_AT_ONCE:
                if member.eof:
                    data = data.lstrip(b"\0")  # padding
                    if not data.startswith(_GZIP_MAGIC):
                        break  # neither padding nor a member; ignored, as the library does
                    member = zlib.decompressobj(_GZIP)
                try:
                    piece = member.decompress(data, _DECODED_AT_ONCE)
                except zlib.error as error:
                    raise httpx2.DecodingError(str(error)) from None
                data = member.unused_data or member.unconsumed_tail
                if piece:
                    yield piece


class _Connection(httpx2.AsyncHTTPTransport):
    """One connection: a pool of the HTTP library with size 1, which handles proxies, TLS and reconnecting."""

    def __init__(
        self, tls: ssl.SSLContext, options: Sequence[tuple[int, int, int]], proxy: httpx2.Proxy | None
    ) -> None:
        limits = httpx2.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_EXPIRY
        )
        super().__init__(verify=tls, limits=limits, socket_options=options, proxy=proxy)
        pool: Any = self._pool
        # A private attribute of the library. In a version without it, a request takes one more write.
        self._network = Network(pool._network_backend) if hasattr(pool, "_network_backend") else None
        if self._network is not None:
            pool._network_backend = self._network

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._network is not None:
            self._network.has_sent = False
        return await super().handle_async_request(request)

    @property
    def has_sent(self) -> bool:
        """Whether any part of the last request may have been written, rather than only a request to a proxy to connect."""
        return self._network is None or self._network.has_sent

    @property
    def is_open(self) -> bool:
        """Whether it is connected and idle. After a broken TLS handshake in a tunnel, the library's connection stays in use."""
        connections = self._pool.connections
        return bool(connections) and connections[0].is_idle()

    async def aclose(self) -> None:
        """Close it. The library forgets the socket of a connection that was cancelled while it connected."""
        try:
            await super().aclose()
        finally:
            if self._network is not None:
                await self._network.aclose()

    @property
    def has_surplus(self) -> bool:
        """Whether bytes arrived after the end of a response. The library would read them as the next response."""
        found: Any = next(iter(self._pool.connections), None)
        while found is not None and not hasattr(
            found, "_h11_state"
        ):  # inside one or two others, also private
            found = getattr(found, "_connection", None)
        return found is not None and bool(found._h11_state.trailing_data[0])


def _build_tls(base_url: str) -> ssl.SSLContext:
    """Return the TLS settings for a server. Reading the certificates to trust takes 40 ms, so for `http://` none are read."""
    if not base_url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
        pass  # its message may contain a password
    raise ConfigurationError(
        f"{proxy.variable} is not the address of a proxy ({proxy.address}). Write it as http://host:port."
    )


def request_headers(config: ClientConfig, betas: Sequence[str]) -> dict[str, str]:
    """Return the headers of a request, without the key."""
    headers = {
        "accept": "application/json",
        "accept-encoding": "gzip, br",
        "user-agent": f"claude_magic/{__version__}",
        "content-type": "application/json",
        "anthropic-version": config.api_version,
    }
    if all_betas := dict.fromkeys((*config.betas, *betas)):
        headers["anthropic-beta"] = ",".join(all_betas)
    return headers | {name.lower(): value for name, value in config.headers.items()}


def _socket_options() -> list[tuple[int, int, int]]:
    """Return options that send small writes at once and probe silent connections, as far as the platform supports them."""
    wanted = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    probing = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}
    for name, value in probing.items():  # macOS calls the first of them TCP_KEEPALIVE; Windows has few
        if hasattr(socket, name) and not (name == "TCP_KEEPALIVE" and hasattr(socket, "TCP_KEEPIDLE")):
            wanted.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    accepted: list[tuple[int, int, int]] = []
    with socket.socket() as trial:
        for option in wanted:
            # A sandbox may define an option but reject it, which would make every connection fail.
            with contextlib.suppress(OSError):
                trial.setsockopt(*option)
                accepted.append(option)
    return accepted


def _describe_proxy(proxy: EnvironmentProxy | None) -> str:
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
            f"{_describe_proxy(proxy)} cannot be reached ({reason}), or cannot reach {host}. Check the variable, or add the "
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
    """Return a short description of the cause; the HTTP library's own message is often empty."""
    root = _root_cause(failure)
    text = str(failure) or (root.strerror if isinstance(root, OSError) else None) or type(root).__name__
    return text.strip().rstrip(".")[:200]
