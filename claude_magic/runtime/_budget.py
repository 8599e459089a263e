"""The arithmetic of a budget: the worst case of a request, and whether it fits into the rest."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..client import ClaudeClient, ClaudeError, ConfigurationError, MessageRequest, counted
from ._models import (
    PRICES_AS_OF,
    WEB_SEARCH,
    Price,
    count_of,
    facts_of,
    format_price,
    format_usd,
    most_expensive_model,
    price_of,
    surcharge,
    usd,
)

_TIER_MARGIN: Final = 1.05
"""The server's count is an estimate, so a request this close to a more expensive tier is priced at that tier."""

_IMAGE_TOKENS: Final = 4784
"""Tokens of the largest image, after the server has resized it."""
_HIDDEN_TOKENS: Final = 2000
"""Tokens that the server adds, such as its instructions for tools."""
_UNKNOWN_SIZE: Final = 10**9
"""Tokens assumed for a PDF or the content of a URL: limited only by the context window."""

_SERVER_TOOLS: Final = ("web_search", "web_fetch", "code_execution", "tool_search", "mcp_toolset", "advisor")
_USUAL_MAX_USES: Final = 10
"""Uses assumed for a server tool without `max_uses`: after 10 rounds, the server pauses its own tools."""
_TOKENS_PER_USE: Final = 10_000
"""Result tokens assumed for one use of a server tool. A documented search returned 8,000; no limit is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The highest possible cost of a request.

    Attributes:
        input_tokens: Input tokens.
        output_tokens: The request's `max_tokens`.
        attempts: Maximum number of attempts, each of which may be billed.
        per_attempt: USD per attempt.
        is_counted: Whether the server counted the input; if not, the count is an upper bound computed here.
    """

    input_tokens: int
    output_tokens: int
    attempts: int
    per_attempt: float
    is_counted: bool

    @property
    def total(self) -> float:
        """USD for all attempts."""
        return self.per_attempt * self.attempts


def worst_case(
    request: MessageRequest, counted_tokens: int | None, *, attempts: int, share: float = 1.0
) -> WorstCase | None:
    """Return the worst case of a request; None if one of the models that may take part has no price.

    Each fallback model may be billed for an answer. An advisor model reads the whole conversation at each use.

    Args:
        request: The request.
        counted_tokens: Input tokens as counted by the server, or None.
        attempts: Maximum number of attempts of the retry policy.
        share: Factor on the price of tokens: `BATCH_SHARE` in a batch.
    """
    tokens = _bound_of_input(request) if counted_tokens is None else counted_tokens
    uses = [_max_uses(tool) for tool in request.tools or () if _is_server_tool(tool)]
    tokens = _with_tool_results(tokens, sum(uses))
    billed = list(_billed(request))
    prices = [price_of(model, round(tokens * _TIER_MARGIN)) for model, _ in billed]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    cost = sum(
        usd(tokens, _max_input_price(price, request)) + usd(output, price.output)
        for price, (_, output) in zip(known, billed, strict=True)
    )
    extra = request.model_extra or {}
    return WorstCase(
        input_tokens=tokens,
        output_tokens=request.max_tokens,
        attempts=attempts,
        per_attempt=share * cost * surcharge(extra.get("speed"), extra.get("inference_geo"))
        + _search_fees(request),
        is_counted=counted_tokens is not None,
    )


def models_of(request: MessageRequest) -> list[str]:
    """Return the models that may be billed for a request: the requested one, its fallbacks and its advisors."""
    return [model for model, _ in _billed(request)]


def _billed(request: MessageRequest) -> Iterator[tuple[str, int]]:
    """Yield the models that may be billed, each with its maximum output in tokens."""
    yield request.model, request.max_tokens
    fallbacks = (request.model_extra or {}).get("fallbacks")
    if isinstance(fallbacks, str):  # the server chooses
        yield most_expensive_model(), request.max_tokens
    for entry in fallbacks if isinstance(fallbacks, list | tuple) else ():
        if isinstance(entry, Mapping):
            yield str(entry.get("model")), count_of(entry.get("max_tokens")) or request.max_tokens
    for tool in request.tools or ():
        if str(tool.get("type") or "").startswith("advisor"):
            model = str(tool.get("model"))
            facts = facts_of(model)
            most = count_of(tool.get("max_tokens")) or (0 if facts is None else facts.max_output_tokens)
            yield from [(model, most)] * _max_uses(tool)


def _max_input_price(price: Price, request: MessageRequest) -> float:
    """Return the highest input price that may apply: that of cache writes, if the request uses the cache."""
    lifetimes = {
        str(control.get("ttl") or "5m") for control in _cache_controls(request.to_body(stream=False))
    }
    if "1h" in lifetimes:
        return max(price.input, price.write_1h)
    return max(price.input, price.write_5m) if lifetimes else price.input


def _cache_controls(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        control = value.get("cache_control")
        if isinstance(control, Mapping):
            yield control
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _cache_controls(item)


def _bound_of_input(request: MessageRequest) -> int:
    """Return an upper bound of the input tokens, computed locally: no text token is shorter than a byte."""
    bound = _HIDDEN_TOKENS + _bound_of(request.count_tokens_body())
    facts = facts_of(request.model)
    return bound if facts is None else min(bound, facts.context_window)


def _bound_of(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind == "image":
            return _IMAGE_TOKENS
        if kind == "document" and not _is_text(value.get("source")):
            return _UNKNOWN_SIZE
        return sum(_bound_of(name) + _bound_of(item) for name, item in value.items())
    if isinstance(value, Sequence):
        return sum(map(_bound_of, value))
    return len(str(value))


def _is_text(source: Any) -> bool:
    return isinstance(source, Mapping) and source.get("type") in ("text", "content")


def _is_server_tool(tool: Mapping[str, Any]) -> bool:
    return str(tool.get("type") or "").startswith(_SERVER_TOOLS)


def _max_uses(tool: Mapping[str, Any]) -> int:
    uses = tool.get("max_uses")
    return uses if isinstance(uses, int) and uses > 0 else _USUAL_MAX_USES


def _with_tool_results(tokens: int, uses: int) -> int:
    """Add the results of server tools: after each use, the whole context so far is input again."""
    return tokens * (uses + 1) + _TOKENS_PER_USE * uses * (uses + 1) // 2


def _search_fees(request: MessageRequest) -> float:
    searches = [tool for tool in request.tools or () if str(tool.get("type")).startswith("web_search")]
    return WEB_SEARCH * sum(map(_max_uses, searches))


_COUNTING_TIMEOUT: Final = 10.0
"""Seconds to wait for the server's token count; after that, the local upper bound is used."""
_ROUNDING: Final = 1e-9
"""USD; amounts that differ by less are equal."""


class BudgetExceededError(ConfigurationError):
    """Raised when a request could cost more than the rest of the budget. Nothing was sent.

    Attributes:
        is_temporary: Whether the request would fit without the reservations of other processes.
    """

    is_temporary = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The amounts that count against a budget, in USD.

    Attributes:
        spent: Cost of the finished requests.
        unconfirmed: Upper bound of what may also have been billed for failed attempts.
        reserved: Upper bound of the cost of requests in flight.
        is_estimate: Part of `spent` is estimated, for answers that broke off before the server had counted their tokens.
    """

    spent: float = 0.0
    unconfirmed: float = 0.0
    reserved: float = 0.0
    is_estimate: bool = False

    @property
    def committed(self) -> float:
        """The sum of the three amounts."""
        return self.spent + self.unconfirmed + self.reserved

    @property
    def spent_text(self) -> str:
        """What is spent, formatted."""
        return format_price(self.spent, is_estimate=self.is_estimate)

    def exceeds(self, budget: float) -> bool:
        """Return whether the amounts are more than the budget."""
        return self.committed > budget

    def left_text(self, budget: float) -> str:
        """Return what is left of a budget, formatted."""
        return format_price(max(0.0, budget - self.committed), is_estimate=self.is_estimate)


async def count_input(client: ClaudeClient, request: MessageRequest) -> int | None:
    """Return the server's token count of a request's input; None if it fails or takes too long."""
    try:
        async with asyncio.timeout(_COUNTING_TIMEOUT):
            return await client.count_tokens(request)
    except (ClaudeError, TimeoutError):
        return None


def require_price(model: str) -> None:
    """Check that the price of a model is known, because a budget cannot be kept without it.

    Raises:
        BudgetExceededError: The model has no price.
    """
    if price_of(model) is None:
        raise BudgetExceededError(
            f"A budget is set, but the price of {model} is not known (prices as of {PRICES_AS_OF}), so nothing was sent. "
            "Ask a model with a price (`%claude models`), or lift the budget with `%claude budget off`."
        )


def fits(worst: WorstCase, account: Account, budget: float) -> bool:
    """Return whether a request's worst case fits into the rest of the budget."""
    return account.committed + worst.total <= budget + _ROUNDING


def check_budget(worst: WorstCase, account: Account, budget: float, what: str) -> None:
    """Check that the worst case of one or several requests (named by `what`) fits into the rest of the budget.

    Raises:
        BudgetExceededError: It does not fit.
    """
    needed = account.committed + worst.total
    if fits(worst, account, budget):
        return
    amounts = [f"{account.spent_text} of {format_usd(budget)} are spent"]
    if account.unconfirmed:
        amounts.append(f"up to {format_usd(account.unconfirmed)} may be billed for attempts that broke off")
    if account.reserved:
        amounts.append(f"up to {format_usd(account.reserved)} are reserved for requests in flight")
    raise BudgetExceededError(
        f"{what} could cost up to {format_usd(worst.total)} ({_describe(worst)}); {', '.join(amounts)}. It was "
        f"not sent. Raise the budget with `%claude budget {_suggested(needed)}`, or lower max_tokens."
    )


def _describe(worst: WorstCase) -> str:
    bound = "" if worst.is_counted else ", an upper bound because the server did not count them"
    return f"{worst.input_tokens:,} tokens in{bound}, {worst.output_tokens:,} out, {counted(worst.attempts, 'attempt')}"


def _suggested(needed: float) -> str:
    """Round up to an amount that a user would type."""
    if needed > 1:
        return f"{math.ceil(needed)}"
    return f"{math.ceil(needed * 100) / 100:.2f}"
