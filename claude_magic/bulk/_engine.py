"""The engine of a map: many requests at once on the bridge, as many as server and limiter take, each answer kept as it comes.

Its workers each send one request after the other. How many there are follows what happens, as a TCP connection does: twice as
many after each round while all goes well (slow start), one more a round after the first refusal, and seven tenths of them after
each refusal. Nobody is added while a request waits for the limiter: in its line a map would only stand before the cells.
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

MOST_AT_ONCE: Final = 200
"""Requests in flight at most, where the caller does not say."""
_BEGIN: Final = 8
_SLOWER: Final = 0.7
_IN_USE: Final = 0.8
"""Share of the present bound that must be in use before it grows."""
_FEW_JOBS: Final = 128
"""Jobs in store below which more are read."""
_FAILURES_IN_A_ROW: Final = 20
"""Rows that fail one after the other, none succeeding, from which on the rest is not asked."""
_SHOWN_FIRST: Final = 5
_BUDGET_INTERVAL: Final = 0.2
"""Seconds until a request is tried again for which the budget has no room while those of other processes are in flight."""

_COMPLAINT: Final = "Your answer does not fit what was asked for: {problems}. Answer again, with the JSON object alone, and nothing before or after it."
_FATAL = (InvalidApiKeyError, ForbiddenError, BillingError, NotFoundError)
"""What every row would be told."""


@dataclass(frozen=True, slots=True)
class RowJob:
    """One request that is to be answered.

    Attributes:
        index: Its number among the distinct requests.
        row: The first row that asks it.
        key: Its key.
        messages: What is asked.
        draw: Tells several draws of one row apart.
    """

    index: int
    row: int
    key: bytes
    messages: list[dict[str, Any]]
    draw: int = 0


class Concurrency:
    """How many requests may be in flight.

    Args:
        most: Never more than these.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self.most = most
        self.limit = float(min(_BEGIN, most))
        self._threshold = math.inf
        self._slowed_at = -math.inf

    def grow(self, in_flight: int) -> None:
        """A request succeeded, while so many were in flight, itself included."""
        if in_flight < _IN_USE * math.floor(self.limit):
            return
        self.limit = min(
            float(self.most), self.limit + (1.0 if self.limit < self._threshold else 1.0 / self.limit)
        )

    def shrink(self, sent_at: float, now: float) -> None:
        """A request was refused. Of those that were sent before the last one was, none counts: they were sent under the old bound."""
        if sent_at <= self._slowed_at:
            return
        self.limit = self._threshold = max(1.0, self.limit * _SLOWER)
        self._slowed_at = now

    def cap(self, most: int) -> None:
        """Allow no more than these from now on: the budget has no room for the worst case of others."""
        self.most = max(1, most)
        self.limit = min(self.limit, float(self.most))


class Results:
    """What is known of each distinct request, and the numbers to show. Written on one thread, read by any.

    Args:
        requests: How many distinct requests there are.

    Attributes:
        texts: The answer of each, or None.
        problems: Why there is none, by request.
        waiting: What is waited for, as a line; empty if nothing is.
        batches: Batches at the server that are waited for.
        replayed_cost: USD that the answers cost once that came from a cassette.
        recorded_on: The first day on which one was recorded, where all answers of this run stand in the cassette; else "".
        remarks: What a person should know of the cassette, as sentences.
    """

    def __init__(self, requests: int) -> None:
        self.texts: list[str | None] = [None] * requests
        self.problems: dict[int, str] = {}
        self.known = self.answered = self.tokens_in = self.tokens_out = 0
        self.cost: float | None = 0.0
        self.dearest = 0.0
        self.first: list[tuple[int, str]] = []
        self.is_simulated = False
        self.waiting = ""
        self.batches: tuple[str, ...] = ()
        self.replayed_cost = 0.0
        self.recorded_on: str | None = None
        self.remarks: dict[str, None] = {}

    @property
    def why_open(self) -> str:
        """Why a request has no answer that has no problem either."""
        if self.batches:
            return f"no answer yet: {', '.join(self.batches[:3])} had not ended when the map was stopped"
        return "not asked: the map was stopped before this row"

    def is_open(self, index: int) -> bool:
        """Whether a request has neither an answer nor a reason why there is none."""
        return self.texts[index] is None and index not in self.problems

    def take(self, index: int, answer: Answer) -> None:
        """Take an answer that is durable."""
        if answer.problem is None:
            self.texts[index] = answer.text
        else:
            self.problems[index] = answer.problem

    def count(self, row: int, answer: Answer) -> None:
        """Count an answer of this run."""
        self.answered += answer.problem is None
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out
        self.cost = None if answer.cost is None or self.cost is None else self.cost + answer.cost
        self.dearest = max(self.dearest, answer.cost or 0.0)
        self.is_simulated |= answer.is_simulated
        if len(self.first) < _SHOWN_FIRST and answer.problem is None:
            self.first.append((row, answer.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be done.

    Attributes:
        request: The request of all rows, but for its messages.
        schema: What an answer must fit, or None.
        feed: Returns the next jobs; none at the end. Called on a thread of its own, for it runs the user's expressions.
        again: Returns the job of a request and its row once more.
        results: Where the answers go.
        rows: Rows of the input.
        unasked: Those that cannot be asked: null values, expressions that fail.
        most: Requests in flight at most.
        max_cost: USD that the run may cost, or None.
        warms_cache: The rows share a part that is cached: one request goes first.
    """

    request: MessageRequest
    schema: OutputSchema | None
    feed: Callable[[], Sequence[RowJob]]
    again: Callable[[int, int], RowJob]
    results: Results
    rows: int
    unasked: int = 0
    most: int = MOST_AT_ONCE
    max_cost: float | None = None
    warms_cache: bool = False


class MapEngine(Protocol):
    """Asks what is to be asked, on the loop of the bridge."""

    @property
    def error(self) -> ClaudeError | None:
        """Why it asks no more, or None."""
        ...

    async def run(self, writer: AnswerWriter) -> None:
        """Ask, until there is nothing left."""
        ...

    def stop(self, error: ClaudeError) -> None:
        """Ask no more."""
        ...


class _Worker:
    """Sends one request after the other, and hears of their attempts."""

    def __init__(self, engine: OnlineEngine, accountant: TurnAccountant) -> None:
        self._engine = engine
        self._sent_at = 0.0
        self.accountant = accountant
        self.is_waiting = False
        self.request_id: str | None = None
        self.recorded: AnswerRecorded | None = None

    def note(self, event: ClientEvent) -> None:
        """Take note of a step of the request in flight."""
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
    """One run, on the loop of the bridge.

    Args:
        task: What is to be done.
        client: Sends the requests.
        make_accountant: Makes what admits and books them, for one request after the other.
        tell: Told of each change.
    """

    def __init__(
        self,
        task: Task,
        client: ClaudeClient,
        make_accountant: Callable[[], TurnAccountant],
        tell: Callable[[], None],
    ) -> None:
        self.concurrency = Concurrency(task.most)
        self.results = task.results
        self._task = task
        self._client = client
        self._make_accountant = make_accountant
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[RowJob] = deque()
        self._is_fed = False
        self._feeding: asyncio.Task[None] | None = None
        self._workers: dict[asyncio.Task[None], _Worker] = {}
        self._deferred: list[tuple[int, int]] = []
        self._is_second_time = False
        self._failures = 0
        self._in_flight = self._at_work = 0
        self.error: ClaudeError | None = None
        """Why it asks no more."""

    async def run(self, writer: AnswerWriter) -> None:
        """Ask all jobs.

        Raises:
            ClaudeError: Why the rest was not asked.
        """
        self._writer = writer
        try:
            if self._task.warms_cache and (job := await self._next_job()) is not None:
                await self._answer(job, _Worker(self, self._make_accountant()))
            await self._drain()
            if self._deferred and self.error is None:
                self._is_second_time = True
                self._jobs.extend(self._task.again(index, row) for index, row in self._deferred)
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
        """Ask no more; what is in flight comes to its end."""
        if self.error is None:
            self.error = error

    # Workers...

    async def _drain(self) -> None:
        """Let workers ask until nothing is left, and those that still ask come to their end."""
        while self.error is None and (self._jobs or not self._is_fed or self._feeding is not None):
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
        if self._at_work >= math.floor(self.concurrency.limit):
            return
        is_held = sum(worker.is_waiting for worker in self._workers.values())
        while self._at_work < math.floor(self.concurrency.limit) and not (is_held and self._at_work):
            worker = _Worker(self, self._make_accountant())
            self._at_work += 1
            self._workers[self._loop.create_task(self._work(worker))] = worker

    async def _work(self, worker: _Worker) -> None:
        try:
            while self.error is None and self._at_work <= math.floor(self.concurrency.limit):
                job = await self._next_job()
                if job is None or not await self._answer(job, worker):
                    return
                await self._writer.room()
        finally:
            # At once, before the next one looks: else all of them would leave where one is too many.
            self._at_work -= 1

    async def _next_job(self) -> RowJob | None:
        while not self._jobs and not (self._is_fed and self._feeding is None):
            await asyncio.shield(self._start_feeding())
        if len(self._jobs) < _FEW_JOBS and not self._is_fed and self._feeding is None:
            self._start_feeding()
        return self._jobs.popleft() if self._jobs and self.error is None else None

    def _start_feeding(self) -> asyncio.Task[None]:
        if self._feeding is None:
            self._feeding = self._loop.create_task(self._feed())
        return self._feeding

    async def _feed(self) -> None:
        """Read more jobs. What is read is there before the task is done, so nobody waits for one that has ended."""
        try:
            jobs = await self._loop.run_in_executor(None, self._task.feed)
            self._is_fed = not jobs
            self._jobs.extend(jobs)
        except Exception as failure:  # the user's expressions, or their table
            self._is_fed = True
            self.stop(fault(failure))
        finally:
            self._feeding = None

    # One job...

    async def _answer(self, job: RowJob, worker: _Worker) -> bool:
        """Ask one job, and keep what comes; False where its worker is not to go on."""
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
        self._writer.put(answer, partial(self._count, job))
        return True

    def _count(self, job: RowJob, answer: Answer) -> None:
        """Count an answer that is durable now."""
        self.results.take(job.index, answer)
        self.results.count(job.row, answer)

    async def _ask(self, job: RowJob, worker: _Worker) -> Answer:
        """Send a request, and once more with a complaint where the answer does not fit the schema."""
        request = self._task.request.model_copy(update={"messages": job.messages, "draw": job.draw})
        message, cost = await self._send(request, worker, job.key)
        problem, mismatch = problem_of(message, self._task)
        usage = message.usage
        if mismatch is not None:
            complaint = {"role": "user", "content": _COMPLAINT.format(problems=mismatch)}
            said = [{"role": "assistant", "content": message.text}, complaint] if message.text.strip() else []
            again = request.model_copy(update={"messages": [*job.messages, *said]})
            message, more = await self._send(again, worker)
            problem, mismatch = problem_of(message, self._task)
            if mismatch is not None:
                problem = (
                    f"Claude's answer does not fit the schema, also when asked again: {as_sentence(mismatch)}"
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
        """Send one request, and return its reply and price."""
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
                bill = bill_of(message, asked=request.model)  # what it cost once
            cost = total(line.cost for line in bill) if bill else None
        self._count_recorded(worker.recorded, cost or 0.0)
        return message, cost

    def _count_recorded(self, recorded: AnswerRecorded | None, cost: float) -> None:
        results = self.results
        day = "" if recorded is None else recorded.recorded_at[:10]
        # The empty text is the least: one that does not stand there is enough.
        results.recorded_on = day if results.recorded_on is None else min(results.recorded_on, day)
        results.replayed_cost += cost if recorded is not None and recorded.is_replay else 0.0

    def _check_cost(self) -> None:
        """Refuse what could pass `max_cost`, as far as the answers so far tell what one costs at most.

        Raises:
            BudgetExceededError: It could.
        """
        results, most = self.results, self._task.max_cost
        if most is None:
            return
        spent = max(0.0, (results.cost or 0.0) - results.replayed_cost)
        in_flight = (self._in_flight + len(self._writer) + 1) * results.dearest
        if spent + in_flight > most:
            raise BudgetExceededError(
                f"max_cost is {format_usd(most)}, {format_usd(spent)} are spent, and the next row could pass it. Raise max_cost."
            )

    def _fail(self, job: RowJob, error: ClaudeError) -> None:
        """Note that a row has no answer; end the run where every other would fail alike."""
        self._failures += 1
        is_for_all = isinstance(error, _FATAL) or (
            isinstance(error, RateLimitError) and _holds_for_all(error)
        )
        if is_for_all or self._failures >= max(_FAILURES_IN_A_ROW, 2 * len(self._workers)):
            self.stop(error)
        if error.is_transient and not self._is_second_time and self.error is None:
            self._deferred.append((job.index, job.row))
            return
        self.results.problems[job.index] = in_one_line(error)
        self._tell()


def problem_of(message: Message, task: Task) -> tuple[str | None, str | None]:
    """Return why a reply is no answer, as a sentence, or None; and apart from that how it does not fit the schema."""
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


def _holds_for_all(error: RateLimitError) -> bool:
    """Whether a 429 says that waiting minutes does not help: the money is spent, or nothing was sent for the time being."""
    return error.is_spend_cap or error.attempts == 0


def in_one_line(error: ClaudeError) -> str:
    """Return an error as the column of errors holds it."""
    kind = type(error).__name__
    text = " ".join(str(error).split())
    status = f" {error.status}" if isinstance(error, APIError) and error.status else ""
    return text if isinstance(error, ConfigurationError) else f"{kind}{status}: {text}"


def fault(failure: BaseException) -> ClaudeError:
    """Return the error that ends a map: what was raised, or where that is a fault of ours, one that says so."""
    if isinstance(failure, ClaudeError):
        return failure
    return ClaudeError(
        f"The map failed because of a bug in claude_magic ({type(failure).__name__}: {failure}). Please report it."
    )
