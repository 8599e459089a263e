"""From a prompt and settings to a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..client import ConfigurationError, MessageRequest
from ._models import ModelFacts, facts_of
from ._settings import ResolvedSettings

_MIN_THINKING_BUDGET = 1024
"""Smallest `budget_tokens` that the API takes."""
_USUAL_THINKING_BUDGET = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """A request, and what is different in it from what was asked, as sentences."""

    request: MessageRequest
    notes: tuple[str, ...]


def check_prompt(prompt: object) -> str:
    """Return the prompt.

    Raises:
        TypeError: It is no string.
        ConfigurationError: It is empty.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"The prompt must be a string, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise ConfigurationError("The prompt is empty, so nothing was sent. Write what Claude should do.")
    return prompt


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


def plan_request(prompt: str, settings: ResolvedSettings, stop_sequences: list[str] | None) -> PlannedRequest:
    """Build the request for a prompt."""
    values = settings.values
    facts = facts_of(values.model)
    notes: list[str] = []
    fields: dict[str, Any] = {
        "model": values.model,
        "max_tokens": _bounded_max_tokens(settings, facts, notes),
        "messages": [{"role": "user", "content": prompt}],
        "system": values.system or None,
        "stop_sequences": stop_sequences,
    }
    if values.effort is not None:
        fields["output_config"] = {"effort": values.effort}
    fields["thinking"] = _thinking(settings, facts, fields["max_tokens"], notes)
    return PlannedRequest(
        request=MessageRequest(**{name: value for name, value in fields.items() if value is not None}),
        notes=tuple(notes),
    )


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
