"""The settings of one client (validated and immutable), its credential, and the redaction of keys in text."""

from __future__ import annotations

import base64
import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NoReturn
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ._errors import ConfigurationError, first_problem
from ._redis import read_limiter_url
from ._retry import RetryPolicy

OFFICIAL_BASE_URL = "https://api.anthropic.com"

_API_PATHS = ("/v1/messages/count_tokens", "/v1/messages", "/v1/models", "/v1")
"""Paths that users paste along with a base URL. They are removed; `/v1/...` is added to each request."""

_MANAGED_HEADERS = frozenset(
    {"x-api-key", "authorization", "proxy-authorization", "cookie", "anthropic-version", "anthropic-beta"}
    | {"host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"}
    | {"accept", "accept-encoding"}
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


class ClientConfig(BaseModel):
    """The settings of an `HTTPClaudeClient`. Durations are in seconds.

    Attributes:
        base_url: Scheme and host of the API, optionally with a path; a trailing `/v1` or slash is removed.
        api_version: Value of the `anthropic-version` header.
        messages_path: Path of the Messages endpoint, relative to `base_url`.
        timeout: Timeout of each phase (connect, write, each read, waiting for a pooled connection).
        stream_timeout: Timeout of a whole streamed reply, which pings could otherwise keep alive forever.
        rate_limit_rps: Requests per second.
        rate_limit_capacity: Largest burst of requests; None means `rate_limit_rps`, but at least 1.
        limiter: URL of a Redis or Valkey server whose limiter all processes of the account share, or None.
        max_retries: Maximum number of attempts after the first; at most 100.
        initial_backoff: Wait before the first retry; doubled with each further one.
        max_backoff: Longest back-off, and longest `Retry-After` that is accepted.
        max_retry_time: Maximum time for retries, from the first failure.
        max_idle_connections: Maximum number of idle connections that are kept open for reuse.
        max_event_bytes: Largest single event of a stream, in bytes. A whole stream may be 16 times as large, and at least 256 MB.
        lenient_stream_end: Accept a stream that ends after a stop reason but before `message_stop`.
        betas: Values of the `anthropic-beta` header.
        headers: Additional request headers; not those that the client sets itself, and never a credential.
        auth_header: Header for the API key: `x-api-key`, or `authorization` for `Bearer`.

    Raises:
        ConfigurationError: A value is not valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    base_url: str = OFFICIAL_BASE_URL
    api_version: str = Field(default="2023-06-01", pattern=r"^[A-Za-z0-9._-]+$")
    messages_path: str = "/v1/messages"
    timeout: float = Field(default=300.0, gt=0)
    stream_timeout: float = Field(default=3600.0, gt=0)
    rate_limit_rps: float = Field(default=10.0, gt=0)
    rate_limit_capacity: float | None = Field(default=None, ge=1)
    limiter: str | None = Field(default=None, repr=False)  # may contain a password
    max_retries: int = Field(default=3, ge=0, le=100)
    initial_backoff: float = Field(default=10.0, ge=0)
    max_backoff: float = Field(default=300.0, ge=0)
    max_retry_time: float = Field(default=300.0, ge=0)
    max_idle_connections: int = Field(default=10, ge=0)
    max_event_bytes: int = Field(default=16 * 1024 * 1024, gt=0)
    lenient_stream_end: bool = False
    betas: tuple[str, ...] = ()
    headers: Mapping[str, str] = Field(default={}, repr=False)  # gateways put secrets into custom headers
    auth_header: Literal["x-api-key", "authorization"] = "x-api-key"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as invalid:
            field, problem = first_problem(invalid)
        else:
            return
        raise ConfigurationError(f"The setting {field} is not valid: {problem}")

    @field_validator("base_url")
    @classmethod
    def _normalise_base_url(cls, value: str) -> str:
        return normalise_base_url(value)

    @field_validator("messages_path")
    @classmethod
    def _check_messages_path(cls, value: str) -> str:
        if not re.fullmatch(r"/(?!/)[^\s?#\\]+", value) or not value.isascii():
            raise ConfigurationError(
                f"The setting messages_path must be a path that starts with one slash, such as /v1/messages, not {value!r}."
            )
        return value

    @field_validator("limiter")
    @classmethod
    def _check_limiter(cls, value: str | None) -> str | None:
        text = (value or "").strip()
        return text if text and read_limiter_url(text) else None

    @field_validator("betas")
    @classmethod
    def _check_betas(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for beta in value:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", beta, re.ASCII):
                raise ConfigurationError(
                    f"The setting betas contains {beta!r}, which is not the name of a beta feature."
                )
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, content in value.items():
            _check_header(name, content)
        return dict(value)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The apparent secrets in `headers` and in the path of `base_url`, where some gateways expect them.

        Ordinary values, such as the name of a model or a media type, are not secret: they may be words of an answer.
        """
        found = [
            part
            for name, value in self.headers.items()
            for part in re.split(r"[\s,;]+", value)
            if len(part) >= _SHORTEST_SECRET and (_SECRET_HEADER.search(name) or _RANDOM.search(part))
        ]
        return (*found, *_secrets_in_path(self.base_url))

    @property
    def shown_base_url(self) -> str:
        """The base URL for display, with apparent secrets in its path redacted."""
        shown = self.base_url
        for secret in _secrets_in_path(shown):
            shown = shown.replace(secret, REDACTED)
        return shown

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, self.shown_base_url if name == "base_url" else value

    @property
    def is_official_host(self) -> bool:
        """Whether requests go to Anthropic's own API, which requires a key."""
        return f".{urlsplit(self.base_url).hostname}".endswith(".anthropic.com")

    @property
    def sends_key_in_clear(self) -> bool:
        """Whether the key would be sent unencrypted over a network: plain `http` to another machine."""
        url = urlsplit(self.base_url)
        return url.scheme == "http" and not is_loopback(url.hostname or "")

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry policy from these settings."""
        return RetryPolicy(
            max_retries=self.max_retries,
            initial_backoff=self.initial_backoff,
            max_backoff=self.max_backoff,
            max_total_time=self.max_retry_time,
        )


def normalise_base_url(value: str) -> str:
    """Normalise a base URL: scheme, host, port and path, without `/v1` or a trailing slash.

    Raises:
        ConfigurationError: The value is not an http(s) URL, or contains a user name, password, query or fragment. The
            message does not show those, because they may be secret.
    """
    text = value.strip()
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ConfigurationError(
            "The setting base_url contains a space or another character that a URL cannot have."
        )
    url = _split_url(text)
    if url.scheme not in ("http", "https"):
        raise ConfigurationError(
            "The setting base_url must begin with https:// (or http:// for a server of your own), "
            f"as in {OFFICIAL_BASE_URL} or http://localhost:11434."
        )
    if "@" in url.netloc:
        raise ConfigurationError(
            "The setting base_url contains a user name or password. Leave it out; the key has its own setting."
        )
    if url.query or url.fragment or text.endswith(("?", "#")):
        raise ConfigurationError("The setting base_url must not contain a query (?…) or fragment (#…).")
    return f"{url.scheme}://{url.netloc.lower()}{_strip_api_path(url.path)}"


def _split_url(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        is_usable = url.port != 0 and (url.hostname or url.scheme not in ("http", "https"))
    except ValueError:  # a port that is not a number, or an IPv6 address without brackets
        is_usable = False
    if not is_usable:
        # The path may contain a secret, as the login may.
        shown = re.match(r"(?:[^/]*//)?[^/]*", text.rpartition("@")[2])
        raise ConfigurationError(
            f"The setting base_url is not the URL of a server: {shown[0] if shown else ''!r}."
        )
    return url


def _strip_api_path(path: str) -> str:
    path = path.rstrip("/")
    for ending in _API_PATHS:
        if path.endswith(ending):
            return path.removesuffix(ending).rstrip("/")
    return path


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is a loopback address of this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _check_header(name: str, content: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ConfigurationError(f"The setting headers contains {name!r}, which is not a header name.")
    if name.lower() in _MANAGED_HEADERS:
        raise ConfigurationError(
            f"The setting headers must not contain {name}: the client sets it itself, "
            "from the settings for credentials, api_version and betas."
        )
    if not content.isascii() or not content.replace("\t", " ").isprintable():
        raise ConfigurationError(
            f"The value of the header {name} contains a line break or a character outside ASCII."
        )


REDACTED = "[REDACTED]"

_KEY_PATTERN = re.compile(r"sk-ant-[A-Za-z0-9_-]{8,}", re.ASCII)

_SECRET_HEADER = re.compile(r"(?:key|token|secret|password|auth|authorization|credentials?)$", re.IGNORECASE)
_RANDOM = re.compile(
    r"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{10,}|sk-ant-[A-Za-z0-9_-]{8,}", re.ASCII
)
"""Letters and digits mixed, as in keys. Names of models, versions and dates separate them."""

_PUBLIC_BEGINNING = re.compile(r"sk-ant-(?:[a-z]+\d*-)?")
"""The common prefix of all keys, which is not secret."""

_PIECE = 4
"""Characters per lookup: the number of bytes in an integer of type `I`."""

_SHORTEST_SECRET = 8
_SHORTEST_FRAGMENT = 10
"""Shortest part of a long key that is redacted, in characters: text does not contain that many in a row by chance."""
_SHORTEST_PART = 16
"""The same for other secrets, which may contain words."""
_LONG_SECRET = 20
_SHORTEST_BASE64 = 16
_MAX_ESCAPES = 100_000
"""Maximum number of escapes decoded in one text, so that a text full of escapes does not exhaust memory."""

# Repetitions are bounded, so that a text of backslashes takes linear time. A proxy that escapes twice writes `%252D` and
# `\\\\u002d`.
_ESCAPE = re.compile(
    r"%(?:25){0,4}(?P<percent>[0-9a-f]{2}) | \\{1,4}(?:u00|x)(?P<json>[0-9a-f]{2}) | \\{1,4}(?P<slash>/)"
    r"| &(?:amp;)?\#(?:x0{0,4}(?P<hex>[0-9a-f]{2})|0{0,4}(?P<decimal>\d{2,3}));",
    re.IGNORECASE | re.VERBOSE,
)


def _secrets_in_path(url: str) -> list[str]:
    parts = urlsplit(url).path.split("/")
    return [part for part in parts if len(part) >= _SHORTEST_PART and _RANDOM.search(part)]


class Credential:
    """An API key or bearer token that is validated before it reaches the HTTP layer.

    Without validation, a key with a newline would fail in the HTTP layer with a message that quotes it, and a non-ASCII
    key with a UnicodeEncodeError that contains it. Comparing, printing and pickling never reveal the value.

    Args:
        api_key: An API key (`sk-ant-...`).
        auth_token: A token for `Authorization: Bearer`, instead of an API key.

    Raises:
        ConfigurationError: None or both were given, or the value is not a valid key. The message does not show it.
    """

    __slots__ = ("__finder", "__hiding", "__secrets", "__value", "is_token")

    def __init__(self, *, api_key: str | None = None, auth_token: str | None = None) -> None:
        if (api_key is None) == (auth_token is None):
            raise ConfigurationError("Give either an API key or an auth token, not both.")
        self.is_token = auth_token is not None
        self.__value = _checked(auth_token or api_key or "", "auth token" if self.is_token else "API key")
        self.__secrets: tuple[str, ...] = ()
        self.__finder: _SecretFinder | None = None
        self.__hiding: Credential | None = None

    @classmethod
    def placeholder(cls) -> Credential:
        """Return a placeholder for servers that need no key but require the header (Ollama, llama.cpp)."""
        return cls(api_key="none")

    def reveal(self) -> str:
        """Return the value. Needed to send the key, and to derive an account name from it."""
        return self.__value

    def hiding(self, secrets: tuple[str, ...]) -> Credential:
        """Return the same credential, whose `redact` and `spans_in` also find other secrets: `ClientConfig.secrets`."""
        if secrets == self.__secrets:
            return self
        known = self.__hiding
        if known is None or known.__secrets != secrets:
            known = Credential(**{"auth_token" if self.is_token else "api_key": self.__value})
            known.__secrets = secrets
            self.__hiding = known
        return known

    def redact(self, text: str) -> str:
        """Replace the key, and anything else that looks like one, in text from outside.

        Servers quote keys in their errors: whole or in part, in upper or lower case, percent-encoded, escaped as in JSON or
        HTML, in base64 (also as `user:key`) or in hexadecimal. A value of a few letters is not replaced: it is a placeholder
        such as "test" or "ollama" for a local server, and may be an ordinary word in the text.
        """
        return self._finder().redact(text)

    def spans_in(self, text: str) -> list[tuple[int, int]]:
        """Return the (start, end) positions of this key in a text, in order, in all forms that `redact` finds."""
        return self._finder().spans(text)

    def _finder(self) -> _SecretFinder:
        if self.__finder is None:
            key = self.__value if len(self.__value) >= _SHORTEST_SECRET else ""
            self.__finder = _SecretFinder(key, self.__secrets)
        return self.__finder

    def __repr__(self) -> str:
        return f"Credential({REDACTED})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Credential cannot be pickled or copied: the key would be written out")


def _checked(value: str, name: str) -> str:
    text = value.strip()
    if not text:
        raise ConfigurationError(f"The {name} is empty. Set it again, without quotes around it.")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(
            f"The {name} contains a space, a line break or a character that a key cannot have; it is not shown here. "
            "Copy it again, in one piece."
        )
    return text


class _SecretFinder:
    """A search for a secret in text, in time proportional to the length of the text.

    The text is split into pieces of four characters. Any match of at least seven characters with a form of the secret
    contains a whole piece. The pieces are looked up as integers, which takes about 5 ns per character, and the characters
    around a piece are compared only if it is found.

    Args:
        secret: The key; empty to search only for text with the form of a key.
        others: Other secrets, of at least 8 characters.
    """

    def __init__(self, secret: str, others: Sequence[str] = ()) -> None:
        self._known: dict[int, list[tuple[str, int, int, int]]] = {}
        if secret:
            self._add_forms(secret, _SHORTEST_FRAGMENT)
        for other in others:
            self._add_forms(other, _SHORTEST_PART)

    def _add_forms(self, secret: str, fragment: int) -> None:
        beginning = _PUBLIC_BEGINNING.match(secret)
        is_long = len(secret) >= _LONG_SECRET
        public = beginning.end() if beginning and is_long else 0
        self._add(secret, public, fragment if is_long else len(secret))
        hexadecimal = secret.encode("ascii").hex()
        for form in {secret.lower(), secret.upper(), hexadecimal, hexadecimal.upper()} - {secret}:
            self._add(form, 0, len(form))
        for form in dict.fromkeys(_in_base64(secret)):
            self._add(form, 0, min(_SHORTEST_BASE64, len(form)))

    def redact(self, text: str) -> str:
        """Return the text with the secret, and all that looks like a key, replaced."""
        parts: list[str] = []
        done = 0
        for start, end in self.spans(text, other_keys=True):
            parts += [text[done:start], REDACTED]
            done = end
        return "".join([*parts, text[done:]])

    def spans(self, text: str, *, other_keys: bool = False) -> list[tuple[int, int]]:
        """Return where the secret is in the text, in order; with `other_keys`, also what looks like a key."""
        plain, origins = _unescaped(text)
        found = [*self._find(plain)]
        if other_keys:
            found += [match.span() for match in _KEY_PATTERN.finditer(plain)]
        return [(_origin(start, origins), _origin(end, origins)) for start, end in _merged(found)]

    def _add(self, form: str, public: int, shortest: int) -> None:
        for at in range(public, len(form) - _PIECE + 1):
            [piece] = _pieces_of(form[at : at + _PIECE])
            self._known.setdefault(piece, []).append((form, at, public, shortest))

    def _find(self, text: str) -> Iterator[tuple[int, int]]:
        pieces, known = _pieces_of(text), self._known
        if known.keys().isdisjoint(pieces):
            return
        done = 0
        for place in [number * _PIECE for number, piece in enumerate(pieces) if piece in known]:
            if place + _PIECE <= done:
                continue
            for form, at, public, shortest in known[pieces[place // _PIECE]]:
                left = _count_equal(form, text, at, place, -1)
                right = _count_equal(form, text, at + _PIECE - 1, place + _PIECE - 1, 1)
                if min(left, at - public) + _PIECE + right >= shortest:
                    done = max(done, place + _PIECE + right)
                    yield place - left, place + _PIECE + right


def _pieces_of(text: str) -> memoryview[int]:
    """Split a text into pieces as integers; an incomplete piece at the end is omitted."""
    data = text.encode("latin-1", "replace")  # a byte for each character
    return memoryview(data)[: len(data) // _PIECE * _PIECE].cast("I")


def _in_base64(secret: str) -> Iterator[str]:
    """Yield the base64 encodings of a secret at each offset modulo 3 in the encoded data, in both alphabets."""
    for lead in range(3):
        # The first and last characters also encode bits of adjacent bytes, and are cut off.
        encoded = base64.b64encode(b" " * lead + secret.encode("ascii")).decode("ascii")
        whole = encoded[(0, 2, 3)[lead] : (lead + len(secret)) * 8 // 6]
        yield whole
        yield whole.translate(str.maketrans("+/", "-_"))


def _unescaped(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text with escapes decoded, and for each part of it the start in the result and in the original."""
    parts: list[str] = []
    origins = [(0, 0)]
    if not ("%" in text or "\\" in text or "&" in text):
        return text, origins
    length = done = 0
    for match in islice(_ESCAPE.finditer(text), _MAX_ESCAPES):
        code = int(match["percent"] or match["json"] or match["hex"] or "0", 16) or int(match["decimal"] or 0)
        char = match["slash"] or chr(code)
        parts += [text[done : match.start()], char]
        length += match.start() - done
        origins += [(length, match.start()), (length + 1, match.end())]
        length += 1
        done = match.end()
    return ("".join([*parts, text[done:]]), origins) if parts else (text, origins)


def _origin(place: int, origins: list[tuple[int, int]]) -> int:
    at, original = origins[bisect_right(origins, place, key=lambda piece: piece[0]) - 1]
    return original + place - at


def _count_equal(form: str, text: str, at: int, place: int, step: int) -> int:
    """Count the equal characters that follow the two positions in one direction."""
    count = 0
    while True:
        at, place = at + step, place + step
        if not (0 <= at < len(form) and 0 <= place < len(text) and form[at] == text[place]):
            return count
        count += 1


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort spans, and merge those that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            first, last = merged.pop()
            merged.append((first, max(last, end)))
        else:
            merged.append((start, end))
    return merged
