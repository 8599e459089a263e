"""Every rule for the body of a request, in the order in which the API complains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._checks import (
    check_array,
    check_boolean,
    check_dictionary,
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
from ._conversation import BETA_OF_EDIT, check_context_management
from ._headers import NEW_VERSION
from ._message_checks import check_messages
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
    """What the headers decide before the body is read."""

    version: str
    betas: frozenset[str]


def check_message_request(fields: JSON, terms: Terms) -> Model:
    """Check the body of POST `/v1/messages`; returns the model that it asks for."""
    model = _model(fields)
    max_tokens = check_integer(check_required(fields, "max_tokens"), "max_tokens", least=0)
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
    """Check the body of POST `/v1/messages/count_tokens`; returns the model that it asks for."""
    model = _model(fields)
    check_required(fields, "messages")
    _check_fields(fields, COMMON_FIELDS, terms, model)
    _check_common(fields, terms, model, max_tokens=None)
    return model


def _model(fields: JSON) -> Model:
    return find_model(check_string(check_required(fields, "model"), "model"))


def _check_fields(fields: JSON, known: frozenset[str], terms: Terms, model: Model) -> None:
    for name, value in fields.items():
        if name in known:
            continue
        if name == "context_management" and not terms.betas.isdisjoint(BETA_OF_EDIT.values()):
            check_context_management(value, terms.betas)
        elif name in SAMPLING_DEFAULTS and known is MESSAGE_FIELDS and terms.version != NEW_VERSION:
            _check_sampling(name, value, model)
        elif BETA_FIELDS.get(name) in terms.betas:
            raise invalid(f"{name}: the simulator does not imitate this beta feature")
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
        check_one_of(check_required(text, "type", path), f"{path}.type", ["text"])
        if not check_string(check_required(text, "text", path), f"{path}.text"):
            raise invalid("system: text content blocks must be non-empty")
        check_no_extras(text, path, ("type", "text", "cache_control", "citations"))


def _check_output_config(fields: JSON, model: Model) -> str:
    config = check_dictionary(fields.get("output_config", {}), "output_config")
    check_no_extras(config, "output_config", ("effort", "format", "task_budget"))
    if "format" in config and config["format"] is not None:
        check_output_format(config["format"], fields)
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
    if fields.get("thinking") is None and "thinking" not in fields:
        return ""
    thinking = check_dictionary(fields["thinking"], "thinking")
    kinds = ("adaptive", "enabled", "disabled", "between_tools")
    kind = check_one_of(check_required(thinking, "type", "thinking"), "thinking.type", kinds)
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
    path = "thinking.enabled.budget_tokens"
    value = check_required(thinking, "budget_tokens", "thinking.enabled")
    budget = check_integer(value, path, least=MIN_BUDGET_TOKENS)
    if max_tokens is not None and budget >= max_tokens:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_cache_control(fields: JSON, betas: frozenset[str]) -> None:
    found = list(_breakpoints(fields))
    if "cache_control" in fields and fields["cache_control"] is not None:
        found.append(("cache_control", fields["cache_control"]))
    if len(found) > MAX_BREAKPOINTS:
        raise invalid(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(found)}."
        )
    has_short = False
    for path, value in found:
        control = check_dictionary(value, path)
        check_one_of(check_required(control, "type", path), f"{path}.type", ["ephemeral"])
        check_no_extras(
            control, path, ("type", "ttl", "scope") if CACHE_SCOPE_BETA in betas else ("type", "ttl")
        )
        ttl = check_one_of(control.get("ttl", "5m"), f"{path}.ttl", ("5m", "1h"))
        if ttl == "1h" and has_short:
            raise invalid(f"{path}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' one")
        has_short = has_short or ttl == "5m"


def _breakpoints(fields: JSON) -> Iterator[tuple[str, Any]]:
    """Every explicit `cache_control`, in the order of the prefix."""
    places: list[tuple[str, Any]] = [(f"tools.{i}", tool) for i, tool in enumerate(fields.get("tools", []))]
    system = fields.get("system")
    places += [(f"system.{i}", block) for i, block in enumerate(system if isinstance(system, list) else [])]
    for i, message in enumerate(fields["messages"]):
        if isinstance(message["content"], list):
            places += [(f"messages.{i}.content.{j}", block) for j, block in enumerate(message["content"])]
    for path, place in places:
        if place.get("cache_control") is not None:
            yield f"{path}.cache_control", place["cache_control"]
