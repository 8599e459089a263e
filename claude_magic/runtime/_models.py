"""What is known about models: tables of facts and prices with their dates, bills, and names. Unknown models work, but have no price."""

from __future__ import annotations

import asyncio
import re
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from ..client import (
    ClaudeClient,
    ClaudeError,
    Message,
    ModelInfo,
    NotFoundError,
    Usage,
)
from ..context import closest_name

ThinkingType: TypeAlias = Literal["adaptive", "enabled", "disabled", "between_tools"]
ModelLine: TypeAlias = Literal["fable", "mythos", "opus", "sonnet", "haiku"]

MODELS_AS_OF: Final = "2026-11-27"
"""The day on which this table was verified."""

_OLDER_WEB_SEARCH: Final = "web_search_20250305"
"""The version that every server with web search supports."""

_DATE_SUFFIX = re.compile(r"-20\d{6}$", re.ASCII)


class Price(NamedTuple):
    """USD per million tokens."""

    input: float
    output: float
    write_5m: float
    """Input written to the prompt cache for five minutes."""
    write_1h: float
    """Input written to the prompt cache for one hour."""
    read: float
    """Input read from the prompt cache."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The capabilities, limits and price of one model.

    Attributes:
        line: The model family.
        released: Release date in ISO format; for some models only the month is known ("2026-05").
        price: Row of the price list.
        thinking: Accepted types of the `thinking` field.
        long_prompts: A prompt length in tokens, and the price of requests with longer prompts; None if it is the same.
        disabled_up_to_high: Whether `disabled` is accepted only up to effort high.
        max_output_tokens: Largest `max_tokens`.
        context_window: Size of the context window in tokens.
        cache_minimum_tokens: Shortest prefix that is cached; shorter ones are silently not cached.
        binds_thinking: The server checks that thinking is sent back with the system prompt, tools and messages that it was
            created under, and accepts `thinking.block_binding` to drop other thinking.
        web_search: Supported version of the web search tool.
        retires: Retirement date in ISO format, or None if not announced.
    """

    line: ModelLine
    released: str
    price: Price
    thinking: frozenset[ThinkingType]
    long_prompts: tuple[int, Price] | None = None
    disabled_up_to_high: bool = False
    max_output_tokens: int = 128_000
    context_window: int = 1_000_000
    cache_minimum_tokens: int = 512
    binds_thinking: bool = False
    web_search: str = "web_search_20260318"
    retires: str | None = None


_ALWAYS: Final[frozenset[ThinkingType]] = frozenset({"adaptive"})
_IN_STEPS: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "between_tools"})
_OPTIONAL: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "disabled"})
_OPTIONAL_OR_BUDGET: Final[frozenset[ThinkingType]] = frozenset({"adaptive", "enabled", "disabled"})
_BUDGET: Final[frozenset[ThinkingType]] = frozenset({"enabled", "disabled"})

_FABLE_5_2 = Price(8, 40, 10, 16, 0.20)
_FABLE_5_1 = Price(10, 50, 12.5, 20, 0.25)
_FABLE_5 = Price(10, 50, 12.5, 20, 1.00)
_OPUS_4_AND_5 = Price(5, 25, 6.25, 10, 0.50)
_SONNET_4 = Price(3, 15, 3.75, 6, 0.30)

_GENERATION_4: Final[dict[str, Any]] = {"web_search": _OLDER_WEB_SEARCH}
_GENERATION_4_5: Final[dict[str, Any]] = {
    **_GENERATION_4,
    "thinking": _BUDGET,
    "max_output_tokens": 64_000,
    "context_window": 200_000,
}

MODELS: Final[Mapping[str, ModelFacts]] = {
    "claude-fable-5-2": ModelFacts("fable", "2026-11-09", _FABLE_5_2, _ALWAYS, binds_thinking=True),
    "claude-mythos-5-2": ModelFacts("mythos", "2026-11-09", _FABLE_5_2, _ALWAYS, binds_thinking=True),
    "claude-haiku-5-5": ModelFacts(
        "haiku",
        "2026-10-07",
        Price(0.10, 0.50, 0.125, 0.20, 0.01),
        _OPTIONAL,
        long_prompts=(100_000, Price(0.50, 2.50, 0.625, 1.00, 0.05)),
        disabled_up_to_high=True,
        binds_thinking=True,
    ),
    "claude-sonnet-5-5": ModelFacts(
        "sonnet", "2026-09-28", Price(2, 10, 2.5, 4, 0.10), _IN_STEPS, binds_thinking=True
    ),
    "claude-opus-5-5": ModelFacts(
        "opus", "2026-09-22", Price(4, 20, 5, 8, 0.20), _ALWAYS, binds_thinking=True
    ),
    "claude-fable-5-1": ModelFacts("fable", "2026-09-01", _FABLE_5_1, _ALWAYS, binds_thinking=True),
    "claude-mythos-5-1": ModelFacts("mythos", "2026-09-01", _FABLE_5_1, _ALWAYS, binds_thinking=True),
    "claude-opus-5": ModelFacts("opus", "2026-07-24", _OPUS_4_AND_5, _OPTIONAL, disabled_up_to_high=True),
    "claude-sonnet-5": ModelFacts(
        "sonnet", "2026-06-30", Price(2, 10, 2.5, 4, 0.20), _OPTIONAL, cache_minimum_tokens=1024
    ),
    "claude-fable-5": ModelFacts("fable", "2026-06-09", _FABLE_5, _ALWAYS),
    "claude-mythos-5": ModelFacts("mythos", "2026-06-09", _FABLE_5, _ALWAYS),
    "claude-opus-4-8": ModelFacts(
        "opus", "2026-05", _OPUS_4_AND_5, _OPTIONAL, cache_minimum_tokens=1024, **_GENERATION_4
    ),
    "claude-opus-4-7": ModelFacts(
        "opus", "2026-04", _OPUS_4_AND_5, _OPTIONAL, cache_minimum_tokens=2048, **_GENERATION_4
    ),
    "claude-opus-4-6": ModelFacts(
        "opus", "2026-02", _OPUS_4_AND_5, _OPTIONAL_OR_BUDGET, cache_minimum_tokens=4096, **_GENERATION_4
    ),
    "claude-sonnet-4-6": ModelFacts(
        "sonnet", "2026-02", _SONNET_4, _OPTIONAL_OR_BUDGET, cache_minimum_tokens=1024, **_GENERATION_4
    ),
    "claude-opus-4-5": ModelFacts(
        "opus", "2025-11", _OPUS_4_AND_5, cache_minimum_tokens=4096, retires="2027-01-22", **_GENERATION_4_5
    ),
    "claude-haiku-4-5": ModelFacts(
        "haiku", "2025-10", Price(1, 5, 1.25, 2, 0.10), cache_minimum_tokens=4096, **_GENERATION_4_5
    ),
    "claude-sonnet-4-5": ModelFacts(
        "sonnet", "2025-09", _SONNET_4, cache_minimum_tokens=1024, retires="2026-11-30", **_GENERATION_4_5
    ),
}
"""Models by their names without a date, newest first."""


def undated(model: str) -> str:
    """Return a model's name without its date suffix, if any."""
    return _DATE_SUFFIX.sub("", model)


def facts_of(model: str) -> ModelFacts | None:
    """Return the facts about a model, which may be named with a date; None if unknown."""
    return MODELS.get(undated(model))


def web_search_of(model: str) -> str:
    """Return the web search version for a model: its own if the model is known, else the one that all servers support."""
    facts = facts_of(model)
    return _OLDER_WEB_SEARCH if facts is None else facts.web_search


# Costs of requests, by the published price list. Models that are not on it have no price: nothing is guessed.
#
# One request can use several models: fallbacks if the first model declines, and advisors. `usage.iterations` lists the steps
# with their token counts, and each step is billed at the price of its model. So a bill has a line for each model.
PRICES_AS_OF: Final = "2026-11-27"
"""The day on which this list was verified. Prices change: one model's cache price was halved nine days after its release."""


_MILLION: Final = 1_000_000
_SPEEDS: Final[Mapping[str | None, float]] = {None: 1.0, "standard": 1.0, "fast": 2.0}
"""Price factor by the `speed` that was used."""
_PLACES: Final[Mapping[str | None, float]] = {None: 1.0, "global": 1.0, "not_available": 1.0, "us": 1.1}
"""Price factor by the place where the model ran (`inference_geo`)."""
BATCH_SHARE: Final = 0.5
"""Price factor of tokens in a batch."""
_TIERS: Final[Mapping[object, float]] = {None: 1.0, "standard": 1.0, "batch": BATCH_SHARE}
"""Price factor by the service tier that was used. The priority tier is billed by contract."""
WEB_SEARCH: Final = 10 / 1000
"""USD per search; search results also count as input tokens."""
_TOOL_FEES: Final[Mapping[str, float]] = {
    "web_search_requests": WEB_SEARCH,
    "web_fetch_requests": 0.0,
    "tool_search_requests": 0.0,
}
"""USD per use of a server tool, by the name of its counter."""
_CACHE_TIMES: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """Usage and cost of one model in one request.

    Attributes:
        model: The model.
        usage: Its tokens.
        cost: USD, or None if the price is not known.
    """

    model: str
    usage: Usage
    cost: float | None


def price_of(model: str, prompt_tokens: int = 0) -> Price | None:
    """Return the price of a model, which may be named with a date; None if it has none.

    Args:
        model: The model.
        prompt_tokens: Size of the whole prompt, including cached parts; determines the price tier.
    """
    facts = facts_of(model)
    if facts is None:
        return None
    longer_than, price = facts.long_prompts or (prompt_tokens, facts.price)
    return price if prompt_tokens > longer_than else facts.price


def most_expensive_model() -> str:
    """Return the most expensive model: the upper bound if the server chooses a model itself."""
    return max(MODELS, key=lambda model: (MODELS[model].price.output, MODELS[model].price.input))


def bill_of(message: Message, *, requested: str) -> tuple[BillLine, ...]:
    """Return the bill of one request, a line for each model that took part; the model that answered comes first.

    Args:
        message: The reply, complete or partial.
        requested: The requested model, used if the reply does not name the model that answered.
    """
    lines = lines_of(message.model or requested, message.usage, requested=requested)
    if message.stop_reason == "refusal" and not message.content:  # a refusal before any output is not billed
        return tuple(BillLine(model=line.model, usage=line.usage, cost=0.0) for line in lines)
    return lines


def lines_of(model: str, usage: Usage, *, requested: str | None = None) -> tuple[BillLine, ...]:
    """Return the bill of a usage, a line for each model that took part; the model that answered comes first.

    Args:
        model: The model that answered.
        usage: The server's counts of one request; the sum of several would be priced at the wrong tier.
        requested: The requested model, to which steps without a model name are billed; None for the model that answered.
    """
    if not usage.steps:  # the usual case
        cost = total((_cost(model, usage, usage, is_alone=True), _tool_fees(usage)))
        return (BillLine(model=model, usage=usage, cost=cost),)
    answered = usage.fallback_model or model
    steps = list(_steps(usage, requested=requested or model, answered=answered))
    lines = []
    for name in dict.fromkeys([answered, *(name for name, _ in steps)]):
        usages = [step for other, step in steps if other == name]
        fees = _tool_fees(usage) if name == answered else 0.0
        costs = [_cost(name, step, usage, is_alone=name == answered) for step in usages]
        lines.append(
            BillLine(
                model=name, usage=_line_usage(usages, usage, name == answered), cost=total((*costs, fees))
            )
        )
    return tuple(lines)


def cost_of(model: str, usage: Usage) -> float | None:
    """Return the cost of one request in USD; None if the price is not known.

    Args:
        model: The model that answered.
        usage: The server's counts of one request; the sum of several would be priced at the wrong tier.
    """
    return total(line.cost for line in lines_of(model, usage))


def total(costs: Iterable[float | None]) -> float | None:
    """Return the sum of amounts; None if one of them is not known."""
    amounts = list(costs)
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def surcharge(speed: object, inference_geo: object) -> float:
    """Return the price factor for these fields of a request. Unknown values count as the most expensive ones."""
    faster, place = _factor(_SPEEDS, speed), _factor(_PLACES, inference_geo)
    return (faster or max(_SPEEDS.values())) * (place or max(_PLACES.values()))


def _factor(factors: Mapping[str | None, float], value: object) -> float | None:
    """Return the factor of a field's value; None if it is unknown, or of a type that the API does not use."""
    return factors.get(value) if isinstance(value, str | None) else None


def usd(tokens: int, per_million: float) -> float:
    """Return the price of a number of tokens in USD."""
    return tokens * per_million / _MILLION


def format_usd(amount: float) -> str:
    """Format an amount readably at any size: $12.50, $0.66, $0.0123, $0.0000451."""
    if amount >= 1 or amount <= 0:
        return f"${amount:,.2f}"
    if amount < 1e-9:
        return "under $0.000000001"
    digits = f"{float(f'{amount:.3g}'):.12f}".rstrip("0")
    return "$" + digits.ljust(len("0.00"), "0")


def format_price(amount: float, *, is_estimate: bool) -> str:
    """Format an amount, with "≈" if it is an estimate."""
    return f"{'≈ ' if is_estimate else ''}{format_usd(amount)}"


def _steps(usage: Usage, *, requested: str, answered: str) -> Iterator[tuple[str, Usage]]:
    """Yield each step of a request with its model; a single step if the server lists none."""
    steps = [step for step in usage.steps if isinstance(step.get("type"), str)]
    answers = [step for step in steps if step["type"] in ("message", "fallback_message")]
    if not answers or not all(map(_has_counts, answers)):
        # The total counts are those of the answer. They do not include compaction and advice.
        steps = [step for step in steps if step not in answers]
        yield answered, usage
    has_declined = any(step["type"] == "fallback_message" for step in steps)
    for step in steps:
        counts = Usage.model_validate({**step, "is_estimate": usage.is_estimate})
        if has_declined and step["type"] == "message" and not counts.output_tokens:
            continue  # the model declined before any output, which is not billed
        model = step.get("model")
        yield model if isinstance(model, str) and model else requested if has_declined else answered, counts


def _has_counts(step: Mapping[str, Any]) -> bool:
    return {"input_tokens", "output_tokens"} <= Usage.model_validate(step).model_fields_set


def _line_usage(steps: Sequence[Usage], whole: Usage, has_answered: bool) -> Usage:
    """Return the usage of one model; all other fields of the server's usage go to the model that answered."""
    if has_answered and len(steps) == 1 and steps[0] is whole:
        return whole
    counts = {
        "input_tokens": sum(step.input_tokens for step in steps),
        "output_tokens": sum(step.output_tokens for step in steps),
        "cache_creation_input_tokens": sum(step.cache_creation_input_tokens or 0 for step in steps),
        "cache_read_input_tokens": sum(step.cache_read_input_tokens or 0 for step in steps),
    }
    if has_answered:
        return whole.model_copy(
            update={name: count for name, count in counts.items() if count or getattr(whole, name)}
        )
    return Usage().model_copy(update={**counts, "is_estimate": any(step.is_estimate for step in steps)})


def _cost(model: str, step: Usage, whole: Usage, *, is_alone: bool) -> float | None:
    """Return the cost of one step without fees; None if a field that affects the price has an unknown value."""
    price = price_of(model, step.total_input_tokens)
    extra = whole.model_extra or {}
    speed = extra.get("speed")
    faster, place = _factor(_SPEEDS, speed), _factor(_PLACES, extra.get("inference_geo"))
    tier = _TIERS.get(whole.service_tier)
    if price is None or faster is None or place is None or tier is None or _is_repriced(extra):
        return None
    if speed == "fast" and not is_alone:
        return None  # the speed of the other models is not reported
    tokens = _token_cost(price, step)
    return None if tokens is None else tokens * (faster * place * tier)


def _is_repriced(extra: Mapping[str, Any]) -> bool:
    """Return whether a credit changed the bill by an amount that the server does not report."""
    credit = extra.get("fallback_credit")
    status = credit.get("status") if isinstance(credit, Mapping) else None
    return isinstance(status, Mapping) and status.get("type") == "redeemed"


def _token_cost(price: Price, usage: Usage) -> float | None:
    times = usage.cache_creation or {}
    if any(count_of(times[name]) for name in times if name not in _CACHE_TIMES):
        return None  # a cache lifetime without a known price
    for_5m, for_1h = (count_of(times.get(name)) for name in _CACHE_TIMES)
    written = usage.cache_creation_input_tokens
    written = for_5m + for_1h if written is None else written
    for_1h = min(written, for_1h)
    return (
        usd(usage.input_tokens, price.input)
        + usd(usage.output_tokens, price.output)
        + usd(written - for_1h, price.write_5m)
        + usd(for_1h, price.write_1h)
        + usd(usage.cache_read_input_tokens or 0, price.read)
    )


def _tool_fees(usage: Usage) -> float | None:
    """Return the fees for server tools; None if one has no known price."""
    counts = usage.server_tool_use or {}
    return total(
        count_of(value) * fee if (fee := _TOOL_FEES.get(name)) is not None else None
        for name, value in counts.items()
        if count_of(value)
    )


def count_of(value: object) -> int:
    """Return the value of a counter field; 0 if it is not a positive integer."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


# Names of models: short names, typos, and what the server lists.
SHORT_NAMES: Final[tuple[str, ...]] = tuple(line for line in get_args(ModelLine) if line != "mythos")
"""Short names of models. Mythos is not included: few accounts have access to it, and their users know its full name."""

_LISTING_TIMEOUT: Final = 2.0
"""Seconds to wait for the server's list of models; the first answer waits for it."""
_RETRY_LISTING_AFTER: Final = 300.0
"""Seconds before a server that did not list its models is asked again."""


def table_id(name: str) -> str | None:
    """Return the model for a short name by the built-in table; None for other names."""
    if name not in SHORT_NAMES:
        return None
    return next(model for model, facts in MODELS.items() if facts.line == name)


def nearest_model(name: str, more: Iterable[str] = ()) -> str | None:
    """Return the known model whose name is closest to an unknown one; None if none is close.

    Args:
        name: The name that the user typed.
        more: Names of models in addition to the short names and the built-in table.
    """
    known: dict[str, str] = {}
    for candidate in (*SHORT_NAMES, *MODELS, *more):
        known.setdefault(_normalised(candidate), candidate)
    nearest = known.get(closest_name(_normalised(name), known) or "")
    return None if nearest == name else nearest


def _normalised(name: str) -> str:
    """Return a model's name in a normalised form, equal for variants such as `Opus 5.5` and `anthropic/claude-opus-5-5`."""
    name = name.casefold().rpartition("/")[2].rpartition("anthropic.")[2]
    return re.sub(r"[\s._-]+", "-", name.strip()).removeprefix("claude-")


def newest_of(line: str, models: Iterable[ModelInfo]) -> str | None:
    """Return the newest active model of a line; None if the list has none, or has no lines and dates."""
    dated = [
        (created, model.id)
        for model in models
        if model.line == line
        and model.lifecycle in (None, "active")
        and (created := _released_at(model)) is not None
    ]
    # Of two names for one model, the shorter one has no date.
    return max(dated, key=lambda entry: (entry[0], -len(entry[1])))[1] if dated else None


def _released_at(model: ModelInfo) -> datetime | None:
    """Return the release time of a model; None if the server does not report it in the API's format."""
    if not isinstance(model.created_at, str):
        return None
    try:
        moment = datetime.fromisoformat(model.created_at)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class ModelNames:
    """Resolves short names of models at a server. Use it on the bridge only.

    The list of models is requested once per client; another server has another client.

    Args:
        clock: Monotonic clock in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lists: weakref.WeakKeyDictionary[ClaudeClient, list[ModelInfo]] = weakref.WeakKeyDictionary()
        self._not_before: weakref.WeakKeyDictionary[ClaudeClient, float] = weakref.WeakKeyDictionary()

    async def resolve(self, client: ClaudeClient, name: str) -> str:
        """Return the full name of a model. Names that are not short names are returned unchanged.

        Never fails: if the server does not list its models within two seconds, the built-in table is used.
        """
        known = table_id(name)
        if known is None:
            return name
        return newest_of(name, await self._models_of(client)) or known

    def explain(self, error: ClaudeError, model: str) -> None:
        """Add a suggestion to an error about an unknown model, unless the server lists it."""
        listed = [each.id for models in self._lists.values() for each in models]
        nearest = None if model in listed else nearest_model(model, listed)
        if nearest is not None:
            hint = f"Did you mean {nearest}?"
        elif isinstance(error, NotFoundError) and model in error.message and model not in listed:
            hint = f"Short names are {', '.join(SHORT_NAMES)}."
        else:
            return
        error.replace_message(f"{error.message} {hint} `%claude models` lists the available models.")

    async def _models_of(self, client: ClaudeClient) -> list[ModelInfo]:
        if client in self._lists:
            return self._lists[client]
        if self._clock() < self._not_before.get(client, 0.0):
            return []
        try:
            async with asyncio.timeout(_LISTING_TIMEOUT):
                models = await client.list_models()
        except (ClaudeError, TimeoutError):
            self._not_before[client] = self._clock() + _RETRY_LISTING_AFTER
            return []
        self._lists[client] = models
        return models
