"""Validation of request bodies, in the order in which the API reports errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._checks import (
    NEW_VERSION,
    TOOL_CHOICE,
    Check,
    Shape,
    check_array,
    check_boolean,
    check_dictionary,
    check_output_format,
    check_string,
    check_tool_choice,
    check_tools,
    integer,
    list_of,
    nullable,
    one_of,
    share,
    string,
    tagged,
    text_or,
    text_that,
)
from ._conversation import BETA_OF_EDIT, blocks_in, blocks_of, check_context_management, parts_of
from ._models import ALL_EFFORTS, Model, find_model
from ._wire import JSON, invalid

SAMPLING = {"temperature": (share, 1), "top_p": (share, None), "top_k": (integer(least=0), None)}
"""The check and the default of each sampling parameter."""
BETA_FIELDS = {
    "compaction": "compact-2026-09-04",
    "mcp_servers": "mcp-client-2025-11-20",
    "fallbacks": "server-side-fallback-2026-07-01",
    "fallback_credit_token": "server-side-fallback-2026-07-01",
    "thread": "message-threads-2026-08-12",
    "billing_policy": "user-profiles-billing-2026-10-01",
}
CACHE_SCOPE_BETA = "prompt-caching-scope-2026-01-05"
MAX_BREAKPOINTS = 4
MIN_BUDGET_TOKENS = 1024


# Shapes of the fields and blocks. Checks that depend on the model, or on other fields, are below.
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


_BLANK = "messages: text content blocks must contain non-whitespace text"
_BASE64 = text_that(re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*\Z").match, "{path}: invalid base64 data")
_SYSTEM_TEXT = text_that(bool, "system: text content blocks must be non-empty")
_STOP_SEQUENCE = text_that(str.strip, "stop_sequences: each stop sequence must contain non-whitespace")


def _check_text(value: Any, path: str) -> None:
    if not check_string(value, path):
        raise invalid("messages: text content blocks must be non-empty")
    if not value.strip():
        raise invalid(_BLANK)


def _sources(*media_types: str, **others: Shape) -> Check:
    base64 = Shape({"media_type": one_of(*media_types), "data": _BASE64}, is_open=True)
    return tagged({"base64": base64, "url": OPEN, "file": OPEN, **others})


OPEN = Shape(is_open=True)
_TEXT_SOURCE = Shape({"media_type": one_of("text/plain"), "data": check_string}, is_open=True)
_PLAIN_BLOCKS = {
    "document": Shape(
        {"source": _sources("application/pdf", text=_TEXT_SOURCE, content=OPEN)},
        {"title": nullable(check_string), "citations": nullable(check_dictionary)},
        free=("type", "cache_control", "context"),
    ),
    "image": Shape({"source": _sources(*_IMAGE_TYPES)}, free=("type", "cache_control", "transformations")),
    "search_result": Shape(
        {"source": check_string, "title": check_string, "content": check_array}, is_open=True
    ),
}
_RESULT_PARTS = {**_PLAIN_BLOCKS, "text": Shape({"text": check_string}, is_open=True), "tool_reference": OPEN}
SERVER_RESULTS = frozenset(
    f"{tool}_tool_result"
    for tool in (
        "web_search",
        "web_fetch",
        "code_execution",
        "bash_code_execution",
        "text_editor_code_execution",
        "tool_search",
    )
)
_TEXT = Shape({"text": _check_text}, free=("type", "cache_control", "citations"))
USER_BLOCKS = {
    **_PLAIN_BLOCKS,
    "text": _TEXT,
    "tool_result": Shape(
        {"tool_use_id": check_string},
        {"is_error": check_boolean, "content": text_or(list_of(tagged(_RESULT_PARTS)))},
        free=("type", "cache_control"),
    ),
    "container_upload": OPEN,
}
ASSISTANT_BLOCKS = {
    **dict.fromkeys((*SERVER_RESULTS, "server_tool_use", "container_upload"), OPEN),
    "text": _TEXT,
    "document": _PLAIN_BLOCKS["document"],  # accepted by the old version; see _check_new_version
    "tool_use": Shape(
        {"id": check_string, "name": string(longest=200), "input": check_dictionary},
        free=("type", "cache_control", "caller", "toolset_name", "signature"),
    ),
    "thinking": Shape({"thinking": check_string, "signature": check_string}, free=("type",)),
    "redacted_thinking": Shape({"data": check_string}, free=("type",)),
}
_BLOCK = Shape({"type": check_string}, is_open=True)
_CONTENT = text_or(check_array)
_MESSAGE = Shape({"role": one_of("user", "assistant"), "content": _CONTENT})
_MESSAGE_OR_SYSTEM = Shape({"role": one_of("user", "assistant", "system"), "content": _CONTENT})
CACHE_CONTROL = Shape({"type": one_of("ephemeral")}, {"ttl": one_of("5m", "1h")})
SCOPED_CACHE_CONTROL = Shape({"type": one_of("ephemeral")}, {"ttl": one_of("5m", "1h")}, free=("scope",))

_SYSTEM_BLOCK = Shape({"type": one_of("text"), "text": _SYSTEM_TEXT}, free=("cache_control", "citations"))
_SHOWN = {
    "display": nullable(one_of("summarized", "omitted", "updates")),
    "block_binding": nullable(check_dictionary),
}
_THINKING = tagged(
    {
        "adaptive": Shape(optional=_SHOWN, free=("type",)),
        "enabled": Shape({"budget_tokens": integer(least=MIN_BUDGET_TOKENS)}, _SHOWN, free=("type",)),
        "disabled": Shape(free=("type",)),
        "between_tools": Shape(optional=_SHOWN, free=("type",)),
    }
)
_OUTPUT_CONFIG = Shape(
    optional={"format": nullable(check_output_format), "effort": nullable(one_of(*ALL_EFFORTS))},
    free=("task_budget",),
)
_COMMON: Mapping[str, Check] = {
    "system": text_or(list_of(_SYSTEM_BLOCK)),
    "output_config": _OUTPUT_CONFIG,
    "thinking": _THINKING,
    "tool_choice": TOOL_CHOICE,
    "speed": one_of("standard", "fast"),
}
_MODEL = Shape({"model": check_string}, is_open=True)
_FREE = ("model", "tools", "cache_control")
COUNT = Shape({"messages": check_array}, _COMMON, free=_FREE)
MESSAGE = Shape(
    {"max_tokens": integer(least=0), "messages": check_array},
    {
        "stream": check_boolean,
        "stop_sequences": list_of(_STOP_SEQUENCE),
        "metadata": Shape(optional={"user_id": nullable(string(longest=256))}),
        "service_tier": one_of("auto", "standard_only"),
        **_COMMON,
    },
    free=(*_FREE, "container", "diagnostics", "inference_geo"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The API version and betas from the request headers."""

    version: str
    betas: frozenset[str]


def check_message_request(fields: JSON, terms: Terms) -> Model:
    """Check the body of POST `/v1/messages`. Return the requested model."""
    return _check_request(fields, MESSAGE, terms)


def check_count_request(fields: JSON, terms: Terms) -> Model:
    """Check the body of POST `/v1/messages/count_tokens`. Return the requested model."""
    return _check_request(fields, COUNT, terms)


def _check_request(fields: JSON, shape: Shape, terms: Terms) -> Model:
    model = _check_fields(fields, shape, terms)
    max_tokens = fields.get("max_tokens")
    if max_tokens is not None and max_tokens > model.output_tokens:
        raise invalid(
            f"max_tokens: {max_tokens} > {model.output_tokens}, which is the maximum allowed number of"
            f" output tokens for {model.id}"
        )
    if fields.get("inference_geo") is not None and model.generation < (4, 6):
        raise invalid(f"inference_geo: not supported by {model.id}")
    check_messages(fields["messages"], model, terms.version)
    tools = check_tools(fields.get("tools", []), model)
    effort = _check_output_config(fields, model)
    thinking = fields.get("thinking", {"type": ""})
    if "thinking" in fields:
        _check_thinking(thinking, model, effort, max_tokens)
    if "tool_choice" in fields:
        is_manual = thinking["type"] == "enabled"
        check_tool_choice(fields["tool_choice"], tools, model, has_manual_thinking=is_manual)
    if fields.get("speed") == "fast" and (model.line in ("haiku", "sonnet") or model.generation == (4, 7)):
        raise invalid(f"speed: fast mode is not supported by {model.id}")
    _check_cache_control(fields, terms.betas)
    return model


def _check_fields(fields: JSON, shape: Shape, terms: Terms) -> Model:
    model = find_model(_MODEL(fields, "")["model"])
    shape.check_values(fields)
    for name in shape.unknown(fields):
        if name == "context_management" and not terms.betas.isdisjoint(BETA_OF_EDIT.values()):
            check_context_management(fields[name], terms.betas)
        elif name in SAMPLING and shape is MESSAGE and terms.version != NEW_VERSION:
            check, default = SAMPLING[name]
            check(fields[name], name)
            if not model.has_sampling and fields[name] != default:
                raise invalid(f"`{name}` is not supported by {model.id}. Leave it out.")
        elif BETA_FIELDS.get(name) in terms.betas:
            raise invalid(f"{name}: the simulator does not implement this beta feature")
        else:
            raise invalid(f"{name}: Extra inputs are not permitted")
    return model


def _check_output_config(fields: JSON, model: Model) -> str:
    config = fields.get("output_config", {})
    if config.get("format") is not None:
        documents = (block for _, _, block in blocks_in(fields["messages"]) if block["type"] == "document")
        if any((document.get("citations") or {}).get("enabled") for document in documents):
            raise invalid("output_config.format: structured outputs cannot be combined with citations")
    effort = config.get("effort")
    if effort is not None and effort not in model.efforts:
        if not model.efforts:
            raise invalid(f"output_config.effort: {model.id} does not support the effort parameter")
        raise invalid(f"output_config.effort: '{effort}' is not supported by {model.id}")
    return effort or model.default_effort


def _check_thinking(thinking: JSON, model: Model, effort: str, max_tokens: int | None) -> None:
    kind = thinking["type"]
    if kind not in model.thinking:
        raise invalid(f"thinking.type: '{kind}' is not supported by {model.id}")
    if kind == "disabled" and model.disabled_up_to_high and effort in ("xhigh", "max"):
        raise invalid(f"thinking.type: 'disabled' is not supported by {model.id} at effort '{effort}'")
    if kind == "enabled" and max_tokens is not None and thinking["budget_tokens"] >= max_tokens:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_cache_control(fields: JSON, betas: frozenset[str]) -> None:
    places = [(f"{path}.", part) for path, _, part in parts_of(fields)]
    found = [
        (f"{path}cache_control", place["cache_control"])
        for path, place in (*places, ("", fields))
        if place.get("cache_control") is not None
    ]
    if len(found) > MAX_BREAKPOINTS:
        raise invalid(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(found)}."
        )
    control = SCOPED_CACHE_CONTROL if CACHE_SCOPE_BETA in betas else CACHE_CONTROL
    has_short = False
    for path, value in found:
        ttl = control(value, path).get("ttl", "5m")
        if ttl == "1h" and has_short:
            raise invalid(f"{path}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' one")
        has_short = has_short or ttl == "5m"


# Messages: roles, blocks and their order.
MAX_MESSAGES = 100_000


def check_messages(messages: list[Any], model: Model, version: str) -> None:
    """Check `messages`."""
    if not messages:
        raise invalid("messages: at least one message is required")
    if len(messages) > MAX_MESSAGES:
        raise invalid(f"messages: at most {MAX_MESSAGES} messages are allowed")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", model, is_last=index == len(messages) - 1)
    _check_roles(messages, model)
    _check_tool_results(messages)
    if version == NEW_VERSION:
        _check_new_version(messages)


def _check_message(value: Any, path: str, model: Model, *, is_last: bool) -> None:
    message = (_MESSAGE_OR_SYSTEM if model.has_system_turns else _MESSAGE)(value, path)
    role, content = message["role"], message["content"]
    if not content and not (is_last and role == "assistant"):
        raise invalid(
            f"{path}: all messages must have non-empty content"
            " except for the optional final assistant message"
        )
    if isinstance(content, str):
        if not content.strip() and content:
            raise invalid(_BLANK)
        return
    for index, block in enumerate(content):
        _check_block(block, f"{path}.content.{index}", role)


def _check_block(value: Any, path: str, role: str) -> None:
    block = _BLOCK(value, path)
    kind = block["type"]
    shapes = ASSISTANT_BLOCKS if role == "assistant" else USER_BLOCKS
    if kind not in shapes:
        raise invalid(f"{path}.type: `{kind}` blocks are not allowed in {role} messages")
    shapes[kind](block, f"{path}.{kind}")


def _check_roles(messages: list[JSON], model: Model) -> None:
    if messages[0]["role"] != "user":
        raise invalid("messages: first message must use the `user` role")
    for index, message in enumerate(messages):
        if message["role"] != "system":
            continue
        following = messages[index + 1]["role"] if index + 1 < len(messages) else "assistant"
        if messages[index - 1]["role"] != "user" or following != "assistant":
            raise invalid(
                f"messages.{index}: a `system` message must follow a user message"
                " and be the last one or be followed by an assistant message"
            )
    if messages[-1]["role"] == "assistant" and not model.has_prefill and not is_paused_turn(messages[-1]):
        raise invalid(
            "This model does not support assistant message prefill."
            " The conversation must end with a user message."
        )


def is_paused_turn(message: JSON) -> bool:
    """Whether an assistant message is a paused turn that the client sent back."""
    content = message["content"]
    if not isinstance(content, list):
        return False
    return any(block["type"] == "server_tool_use" or block["type"] in SERVER_RESULTS for block in content)


def _check_tool_results(messages: list[JSON]) -> None:
    """Check that a user message with every result, before any text, follows each turn with `tool_use`."""
    pending: list[str] = []
    for index, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        if message["role"] == "assistant":
            pending += [block["id"] for block in blocks if block["type"] == "tool_use"]
            continue
        if message["role"] == "user":
            _check_results_of(index, blocks, pending)
            pending = []
    if pending and messages[-1]["role"] == "assistant":
        raise _missing_results(len(messages) - 1, pending)


def _check_results_of(index: int, blocks: list[JSON], pending: list[str]) -> None:
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    missing = [id for id in pending if id not in results]
    if missing:
        raise _missing_results(index - 1, missing)
    for position, block in enumerate(blocks):
        if block["type"] != "tool_result":
            continue
        path = f"messages.{index}.content.{position}"
        if block["tool_use_id"] not in pending:
            raise invalid(
                f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {block['tool_use_id']}."
                " Each `tool_result` block must have a corresponding `tool_use` block"
                " in the previous message."
            )
        if any(earlier["type"] == "text" for earlier in blocks[:position]):
            raise invalid(f"{path}: `tool_result` blocks must come before any `text` block of the message")
    if len(results) != len(set(results)):
        raise invalid(f"messages.{index}: each `tool_use` must have a single result. Found several.")


def _missing_results(index: int, missing: list[str]) -> Exception:
    return invalid(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after:"
        f" {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block"
        " in the next message."
    )


def _check_new_version(messages: list[JSON]) -> None:
    for path, role, block in blocks_in(messages):
        if role == "assistant" and block["type"] == "document":
            raise invalid(f"{path}: `document` blocks are not allowed in assistant messages")
        inner = block.get("content", []) if block["type"] == "search_result" else [block]
        if role == "user" and any(_has_citations(text) for text in inner):
            raise invalid(f"{path}: `citations` are not allowed on `text` blocks of user messages")


def _has_citations(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "text" and bool(block.get("citations"))
