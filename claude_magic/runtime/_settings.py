"""The settings: one model, and where each of them may come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..client import OFFICIAL_BASE_URL, ClientConfig

Effort: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]
Thinking: TypeAlias = Literal["show", "hide", "off"]
Demo: TypeAlias = Literal["off", "auto", "on"]

DEFAULT_MODEL = "claude-sonnet-5-5"
DEFAULT_MAX_TOKENS = 16_000
"""Includes thinking. Small values can end before the first word of the answer; this is enough for nearly all."""


def _split_list(value: object) -> object:
    """Read `a, b` as environment variables and options write it."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _none_if_blank(value: object) -> object:
    """Take a blank system prompt for none: the API refuses one."""
    return None if isinstance(value, str) and not value.strip() else value


def _split_headers(value: object) -> object:
    """Read lines of `Name: value`, the form of ANTHROPIC_CUSTOM_HEADERS."""
    if not isinstance(value, str):
        return value
    headers = {}
    for line in value.splitlines():
        if line.strip():
            name, colon, content = line.partition(":")
            if not colon:
                raise ValueError("each line must be `Name: value`")
            headers[name.strip()] = content.strip()
    return headers


class Settings(BaseModel):
    """Everything that can be set, but for the credential. Durations are seconds.

    Attributes:
        base_url: Where the API is; without `/v1`.
        model: The model that is asked.
        max_tokens: Bound of an answer in model tokens, thinking included.
        effort: How hard the model tries: low, medium, high, xhigh or max; None leaves it to the model.
        thinking: "show" asks for a summary of the thinking, "hide" does not, "off" forbids it where the model allows.
        system: System prompt, or None; a blank one is none.
        api_version: The `anthropic-version` header.
        messages_path: Path of the Messages call.
        rate_limit_rps: Requests per second.
        max_retries: Attempts after the first.
        initial_backoff: Wait before the first retry.
        max_backoff: Longest wait before a retry.
        max_retry_time: Bound of the time spent retrying.
        timeout: Bound of each phase of a request.
        stream_timeout: Bound of a whole answer.
        lenient_stream_end: Accept answers that end before `message_stop`.
        betas: Beta features to ask for.
        headers: Further request headers.
        auth_header: Header that carries the key.
        demo: "on" lets the embedded simulator answer, "auto" does so where there is neither a key nor a base_url.
        live: Draw answers while they stream.
        remote_images: Let answers load images from other hosts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    base_url: str = OFFICIAL_BASE_URL
    model: Annotated[str, Field(min_length=1)] = DEFAULT_MODEL
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = DEFAULT_MAX_TOKENS
    effort: Effort | None = None
    thinking: Thinking = "show"
    system: Annotated[str | None, BeforeValidator(_none_if_blank)] = None
    api_version: str = "2023-06-01"
    messages_path: str = "/v1/messages"
    rate_limit_rps: float = 10.0
    max_retries: Annotated[int, Field(le=100)] = 3
    initial_backoff: float = 10.0
    max_backoff: float = 300.0
    max_retry_time: float = 300.0
    timeout: float = 300.0
    stream_timeout: float = 3600.0
    lenient_stream_end: bool = False
    betas: Annotated[tuple[str, ...], BeforeValidator(_split_list)] = ()
    headers: Annotated[Mapping[str, str], BeforeValidator(_split_headers), Field(repr=False)] = {}
    auth_header: Literal["x-api-key", "authorization"] = "x-api-key"
    demo: Demo = "off"
    live: bool = True
    remote_images: bool = False

    def client_config(self, **changes: Any) -> ClientConfig:
        """The client's part of the settings."""
        return ClientConfig(**{name: getattr(self, name) for name in CLIENT_FIELDS} | changes)


CLIENT_FIELDS = frozenset(Settings.model_fields) & frozenset(ClientConfig.model_fields)
SECRET_FIELDS = ("api_key", "auth_token")
"""Settings that are read by `_credentials` and stand in no model, so that nothing can print them."""

STRANGER_FIELDS = frozenset(Settings.model_fields) - {
    "base_url",
    "messages_path",
    "headers",
    "auth_header",
    "api_version",
    "betas",
    "lenient_stream_end",
    "demo",
    "remote_images",
}
"""What a file beside a notebook may set. It may come with the notebook from a stranger, who is neither to be sent the key, nor the
answers (which an image's address can carry away), nor to pass a simulator off as Claude or half an answer off as a whole."""

NOTEBOOK_FIELDS = frozenset(Settings.model_fields) - {"demo"}
"""What `%config` may set: a notebook never chooses silently that a simulator answers."""

LOCAL_SOURCE = "file (claude-magic.toml beside the notebook)"
"""Where a setting comes from that a file beside the notebook has set."""

EFFORTS: tuple[str, ...] = get_args(Effort)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSettings:
    """The settings in force, and how they came about.

    Attributes:
        values: The settings.
        sources: For each field, where its value comes from, in words.
        notes: What a person should know about them, as sentences: ignored keys, misspelt ones.
    """

    values: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())

    def with_model(self, model: str) -> ResolvedSettings:
        """Return these settings with another model, under whose full name it is asked for."""
        return replace(self, values=self.values.model_copy(update={"model": model}))

    def is_default(self, name: str) -> bool:
        """Whether nobody has set this one."""
        return self.sources[name] == DEFAULT_SOURCE

    @property
    def set_beside_notebook(self) -> dict[str, Any]:
        """The settings in force that a file beside the notebook has made, by name."""
        return {
            name: getattr(self.values, name)
            for name, source in self.sources.items()
            if source == LOCAL_SOURCE
        }


def shorten(text: str, length: int = 60) -> str:
    """Return a text on one line, cut where it is too long for a message."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * length]).split())
    return line if len(line) <= length and len(text) <= 2 * length else f"{line[: length - 1]}…"


def shown(value: object) -> str:
    """Return a value as a message shows it, whatever its size."""
    try:
        return shorten(repr(value[:200] if isinstance(value, str | bytes | list | tuple) else value))
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a {type(value).__name__} that is too large to show"


DEFAULT_SOURCE = "default"
