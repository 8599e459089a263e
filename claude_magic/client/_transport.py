"""The one module that knows the HTTP library: sends requests, and turns whatever it raises into our errors.

Errors are raised outside the `except` block that caught their cause, so that they carry no `__context__`: an
exception of the HTTP library refers to the request it belongs to, and that to the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

import httpx2

from .._version import __version__
from ._config import REDACTED, ClientConfig, Credential, is_loopback
from ._errors import (
    ClaudeError,
    ConfigurationError,
    NetworkError,
    RequestTimeoutError,
    StreamInterruptedError,
)
from ._retry import describe_seconds

# Which proxy of the environment stands before one server, if any does.
#
# Only that one matters: a proxy for other hosts, however it is written, must not keep a client from its own server. So the
# variables are read here, for one address, and the HTTP library is told what came of it.
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_SOCKS = ("socks5", "socks5h")
_ENTRY = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[^\]]*\]|[^:/]*)(?::(?P<port>\d{1,5}))?/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentProxy:
    """The proxy that the environment names for a server.

    Attributes:
        variable: Where it stands, for people.
        url: Its address; it may hold a password, and so is left out of the repr.
        address: Host and port, to be shown.
    """

    variable: str
    url: str = field(repr=False)
    address: str


def proxy_for(base_url: str) -> EnvironmentProxy | None:
    """Return the proxy that requests to a server go through, None if they go straight to it.

    This machine is always reached directly. Otherwise HTTP_PROXY or HTTPS_PROXY counts, by the server's scheme, or else
    ALL_PROXY, unless NO_PROXY names the server: `*`, names with the subdomains they have, addresses, networks, each also
    with a port. Names of variables may be in lower case, which goes first. Where no variable is set, the settings of
    Windows or macOS count.

    Raises:
        ConfigurationError: The proxy that would be used cannot be. No password is quoted.
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
    """Tell whether NO_PROXY names a server; entries that cannot be read are passed over.

    Args:
        no_proxy: The variable's value.
        scheme: The server's scheme.
        host: Its host, in lower case, IPv6 without brackets.
        port: Its port; None is the scheme's own.
    """
    server = (scheme, host, port or _PORTS.get(scheme, 0))
    return any(_names(entry, *server) for entry in re.split(r"[,;\s]+", no_proxy.lower()) if entry)


def _names(entry: str, scheme: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        return (address := _ip(host)) is not None and address in network
    parts = _ENTRY.fullmatch(entry)
    if parts is None or parts["scheme"] not in (None, scheme, "all"):
        return False
    if parts["port"] and int(parts["port"]) != port:
        return False
    name = parts["host"].strip("[]").rstrip(".")
    if (network := _network(name)) is not None:
        return (address := _ip(host)) is not None and address in network
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
    found = next((variable for variable in (name, name.upper()) if os.environ.get(variable)), None)
    found = found or next((variable for variable in os.environ if variable.lower() == name), None)
    return found or "the system's proxy setting"


def _checked(url: str, variable: str, host: str) -> str:
    """Return host and port of a proxy that can be used."""
    way_out = f"To reach {host} without it, add {host} to NO_PROXY."
    try:
        parts = urlsplit(url)
        address = _address_of(parts)
    except ValueError:
        address = ""
    if not address:
        raise ConfigurationError(
            f"{variable} is not the address of a proxy. Write it as http://host:port, with special characters of a "
            f"password encoded as in a URL (%40 for @). {way_out}"
        )
    if parts.scheme not in (*_PORTS, *_SOCKS):
        raise ConfigurationError(
            f"{variable} names a proxy of the kind {parts.scheme[:20]!r} ({address}), which cannot be used; http, https and "
            f"socks5 can. {way_out}"
        )
    importlib.invalidate_caches()  # it may have been installed a cell ago
    if parts.scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{variable} names a SOCKS proxy ({address}), which needs the package socksio: run `%pip install socksio`, "
            f"then run this again. {way_out}"
        )
    return address


def _address_of(parts: SplitResult) -> str:
    """Return host and port for people, empty if there is no host; raise ValueError if they make no sense."""
    host = parts.hostname or ""
    if not host.isprintable() or any(char in host for char in " \"'<>\\^`{|}"):
        return ""
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{parts.port}" if parts.port else name


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
        self._http = _build_http(config, self._proxy)
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
            response = await self._http.handle_async_request(request)
        except Exception as failure:  # the border: whatever the HTTP stack raises leaves it as one of ours
            error = self._translate(failure)
        else:
            response.request = request
            return WireResponse(response, self)
        raise error

    async def aclose(self) -> None:
        """Close all connections. Responses still open break off."""
        if self._closing:
            await asyncio.wait(self._closing)
        self._is_closed = True
        await self._http.aclose()
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
                return ConfigurationError(f"No request can be sent to {host}: {reason}.")
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

    async def read_body(self, max_bytes: int = _MAX_BODY_BYTES) -> bytes:
        """Read the whole body, or its first `max_bytes`, and close the response."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < max_bytes and (chunk := await self.read_chunk()):
                parts.append(chunk)
                size += len(chunk)
        finally:
            await self.aclose()
        return b"".join(parts)[:max_bytes]

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


def _build_http(config: ClientConfig, proxy: EnvironmentProxy | None) -> httpx2.AsyncHTTPTransport:
    limits = httpx2.Limits(
        max_connections=_MAX_CONNECTIONS,
        max_keepalive_connections=config.max_idle_connections,
        keepalive_expiry=_KEEPALIVE_EXPIRY,
    )
    return httpx2.AsyncHTTPTransport(
        verify=_build_tls(), limits=limits, socket_options=_socket_options(), proxy=_proxy_of(proxy)
    )


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


def request_headers(config: ClientConfig, betas: Sequence[str] = ()) -> list[tuple[bytes, bytes]]:
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
