"""A run of a map: its work, its results, and the handle that shows, stops and awaits it. Both engines, online and in batches, share it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol

from .._observers import Observers
from .._tracebacks import short_errors
from ..client import APIError, ClaudeClient, ClaudeError, ConfigurationError, Message, MessageRequest, counted
from ..runtime import Phase, TurnAccountant
from ..schema import AnswerError
from ._batch_notes import list_batches
from ._journal import Answer, AnswerWriter, Journal
from ._requests import MapRequest, RowJob

_MAX_FIRST: Final = 5


@dataclass(kw_only=True)
class Totals:
    """The totals of a run.

    Attributes:
        known: Requests that the journal already answered.
        answered: Requests answered by this run.
        tokens_in: Input tokens of this run's answers.
        tokens_out: Output tokens of this run's answers.
        cost: Cost of this run's answers in USD; None if unknown.
        unconfirmed: What may be billed in addition for attempts that broke off, in USD.
        first: The first answers of this run, as pairs of row and text.
        is_simulated: A simulator answered.
        waiting: What the run is waiting for, as one line; empty if nothing.
        held_back: Why fewer rows run at once than the server allows, as one line; empty if they do not.
        batches: Ids of the batches that the run is waiting for.
        ended_batches: Ids of those that have ended at the server, as of the last check.
        recorded_on: Date of the oldest recording (YYYY-MM-DD) if all answers of this run are in the cassette; "" if some are not; None
            before the first.
        remarks: Remarks about the content, the options and the cassette, as sentences.
    """

    known: int = 0
    answered: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0
    unconfirmed: float = 0.0
    first: tuple[tuple[int, str], ...] = ()
    is_simulated: bool = False
    waiting: str = ""
    held_back: str = ""
    batches: tuple[str, ...] = ()
    ended_batches: tuple[str, ...] = ()
    recorded_on: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def running_batches(self) -> tuple[str, ...]:
        """Ids of the batches that the run is waiting for, and that had not ended at the last check."""
        return tuple(each for each in self.batches if each not in self.ended_batches)

    def describe_batches(self) -> str:
        """Return where the batches are that the run is waiting for, as a sentence without its end."""
        running, ended = self.running_batches, self.ended_batches
        parts = []
        if ended:
            have = "has ended" if len(ended) == 1 else "have ended"
            parts.append(f"{list_batches(ended)} {have}{'' if running else ' at the server'}")
        if running:
            parts.append(f"{list_batches(running)} {'goes' if len(running) == 1 else 'go'} on at the server")
        return "; ".join(parts)


@dataclass(kw_only=True)
class Results(Totals):
    """The answers and totals of a run. One thread writes them; any thread may read them.

    Attributes:
        texts: Answer by number of the distinct request, or None.
        problems: Reasons for missing answers, by number of the request.
        unkept: Number of the requests answered by this run whose answers could not be written.
        batch_by_key: Id of the batch that a request is in, by key.
    """

    texts: list[str | None] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    unkept: int = 0
    batch_by_key: dict[bytes, str] = field(default_factory=dict)

    def open_reason(self, key: bytes) -> str:
        """Return the reason why the request with this key has neither an answer nor a problem."""
        batch = self.batch_by_key.get(key)
        if batch in self.ended_batches:
            return f"no answer yet: it was not in what was read of the results of {batch}"
        if batch in self.batches:
            return f"no answer yet: {batch} had not ended when the map was stopped"
        return "not asked: the map was stopped before this row"

    def add_batch(self, batch: str, keys: Iterable[bytes]) -> None:
        """Add a batch that the run is waiting for.

        Args:
            batch: Its id.
            keys: Keys of its requests.
        """
        self.batch_by_key.update(dict.fromkeys(keys, batch))
        self.batches = (*self.batches, batch)

    def is_open(self, index: int) -> bool:
        """Whether a request has neither an answer nor a problem."""
        return self.texts[index] is None and index not in self.problems

    def load(self, index: int, answer: Answer) -> None:
        """Store an answer that was in the journal already."""
        self._store(index, answer)
        self.known += answer.problem is None

    def add(self, index: int, row: int, answer: Answer) -> None:
        """Store an answer of this run, and add it to the totals."""
        self._store(index, answer)
        self.answered += answer.problem is None
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out
        self.cost = None if answer.cost is None or self.cost is None else self.cost + answer.cost
        self.is_simulated |= answer.is_simulated
        if len(self.first) < _MAX_FIRST and answer.problem is None:
            self.first += ((row, answer.text),)

    def add_remarks(self, remarks: Iterable[str]) -> None:
        """Add remarks, each once."""
        self.remarks = tuple(dict.fromkeys((*self.remarks, *remarks)))

    def _store(self, index: int, answer: Answer) -> None:
        """Store the text of an answer, or its problem."""
        self.problems.pop(index, None)
        if answer.problem is None:
            self.texts[index] = answer.text
        else:
            self.problems[index] = answer.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The work of an engine.

    Attributes:
        request: Arguments of the map.
        template: Request without messages, common to all rows.
        feed: Function that returns the next jobs; an empty list at the end. Called on a worker thread, as it runs the user's expressions.
        rebuild: Function that rebuilds a job from the number of the request and its place. Called on a worker thread, too.
        results: Answers and totals of the run.
        journal: Journal of the answers. It is closed at the end of the run.
        run: Number of the run in the journal.
        rows: Number of rows, times the draws of each.
        unasked: Rows that cannot be sent: a value is null, or an expression fails.
        expected_cost: Estimated cost of one request in USD; 0 if its model has no known price.
        warms_cache: Send one request before the others, to cache the shared prefix.
        asks_again: Retry requests that failed for a temporary reason once, after all others.
    """

    request: MapRequest
    template: MessageRequest
    feed: Callable[[], Sequence[RowJob]]
    rebuild: Callable[[int, int], RowJob]
    results: Results
    journal: Journal
    run: int
    rows: int
    unasked: int = 0
    expected_cost: float = 0.0
    warms_cache: bool = False
    asks_again: bool = True


class MapEngine(Protocol):
    """An engine that sends the requests of a task on the bridge's event loop."""

    @property
    def error(self) -> ClaudeError | None:
        """The error that stopped the engine, or None."""
        ...

    async def run(self, writer: AnswerWriter) -> None:
        """Send all requests, and pass the answers to `writer`."""
        ...

    def stop(self, error: ClaudeError) -> None:
        """Stop sending, because of `error`."""
        ...


class MapStoppedError(ClaudeError):
    """A map ended before all rows were asked. Answers received so far are kept; running the same map again asks only the rest.

    Attributes:
        result: The partial result, in the form of a complete one. Rows that were not asked are null, with the reason in the error column.
    """

    result: Any = None


@dataclass(kw_only=True)
class MapSnapshot(Totals):
    """The state of a map at one moment, with a copy of its totals.

    Attributes:
        phase: QUEUED before the first change, then STREAMING, and finally COMPLETE, CANCELLED or FAILED.
        version: Counter that grows with each change.
        model: Full name of the model.
        rows: Number of rows, times the draws of each.
        requests: Number of distinct requests.
        failed: Requests without a usable answer, from this run or from the journal.
        unasked: Rows that cannot be sent: a value is null, or an expression fails.
        elapsed: Duration of the run so far, in seconds.
        error: Error that ended the run, or None.
    """

    phase: Phase
    version: int
    model: str
    rows: int
    requests: int
    failed: int
    unasked: int
    elapsed: float
    error: ClaudeError | None

    @property
    def done(self) -> int:
        """Number of finished requests, with or without an answer."""
        return self.known + self.answered + self.failed

    @property
    def state(self) -> str:
        """The state as one or two words, such as "runs" or "stopped"."""
        words = {Phase.COMPLETE: "done", Phase.CANCELLED: "stopped", Phase.FAILED: "not finished"}
        return words.get(self.phase, "runs")


class MapRun:
    """A running or finished map, as bound by `--map df --bg -o run`. `result()` waits for it; `cancel()` stops it. All methods are thread-safe.

    Answers are written to the journal as they arrive, so a stopped map loses none of them, and running it again asks only the rest.

    Args:
        task: Requests to send.
        make_result: Function that builds the result from the answers so far.
        again: Text for messages after "running the same line again": "", or options such as " with --replay auto" that
            are needed to ask only the rest. None if the answers are not kept.

    Attributes:
        prompt: The prompt template, as typed.
        origin: Short label of the caller, shown in lists of running requests.
        outlives_cell: The map runs independently of a cell, so interrupting a cell does not stop it.
        error: Error that ended the run, or None.
    """

    pending_calls = None
    """Always None: maps have no tools, so there are no tool calls to run while waiting."""

    def __init__(self, task: Task, make_result: Callable[[], Any], *, again: str | None) -> None:
        question = task.request.question
        self.prompt, self.origin = question.prompt, question.origin
        self.outlives_cell = question.outlives_cell
        self._task = task
        self._make_result = make_result
        self.again = again
        self._observers = Observers("a map")
        self._cancel: Callable[[], None] = lambda: None
        self._phase = Phase.QUEUED
        self._version = 0
        self._started, self._ended = time.monotonic(), 0.0
        self.error: ClaudeError | None = None

    def start(self, spawn: Callable[..., Callable[[], None]], make_engine: Callable[..., MapEngine]) -> None:
        """Start the engine in the background.

        Args:
            spawn: Function that starts a coroutine on the bridge, called with the work and `on_end`; returns a function that cancels it.
            make_engine: Factory of the engine, with the signature of `OnlineEngine`.
        """

        async def work(client: ClaudeClient, make_accountant: Callable[[], TurnAccountant]) -> None:
            engine = make_engine(self._task, client, make_accountant, self._on_change)
            writer = AnswerWriter(
                self._task.journal, self._task.run, on_change=self._on_change, on_failure=engine.stop
            )
            try:
                await engine.run(writer)
            finally:
                # In this order: answers are written, then counted, then the run ends.
                await asyncio.shield(writer.close())
                self._on_change()
            if engine.error is not None:  # the last answers could not be written
                raise engine.error

        def on_end(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                self._end(Phase.CANCELLED)
            elif (failure := task.exception()) is not None:
                self._end(Phase.FAILED, as_claude_error(failure).with_traceback(None))
            else:
                self._end(Phase.COMPLETE)

        self._cancel = spawn(work, on_end=on_end)

    # The interface shared with replies...

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    def done(self) -> bool:
        """Whether the map has ended."""
        return self._phase.is_final

    def cancel(self) -> None:
        """Stop the map. Answers received so far are kept; running the same map again asks only the rest."""
        self._cancel()

    def snapshot(self) -> MapSnapshot:
        """Return the current state and totals."""
        results = self._task.results
        return MapSnapshot(
            **{each.name: getattr(results, each.name) for each in fields(Totals)},
            phase=self._phase,
            version=self._version,
            model=self._task.template.model,
            rows=self._task.rows,
            requests=len(results.texts),
            failed=len(results.problems),
            unasked=self._task.unasked,
            elapsed=(self._ended or time.monotonic()) - self._started,
            error=self.error,
        )

    @short_errors
    def result(self, timeout: float | None = None) -> Any:
        """Wait until the map has ended, and return the input with the answers added.

        Args:
            timeout: Maximum time to wait in seconds; None for no limit.

        Returns:
            For a table or column, a table with answer columns and an error column. For a list or dict, a list or dict of answers, with an
            attribute `errors`. A missing answer is null.

        Raises:
            MapStoppedError: Not all rows were asked. Its `result` has the answers so far.
            TimeoutError: The map has not ended within `timeout`. It continues to run.
        """
        self.wait(timeout)
        return self.so_far()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the map has ended. Takes the arguments and raises the errors of `result`."""
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
        """Return the answers so far, in the form of `result`. Missing answers are null, with the reason in the error column."""
        return self._make_result()

    def check(self) -> None:
        """Raise an error if the map ended before all rows were asked.

        Raises:
            MapStoppedError: The map was stopped, or failed.
        """
        if self._phase is Phase.CANCELLED:
            raise self._stopped_error("The map was stopped.")
        if self.error is not None:
            raise self._stopped_error(in_one_line(self.error))

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once at the end of the map, on the bridge thread, or immediately if the map has ended.

        Returns:
            A function that removes the callback.
        """
        return self._observers.add_for_end(callback)

    def observe(self, callback: Callable[[MapRun], None]) -> Callable[[], None]:
        """Call `callback` with this map after each change, on the bridge thread.

        Returns:
            A function that removes the callback.
        """
        return self._observers.add(lambda: callback(self))

    def _on_change(self) -> None:
        """Update the phase and notify observers of a change. Call it on the bridge thread."""
        if self._phase is Phase.QUEUED:
            self._phase = Phase.STREAMING
        self._version += 1
        self._observers.notify()

    def how_to_continue(self, line: str = "the same line") -> str:
        """Return how to continue after a stop, as the rest of a sentence. `line` names the line or cell to run again."""
        results = self._task.results
        running = results.running_batches
        if self.again is None:
            return "there is no journal, so they are only in the `result` of this error: pass it to `claude.retry` to ask only the rest."
        if not results.batches:
            return f"running {line} again{self.again} asks only the rest."
        if not running:
            return f"{results.describe_batches()}: running {line} again fetches the rest of the answers."
        name, each = (running[0], "it") if len(running) == 1 else ("ID", "one of them")
        return (
            f"{results.describe_batches()}, nothing was cancelled: running {line} again waits for the answers, even tomorrow or in "
            f"another kernel. `%claude batches cancel {name}` cancels {each}."
        )

    def __repr__(self) -> str:
        snapshot = self.snapshot()
        return f"<MapRun {snapshot.phase.value}, {snapshot.done:,} of {snapshot.requests:,} requests>"

    def _stopped_error(self, why: str) -> MapStoppedError:
        snapshot = self.snapshot()
        unkept = self._task.results.unkept
        answered = (
            f"{snapshot.known + snapshot.answered - unkept:,} of {snapshot.requests:,} requests are answered"
        )
        error = MapStoppedError(
            f"{why} {answered}{'' if self.again is None else ' and kept'}; {self.how_to_continue()}"
            + (
                f" {counted(unkept, 'answer')} could not be kept, and only the result has them."
                if unkept
                else ""
            )
        )
        error.result = self.so_far()
        return error

    def _end(self, phase: Phase, error: ClaudeError | None = None) -> None:
        task, states = self._task, {Phase.COMPLETE: "done", Phase.CANCELLED: "stopped"}
        with contextlib.suppress(ClaudeError):  # such as a full disk; earlier answers are kept
            task.journal.end_run(
                task.run, state=states.get(phase, "failed"), failed=len(task.results.problems)
            )
        task.journal.close()
        # The phase last: other threads read the error once it is final.
        self.error, self._ended, self._phase = error, time.monotonic(), phase
        self._version += 1
        self._observers.end()


def problem_of(message: Message, task: Task) -> tuple[str | None, str | None]:
    """Return why a reply cannot be used, as a sentence, and how it violates the schema; at most one is not None."""
    if message.stop_reason == "max_tokens":
        return (
            f"The answer was cut at max_tokens ({task.template.max_tokens:,}). Raise it to ask again.",
            None,
        )
    if message.stop_reason == "refusal":
        return "Claude declined to answer this row.", None
    if message.stop_reason == "model_context_window_exceeded":
        return "The row fills the model's context window.", None
    if (schema := task.request.question.output_schema) is None:
        return (None if message.text.strip() else "The answer is empty."), None
    try:
        schema.parse(message.text)
    except AnswerError as error:
        problems = getattr(error, "problems", ()) or (str(error),)
        return None, "; ".join(problem.rstrip(".") for problem in problems[:5])
    return None, None


def in_one_line(error: ClaudeError) -> str:
    """Return an error as one line, for the error column."""
    kind = type(error).__name__
    text = " ".join(str(error).split())
    status = f" {error.status}" if isinstance(error, APIError) and error.status else ""
    return text if isinstance(error, ConfigurationError) else f"{kind}{status}: {text}"


def as_claude_error(failure: BaseException) -> ClaudeError:
    """Return a failure as a `ClaudeError`; any other exception is reported as a bug in claude_magic."""
    if isinstance(failure, ClaudeError):
        return failure
    return ClaudeError(
        f"The map failed because of a bug in claude_magic ({type(failure).__name__}: {failure}). Please report it."
    )
