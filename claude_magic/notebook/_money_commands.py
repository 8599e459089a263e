"""The subcommands `usage`, `budget`, `limits` and `models`."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from IPython.display import display

from ..client import BucketState, ClaudeError, ConfigurationError, ModelInfo, PaceState, ServerLimit
from ..render import Bundle, Row, describe_pace, describe_status, render_rows
from ..runtime import (
    MODELS,
    MODELS_AS_OF,
    PRICES_AS_OF,
    SHORT_NAMES,
    Account,
    Ledger,
    LedgerRow,
    ModelLimits,
    RateLimits,
    Refusal,
    Reply,
    format_price,
    format_usd,
    newest_of,
    price_of,
    table_id,
    undated,
)
from ._options import amount
from ._session_commands import limiter_rows

if TYPE_CHECKING:
    from ..runtime import Runtime
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
    runtime = cell.runtime
    limiter, pace, reported = runtime.limiter_state(), runtime.pace_state(), runtime.server_limits
    cell.front_end.show(render_limits(limiter, pace, reported, runtime.in_flight()))
    if why_not:
        print(f"No live gauge: {why_not}. The table shows the current state.")


def _why_no_gauge(cell: Cell) -> str:
    if not cell.settings.live:
        return "the setting `live` is off"
    return "" if cell.front_end.has_widgets else "this front end shows no widgets"


def models(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Show the models that the server lists."""
    runtime = cell.runtime
    offered, problem = list_models(runtime, timeout=_LISTING_TIMEOUT)
    cell.front_end.show(render_models(offered, default=cell.settings.model, problem=problem))


def list_models(runtime: Runtime, *, timeout: float) -> tuple[list[ModelInfo] | None, str]:
    """Return the models that the server lists and "", or None and the reason as a sentence.

    Args:
        runtime: The kernel's runtime.
        timeout: Seconds to wait for the list.
    """
    try:
        future = runtime.list_models()
    except ConfigurationError as error:
        return None, error.message
    try:
        return future.result(timeout=timeout), ""
    except (TimeoutError, concurrent.futures.CancelledError):
        return None, f"The server did not list its models within {timeout:g} s."
    except ClaudeError as error:
        reason = f"{type(error).__name__}: {runtime.redact(error.message)}"
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
    left = budget - account.committed
    yield (
        "budget",
        format_usd(budget),
        "of all that share the limiter" if is_shared else "for the life of this kernel",
    )
    yield "spent", format_price(account.spent, is_estimate=account.is_estimate), ""
    yield "reserved", format_usd(account.reserved), "at most, for requests in flight"
    yield "unconfirmed", format_usd(account.unconfirmed), "at most, for attempts that broke off"
    yield (
        "left",
        format_price(max(0.0, left), is_estimate=account.is_estimate),
        "the budget is exceeded" if left < 0 else "",
    )


def _left(budget: float, account: Account) -> str:
    used = [f"{format_price(account.spent, is_estimate=account.is_estimate)} spent"]
    if account.unconfirmed:
        used.append(f"up to {format_usd(account.unconfirmed)} unconfirmed")
    if account.reserved:
        used.append(f"up to {format_usd(account.reserved)} reserved")
    left = budget - account.committed
    remaining = format_price(max(0.0, left), is_estimate=account.is_estimate)
    return f"{remaining} left{' (exceeded)' if left < 0 else ''}, {', '.join(used)}"


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


_SHOWN_MODELS = 5
_SHOWN_REFUSALS = 5


def render_limits(
    limiter: BucketState,
    pace: tuple[PaceState, ...],
    limits: RateLimits,
    in_flight: Sequence[Reply],
    *,
    now: float | None = None,
) -> Bundle:
    """Render everything that can delay a request, in HTML and in plain text.

    Args:
        limiter: The shared limiter of this kernel.
        pace: The pace of each model class, as learnt from the server.
        limits: The limits that the server has reported.
        in_flight: The replies in flight.
        now: The current time in seconds since 1970, for tests.
    """
    now = time.time() if now is None else now
    groups = [("Limiter of this kernel", list(limiter_rows(limiter)))]
    learnt: list[Row] = [
        (state.model_class, describe_pace(limiter, state))
        for state in pace
        if state.limits or state.paused_for
    ]
    if learnt:
        groups.append(("Pace by model, as learnt from the server", learnt))
    if waiting := [row for reply in in_flight if (row := _waiting_row(reply))]:
        groups.append(("Waiting", waiting))
    reported = limits.by_model()[:_SHOWN_MODELS]
    groups += [(_heading(each, now), [_limit_row(limit, now) for limit in each.limits]) for each in reported]
    if refusals := limits.refusals():
        groups.append(("Recent refusals (429)", list(_refusal_rows(refusals, now))))
    notes = [] if reported else [_NO_LIMITS]
    return render_rows(groups, notes=notes)


_NO_LIMITS = "The server has not reported its limits: Claude's API sends them with each response; other servers may not."


def _waiting_row(reply: Reply) -> Row:
    snapshot = reply.snapshot()
    line = describe_status(snapshot, time.monotonic()) if snapshot.wait is not None else ""
    return (snapshot.model, line) if line else ()


def _heading(limits: ModelLimits, now: float) -> str:
    return f"Server, for {limits.model}, reported {_ago(now - limits.received_at)}"


def _limit_row(limit: ServerLimit, now: float) -> Row:
    left = "unknown" if limit.remaining is None else f"{limit.remaining:,}"
    of = "" if limit.limit is None else f" of {limit.limit:,}"
    return (limit.kind, f"{left}{of} left this minute", _reset(limit.resets_at, now))


def _reset(moment: datetime | None, now: float) -> str:
    if moment is None:
        return ""
    seconds = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return "full again by now" if seconds <= 0 else f"full again in {_duration(seconds)}"


def _refusal_rows(refusals: Sequence[Refusal], now: float) -> Iterator[Row]:
    for refusal in refusals[:_SHOWN_REFUSALS]:
        wait = refusal.retry_after
        asked = "with no time to wait" if wait is None else f"asked to wait {_duration(wait)}"
        yield refusal.model, f"{_ago(now - refusal.at)}, {asked}"
    if len(refusals) > _SHOWN_REFUSALS:
        yield "", f"and {len(refusals) - _SHOWN_REFUSALS} before that"


def _ago(seconds: float) -> str:
    return "just now" if seconds < 1 else f"{_duration(seconds)} ago"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


_MODEL_COLUMNS = ("model", "short name", "context", "max out", "USD per million in / out", "thinking", "note")
_MODEL_NUMBERS = (2, 3)
_THINKING_TYPES = ("adaptive", "between_tools", "enabled", "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model in the table of `%claude models`.

    Attributes:
        id: Its id.
        context_window: Maximum input tokens; None if unknown.
        max_output_tokens: Maximum output tokens; None if unknown.
        thinking: The types of thinking that it supports.
        note: Its retirement date or lifecycle state, as text; "" if there is none.
    """

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    thinking: tuple[str, ...] = ()
    note: str = ""


def render_models(offered: Sequence[ModelInfo] | None, *, default: str, problem: str = "") -> Bundle:
    """Render the available models as a table.

    Args:
        offered: The models that the server lists; None if it did not list them.
        default: The model of the settings, as a full or short name.
        problem: Why the server did not list its models, as a sentence.
    """
    models = [_of_server(model) for model in offered] if offered else list(_of_table())
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


def _of_server(model: ModelInfo) -> ListedModel:
    return ListedModel(
        id=model.id,
        context_window=model.max_input_tokens,
        max_output_tokens=model.max_tokens,
        thinking=_thinking_types(model.capabilities),
        note=_lifecycle_note(model),
    )


def _of_table() -> Iterable[ListedModel]:
    for name, facts in MODELS.items():
        yield ListedModel(
            id=name,
            context_window=facts.context_window,
            max_output_tokens=facts.max_output_tokens,
            thinking=tuple(kind for kind in _THINKING_TYPES if kind in facts.thinking),
            note=f"retires {facts.retires}" if facts.retires else "",
        )


def _thinking_types(capabilities: Mapping[str, Any] | None) -> tuple[str, ...]:
    types = _inner(_inner(capabilities, "thinking"), "types")
    return tuple(kind for kind in _THINKING_TYPES if _inner(types, kind).get("supported") is True)


def _inner(value: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = (value or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _lifecycle_note(model: ModelInfo) -> str:
    if model.retires_at:
        return f"retires {model.retires_at[:10]}"
    return model.lifecycle if model.lifecycle not in (None, "active") else ""


def _model_row(model: ListedModel, short_name: str, default: str) -> Row:
    is_default = _is_default(model.id, default, short_name)
    return (
        model.id,
        " · ".join(mark for mark in (short_name, "default" if is_default else "") if mark),
        _size(model.context_window),
        _size(model.max_output_tokens),
        _price(model.id),
        ", ".join(model.thinking),
        model.note,
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
