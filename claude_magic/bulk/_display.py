"""What a map shows: a preview with its price, a progress bar with the first answers, and a one-line summary."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..client import ConfigurationError, counted, excerpt
from ..display import FrontEnd, fit_lines, is_terminal
from ..render import (
    IN_CASSETTE,
    REMARK_DELAY,
    Bundle,
    Row,
    render_notice,
    render_rows,
    with_folded_code,
)
from ..runtime import PRICES_AS_OF, Phase, format_usd, print_note
from ._run import MapSnapshot

_INTERVAL: Final = 0.25
"""Seconds between two updates of the bar."""
_LINE_CHARS: Final = 90
_SHOWN_CHARS: Final = 80
# Without rate and remaining time, which are unknown while a batch is processed.
_WAITING_FORMAT: Final = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
_RESULT: Final = "RESULT"
_STOP_HINT: Final = "Stop this map. Answers are kept: running the same line again asks only the rest."


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
    if not preview.to_ask:
        return
    if max_cost is not None and cost is not None and cost > max_cost:
        raise ConfigurationError(
            f"This map would cost about {format_usd(cost)}, and max_cost is {format_usd(max_cost)}. Nothing was sent. Allow more "
            "(--max-cost in a cell), or ask about fewer rows."
        )
    if preview.is_simulated or max_cost is not None or (cost is not None and cost <= asks_above):
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
    table = render_rows([("Dry run: this was not sent", list(_preview_rows(preview)))], notes=preview.notes)
    folds = [
        (f"Request {number}", redact(json.dumps(body, indent=2, ensure_ascii=False)), "json")
        for number, body in enumerate(preview.samples, 1)
    ]
    return with_folded_code(table, folds)


def _preview_rows(preview: Preview) -> Iterator[Row]:
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


class MapSurface:
    """A surface that shows the progress of a map as a tqdm bar, and replaces it with a one-line summary.

    The bar needs widgets or a terminal. Elsewhere, such as in a notebook executed by a tool, only the summary is shown.

    Args:
        front_end: Front end of the cell; None outside IPython, where the output goes to stderr.
        owns_area: The cell has no other output, so the first answers are shown below the bar.
        is_quiet: Show no progress and no summary.
        is_live: Draw while the map runs.
        stop: Function that the Stop button calls, from any thread; None for no button.
        remark: How to stop a background map. If given, progress is a line of text in an existing display, the only output that threads can
            update in every kernel.
        keeps: Answers are kept if the map is stopped, so that the same line sends only the remaining requests.
        hint: Where the result is, as the end of the summary of a map that is complete.
        result: The result in code, for the call in the summary that returns the errors.

    Attributes:
        is_live: The bar is a widget.
        has_cleared: `finish` has cleared the output of the cell.
    """

    def __init__(
        self,
        front_end: FrontEnd | None,
        *,
        owns_area: bool = False,
        is_quiet: bool = False,
        is_live: bool = True,
        stop: Callable[[], None] | None = None,
        remark: str = "",
        keeps: bool = True,
        hint: str = "",
        result: str = _RESULT,
    ) -> None:
        self._hint = hint
        self._result = result
        self._remark = remark
        self._keeps = keeps
        self._stop = stop
        self._box: Any = None
        self._front_end = front_end
        self._owns_area = owns_area
        self._is_quiet = is_quiet
        in_kernel = front_end is not None and front_end.has_kernel
        in_terminal = not in_kernel and is_terminal(sys.stderr)
        is_live = is_live and not is_quiet
        self.is_live = is_live and front_end is not None and front_end.has_widgets
        self.has_cleared = False
        self._draws = is_live and (self.is_live or bool(remark) or in_terminal)
        self._bar: Any = None
        self._handle: Any = None
        self._samples: Any = None
        self._first: tuple[Any, ...] = ()
        self._seen: set[str] = set()
        self._has_shown_hint = False

    def draw(self, snapshot: MapSnapshot, /) -> float:
        """Update the bar and return the seconds until the next update. Without a bar, only report new batches, once each."""
        try:
            self._draw(snapshot)
        except (OSError, ValueError):
            if self.is_live:
                raise
            self._draws = False  # the terminal has been closed, and the map goes on
        return _INTERVAL

    def _draw(self, snapshot: MapSnapshot) -> None:
        if self._draws and self._remark:
            self._draw_line(snapshot)
        elif self._draws and not snapshot.phase.is_final:
            bar = self._bar or self._open(snapshot)
            bar.n = snapshot.done
            bar.set_postfix_str(describe_progress(snapshot), refresh=False)
            bar.bar_format = _WAITING_FORMAT if snapshot.waiting else None
            self._refresh(bar)
            self._show_first(snapshot)
            if not self.is_live and not self._has_shown_hint and snapshot.elapsed >= REMARK_DELAY:
                self._has_shown_hint = True
                bar.write(self._how_to_stop("Ctrl-C stops it"), file=sys.stderr)
        elif snapshot.waiting and not (
            self._draws or self._is_quiet or self._seen.issuperset(snapshot.batches)
        ):
            self._seen.update(snapshot.batches)
            self._say(snapshot.waiting)

    def finish(self, snapshot: MapSnapshot, /) -> None:
        """Replace the bar with the summary."""
        has_hint = bool(self._hint) and snapshot.phase is Phase.COMPLETE
        # If a map without a name stops, the cell fails, and has no result.
        line = describe_end(snapshot, self._result if has_hint or not self._hint else _RESULT)
        if has_hint:
            line = f"{line} · {self._hint}"
        handle, self._handle = self._handle, None
        if handle is not None and self._owns_area and self._front_end is not None:
            from IPython.display import clear_output

            clear_output(wait=True)
            self.has_cleared = True
            self._front_end.say(line)
        elif handle is not None:
            # Replace the display before closing the widget; a front end shows an error for a closed widget.
            handle.update(render_notice(line).data, raw=True)
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):  # as above
                self._bar.close()
            self._bar = None
        if self._box is not None:
            from ..display.widgets import end_box

            end_box(self._box, functools.partial(render_notice, line))
            self._box = None
        if handle is None and not self._is_quiet:
            self._say(line)

    def _draw_line(self, snapshot: MapSnapshot) -> None:
        from tqdm.std import tqdm

        meter = tqdm.format_meter(
            snapshot.done,
            snapshot.requests,
            snapshot.elapsed,
            initial=snapshot.known,
            unit="row",
            ncols=_LINE_CHARS,
            postfix=describe_progress(snapshot),
        )
        self._handle = _update_display(render_notice(f"{meter} · {self._remark}"), self._handle)

    def _open(self, snapshot: MapSnapshot) -> Any:
        settings: dict[str, Any] = {
            "total": snapshot.requests,
            "initial": snapshot.done,
            "unit": "row",
            "leave": False,
            "desc": snapshot.model,
            "mininterval": 0.0,
        }
        if self.is_live:
            self._open_widgets(settings)
        else:
            from tqdm.std import tqdm as text_bar

            text_bar.monitor_interval = 0
            self._bar = text_bar(dynamic_ncols=True, file=sys.stderr, **settings)
        return self._bar

    def _open_widgets(self, settings: dict[str, Any]) -> None:
        from IPython.display import display
        from ipywidgets import Label, VBox
        from tqdm.notebook import tqdm as widget_bar

        from ..display.widgets import stop_button

        # Import `display.widgets` before this point, so that tqdm's widgets are created under its lock, too.
        widget_bar.monitor_interval = 0
        self._bar = widget_bar(display=False, **settings)
        if self._stop is None:
            below = Label(self._how_to_stop("To stop, interrupt the kernel (■)"))
        else:
            below = stop_button(self._stop, hint=_STOP_HINT)
        left, _, right = self._bar.container.children
        # Keep the model's name on one line; on narrow pages the text after the bar wraps below it.
        left.layout.flex, right.layout.flex = "0 0 auto", "0 1 auto"
        self._bar.container.layout.flex_flow = "row wrap"
        self._box = VBox([self._bar.container, below])
        self._handle = display(self._box, display_id=True)

    def _refresh(self, bar: Any) -> None:
        if self._box is None:
            bar.refresh()
            return
        text = bar.container.children[2]
        with text.hold_sync():
            bar.refresh()
            # tqdm inserts figure spaces, which prevent line breaks.
            text.value = text.value.replace("\N{FIGURE SPACE}", " ")

    def _how_to_stop(self, how: str) -> str:
        """Return a sentence that says how to stop and, if so, that the answers are kept."""
        return (
            f"{how}; answers are kept, and running the same line again asks only the rest."
            if self._keeps
            else f"{how}."
        )

    def _show_first(self, snapshot: MapSnapshot) -> None:
        """Show the first answers below the bar."""
        if not self._owns_area or self._handle is None or snapshot.first == self._first:
            return
        self._first = snapshot.first
        bundle = render_rows(
            [("First answers", [(str(row), excerpt(text, _SHOWN_CHARS)) for row, text in snapshot.first])]
        )
        self._samples = _update_display(bundle, self._samples)

    def _say(self, line: str) -> None:
        if self._front_end is not None:
            self._front_end.say(line)
        else:
            print_note(fit_lines(line, sys.stderr))


def _update_display(bundle: Bundle, handle: Any) -> Any:
    """Update the display of a handle, or create a new display if it is None; return the handle."""
    if handle is None:
        from IPython.display import display

        return display(bundle.data, raw=True, display_id=True)
    handle.update(bundle.data, raw=True)
    return handle


def describe_progress(snapshot: MapSnapshot) -> str:
    """Return the text after the bar: cost so far, failed rows, why it is slow, tokens. Narrow terminals truncate its end."""
    facts = [format_usd(snapshot.cost)] if snapshot.cost else []
    if snapshot.failed:
        facts.append(f"{snapshot.failed:,} failed")
    if snapshot.held_back:
        facts.append(snapshot.held_back)
    facts.append(f"{_short(snapshot.tokens_in)} in, {_short(snapshot.tokens_out)} out")
    return snapshot.waiting or ", ".join(facts)


def describe_end(snapshot: MapSnapshot, result: str = _RESULT) -> str:
    """Return the one-line summary of a map that has ended, with the call that returns the errors of its result."""
    answered = snapshot.known + snapshot.answered
    facts = [] if snapshot.phase is Phase.COMPLETE else [snapshot.state]
    facts.append(f"{counted(snapshot.rows, 'row')}, {answered:,} of {snapshot.requests:,} requests answered")
    if snapshot.known:
        facts.append(f"{snapshot.known:,} from the journal")
    if snapshot.failed:
        facts.append(f"{snapshot.failed:,} failed")
    if snapshot.unasked:
        facts.append(f"{counted(snapshot.unasked, 'row')} not asked")
    if snapshot.failed or snapshot.unasked:
        facts.append(f"`claude.errors({result})` says why")
    if snapshot.answered:
        facts.append(f"{snapshot.tokens_in:,} tokens in, {snapshot.tokens_out:,} out")
    simulated = " (simulated)" if snapshot.is_simulated else ""
    if snapshot.answered and snapshot.cost is not None:
        once = f" once, on {snapshot.recorded_on}" if snapshot.recorded_on else ""
        facts.append(f"{format_usd(snapshot.cost)}{simulated}{once}")
    elif snapshot.batches:
        does = "waits for" if snapshot.running_batches else "fetches"
        facts.append(f"{snapshot.describe_batches()}: the same line {does} the answers")
    elif snapshot.phase is Phase.CANCELLED and not snapshot.unconfirmed:
        facts.append("requests in flight may be billed: `%claude usage` shows how much at most")
    elif not snapshot.answered and not snapshot.failed and not snapshot.unconfirmed:
        facts.append("nothing was asked, nothing paid")
    if snapshot.unconfirmed:
        most = format_usd(snapshot.unconfirmed)
        facts.append(f"up to {most}{simulated} more may be billed for attempts that broke off")
    # Omit the duration for recorded answers, so that every run saves the same output.
    is_free = snapshot.recorded_on and snapshot.phase is Phase.COMPLETE
    facts.append(IN_CASSETTE if is_free else f"{snapshot.elapsed:.1f} s")
    return " · ".join([*facts, *snapshot.remarks])


def _short(count: int) -> str:
    if count >= 1_000_000:
        return f"{count / 1_000_000:.1f}M"
    return f"{count / 1000:.1f}k" if count >= 1000 else str(count)
