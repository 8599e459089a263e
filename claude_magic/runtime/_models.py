"""What is known of the models, with a date. Used to shape defaults and hints, nothing else: unknown models must work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

ThinkingType: TypeAlias = Literal["adaptive", "enabled", "disabled", "between_tools"]
Line: TypeAlias = Literal["fable", "mythos", "opus", "sonnet", "haiku"]

MODELS_AS_OF: Final = "2026-11-27"
"""The day on which this table was right."""

_OLDER_WEB_SEARCH: Final = "web_search_20250305"
"""The version that every server knows which knows any."""

_DATE_SUFFIX = re.compile(r"-20\d{6}$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What one model is and takes.

    Attributes:
        line: The family it is the newest or an older member of.
        released: Its day of release, as ISO text; of some only the month is known, as "2026-05".
        thinking: Types of the `thinking` field it accepts.
        quiet_up_to_high: Takes `disabled` only up to effort high.
        max_output_tokens: Largest `max_tokens`.
        context_window: Size of its context window.
        cache_minimum_tokens: Shortest prefix that it caches; shorter ones are not, without a word.
        binds_thinking: Checks that thinking comes back under the system prompt, tools and messages that it arose
            from, and takes `thinking.block_binding` to drop what does not.
        takes_forced_tools: Takes a `tool_choice` of `any` or `tool`.
        web_search: Version of the web search that it takes.
        retires: Day from which it is gone, as ISO text, or None while none is set.
    """

    line: Line
    released: str
    thinking: frozenset[ThinkingType]
    quiet_up_to_high: bool = False
    max_output_tokens: int = 128_000
    context_window: int = 1_000_000
    cache_minimum_tokens: int = 512
    binds_thinking: bool = False
    takes_forced_tools: bool = True
    web_search: str = "web_search_20260318"
    retires: str | None = None


_ALWAYS: Final[frozenset[ThinkingType]] = frozenset({"adaptive"})
_IN_STEPS: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "between_tools"})
_OPTIONAL: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "disabled"})
_OPTIONAL_OR_BUDGET: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "enabled", "disabled"})
_BUDGET: Final[frozenset[ThinkingType]] = frozenset({"enabled", "disabled"})


def _fable(line: Line, released: str, *, is_bound: bool) -> ModelFacts:
    return ModelFacts(
        line=line,
        released=released,
        thinking=_ALWAYS,
        binds_thinking=is_bound,
        takes_forced_tools=not is_bound,
    )


def _generation_4(
    line: Line, released: str, *, thinking: frozenset[ThinkingType], cache_minimum_tokens: int
) -> ModelFacts:
    return ModelFacts(
        line=line,
        released=released,
        thinking=thinking,
        cache_minimum_tokens=cache_minimum_tokens,
        web_search=_OLDER_WEB_SEARCH,
    )


def _generation_4_5(
    line: Line, released: str, *, cache_minimum_tokens: int, retires: str | None = None
) -> ModelFacts:
    return ModelFacts(
        line=line,
        released=released,
        thinking=_BUDGET,
        max_output_tokens=64_000,
        context_window=200_000,
        cache_minimum_tokens=cache_minimum_tokens,
        web_search=_OLDER_WEB_SEARCH,
        retires=retires,
    )


MODELS: Final[Mapping[str, ModelFacts]] = {
    "claude-fable-5-2": _fable("fable", "2026-11-09", is_bound=True),
    "claude-mythos-5-2": _fable("mythos", "2026-11-09", is_bound=True),
    "claude-haiku-5-5": ModelFacts(
        line="haiku",
        released="2026-10-07",
        thinking=_OPTIONAL,
        quiet_up_to_high=True,
        binds_thinking=True,
    ),
    "claude-sonnet-5-5": ModelFacts(
        line="sonnet",
        released="2026-09-28",
        thinking=_IN_STEPS,
        binds_thinking=True,
        takes_forced_tools=False,
    ),
    "claude-opus-5-5": ModelFacts(
        line="opus",
        released="2026-09-22",
        thinking=_ALWAYS,
        binds_thinking=True,
        takes_forced_tools=False,
    ),
    "claude-fable-5-1": _fable("fable", "2026-09-01", is_bound=True),
    "claude-mythos-5-1": _fable("mythos", "2026-09-01", is_bound=True),
    "claude-opus-5": ModelFacts(
        line="opus", released="2026-07-24", thinking=_OPTIONAL, quiet_up_to_high=True
    ),
    "claude-sonnet-5": ModelFacts(
        line="sonnet", released="2026-06-30", thinking=_OPTIONAL, cache_minimum_tokens=1024
    ),
    "claude-fable-5": _fable("fable", "2026-06-09", is_bound=False),
    "claude-mythos-5": _fable("mythos", "2026-06-09", is_bound=False),
    "claude-opus-4-8": _generation_4("opus", "2026-05", thinking=_OPTIONAL, cache_minimum_tokens=1024),
    "claude-opus-4-7": _generation_4("opus", "2026-04", thinking=_OPTIONAL, cache_minimum_tokens=2048),
    "claude-opus-4-6": _generation_4(
        "opus", "2026-02", thinking=_OPTIONAL_OR_BUDGET, cache_minimum_tokens=4096
    ),
    "claude-sonnet-4-6": _generation_4(
        "sonnet", "2026-02", thinking=_OPTIONAL_OR_BUDGET, cache_minimum_tokens=1024
    ),
    "claude-opus-4-5": _generation_4_5("opus", "2025-11", cache_minimum_tokens=4096, retires="2027-01-22"),
    "claude-haiku-4-5": _generation_4_5("haiku", "2025-10", cache_minimum_tokens=4096),
    "claude-sonnet-4-5": _generation_4_5(
        "sonnet", "2025-09", cache_minimum_tokens=1024, retires="2026-11-30"
    ),
}
"""By name without a date, newest first."""


def undated(model: str) -> str:
    """Return a model's name without the date that it may end in."""
    return _DATE_SUFFIX.sub("", model)


def facts_of(model: str) -> ModelFacts | None:
    """What is known of a model, also under a name with a date; None if nothing."""
    return MODELS.get(undated(model))


def web_search_of(model: str) -> str:
    """Return the version of the web search for a model: the newest where that is known, else the one that all know."""
    facts = facts_of(model)
    return _OLDER_WEB_SEARCH if facts is None else facts.web_search
