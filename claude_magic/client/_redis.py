"""The connection to a Redis or Valkey server that several processes share, with error messages and reconnection.

This is the only module that uses the `redis` package, which is imported with the first connection. Each process subscribes to
its own channel, and to one for all processes, on which changes are published. When a process dies, its subscription ends, so
the server's subscriber counts show which processes are alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.resources
import json
import logging
import random
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit, urlunsplit

from ._errors import ConfigurationError

logger = logging.getLogger("claude_magic.client")

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}
_LOGIN: Final = ("db", "username", "password")
_CERTIFICATES: Final = (
    "ca_certs",
    "ca_path",
    "ca_data",
    "certfile",
    "keyfile",
    "password",
    "cert_reqs",
    "check_hostname",
)
"""Options of the URL for the `redis` package; `ssl_ca_certs` and the like only with TLS."""
_CONNECT_TIMEOUT: Final = 3.0
"""Seconds to connect and subscribe."""
_CALL_TIMEOUT: Final = 3.0
"""Seconds after which the server is considered unreachable; a call usually takes less than a millisecond."""
_FIRST_BACKOFF: Final = 0.25
_MOST_BACKOFF: Final = 15.0
_UNKNOWN_MEMBERS: Final = 4
"""Assumed number of processes that share a limit while the server has not reported it."""
_EXAMPLE: Final = "redis://host:6379/0, rediss://:PASSWORD@host:6380/0 or unix:///path/redis.sock?db=0"


class SharingLostError(Exception):
    """The server is unreachable. The request may or may not have been executed."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of a server.

    Attributes:
        url: URL for the `redis` package, including the password.
        shown: URL without user, password and query, for messages.
        members: Number of processes that share the server, from the URL (`?members=16`), or None.
        account: Name of the account that is limited, from the URL (`?account=lab`), for several keys of one organisation; or
            None.
    """

    url: str
    shown: str
    members: int | None
    account: str | None

    @property
    def has_password(self) -> bool:
        """Whether the URL contains a password or user name."""
        url = urlsplit(self.url)
        return "@" in url.netloc or "password" in parse_qs(url.query)

    def __repr__(self) -> str:
        return f"<RedisAddress {self.shown}>"


def read_limiter_url(value: str) -> RedisAddress:
    """Parse the setting `limiter`.

    Raises:
        ConfigurationError: The value is not the address of a server. The message does not show it, because it may contain a
            password.
    """
    text = value.strip()
    try:
        url = urlsplit(text)
        is_usable = bool(url.path) if url.scheme == "unix" else bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is not a number, or an IPv6 address without brackets
        raise _unusable() from None
    if url.scheme not in _SCHEMES or not is_usable or url.fragment or not text.isprintable() or " " in text:
        raise _unusable()
    if url.scheme != "unix" and not re.fullmatch(r"(/\d{0,5})?", url.path, re.ASCII):
        raise ConfigurationError(
            "The setting limiter has an invalid database: after host and port comes its number, as in redis://host:6379/0."
        )
    return _address(url)


def _address(url: SplitResult) -> RedisAddress:
    query = parse_qs(url.query, keep_blank_values=True)
    (members,) = query.pop("members", [""])[-1:]
    if members and not re.fullmatch(r"[1-9]\d{0,4}", members, re.ASCII):
        raise ConfigurationError(
            "In the setting limiter, members= is the number of processes that share it, such as 16."
        )
    (account,) = query.pop("account", [""])[-1:]
    scheme = _SCHEMES[url.scheme]
    _check_options(query, has_tls=scheme == "rediss")
    place = url.path if scheme == "unix" else f"{url.netloc.rpartition('@')[2]}{url.path}"
    whole = urlunsplit((scheme, url.netloc, url.path, urlencode(query, doseq=True), ""))
    if scheme == "unix":  # urlunsplit omits an empty host
        whole = f"unix://{url.netloc}{url.path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
    return RedisAddress(whole, f"{scheme}://{place}", int(members) if members else None, account or None)


def _check_options(query: Mapping[str, Sequence[str]], *, has_tls: bool) -> None:
    known = [*_LOGIN, *(f"ssl_{name}" for name in _CERTIFICATES if has_tls)]
    is_usable = all(name in known and len(values) == 1 for name, values in query.items())
    if is_usable and query.get("db", ["0"])[0].isdecimal():
        return
    # The option is not shown: a password that contains a question mark would be part of it.
    raise ConfigurationError(
        "The setting limiter has an option after its question mark that is unknown or given twice, or a db that is not a "
        f"number. The options of this address are members, account, {', '.join(known)}."
    )


def _unusable() -> ConfigurationError:
    return ConfigurationError(
        f"The setting limiter is not the address of a Redis or Valkey server: {_EXAMPLE}. It is not shown here."
    )


def account_name(secret: str, server: str) -> str:
    """Return a name for an account that does not reveal its key. The same key and server give the same name.

    Args:
        secret: The key, or another string that all processes that share a limit have in common.
        server: Base URL of the API.
    """
    return hashlib.blake2b(f"{server}\0{secret}".encode(), digest_size=12, person=b"claude_magic").hexdigest()


class RedisScript:
    """A Lua script that the server runs atomically.

    Args:
        name: File name.
        keys: Names of the keys that the script uses, without the account's prefix.
        package: Package that contains the file; None for this one.
    """

    def __init__(self, name: str, *keys: str, package: str | None = None) -> None:
        self.name = name
        self.keys = keys
        self._package = package or __package__ or ""

    @cached_property
    def source(self) -> str:
        """Source code of the script."""
        return importlib.resources.files(self._package).joinpath(self.name).read_text(encoding="utf-8")

    @cached_property
    def digest(self) -> str:
        """SHA-1 digest of the script, by which the server caches it."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """The connection of one process to a server, for one account. All methods must run on one event loop.

    It connects with the first call. A lost connection is reported once, and restored automatically.

    Args:
        address: Address of the server.
        account: Name of the account; see `account_name`.
        notify_user: Called with a sentence when the connection is lost or restored.
    """

    def __init__(self, address: RedisAddress, account: str, notify_user: Callable[[str], None]) -> None:
        self.address = address
        self._notify_user = notify_user
        self.prefix = f"claude-magic:{{{account}}}:"
        self.member = ""
        self.members = address.members or _UNKNOWN_MEMBERS
        self.problem: str | None = None
        """Why the server is unreachable, as a sentence; None if it is connected or was not needed yet."""
        self._subscribers: list[tuple[Callable[[Mapping[str, Any]], None], Callable[[], None]]] = []
        self._client: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def is_up(self) -> bool:
        """Whether the server is connected."""
        return self._client is not None

    def subscribe(
        self, on_message: Callable[[Mapping[str, Any]], None], on_change: Callable[[], None]
    ) -> Callable[[], None]:
        """Subscribe to messages from other processes, and to changes of the connection. Return a function that unsubscribes."""
        self._subscribers.append((on_message, on_change))
        return lambda: self._subscribers.remove((on_message, on_change))

    async def call(self, script: RedisScript, request: Mapping[str, Any]) -> Any:
        """Run a script, and return its decoded JSON result.

        Args:
            script: The script.
            request: Its argument; the name of this process is added.

        Raises:
            SharingLostError: The server is unreachable.
            ConfigurationError: The server cannot be used with the current setting.
        """
        await self._connect_first()
        client = self._client
        if client is None:
            raise SharingLostError
        keys = [self.prefix + key for key in script.keys]
        text = json.dumps({**request, "member": self.member})
        try:
            async with asyncio.timeout(_CALL_TIMEOUT):
                try:
                    reply = await client.evalsha(script.digest, len(keys), *keys, text, self.prefix)
                except _redis().exceptions.NoScriptError:
                    reply = await client.eval(script.source, len(keys), *keys, text, self.prefix)
        except (_redis().exceptions.RedisError, OSError, TimeoutError) as error:
            self._lose(client, error)
            raise SharingLostError from None
        return json.loads(reply)

    async def aclose(self) -> None:
        """Close the connection. Other processes notice that at once."""
        self._is_closed = True
        client, self._client = self._client, None
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if client is not None:
            await _close(client)

    # Connecting and reconnecting...

    async def _connect_first(self) -> None:
        if self._client is not None or self.problem is not None or self._is_closed:
            return
        if self._connecting is None:
            self._connecting = self._spawn(self._connect())
            self._connecting.add_done_callback(lambda _done: setattr(self, "_connecting", None))
        try:
            await asyncio.shield(self._connecting)
        except ConfigurationError:
            raise
        except Exception as error:  # any failure to connect
            if self.problem is None:
                self._report_lost(error)
                self._spawn(self._reconnect())
            raise SharingLostError from None

    async def _connect(self) -> None:
        """Connect, and subscribe.

        Raises:
            ConfigurationError: The server is reachable, but cannot be used with the current setting.
        """
        redis = _redis()
        member = secrets.token_hex(6)
        client = None
        try:
            client = _make_client(redis, self.address)
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                pubsub = client.pubsub()
                await pubsub.subscribe(self.prefix + member, f"{self.prefix}all")
                for _ in range(2):
                    await pubsub.get_message(timeout=_CONNECT_TIMEOUT)
                # Fails at once if the server is read-only, full, or part of a cluster.
                await client.set(f"{self.prefix}here", "1", ex=60)
        except BaseException as error:
            if client is not None:
                await _close(client)
            if (problem := explain(error, self.address)) is not None:
                raise ConfigurationError(problem) from None
            raise
        self.member, self._client = member, client
        self._spawn(self._listen(client, pubsub))

    async def _reconnect(self) -> None:
        delay = _FIRST_BACKOFF
        while not self._is_closed:
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  # so that processes do not reconnect all at once
            delay = min(2 * delay, _MOST_BACKOFF)
            try:
                await self._connect()
            except Exception as error:  # still unreachable
                self.problem = self._sentence(error)
                continue
            self.problem = None
            self._report(f"The limiter at {self.address.shown} is connected: the limit is shared again.")
            self._notify_change()
            return

    async def _listen(self, client: Any, pubsub: Any) -> None:
        try:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    data = json.loads(message["data"])
                    if data.get("by") != self.member:
                        for on_message, _ in tuple(self._subscribers):
                            on_message(data)
        except Exception as error:  # the connection is lost, or a message is malformed
            self._lose(client, error)

    def _lose(self, client: Any, error: BaseException) -> None:
        """Handle a lost connection, unless that was already done."""
        if self._client is not client or self._is_closed:
            return
        self._client = None
        self._report_lost(error)
        self._spawn(_close(client))
        self._spawn(self._reconnect())
        self._notify_change()

    def _report_lost(self, error: BaseException) -> None:
        self.problem = self._sentence(error)
        self._report(self.problem)

    def _report(self, sentence: str) -> None:
        logger.warning("%s", sentence)
        self._notify_user(sentence)

    def _sentence(self, error: BaseException) -> str:
        tls = (
            " The address asks for TLS; without it, it begins with redis://."
            if self.address.url.startswith("rediss:")
            else ""
        )
        away = f"The limiter at {self.address.shown} cannot be reached ({_reason(error)}).{tls}"
        why = explain(error, self.address) or away
        share = "the limit" if self.members == 1 else f"1/{self.members} of the limit"
        return f"{why} Meanwhile, this process applies {share} locally."

    def _notify_change(self) -> None:
        for _, on_change in tuple(self._subscribers):
            on_change()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _redis() -> Any:
    try:
        import redis.asyncio
    except ImportError:
        raise ConfigurationError(
            "The setting limiter needs the package redis, which is not installed: pip install 'claude_magic[redis]'. Nothing was sent."
        ) from None
    return redis


def _make_client(redis: Any, address: RedisAddress) -> Any:
    try:
        return redis.asyncio.Redis.from_url(
            address.url,
            decode_responses=True,
            protocol=2,
            socket_connect_timeout=_CONNECT_TIMEOUT,
            socket_timeout=None,  # a subscription may be silent for hours; calls have their own timeout
            # No retries, because a call that broke off may have been executed.
            retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
            client_name="claude_magic",
        )
    except (ValueError, TypeError, redis.exceptions.RedisError):
        raise _unusable() from None


async def _close(client: Any) -> None:
    with contextlib.suppress(Exception):  # an error while closing does not matter
        await client.aclose()
    with contextlib.suppress(Exception):
        await client.connection_pool.disconnect()


_EXPLAINED: Final[Sequence[tuple[str, str]]] = (
    (r"NOAUTH|WRONGPASS|AUTH|invalid (username|password)|password", "refuses the user or password of the setting limiter. Correct it: redis://USER:PASSWORD@host:6379/0."),
    (r"DB index is out of range|invalid DB index|SELECT", "has no database with the number in the setting limiter. Use /0, or raise `databases` in its configuration."),
    (r"READONLY|read.only", "is a read-only replica. Name the primary in the setting limiter."),
    (r"OOM|maxmemory", "has no memory left (maxmemory). Give it more, or name another server in the setting limiter; a limiter needs a few kB."),
    (r"MOVED|ASK |CROSSSLOT|CLUSTERDOWN", "is part of a cluster, and the keys belong to another node. Name a server that is not clustered in the setting limiter."),
    (r"NOPERM", "does not grant its user the permissions that a limiter needs. Add them to the user's ACL: ~claude-magic:* &claude-magic:* +@read +@write +@scripting +@pubsub."),
    (r"unknown command|EVALSHA", "does not support scripts. A limiter needs Redis 6 or newer, or Valkey."),
)  # fmt: skip


def explain(error: BaseException, address: RedisAddress) -> str | None:
    """Return the problem of a server that responds, and a remedy, as sentences; None if it is unreachable."""
    if isinstance(error, ConfigurationError):
        return error.message
    redis = _redis()
    if isinstance(error.__cause__, redis.exceptions.RedisError):
        error = error.__cause__  # the server's response to the first commands of a connection
    text = f"{type(error).__name__.removesuffix('Error').upper()} {error}"
    is_answer = isinstance(error, redis.exceptions.ResponseError | redis.exceptions.AuthenticationError)
    if isinstance(error, TypeError):
        return _unusable().message
    if not is_answer or isinstance(error, redis.exceptions.BusyLoadingError):
        return None
    for pattern, sentence in _EXPLAINED:
        if re.search(pattern, text):
            return f"The limiter at {address.shown} {sentence}"
    return f"The limiter at {address.shown} refuses a command ({_reason(error)}). It must be a Redis or Valkey server."


def _reason(error: BaseException) -> str:
    """Return a short description of an error, without any part of its message that may be secret."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    cause = error.__cause__ or error.__context__
    # The operating system's message for a socket error contains neither user nor password.
    text = cause.strerror if isinstance(cause, OSError) else None
    return text or type(error).__name__
