"""A budget's arithmetic, its refusals, and how the processes that a kernel starts come to know of it.

A worker process has an account of its own, so a budget would hold for each of them. A process with a budget leaves a mark in
the user's temporary folder; processes below it find that whenever they are about to send, however they were started (fork,
spawn, forkserver, joblib, a script), and also where the budget was set after their start.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..client import ClaudeClient, ClaudeError, ConfigurationError, MessageRequest
from ._models import (
    PRICES_AS_OF,
    WEB_SEARCH,
    Price,
    count_of,
    dearest_model,
    facts_of,
    format_price,
    format_usd,
    price_of,
    surcharge,
    usd,
)

_TIER_MARGIN: Final = 1.05
"""The server's count is an estimate: this near to a dearer tier, the request counts as belonging to it."""

_IMAGE_TOKENS: Final = 4784
"""The largest image, after the server has shrunk it."""
_HIDDEN_TOKENS: Final = 2000
"""What the server adds on its own, such as its instructions for tools."""
_UNKNOWN_SIZE: Final = 10**9
"""Of a PDF, or of something behind an address: only the context window bounds it."""

_SERVER_TOOLS: Final = ("web_search", "web_fetch", "code_execution", "tool_search", "mcp_toolset", "advisor")
_USUAL_MAX_USES: Final = 10
"""Rounds after which the server pauses its own tools."""
_TOKENS_PER_USE: Final = 10_000
"""What one use of a server's tool is taken to find. A documented search found 8,000; no bound is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """What a request costs if everything goes as dearly as it can.

    Attributes:
        input_tokens: Its input.
        output_tokens: Its `max_tokens`.
        attempts: How often it may be sent, and billed.
        per_attempt: USD for one of them.
        is_counted: The server has counted the input; otherwise it is an upper bound of our own.
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
    """Return the worst case of a request, or None where one of the models that may take part has no price.

    Models that are asked when the first declines may each be billed for an answer; one that gives advice reads all there is
    by then, each time.

    Args:
        request: What is about to be sent.
        counted_tokens: Its input as the server has counted it, or None if it has not.
        attempts: Most attempts that the retry policy allows.
        share: Times the price of tokens: `BATCH_SHARE` in a batch.
    """
    tokens = _bound_of_input(request) if counted_tokens is None else counted_tokens
    uses = [_max_uses(tool) for tool in request.tools or () if _is_server_tool(tool)]
    tokens = _with_findings(tokens, sum(uses))
    prices = [price_of(model, round(tokens * _TIER_MARGIN)) for model in models_of(request)]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    cost = sum(
        usd(tokens, _dearest_input(price, request)) + usd(output, price.output)
        for price, output in zip(known, _outputs(request), strict=True)
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
    """Return the models that may be billed for a request: the one that is asked, those that stand in for it, and advisors."""
    return [request.model, *(model for model, _ in _others(request))]


def _outputs(request: MessageRequest) -> list[int]:
    """Return how much each of `models_of` may write, in model tokens."""
    return [request.max_tokens, *(output for _, output in _others(request))]


def _others(request: MessageRequest) -> Iterator[tuple[str, int]]:
    fallbacks = (request.model_extra or {}).get("fallbacks")
    if isinstance(fallbacks, str):  # the server chooses
        yield dearest_model(), request.max_tokens
    for entry in fallbacks if isinstance(fallbacks, list | tuple) else ():
        if isinstance(entry, Mapping):
            yield str(entry.get("model")), count_of(entry.get("max_tokens")) or request.max_tokens
    for tool in request.tools or ():
        if str(tool.get("type") or "").startswith("advisor"):
            model = str(tool.get("model"))
            facts = facts_of(model)
            most = count_of(tool.get("max_tokens")) or (0 if facts is None else facts.max_output_tokens)
            yield from [(model, most)] * _max_uses(tool)


def _dearest_input(price: Price, request: MessageRequest) -> float:
    """The price of input that is written to the cache, where the request asks for that."""
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
    """An upper bound without the server's help: no token of text is shorter than a byte."""
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


def _with_findings(tokens: int, uses: int) -> int:
    """Add what the server's tools find: after each use, all that there is by then is input once more."""
    return tokens * (uses + 1) + _TOKENS_PER_USE * uses * (uses + 1) // 2


def _search_fees(request: MessageRequest) -> float:
    searches = [tool for tool in request.tools or () if str(tool.get("type")).startswith("web_search")]
    return WEB_SEARCH * sum(map(_max_uses, searches))


_COUNTING_TIMEOUT: Final = 10.0
"""Seconds for the server to count the input of a request; after that, our own upper bound must do."""
_ROUNDING: Final = 1e-9
"""USD below which two amounts are the same."""
_MAX_AMOUNT: Final = 1e9
"""USD; a larger amount is a slip of the keyboard."""


class BudgetExceededError(ConfigurationError):
    """The request could cost more than is left of the budget. Nothing was sent.

    Attributes:
        is_passing: Only requests of other processes, which are in flight, stand in the way.
    """

    is_passing = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What counts against a budget, in USD.

    Attributes:
        spent: What the finished requests cost.
        unconfirmed: At most this may also have been billed, for attempts that broke off.
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
    if not 0 <= amount <= _MAX_AMOUNT:
        written = f"{amount!r:.40}"
        raise ConfigurationError(
            f"A budget is an amount in USD from 0 to {_MAX_AMOUNT:,.0f}, such as 2.00, not {written}."
        )
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


def check_budget(worst: WorstCase, account: Account, budget: float, what: str = "This request") -> None:
    """Refuse a request, or several (`what`), whose worst case does not fit beside what is committed.

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
        f"{what} could cost up to {format_usd(worst.total)} ({_describe(worst)}); {', '.join(amounts)}. It was "
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


class ParentBudget(NamedTuple):
    """A budget that was set in a process above this one."""

    pid: int
    amount: float


def check_parent(budget: ParentBudget | None) -> None:
    """Refuse to spend beside the account of a process above this one.

    Raises:
        BudgetExceededError: There is a budget in it.
    """
    if budget is not None:
        raise BudgetExceededError(
            f"A budget of {format_usd(budget.amount)} is set in process {budget.pid}, which started this one, and what is spent "
            "here would not count there. Nothing was sent. Ask in that process, whose threads share its budget, or give this "
            "one a budget of its own: `claude.runtime.ledger.set_budget(0.50)`."
        )


def publish_budget(amount: float | None) -> None:
    """Let the processes below this one know of its budget; None takes that back.

    Where the folder cannot be written, only forked processes know.
    """
    path = _mark_of(os.getpid())
    with contextlib.suppress(OSError):
        if amount is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _forget_the_dead()
        path.write_text(json.dumps({"amount": amount, "started": _started_at()}), encoding="utf-8")


_SETTLED: Final = 2.0
"""Seconds after which a change of the folder can be told from the next one by its time."""

_none_above: tuple[int, int] | None = None
"""The process that found no budget above it, and when the folder had changed last by then: a map asks thousands of times."""


def find_parent_budget() -> ParentBudget | None:
    """Return the budget of the nearest process above this one that has one."""
    global _none_above
    looked_at = (os.getpid(), _changed_at())
    if looked_at == _none_above:
        return None
    found = _find_above()
    is_settled = time.time() - looked_at[1] / 1e9 > _SETTLED
    _none_above = looked_at if found is None and is_settled else None
    return found


def _changed_at() -> int:
    """When a mark was made or taken away last, in nanoseconds; 0 where there never was one."""
    try:
        return os.stat(_folder()).st_mtime_ns
    except OSError:
        return 0


def _find_above() -> ParentBudget | None:
    marks = set(_marked())
    if not marks - {os.getpid()}:
        return None
    import psutil  # late: most kernels have no budget

    with contextlib.suppress(psutil.Error):
        for process in psutil.Process().parents():
            if (
                process.pid in marks
                and (amount := _amount_of(process.pid, process.create_time())) is not None
            ):
                return ParentBudget(process.pid, amount)
    return None


def _marked() -> Iterator[int]:
    """Yield the processes that have left a mark."""
    try:
        folder = _mark_of(0).parent
        is_own = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        names = os.listdir(folder) if is_own else []
    except OSError:
        return
    for name in names:
        pid = name.removeprefix("budget-")
        if pid.isascii() and pid.isdigit():
            yield int(pid)


def _forget_the_dead() -> None:
    import psutil  # late, as above

    for pid in _marked():
        if not psutil.pid_exists(pid):
            _mark_of(pid).unlink(missing_ok=True)


def _amount_of(pid: int, started: float) -> float | None:
    """Return the amount that a process has marked; None where the mark is one of an earlier process with its number."""
    try:
        mark = json.loads(_mark_of(pid).read_text(encoding="utf-8"))
        return float(mark["amount"]) if abs(mark["started"] - started) < 1.0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _started_at() -> float:
    import psutil  # late, as above

    return psutil.Process().create_time()


def _mark_of(pid: int) -> Path:
    return Path(_folder(), f"budget-{pid}")


def _folder() -> str:
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    return f"{tempfile.gettempdir()}{os.sep}claude-magic-{user}"
