"""The engine of a map that uses message batches: half the price, and answers within 24 hours, even if the kernel ends in between.

Rows are claimed in the journal, sent as batches, polled, and their answers merged into the journal. Each step is durable before the next
one, so running the same map again, in any kernel, continues where it was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ..client import (
    MAX_BATCH_BYTES,
    MAX_BATCH_REQUESTS,
    APIError,
    BatchResult,
    ClaudeError,
    ConfigurationError,
    InvalidRequestError,
    Message,
    MessageBatch,
    NotFoundError,
    StreamInterruptedError,
    Usage,
    batch_params,
)
from ..render import counted
from ..runtime import BATCH_SHARE, BillLine, bill_of, total, worst_case
from ._batch_delivery import BatchContext, BatchRow, Delivery, in_thread
from ._batch_notes import BEAT, RESULTS_KEPT, BatchNote, is_sending, key_of, new_tag, now
from ._engine import RowJob, fault, in_one_line, problem_of
from ._journal import Answer
from ._writer import AnswerWriter

FIRST_LOOK: Final = 60.0
"""Seconds until the first poll of a new batch."""
LONGEST_WAIT: Final = 600.0
"""Maximum number of seconds between two polls, unless the server requests a longer wait."""
_FIRST_SIMULATED: Final = 1.0
"""The same as `FIRST_LOOK` for a simulator, which takes seconds."""
_SHARE_OF_AGE: Final = 0.25
"""Time to the next poll, as a share of the batch's age."""
_MOST_DOWNLOADS: Final = 3
"""Maximum number of complete downloads of results in which rows are missing."""
_AGAIN: Final = 5.0
"""Seconds until an interrupted download is retried; doubled after each failure."""

_TOO_LARGE: Final = 413
_MOST_TOO_LARGE: Final = 20
"""Number of batches with a single row rejected as too large, without a success in between, after which sending stops: size is not the cause."""
_NEARLY: Final = 0.05
"""Tolerance in seconds when comparing times."""
_OVERHEAD: Final = 1_000

_EXPIRED: Final = "The batch expired before this row's turn. Running the same line again asks it."
_CANCELLED: Final = "The batch was cancelled before this row's turn. Running the same line again asks it."
_MISSING: Final = "The results of the batch have no line for this row. Running the same line again asks it."
_UNREADABLE: Final = (
    "The server's answer to this row cannot be read, and may be paid for. claude.retry asks again."
)
_MERGED_ELSEWHERE: Final = "The batch had no answer for this row; another kernel has fetched the others. Running the same line again asks it."


_merging: set[str] = set()
"""Tags of the batches that this process is merging, so that each answer is booked once."""


async def sleep(seconds: float) -> None:
    """Wait between two polls."""
    await asyncio.sleep(seconds)


@dataclass(slots=True)
class _Chunk:
    """The rows of a batch that is being filled, up to `most` bytes."""

    most: float = math.inf
    rows: list[BatchRow] = field(default_factory=list)
    size: int = _OVERHEAD

    def has_room_for(self, row: BatchRow) -> bool:
        """Return whether a row fits; an empty chunk accepts any row."""
        fits = len(self.rows) < MAX_BATCH_REQUESTS and self.size + row.size <= min(MAX_BATCH_BYTES, self.most)
        return fits or not self.rows

    def add(self, row: BatchRow) -> None:
        """Add a row."""
        self.rows.append(row)
        self.size += row.size


class BatchEngine:
    """The engine of a run that uses batches, in place of `OnlineEngine`. It runs on the bridge's event loop.

    Args:
        context: Task, client and journal of the run.
        tell: Called after each change.
        find_places: Function that returns all unanswered requests: number and place, by key. Called on a worker thread.
    """

    def __init__(
        self,
        context: BatchContext,
        tell: Callable[[], None],
        find_places: Callable[[], dict[bytes, tuple[int, int]]],
    ) -> None:
        self._context = context
        self._delivery = Delivery(context)
        self._task = context.task
        self._notes = context.notes
        self._tell = tell
        self._find_places = find_places
        self._places: dict[bytes, tuple[int, int]] = {}
        self._watched: dict[str, BatchNote] = {}
        self._due: dict[str, tuple[float, float]] = {}
        self._why = ""
        self._most_bytes = math.inf
        self._too_large = 0
        self._refusal: ClaudeError | None = None
        self._stop: ClaudeError | None = None

    @property
    def error(self) -> ClaudeError | None:
        """The error that stopped sending or waiting, or None."""
        return self._stop or self._refusal

    async def run(self, writer: AnswerWriter) -> None:
        """Send the rows that are in no batch, wait for all batches with rows of this map, and merge their answers.

        Raises:
            ClaudeError: Sending or waiting stopped early. Batches already sent continue at the server.
        """
        self._writer = writer
        self._places = await in_thread(self._find_places)
        await self._watch_open()
        await self._submit(self._task.feed)
        while self._watched and self._stop is None:
            self._why = ""
            for note in tuple(self._watched.values()):
                if self._until_due(note.tag) <= _NEARLY:
                    seconds = await self._look(note)
                    self._due[note.tag] = now(), now() + seconds
            seconds = min(map(self._until_due, self._watched), default=0.0)
            if seconds > _NEARLY and self._stop is None:
                await self._wait(seconds)
        self._task.results.waiting = ""
        self._name_batches()
        if self.error is not None:
            raise self.error

    def stop(self, error: ClaudeError) -> None:
        """Stop waiting; the batches continue at the server."""
        if self._stop is None:
            self._stop = error

    # Sending...

    async def _submit(self, feed: Callable[[], Sequence[RowJob]]) -> None:
        """Claim and send the jobs that `feed` returns, except those already claimed by others."""
        chunk = _Chunk()

        def read() -> list[BatchRow] | None:
            jobs = feed()
            return self._make_rows(jobs) if jobs else None

        while self.error is None:
            try:
                rows = await in_thread(read)
            except Exception as failure:  # an error in the user's expressions or table
                self._refusal = fault(failure)
                return
            for row in rows or ():
                if not chunk.has_room_for(row):
                    await self._send(chunk.rows)
                    chunk = _Chunk(self._most_bytes)
                chunk.add(row)
            if rows is None:
                break
        if chunk.rows and self.error is None:
            await self._send(chunk.rows)

    def _make_rows(self, jobs: Sequence[RowJob]) -> list[BatchRow]:
        """Serialise jobs as rows of a batch. A request that batches do not support is a problem of its row."""
        rows = []
        for job in jobs:
            request = self._task.request.model_copy(update={"messages": job.messages})
            try:
                params = batch_params(request)
            except ConfigurationError as error:
                self._task.results.problems[job.index] = error.message
                continue
            rows.append(BatchRow(job.key, params, worst_case(request, None, attempts=1, share=BATCH_SHARE)))
        return rows

    async def _send(self, rows: Sequence[BatchRow]) -> None:
        """Claim and send the rows of a batch, except those claimed by others. If the server rejects it as too large, send it in halves."""
        waiting = [rows]
        while waiting and self.error is None:
            part, tag = waiting.pop(0), new_tag()
            with is_sending(tag):
                refused = await self._claim_and_send(tag, part)
            if refused is not None and len(part) > 1:
                self._most_bytes = min(self._most_bytes, _OVERHEAD + sum(row.size for row in part) / 2)
                waiting[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
            elif refused is not None:
                self._set_problem(part[0].key, f"Too large for a batch: {in_one_line(refused)}")
                self._too_large += 1
                self._refusal = refused if self._too_large >= _MOST_TOO_LARGE else None

    async def _claim_and_send(self, tag: str, rows: Sequence[BatchRow]) -> ClaudeError | None:
        """Claim rows and send them as one batch.

        Returns:
            The error if the server rejected the batch as too large; then no batch exists, and the rows are released. Otherwise None.
        """
        keys, context = [row.key for row in rows], self._context
        model = self._task.request.model
        mine = set(
            await in_thread(
                lambda: self._notes.claim(tag, context.run, keys, model=model, since=context.since)
            )
        )
        if len(mine) < len(keys):  # they are in a batch already, or another kernel claimed them first
            await self._watch_open()
            await self._take_known([key for key in keys if key not in mine])
        if not mine:
            return None
        self._task.results.waiting = f"sending {counted(len(mine), 'row')}"
        self._tell()
        try:
            await self._delivery.send(tag, [row for row in rows if row.key in mine])
        except ClaudeError as error:
            refusal = error.with_traceback(None)
            if isinstance(error, APIError) and error.status == _TOO_LARGE:
                return refusal
            self._refusal = self._refusal or refusal
        else:
            self._too_large = 0
            await self._watch_open()
        return None

    # Polling...

    def _until_due(self, tag: str) -> float:
        """Return the seconds until the next poll of a batch; 0 if the clock was set back, since the wait would grow by that time."""
        decided, due = self._due.get(tag, (0.0, 0.0))
        return due - now() if decided <= now() + _NEARLY else 0.0

    async def _wait(self, seconds: float) -> None:
        """Wait until the next poll, and report its time and the batches."""
        notes, results = tuple(self._watched.values()), self._task.results
        ids = self._name_batches()
        named = ids[0] if len(ids) == 1 else f"{len(ids)} batches" if ids else "a batch"
        at = time.strftime("%H:%M:%S", time.localtime(now() + seconds))
        rows = f"{counted(sum(note.requests for note in notes), 'row')} in {named}"
        # The most important part comes first, because narrow terminals truncate the line.
        results.waiting = " · ".join(part for part in (f"next look {at}", self._why, rows) if part)
        self._tell()
        await sleep(seconds)

    def _name_batches(self) -> tuple[str, ...]:
        """Publish and return the ids of the batches with rows of this map that are not merged."""
        ids = tuple(note.id for note in self._watched.values() if note.id is not None)
        self._task.results.batches = ids
        return ids

    async def _look(self, note: BatchNote) -> float:
        """Handle one batch according to its state, and return the seconds until the next poll."""
        if self._stop is not None:
            return 0.0
        try:
            fresh = await in_thread(lambda: self._notes.get(note.tag))
            if fresh is None or fresh.state in ("merged", "dropped"):
                await self._leave(note, is_dropped=fresh is not None and fresh.state == "dropped")
                return 0.0
            self._watched[note.tag] = fresh
            if fresh.state == "sent":
                return await self._look_at_sent(fresh)
            if fresh.is_being_sent:
                self._why = "another kernel is sending it"
                return BEAT
            if fresh.state == "claimed":  # its process died before sending anything
                await in_thread(lambda: self._notes.drop(fresh))
                return 0.0
            seconds, self._why = await self._delivery.search(fresh)
            return self._pace(fresh) if seconds is None else seconds
        except ClaudeError as error:
            if not error.is_transient:
                self.stop(error.with_traceback(None))
                return 0.0
            self._why = f"the server did not answer the last look ({in_one_line(error)})"
            return max(self._pace(note), error.retry_after or 0.0)

    async def _look_at_sent(self, note: BatchNote) -> float:
        heard, batches = self._context.heard, self._context.client.batches
        try:
            batch = await batches.retrieve(note.id or "", is_poll=True, observer=heard)
        except NotFoundError:
            raise ConfigurationError(
                f"This key finds no batch {note.id}, which was sent to {note.server} with rows of this map. Use a key of the "
                f"workspace it was sent to, or, if the batch was deleted, let its rows be asked again with `%claude batches forget {note.id}`. "
                "Nothing was sent."
            ) from None
        if batch.has_ended:
            if note.tag in _merging:
                self._why = "another run is fetching the answers"
                return BEAT
            _merging.add(note.tag)
            try:
                if await self._merge(note, batch):
                    return 0.0
            finally:
                _merging.discard(note.tag)
        if not batch.has_ended:
            self._why = batch.processing_status.replace("_", " ")
        return max(self._pace(note), heard.retry_after or 0.0)

    def _pace(self, note: BatchNote) -> float:
        """Return the seconds until the next poll, which grow with the age of the batch."""
        first = _FIRST_SIMULATED if self._context.heard.is_simulated else FIRST_LOOK
        return min(LONGEST_WAIT, max(first, _SHARE_OF_AGE * (now() - note.claimed)))

    async def _leave(self, note: BatchNote, *, is_dropped: bool) -> None:
        """Stop watching a batch that another kernel merged or dropped. The rows of a dropped batch are sent again."""
        self._watched.pop(note.tag, None)
        mine = [key for key in note.row_keys if key in self._places]
        found = await self._take_known(mine)
        # If this kernel holds the reservation, it books the answers that another kernel fetched.
        if self._context.ledger.settle_batch(note.tag):
            for answer in found:
                usage = Usage(input_tokens=answer.tokens_in, output_tokens=answer.tokens_out)
                line = BillLine(model=answer.model, usage=usage, cost=answer.cost)
                self._context.ledger.book([line], is_simulated=answer.is_simulated)
        if not is_dropped:
            for key in mine:
                self._set_problem(key, _MERGED_ELSEWHERE)
            return
        results, places = self._task.results, [self._places[key] for key in mine]
        left = [(index, place) for index, place in places if results.is_open(index)]
        jobs = ([self._task.again(index, place)] for index, place in left)
        await self._watch_open()
        await self._submit(lambda: next(jobs, []))

    # Merging...

    async def _merge(self, note: BatchNote, batch: MessageBatch) -> bool:
        """Write the answers of an ended batch to the journal, and stop watching it.

        Returns:
            Whether the batch is finished; False if its results are not available yet.
        """
        left = set(note.row_keys)
        # A kernel that died may have stored some of them.
        done = await in_thread(lambda: self._notes.answered(note.row_keys, note.claimed))
        downloads, pause = 0, _AGAIN
        while left and downloads < _MOST_DOWNLOADS and self._stop is None:
            try:
                async for result in self._results(batch):
                    await self._take(result, note, left, done)
                downloads += 1
            except NotFoundError:
                server_now = now() + (self._context.heard.clock_offset or 0.0)
                if batch.archived_at is None and server_now < (batch.created or server_now) + RESULTS_KEPT:
                    self._why = "ended, and the answers are not there yet"
                    return False
                self._note_loss(note, batch, left - done)
                left.clear()
            except ClaudeError as error:
                if not (error.is_transient or isinstance(error, StreamInterruptedError)):
                    raise
                self._why = f"the answers broke off ({in_one_line(error)})"
                pause = max(pause, error.retry_after or 0.0)
                await self._wait(pause)
                pause = min(2 * pause, FIRST_LOOK)
        for key in left - done:
            self._set_problem(key, _MISSING)
        await self._writer.all_kept()
        if self._stop is not None:
            return True
        await self._take_known([key for key in done if key in self._places])
        # Settle first: another run books the answers of a merged batch that still has a reservation.
        self._context.ledger.settle_batch(note.tag)
        await in_thread(lambda: self._notes.merged(note.tag))
        self._watched.pop(note.tag, None)
        return True

    async def _results(self, batch: MessageBatch) -> AsyncIterator[BatchResult]:
        self._task.results.waiting = f"fetching the answers of {batch.id}"
        self._tell()
        results = self._context.client.batches.results(batch.id, observer=self._context.heard)
        async with contextlib.aclosing(results):
            async for result in results:
                if self._stop is not None:
                    return
                yield result

    async def _take(self, result: BatchResult, note: BatchNote, left: set[bytes], done: set[bytes]) -> None:
        key = key_of(result.custom_id, note.tag)
        if key is None or key not in left:
            return
        left.discard(key)
        if key in done:
            return
        if result.type == "unreadable":
            await self._writer.room()
            self._keep_loss(key, note, _UNREADABLE)
            return
        if result.message is None:
            self._set_problem(key, _reason(result))
            return
        await self._writer.room()
        self._put(key, result.message)

    def _put(self, key: bytes, message: Message) -> None:
        """Write an answer to the journal, even if its row is not in this map, because it is paid for."""
        usage, asked = message.usage, self._task.request.model
        if usage.service_tier is None:
            usage = usage.model_copy(update={"service_tier": "batch"})
            message = message.model_copy(update={"usage": usage})
        problem, mismatch = problem_of(message, self._task)
        if mismatch is not None:
            problem = f"Claude's answer does not fit the schema: {mismatch}. claude.retry asks again."
        bill = bill_of(message, asked=asked)
        answer = Answer(
            key=key,
            text=message.text,
            problem=problem,
            model=message.model or asked,
            request_id=message.id or None,
            tokens_in=usage.total_input_tokens,
            tokens_out=usage.output_tokens,
            cost=total(line.cost for line in bill),
            is_simulated=self._context.heard.is_simulated,
        )
        self._writer.put(answer, partial(self._count, bill))

    def _count(self, bill: Sequence[BillLine], answer: Answer) -> None:
        """Book a durable answer, and count it if its row is in this map."""
        self._context.ledger.book(bill, is_simulated=answer.is_simulated)
        index, place = self._places.get(answer.key, (None, 0))
        if index is not None:
            results = self._task.results
            results.problems.pop(index, None)
            results.take(index, answer)
            results.count(place, answer)

    def _note_loss(self, note: BatchNote, batch: MessageBatch, keys: set[bytes]) -> None:
        """Store a problem for each row whose results were deleted at the server. They are paid for, so only `claude.retry` sends them again."""
        when = f" since {batch.archived_at[:10]}" if batch.archived_at else ""
        problem = (
            f"The results of batch {note.id} are no longer at the server{when}. claude.retry asks again."
        )
        for key in keys:
            self._keep_loss(key, note, problem)

    def _keep_loss(self, key: bytes, note: BatchNote, problem: str) -> None:
        """Store a problem in place of an answer that is paid for, but not available."""
        lost = Answer(key, "", problem, note.model, None, 0, 0, None, self._context.heard.is_simulated)
        self._writer.put(lost, partial(self._count, ()))

    def _set_problem(self, key: bytes, problem: str) -> None:
        index, _ = self._places.get(key, (None, 0))
        if index is not None and self._task.results.texts[index] is None:
            self._task.results.problems[index] = problem

    # Work of other kernels...

    async def _watch_open(self) -> None:
        """Start watching open batches with rows of this map."""
        for note in await in_thread(lambda: self._notes.open(self._places)):
            self._watched.setdefault(note.tag, note)

    async def _take_known(self, keys: Sequence[bytes]) -> list[Answer]:
        """Load the answers that other kernels wrote to the journal, and return them."""
        found = await in_thread(lambda: self._notes.journal.find(keys))
        results = self._task.results
        for key, answer in found.items():
            index, _ = self._places.get(key, (None, 0))
            if index is not None and results.texts[index] is None:
                results.problems.pop(index, None)
                results.take(index, answer)
                results.known += answer.problem is None
        self._tell()
        return list(found.values())


def _reason(result: BatchResult) -> str:
    if result.type in ("expired", "canceled"):
        return _EXPIRED if result.type == "expired" else _CANCELLED
    if result.error is None:
        return f"The batch has no answer for this row ({result.type})."
    refused = "Refused in the batch: " if isinstance(result.error, InvalidRequestError) else ""
    return refused + in_one_line(result.error)
