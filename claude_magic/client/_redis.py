"""A Redis or Valkey server that several processes share: the connection, what is wrong with it in words, and its return.

The only file that names the `redis` package, which it imports when a server is first asked for. A process that is there holds a
subscription to a channel of its own. The server sees it end with the process, however that dies; and what changes for all is told there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
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
_CONNECT_TIMEOUT: Final = 3.0
"""Seconds for the server to take a connection and a subscription."""
_CALL_TIMEOUT: Final = 3.0
"""Seconds for the answer to a call, which takes less than a millisecond; behind that the server counts as away."""
_FIRST_BACKOFF: Final = 0.25
_MOST_BACKOFF: Final = 15.0
_UNKNOWN_MEMBERS: Final = 4
"""Processes that are taken to share a limit where the server has never said how many do."""
_EXAMPLE: Final = "redis://host:6379/0, rediss://:PASSWORD@host:6380/0 or unix:///path/redis.sock?db=0"


class SharingLostError(Exception):
    """The server is away. What it was asked may have been done, or not."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a server is.

    Attributes:
        url: As the `redis` package reads it, with its password.
        shown: Without user, password and query, for messages.
        members: Processes that share it, as the URL says (`?members=16`), or None.
        account: Whose limit it is, as the URL says (`?account=lab`), for keys of one organisation; or None.
    """

    url: str
    shown: str
    members: int | None
    account: str | None

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a secret."""
        url = urlsplit(self.url)
        return "@" in url.netloc or "password" in parse_qs(url.query)

    def __repr__(self) -> str:
        return f"<RedisAddress {self.shown}>"


def read_limiter_url(value: str) -> RedisAddress:
    """Read the setting `limiter`.

    Raises:
        ConfigurationError: It is no address of a server. The message does not show it, as it may hold a password.
    """
    text = value.strip()
    try:
        url = urlsplit(text)
        is_usable = bool(url.path) if url.scheme == "unix" else bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, an IPv6 address without its bracket
        raise _unusable() from None
    if url.scheme not in _SCHEMES or not is_usable or url.fragment or not text.isprintable() or " " in text:
        raise _unusable()
    if url.scheme != "unix" and not re.fullmatch(r"(/\d{0,5})?", url.path, re.ASCII):
        raise ConfigurationError(
            "The setting limiter names no database: behind host and port stands its number, as in redis://host:6379/0."
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
    place = url.path if scheme == "unix" else f"{url.netloc.rpartition('@')[2]}{url.path}"
    whole = urlunsplit((scheme, url.netloc, url.path, urlencode(query, doseq=True), ""))
    if scheme == "unix":  # urlunsplit leaves out an empty host
        whole = f"unix://{url.netloc}{url.path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
    return RedisAddress(whole, f"{scheme}://{place}", int(members) if members else None, account or None)


def _unusable() -> ConfigurationError:
    return ConfigurationError(
        f"The setting limiter is not the address of a Redis or Valkey server: {_EXAMPLE}. It is not shown here."
    )


def account_name(secret: str, server: str) -> str:
    """Return a name for an account that does not tell its key: the same for all who use the same key at the same server.

    Args:
        secret: The key, or what else all who share a limit have in common.
        server: The base URL.
    """
    return hashlib.blake2b(f"{server}\0{secret}".encode(), digest_size=12, person=b"claude_magic").hexdigest()


class RedisScript:
    """A script that the server runs as one step.

    Args:
        name: Its file.
        keys: What its keys are called behind the prefix of an account.
        package: Where the file is; None is this package.
    """

    def __init__(self, name: str, *keys: str, package: str | None = None) -> None:
        self.name = name
        self.keys = keys
        self._package = package or __package__ or ""

    @cached_property
    def source(self) -> str:
        """Its text."""
        return importlib.resources.files(self._package).joinpath(self.name).read_text(encoding="utf-8")

    @cached_property
    def digest(self) -> str:
        """The name under which a server knows it."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """The connection of one process to a server, for one account. All methods belong to one event loop.

    It connects with the first call. When the server goes away it says so once, and comes back by itself.

    Args:
        address: Where the server is.
        account: A name for the account; see `account_name`.
        say: Told of the server's going and coming, in a sentence each time.
    """

    def __init__(self, address: RedisAddress, account: str, say: Callable[[str], None]) -> None:
        self.address = address
        self._say = say
        self.prefix = f"claude-magic:{{{account}}}:"
        self.member = ""
        self.members = address.members or _UNKNOWN_MEMBERS
        self.problem: str | None = None
        """Why the server is away, as a sentence; None while it is there or was not asked."""
        self._subscribers: list[tuple[Callable[[Mapping[str, Any]], None], Callable[[], None]]] = []
        self._client: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def is_up(self) -> bool:
        """Whether the server is there."""
        return self._client is not None

    def subscribe(
        self, hear: Callable[[Mapping[str, Any]], None], change: Callable[[], None]
    ) -> Callable[[], None]:
        """Be told of messages of other processes, and of the server's going and coming. Returns what ends that."""
        self._subscribers.append((hear, change))
        return lambda: self._subscribers.remove((hear, change))

    async def call(self, script: RedisScript, request: Mapping[str, Any]) -> Any:
        """Run a script, and return what it says.

        Args:
            script: Which one.
            request: What it is told; the name of this process is added.

        Raises:
            SharingLostError: The server is away.
            ConfigurationError: It could never be reached as the setting has it.
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
        """Leave the server alone. Others see at once that this process has gone."""
        self._is_closed = True
        client, self._client = self._client, None
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if client is not None:
            await _close(client)

    # Coming and going...

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
        except Exception as error:  # whatever stands between us and a server
            if self.problem is None:
                self._say_lost(error)
                self._spawn(self._reconnect())
            raise SharingLostError from None

    async def _connect(self) -> None:
        """Connect, and subscribe.

        Raises:
            ConfigurationError: The server is there, and cannot be used as the setting has it.
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
                # One that only reads, is full, or belongs to a cluster says so now.
                await client.set(f"{self.prefix}here", "1", ex=60)
        except BaseException as error:
            if client is not None:
                await _close(client)
            if (said := explain(error, self.address)) is not None:
                raise ConfigurationError(said) from None
            raise
        self.member, self._client = member, client
        self._spawn(self._listen(client, pubsub))

    async def _reconnect(self) -> None:
        delay = _FIRST_BACKOFF
        while not self._is_closed:
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  # so that not all come at once
            delay = min(2 * delay, _MOST_BACKOFF)
            try:
                await self._connect()
            except Exception as error:  # still away, for whatever reason
                self.problem = self._sentence(error)
                continue
            self.problem = None
            self._say_aloud(f"The limiter at {self.address.shown} is there again: the limit is shared again.")
            self._tell_change()
            return

    async def _listen(self, client: Any, pubsub: Any) -> None:
        try:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    told = json.loads(message["data"])
                    if told.get("by") != self.member:
                        for hear, _ in tuple(self._subscribers):
                            hear(told)
        except Exception as error:  # the connection has ended, or somebody else writes there
            self._lose(client, error)

    def _lose(self, client: Any, error: BaseException) -> None:
        """Take note that the server is away, unless that is known."""
        if self._client is not client or self._is_closed:
            return
        self._client = None
        self._say_lost(error)
        self._spawn(_close(client))
        self._spawn(self._reconnect())
        self._tell_change()

    def _say_lost(self, error: BaseException) -> None:
        self.problem = self._sentence(error)
        self._say_aloud(self.problem)

    def _say_aloud(self, sentence: str) -> None:
        logger.warning("%s", sentence)
        self._say(sentence)

    def _sentence(self, error: BaseException) -> str:
        tls = (
            " The address asks for TLS; without it, it begins with redis://."
            if self.address.url.startswith("rediss:")
            else ""
        )
        away = f"The limiter at {self.address.shown} cannot be reached ({_reason(error)}).{tls}"
        why = explain(error, self.address) or away
        share = "the limit" if self.members == 1 else f"a share of the limit, 1/{self.members} of it,"
        return f"{why} Until that has changed, this process keeps to {share} by itself."

    def _tell_change(self) -> None:
        for _, change in tuple(self._subscribers):
            change()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _redis() -> Any:
    try:
        importlib.import_module("redis.asyncio")
    except ImportError:
        raise ConfigurationError(
            "The setting limiter needs the package redis, which is not installed: pip install 'claude_magic[redis]'. Nothing was sent."
        ) from None
    return importlib.import_module("redis")


def _make_client(redis: Any, address: RedisAddress) -> Any:
    try:
        return redis.asyncio.Redis.from_url(
            address.url,
            decode_responses=True,
            protocol=2,
            socket_connect_timeout=_CONNECT_TIMEOUT,
            socket_timeout=None,  # a subscription is silent for hours; calls have a bound of their own
            # A call that broke off may have been executed, so none is repeated.
            retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
            client_name="claude_magic",
        )
    except (ValueError, TypeError, redis.exceptions.RedisError):
        raise _unusable() from None


async def _close(client: Any) -> None:
    with contextlib.suppress(Exception):  # it is over in any case
        await client.aclose()
    with contextlib.suppress(Exception):
        await client.connection_pool.disconnect()


_EXPLAINED: Final[Sequence[tuple[str, str]]] = (
    (r"NOAUTH|WRONGPASS|AUTH|invalid (username|password)|password", "refuses the user or password of the setting limiter. Correct it: redis://USER:PASSWORD@host:6379/0."),
    (r"DB index is out of range|invalid DB index|SELECT", "has no database of the number that the setting limiter ends with. Use /0, or raise `databases` in its configuration."),
    (r"READONLY|read.only", "is a read-only replica. Name the primary in the setting limiter."),
    (r"OOM|maxmemory", "has no memory left (maxmemory). Give it more, or name another server in the setting limiter; a limiter needs a few kB."),
    (r"MOVED|ASK |CROSSSLOT|CLUSTERDOWN", "is part of a cluster, and the keys belong to another node. Name a server that is not clustered in the setting limiter."),
    (r"NOPERM", "does not allow its user what a limiter needs. Allow it in its ACL: ~claude-magic:* &claude-magic:* +@read +@write +@scripting +@pubsub."),
    (r"unknown command|EVALSHA", "knows no scripts. A limiter needs Redis 6 or newer, or Valkey."),
)  # fmt: skip


def explain(error: BaseException, address: RedisAddress) -> str | None:
    """Say in one sentence what is wrong with a server that answers, and what to do; None for one that does not answer."""
    if isinstance(error, ConfigurationError):
        return error.message
    redis = _redis()
    if isinstance(error.__cause__, redis.exceptions.RedisError):
        error = error.__cause__  # what a server says to the first words of a connection
    said = f"{type(error).__name__.removesuffix('Error').upper()} {error}"
    is_answer = isinstance(error, redis.exceptions.ResponseError | redis.exceptions.AuthenticationError)
    if isinstance(error, TypeError):
        return _unusable().message
    if not is_answer or isinstance(error, redis.exceptions.BusyLoadingError):
        return None
    for pattern, sentence in _EXPLAINED:
        if re.search(pattern, said):
            return f"The limiter at {address.shown} {sentence}"
    return f"The limiter at {address.shown} refuses a command ({_reason(error)}). It must be a Redis or Valkey server of its own."


def _reason(error: BaseException) -> str:
    """Return what is wrong, without what a message may quote."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    cause = error.__cause__ or error.__context__
    # What the system says of a socket names neither user nor password.
    told = cause.strerror if isinstance(cause, OSError) else None
    return told or type(error).__name__
