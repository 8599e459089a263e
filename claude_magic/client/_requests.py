"""Requests as data, and the keys that identify them.

A request contains only the fields that were set: no nulls and no defaults. It validates little: the server decides what
is valid, and explains its errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from ._errors import ConfigurationError, first_problem
from ._json import encode_json
from ._messages import ContentBlock, Message, ShortReprModel

_COUNTED_FIELDS = frozenset(
    (
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "cache_control",
        "speed",
        "context_management",
        "mcp_servers",
    )
)
"""Fields that the token counting endpoint accepts: the parts of a request that make up its input."""

_NOT_IN_BODY = frozenset({"stream", "betas", "draw", "asks_again"})

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Largest request body that the API accepts; it rejects a larger one with a 413, after all of it was sent."""


def _turns(value: object) -> object:
    """Convert `Message` objects and content blocks in the turns to plain dicts."""
    if not isinstance(value, list | tuple):
        return value
    return [turn.to_param() if isinstance(turn, Message) else _turn(turn) for turn in value]


def _turn(turn: object) -> object:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), list | tuple):
        return turn
    content = [block.to_param() if isinstance(block, ContentBlock) else block for block in turn["content"]]
    return {**turn, "content": content}


class MessageRequest(ShortReprModel):
    """A request for one reply. Fields that are None are not sent; fields not listed here are sent unchanged.

    Attributes:
        model: Model name.
        messages: The turns, oldest first: dicts with `role` and `content`, or `Message`s.
        max_tokens: Maximum length of the reply in model tokens, including thinking.
        system: The system prompt: a string or text blocks.
        betas: Beta features that this request needs in addition to the client's; sent in a header.
        draw: Index that distinguishes repetitions of the same request, from 0. Not sent.
        asks_again: Request a new answer: a cassette does not replay the same recording twice. Not sent.

    Raises:
        ConfigurationError: A field is not valid.
    """

    model: str = Field(min_length=1)
    messages: Annotated[list[dict[str, Any]], BeforeValidator(_turns)]
    max_tokens: int = Field(ge=0)
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: list[str] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    betas: tuple[str, ...] = ()
    draw: int = 0
    asks_again: bool = False

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as invalid:
            field, problem = first_problem(invalid)
        else:
            return
        raise ConfigurationError(f"The request's {field} is not valid: {problem} Nothing was sent.")

    def to_body(self, *, stream: bool) -> dict[str, Any]:
        """Return the request as the API's JSON object.

        Only top-level fields that are None are omitted; nested nulls were received or set on purpose.
        """
        fields = {**self.__dict__, **(self.model_extra or {})}
        body = {
            name: value for name, value in fields.items() if value is not None and name not in _NOT_IN_BODY
        }
        if stream:
            body["stream"] = True
        return body

    def to_json(self, *, stream: bool) -> bytes:
        """Return the request as JSON in UTF-8.

        Raises:
            ConfigurationError: The request contains a value that JSON cannot represent, or is larger than the API accepts.
        """
        body = encode_json(self.to_body(stream=stream))
        if len(body) > MAX_BODY_BYTES:
            raise ConfigurationError(
                f"The request has {len(body) / 2**20:.1f} MB; the API takes 32. Files and pictures of earlier turns count, since "
                "they are sent with every request of a conversation. Nothing was sent. Send less, or start a new conversation."
            )
        return body

    def count_tokens_body(self) -> dict[str, Any]:
        """Return the body for the token counting endpoint."""
        return {name: value for name, value in self.to_body(stream=False).items() if name in _COUNTED_FIELDS}


_NOT_IN_KEY = frozenset(
    {"stream", "messages", "cache_control", "metadata", "service_tier", "draw", "asks_again"}
)
"""Fields that change how a request is sent and billed, but not its answer."""
KEY_BYTES = 16


class RequestKeys:
    """A hasher that derives keys from requests: equal requests have equal keys, in every process and at all times.

    The key covers model, messages, system prompt, tools, schema, sampling, thinking, and everything else that may change
    the answer. It ignores caching, service tier, metadata, and how a request is sent (timeouts, retries, streamed or not,
    online or in a batch).

    Args:
        request: A request. All keys share its fields except the messages, which are given for each key.
    """

    def __init__(self, request: MessageRequest) -> None:
        fields = {
            name: value
            for name, value in request
            if value is not None and name not in _NOT_IN_KEY and value != ()
        }
        if "system" in fields:
            fields["system"] = _plain_content(fields["system"])
        if "tools" in fields:
            fields["tools"] = [_uncached(tool) for tool in fields["tools"]]
        self._hash = blake2b(_canonical(fields), digest_size=KEY_BYTES)

    def key(self, messages: Sequence[Mapping[str, Any]], repetition: int = 0) -> bytes:
        """Return the key of the request with these messages: 16 bytes.

        Args:
            messages: The turns, as sent.
            repetition: Index that distinguishes repetitions of the same request, from 0.
        """
        digest = self._hash.copy()
        plain = [{**turn, "content": _plain_content(turn["content"])} for turn in messages]
        digest.update(_canonical(plain))
        if repetition:
            digest.update(b"%d" % repetition)
        return digest.digest()


def split_keys(joined: bytes | bytearray) -> list[bytes]:
    """Split concatenated keys into a list."""
    return [bytes(joined[start : start + KEY_BYTES]) for start in range(0, len(joined), KEY_BYTES)]


def request_key(request: MessageRequest, repetition: int = 0) -> bytes:
    """Return the key of one request; see `RequestKeys`."""
    return RequestKeys(request).key(request.messages, repetition)


def _plain_content(content: object) -> object:
    """Return content as a list of blocks without `cache_control`; a string becomes one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list | tuple):
        return [_uncached(block) for block in content]
    return content


def _uncached(block: object) -> object:
    if not isinstance(block, Mapping):
        return block
    plain = {name: value for name, value in block.items() if name != "cache_control"}
    if block.get("type") == "tool_result" and "content" in plain:
        plain["content"] = _plain_content(plain["content"])
    return plain


_write_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
).encode


def _canonical(value: object) -> bytes:
    """Encode a JSON value so that equal values have equal encodings."""
    return _write_canonical(value).encode("utf-8", "surrogatepass")
