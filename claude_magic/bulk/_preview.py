"""The preview of a map (its size and estimated cost), and the price check before it starts."""

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
    """The size and estimated cost of a map before it starts.

    Attributes:
        model: Full name of the model.
        rows: Number of rows, times the draws of each.
        requests: Number of distinct requests.
        known: Requests that the journal already answers.
        recorded: Requests that the cassette answers.
        unasked: Rows that cannot be sent: a value is null, an expression fails, or the text looks like credentials.
        to_ask: Requests to send.
        tokens_in: Estimated input tokens of these requests.
        tokens_out: Estimated output tokens.
        cost: Estimated cost in USD; None if the model has no known price.
        seconds: Minimum duration in seconds at the limiter's rate.
        is_simulated: The embedded simulator answers, at no cost.
        notes: Further remarks, as sentences.
        samples: The first requests as JSON objects of the API, with secrets removed.
        via: "online" or "batch".
        in_batches: Requests that are part of open batches. With via="batch" they do not count in `to_ask`.
        worst: Maximum cost of a batch in USD; None if unknown, and for "online".
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


def approve_price(
    preview: Preview, max_cost: float | None, *, asks_above: float, front_end: FrontEnd | None
) -> None:
    """Return if a map is cheap or its price is approved; ask for confirmation if necessary.

    Args:
        preview: Preview of the map.
        max_cost: Approved cost in USD, or None.
        asks_above: Cost in USD above which confirmation is needed.
        front_end: Front end that can show an input prompt; None outside IPython.

    Raises:
        ConfigurationError: The price is above `max_cost`, or was not approved. Nothing was sent.
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
    confirm = None if front_end is None else front_end.confirm
    if confirm is None:
        raise ConfigurationError(
            f"{what}. Above {format_usd(asks_above)} (setting map_ask_above) it needs your approval: max_cost={agreed} (--max-cost in a cell). Nothing was sent."
        )
    if not confirm(f"{what}. Continue? [y/N] "):
        raise ConfigurationError("The map was not started. Nothing was sent.")


def render_preview(preview: Preview, *, redact: Callable[[str], str] = str) -> Bundle:
    """Render a preview as a table, with the first requests folded below it.

    Args:
        preview: Preview of the map.
        redact: Function that removes the API key from text.
    """
    table = render_rows([("Dry run: this was not sent", list(preview_rows(preview)))], notes=preview.notes)
    folds = [
        (f"Request {number}", redact(json.dumps(body, indent=2, ensure_ascii=False)), "json")
        for number, body in enumerate(preview.samples, 1)
    ]
    return with_folded_code(table, folds)


def preview_rows(preview: Preview) -> Iterator[Row]:
    """Yield the rows of the preview table."""
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
