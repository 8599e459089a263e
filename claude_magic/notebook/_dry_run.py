"""`--dry-run`: shows the request and its price. Nothing is sent except a free request to count the input tokens."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..client import ClaudeError, RequestPreview, Usage, counted
from ..render import Bundle, Row, render_rows, with_folded_code
from ..runtime import (
    MODELS_AS_OF,
    PRICES_AS_OF,
    SENT_AS_IT_IS,
    WorstCase,
    cost_of,
    count_input,
    format_usd,
    table_id,
    worst_case,
)
from ._answer import result_of
from ._compare import question_per_model

if TYPE_CHECKING:
    from ..runtime import Question, Runtime, TurnPlan
    from ._cell import Cell
    from ._line import Line


_COUNTING_TIMEOUT = 15.0
"""Seconds to wait for the count; after that, the dry run does without it."""
_SHOWN_BASE64 = 32
"""Characters of base64 data that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """The facts about a request that is not sent.

    Attributes:
        preview: The request as it would be sent.
        is_simulated: Whether the embedded simulator would answer.
        counted_tokens: Input tokens as counted by the server; None if it did not count them.
        worst: The most that the request could cost; None if the price of its model is not known.
        budget: The effect on the budget, as a sentence; "" without a budget.
        redacted: What was replaced with `[REDACTED]` in the collected context.
        notes: Deviations from what was asked for, as sentences.
    """

    preview: RequestPreview
    is_simulated: bool
    counted_tokens: int | None
    worst: WorstCase | None
    budget: str = ""
    redacted: Sequence[str] = ()
    notes: Sequence[str] = ()


async def show_dry_run(line: Line, question: Question, cell: Cell) -> None:
    """Show the request instead of an answer; with `--compare`, one request per model.

    Raises:
        ConfigurationError: The request could not be sent.
    """
    for each in await question_per_model(line, question, cell):
        await _show(cell.runtime.plan(each), cell)


async def _show(plan: TurnPlan, cell: Cell) -> None:
    runtime = cell.runtime
    counted_tokens = await _count(cell, plan)
    values = runtime.settings().values
    worst = worst_case(plan.request, counted_tokens, attempts=values.max_retries + 1)
    bundle = render_dry_run(
        DryRun(
            preview=runtime.preview(plan),
            is_simulated=runtime.is_demo,
            counted_tokens=counted_tokens,
            worst=worst,
            budget=_describe_budget(runtime, worst),
            redacted=plan.question.redacted,
            notes=(*plan.notes, *_name_notes(plan.settings.values.model)),
        ),
        redact=runtime.redact,
    )
    cell.front_end.show(bundle)


def render_dry_run(dry_run: DryRun, *, redact: Callable[[str], str] = str) -> Bundle:
    """Render a dry run: a table, and below it the folded headers and payload.

    Args:
        dry_run: The facts to show.
        redact: Removes the API key from the payload, in case the user has typed it.
    """
    preview = dry_run.preview
    payload = redact(json.dumps(_shortened(preview.body), indent=2, ensure_ascii=False))
    headers = "\n".join(f"{name}: {value}" for name, value in preview.headers)
    table = render_rows([("Dry run: this was not sent", list(_rows(dry_run)))], notes=_remarks(dry_run))
    folds = [("Headers", headers, "text"), (f"Payload, {preview.body_bytes:,} bytes", payload, "json")]
    return with_folded_code(table, folds)


def _rows(dry_run: DryRun) -> Iterator[Row]:
    preview, worst = dry_run.preview, dry_run.worst
    model = str(preview.body.get("model"))
    # The simulator's port differs each time, and the output is saved with the notebook.
    url = f"{urlsplit(preview.url).path} (the embedded simulator)" if dry_run.is_simulated else preview.url
    yield "request", f"{preview.method} {url}"
    yield "model", model
    yield "input", _describe_input(dry_run)
    if worst is None:
        yield "price", f"not known: {model} is not on the list of {PRICES_AS_OF}"
    else:
        tokens = worst.input_tokens if dry_run.counted_tokens is None else dry_run.counted_tokens
        yield "price of the input", format_usd(cost_of(model, Usage(input_tokens=tokens)) or 0.0)
        yield "price at most", f"{format_usd(worst.total)}, {_describe_worst(worst)}"
    if dry_run.budget:
        yield "budget", dry_run.budget
    yield "redacted", ", ".join(dry_run.redacted) or "nothing"


def _describe_input(dry_run: DryRun) -> str:
    if dry_run.counted_tokens is not None:
        return f"{dry_run.counted_tokens:,} tokens, as the server counts them"
    bound = "" if dry_run.worst is None else f"; at most {dry_run.worst.input_tokens:,} tokens"
    return f"the server did not count it{bound}"


def _describe_worst(worst: WorstCase) -> str:
    return f"for {worst.output_tokens:,} tokens out and {counted(worst.attempts, 'attempt')}, each billed"


def _describe_budget(runtime: Runtime, worst: WorstCase | None) -> str:
    ledger = runtime.ledger
    if ledger.budget is None:
        return ""
    account = ledger.account(is_simulated=runtime.is_demo)
    amounts = f"{account.left_text(ledger.budget)} of {format_usd(ledger.budget)} are left"
    if worst is None:
        return f"{amounts}; it would be refused, because its price is not known"
    has_room = ledger.has_room_for(worst, is_simulated=runtime.is_demo)
    return f"{amounts}; it would be {'sent' if has_room else 'refused'}"


def _remarks(dry_run: DryRun) -> Iterator[str]:
    yield from dry_run.notes
    if _shortened(dry_run.preview.body) != dry_run.preview.body:
        yield "Base64 data is shortened here, but sent in full."
    if dry_run.preview.is_redacted:
        yield SENT_AS_IT_IS


def _name_notes(name: str) -> Iterator[str]:
    if table_id(name) is not None:
        yield f"{name} is looked up in the server's list when it is sent; here, in the built-in list of {MODELS_AS_OF}."


async def _count(cell: Cell, plan: TurnPlan) -> int | None:
    """Return the input tokens as counted by the server; None if it cannot count them, for example without a key."""
    try:
        future = cell.runtime.submit(lambda client: count_input(client, plan.request), plan.question.settings)
    except ClaudeError:
        return None
    try:
        return await result_of(future, cell, timeout=_COUNTING_TIMEOUT)
    except (TimeoutError, concurrent.futures.CancelledError):
        return None
    finally:
        future.cancel()


def _shortened(value: Any) -> Any:
    """Return a copy of a JSON value with its base64 data shortened."""
    if isinstance(value, Mapping):
        is_source = value.get("type") == "base64"
        return {
            name: _cut(item) if is_source and name == "data" else _shortened(item)
            for name, item in value.items()
        }
    return [_shortened(item) for item in value] if isinstance(value, list | tuple) else value


def _cut(data: Any) -> Any:
    if not isinstance(data, str) or len(data) <= 2 * _SHOWN_BASE64:
        return data
    return f"{data[:_SHOWN_BASE64]}… ({len(data):,} characters of base64, {len(data) * 3 // 4:,} bytes)"
