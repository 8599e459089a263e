"""From a question, settings and what was said before to a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..client import ConfigurationError, MessageRequest
from ..context import holds_key
from ._models import ModelFacts, facts_of
from ._question import Question
from ._settings import ResolvedSettings

_MIN_THINKING_BUDGET = 1024
"""Smallest `budget_tokens` that the API takes."""
_USUAL_THINKING_BUDGET = 8000

_BINDING_BETA = "thinking-binding-controls-2026-08-01"
"""Lets a thread go on after a change of its system prompt or tools: thinking that is bound to the former ones is left
out by the server, instead of refusing the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was said before.

    Attributes:
        messages: The turns so far, oldest first, as they were sent and received.
        is_rebound: Some thinking in it was made under another system prompt or other tools.
    """

    messages: Sequence[dict[str, Any]] = ()
    is_rebound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """A request, and what is different in it from what was asked, as sentences."""

    request: MessageRequest
    notes: tuple[str, ...]


def check_prompt(question: Question) -> None:
    """Check that there is something to send.

    Raises:
        TypeError: The prompt is no string.
        ConfigurationError: There is nothing in it.
    """
    if not isinstance(question.prompt, str):
        raise TypeError(f"The prompt must be a string, not {type(question.prompt).__name__}.")
    content = question.user_turn()["content"]
    is_empty = not content.strip() if isinstance(content, str) else not content
    if is_empty:
        raise ConfigurationError("The prompt is empty, so nothing was sent. Write what Claude should do.")


def check_no_key(question: Question, system: str | None) -> None:
    """Check that no key has been typed with a question: it would be sent, and stay in the conversation.

    Raises:
        ConfigurationError: There is what looks like one.
    """
    if question.is_raw:
        return
    typed = {
        "The prompt": question.prompt,
        "The system prompt": system or "",
        "A stop sequence": repr(question.stop_sequences),
        "A field of the request": repr(question.extra),
    }
    for what, text in typed.items():
        if holds_key(text):
            raise ConfigurationError(
                f"{what} holds what looks like an Anthropic API key, so nothing was sent. Take it out, also of a cell: cells are "
                "saved with their notebook, and %claude login asks for a key. --raw (raw=True in Python) sends it all the same."
            )


def check_stop_sequences(stop_sequences: object) -> list[str] | None:
    """Return the stop sequences as a list; one string counts as one of them.

    Raises:
        ConfigurationError: They are no strings, or blank.
    """
    if stop_sequences is None:
        return None
    sequences = [stop_sequences] if isinstance(stop_sequences, str) else stop_sequences
    if not isinstance(sequences, list | tuple) or not all(isinstance(each, str) for each in sequences):
        raise ConfigurationError(f"stop_sequences must be a list of strings, not {stop_sequences!r}.")
    if not all(each.strip() for each in sequences):
        raise ConfigurationError("stop_sequences holds a blank string, which the API refuses.")
    return list(sequences) or None


def plan_request(
    question: Question,
    settings: ResolvedSettings,
    history: History | None = None,
    *,
    model: str | None = None,
) -> PlannedRequest:
    """Build the request for a question.

    Args:
        question: What is asked.
        settings: The settings in force.
        history: What was said before; None if nothing was.
        model: The model, by its full name; None for the one of the settings.
    """
    history = history or History()
    settings = settings if model is None else settings.with_model(model)
    values = settings.values
    facts = facts_of(values.model)
    notes: list[str] = []
    tools = question.tool_definitions(values.model)
    max_tokens = _bounded_max_tokens(settings, facts, notes)
    fields: dict[str, Any] = {
        "model": values.model,
        "max_tokens": max_tokens,
        "messages": [*history.messages, question.user_turn()],
        "system": values.system or None,
        "stop_sequences": check_stop_sequences(question.stop_sequences),
        "tools": tools or None,
        "output_config": _output_config(question, settings) or None,
        "thinking": _thinking(settings, facts, max_tokens, notes),
    }
    if facts is not None and (history.messages or tools):
        fields["cache_control"] = {"type": "ephemeral"}  # what is said now is sent again with what follows
    if history.is_rebound and facts is not None and facts.binds_thinking:
        _allow_rebinding(fields)
    fields = _merged(fields, _checked_extra(question.extra))
    return PlannedRequest(
        request=MessageRequest(**{name: value for name, value in fields.items() if value is not None}),
        notes=tuple(notes),
    )


def _output_config(question: Question, settings: ResolvedSettings) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if settings.values.effort is not None:
        config["effort"] = settings.values.effort
    if question.output_schema is not None:
        config["format"] = {"type": "json_schema", "schema": question.output_schema.json_schema}
    return config


def _allow_rebinding(fields: dict[str, Any]) -> None:
    thinking = fields["thinking"]
    if thinking is not None and thinking["type"] != "disabled":
        binding = {"prefix_mismatch_behavior": "drop_block"}
        fields["thinking"] = {**thinking, "block_binding": binding}
        fields["betas"] = (_BINDING_BETA,)


def _checked_extra(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _NEVER_EXTRA.intersection(extra):
        raise ConfigurationError(
            f"{name} cannot be set as a further field of the request, because claude_magic writes it. Nothing was sent."
        )
    return extra


_NEVER_EXTRA = frozenset({"messages", "stream", "model"})


def _merged(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(fields)
    for name, value in extra.items():
        former = merged.get(name)
        if isinstance(former, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(former, value)
        else:
            merged[name] = value
    return merged


def _bounded_max_tokens(settings: ResolvedSettings, facts: ModelFacts | None, notes: list[str]) -> int:
    asked = settings.values.max_tokens
    if facts is None or asked <= facts.max_output_tokens:
        return asked
    notes.append(
        f"max_tokens was lowered from {asked:,} to {facts.max_output_tokens:,}, the most that "
        f"{settings.values.model} gives."
    )
    return facts.max_output_tokens


def _thinking(
    settings: ResolvedSettings, facts: ModelFacts | None, max_tokens: int, notes: list[str]
) -> dict[str, Any] | None:
    """Choose the `thinking` field, or None to send none."""
    is_asked = not settings.is_default("thinking")
    mode = settings.values.thinking
    if facts is None:
        return _UNKNOWN_MODEL_THINKING[mode] if is_asked else None
    if mode == "off":
        return _no_thinking(settings, facts, notes)
    if "adaptive" in facts.thinking:
        return _ADAPTIVE[mode]
    # Generation 4.5 thinks only when given a budget, which is paid for: so not by default.
    return _budgeted_thinking(max_tokens, notes) if is_asked and mode == "show" else None


_ADAPTIVE = {
    "show": {"type": "adaptive", "display": "summarized"},
    "hide": {"type": "adaptive", "display": "omitted"},
}
_UNKNOWN_MODEL_THINKING = {**_ADAPTIVE, "off": {"type": "disabled"}}


def _no_thinking(settings: ResolvedSettings, facts: ModelFacts, notes: list[str]) -> dict[str, Any] | None:
    model, effort = settings.values.model, settings.values.effort
    if "between_tools" in facts.thinking:
        return {"type": "between_tools"}
    if "adaptive" not in facts.thinking:
        return None  # it does not think unless told to
    if "disabled" not in facts.thinking:
        notes.append(f"{model} always thinks, so its thinking is hidden instead of switched off.")
        return _ADAPTIVE["hide"]
    if facts.quiet_up_to_high and effort in ("xhigh", "max"):
        notes.append(
            f"{model} always thinks at effort {effort}, so its thinking is hidden instead of switched off."
        )
        return _ADAPTIVE["hide"]
    return {"type": "disabled"}


def _budgeted_thinking(max_tokens: int, notes: list[str]) -> dict[str, Any] | None:
    budget = min(_USUAL_THINKING_BUDGET, max_tokens // 2)
    if budget < _MIN_THINKING_BUDGET:
        notes.append(f"max_tokens {max_tokens:,} is too small for thinking, so there is none.")
        return None
    return {"type": "enabled", "budget_tokens": budget}
