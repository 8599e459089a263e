"""The subcommands `usage`, `budget`, `limits` and `models`."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.display import display

from ..client import ClaudeError, ConfigurationError, ModelInfo
from ..render import Bundle, Row, render_limits, render_rows
from ..runtime import (
    MODELS,
    MODELS_AS_OF,
    PRICES_AS_OF,
    SHORT_NAMES,
    Account,
    Ledger,
    LedgerRow,
    format_price,
    format_usd,
    newest_of,
    price_of,
    table_id,
    undated,
)
from ..tools import run_blocking
from ._answer import result_of
from ._options import amount

if TYPE_CHECKING:
    from ._cell import Cell


_LISTING_TIMEOUT = 10.0
"""Seconds to wait for the server's list of models."""

_COLUMNS = ("model", "thread", "requests", "tokens in", "cached", "tokens out", "price")
_NUMBERS = (2, 3, 4, 5, 6)


def usage(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Show the tokens and prices of the kernel's requests, by model and thread."""
    cell.front_end.show(render_usage(cell.runtime.ledger))


def budget(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Show the budget, set it (`2.00`, `$2`), or remove it (`off`)."""
    ledger = cell.runtime.ledger
    text = arguments.get("amount", "")
    if text:
        refreshed = ledger.set_budget(None if text == "off" else amount(text))
    else:
        refreshed = cell.runtime.refresh_budget()
    if refreshed is not None:
        with contextlib.suppress(ClaudeError, TimeoutError):
            refreshed.result(_REFRESH_TIMEOUT)
    # The ledger counts as shared only after the first refresh or request.
    is_shared = ledger.is_shared or cell.settings.limiter is not None
    cell.front_end.show(render_budget(ledger, is_shared=is_shared))


def limits(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Show what can delay a request: the kernel's limiter and the server's reported limits.

    This is a table of the current state; with `--live`, a gauge that is updated while it is visible.
    """
    why_not = _why_no_gauge(cell) if arguments else ""
    if arguments and not why_not:
        from ..panels import shown_gauge  # late: this imports ipywidgets

        display(shown_gauge())
        return
    cell.front_end.show(render_limits(cell.runtime.read_gauge()))
    if why_not:
        print(f"No live gauge: {why_not}. The table shows the current state.")


def _why_no_gauge(cell: Cell) -> str:
    if not cell.settings.live:
        return "the setting `live` is off"
    return "" if cell.front_end.has_widgets else "this front end shows no widgets"


def models(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Show the models that the server lists."""
    offered, problem = run_blocking(list_models(cell, timeout=_LISTING_TIMEOUT))
    cell.front_end.show(render_models(offered, default=cell.settings.model, problem=problem))


async def list_models(cell: Cell, *, timeout: float) -> tuple[list[ModelInfo] | None, str]:
    """Return the models that the server lists and "", or None and the reason as a sentence.

    Args:
        cell: The cell, which the wait blocks only if it is not awaited.
        timeout: Seconds to wait for the list.
    """
    try:
        future = cell.runtime.list_models()
    except ConfigurationError as error:
        return None, error.message
    try:
        return await result_of(future, cell, timeout=timeout), ""
    except (TimeoutError, concurrent.futures.CancelledError):
        return None, f"The server did not list its models within {timeout:g} s."
    except ClaudeError as error:
        reason = f"{type(error).__name__}: {cell.runtime.redact(error.message)}"
        return None, f"The server did not list its models ({reason})."
    finally:
        future.cancel()


_SOURCES = (("Claude", False), ("Simulator", True))


def render_usage(ledger: Ledger) -> Bundle:
    """Render the tokens and prices of a kernel's requests as a table, with those of the simulator in a separate group."""
    rows = ledger.rows()
    groups = [
        (heading, [*map(_row, part), *_total(part)])
        for heading, is_simulated in _SOURCES
        if (part := [row for row in rows if row.is_simulated is is_simulated])
    ]
    if not groups:
        return render_rows([], notes=["No request of this kernel has been answered yet.", *_notes(ledger)])
    return render_rows(groups, columns=_COLUMNS, numbers=_NUMBERS, notes=_notes(ledger))


_BUDGET_COLUMNS = ("item", "amount", "note")
_REFRESH_TIMEOUT = 5.0
"""Seconds to wait for the amounts that other kernels have spent."""
_NO_BUDGET = "There is no budget. %claude budget 2.00 sets one: 2 USD for the life of this kernel."


def render_budget(ledger: Ledger, *, is_shared: bool) -> Bundle:
    """Render the budget as a table: spent, reserved, unconfirmed and left, with those of the simulator in a separate group.

    Args:
        ledger: The ledger that has the budget.
        is_shared: Whether several processes share the budget.
    """
    amount = ledger.budget
    if amount is None:
        return render_rows([], notes=[_NO_BUDGET])
    accounts = [(heading, ledger.account(is_simulated=is_simulated)) for heading, is_simulated in _SOURCES]
    claude, simulator = accounts
    shown = accounts if simulator[1].committed else [claude]
    groups = [
        (heading, list(_budget_rows(amount, account, is_shared=is_shared))) for heading, account in shown
    ]
    notes = [
        "A request that could exceed the budget is refused before it is sent: its input, max_tokens and every retry count, "
        f"at the prices of {PRICES_AS_OF}."
    ]
    if simulator in shown:
        notes.append(_SIMULATED_PRICES)
    return render_rows(groups, columns=_BUDGET_COLUMNS, numbers=(1,), notes=notes)


def _budget_rows(budget: float, account: Account, *, is_shared: bool) -> Iterator[Row]:
    yield (
        "budget",
        format_usd(budget),
        "of all that share the limiter" if is_shared else "for the life of this kernel",
    )
    yield "spent", account.spent_text, ""
    yield "reserved", format_usd(account.reserved), "at most, for requests in flight"
    yield "unconfirmed", format_usd(account.unconfirmed), "at most, for attempts that broke off"
    yield "left", account.left_text(budget), "the budget is exceeded" if account.exceeds(budget) else ""


def _left(budget: float, account: Account) -> str:
    used = [f"{account.spent_text} spent"]
    if account.unconfirmed:
        used.append(f"up to {format_usd(account.unconfirmed)} unconfirmed")
    if account.reserved:
        used.append(f"up to {format_usd(account.reserved)} reserved")
    return f"{account.left_text(budget)} left{' (exceeded)' if account.exceeds(budget) else ''}, {', '.join(used)}"


_SIMULATED_PRICES = "The simulator's answers cost nothing; their price is what Claude would have cost."


def _notes(ledger: Ledger) -> Iterator[str]:
    rows = ledger.rows()
    yield f"Prices in USD as of {PRICES_AS_OF}."
    if any(row.cost is None for row in rows):
        yield "Models without a known price are listed with their tokens only, and not in the sum."
    if any(row.estimated for row in rows):
        yield "≈ is an estimate: those answers ended before the server had counted their output."
    for is_simulated in (False, True):
        unconfirmed = ledger.account(is_simulated=is_simulated).unconfirmed
        if unconfirmed:
            whose = " (simulated)" if is_simulated else ""
            yield f"Up to {format_usd(unconfirmed)} more may be billed for attempts that broke off{whose}."
    if any(row.is_simulated for row in rows):
        yield _SIMULATED_PRICES
    if ledger.budget is not None:
        yield from _describe_budget(ledger.budget, ledger)


def _describe_budget(amount: float, ledger: Ledger) -> Iterator[str]:
    yield f"Budget: {format_usd(amount)}; {_left(amount, ledger.account())}."
    simulated = ledger.account(is_simulated=True)
    if simulated.committed:
        yield f"Of the simulator's answers, which cost nothing: {_left(amount, simulated)}."


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
    """Return the table cells for input tokens, the cached ones among them, and output tokens."""
    return (
        f"{sum(row.input_tokens for row in rows):,}",
        f"{sum(row.cached_tokens for row in rows):,}",
        f"{'≈ ' if any(row.estimated for row in rows) else ''}{sum(row.output_tokens for row in rows):,}",
    )


_MODEL_COLUMNS = ("model", "short name", "context", "max out", "USD per million in / out", "thinking", "note")
_MODEL_NUMBERS = (2, 3)
_THINKING_TYPES = ("adaptive", "between_tools", "enabled", "disabled")


def render_models(offered: Sequence[ModelInfo] | None, *, default: str, problem: str = "") -> Bundle:
    """Render the available models as a table.

    Args:
        offered: The models that the server lists; None if it did not list them.
        default: The model of the settings, as a full or short name.
        problem: Why the server did not list its models, as a sentence.
    """
    models = offered or list(_of_table())
    short_names = {(newest_of(name, offered or ()) or table_id(name) or ""): name for name in SHORT_NAMES}
    rows = [_model_row(model, short_names.get(model.id, ""), default) for model in models]
    notes = []
    if not offered:
        notes.append(
            f"{problem or 'The server lists no models.'} These are the models known on {MODELS_AS_OF}."
        )
    notes.append(f"Prices as of {PRICES_AS_OF}. Other names are sent as they are: -m NAME.")
    if not any(_is_default(model.id, default, short_names.get(model.id, "")) for model in models):
        notes.append(f"The default, {default}, is not among them.")
    return render_rows([("", rows)], columns=_MODEL_COLUMNS, numbers=_MODEL_NUMBERS, notes=notes)


def _of_table() -> Iterator[ModelInfo]:
    """Yield the models of the built-in table as a server would describe them."""
    for name, facts in MODELS.items():
        types = {kind: {"supported": True} for kind in facts.thinking}
        yield ModelInfo(
            id=name,
            max_input_tokens=facts.context_window,
            max_tokens=facts.max_output_tokens,
            retires_at=facts.retires,
            capabilities={"thinking": {"types": types}},
        )


def _thinking_types(capabilities: Mapping[str, Any] | None) -> str:
    types = _inner(_inner(capabilities, "thinking"), "types")
    return ", ".join(kind for kind in _THINKING_TYPES if _inner(types, kind).get("supported") is True)


def _inner(value: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = (value or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _lifecycle_note(model: ModelInfo) -> str:
    if model.retires_at:
        return f"retires {model.retires_at[:10]}"
    return model.lifecycle if model.lifecycle not in (None, "active") else ""


def _model_row(model: ModelInfo, short_name: str, default: str) -> Row:
    is_default = _is_default(model.id, default, short_name)
    return (
        model.id,
        " · ".join(mark for mark in (short_name, "default" if is_default else "") if mark),
        _size(model.max_input_tokens),
        _size(model.max_tokens),
        _price(model.id),
        _thinking_types(model.capabilities),
        _lifecycle_note(model),
    )


def _is_default(model: str, default: str, short_name: str) -> bool:
    return default == short_name or undated(default) == undated(model)


def _size(tokens: int | None) -> str:
    """Format a number of tokens: 200k, 1M."""
    if tokens is None:
        return ""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens / 1000:.3g}k" if tokens >= 1000 else str(tokens)


def _price(model: str) -> str:
    price = price_of(model)
    if price is None:
        return ""
    long = price_of(model, 10**9)
    text = f"{price.input:g} / {price.output:g}"
    return (
        text if long is None or long == price else f"{text} (long prompts: {long.input:g} / {long.output:g})"
    )
