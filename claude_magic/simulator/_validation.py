"""Validation of request bodies, in the order in which the API reports errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._checks import (
    NEW_VERSION,
    check_array,
    check_boolean,
    check_dictionary,
    check_field,
    check_integer,
    check_no_extras,
    check_number,
    check_one_of,
    check_output_format,
    check_required,
    check_string,
    check_tool_choice,
    check_tools,
)
from ._conversation import BETA_OF_EDIT, blocks_in, blocks_of, check_context_management, parts_of
from ._models import Model, find_model
from ._wire import JSON, invalid

COMMON_FIELDS = frozenset(
    {
        "cache_control",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
MESSAGE_FIELDS = COMMON_FIELDS | {
    "container",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
}
SAMPLING_DEFAULTS = {"temperature": 1, "top_p": None, "top_k": None}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The API version and betas from the request headers."""

    version: str
    betas: frozenset[str]


def check_message_request(fields: JSON, terms: Terms) -> Model:
    """Check the body of POST `/v1/messages`. Return the requested model."""
    model = _model(fields)
    max_tokens = check_field(fields, "max_tokens", "", check_integer, least=0)
    check_required(fields, "messages")
    _check_fields(fields, MESSAGE_FIELDS, terms, model)
    if max_tokens > model.output_tokens:
        raise invalid(
            f"max_tokens: {max_tokens} > {model.output_tokens}, which is the maximum allowed number of"
            f" output tokens for {model.id}"
        )
    _check_plain_options(fields, model)
    _check_common(fields, terms, model, max_tokens=max_tokens)
    return model


def check_count_request(fields: JSON, terms: Terms) -> Model:
    """Check the body of POST `/v1/messages/count_tokens`. Return the requested model."""
    model = _model(fields)
    check_required(fields, "messages")
    _check_fields(fields, COMMON_FIELDS, terms, model)
    _check_common(fields, terms, model, max_tokens=None)
    return model


def _model(fields: JSON) -> Model:
    return find_model(check_field(fields, "model", "", check_string))


def _check_fields(fields: JSON, known: frozenset[str], terms: Terms, model: Model) -> None:
    for name, value in fields.items():
        if name in known:
            continue
        if name == "context_management" and not terms.betas.isdisjoint(BETA_OF_EDIT.values()):
            check_context_management(value, terms.betas)
        elif name in SAMPLING_DEFAULTS and known is MESSAGE_FIELDS and terms.version != NEW_VERSION:
            _check_sampling(name, value, model)
        elif BETA_FIELDS.get(name) in terms.betas:
            raise invalid(f"{name}: the simulator does not implement this beta feature")
        else:
            raise invalid(f"{name}: Extra inputs are not permitted")


def _check_sampling(name: str, value: Any, model: Model) -> None:
    if name == "top_k":
        check_integer(value, name, least=0)
    else:
        check_number(value, name, least=0, most=1)
    if not model.has_sampling and value != SAMPLING_DEFAULTS[name]:
        raise invalid(f"`{name}` is not supported by {model.id}. Leave it out.")


def _check_plain_options(fields: JSON, model: Model) -> None:
    if "stream" in fields:
        check_boolean(fields["stream"], "stream")
    for index, text in enumerate(check_array(fields.get("stop_sequences", []), "stop_sequences")):
        if not check_string(text, f"stop_sequences.{index}").strip():
            raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
    if "metadata" in fields:
        metadata = check_dictionary(fields["metadata"], "metadata")
        check_no_extras(metadata, "metadata", ("user_id",))
        if metadata.get("user_id") is not None:
            check_string(metadata["user_id"], "metadata.user_id", longest=256)
    if fields.get("inference_geo") is not None and model.generation < (4, 6):
        raise invalid(f"inference_geo: not supported by {model.id}")
    if "service_tier" in fields:
        check_one_of(fields["service_tier"], "service_tier", ("auto", "standard_only"))


def _check_common(fields: JSON, terms: Terms, model: Model, *, max_tokens: int | None) -> None:
    _check_system(fields.get("system", ""))
    check_messages(fields["messages"], model, terms.version)
    tools = check_tools(fields.get("tools", []), model)
    effort = _check_output_config(fields, model)
    kind = _check_thinking(fields, model, effort, max_tokens)
    if "tool_choice" in fields:
        check_tool_choice(fields["tool_choice"], tools, model, has_manual_thinking=kind == "enabled")
    if "speed" in fields:
        check_one_of(fields["speed"], "speed", ("standard", "fast"))
        if fields["speed"] == "fast" and (model.line in ("haiku", "sonnet") or model.generation == (4, 7)):
            raise invalid(f"speed: fast mode is not supported by {model.id}")
    _check_cache_control(fields, terms.betas)


def _check_system(system: Any) -> None:
    if isinstance(system, str):
        return
    for index, block in enumerate(check_array(system, "system")):
        path = f"system.{index}"
        text = check_dictionary(block, path)
        check_field(text, "type", path, check_one_of, ["text"])
        if not check_field(text, "text", path, check_string):
            raise invalid("system: text content blocks must be non-empty")
        check_no_extras(text, path, ("type", "text", "cache_control", "citations"))


def _check_output_config(fields: JSON, model: Model) -> str:
    config = check_dictionary(fields.get("output_config", {}), "output_config")
    check_no_extras(config, "output_config", ("effort", "format", "task_budget"))
    if config.get("format") is not None:
        check_output_format(config["format"])
        documents = (block for _, _, block in blocks_in(fields["messages"]) if block["type"] == "document")
        if any((document.get("citations") or {}).get("enabled") for document in documents):
            raise invalid("output_config.format: structured outputs cannot be combined with citations")
    if config.get("effort") is None:
        return model.default_effort
    levels = ("low", "medium", "high", "xhigh", "max")
    effort = check_one_of(config["effort"], "output_config.effort", levels)
    if effort not in model.efforts:
        if not model.efforts:
            raise invalid(f"output_config.effort: {model.id} does not support the effort parameter")
        raise invalid(f"output_config.effort: '{effort}' is not supported by {model.id}")
    return effort


def _check_thinking(fields: JSON, model: Model, effort: str, max_tokens: int | None) -> str:
    if "thinking" not in fields:
        return ""
    thinking = check_dictionary(fields["thinking"], "thinking")
    kinds = ("adaptive", "enabled", "disabled", "between_tools")
    kind = check_field(thinking, "type", "thinking", check_one_of, kinds)
    known = ["type", "display", "block_binding"] if kind != "disabled" else ["type"]
    check_no_extras(thinking, f"thinking.{kind}", [*known, "budget_tokens"] if kind == "enabled" else known)
    if kind not in model.thinking:
        raise invalid(f"thinking.type: '{kind}' is not supported by {model.id}")
    if kind == "disabled" and model.disabled_up_to_high and effort in ("xhigh", "max"):
        raise invalid(f"thinking.type: 'disabled' is not supported by {model.id} at effort '{effort}'")
    if thinking.get("display") is not None:
        check_one_of(thinking["display"], f"thinking.{kind}.display", ("summarized", "omitted", "updates"))
    if kind == "enabled":
        _check_budget(thinking, max_tokens)
    return kind


def _check_budget(thinking: JSON, max_tokens: int | None) -> None:
    path = "thinking.enabled"
    budget = check_field(thinking, "budget_tokens", path, check_integer, least=MIN_BUDGET_TOKENS)
    if max_tokens is not None and budget >= max_tokens:
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
    has_short = False
    for path, value in found:
        control = check_dictionary(value, path)
        check_field(control, "type", path, check_one_of, ["ephemeral"])
        check_no_extras(
            control, path, ("type", "ttl", "scope") if CACHE_SCOPE_BETA in betas else ("type", "ttl")
        )
        ttl = check_one_of(control.get("ttl", "5m"), f"{path}.ttl", ("5m", "1h"))
        if ttl == "1h" and has_short:
            raise invalid(f"{path}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' one")
        has_short = has_short or ttl == "5m"


# Messages: roles, blocks and their order.
MAX_MESSAGES = 100_000
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*\Z")

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
USER_BLOCKS = frozenset({"text", "image", "document", "search_result", "tool_result", "container_upload"})
ASSISTANT_BLOCKS = SERVER_RESULTS | {
    "text",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "server_tool_use",
    "container_upload",
}
RESULT_BLOCKS = frozenset({"text", "image", "document", "search_result", "tool_reference"})


def check_messages(value: Any, model: Model, version: str) -> None:
    """Check `messages`."""
    messages = check_array(value, "messages")
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
    message = check_dictionary(value, path)
    role = check_required(message, "role", path)
    roles = ("user", "assistant", "system") if model.has_system_turns else ("user", "assistant")
    check_one_of(role, f"{path}.role", roles)
    check_no_extras(message, path, ("role", "content"))
    content = check_required(message, "content", path)
    if not content and not (is_last and role == "assistant"):
        raise invalid(
            f"{path}: all messages must have non-empty content"
            " except for the optional final assistant message"
        )
    if isinstance(content, str):
        if not content.strip() and content:
            raise invalid("messages: text content blocks must contain non-whitespace text")
        return
    for index, block in enumerate(check_array(content, f"{path}.content")):
        _check_block(block, f"{path}.content.{index}", role)


def _check_block(value: Any, path: str, role: str) -> None:
    block = check_dictionary(value, path)
    kind = check_field(block, "type", path, check_string)
    allowed = ASSISTANT_BLOCKS if role == "assistant" else USER_BLOCKS
    if role == "assistant" and kind == "document":
        return  # accepted by the old version; see _check_new_version
    if kind not in allowed:
        raise invalid(f"{path}.type: `{kind}` blocks are not allowed in {role} messages")
    if kind in BLOCK_CHECKS:
        BLOCK_CHECKS[kind](block, f"{path}.{kind}")


def _check_text(block: JSON, path: str) -> None:
    text = check_field(block, "text", path, check_string)
    if not text:
        raise invalid("messages: text content blocks must be non-empty")
    if not text.strip():
        raise invalid("messages: text content blocks must contain non-whitespace text")
    check_no_extras(block, path, ("type", "text", "cache_control", "citations"))


def _check_image(block: JSON, path: str) -> None:
    check_no_extras(block, path, ("type", "source", "cache_control", "transformations"))
    _check_source(block, path, _SOURCES, IMAGE_TYPES)


def _check_document(block: JSON, path: str) -> None:
    check_no_extras(block, path, ("type", "source", "title", "context", "citations", "cache_control"))
    if block.get("title") is not None:
        check_string(block["title"], f"{path}.title")
    check_dictionary(block.get("citations") or {}, f"{path}.citations")
    kinds = (*_SOURCES, "text", "content")
    source = _check_source(block, path, kinds, ["application/pdf"])
    if source["type"] == "text":
        check_one_of(source.get("media_type"), f"{path}.source.text.media_type", ["text/plain"])
        check_field(source, "data", f"{path}.source.text", check_string)


_SOURCES = ("base64", "url", "file")


def _check_source(block: JSON, path: str, kinds: Sequence[str], media_types: Sequence[str]) -> JSON:
    """Check a block's `source`, and the media type of base64 data. Return the source."""
    source = check_field(block, "source", path, check_dictionary)
    if check_field(source, "type", f"{path}.source", check_one_of, kinds) == "base64":
        inner = f"{path}.source.base64"
        check_field(source, "media_type", inner, check_one_of, media_types)
        if not _BASE64.match(check_field(source, "data", inner, check_string)):
            raise invalid(f"{inner}.data: invalid base64 data")
    return source


def _check_tool_use(block: JSON, path: str) -> None:
    check_no_extras(
        block, path, ("type", "id", "name", "input", "caller", "toolset_name", "cache_control", "signature")
    )
    check_field(block, "id", path, check_string)
    check_field(block, "name", path, check_string, longest=200)
    check_field(block, "input", path, check_dictionary)


def _check_tool_result(block: JSON, path: str) -> None:
    check_no_extras(block, path, ("type", "tool_use_id", "content", "is_error", "cache_control"))
    check_field(block, "tool_use_id", path, check_string)
    if "is_error" in block:
        check_boolean(block["is_error"], f"{path}.is_error")
    content = block.get("content", "")
    if isinstance(content, str):
        return
    for index, part in enumerate(check_array(content, f"{path}.content")):
        part_path = f"{path}.content.{index}"
        kinds = sorted(RESULT_BLOCKS)
        kind = check_one_of(check_dictionary(part, part_path).get("type"), f"{part_path}.type", kinds)
        if kind == "text":  # may be empty
            check_field(part, "text", f"{part_path}.text", check_string)
        elif kind in BLOCK_CHECKS:
            BLOCK_CHECKS[kind](part, f"{part_path}.{kind}")


def _check_thinking_block(block: JSON, path: str) -> None:
    check_field(block, "thinking", path, check_string)
    check_field(block, "signature", path, check_string)
    check_no_extras(block, path, ("type", "thinking", "signature"))


def _check_redacted_thinking(block: JSON, path: str) -> None:
    check_field(block, "data", path, check_string)
    check_no_extras(block, path, ("type", "data"))


def _check_search_result(block: JSON, path: str) -> None:
    for name in ("source", "title"):
        check_field(block, name, path, check_string)
    check_field(block, "content", path, check_array)


BLOCK_CHECKS: Mapping[str, Callable[[JSON, str], None]] = {
    "text": _check_text,
    "image": _check_image,
    "document": _check_document,
    "search_result": _check_search_result,
    "tool_use": _check_tool_use,
    "tool_result": _check_tool_result,
    "thinking": _check_thinking_block,
    "redacted_thinking": _check_redacted_thinking,
}


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
