"""The settings of one client: plain values, checked, frozen. Where they come from is not decided here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ._errors import ConfigurationError
from ._retry import RetryPolicy

OFFICIAL_BASE_URL = "https://api.anthropic.com"

_API_PATHS = ("/v1/messages/count_tokens", "/v1/messages", "/v1/models", "/v1")
"""Endings that people paste along with a base URL; `/v1/...` is added again when a request is sent."""

_MANAGED_HEADERS = frozenset(
    {"x-api-key", "authorization", "proxy-authorization", "cookie", "anthropic-version", "anthropic-beta"}
    | {"host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"}
    | {"accept", "accept-encoding"}
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


class ClientConfig(BaseModel):
    """Settings of a `HTTPClaudeClient`. Durations are seconds.

    Attributes:
        base_url: Scheme and host of the API, maybe with a path; a trailing `/v1` or slash is dropped.
        api_version: Sent as `anthropic-version`.
        messages_path: Path of the Messages call, below `base_url`.
        timeout: Bound of each phase (connect, write, each read, waiting for a pooled connection).
        stream_timeout: Bound of a whole streamed reply, which pings could otherwise keep alive for ever.
        rate_limit_rps: Requests per second.
        rate_limit_capacity: Largest burst of requests; None means `rate_limit_rps`, but at least 1.
        max_retries: Attempts after the first.
        initial_backoff: Wait before the first retry; each further one doubles it.
        max_backoff: Longest back-off, and longest `Retry-After` that is waited for.
        max_retry_time: Bound of the time spent retrying, from the first failure on.
        max_idle_connections: Idle connections kept open for reuse.
        max_event_bytes: Largest single event of a stream, in bytes.
        lenient_stream_end: Accept a stream that ends after a stop reason but before `message_stop`.
        betas: Values of the `anthropic-beta` header.
        headers: Further request headers; none that the client sets itself, and never a credential.
        auth_header: Header that carries an API key: `x-api-key`, or `authorization` as `Bearer`.

    Raises:
        ConfigurationError: A value cannot be right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    base_url: str = OFFICIAL_BASE_URL
    api_version: str = Field(default="2023-06-01", pattern=r"^[A-Za-z0-9._-]+$")
    messages_path: str = "/v1/messages"
    timeout: float = Field(default=300.0, gt=0)
    stream_timeout: float = Field(default=3600.0, gt=0)
    rate_limit_rps: float = Field(default=10.0, gt=0)
    rate_limit_capacity: float | None = Field(default=None, ge=1)
    max_retries: int = Field(default=3, ge=0)
    initial_backoff: float = Field(default=10.0, ge=0)
    max_backoff: float = Field(default=300.0, ge=0)
    max_retry_time: float = Field(default=300.0, ge=0)
    max_idle_connections: int = Field(default=10, ge=0)
    max_event_bytes: int = Field(default=16 * 1024 * 1024, gt=0)
    lenient_stream_end: bool = False
    betas: tuple[str, ...] = ()
    headers: Mapping[str, str] = Field(
        default={}, repr=False
    )  # gateways do put secrets into headers of their own
    auth_header: Literal["x-api-key", "authorization"] = "x-api-key"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as invalid:
            problem = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
        else:
            return
        field = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"The setting {field} is not valid: {problem['msg']}.")

    @field_validator("base_url")
    @classmethod
    def _normalise_base_url(cls, value: str) -> str:
        return normalise_base_url(value)

    @field_validator("messages_path")
    @classmethod
    def _check_messages_path(cls, value: str) -> str:
        if not re.fullmatch(r"/(?!/)[^\s?#\\]+", value) or not value.isascii():
            raise ConfigurationError(
                f"The setting messages_path must be a path with one slash first, as /v1/messages, not {value!r}."
            )
        return value

    @field_validator("betas")
    @classmethod
    def _check_betas(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for beta in value:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", beta, re.ASCII):
                raise ConfigurationError(
                    f"The setting betas holds {beta!r}, which is not the name of a beta feature."
                )
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, content in value.items():
            _check_header(name, content)
        return dict(value)

    @property
    def is_official_host(self) -> bool:
        """Whether requests go to the API of Anthropic itself, which needs a key."""
        return f".{urlsplit(self.base_url).hostname}".endswith(".anthropic.com")

    @property
    def sends_key_in_clear(self) -> bool:
        """Whether a key would cross a network unencrypted: plain `http` to another machine."""
        url = urlsplit(self.base_url)
        return url.scheme == "http" and not is_loopback(url.hostname or "")

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry policy that these settings describe."""
        return RetryPolicy(
            max_retries=self.max_retries,
            initial_backoff=self.initial_backoff,
            max_backoff=self.max_backoff,
            max_total_time=self.max_retry_time,
        )


def normalise_base_url(value: str) -> str:
    """Return a base URL in its one form: scheme, host, port and path, without `/v1` or a trailing slash.

    Raises:
        ConfigurationError: It is not an http(s) URL, or holds a user name, password, query or fragment. Those
            are not shown, because they may be secret.
    """
    text = value.strip()
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ConfigurationError("The setting base_url holds a space or another character that no URL has.")
    url = _split_url(text)
    if url.scheme not in ("http", "https"):
        raise ConfigurationError(
            "The setting base_url must begin with https:// (or http:// for a server of your own), "
            f"as in {OFFICIAL_BASE_URL} or http://localhost:11434."
        )
    if "@" in url.netloc:
        raise ConfigurationError(
            "The setting base_url holds a user name or password. Leave it out; the key has its own setting."
        )
    if url.query or url.fragment or text.endswith(("?", "#")):
        raise ConfigurationError("The setting base_url must not hold a query (?…) or fragment (#…).")
    return f"{url.scheme}://{url.netloc.lower()}{_strip_api_path(url.path)}"


def _split_url(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        is_usable = url.port != 0 and (url.hostname or url.scheme not in ("http", "https"))
    except ValueError:  # a port that is no number, an IPv6 address without its bracket
        is_usable = False
    if not is_usable:
        raise ConfigurationError(f"The setting base_url is no URL of a server: {text.rpartition('@')[2]!r}.")
    return url


def _strip_api_path(path: str) -> str:
    path = path.rstrip("/")
    for ending in _API_PATHS:
        if path.endswith(ending):
            return path.removesuffix(ending).rstrip("/")
    return path


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _check_header(name: str, content: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ConfigurationError(f"The setting headers holds {name!r}, which is not a header name.")
    if name.lower() in _MANAGED_HEADERS:
        raise ConfigurationError(
            f"The setting headers must not hold {name}: the client sets it itself, "
            "from the settings for credentials, api_version and betas."
        )
    if not content.isascii() or not content.replace("\t", " ").isprintable():
        raise ConfigurationError(
            f"The value of the header {name} holds a line break or a character outside ASCII."
        )
