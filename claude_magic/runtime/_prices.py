"""What requests cost, by the published price list. A model that is not on it has no price: nothing here guesses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..client import Usage
from ._models import undated

PRICES_AS_OF: Final = "2026-11-27"
"""The day on which this list was right. Prices change: that of one model's cache was halved nine days after its release."""


class Price(NamedTuple):
    """USD per million tokens."""

    input: float
    output: float
    write_5m: float
    """Input that is written to the prompt cache for five minutes."""
    write_1h: float
    """The same for an hour."""
    read: float
    """Input that is read from the prompt cache."""


_FABLE_5_2 = Price(8, 40, 10, 16, 0.20)
_FABLE_5_1 = Price(10, 50, 12.5, 20, 0.25)
_FABLE_5 = Price(10, 50, 12.5, 20, 1.00)
_OPUS_4_AND_5 = Price(5, 25, 6.25, 10, 0.50)
_SONNET_4 = Price(3, 15, 3.75, 6, 0.30)

_PRICES: Final[Mapping[str, Price]] = {
    "claude-fable-5-2": _FABLE_5_2,
    "claude-mythos-5-2": _FABLE_5_2,
    "claude-opus-5-5": Price(4, 20, 5, 8, 0.20),
    "claude-sonnet-5-5": Price(2, 10, 2.5, 4, 0.10),
    "claude-haiku-5-5": Price(0.10, 0.50, 0.125, 0.20, 0.01),
    "claude-fable-5-1": _FABLE_5_1,
    "claude-mythos-5-1": _FABLE_5_1,
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-opus-5": _OPUS_4_AND_5,
    "claude-sonnet-5": Price(2, 10, 2.5, 4, 0.20),
    "claude-opus-4-8": _OPUS_4_AND_5,
    "claude-opus-4-7": _OPUS_4_AND_5,
    "claude-opus-4-6": _OPUS_4_AND_5,
    "claude-sonnet-4-6": _SONNET_4,
    "claude-opus-4-5": _OPUS_4_AND_5,
    "claude-haiku-4-5": Price(1, 5, 1.25, 2, 0.10),
    "claude-sonnet-4-5": _SONNET_4,
}

_LONG_PROMPTS: Final[Mapping[str, tuple[int, Price]]] = {
    "claude-haiku-5-5": (100_000, Price(0.50, 2.50, 0.625, 1.00, 0.05)),
}
"""Models that cost more, for the whole request, when the prompt is longer than so many tokens."""

_MILLION: Final = 1_000_000
_FAST: Final = 2.0
"""Times the price, for `speed: "fast"`."""
_IN_THE_US: Final = 1.1
"""Times the price, for `inference_geo: "us"`."""
_BATCH: Final = 0.5
WEB_SEARCH: Final = 10 / 1000
"""USD for one search; what it finds is input, besides."""


def price_of(model: str, prompt_tokens: int = 0) -> Price | None:
    """Return the price list's row for a model, also under a name with a date; None if it has none.

    Args:
        model: The model.
        prompt_tokens: Size of the whole prompt, cached parts included; it decides on the tier.
    """
    name = undated(model)
    longer_than, price = _LONG_PROMPTS.get(name, (0, None))
    return price if price is not None and prompt_tokens > longer_than else _PRICES.get(name)


def cost_of(model: str, usage: Usage) -> float | None:
    """Return what one request cost, in USD; None where the price is not known.

    Args:
        model: The model that answered.
        usage: What the server counted for one request; the sum of several would end up in the wrong tier.
    """
    price = price_of(model, usage.total_input_tokens)
    if price is None or usage.service_tier == "priority":  # that tier is billed by contract
        return None
    extra = usage.model_extra or {}
    factor = surcharge(extra.get("speed"), extra.get("inference_geo"))
    if usage.service_tier == "batch":
        factor *= _BATCH
    searches = _count(usage.server_tool_use, "web_search_requests")
    return factor * _token_cost(price, usage) + searches * WEB_SEARCH


def surcharge(speed: object, inference_geo: object) -> float:
    """Return what to multiply the price by, for these fields of a request or of its usage."""
    return (_FAST if speed == "fast" else 1.0) * (_IN_THE_US if inference_geo == "us" else 1.0)


def usd(tokens: int, per_million: float) -> float:
    """Return the price of so many tokens."""
    return tokens * per_million / _MILLION


def format_usd(amount: float) -> str:
    """Write an amount so that it can be read whatever its size: $12.50, $0.66, $0.0123, $0.0000451."""
    if amount >= 1 or amount <= 0:
        return f"${amount:,.2f}"
    if amount < 1e-9:
        return "under $0.000000001"
    digits = f"{float(f'{amount:.3g}'):.12f}".rstrip("0")
    return "$" + digits.ljust(len("0.00"), "0")


def _token_cost(price: Price, usage: Usage) -> float:
    written = usage.cache_creation_input_tokens or 0
    for_an_hour = min(written, _count(usage.cache_creation, "ephemeral_1h_input_tokens"))
    return (
        usd(usage.input_tokens, price.input)
        + usd(usage.output_tokens, price.output)
        + usd(written - for_an_hour, price.write_5m)
        + usd(for_an_hour, price.write_1h)
        + usd(usage.cache_read_input_tokens or 0, price.read)
    )


def _count(counts: Mapping[str, Any] | None, name: str) -> int:
    value = (counts or {}).get(name)
    return value if isinstance(value, int) and value > 0 else 0
