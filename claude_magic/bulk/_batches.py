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
from functools import partial
from typing import Final

from ..client import (
    APIError,
    BatchResult,
    ClaudeClient,
    ClaudeError,
    ConfigurationError,
    InvalidLinesError,
    InvalidRequestError,
    Message,
    MessageBatch,
    NotFoundError,
    StreamInterruptedError,
    Usage,
    batch_params,
    counted,
)
from ..runtime import BATCH_SHARE, BillLine, Ledger, TurnAccountant, bill_of, total, worst_case
from ._batch_delivery import OVERHEAD, BatchRow, Chunk, Delivery, HeaderObserver
from ._batch_notes import (
    HEARTBEAT_INTERVAL,
    RESULTS_KEPT,
    BatchNote,
    BatchNotes,
    key_of,
    new_tag,
    now,
    sending_batch,
)
from ._journal import Answer, AnswerWriter
from ._requests import RowJob
from ._run import Task, as_claude_error, in_one_line, problem_of

FIRST_POLL: Final = 60.0
"""Seconds until the first poll of a new batch."""
MAX_POLL_INTERVAL: Final = 600.0
"""Maximum number of seconds between two polls, unless the server requests a longer wait."""
_FIRST_POLL_SIMULATED: Final = 1.0
"""Seconds until the first poll of a new batch at a simulator, which processes batches in seconds."""
_SHARE_OF_AGE: Final = 0.25
"""Time to the next poll, as a fraction of the batch's age."""
_MAX_DOWNLOADS: Final = 3
"""Maximum number of complete downloads of results in which rows are missing."""
_DOWNLOAD_RETRY: Final = 5.0
"""Seconds until an interrupted download is retried; doubled after each failure."""

_STATUS_TOO_LARGE: Final = 413
_MAX_TOO_LARGE: Final = 20
"""Number of consecutive single-row batches rejected as too large after which sending stops: size is not the cause."""
_TOLERANCE: Final = 0.05
"""Tolerance in seconds when comparing times."""

_EXPIRED: Final = "The batch expired before this row's turn. Running the same line again asks it."
_CANCELLED: Final = "The batch was cancelled before this row's turn. Running the same line again asks it."
_MISSING: Final = "The results of the batch have no line for this row. Running the same line again asks it."
_UNREADABLE: Final = (
    "The server's answer to this row cannot be read, and may be billed. claude.retry asks again."
)
_MERGED_ELSEWHERE: Final = "The batch had no answer for this row; another kernel has fetched the others. Running the same line again asks it."


_merging: set[str] = set()
"""Tags of the batches that this process is merging, so that each answer is booked once."""


async def sleep(seconds: float) -> None:
    """Wait between two polls."""
    await asyncio.sleep(seconds)


class BatchEngine:
    """The engine of a run that uses batches, in place of `OnlineEngine`. It runs on the bridge's event loop.

    Args:
        task: Requests to send.
        client: Client that sends them.
        make_accountant: Factory of the accountant that logs the rows.
        on_change: Called after each change.
        server: Name of the server.
        ledger: Ledger that admits batches and books their rows.
        since: When the journal was read, in seconds since the epoch.
        find_places: Function that returns all unanswered requests: number and place, by key. Called on a worker thread.
    """

    def __init__(
        self,
        task: Task,
        client: ClaudeClient,
        make_accountant: Callable[[], TurnAccountant],
        on_change: Callable[[], None],
        *,
        server: str,
        ledger: Ledger,
        since: float,
        find_places: Callable[[], dict[bytes, tuple[int, int]]],
    ) -> None:
        self._task = task
        self._client = client
        self._accountant = make_accountant()
        self._on_change = on_change
        self._ledger = ledger
        self._since = since
        self._observer = HeaderObserver(server, is_simulated=self._accountant.is_simulated)
        self._delivery = Delivery(task, client, ledger, self._observer)
        self._notes = BatchNotes(task.journal)
        self._find_places = find_places
        self._places: dict[bytes, tuple[int, int]] = {}
        self._watched: dict[str, BatchNote] = {}
        self._due: dict[str, tuple[float, float]] = {}
        self._status = ""
        self._max_bytes = math.inf
        self._too_large = 0
        self._has_logged = False
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
        self._places = await asyncio.to_thread(self._find_places)
        await self._watch_open()
        await self._submit(self._task.feed)
        while self._watched and self._stop is None:
            self._status = ""
            for note in tuple(self._watched.values()):
                if self._until_due(note.tag) <= _TOLERANCE:
                    seconds = await self._poll(note)
                    self._publish_batches()
                    self._due[note.tag] = now(), now() + seconds
            seconds = min(map(self._until_due, self._watched), default=0.0)
            if seconds > _TOLERANCE and self._stop is None:
                await self._wait(seconds)
        self._task.results.waiting = ""
        if self.error is not None:
            raise self.error

    def stop(self, error: ClaudeError) -> None:
        """Stop waiting; the batches continue at the server."""
        if self._stop is None:
            self._stop = error

    # Sending...

    async def _submit(self, feed: Callable[[], Sequence[RowJob]]) -> None:
        """Claim and send the jobs that `feed` returns, except those already claimed by others."""
        chunk = Chunk()

        def read() -> list[BatchRow] | None:
            jobs = feed()
            return self._make_rows(jobs) if jobs else None

        while self.error is None:
            try:
                # In the context of the caller, as the online engine does.
                rows = await asyncio.to_thread(read)
            except Exception as failure:  # an error in the user's expressions or table
                self._refusal = as_claude_error(failure)
                return
            for row in rows or ():
                if not chunk.has_room_for(row):
                    await self._send(chunk.rows)
                    chunk = Chunk(self._max_bytes)
                chunk.add(row)
            if rows is None:
                break
        if chunk.rows and self.error is None:
            await self._send(chunk.rows)

    def _make_rows(self, jobs: Sequence[RowJob]) -> list[BatchRow]:
        """Serialise jobs as rows of a batch. A request that batches do not support is a problem of its row."""
        rows = []
        for job in jobs:
            request = self._task.template.model_copy(update={"messages": job.messages})
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
            with sending_batch(tag):
                refused = await self._claim_and_send(tag, part)
            if refused is not None and len(part) > 1:
                self._max_bytes = min(self._max_bytes, OVERHEAD + sum(row.size for row in part) / 2)
                waiting[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
            elif refused is not None:
                self._set_problem(part[0].key, f"Too large for a batch: {in_one_line(refused)}")
                self._too_large += 1
                self._refusal = refused if self._too_large >= _MAX_TOO_LARGE else None

    async def _claim_and_send(self, tag: str, rows: Sequence[BatchRow]) -> ClaudeError | None:
        """Claim rows and send them as one batch.

        Returns:
            The error if the server rejected the batch as too large; then no batch exists, and the rows are released. Otherwise None.
        """
        keys, task = [row.key for row in rows], self._task
        claimed = await asyncio.to_thread(
            self._notes.claim, tag, task.run, keys, model=task.template.model, since=self._since
        )
        mine = set(claimed)
        if len(mine) < len(keys):  # they are in a batch already, or another kernel claimed them first
            await self._watch_open()
            await self._load_known([key for key in keys if key not in mine])
        if not mine:
            return None
        task.results.waiting = f"sending {counted(len(mine), 'row')}"
        self._on_change()
        try:
            await self._delivery.send(tag, [row for row in rows if row.key in mine])
        except ClaudeError as error:
            refusal = error.with_traceback(None)
            if isinstance(error, APIError) and error.status == _STATUS_TOO_LARGE:
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
        return due - now() if decided <= now() + _TOLERANCE else 0.0

    async def _wait(self, seconds: float) -> None:
        """Wait until the next poll, and report its time and the batches."""
        notes, results = tuple(self._watched.values()), self._task.results
        ids = results.batches
        named = ids[0] if len(ids) == 1 else f"{len(ids)} batches" if ids else "a batch"
        at = time.strftime("%H:%M:%S", time.localtime(now() + seconds))
        rows = f"{counted(sum(note.requests for note in notes), 'row')} in {named}"
        # The most important part comes first, because narrow terminals truncate the line.
        results.waiting = " · ".join(part for part in (f"next check {at}", self._status, rows) if part)
        self._on_change()
        await sleep(seconds)

    def _publish_batches(self) -> None:
        """Publish the ids of the batches with rows of this map that are not merged, and the rows of new ones."""
        results = self._task.results
        notes = {note.id: note for note in self._watched.values() if note.id is not None}
        for batch in notes.keys() - results.batches:
            results.add_batch(batch, notes[batch].row_keys)
        results.batches = tuple(notes)
        results.ended_batches = tuple(each for each in results.ended_batches if each in notes)

    async def _poll(self, note: BatchNote) -> float:
        """Handle one batch according to its state, and return the seconds until the next poll."""
        if self._stop is not None:
            return 0.0
        try:
            fresh = await asyncio.to_thread(self._notes.get, note.tag)
            if fresh is None or fresh.state in ("merged", "dropped"):
                await self._unwatch(note, is_dropped=fresh is not None and fresh.state == "dropped")
                return 0.0
            self._watched[note.tag] = fresh
            if fresh.state == "sent":
                return await self._poll_sent(fresh)
            if fresh.is_being_sent:
                self._status = "another kernel is sending it"
                return HEARTBEAT_INTERVAL
            if fresh.state == "claimed":  # its process died before sending anything
                await asyncio.to_thread(self._notes.drop, fresh)
                return 0.0
            seconds, self._status = await self._delivery.search(fresh)
            return self._poll_interval(fresh) if seconds is None else seconds
        except ClaudeError as error:
            if not error.is_transient:
                self.stop(error.with_traceback(None))
                return 0.0
            self._status = f"the server did not answer the last check ({in_one_line(error)})"
            return max(self._poll_interval(note), error.retry_after or 0.0)

    async def _poll_sent(self, note: BatchNote) -> float:
        observer = self._observer
        try:
            batch = await self._client.batches.retrieve(note.id or "", is_poll=True, observer=observer)
        except NotFoundError:
            raise ConfigurationError(
                f"This key finds no batch {note.id}, which was sent to {note.server} with rows of this map. Use a key of the "
                f"workspace it was sent to, or, if the batch was deleted, let its rows be asked again with `%claude batches forget {note.id}`. "
                "Nothing was sent."
            ) from None
        if not batch.has_ended:
            self._status = batch.processing_status.replace("_", " ")
            return max(self._poll_interval(note), observer.retry_after or 0.0)
        results = self._task.results
        results.ended_batches = tuple(dict.fromkeys((*results.ended_batches, batch.id)))
        if note.tag in _merging:
            self._status = "another run is fetching the answers"
            return HEARTBEAT_INTERVAL
        _merging.add(note.tag)
        try:
            if await self._merge(note, batch):
                return 0.0
        finally:
            _merging.discard(note.tag)
        return max(self._poll_interval(note), observer.retry_after or 0.0)

    def _poll_interval(self, note: BatchNote) -> float:
        """Return the seconds until the next poll, which grow with the age of the batch."""
        first = _FIRST_POLL_SIMULATED if self._observer.is_simulated else FIRST_POLL
        return min(MAX_POLL_INTERVAL, max(first, _SHARE_OF_AGE * (now() - note.claimed)))

    async def _unwatch(self, note: BatchNote, *, is_dropped: bool) -> None:
        """Stop watching a batch that another kernel merged or dropped. The rows of a dropped batch are sent again."""
        self._watched.pop(note.tag, None)
        results = self._task.results
        mine = [key for key in note.row_keys if key in self._places]
        unread = {key for key in mine if results.is_open(self._places[key][0])}
        found = await self._load_known(mine)
        # If this kernel holds the reservation, it books the answers that another kernel fetched.
        lost = {answer.key for answer in found if answer.is_lost}
        self._ledger.lose_rows(note.tag, len(lost & unread) / note.requests)
        if self._ledger.finish_batch(note.tag):
            for answer in (each for each in found if each.key not in lost):
                usage = Usage(input_tokens=answer.tokens_in, output_tokens=answer.tokens_out)
                line = BillLine(model=answer.model, usage=usage, cost=answer.cost)
                self._ledger.book([line], is_simulated=answer.is_simulated)
        left = [self._places[key] for key in mine if results.is_open(self._places[key][0])]
        if not is_dropped:
            for index, _ in left:
                results.problems[index] = _MERGED_ELSEWHERE
            return
        jobs = ([self._task.rebuild(index, place)] for index, place in left)
        await self._watch_open()
        await self._submit(lambda: next(jobs, []))

    # Merging...

    async def _merge(self, note: BatchNote, batch: MessageBatch) -> bool:
        """Write the answers of an ended batch to the journal, and stop watching it.

        Returns:
            Whether the batch is finished; False if its results are not available yet.
        """
        left, unbilled = set(note.row_keys), 0
        # A kernel that died may have stored some of them.
        done = await asyncio.to_thread(self._notes.answered, note.row_keys, note.claimed)
        downloads, pause = 0, _DOWNLOAD_RETRY
        while left and downloads < _MAX_DOWNLOADS and self._stop is None:
            try:
                async for result in self._results(batch):
                    unbilled += await self._handle_result(result, note, left, done)
                downloads += 1
            except InvalidLinesError as error:
                await self._handle_odd_lines(error, note, batch, left, done, unbilled)
                break
            except NotFoundError:
                server_now = now() + (self._observer.clock_offset or 0.0)
                if batch.archived_at is None and server_now < (batch.created or server_now) + RESULTS_KEPT:
                    self._status = "ended, but the answers are not available yet"
                    return False
                self._store_losses(note, batch, left - done)
                left.clear()
            except ClaudeError as error:
                if not (error.is_transient or isinstance(error, StreamInterruptedError)):
                    raise
                self._status = f"the download of the answers broke off ({in_one_line(error)})"
                pause = max(pause, error.retry_after or 0.0)
                await self._wait(pause)
                pause = min(2 * pause, FIRST_POLL)
        for key in left - done:
            self._set_problem(key, _MISSING)
        await self._writer.wait_until_durable()
        if self._stop is not None:
            return True
        await self._load_known([key for key in done if key in self._places])
        # Finish its reservation first: another run books the answers of a merged batch that still has a reservation.
        self._ledger.finish_batch(note.tag)
        await asyncio.to_thread(self._notes.merged, note.tag)
        self._watched.pop(note.tag, None)
        return True

    async def _results(self, batch: MessageBatch) -> AsyncIterator[BatchResult]:
        self._task.results.waiting = f"fetching the answers of {batch.id}"
        self._on_change()
        results = self._client.batches.results(batch.id, observer=self._observer)
        async with contextlib.aclosing(results):
            async for result in results:
                if self._stop is not None:
                    return
                yield result

    async def _handle_odd_lines(
        self,
        error: InvalidLinesError,
        note: BatchNote,
        batch: MessageBatch,
        left: set[bytes],
        done: set[bytes],
        unbilled: int,
    ) -> None:
        """Handle lines in the results of an ended batch that are no results: a remark if no answer can be among them.

        Args:
            error: The error after the last line.
            note: The batch as in the journal.
            batch: The batch as described by the server.
            left: Keys of the rows without a line.
            done: Keys of the rows that had an answer before.
            unbilled: Number of rows whose line says that they ended without a reply.

        Raises:
            InvalidLinesError: Some rows without a line and an answer may have been billed. They stay reserved, all others do not.
        """
        counts, billed = batch.request_counts, len(left - done)
        if counts.total == note.requests:
            # Which of the rows without a line failed is unknown: it may be those that have an answer from elsewhere.
            billed = min(billed, max(0, len(left) - (counts.failed - unbilled)))
        if billed:
            await self._writer.wait_until_durable()
            self._ledger.reduce_batch(note.tag, billed / note.requests)
            rows = f"{counted(billed, 'row')} {'has' if billed == 1 else 'have'}"
            error.replace_message(
                f"{error.message} So {rows} no answer, but may be billed. If the same line ends like this again, "
                f"`%claude batches forget {batch.id}` lets these rows be asked again; they may then be paid for twice."
            )
            raise error
        self._task.results.add_remarks([f"the results of {batch.id} have lines that are no results"])

    async def _handle_result(
        self, result: BatchResult, note: BatchNote, left: set[bytes], done: set[bytes]
    ) -> bool:
        """Store a result, and return whether its row ended without a reply, so that it is not billed."""
        key = key_of(result.custom_id, note.tag)
        if key is None or key not in left:
            return False
        left.discard(key)
        is_unbilled = result.message is None and result.type != "unreadable"
        if key in done:
            return is_unbilled
        await self._writer.wait_for_room()
        if is_unbilled:
            self._set_problem(key, _reason(result))
            self._log(key, note, None, (), error=type(result.error).__name__ if result.error else result.type)
        elif result.message is None:
            self._store_loss(key, note, _UNREADABLE)
        else:
            self._log(key, note, result.message, self._store(key, result.message))
        return is_unbilled

    def _log(
        self,
        key: bytes,
        note: BatchNote,
        message: Message | None,
        bill: Sequence[BillLine],
        *,
        error: str | None = None,
    ) -> None:
        """Log a request of this map, the first one with its prompt."""
        index, place = self._places.get(key, (None, 0))
        if index is None:
            return
        request = self._task.template
        if not self._has_logged:
            self._has_logged = True
            with contextlib.suppress(Exception):  # the user's expression may fail by now
                request = request.model_copy(update={"messages": self._task.rebuild(index, place).messages})
        is_simulated = self._observer.is_simulated
        self._accountant.log_batch(
            request, key, message, bill, asked_at=note.claimed, error=error, is_simulated=is_simulated
        )

    def _store(self, key: bytes, message: Message) -> Sequence[BillLine]:
        """Write an answer to the journal, even if its row is not in this map, because it is paid for. Return its bill."""
        usage, requested = message.usage, self._task.template.model
        if usage.service_tier is None:
            usage = usage.model_copy(update={"service_tier": "batch"})
            message = message.model_copy(update={"usage": usage})
        problem, mismatch = problem_of(message, self._task)
        if mismatch is not None:
            problem = f"Claude's answer does not fit the schema: {mismatch}. claude.retry asks again."
        bill = bill_of(message, requested=requested)
        answer = Answer(
            key=key,
            text=message.text,
            problem=problem,
            model=message.model or requested,
            request_id=message.id or None,
            tokens_in=usage.total_input_tokens,
            tokens_out=usage.output_tokens,
            cost=total(line.cost for line in bill),
            is_simulated=self._observer.is_simulated,
        )
        self._writer.put(answer, partial(self._count, bill))
        return bill

    def _count(self, bill: Sequence[BillLine], answer: Answer, is_durable: bool) -> None:
        """Book a durable answer, and count it if its row is in this map. The results at the server have one that could not be written."""
        if not is_durable:
            return
        self._ledger.book(bill, is_simulated=answer.is_simulated)
        index, place = self._places.get(answer.key, (None, 0))
        if index is not None:
            self._task.results.add(index, place, answer)

    def _store_losses(self, note: BatchNote, batch: MessageBatch, keys: set[bytes]) -> None:
        """Store a problem for each row whose results were deleted at the server. They are paid for, so only `claude.retry` sends them again."""
        when = f" since {batch.archived_at[:10]}" if batch.archived_at else ""
        problem = (
            f"The results of batch {note.id} are no longer at the server{when}. claude.retry asks again."
        )
        for key in keys:
            self._store_loss(key, note, problem)

    def _store_loss(self, key: bytes, note: BatchNote, problem: str) -> None:
        """Store a problem in place of an answer that is paid for, but not available."""
        lost = Answer(key, "", problem, note.model, None, 0, 0, None, self._observer.is_simulated)
        self._writer.put(lost, partial(self._count_loss, note))

    def _count_loss(self, note: BatchNote, answer: Answer, is_durable: bool) -> None:
        """Count a durable problem, and its row as possibly billed."""
        if is_durable:
            self._ledger.lose_rows(note.tag, 1 / note.requests)
        self._count((), answer, is_durable)

    def _set_problem(self, key: bytes, problem: str) -> None:
        index, _ = self._places.get(key, (None, 0))
        if index is not None and self._task.results.texts[index] is None:
            self._task.results.problems[index] = problem

    # Work of other kernels...

    async def _watch_open(self) -> None:
        """Start watching open batches with rows of this map."""
        for note in await asyncio.to_thread(self._notes.open, self._places):
            self._watched.setdefault(note.tag, note)
        self._publish_batches()

    async def _load_known(self, keys: Sequence[bytes]) -> list[Answer]:
        """Load the answers that other kernels wrote to the journal, and return them."""
        found = await asyncio.to_thread(self._task.journal.find, keys)
        results = self._task.results
        for key, answer in found.items():
            index, _ = self._places.get(key, (None, 0))
            if index is not None and results.texts[index] is None:
                results.load(index, answer)
        self._on_change()
        return list(found.values())


def _reason(result: BatchResult) -> str:
    if result.type in ("expired", "canceled"):
        return _EXPIRED if result.type == "expired" else _CANCELLED
    if result.error is None:
        return f"The batch has no answer for this row ({result.type})."
    refused = "Refused in the batch: " if isinstance(result.error, InvalidRequestError) else ""
    return refused + in_one_line(result.error)
