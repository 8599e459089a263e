"""The engine of an online map: concurrent requests on the bridge, as many as the server and the limiter allow.

Each worker sends one request after another. The number of workers follows TCP congestion control: it doubles each round until the
first 429 or 529 (slow start), then grows by one each round, and falls to 70 % after each refusal. No worker is added while a request
waits for the limiter, because waiting requests of a map would only delay those of cells.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from ..client import (
    AnswerRecorded,
    APIError,
    AttemptFinished,
    AttemptStarted,
    BillingError,
    CassetteRemark,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    ForbiddenError,
    InvalidApiKeyError,
    LimiterWaiting,
    Message,
    MessageRequest,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ResponseStarted,
    as_sentence,
)
from ..runtime import BudgetExceededError, TurnAccountant, bill_of, format_usd, total
from ..schema import AnswerError, OutputSchema
from ._journal import Answer
from ._writer import AnswerWriter

MAX_IN_FLIGHT: Final = 200
"""Default maximum number of requests in flight."""
_INITIAL_LIMIT: Final = 8
_BACKOFF_FACTOR: Final = 0.7
_MIN_UTILISATION: Final = 0.8
"""Share of the current limit that must be in use before the limit grows."""
_MIN_QUEUED: Final = 128
"""Number of queued jobs below which more are read."""
_MAX_CONSECUTIVE_FAILURES: Final = 20
"""Number of consecutive failed rows after which the run stops."""
_MAX_FIRST: Final = 5
_BUDGET_INTERVAL: Final = 0.2
"""Seconds before a retry when the budget is reserved by requests of other processes."""

_CORRECTION: Final = "Your answer does not fit what was asked for: {problems}. Answer again, with the JSON object alone, and nothing before or after it."
_FATAL = (InvalidApiKeyError, ForbiddenError, BillingError, NotFoundError)
"""Errors that every other row would get, too."""


@dataclass(frozen=True, slots=True)
class RowJob:
    """One request to send.

    Attributes:
        index: Number of the distinct request.
        row: Place of its first occurrence among all draws of all rows.
        key: Key of the request in the journal.
        messages: Messages of the request.
        draw: Number of the draw, starting at 0.
    """

    index: int
    row: int
    key: bytes
    messages: list[dict[str, Any]]
    draw: int = 0


class Concurrency:
    """An adaptive limit on the number of requests in flight.

    Args:
        max_limit: Upper bound of the limit.
    """

    def __init__(self, max_limit: int = MAX_IN_FLIGHT) -> None:
        self.max_limit = max_limit
        self.limit = float(min(_INITIAL_LIMIT, max_limit))
        self._threshold = math.inf
        self._slowed_at = -math.inf

    def grow(self, in_flight: int) -> None:
        """Raise the limit after a success, if enough of it was in use.

        Args:
            in_flight: Requests in flight, including the one that succeeded.
        """
        if in_flight < _MIN_UTILISATION * math.floor(self.limit):
            return
        self.limit = min(
            float(self.max_limit), self.limit + (1.0 if self.limit < self._threshold else 1.0 / self.limit)
        )

    def shrink(self, sent_at: float, now: float) -> None:
        """Lower the limit after a 429 or 529. Requests sent before the last reduction are ignored, as the old limit applied to them.

        Args:
            sent_at: When the refused request was sent, by `time.monotonic()`.
            now: The current time, by the same clock.
        """
        if sent_at <= self._slowed_at:
            return
        self.limit = self._threshold = max(1.0, self.limit * _BACKOFF_FACTOR)
        self._slowed_at = now

    def cap(self, max_limit: int) -> None:
        """Lower the upper bound, because the budget does not cover the worst case of more requests."""
        self.max_limit = max(1, max_limit)
        self.limit = min(self.limit, float(self.max_limit))


class Results:
    """The answers and totals of a run. One thread writes them; any thread may read them.

    Args:
        requests: Number of distinct requests.

    Attributes:
        texts: Answer by number of the request, or None.
        problems: Reasons for missing answers, by number of the request.
        known: Requests that the journal already answered.
        answered: Requests answered by this run.
        unkept: Those of them whose answers could not be written.
        tokens_in: Input tokens of this run's answers.
        tokens_out: Output tokens of this run's answers.
        cost: Cost of this run's answers in USD; None if unknown.
        highest_cost: Cost of the most expensive answer in USD.
        first: The first answers of this run, as pairs of row and text.
        is_simulated: A simulator answered.
        waiting: What the run is waiting for, as one line; empty if nothing.
        batches: Ids of the batches that the run is waiting for.
        replayed_cost: Original cost in USD of the answers replayed from a cassette.
        recorded_on: Date of the oldest recording if all answers of this run are in the cassette; "" if some are not; None before the first.
        remarks: Remarks about the cassette, as sentences.
    """

    def __init__(self, requests: int) -> None:
        self.texts: list[str | None] = [None] * requests
        self.problems: dict[int, str] = {}
        self.known = self.answered = self.unkept = self.tokens_in = self.tokens_out = 0
        self.cost: float | None = 0.0
        self.highest_cost = 0.0
        self.first: list[tuple[int, str]] = []
        self.is_simulated = False
        self.waiting = ""
        self.batches: tuple[str, ...] = ()
        self.replayed_cost = 0.0
        self.recorded_on: str | None = None
        self.remarks: dict[str, None] = {}

    @property
    def open_reason(self) -> str:
        """The reason why a request has neither an answer nor a problem."""
        if self.batches:
            return f"no answer yet: {', '.join(self.batches[:3])} had not ended when the map was stopped"
        return "not asked: the map was stopped before this row"

    def is_open(self, index: int) -> bool:
        """Whether a request has neither an answer nor a problem."""
        return self.texts[index] is None and index not in self.problems

    def take(self, index: int, answer: Answer) -> None:
        """Store a durable answer: its text, or its problem."""
        if answer.problem is None:
            self.texts[index] = answer.text
        else:
            self.problems[index] = answer.problem

    def count(self, row: int, answer: Answer) -> None:
        """Add an answer of this run to the totals."""
        self.answered += answer.problem is None
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out
        self.cost = None if answer.cost is None or self.cost is None else self.cost + answer.cost
        self.highest_cost = max(self.highest_cost, answer.cost or 0.0)
        self.is_simulated |= answer.is_simulated
        if len(self.first) < _MAX_FIRST and answer.problem is None:
            self.first.append((row, answer.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The work of an engine.

    Attributes:
        request: Request without messages, common to all rows.
        schema: Schema that each answer must fit, or None.
        feed: Function that returns the next jobs; an empty list at the end. Called on a worker thread, as it runs the user's expressions.
        rebuild: Function that rebuilds a job from the number of the request and its place.
        results: Answers and totals of the run.
        rows: Number of rows, times the draws of each.
        unasked: Rows that cannot be sent: a value is null, or an expression fails.
        max_in_flight: Maximum number of requests in flight.
        max_cost: Maximum cost of the run in USD, or None.
        warms_cache: Send one request before the others, to cache the shared prefix.
        asks_again: Send requests that failed for a passing reason once more, after the others.
    """

    request: MessageRequest
    schema: OutputSchema | None
    feed: Callable[[], Sequence[RowJob]]
    rebuild: Callable[[int, int], RowJob]
    results: Results
    rows: int
    unasked: int = 0
    max_in_flight: int = MAX_IN_FLIGHT
    max_cost: float | None = None
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


class _Worker:
    """A worker that sends one request after another, and observes their attempts."""

    def __init__(self, engine: OnlineEngine, accountant: TurnAccountant) -> None:
        self._engine = engine
        self._sent_at = 0.0
        self.accountant = accountant
        self.is_waiting = False
        self.request_id: str | None = None
        self.recorded: AnswerRecorded | None = None

    def note(self, event: ClientEvent) -> None:
        """Handle an event of the request in flight."""
        self.accountant.note(event)
        if isinstance(event, LimiterWaiting):
            self.is_waiting = True
        elif isinstance(event, AttemptStarted):
            self.is_waiting = False
            self._sent_at = time.monotonic()
        elif isinstance(event, ResponseStarted):
            self.request_id = event.request_id
        elif isinstance(event, AnswerRecorded):
            self.recorded, self.request_id = event, event.request_id
        elif isinstance(event, CassetteRemark):
            self._engine.results.remarks[event.text] = None
        elif isinstance(event, AttemptFinished) and isinstance(event.error, RateLimitError | OverloadedError):
            self._engine.concurrency.shrink(self._sent_at, time.monotonic())


class OnlineEngine:
    """The engine of an online run. It runs on the bridge's event loop.

    Args:
        task: Requests to send.
        client: Client that sends them.
        make_accountant: Factory of the accountants, one for each worker, that admit requests and book their cost.
        on_change: Called after each change.
    """

    def __init__(
        self,
        task: Task,
        client: ClaudeClient,
        make_accountant: Callable[[], TurnAccountant],
        on_change: Callable[[], None],
    ) -> None:
        self.concurrency = Concurrency(task.max_in_flight)
        self.results = task.results
        self._task = task
        self._client = client
        self._make_accountant = make_accountant
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[RowJob] = deque()
        self._is_exhausted = False
        self._feeding: asyncio.Task[None] | None = None
        self._workers: dict[asyncio.Task[None], _Worker] = {}
        self._deferred: list[tuple[int, int]] = []
        self._may_defer = task.asks_again
        self._failures = 0
        self._in_flight = self._active = 0
        self.error: ClaudeError | None = None
        """Error that stopped the engine, or None."""

    async def run(self, writer: AnswerWriter) -> None:
        """Send all jobs.

        Raises:
            ClaudeError: The run stopped before all jobs were sent.
        """
        self._writer = writer
        try:
            if self._task.warms_cache and (job := await self._next_job()) is not None:
                await self._answer(job, _Worker(self, self._make_accountant()))
            await self._drain()
            if self._deferred and self.error is None:
                self._may_defer = False
                self._jobs.extend(self._task.rebuild(index, row) for index, row in self._deferred)
                await self._drain()
        finally:
            if self._feeding is not None:
                self._feeding.cancel()
            for worker in self._workers:
                worker.cancel()
            if self._workers:
                await asyncio.wait(self._workers)
        if self.error is not None:
            raise self.error

    def stop(self, error: ClaudeError) -> None:
        """Send no more requests; those in flight are completed."""
        if self.error is None:
            self.error = error

    # Workers...

    async def _drain(self) -> None:
        """Run workers until no job is left, then wait for those still running."""
        while self.error is None and (self._jobs or not self._is_exhausted or self._feeding is not None):
            self._add_workers()
            await self._collect(asyncio.FIRST_COMPLETED)
        await self._collect(asyncio.ALL_COMPLETED)

    async def _collect(self, when: str) -> None:
        if self._workers:
            done, _ = await asyncio.wait(self._workers, return_when=when)
            for worker in done:
                del self._workers[worker]
                worker.result()

    def _add_workers(self) -> None:
        if self._active >= math.floor(self.concurrency.limit):
            return
        waiting = sum(worker.is_waiting for worker in self._workers.values())
        while self._active < math.floor(self.concurrency.limit) and not (waiting and self._active):
            worker = _Worker(self, self._make_accountant())
            self._active += 1
            self._workers[self._loop.create_task(self._work(worker))] = worker

    async def _work(self, worker: _Worker) -> None:
        try:
            while self.error is None and self._active <= math.floor(self.concurrency.limit):
                job = await self._next_job()
                if job is None or not await self._answer(job, worker):
                    return
                await self._writer.wait_for_room()
        finally:
            # Decrement before the next worker checks the limit; otherwise all of them would leave when one is too many.
            self._active -= 1

    async def _next_job(self) -> RowJob | None:
        while not self._jobs and not (self._is_exhausted and self._feeding is None):
            await asyncio.shield(self._start_feeding())
        if len(self._jobs) < _MIN_QUEUED and not self._is_exhausted and self._feeding is None:
            self._start_feeding()
        return self._jobs.popleft() if self._jobs and self.error is None else None

    def _start_feeding(self) -> asyncio.Task[None]:
        if self._feeding is None:
            self._feeding = self._loop.create_task(self._feed())
        return self._feeding

    async def _feed(self) -> None:
        """Read more jobs. `_feeding` is reset before the task is done, so nothing waits for a finished task."""
        try:
            jobs = await self._loop.run_in_executor(None, self._task.feed)
            self._is_exhausted = not jobs
            self._jobs.extend(jobs)
        except Exception as failure:  # an error in the user's expressions or table
            self._is_exhausted = True
            self.stop(as_claude_error(failure))
        finally:
            self._feeding = None

    # One job...

    async def _answer(self, job: RowJob, worker: _Worker) -> bool:
        """Send one job and store the answer. Return False if the worker should stop."""
        try:
            answer = await self._ask(job, worker)
        except BudgetExceededError as error:
            self._jobs.appendleft(job)
            if self._in_flight:
                self.concurrency.cap(self._in_flight)
            elif error.is_passing:
                await asyncio.sleep(_BUDGET_INTERVAL)
                return True
            else:
                self.stop(error)
            return False
        except ClaudeError as error:
            self._fail(job, error.with_traceback(None))
            return True
        self._failures = 0
        self.concurrency.grow(self._in_flight + 1)
        self._add_workers()
        self._writer.put(answer, partial(self._count, job), on_lost=partial(self._count_unkept, job))
        return True

    def _count(self, job: RowJob, answer: Answer) -> None:
        """Store and count an answer that has become durable."""
        self.results.take(job.index, answer)
        self.results.count(job.row, answer)

    def _count_unkept(self, job: RowJob, answer: Answer) -> None:
        """Store and count an answer that could not be written. It is paid for, so the result of this run has it."""
        self.results.unkept += answer.problem is None
        self._count(job, answer)

    async def _ask(self, job: RowJob, worker: _Worker) -> Answer:
        """Send a request; if the answer does not fit the schema, send it a second time with the validation errors."""
        request = self._task.request.model_copy(update={"messages": job.messages, "draw": job.draw})
        message, cost = await self._send(request, worker, job.key)
        problem, mismatch = problem_of(message, self._task)
        usage = message.usage
        if mismatch is not None:
            turns = list(job.messages)
            if message.text.strip():
                correction = {"role": "user", "content": _CORRECTION.format(problems=mismatch)}
                turns += [{"role": "assistant", "content": message.text}, correction]
            second = request.model_copy(update={"messages": turns})
            message, more = await self._send(second, worker)
            problem, mismatch = problem_of(message, self._task)
            if mismatch is not None:
                problem = (
                    f"Claude's answer does not fit the schema, even when asked again: {as_sentence(mismatch)}"
                )
            usage, cost = usage + message.usage, total((cost, more))
        return Answer(
            key=job.key,
            text=message.text,
            problem=problem,
            model=message.model or request.model,
            request_id=worker.request_id,
            tokens_in=usage.total_input_tokens,
            tokens_out=usage.output_tokens,
            cost=cost,
            is_simulated=worker.accountant.is_simulated
            if worker.recorded is None
            else worker.recorded.is_simulated,
        )

    async def _send(
        self, request: MessageRequest, worker: _Worker, key: bytes | None = None
    ) -> tuple[Message, float | None]:
        """Send one request, and return its reply and cost in USD."""
        self._check_cost()
        await worker.accountant.admit(self._client, request, key=key)
        self._in_flight += 1
        worker.recorded = None
        message: Message | None = None
        try:
            message = await self._client.send_message(request, observer=worker.note)
        except ClaudeError as error:
            message = error.partial
            raise
        finally:
            self._in_flight -= 1
            worker.is_waiting = False
            bill = worker.accountant.finish(message)
            is_replay = worker.recorded is not None and worker.recorded.is_replay
            if is_replay and message is not None:
                bill = bill_of(message, asked=request.model)  # the original cost
            cost = total(line.cost for line in bill) if bill else None
        self._count_recorded(worker.recorded, cost or 0.0)
        return message, cost

    def _count_recorded(self, recorded: AnswerRecorded | None, cost: float) -> None:
        results = self.results
        day = "" if recorded is None else recorded.recorded_at[:10]
        # "" sorts before any date, so a single answer that is not recorded makes the minimum "".
        results.recorded_on = day if results.recorded_on is None else min(results.recorded_on, day)
        results.replayed_cost += cost if recorded is not None and recorded.is_replay else 0.0

    def _check_cost(self) -> None:
        """Check that one more request stays within `max_cost`, if it costs at most as much as the most expensive answer so far.

        Raises:
            BudgetExceededError: The request could exceed `max_cost`.
        """
        results, max_cost = self.results, self._task.max_cost
        if max_cost is None:
            return
        spent = max(0.0, (results.cost or 0.0) - results.replayed_cost)
        in_flight = (self._in_flight + len(self._writer) + 1) * results.highest_cost
        if spent + in_flight > max_cost:
            raise BudgetExceededError(
                f"max_cost is {format_usd(max_cost)}, {format_usd(spent)} are spent, and the next row could pass it. Raise max_cost."
            )

    def _fail(self, job: RowJob, error: ClaudeError) -> None:
        """Record a failed row; stop the run if every other row would fail, too."""
        self._failures += 1
        applies_to_all = isinstance(error, _FATAL) or (
            isinstance(error, RateLimitError) and _applies_to_all(error)
        )
        if applies_to_all or self._failures >= max(_MAX_CONSECUTIVE_FAILURES, 2 * len(self._workers)):
            self.stop(error)
        if error.is_transient and self._may_defer and self.error is None:
            self._deferred.append((job.index, job.row))
            return
        self.results.problems[job.index] = in_one_line(error)
        self._on_change()


def problem_of(message: Message, task: Task) -> tuple[str | None, str | None]:
    """Return why a reply cannot be used, as a sentence, and how it violates the schema; at least one of them is None."""
    if message.stop_reason == "max_tokens":
        return f"The answer was cut at max_tokens ({task.request.max_tokens:,}). Raise it to ask again.", None
    if message.stop_reason == "refusal":
        return "Claude declined to answer this row.", None
    if message.stop_reason == "model_context_window_exceeded":
        return "The row fills the model's context window.", None
    if task.schema is None:
        return (None if message.text.strip() else "The answer is empty."), None
    try:
        task.schema.parse(message.text)
    except AnswerError as error:
        problems = getattr(error, "problems", ()) or (str(error),)
        return None, "; ".join(problem.rstrip(".") for problem in problems[:5])
    return None, None


def _applies_to_all(error: RateLimitError) -> bool:
    """Whether a 429 applies to all rows: a spend limit is reached, or the client made no attempt."""
    return error.is_spend_cap or error.attempts == 0


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
