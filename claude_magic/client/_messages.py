"""What is sent and what comes back, as data: requests, messages, usage, models.

Requests say little themselves: the server decides what is valid, and answers it in words of its own. Replies tolerate what
servers add, leave out or send as null; that is the API's documented contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from ._blocks import ContentBlock, TextBlock, parse_block
from ._errors import ConfigurationError


def _text_or_empty(value: object) -> object:
    return "" if value is None else value


def _count_or_zero(value: object) -> object:
    return 0 if value is None else value


def _object_or_empty(value: object) -> object:
    return value if isinstance(value, Mapping | BaseModel) else {}


def _blocks(value: object) -> object:
    """Accept what the API accepts: a string is one text block."""
    if isinstance(value, str):
        return [TextBlock(type="text", text=value)]
    if isinstance(value, list):
        return [parse_block(block) if isinstance(block, Mapping) else block for block in value]
    return value


_Text = Annotated[str, BeforeValidator(_text_or_empty)]
_Count = Annotated[int, BeforeValidator(_count_or_zero)]


class Usage(BaseModel):
    """Model tokens of one reply, as billed. Fields that the server sends beyond these are kept.

    Attributes:
        input_tokens: Input that was neither read from the prompt cache nor written to it.
        output_tokens: Output, thinking included.
        cache_creation_input_tokens: Input written to the prompt cache, or None if the server does not say.
        cache_read_input_tokens: Input read from the prompt cache, or None if the server does not say.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    @property
    def total_input_tokens(self) -> int:
        """The whole prompt: fresh, written to the cache and read from it."""
        return (
            self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        )

    def merged(self, update: Usage) -> Usage:
        """Return this usage with the fields that `update` has and that are not null; counts are cumulative, never added."""
        return Usage.model_validate(
            self.model_dump(exclude_unset=True) | update.model_dump(exclude_unset=True, exclude_none=True)
        )


class Message(BaseModel):
    """A reply, complete or as far as it had come.

    Attributes:
        content: Its blocks, in order. May be empty, or begin with thinking.
        stop_reason: Why the model stopped, or None while it has not. Any string is possible.
        stop_sequence: The stop sequence that was met, if that was the reason.
        stop_details: More on the reason, for a refusal.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: _Text = ""
    type: _Text = "message"
    role: _Text = "assistant"
    model: _Text = ""
    content: Annotated[list[SerializeAsAny[ContentBlock]], BeforeValidator(_blocks)]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: Annotated[Usage, BeforeValidator(_object_or_empty)] = Usage()

    @property
    def text(self) -> str:
        """The answer: all text blocks, joined. Citations split text into several."""
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def thinking(self) -> str:
        """The thinking that the API shows, blocks parted by a blank line; often empty."""
        texts = (getattr(block, "thinking", "") for block in self.content)
        return "\n\n".join(text for text in texts if isinstance(text, str) and text)

    def to_param(self) -> dict[str, Any]:
        """Return the message as a turn of a later request, its content just as the API sent it."""
        return {"role": self.role, "content": [block.to_param() for block in self.content]}


def _turns(value: object) -> object:
    """Accept `Message` objects among the turns, and content blocks in them."""
    if not isinstance(value, list | tuple):
        return value
    return [turn.to_param() if isinstance(turn, Message) else _turn(turn) for turn in value]


def _turn(turn: object) -> object:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), list | tuple):
        return turn
    content = [block.to_param() if isinstance(block, ContentBlock) else block for block in turn["content"]]
    return {**turn, "content": content}


class MessageRequest(BaseModel):
    """A request for one reply. Fields that are None are not sent; fields not listed here are, as they are.

    Attributes:
        model: The model to ask.
        messages: The turns, oldest first: objects with `role` and `content`, or `Message`s.
        max_tokens: Bound of the reply in model tokens, thinking included.
        system: The system prompt: a string or text blocks.

    Raises:
        ConfigurationError: A field cannot be right.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

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

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as invalid:
            problem = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
        else:
            return
        field = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"The request's {field} is not valid: {problem['msg']}. Nothing was sent.")

    def to_body(self, *, stream: bool) -> dict[str, Any]:
        """Return the request as the API's JSON object."""
        body = {name: value for name, value in self if value is not None}
        if stream:
            body["stream"] = True
        return body

    def to_json(self, *, stream: bool) -> bytes:
        """Return the request as JSON in UTF-8.

        Raises:
            ConfigurationError: It holds something that JSON or UTF-8 cannot express.
        """
        return encode_json(self.to_body(stream=stream))

    def count_tokens_body(self) -> dict[str, Any]:
        """Return what the counting endpoint takes: the parts of the request that make up its input."""
        body = self.to_body(stream=False)
        return {name: body[name] for name in _COUNTED_FIELDS if name in body}


_COUNTED_FIELDS = (
    "model messages system tools tool_choice thinking output_config cache_control speed"
).split()


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Encode a request body.

    Raises:
        ConfigurationError: It holds half of a surrogate pair, or an object that JSON has no form for.
    """
    try:
        return to_json(body)
    except UnicodeEncodeError as failure:
        reason = f"it holds the character {failure.object[failure.start]!a}, half of a surrogate pair, which no text can hold"
    except PydanticSerializationError as failure:
        reason = str(failure)
    raise ConfigurationError(f"The request cannot be written as JSON: {reason}. Nothing was sent.")


class ModelInfo(BaseModel):
    """What the server says about one model. Only `id` is sure to be there.

    Attributes:
        id: The name to ask for.
        display_name: Its name for people.
        created_at: RFC 3339 time of release.
        lifecycle: `active`, `deprecated` or `retired`.
        max_input_tokens: Size of its context, in model tokens.
        max_tokens: Largest output, in model tokens.
        capabilities: What it can do, as nested objects with a `supported` leaf.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    display_name: _Text = ""
    created_at: Any = None
    lifecycle: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What `execute` returns.

    Attributes:
        text: The answer.
        usage: What it cost, in model tokens.
        message: All of it.
    """

    text: str
    usage: Usage
    message: Message

    def __str__(self) -> str:
        return self.text
