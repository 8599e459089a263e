"""Lookup of the proxy that the environment configures for one server.

The variables are read here for that server only, and the result is passed to the HTTP library. So an invalid proxy for
other hosts does not affect the client.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import SplitResult, urlsplit

from ._config import is_loopback
from ._errors import ConfigurationError

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
