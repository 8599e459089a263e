"""What a map is about to do and to cost, and whether that was agreed to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..client import ConfigurationError
from ..display import FrontEnd
from ..render import Bundle, Row, counted, render_rows, with_folded_code
from ..runtime import PRICES_AS_OF, format_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a map is about to do.

    Attributes:
        model: The model that is asked.
        rows: Rows, draws counted.
        requests: Distinct requests among them.
        known: Those that the journal has answered.
        recorded: Those that the cassette will answer.
        unasked: Rows that cannot be asked: null values, expressions that fail.
        to_ask: Requests that will be sent.
        tokens_in: Their input, estimated.
        tokens_out: Their output, estimated.
        cost: Their price in USD, estimated; None where the model has none.
        seconds: How long they take at the rate of the limiter, at least.
        is_simulated: The embedded simulator answers, for nothing.
        notes: What else to know, as sentences.
        samples: The first requests as the API's JSON objects, without what looks like a secret.
        via: "online" or "batch".
        in_batches: Requests that open batches hold; by way of batches they are not among those that will be sent.
        worst: USD that a batch can cost at most; None where that is not known, and online.
    """

    model: str
    rows: int
    requests: int
    known: int
    recorded: int
    unasked: int
    to_ask: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    seconds: float
    is_simulated: bool
    notes: tuple[str, ...]
    samples: tuple[Mapping[str, Any], ...]
    via: str = "online"
    in_batches: int = 0
    worst: float | None = None

    def __str__(self) -> str:
        return str(render_preview(self).data["text/plain"])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        return render_preview(self).data


def check_price(
    preview: Preview, max_cost: float | None, *, asks_above: float, front_end: FrontEnd | None
) -> None:
    """Let a map pass that is cheap, or whose price was agreed to.

    Args:
        preview: What it is about to do.
        max_cost: What it may cost, or None.
        asks_above: USD up to which nobody is asked.
        front_end: Where a person can be asked; None outside of IPython.

    Raises:
        ConfigurationError: It costs more than was agreed to. Nothing was sent.
    """
    cost = preview.cost
    if preview.is_simulated or not preview.to_ask:
        return
    if max_cost is not None:
        if cost is not None and cost > max_cost:
            raise ConfigurationError(
                f"This map would cost about {format_usd(cost)}, and max_cost is {format_usd(max_cost)}. Nothing was sent."
            )
        return
    if cost is not None and cost <= asks_above:
        return
    price = "has no known price" if cost is None else f"would cost about {format_usd(cost)}"
    if preview.worst is not None:  # a batch cannot be stopped at an amount
        price += f" (up to {format_usd(preview.worst)}, if each answer is as long as max_tokens allows)"
    agreed = math.ceil((cost or 10) * 1.5 if preview.worst is None else preview.worst)
    what = f"This map, {counted(preview.to_ask, 'request')} to {preview.model}, {price}"
    if front_end is None or not front_end.can_ask:
        raise ConfigurationError(
            f"{what}. Above {format_usd(asks_above)} (setting map_ask_above) it needs your approval: max_cost={agreed} (--max-cost in a cell). Nothing was sent."
        )
    if input(f"{what}. Continue? [y/N] ").strip().casefold() not in ("y", "yes"):
        raise ConfigurationError("The map was not begun. Nothing was sent.")


def render_preview(preview: Preview, *, redact: Callable[[str], str] = str) -> Bundle:
    """Describe what a map would do, and the first requests.

    Args:
        preview: What it would do.
        redact: Removes the key from text.
    """
    table = render_rows([("Dry run: this was not sent", list(preview_rows(preview)))], notes=preview.notes)
    folds = [
        (f"Request {number}", redact(json.dumps(body, indent=2, ensure_ascii=False)), "json")
        for number, body in enumerate(preview.samples, 1)
    ]
    return with_folded_code(table, folds)


def preview_rows(preview: Preview) -> Iterator[Row]:
    """Yield what there is to say before a map, as rows of a table."""
    yield "model", preview.model + (" (the embedded simulator)" if preview.is_simulated else "")
    yield "rows", f"{preview.rows:,}, {preview.requests:,} distinct requests"
    yield "answered already", f"{preview.known:,}"
    if preview.recorded:
        yield "in the cassette", f"{preview.recorded:,}"
    if preview.unasked:
        yield "cannot be asked", f"{counted(preview.unasked, 'row')}; the column of errors says why"
    if preview.in_batches:
        yield "in a batch already", f"{preview.in_batches:,}"
    yield "to ask", f"{preview.to_ask:,}{' in a batch' if preview.via == 'batch' else ''}"
    yield "tokens, estimated", f"{preview.tokens_in:,} in, {preview.tokens_out:,} out"
    price = f"not known: {preview.model} is not on the list of {PRICES_AS_OF}"
    half = " (half of the usual, in a batch)" if preview.via == "batch" else ""
    yield "price, estimated", price if preview.cost is None else f"{format_usd(preview.cost)}{half}"
    if preview.worst is not None:
        yield "price, at most", f"{format_usd(preview.worst)}, if each answer is as long as max_tokens allows"
    if preview.via == "batch":
        yield "time", "most batches take less than an hour, and none more than 24"
    else:
        yield "time", f"at least {_duration(preview.seconds)}, at the rate of the limiter"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
