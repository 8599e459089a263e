"""What is known of the models, as of November 2026. Used to shape defaults and nothing else: unknown models must work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

ThinkingType: TypeAlias = Literal["adaptive", "enabled", "disabled", "between_tools"]

_DATE_SUFFIX = re.compile(r"-20\d{6}$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What one model takes.

    Attributes:
        max_output_tokens: Largest `max_tokens`.
        thinking: Types of the `thinking` field it accepts.
        quiet_up_to_high: Takes `disabled` only up to effort high.
    """

    max_output_tokens: int
    thinking: frozenset[ThinkingType]
    quiet_up_to_high: bool = False


_ALWAYS_THINKING = ModelFacts(max_output_tokens=128_000, thinking=frozenset({"adaptive"}))
_QUIET_UP_TO_HIGH = ModelFacts(
    max_output_tokens=128_000, thinking=frozenset({"adaptive", "disabled"}), quiet_up_to_high=True
)
_ADAPTIVE = ModelFacts(max_output_tokens=128_000, thinking=frozenset({"adaptive", "disabled"}))
_ADAPTIVE_OR_BUDGET = ModelFacts(
    max_output_tokens=128_000, thinking=frozenset({"adaptive", "enabled", "disabled"})
)
_BUDGET_ONLY = ModelFacts(max_output_tokens=64_000, thinking=frozenset({"enabled", "disabled"}))

_FACTS = {
    "claude-fable-5-2": _ALWAYS_THINKING,
    "claude-mythos-5-2": _ALWAYS_THINKING,
    "claude-fable-5-1": _ALWAYS_THINKING,
    "claude-mythos-5-1": _ALWAYS_THINKING,
    "claude-fable-5": _ALWAYS_THINKING,
    "claude-mythos-5": _ALWAYS_THINKING,
    "claude-opus-5-5": _ALWAYS_THINKING,
    "claude-sonnet-5-5": ModelFacts(
        max_output_tokens=128_000, thinking=frozenset({"adaptive", "between_tools"})
    ),
    "claude-haiku-5-5": _QUIET_UP_TO_HIGH,
    "claude-opus-5": _QUIET_UP_TO_HIGH,
    "claude-sonnet-5": _ADAPTIVE,
    "claude-opus-4-8": _ADAPTIVE,
    "claude-opus-4-7": _ADAPTIVE,
    "claude-opus-4-6": _ADAPTIVE_OR_BUDGET,
    "claude-sonnet-4-6": _ADAPTIVE_OR_BUDGET,
    "claude-opus-4-5": _BUDGET_ONLY,
    "claude-haiku-4-5": _BUDGET_ONLY,
    "claude-sonnet-4-5": _BUDGET_ONLY,
}


def facts_of(model: str) -> ModelFacts | None:
    """What is known of a model, also under a name with a date; None if nothing."""
    return _FACTS.get(_DATE_SUFFIX.sub("", model))
