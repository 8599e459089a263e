"""`%claude usage`, `budget`, `limits` and `models`: what has been spent, what may be, and whom one can ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..client import ClaudeError, ConfigurationError, ModelInfo
from ..render import Bundle, render_rows
from ..runtime import PRICES_AS_OF, Account, Ledger, LedgerRow, format_price, format_usd

if TYPE_CHECKING:
    from ..runtime import Runtime
    from ._magics import ClaudeMagics

Row = tuple[str, ...]

_LISTING_TIMEOUT = 10.0
"""Seconds for the server to list its models; a person waits for them."""

_COLUMNS = ("model", "thread", "requests", "tokens in", "cached", "tokens out", "price")
_NUMBERS = (2, 3, 4, 5, 6)


def usage(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Show what the kernel's requests took, by model and thread."""
    bundle = render_usage(magics.runtime().ledger)
    magics.show(bundle.data, bundle.metadata)


def budget(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Show the budget, set it (`2.00`, `$2`), or lift it (`off`)."""
    ledger = magics.runtime().ledger
    amount = arguments.get("amount", "")
    if amount == "off":
        ledger.set_budget(None)
    elif amount:
        ledger.set_budget(float(amount.removeprefix("$")))
    print("\n".join(describe_budget(ledger)))


def limits(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Show what can hold a request up: our own limiter, and what the server says of its limits."""
    from ._limits_table import render_limits

    runtime = magics.runtime()
    bundle = render_limits(
        runtime.limiter_state(), runtime.pace_state(), runtime.server_limits, runtime.in_flight()
    )
    magics.show(bundle.data, bundle.metadata)


def models(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Show which models can be asked, as the server lists them."""
    from ._models_table import render_models

    runtime = magics.runtime()
    offered, problem = _list_models(runtime)
    bundle = render_models(offered, default=runtime.settings().values.model, problem=problem)
    magics.show(bundle.data, bundle.metadata)


def _list_models(runtime: Runtime) -> tuple[list[ModelInfo] | None, str]:
    """Ask the server for its models; where it does not list them in time, say why as a sentence."""
    try:
        future = runtime.list_models()
    except ConfigurationError as error:
        return None, error.message
    try:
        return future.result(timeout=_LISTING_TIMEOUT), ""
    except TimeoutError:
        return None, f"The server did not list its models within {_LISTING_TIMEOUT:g} s."
    except ClaudeError as error:
        return (
            None,
            f"The server did not list its models ({type(error).__name__}: {runtime.redact(error.message)}).",
        )
    finally:
        future.cancel()


def render_usage(ledger: Ledger) -> Bundle:
    """Describe what the requests of a kernel took as a table; the simulator's stand apart."""
    rows = ledger.rows()
    groups = [
        (heading, [*map(_row, part), *_total(part)])
        for heading, is_simulated in (("Claude", False), ("Simulator", True))
        if (part := [row for row in rows if row.is_simulated is is_simulated])
    ]
    if not groups:
        return render_rows([], notes=["No request of this kernel has been answered yet.", *_notes(ledger)])
    return render_rows(groups, columns=_COLUMNS, numbers=_NUMBERS, notes=_notes(ledger))


def describe_budget(ledger: Ledger) -> Iterator[str]:
    """Say how much of the budget is left, in sentences."""
    amount = ledger.budget
    if amount is None:
        yield "There is no budget. %claude budget 2.00 sets one: 2 USD, from the start of this kernel to its end."
        return
    yield from _describe_budget(amount, ledger)
    yield (
        "A request that could pass it is refused before it is sent: its input, max_tokens and every retry count, at the "
        f"prices of {PRICES_AS_OF}."
    )


def _left(budget: float, account: Account) -> str:
    used = [f"{format_price(account.spent, is_estimate=account.is_estimate)} spent"]
    if account.unconfirmed:
        used.append(f"up to {format_usd(account.unconfirmed)} for attempts that broke off")
    if account.reserved:
        used.append(f"up to {format_usd(account.reserved)} in flight")
    left = budget - account.committed
    remaining = format_price(max(0.0, left), is_estimate=account.is_estimate)
    return f"{remaining} left{' (it is passed)' if left < 0 else ''}, {', '.join(used)}"


def _notes(ledger: Ledger) -> Iterator[str]:
    rows = ledger.rows()
    yield f"Prices in USD by the list of {PRICES_AS_OF}."
    if any(row.cost is None for row in rows):
        yield "What is not on that list has no price here, only tokens; it is not in the sum."
    if any(row.estimated for row in rows):
        yield "≈ is an estimate: those answers ended before the server had counted their output."
    for is_simulated in (False, True):
        unconfirmed = ledger.account(is_simulated=is_simulated).unconfirmed
        if unconfirmed:
            whose = " (simulated)" if is_simulated else ""
            yield f"Up to {format_usd(unconfirmed)} more may be billed for attempts that broke off{whose}."
    if any(row.is_simulated for row in rows):
        yield "The simulator's answers cost nothing; their price is what Claude would have cost."
    if ledger.budget is not None:
        yield from _describe_budget(ledger.budget, ledger)


def _describe_budget(amount: float, ledger: Ledger) -> Iterator[str]:
    yield f"Budget: {format_usd(amount)}; {_left(amount, ledger.account())}."
    rehearsal = ledger.account(is_simulated=True)
    if rehearsal.committed:
        yield f"Of the simulator's answers, which cost nothing: {_left(amount, rehearsal)}."


def _row(row: LedgerRow) -> Row:
    requests = f"{row.requests:,}" + (f" ({row.partial} partial)" if row.partial else "")
    price = "not known" if row.cost is None else format_price(row.cost, is_estimate=bool(row.estimated))
    return (row.model, row.thread or "none", requests, *_counts([row]), price)


def _total(rows: Sequence[LedgerRow]) -> list[Row]:
    if len(rows) < 2:
        return []
    known = [row.cost for row in rows if row.cost is not None]
    is_estimate = any(row.estimated for row in rows if row.cost is not None)
    price = format_price(sum(known), is_estimate=is_estimate) if known else "not known"
    return [("all", "", f"{sum(row.requests for row in rows):,}", *_counts(rows), price)]


def _counts(rows: Sequence[LedgerRow]) -> Row:
    """Tokens in, the cached ones among them, and out."""
    return (
        f"{sum(row.input_tokens for row in rows):,}",
        f"{sum(row.cached_tokens for row in rows):,}",
        f"{'≈ ' if any(row.estimated for row in rows) else ''}{sum(row.output_tokens for row in rows):,}",
    )
