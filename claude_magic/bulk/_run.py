"""A map in flight, or ended; and what is shown of it: the preview, a bar, one line at the end, the list of runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .._tracebacks import short_errors
from ..client import ClaudeClient, ClaudeError, ConfigurationError
from ..display import FrontEnd
from ..render import A_WHILE, Bundle, render_folded_code, render_notice, render_rows
from ..runtime import PRICES_AS_OF, Phase, TurnAccountant, format_usd
from ._engine import Engine, MapEngine, Task, fault, in_one_line
from ._journal import Journal, JournalWriter, excerpt

_INTERVAL: Final = 0.25
"""Seconds between two pictures of the bar."""
_LINE_CHARS: Final = 90
_STOP_HINT: Final = "Stop this map. What is answered is kept: the same line asks only the rest."

Row = tuple[str, ...]


class MapStoppedError(ClaudeError):
    """A map ended before all rows were asked.

    Attributes:
        result: What there is, as the whole map would have returned it: rows that were not asked are null, with the reason.
    """

    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSnapshot:
    """A map at one moment.

    Attributes:
        phase: How far it is: QUEUED before its first answer, STREAMING, then one of the ends.
        version: Grows with each change.
        model: The model that is asked.
        rows: Rows of the input.
        requests: Distinct requests.
        known: Those that the journal had answered before.
        answered: Those that this run has answered, and kept.
        failed: Those that ended without an answer, in this run or as the journal has it.
        in_flight: Requests in flight.
        limit: Requests that may be in flight at present.
        tokens_in: Input of this run's answers.
        tokens_out: Their output.
        cost: Their price in USD; None where it is not known.
        elapsed: Seconds since the start, up to the end.
        first: The first answers that came: row and text.
        error: Why it stopped, or None.
        is_simulated: A simulator answered.
        waiting: What is waited for, as a line; empty if nothing is.
        batches: Batches at the server that it waits for.
    """

    phase: Phase
    version: int
    model: str
    rows: int
    requests: int
    known: int
    answered: int
    failed: int
    in_flight: int
    limit: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    elapsed: float
    first: tuple[tuple[int, str], ...]
    error: ClaudeError | None
    is_simulated: bool
    waiting: str = ""
    batches: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """Requests that need not be asked any more, with or without an answer."""
        return self.known + self.answered + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a map is about to do.

    Attributes:
        model: The model that is asked.
        rows: Rows, draws counted.
        requests: Distinct requests among them.
        known: Those that the journal has answered.
        unasked: Rows that cannot be asked: null values, expressions that fail.
        to_ask: Requests that will be sent.
        tokens_in: Their input, estimated.
        tokens_out: Their output, estimated.
        cost: Their price in USD, estimated; None where the model has none.
        seconds: How long they take at the rate of the limiter, at least.
        is_simulated: The embedded simulator answers, for nothing.
        notes: What else to know, as sentences.
        samples: The first requests as they would be sent, as the API's JSON objects.
        via: "online" or "batch".
        in_batches: Requests that open batches hold; by way of batches they are not among those that will be sent.
        worst: USD that a batch can cost at most; None where that is not known, and online.
    """

    model: str
    rows: int
    requests: int
    known: int
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


class MapRun:
    """A map in flight, or ended: what it has come to, and how to stop it. Every method may be called from any thread.

    Args:
        task: What is asked.
        prompt: The prompt as typed, for lists of what is in flight.
        origin: Who asks, in a word or two.
        outlives_cell: It belongs to no cell, so that interrupting one leaves it alone.
        make_result: Makes of the answers what the caller gets.
    """

    pending_calls = None

    def __init__(
        self,
        task: Task,
        *,
        prompt: str,
        origin: str = "Python",
        outlives_cell: bool = False,
        make_result: Callable[[], Any],
    ) -> None:
        self.prompt = prompt
        self.origin = origin
        self.outlives_cell = outlives_cell
        self._task = task
        self._make_result = make_result
        self._lock = threading.Lock()
        self._observers: dict[object, Callable[[MapRun], None]] = {}
        self._ending: dict[object, Callable[[], None]] = {}
        self._cancel: Callable[[], None] = lambda: None
        self._phase = Phase.QUEUED
        self._version = 0
        self._in_flight, self._limit = 0, 0
        self._started, self._ended = time.monotonic(), 0.0
        self.error: ClaudeError | None = None

    def start(
        self,
        journal: Journal,
        number: int,
        spawn: Callable[..., Callable[[], None]],
        make_engine: Callable[..., MapEngine] = Engine,
    ) -> None:
        """Begin to ask.

        Args:
            journal: Where answers are kept. It is closed at the end.
            number: The run's number in it.
            spawn: `Runtime.spawn`, but for its work and `on_end`.
            make_engine: Makes what asks, as `Engine` does.
        """

        async def work(client: ClaudeClient, make_accountant: Callable[[], TurnAccountant]) -> None:
            engine = make_engine(self._task, client, make_accountant, self.note)
            loop = asyncio.get_running_loop()
            writer = JournalWriter(
                journal,
                number,
                on_kept=lambda answers: _post(loop, lambda: engine.kept(answers)),
                on_failure=lambda error: _post(loop, lambda: engine.stop(error)),
            )
            try:
                await engine.run(writer)
            finally:
                # In this order: what was answered is written, then counted, then the run has ended.
                await asyncio.shield(loop.run_in_executor(None, writer.close))
                await asyncio.sleep(0)
                engine.kept(())
            if engine.error is not None:  # the last of them could not be written
                raise engine.error

        def on_end(task: asyncio.Task[None]) -> None:
            failure = None if task.cancelled() else task.exception()
            if task.cancelled():
                self._end(Phase.CANCELLED, None, journal, number)
            elif failure is None:
                self._end(Phase.COMPLETE, None, journal, number)
            else:
                error = failure if isinstance(failure, ClaudeError) else fault(failure)
                self._end(Phase.FAILED, error.with_traceback(None), journal, number)

        self._cancel = spawn(work, on_end=on_end)

    # As a reply...

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self._phase

    def done(self) -> bool:
        """Whether it has ended."""
        return self._phase.is_final

    def cancel(self) -> None:
        """Stop it. What was answered is kept; running the same line again asks only the rest."""
        self._cancel()

    def snapshot(self) -> MapSnapshot:
        """Return it as it is at this moment."""
        results = self._task.results
        return MapSnapshot(
            phase=self._phase,
            version=self._version,
            model=self._task.request.model,
            rows=self._task.rows,
            requests=len(results.texts),
            known=results.known,
            answered=results.answered,
            failed=len(results.problems),
            in_flight=self._in_flight,
            limit=self._limit,
            tokens_in=results.tokens_in,
            tokens_out=results.tokens_out,
            cost=results.cost,
            elapsed=(self._ended or time.monotonic()) - self._started,
            first=tuple(results.first),
            error=self.error,
            is_simulated=results.is_simulated,
            waiting=results.waiting,
            batches=results.batches,
        )

    @short_errors
    def result(self, timeout: float | None = None) -> Any:
        """Wait until it has ended, and return the answers as what was mapped.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes.

        Raises:
            MapStoppedError: Not all rows were asked. What there is, is in its `result`.
            TimeoutError: It has not ended within `timeout`; it goes on.
        """
        is_done = threading.Event()
        forget = self.when_done(is_done.set)
        try:
            if not is_done.wait(timeout):
                raise TimeoutError(
                    f"The map has not ended within {timeout:g} s. It continues; `cancel()` stops it."
                )
        finally:
            forget()
        self.check()
        return self.so_far()

    def so_far(self) -> Any:
        """Return the answers there are, as what was mapped; rows without one are null, with the reason."""
        return self._make_result()

    def check(self) -> None:
        """Raise why not all rows were asked, if that is so.

        Raises:
            MapStoppedError: It is.
        """
        if self._phase is Phase.CANCELLED:
            raise self._stopped("The map was stopped.")
        if self.error is not None:
            raise self._stopped(in_one_line(self.error))

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once, at its end: on the bridge thread, or at once if it has ended. Returns what takes that back."""
        mark = object()
        with self._lock:
            if not self._phase.is_final:
                self._ending[mark] = callback
                return lambda: self._forget(self._ending, mark)
        callback()
        return lambda: None

    def observe(self, callback: Callable[[MapRun], None]) -> Callable[[], None]:
        """Call back after each change, on the bridge thread. Returns what ends that."""
        mark = object()
        self._observers[mark] = callback
        return lambda: self._forget(self._observers, mark)

    def note(self, in_flight: int, limit: int) -> None:
        """Note that something has changed; on the bridge."""
        self._in_flight, self._limit = in_flight, limit
        if self._phase is Phase.QUEUED:
            self._phase = Phase.STREAMING
        self._change()

    def way_on(self, line: str = "the same line") -> str:
        """Return how to go on after it was stopped, as the rest of a sentence; `line` is what is to be run again."""
        batches = self._task.results.batches
        if not batches:
            return f"running {line} again asks only the rest."
        each = "it" if len(batches) == 1 else "each of them"
        return (
            f"{', '.join(batches[:3])}{' ...' if len(batches) > 3 else ''} goes on at the server, nothing was cancelled: running {line} "
            f"again waits for the answers, also tomorrow and in another kernel. `%claude batches cancel {batches[0]}` cancels {each}."
        )

    def __repr__(self) -> str:
        snapshot = self.snapshot()
        return f"<MapRun {snapshot.phase.value}, {snapshot.done:,} of {snapshot.requests:,} requests>"

    def _stopped(self, why: str) -> MapStoppedError:
        snapshot = self.snapshot()
        kept = snapshot.known + snapshot.answered
        error = MapStoppedError(
            f"{why} {kept:,} of {snapshot.requests:,} requests are answered and kept; {self.way_on()}"
        )
        error.result = self.so_far()
        return error

    def _end(self, phase: Phase, error: ClaudeError | None, journal: Journal, number: int) -> None:
        states = {Phase.COMPLETE: "done", Phase.CANCELLED: "stopped"}
        with contextlib.suppress(ClaudeError):  # a disk that is full; the answers before it are kept
            journal.end_run(
                number, state=states.get(phase, "failed"), failed=len(self._task.results.problems)
            )
        journal.close()
        self._in_flight = 0
        with self._lock:
            self.error, self._ended, self._phase = error, time.monotonic(), phase
            ending, self._ending = tuple(self._ending.values()), {}
        self._change()
        for callback in ending:
            callback()

    def _change(self) -> None:
        self._version += 1
        for callback in tuple(self._observers.values()):
            callback(self)

    def _forget(self, callbacks: dict[object, Any], mark: object) -> None:
        with self._lock:
            callbacks.pop(mark, None)


def check_price(
    preview: Preview, max_cost: float | None, *, asks_above: float, ask: Callable[[str], bool] | None
) -> None:
    """Let a map pass that is cheap, or whose price was agreed to.

    Args:
        preview: What it is about to do.
        max_cost: What it may cost, or None.
        asks_above: USD up to which nobody is asked.
        ask: Asks a person; None where nobody can be asked.

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
    price = "no known price" if cost is None else f"about {format_usd(cost)}"
    if preview.worst is not None:  # a batch cannot be stopped at an amount
        price += f" (up to {format_usd(preview.worst)}, if each answer is as long as max_tokens allows)"
    agreed = math.ceil((cost or 10) * 1.5 if preview.worst is None else preview.worst)
    what = f"This map has {price} for {preview.to_ask:,} requests to {preview.model}"
    if ask is None:
        raise ConfigurationError(
            f"{what}. Above {format_usd(asks_above)} (setting map_ask_above) it needs your approval: max_cost={agreed} (--max-cost in a cell). Nothing was sent."
        )
    if not ask(f"{what}. Continue? [y/N] "):
        raise ConfigurationError("The map was not begun. Nothing was sent.")


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
        loop.call_soon_threadsafe(callback)


class MapSurface:
    """Where the progress of a map is shown: a bar of tqdm that gives way to one line.

    In a front end with widgets, and in a terminal, there is a bar. Elsewhere, as in a notebook that is executed by a tool, there is
    the line at the end alone.

    Args:
        front_end: Where the cell is shown; None outside of IPython, where stderr is written to.
        owns_area: The cell holds nothing else; the first answers are shown in it as they come.
        is_quiet: Show nothing but how it failed.
        is_live: Draw while it runs.
        stop: What the Stop button under the bar does, on any thread; None for no button.
        remark: How to stop it, where it runs in the background: then one line of text moves in a display that stands already, as
            threads can reach no other in every kernel.
        keeps: What is answered is in a journal when it is stopped.
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
    ) -> None:
        self._remark = remark
        self._keeps = keeps
        self._stop = stop
        self._box: Any = None
        self._front_end = front_end
        self._owns_area = owns_area
        self._is_quiet = is_quiet
        in_kernel = front_end is not None and front_end.has_kernel
        self.is_live = (
            in_kernel and front_end is not None and front_end.has_widgets and is_live and not is_quiet
        )
        self.has_cleared = False
        in_terminal = not in_kernel and sys.stderr.isatty()
        self._draws = is_live and not is_quiet and (self.is_live or bool(remark) or in_terminal)
        self._bar: Any = None
        self._handle: Any = None
        self._samples: Any = None
        self._first: tuple[Any, ...] = ()
        self._named: tuple[str, ...] = ()
        self._has_told = False

    def draw(self, snapshot: MapSnapshot, /) -> float:
        """Move the bar; where there is none, only name the batches that are waited for, once."""
        if self._draws and self._remark:
            self._draw_line(snapshot)
        elif self._draws and not snapshot.phase.is_final:
            bar = self._bar or self._open(snapshot)
            bar.n = snapshot.done
            bar.set_postfix_str(describe_progress(snapshot), refresh=False)
            bar.refresh()
            self._show_first(snapshot)
            if not self.is_live and not self._has_told and snapshot.elapsed >= A_WHILE:
                self._has_told = True
                bar.write(self._how_to_stop("Ctrl-C stops it"), file=sys.stderr)
        elif snapshot.batches != self._named and snapshot.waiting and not self._draws and not self._is_quiet:
            self._named = snapshot.batches
            self._say(snapshot.waiting)
        return _INTERVAL

    def finish(self, snapshot: MapSnapshot, /, *, is_alone: bool = True) -> None:
        """Put one line in the place of the bar."""
        line = describe_end(snapshot)
        handle, self._handle = self._handle, None
        if handle is not None and self._owns_area and self._front_end is not None:
            from IPython.display import clear_output

            clear_output(wait=True)
            self.has_cleared = True
            self._front_end.say(line)
        elif handle is not None:
            # First the display: a front end that has lost the widget would put an error in its place.
            handle.update(render_notice(line).data, raw=True)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._box is not None:
            from ..display.widgets import close_all

            close_all((self._box,))
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
        data = render_notice(f"{meter} · {self._remark}").data
        if self._handle is None:
            from IPython.display import display

            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

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

        # `display.widgets` is imported by now, so that the widgets of tqdm are made under its lock, too.
        widget_bar.monitor_interval = 0
        self._bar = widget_bar(display=False, **settings)
        if self._stop is None:
            below = Label(self._how_to_stop("To stop, interrupt the kernel (■)"))
        else:
            below = stop_button(self._stop, hint=_STOP_HINT)
        self._box = VBox([self._bar.container, below])
        self._handle = display(self._box, display_id=True)

    def _how_to_stop(self, how: str) -> str:
        """Say it, and that nothing is lost by it."""
        return (
            f"{how}; what is answered is kept, and the same line asks only the rest."
            if self._keeps
            else f"{how}."
        )

    def _show_first(self, snapshot: MapSnapshot) -> None:
        """Show the first answers below the bar."""
        if not self._owns_area or self._handle is None or snapshot.first == self._first:
            return
        self._first = snapshot.first
        bundle = render_rows([("First answers", [(str(row), excerpt(text)) for row, text in snapshot.first])])
        if self._samples is None:
            from IPython.display import display

            self._samples = display(bundle.data, raw=True, display_id=True)
        else:
            self._samples.update(bundle.data, raw=True)

    def _say(self, line: str) -> None:
        if self._front_end is not None:
            self._front_end.say(line)
        else:
            print(line, file=sys.stderr)


def describe_progress(snapshot: MapSnapshot) -> str:
    """Return what stands behind the bar: tokens, cost so far, failed rows."""
    facts = [f"{_short(snapshot.tokens_in)} in, {_short(snapshot.tokens_out)} out"]
    if snapshot.cost:
        facts.append(format_usd(snapshot.cost))
    if snapshot.failed:
        facts.append(f"{snapshot.failed:,} failed")
    return snapshot.waiting or ", ".join(facts)


def describe_end(snapshot: MapSnapshot) -> str:
    """Return the one line that stays."""
    answered = snapshot.known + snapshot.answered
    states = {Phase.CANCELLED: "stopped", Phase.FAILED: "not finished"}
    facts = [states[snapshot.phase]] if snapshot.phase in states else []
    rows = f"{snapshot.rows:,} row{'s' if snapshot.rows != 1 else ''}"
    facts.append(f"{rows}, {answered:,} of {snapshot.requests:,} requests answered")
    if snapshot.known:
        facts.append(f"{snapshot.known:,} from the journal")
    if snapshot.failed:
        facts.append(f"{snapshot.failed:,} failed")
    if snapshot.answered:
        facts.append(f"{snapshot.tokens_in:,} tokens in, {snapshot.tokens_out:,} out")
    if snapshot.answered and snapshot.cost is not None:
        facts.append(f"{format_usd(snapshot.cost)}{' (simulated)' if snapshot.is_simulated else ''}")
    elif snapshot.batches:
        facts.append(f"{', '.join(snapshot.batches[:3])} at the server, to be waited for by the same line")
    elif not snapshot.answered and not snapshot.failed:
        facts.append("nothing was asked, nothing paid")
    facts.append(f"{snapshot.elapsed:.1f} s")
    return " · ".join(facts)


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
    html = table.data["text/html"] + "".join(render_folded_code(*fold) for fold in folds)
    text = "\n\n".join([table.data["text/plain"], *(f"{title}\n{content}" for title, content, _ in folds)])
    return Bundle({"text/html": html, "text/plain": text}, {})


def preview_rows(preview: Preview) -> Iterator[Row]:
    """Yield what there is to say before a map, as rows of a table."""
    yield "model", preview.model + (" (the embedded simulator)" if preview.is_simulated else "")
    yield "rows", f"{preview.rows:,}, {preview.requests:,} distinct requests"
    yield "answered already", f"{preview.known:,}"
    if preview.unasked:
        rows = "1 row" if preview.unasked == 1 else f"{preview.unasked:,} rows"
        yield "cannot be asked", f"{rows}; the column of errors says why"
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


def _short(count: int) -> str:
    if count >= 1_000_000:
        return f"{count / 1_000_000:.1f}M"
    return f"{count / 1000:.1f}k" if count >= 1000 else str(count)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
