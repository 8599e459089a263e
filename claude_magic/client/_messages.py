"""What comes back, as data: messages, content blocks, usage, models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self, TypeGuard

from pydantic import (
    BaseModel,
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

_LONGEST_SHOWN = 60
"""Characters of one value in a repr: a cell that ends in a message shows its repr."""


class ShortReprModel(BaseModel):
    """A frozen model that keeps unknown fields; its repr leaves out what is as usual and cuts what is long."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            field = fields.get(name or "")
            if field is None or value != field.get_default(call_default_factory=True):
                yield name, _Shown(_shorten(value))


class Received(ShortReprModel):
    """A model of something a server sent. A field of the wrong type counts as absent if it has a default."""

    @model_validator(mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read the whole at once, as nearly always nothing is wrong; otherwise again, without what is."""
        try:
            return handler(value)
        except ValidationError as invalid:
            wrong = {name: cls.model_fields.get(str(name)) for name in _wrong_fields(invalid)}
            if not isinstance(value, Mapping) or any(f is None or f.is_required() for f in wrong.values()):
                raise
        defaults = {name: f.get_default(call_default_factory=True) for name, f in wrong.items() if f}
        return handler({**value, **defaults})


def _wrong_fields(invalid: ValidationError) -> Iterator[str | int]:
    """Yield the names of the fields that are wrong; where it is all of the object, an empty one."""
    for problem in invalid.errors(include_url=False, include_context=False, include_input=False):
        yield (*problem["loc"], "")[0]


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


# Content blocks: the parts a message consists of.
#
# What the API returned must go back unchanged (signatures, empty thinking blocks, blocks nobody here knows), so a block
# keeps every field it came with, and `to_param` gives back those and no others.
class ContentBlock(ShortReprModel):
    """One block of a message's content, of a type that has no class of its own here, or of a shape unknown to it.

    Its fields are attributes, whatever they are.

    Attributes:
        type: The API's name for the kind of block.
    """

    type: SkipValidation[str] = ""

    _is_complete: bool = PrivateAttr(default=True)

    @property
    def is_complete(self) -> bool:
        """Whether all of the block had arrived; False for what was under way when a stream broke off."""
        return self._is_complete

    def to_param(self) -> dict[str, Any]:
        """Return the block as it is sent back to the API: just the fields it came with, as they came."""
        fields = self.model_dump(exclude_unset=True, warnings=False)
        return {"type": self.type, **fields} if self.type else fields


class TextBlock(ContentBlock):
    """Text of the answer. `citations`, where there are any, is a list of objects."""

    type: str = "text"
    text: str
    citations: list[Any] | None = None


class ThinkingBlock(ContentBlock):
    """Reasoning before or between the text; `thinking` is empty where the API omits it, the signature is not."""

    type: str = "thinking"
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(ContentBlock):
    """Reasoning that is encrypted whole."""

    type: str = "redacted_thinking"
    data: str


class ToolUseBlock(ContentBlock):
    """A call of a tool, by the caller (`tool_use`) or at the server (`server_tool_use`, `mcp_tool_use`).

    Attributes:
        id: The call's id, which its result must name.
        name: The tool.
        input: Its arguments.
    """

    type: str = "tool_use"
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)

    _raw_input: str | None = PrivateAttr(default=None)

    @property
    def raw_input(self) -> str | None:
        """The arguments as they arrived, where they are no JSON object (cut by `max_tokens`, say); else None.

        Then `input` is empty. It is never sent back; the documented answer is a `tool_result` with `is_error`.
        """
        return self._raw_input


class BlockKind(NamedTuple):
    """What a type of block is.

    Attributes:
        model: Its class.
        pieces: The delta whose texts make it up piece by piece, or None if it comes whole.
        blank: The fields with which it begins.
    """

    model: type[ContentBlock]
    pieces: str | None = None
    blank: Mapping[str, Any] = {}


class DeltaKind(NamedTuple):
    """What a kind of delta adds to its block.

    Attributes:
        block: The type of its block, where that was never begun.
        field: The field of the delta that counts; empty where all do.
        into: The field of the block that it goes into; empty where all have the same name there.
        fold: "join" if texts make up the field piece by piece, "replace" if the last text counts, "append" if the field is a list,
            "update" if all fields are the block's.
    """

    block: str
    field: str
    into: str
    fold: Literal["join", "replace", "append", "update"]


_CALL = BlockKind(ToolUseBlock, "input_json_delta", {"id": "", "name": "", "input": {}})

# What is known of blocks and deltas stands in these two tables: decoding, folding, encoding and recording read it here.
BLOCK_KINDS: Final[Mapping[str, BlockKind]] = {
    "text": BlockKind(TextBlock, "text_delta", {"text": ""}),
    "thinking": BlockKind(ThinkingBlock, "thinking_delta", {"thinking": ""}),
    "redacted_thinking": BlockKind(RedactedThinkingBlock),
    "tool_use": _CALL,
    "server_tool_use": _CALL,
    "mcp_tool_use": _CALL,
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
"""The deltas whose texts are joined, and the field of the text."""
THINKING_TYPES: Final = frozenset(
    name for name, kind in BLOCK_KINDS.items() if kind.model in (ThinkingBlock, RedactedThinkingBlock)
)
"""Blocks of reasoning, which a reply may not end with where it is sent back."""


def kind_of(block: Mapping[str, Any]) -> BlockKind:
    """Return what the type of a block is; for one that is not known, that it comes whole and has no class of its own."""
    kind = block.get("type")
    return (BLOCK_KINDS.get(kind) if isinstance(kind, str) else None) or BlockKind(ContentBlock)


def parse_block(
    fields: Mapping[str, Any], *, raw_input: str | None = None, is_complete: bool = True
) -> ContentBlock:
    """Make a block of its JSON object. One that lacks what its type should have is kept as a plain `ContentBlock`.

    Args:
        fields: The object as it came.
        raw_input: The arguments of a tool that are no JSON object.
        is_complete: Whether all of the block has arrived.
    """
    try:
        block = kind_of(fields).model.model_validate(fields)
    except ValidationError:
        block = ContentBlock.model_validate(fields)
    block._is_complete = is_complete
    if isinstance(block, ToolUseBlock):
        block._raw_input = raw_input
    return block


def may_go_back(block: ContentBlock, answered: frozenset[str]) -> bool:
    """Tell whether a block of a reply that broke off may stand in the history of a later request.

    Half blocks may not, but for text; nor may thinking without a signature, calls without their result, blank text.

    Args:
        block: The block.
        answered: Ids of the calls whose result stands in the same message.
    """
    match block:
        case TextBlock():
            return bool(block.text.strip())
        case ThinkingBlock():
            return bool(block.signature)  # it comes last, so the block is whole
        case ToolUseBlock():
            return block.is_complete and block.id in answered
        case RedactedThinkingBlock():
            return block.is_complete
    is_sound = isinstance(block.type, str) and kind_of({"type": block.type}).model is ContentBlock
    return block.is_complete and is_sound


# What comes back, as data: messages, usage, models.
#
# Replies tolerate what servers add, leave out, send as null or as another type; that is the API's documented contract.
MOST_TOKENS: Final = 10**9
"""Largest count that is believed: a hundred times the longest context there is."""

_DEEPEST_USAGE: Final = 8
_COUNT_SUFFIXES: Final = ("_tokens", "_requests")
_BYTES_PER_TOKEN: Final = 3
"""Of what models write, prose and code together: 3 to 4 for English, 3 for Chinese, fewer for code."""


def is_count(value: object) -> bool:
    """Whether a value that a server sent can be a number of tokens, or of anything that is counted."""
    if type(value) is int:  # nearly always
        return 0 <= value <= MOST_TOKENS
    return _is_number(value) and 0 <= value <= MOST_TOKENS and value == int(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sound_fields(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """Copy an object of a usage without the counts in it that are none."""
    return {
        name: _sound(item, depth)
        for name, item in fields.items()
        if isinstance(name, str) and (item is None or not name.endswith(_COUNT_SUFFIXES) or is_count(item))
    }


def _sound(value: Any, depth: int) -> Any:
    if is_count(value):
        return int(value)
    if isinstance(value, Mapping):
        return _sound_fields(value, depth - 1) if depth else {}
    if isinstance(value, list):
        return [_sound(item, depth - 1) for item in value] if depth else []
    return None if _is_number(value) and not abs(value) <= MOST_TOKENS else value


class Usage(Received):
    """Model tokens of one reply, as billed. Fields that the server sends beyond these are kept.

    Counts are bounded here, where they are read: one that is negative, above `MOST_TOKENS`, or no whole number counts
    as not sent, at any depth. So code that computes with a usage needs no check of its own.

    Attributes:
        input_tokens: Input that was neither read from the prompt cache nor written to it.
        output_tokens: Output, thinking included.
        cache_creation_input_tokens: Input written to the prompt cache, or None if the server does not say.
        cache_read_input_tokens: Input read from the prompt cache, or None if the server does not say.
        cache_creation: Input written to the prompt cache by time to live, or None.
        output_tokens_details: Shares of the output, or None.
        server_tool_use: Calls of tools at the server, or None.
        service_tier: Tier that served the request, or None.
        is_estimate: `output_tokens` is estimated from what came, because the reply ended before the server had counted it.
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
    def _leave_out_the_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if not self.is_estimate:
            fields.pop("is_estimate", None)
        return fields

    @model_validator(mode="before")
    @classmethod
    def _drop_what_says_nothing(cls, value: Any) -> Any:
        """Drop nulls, and counts that are none, so that they never replace a count in `merged`."""
        if not isinstance(value, Mapping):
            return value
        return {name: item for name, item in _sound_fields(value, _DEEPEST_USAGE).items() if item is not None}

    @property
    def total_input_tokens(self) -> int:
        """The whole prompt: fresh, written to the cache and read from it."""
        return (
            self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        )

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The server's own steps (`iterations`), each with counts of its own; some name the model that took them."""
        steps = (self.model_extra or {}).get("iterations")
        return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []

    @property
    def context_tokens(self) -> int:
        """How much of the model's context the conversation filled in the end: input and output of the last step."""
        for step in reversed(self.steps):
            if step.get("type") in ("message", "fallback_message"):
                last = Usage.model_validate(step)
                return last.total_input_tokens + last.output_tokens
        return self.total_input_tokens + self.output_tokens

    @property
    def fallback_model(self) -> str | None:
        """The model that answered in the place of the one that was asked; None where that one answered."""
        for step in reversed(self.steps):
            model = step.get("model")
            if step.get("type") == "fallback_message" and isinstance(model, str) and model:
                return model
        return None

    def estimated(self, output_tokens: int) -> Usage:
        """Return this usage with an estimate of the output, which is at least what the server has counted already."""
        most = max(self.output_tokens, output_tokens)
        return self.model_copy(update={"output_tokens": most, "is_estimate": True})

    def merged(self, update: Usage) -> Usage:
        """Return this usage with the fields that `update` came with; counts are cumulative, never added."""
        if not self.model_fields_set:
            return update
        return self.model_copy(
            update={name: value for name, value in update if name in update.model_fields_set}
        )

    def __add__(self, other: Usage) -> Usage:
        """Return what two requests took together; for what is no count (a tier), the later one speaks."""
        total = _added(self.model_dump(), other.model_dump())
        total |= {
            "iterations": [*self.steps, *other.steps] or None,
            "is_estimate": self.is_estimate or other.is_estimate,
        }
        return self.model_copy(update={name: value for name, value in total.items() if value is not None})


NO_USAGE: Final = Usage()
"""What is known before the server has said anything."""


class Message(Received):
    """A reply, complete or as far as it had come.

    Attributes:
        model: The model that answered. Where others were asked before it and declined, it is not the one that was asked.
        content: Its blocks, in order. May be empty, or begin with thinking.
        stop_reason: Why the model stopped, or None while it has not. Any string is possible.
        stop_sequence: The stop sequence that was met, if that was the reason.
        stop_details: More on the reason, for a refusal.
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
    def _name_who_answered(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        model = _fallback_model(value.get("content"), value.get("usage"))
        return value if model is None else {**value, "model": model}

    @field_validator("content", mode="before")
    @classmethod
    def _read_content(cls, value: Any) -> Any:
        """Accept what the API accepts: a string is a text block."""
        if value is None:
            return []
        if isinstance(value, str):
            return [TextBlock(text=value)]
        return [_read_block(block) for block in value] if isinstance(value, list) else value

    @property
    def text(self) -> str:
        """The answer: all text blocks, joined. Citations split text into several."""
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def thinking(self) -> str:
        """The thinking that the API shows, blocks parted by a blank line; often empty."""
        texts = (block.thinking for block in self.content if isinstance(block, ThinkingBlock))
        return "\n\n".join(text for text in texts if text)

    @property
    def tool_uses(self) -> list[ToolUseBlock]:
        """The calls that the caller is to answer; those that the server answers itself are not among them."""
        return [
            block for block in self.content if isinstance(block, ToolUseBlock) and block.type == "tool_use"
        ]

    def to_param(self) -> dict[str, Any]:
        """Return the message as a turn of a later request, its content just as the API sent it."""
        return {"role": self.role, "content": [block.to_param() for block in self.content]}

    def to_partial_param(self) -> dict[str, Any] | None:
        """Return what of a reply that broke off may be a turn of a later request, or None if nothing may.

        That is its text, and what arrived whole: the API refuses half tool calls, calls nobody answered, and thinking
        without its signature.
        """
        ids = (getattr(block, "tool_use_id", None) for block in self.content)
        answered = frozenset(call_id for call_id in ids if isinstance(call_id, str))
        content = [block.to_param() for block in self.content if may_go_back(block, answered)]
        return {"role": self.role, "content": content} if content else None


class ModelInfo(Received):
    """What the server says about one model. Only `id` is sure to be there.

    Attributes:
        id: The name to ask for.
        display_name: Its name for people.
        created_at: RFC 3339 time of release; local servers send other things.
        line: The family it belongs to: `haiku`, `sonnet`, `opus` ...; None if the server does not say.
        lifecycle: `active`, `deprecated` or `retired`.
        deprecated_at: RFC 3339 time from which it is deprecated, or None.
        retires_at: RFC 3339 time from which it is gone, or None.
        max_input_tokens: Size of its context, in model tokens.
        max_tokens: Largest output, in model tokens.
        capabilities: What it can do, as nested objects with a `supported` leaf.
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
    def _believe_counts_only(cls, value: Any) -> Any:
        return value if is_count(value) and value > 0 else None


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


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a model has written. On the high side for prose: a token of code has fewer letters."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN)


def fallback_model(block: ContentBlock) -> str | None:
    """Return the model whose answer begins after a block, where that says so; None for any other block."""
    target = (block.model_extra or {}).get("to") if block.type == "fallback" else None
    model = target.get("model") if isinstance(target, Mapping) else target
    return model if isinstance(model, str) and model else None


def _fallback_model(content: Any, usage: Any) -> str | None:
    """Return the model that answered in the place of another, by the fields of a message; None if none did."""
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
