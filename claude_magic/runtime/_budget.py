"""A budget's arithmetic, and its refusals."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from ..client import ClaudeClient, ClaudeError, ConfigurationError, MessageRequest
from ._prices import PRICES_AS_OF, format_price, format_usd, price_of
from ._worst_case import WorstCase

_COUNTING_TIMEOUT: Final = 10.0
"""Seconds for the server to count the input of a request; after that, our own upper bound must do."""
_ROUNDING: Final = 1e-9
"""USD below which two amounts are the same."""


class BudgetExceededError(ConfigurationError):
    """The request could cost more than is left of the budget. Nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What counts against a budget, in USD.

    Attributes:
        spent: What the finished requests cost.
        unconfirmed: At most this may have been billed besides, for attempts that broke off.
        reserved: At most this is what the requests in flight cost.
        is_estimate: Some of what was spent is estimated, for answers that broke off before the server had counted them.
    """

    spent: float = 0.0
    unconfirmed: float = 0.0
    reserved: float = 0.0
    is_estimate: bool = False

    @property
    def committed(self) -> float:
        """All of it."""
        return self.spent + self.unconfirmed + self.reserved


async def count_input(client: ClaudeClient, request: MessageRequest) -> int | None:
    """Let the server count a request's input; None where it does not, or takes too long."""
    try:
        async with asyncio.timeout(_COUNTING_TIMEOUT):
            return await client.count_tokens(request)
    except (ClaudeError, TimeoutError):
        return None


def check_amount(amount: float) -> float:
    """Return the amount of a budget.

    Raises:
        ConfigurationError: It is none.
    """
    if not (math.isfinite(amount) and amount >= 0):
        raise ConfigurationError(f"A budget is an amount in USD, such as 2.00, not {amount!r}.")
    return amount


def check_price(model: str) -> None:
    """Refuse a model whose price is not known: with it, no budget can be kept.

    Raises:
        BudgetExceededError: It has none.
    """
    if price_of(model) is None:
        raise BudgetExceededError(
            f"A budget is set, but the price of {model} is not known (prices as of {PRICES_AS_OF}), so nothing was sent. "
            "Ask a model with a price (`%claude models`), or lift the budget with `%claude budget off`."
        )


def fits(worst: WorstCase, account: Account, budget: float) -> bool:
    """Tell whether a request's worst case fits beside what is committed."""
    return account.committed + worst.total <= budget + _ROUNDING


def check_budget(worst: WorstCase, account: Account, budget: float) -> None:
    """Refuse a request whose worst case does not fit beside what is committed.

    Raises:
        BudgetExceededError: It does not.
    """
    needed = account.committed + worst.total
    if fits(worst, account, budget):
        return
    spent = format_price(account.spent, is_estimate=account.is_estimate)
    amounts = [f"{spent} of {format_usd(budget)} are spent"]
    if account.unconfirmed:
        amounts.append(f"up to {format_usd(account.unconfirmed)} may be billed for attempts that broke off")
    if account.reserved:
        amounts.append(f"up to {format_usd(account.reserved)} are reserved for requests in flight")
    raise BudgetExceededError(
        f"This request could cost up to {format_usd(worst.total)} ({_describe(worst)}); {', '.join(amounts)}. It was "
        f"not sent. Raise the budget with `%claude budget {_suggested(needed)}`, or lower --max-tokens."
    )


def _describe(worst: WorstCase) -> str:
    attempts = "1 attempt" if worst.attempts == 1 else f"{worst.attempts} attempts"
    counted = "" if worst.is_counted else ", a bound of our own because the server did not count them"
    return f"{worst.input_tokens:,} tokens in{counted}, {worst.output_tokens:,} out, {attempts}"


def _suggested(needed: float) -> str:
    """Round up to an amount that one would type."""
    if needed > 1:
        return f"{math.ceil(needed)}"
    return f"{math.ceil(needed * 100) / 100:.2f}"
