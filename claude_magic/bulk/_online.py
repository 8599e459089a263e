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
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from ..client import (
    AnswerRecorded,
    AttemptFinished,
    AttemptStarted,
    BillingError,
    CassetteRemark,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
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
from ..runtime import BudgetExceededError, TurnAccountant, bill_of, format_usd, total, worst_case
from ._journal import Answer, AnswerWriter
from ._requests import RowJob
from ._run import Task, as_claude_error, in_one_line, problem_of

_MAX_IN_FLIGHT: Final = 200
"""Default maximum number of requests in flight."""
_INITIAL_LIMIT: Final = 8
_BACKOFF_FACTOR: Final = 0.7
_MIN_UTILISATION: Final = 0.8
"""Fraction of the current limit that must be in use before the limit grows."""
_MIN_QUEUED: Final = 128
"""Number of queued jobs below which more are read."""
_MAX_CONSECUTIVE_FAILURES: Final = 20
"""Number of consecutive failed rows after which the run stops."""


_BUDGET_INTERVAL: Final = 0.2
"""Seconds before a retry when the budget is reserved by requests of other processes."""

_HELD_BACK: Final = "waiting for room in the budget; a smaller --max-tokens lets more rows run at once"
_CORRECTION: Final = "Your answer does not fit what was asked for: {problems}. Answer again, with the JSON object alone, and nothing before or after it."
_FATAL = (InvalidApiKeyError, ForbiddenError, BillingError, NotFoundError)
"""Errors that every other row would get, too."""


class Concurrency:
    """An adaptive limit on the number of requests in flight.

    Args:
        max_limit: Upper bound of the limit.
    """

    def __init__(self, max_limit: int) -> None:
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

    def hold(self, in_flight: int) -> None:
        """Lower the limit to the requests in flight, because one more does not fit into the budget or `max_cost`. It may grow again."""
        self.limit = min(self.limit, max(1.0, float(in_flight)))


class _Worker:
    """A worker that sends one request after another, and observes their attempts."""

    def __init__(self, engine: OnlineEngine, accountant: TurnAccountant) -> None:
        self._engine = engine
        self._sent_at = 0.0
        self.accountant = accountant
        self.is_waiting = False
        self.request_id: str | None = None
        self.recorded: AnswerRecorded | None = None

    def on_event(self, event: ClientEvent) -> None:
        """Handle an event of the request in flight."""
        self.accountant.on_event(event)
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
            self._engine.results.add_remarks([event.text])
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
        self.concurrency = Concurrency(task.request.concurrency or _MAX_IN_FLIGHT)
        self.results = task.results
        self._task = task
        self._client = client
        self._make_accountant = make_accountant
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._read = task.feed
        self._jobs: deque[RowJob] = deque()
        self._is_exhausted = False
        self._feeding: asyncio.Task[None] | None = None
        self._workers: dict[asyncio.Task[None], _Worker] = {}
        self._deferred: list[tuple[int, int]] = []
        self._may_defer = task.asks_again
        self._failures = 0
        self._in_flight = self._active = 0
        self._spent = self._highest_cost = 0.0
        self._held_at = 0
        """Requests in flight when the budget last had no room for another."""
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
                self._may_defer = self._is_exhausted = False
                deferred = iter(self._deferred)
                self._read = lambda: [self._task.rebuild(*found) for found in islice(deferred, _MIN_QUEUED)]
                await self._drain()
        finally:
            self.results.held_back = ""
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
        while self.error is None and (self._jobs or not self._is_exhausted):
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
        while not self._jobs and not self._is_exhausted:
            await asyncio.shield(self._start_feeding())
        if len(self._jobs) < _MIN_QUEUED and not self._is_exhausted:
            self._start_feeding()
        return self._jobs.popleft() if self._jobs and self.error is None else None

    def _start_feeding(self) -> asyncio.Task[None]:
        if self._feeding is None:
            self._feeding = self._loop.create_task(self._feed())
        return self._feeding

    async def _feed(self) -> None:
        """Read more jobs. `_feeding` is reset before the task is done, so nothing waits for a finished task."""
        try:
            # In the context of the caller, on which expressions may depend: decimals have a precision there.
            jobs = await asyncio.to_thread(self._read)
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
                self.concurrency.hold(self._in_flight)
            elif error.is_temporary:
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

    def _count(self, job: RowJob, answer: Answer, is_durable: bool) -> None:
        """Store and count an answer. One that could not be written is paid for, so the result of this run has it."""
        self.results.unkept += not is_durable and answer.problem is None
        self.results.add(job.index, job.row, answer)

    async def _ask(self, job: RowJob, worker: _Worker) -> Answer:
        """Send a request; if the answer does not fit the schema, send it a second time with the validation errors."""
        request = self._task.template.model_copy(update={"messages": job.messages, "draw": job.draw})
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
        try:
            await worker.accountant.admit(self._client, request, key=key)
        except BudgetExceededError:
            self._held_at, self.results.held_back = self._in_flight, _HELD_BACK
            self._on_change()
            raise
        self._in_flight += 1
        if self._in_flight > self._held_at or (self._is_exhausted and not self._jobs):
            self.results.held_back = ""
        worker.recorded = None
        message: Message | None = None
        try:
            if (max_cost := self._task.request.max_cost) is not None and worker.accountant.has_reservation:
                self._check_cost(request, max_cost)
            message = await self._client.send_message(request, observer=worker.on_event)
        except ClaudeError as error:
            message = error.partial
            raise
        finally:
            self._in_flight -= 1
            worker.is_waiting = False
            bill = worker.accountant.finish(message)
            is_replay = worker.recorded is not None and worker.recorded.is_replay
            if is_replay and message is not None:
                bill = bill_of(message, requested=request.model)  # the original cost
            cost = total(line.cost for line in bill) if bill else None
            self._spent += 0.0 if is_replay else cost or 0.0
            if (unconfirmed := worker.accountant.unconfirmed) > 0:
                self.results.unconfirmed += unconfirmed
                self.results.is_simulated |= worker.accountant.is_simulated
        self._highest_cost = max(self._highest_cost, cost or 0.0)
        self._count_recorded(worker.recorded)
        return message, cost

    def _count_recorded(self, recorded: AnswerRecorded | None) -> None:
        results = self.results
        day = "" if recorded is None else recorded.recorded_at[:10]
        # "" sorts before any date, so a single answer that is not recorded makes the minimum "".
        results.recorded_on = day if results.recorded_on is None else min(results.recorded_on, day)

    def _check_cost(self, request: MessageRequest, max_cost: float) -> None:
        """Check that the requests in flight, including this one, fit into the rest of `max_cost`.

        Each may cost as much as the most expensive answer so far; before the first answer, as much as the worst case of one attempt.
        If that is more than the rest, one request at a time is sent at its expected cost, until there is an answer.

        Raises:
            BudgetExceededError: The request does not fit.
        """
        rest, cost = max_cost - self._spent, self._highest_cost
        if not cost:
            worst = worst_case(request, None, attempts=1)
            cost = self._task.expected_cost
            if worst is not None and (self._in_flight > 1 or worst.per_attempt <= rest):
                cost = worst.per_attempt
        if self._in_flight * cost > rest:
            raise BudgetExceededError(
                f"max_cost is {format_usd(max_cost)}, {format_usd(self._spent)} are spent, and the next row could pass it: it may cost "
                f"{format_usd(cost)}. Raise max_cost."
            )

    def _fail(self, job: RowJob, error: ClaudeError) -> None:
        """Record a failed row; stop the run if every other row would fail, too."""
        self._failures += 1
        max_failures = max(_MAX_CONSECUTIVE_FAILURES, 2 * len(self._workers))
        if _applies_to_all(error) or self._failures >= max_failures:
            self.stop(error)
        if error.is_transient and self._may_defer and self.error is None:
            self._deferred.append((job.index, job.row))
            return
        self.results.problems[job.index] = in_one_line(error)
        self._on_change()


def _applies_to_all(error: ClaudeError) -> bool:
    """Whether every other row would fail, too: also if a spend limit is reached, or the client made no attempt because of a 429."""
    if isinstance(error, RateLimitError):
        return error.is_spend_cap or error.attempts == 0
    return isinstance(error, _FATAL)
