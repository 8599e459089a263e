"""Data models of responses: messages, content blocks, usage, models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeGuard

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    SkipValidation,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import to_json

_LONGEST_SHOWN = 60
"""Longest value in a repr, in characters: a cell that ends with a message shows its repr."""


class ShortReprModel(BaseModel):
    """A frozen model that keeps unknown fields. Its repr omits default values and truncates long ones."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            field = fields.get(name or "")
            if field is None or value != field.get_default(call_default_factory=True):
                yield name, _Shown(_shorten(value))


class Received(ShortReprModel):
    """A model of data from a server. A field of the wrong type is treated as absent if it has a default."""

    @model_validator(mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate the value; if that fails, validate it again without the invalid fields."""
        try:
            return handler(value)
        except ValidationError as invalid:
            if not isinstance(value, Mapping):
                raise
            problems = invalid.errors(include_url=False, include_context=False, include_input=False)
        wrong = {name for problem in problems for name in problem["loc"][:1]}
        return handler({name: item for name, item in value.items() if name not in wrong})


class _Shown(str):
    """Text that is its own repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _shorten(value: object) -> str:
    if isinstance(value, str):
        if len(value) <= _LONGEST_SHOWN:
            return repr(value)
        return f"{value[:_LONGEST_SHOWN]!r}… ({len(value):,} characters)"
    if isinstance(value, list):
        return f"[{', '.join(map(_shorten, value))}]"
    if isinstance(value, BaseModel):
        return repr(value)
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


# Content blocks: the parts of a message.
#
# Blocks from the API must be sent back unchanged (signatures, empty thinking blocks, unknown blocks). A block therefore
# keeps all fields that it was received with, and `to_param` returns exactly these.
class ContentBlock(ShortReprModel):
    """A content block of a type without its own class, or with unexpected fields.

    All its fields are available as attributes.

    Attributes:
        type: The API's name for the type of block; empty if the server gives none. A malformed one is kept.
    """

    type: SkipValidation[str] = ""

    _is_complete: bool = PrivateAttr(default=True)

    @property
    def is_complete(self) -> bool:
        """Whether the whole block has arrived; False for a block that was incomplete when the stream broke off."""
        return self._is_complete

    @property
    def has_type(self) -> bool:
        """Whether the block has a valid type. The API rejects a history with other blocks."""
        return isinstance(self.type, str) and self.type != ""

    def to_param(self) -> dict[str, Any]:
        """Return the block as a parameter for the API: exactly the fields that it was received with, unchanged."""
        fields = self.model_dump(exclude_unset=True, warnings=False)
        return {"type": self.type, **fields} if self.type else fields


class TextBlock(ContentBlock):
    """Text of the reply. `citations` is a list of objects, or None."""

    type: str = "text"
    text: str
    citations: list[Any] | None = None


class ThinkingBlock(ContentBlock):
    """Reasoning before or between text. `thinking` is empty if the API omits it; the signature is not."""

    type: str = "thinking"
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(ContentBlock):
    """Reasoning that is completely encrypted."""

    type: str = "redacted_thinking"
    data: str


class ToolUseBlock(ContentBlock):
    """A call of a tool that the client runs (`tool_use`) or the server (`server_tool_use`, `mcp_tool_use`).

    Attributes:
        id: Id of the call, which its result must repeat; empty if the server gives none.
        name: Name of the tool.
        input: Arguments of the call.
    """

    type: str = "tool_use"
    id: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = ""
    name: str
    input: dict[str, Any] = Field(default_factory=dict)

    _raw_input: str | None = PrivateAttr(default=None)

    @property
    def raw_input(self) -> str | None:
        """The arguments as received if they are not a JSON object (for example truncated by `max_tokens`); else None.

        If set, `input` is empty. It is never sent back; the documented response is a `tool_result` with `is_error`.
        """
        return self._raw_input


class BlockKind(NamedTuple):
    """The properties of a type of block.

    Attributes:
        model: Class of the block.
        pieces: Kind of delta whose texts are joined to form the block, or None if it arrives whole.
        blank: Initial fields of the block.
    """

    model: type[ContentBlock]
    pieces: str | None = None
    blank: Mapping[str, Any] = {}


class DeltaKind(NamedTuple):
    """How a kind of delta changes its block.

    Attributes:
        block: Type of the block, if the block was never started.
        field: Field of the delta with the new value; empty for all fields.
        into: Field of the block that is changed; empty if the fields of delta and block have the same names.
        fold: "join" concatenates texts, "replace" keeps the last text, "append" adds to a list, and "update" copies all
            fields to the block.
    """

    block: str
    field: str
    into: str
    fold: Literal["join", "replace", "append", "update"]


_TOOL_CALL = BlockKind(ToolUseBlock, "input_json_delta", {"id": "", "name": "", "input": {}})

# These two tables describe all known blocks and deltas. Decoding, accumulating, encoding and recording use them.
BLOCK_KINDS: Final[Mapping[str, BlockKind]] = {
    "text": BlockKind(TextBlock, "text_delta", {"text": ""}),
    "thinking": BlockKind(ThinkingBlock, "thinking_delta", {"thinking": ""}),
    "redacted_thinking": BlockKind(RedactedThinkingBlock),
    "tool_use": _TOOL_CALL,
    "server_tool_use": _TOOL_CALL,
    "mcp_tool_use": _TOOL_CALL,
    "compaction": BlockKind(ContentBlock),
}
DELTA_KINDS: Final[Mapping[str, DeltaKind]] = {
    "text_delta": DeltaKind("text", "text", "text", "join"),
    "thinking_delta": DeltaKind("thinking", "thinking", "thinking", "join"),
    "input_json_delta": DeltaKind("tool_use", "partial_json", "input", "join"),
    "signature_delta": DeltaKind("thinking", "signature", "signature", "replace"),
    "citations_delta": DeltaKind("text", "citation", "citations", "append"),
    "compaction_delta": DeltaKind("compaction", "", "", "update"),
}
PIECE_FIELDS: Final = {name: kind.field for name, kind in DELTA_KINDS.items() if kind.fold == "join"}
"""Kinds of deltas whose texts are joined, and the field of the text."""
THINKING_TYPES: Final = frozenset(
    name for name, kind in BLOCK_KINDS.items() if kind.model in (ThinkingBlock, RedactedThinkingBlock)
)
"""Types of reasoning blocks. A reply that is sent back must not end with one."""


def kind_of(block: Mapping[str, Any]) -> BlockKind:
    """Return the properties of a block's type; an unknown type is a plain `ContentBlock` that arrives whole."""
    kind = block.get("type")
    return (BLOCK_KINDS.get(kind) if isinstance(kind, str) else None) or BlockKind(ContentBlock)


def with_type(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a block; those of text and thinking get their type if the server gives none, or one that is no text."""
    given = block.get("type")
    if not (given and isinstance(given, str)):
        for kind in ("text", "thinking"):
            if isinstance(block.get(kind), str):
                return {**block, "type": kind}
    return block


def parse_block(
    fields: Mapping[str, Any], *, raw_input: str | None = None, is_complete: bool = True
) -> ContentBlock:
    """Parse the JSON object of a block. One that does not match its type becomes a plain `ContentBlock`.

    Args:
        fields: The JSON object, as received.
        raw_input: Arguments of a tool that are not a JSON object, or None.
        is_complete: Whether the whole block has arrived.
    """
    fields = with_type(fields)
    try:
        block = kind_of(fields).model.model_validate(fields)
    except ValidationError:
        block = ContentBlock.model_validate(fields)
    block._is_complete = is_complete
    if isinstance(block, ToolUseBlock):
        block._raw_input = raw_input
    return block


def events_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream that is equivalent to a whole message, as JSON objects.

    Args:
        message: The message as received; its content is a list of dicts.
    """
    content = message.get("content")
    ending = {
        name: message.get(name)
        for name in ("stop_reason", "stop_sequence", "stop_details")
        if name in message
    }
    yield {"type": "message_start", "message": {**message, "content": [], **dict.fromkeys(ending)}}
    for index, block in enumerate(content if isinstance(content, list) else ()):
        yield from _block_events(index, block)
    yield {"type": "message_delta", "delta": ending, "usage": message.get("usage") or {}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    start, deltas = block, []
    if (name := kind_of(block).pieces) is not None:
        kind = DELTA_KINDS[name]
        value, blank = block.get(kind.into), BLOCK_KINDS[kind.block].blank[kind.into]
        if isinstance(value, type(blank)):
            start = {**block, kind.into: blank}
            deltas.append(
                {"type": name, kind.field: value if kind.into != "input" else to_json(value).decode()}
            )
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def can_be_sent_back(block: ContentBlock, answered: frozenset[str]) -> bool:
    """Return whether a block of an incomplete reply can be part of the history of a later request.

    The API rejects incomplete blocks other than text, thinking without a signature, calls without a result, and blank
    text.

    Args:
        block: The block.
        answered: Ids of the calls whose results are in the same message.
    """
    match block:
        case TextBlock():
            return bool(block.text.strip())
        case ThinkingBlock():
            return bool(block.signature)  # the signature arrives last, so the block is complete
        case ToolUseBlock():
            return block.is_complete and block.id in answered
        case RedactedThinkingBlock():
            return block.is_complete
    is_valid = block.has_type and kind_of({"type": block.type}).model is ContentBlock
    return block.is_complete and is_valid


# Messages, usage and models.
#
# These models accept fields that servers add, omit, or send as null or with another type. The API requires clients to
# tolerate that.
MOST_TOKENS: Final = 10**9
"""Largest count that is accepted: a hundred times the longest context window."""

_DEEPEST_USAGE: Final = 8
_COUNT_SUFFIXES: Final = ("_tokens", "_requests")
_BYTES_PER_TOKEN: Final = 3
"""Average for model output, prose and code together: 3 to 4 for English, 3 for Chinese, fewer for code."""


def is_count(value: object) -> bool:
    """Return whether a value from a server is a plausible count of tokens, requests or the like."""
    if type(value) is int:  # the usual case
        return 0 <= value <= MOST_TOKENS
    return _is_number(value) and 0 <= value <= MOST_TOKENS and value == int(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _valid_fields(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """Copy an object in a usage without its invalid counts."""
    return {
        name: _valid(item, depth)
        for name, item in fields.items()
        if isinstance(name, str) and (item is None or not name.endswith(_COUNT_SUFFIXES) or is_count(item))
    }


def _valid(value: Any, depth: int) -> Any:
    if is_count(value):
        return int(value)
    if isinstance(value, Mapping):
        return _valid_fields(value, depth - 1) if depth else {}
    if isinstance(value, list):
        return [_valid(item, depth - 1) for item in value] if depth else []
    return None if _is_number(value) and not abs(value) <= MOST_TOKENS else value


class Usage(Received):
    """The billed model tokens of one reply. Additional fields from the server are kept.

    Counts are validated when they are parsed: one that is negative, above `MOST_TOKENS`, or not an integer is treated as
    absent, at any depth. So code that computes with a usage need not check them again.

    Attributes:
        input_tokens: Input neither read from the prompt cache nor written to it.
        output_tokens: Output, including thinking.
        cache_creation_input_tokens: Input written to the prompt cache, or None if not reported.
        cache_read_input_tokens: Input read from the prompt cache, or None if not reported.
        cache_creation: Input written to the prompt cache by time to live, or None.
        output_tokens_details: Breakdown of the output, or None.
        server_tool_use: Number of server-side tool calls, or None.
        service_tier: Service tier of the request, or None.
        is_estimate: `output_tokens` is estimated from the received content, because the reply ended before the server
            reported its count.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: dict[str, Any] | None = None
    output_tokens_details: dict[str, Any] | None = None
    server_tool_use: dict[str, Any] | None = None
    service_tier: str | None = None
    is_estimate: bool = False

    @model_serializer(mode="wrap")
    def _omit_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if not self.is_estimate:
            fields.pop("is_estimate", None)
        return fields

    @model_validator(mode="before")
    @classmethod
    def _drop_invalid(cls, value: Any) -> Any:
        """Drop nulls and invalid counts, so that they never replace a valid count in `merged`."""
        if not isinstance(value, Mapping):
            return value
        return {name: item for name, item in _valid_fields(value, _DEEPEST_USAGE).items() if item is not None}

    @property
    def total_input_tokens(self) -> int:
        """The whole prompt: uncached, written to the cache, and read from the cache."""
        return (
            self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        )

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The server's internal steps (`iterations`), each with its own counts, and some with their model."""
        steps = (self.model_extra or {}).get("iterations")
        return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []

    @property
    def context_tokens(self) -> int:
        """Tokens of the context window that the conversation uses at its end: input and output of the last step."""
        for step in reversed(self.steps):
            if step.get("type") in ("message", "fallback_message"):
                last = Usage.model_validate(step)
                return last.total_input_tokens + last.output_tokens
        return self.total_input_tokens + self.output_tokens

    @property
    def fallback_model(self) -> str | None:
        """The model that replied instead of the requested one; None if the requested model replied."""
        for step in reversed(self.steps):
            model = step.get("model")
            if step.get("type") == "fallback_message" and isinstance(model, str) and model:
                return model
        return None

    def estimated(self, output_tokens: int) -> Usage:
        """Return this usage with an estimate of the output, which is at least the count that the server has reported."""
        most = max(self.output_tokens, output_tokens)
        return self.model_copy(update={"output_tokens": most, "is_estimate": True})

    def merged(self, update: Usage) -> Usage:
        """Return this usage updated with the fields that are set in `update`. Counts are cumulative, so they are not added."""
        if not self.model_fields_set:
            return update
        return self.model_copy(
            update={name: value for name, value in update if name in update.model_fields_set}
        )

    def __add__(self, other: Usage) -> Usage:
        """Return the combined usage of two requests. Fields that are not counts (a tier) come from the later one."""
        total = _added(self.model_dump(), other.model_dump())
        total |= {
            "iterations": [*self.steps, *other.steps] or None,
            "is_estimate": self.is_estimate or other.is_estimate,
        }
        return self.model_copy(update={name: value for name, value in total.items() if value is not None})


NO_USAGE: Final = Usage()
"""The usage before the server has reported any."""


class Message(Received):
    """A reply, complete or partial.

    Attributes:
        model: The model that replied; after a fallback, not the requested one.
        content: Content blocks, in order. May be empty, or start with thinking.
        stop_reason: Why the model stopped, or None if it has not. May be any string.
        stop_sequence: The stop sequence that was generated, if that is the reason.
        stop_details: Details of a refusal, or None.
    """

    id: str = ""
    type: str = "message"
    role: str = "assistant"
    model: str = ""
    content: list[SerializeAsAny[ContentBlock]]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: Usage = NO_USAGE

    @model_validator(mode="before")
    @classmethod
    def _set_fallback_model(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        model = _fallback_model(value.get("content"), value.get("usage"))
        return value if model is None else {**value, "model": model}

    @field_validator("content", mode="before")
    @classmethod
    def _read_content(cls, value: Any) -> Any:
        """Accept the same forms as the API: a string becomes a text block."""
        if value is None:
            return []
        if isinstance(value, str):
            return [TextBlock(text=value)]
        return [_read_block(block) for block in value] if isinstance(value, list) else value

    @property
    def text(self) -> str:
        """The text of the reply: all text blocks, joined. Citations split text into several blocks."""
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def thinking(self) -> str:
        """The visible thinking, blocks separated by a blank line; often empty."""
        texts = (block.thinking for block in self.content if isinstance(block, ThinkingBlock))
        return "\n\n".join(text for text in texts if text)

    @property
    def tool_uses(self) -> list[ToolUseBlock]:
        """The tool calls that the client must run; not those that the server runs itself."""
        return [
            block for block in self.content if isinstance(block, ToolUseBlock) and block.type == "tool_use"
        ]

    def to_param(self) -> dict[str, Any]:
        """Return the message as a turn of a later request, with its content unchanged."""
        return {"role": self.role, "content": [block.to_param() for block in self.content]}

    def to_partial_param(self) -> dict[str, Any] | None:
        """Return the usable part of an incomplete reply as a turn of a later request, or None if there is none.

        The usable part is the text and the complete blocks: the API rejects incomplete tool calls, calls without a
        result, and thinking without a signature.
        """
        ids = (getattr(block, "tool_use_id", None) for block in self.content)
        answered = frozenset(call_id for call_id in ids if isinstance(call_id, str))
        content = [block.to_param() for block in self.content if can_be_sent_back(block, answered)]
        return {"role": self.role, "content": content} if content else None


class ModelInfo(Received):
    """The server's description of one model. Only `id` is always set.

    Attributes:
        id: Model name for requests.
        display_name: Model name for display.
        created_at: RFC 3339 time of release; local servers send other values.
        line: Model family: `haiku`, `sonnet`, `opus` ...; None if not reported.
        lifecycle: `active`, `deprecated` or `retired`; None if not reported.
        deprecated_at: RFC 3339 time of deprecation, or None.
        retires_at: RFC 3339 time of retirement, or None.
        max_input_tokens: Size of the context window in model tokens, or None.
        max_tokens: Largest output in model tokens, or None.
        capabilities: Capabilities as nested objects with a `supported` leaf, or None.
    """

    id: str
    display_name: str = ""
    created_at: Any = None
    line: str | None = None
    lifecycle: str | None = None
    deprecated_at: str | None = None
    retires_at: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: dict[str, Any] | None = None

    @field_validator("max_input_tokens", "max_tokens", mode="before")
    @classmethod
    def _drop_invalid_counts(cls, value: Any) -> Any:
        return value if is_count(value) and value > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The result of `execute`.

    Attributes:
        text: Text of the reply.
        usage: Usage in model tokens.
        message: The whole reply.
    """

    text: str
    usage: Usage
    message: Message

    def __str__(self) -> str:
        return self.text


def estimate_tokens(text: str) -> int:
    """Estimate the output tokens of a text. Too high for prose, because tokens of code have fewer letters."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN)


def fallback_model(block: ContentBlock) -> str | None:
    """Return the model that replies after a `fallback` block; None for any other block."""
    target = (block.model_extra or {}).get("to") if block.type == "fallback" else None
    model = target.get("model") if isinstance(target, Mapping) else target
    return model if isinstance(model, str) and model else None


def _fallback_model(content: Any, usage: Any) -> str | None:
    """Return the model that replied instead of the requested one, from the fields of a message; None without a fallback."""
    if isinstance(usage, Mapping) and "iterations" in usage:
        usage = Usage.model_validate(usage)
    if isinstance(usage, Usage) and usage.fallback_model is not None:
        return usage.fallback_model
    for block in reversed(content if isinstance(content, list) else []):
        if isinstance(block, Mapping) and block.get("type") == "fallback":
            block = parse_block(block)
        if isinstance(block, ContentBlock) and (model := fallback_model(block)) is not None:
            return model
    return None


def _read_block(value: Any) -> Any:
    if isinstance(value, str):
        return TextBlock(text=value)
    return parse_block(value) if isinstance(value, Mapping) else value


def _added(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {**first, **{name: _sum(first.get(name), value) for name, value in second.items()}}


def _sum(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return _added(first, second)
    return first + second if _is_number(first) and _is_number(second) else second
