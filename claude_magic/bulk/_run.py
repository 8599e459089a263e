"""A map in flight, or ended: what it has come to, and how to stop it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._tracebacks import short_errors
from ..client import ClaudeClient, ClaudeError
from ..runtime import Phase, TurnAccountant
from ._engine import MapEngine, OnlineEngine, Task, fault, in_one_line
from ._journal import Journal
from ._request import Request
from ._runs import Runs
from ._writer import AnswerWriter


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
        tokens_in: Input of this run's answers.
        tokens_out: Their output.
        cost: Their price in USD; None where it is not known.
        elapsed: Seconds since the start, up to the end.
        first: The first answers that came: row and text.
        error: Why it stopped, or None.
        is_simulated: A simulator answered.
        waiting: What is waited for, as a line; empty if nothing is.
        batches: Batches at the server that it waits for.
        recorded_on: The first day on which an answer was recorded, where all of them stand in a cassette.
        remarks: What to know of the cassette, as sentences.
        unasked: Rows that could not be asked: null values, expressions that fail.
    """

    phase: Phase
    version: int
    model: str
    rows: int
    requests: int
    known: int
    answered: int
    failed: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    elapsed: float
    first: tuple[tuple[int, str], ...]
    error: ClaudeError | None
    is_simulated: bool
    waiting: str = ""
    batches: tuple[str, ...] = ()
    recorded_on: str | None = None
    remarks: tuple[str, ...] = ()
    unasked: int = 0

    @property
    def done(self) -> int:
        """Requests that need not be asked any more, with or without an answer."""
        return self.known + self.answered + self.failed

    @property
    def state(self) -> str:
        """How far it is, in a word or two."""
        words = {Phase.COMPLETE: "done", Phase.CANCELLED: "stopped", Phase.FAILED: "not finished"}
        return words.get(self.phase, "runs")


class MapRun:
    """A map in flight, or ended: what it has come to, and how to stop it. Every method may be called from any thread.

    Args:
        task: What is asked.
        request: What is mapped over what.
        make_result: Makes of the answers what the caller gets.

    Attributes:
        prompt: The prompt as typed, for lists of what is in flight.
        origin: Who asks, in a word or two.
        outlives_cell: It belongs to no cell, so that interrupting one leaves it alone.
    """

    pending_calls = None
    """A map has no tools, so who waits for it runs none."""

    def __init__(self, task: Task, request: Request, make_result: Callable[[], Any]) -> None:
        self.prompt = request.prompt
        self.origin = request.origin
        self.outlives_cell = request.outlives_cell
        self._task = task
        self._make_result = make_result
        self._lock = threading.Lock()
        self._observers: dict[object, Callable[[MapRun], None]] = {}
        self._ending: dict[object, Callable[[], None]] = {}
        self._cancel: Callable[[], None] = lambda: None
        self._phase = Phase.QUEUED
        self._version = 0
        self._started, self._ended = time.monotonic(), 0.0
        self.error: ClaudeError | None = None

    def start(
        self,
        journal: Journal,
        number: int,
        spawn: Callable[..., Callable[[], None]],
        make_engine: Callable[..., MapEngine] = OnlineEngine,
    ) -> None:
        """Begin to ask.

        Args:
            journal: Where answers are kept. It is closed at the end.
            number: The run's number in it.
            spawn: `Runtime.spawn`, but for its work and `on_end`.
            make_engine: Makes what asks, as `OnlineEngine` does.
        """

        async def work(client: ClaudeClient, make_accountant: Callable[[], TurnAccountant]) -> None:
            engine = make_engine(self._task, client, make_accountant, self.note)
            writer = AnswerWriter(journal, number, on_change=self.note, on_failure=engine.stop)
            try:
                await engine.run(writer)
            finally:
                # In this order: what was answered is written, then counted, then the run has ended.
                await asyncio.shield(writer.close())
                self.note()
            if engine.error is not None:  # the last of them could not be written
                raise engine.error

        def on_end(task: asyncio.Task[None]) -> None:
            failure = None if task.cancelled() else task.exception()
            if failure is not None:
                self._end(Phase.FAILED, fault(failure).with_traceback(None), journal, number)
            else:
                phase = Phase.CANCELLED if task.cancelled() else Phase.COMPLETE
                self._end(phase, None, journal, number)

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
            tokens_in=results.tokens_in,
            tokens_out=results.tokens_out,
            cost=results.cost,
            elapsed=(self._ended or time.monotonic()) - self._started,
            first=tuple(results.first),
            error=self.error,
            is_simulated=results.is_simulated,
            waiting=results.waiting,
            batches=results.batches,
            recorded_on=results.recorded_on,
            remarks=tuple(results.remarks),
            unasked=self._task.unasked,
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
        self.wait(timeout)
        return self.so_far()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all rows have been asked; arguments and errors as for `result`."""
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

    def note(self) -> None:
        """Note that something has changed; on the bridge."""
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
            Runs(journal).end(
                number, state=states.get(phase, "failed"), failed=len(self._task.results.problems)
            )
        journal.close()
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
