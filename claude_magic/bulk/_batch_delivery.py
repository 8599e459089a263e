"""Sending a batch exactly once, and finding out whether an interrupted send created a batch.

The API has no idempotency key, and its list of batches does not include the `custom_id`s of their rows. So the journal records the
server's newest batch (the fence) before the POST. A newer batch with the same number of rows is a candidate; its results identify it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Final, TypeVar

from ..client import (
    MAX_BATCH_BYTES,
    MAX_BATCH_REQUESTS,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    InvalidLinesError,
    MessageBatch,
    MessageRequest,
    NotFoundError,
    ResponseStarted,
    batch_body,
    batch_entry,
    counted,
    may_be_created,
    retry_after_from_headers,
)
from ..runtime import (
    BATCH_SHARE,
    SIMULATOR_HEADER,
    BudgetExceededError,
    Ledger,
    WorstCase,
    format_usd,
    price_of,
    usd,
    worst_case,
)
from ._batch_notes import HEARTBEAT_INTERVAL, BatchNote, BatchNotes, custom_id, key_of, list_batches, now
from ._journal import JournalError
from ._run import Task

CREATION_TIMEOUT: Final = 300.0
"""Seconds after the sender's last heartbeat until a batch that is missing from the list counts as not created."""
OVERHEAD: Final = 1_000
"""Bytes of the body of a batch beside its rows, at most."""
_CANCEL_GRACE: Final = 2.0
"""Seconds that an interrupt waits for a POST in flight, so that the batch's id is recorded."""


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


_T = TypeVar("_T")
_NO_ACCOUNT: Final = _digest("|")


class HeaderObserver:
    """An observer of API calls that records facts from response headers.

    Attributes:
        server: Name of the server.
        clock_offset: Seconds by which the server's clock is ahead of the local clock; None without a valid `date` header.
        retry_after: Wait in seconds that the last response requested, or None.
        is_simulated: The server is a simulator.
    """

    def __init__(self, server: str, *, is_simulated: bool) -> None:
        self.server = server
        self._account_hash = ""
        self.clock_offset: float | None = None
        self.retry_after: float | None = None
        self.is_simulated = is_simulated

    def __call__(self, event: ClientEvent) -> None:
        if not isinstance(event, ResponseStarted):
            return
        headers = event.headers
        self.retry_after = retry_after_from_headers(headers)
        self.is_simulated |= SIMULATOR_HEADER in headers
        if event.status == 200:
            names = (headers.get(f"anthropic-{name}-id", "") for name in ("organization", "workspace"))
            self._account_hash = _digest("|".join(names))
            with contextlib.suppress(ValueError, TypeError):
                self.clock_offset = parsedate_to_datetime(headers.get("date", "")).timestamp() - now()

    @property
    def identifies_account(self) -> bool:
        """Whether the server sends the headers that identify the account; gateways may not."""
        return self._account_hash not in ("", _NO_ACCOUNT)

    @property
    def account(self) -> str:
        """An identifier of the account at the server, with a hash in place of the account's ids."""
        return f"{self.server}|{self._account_hash}"


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row to send in a batch.

    Attributes:
        key: Key of the request.
        params: The request as JSON, as in the body of the batch.
        worst: Maximum cost of the row; None if the model has no known price.
    """

    key: bytes
    params: bytes
    worst: WorstCase | None

    @property
    def size(self) -> int:
        """Maximum size of the row in the body, in bytes."""
        return len(self.params) + 100


@dataclass(slots=True)
class Chunk:
    """The rows of a batch that is being filled, up to `max_bytes` bytes."""

    max_bytes: float = math.inf
    rows: list[BatchRow] = field(default_factory=list)
    size: int = OVERHEAD

    def has_room_for(self, row: BatchRow) -> bool:
        """Return whether a row fits; an empty chunk accepts any row."""
        max_bytes = min(MAX_BATCH_BYTES, self.max_bytes)
        fits = len(self.rows) < MAX_BATCH_REQUESTS and self.size + row.size <= max_bytes
        return fits or not self.rows

    def add(self, row: BatchRow) -> None:
        """Add a row."""
        self.rows.append(row)
        self.size += row.size


class Delivery:
    """A sender of the batches of one run.

    Args:
        task: Requests to send.
        client: Client that sends them.
        ledger: Ledger that admits batches.
        observer: Facts from the server's headers.
    """

    def __init__(self, task: Task, client: ClaudeClient, ledger: Ledger, observer: HeaderObserver) -> None:
        self._task = task
        self._notes = BatchNotes(task.journal)
        self._client = client
        self._ledger = ledger
        self._observer = observer
        self._reserved: dict[str, float] = {}
        self._other_batches: set[str] = set()
        self._missing_since: dict[str, tuple[float, float]] = {}

    # Sending...

    async def send(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Send a batch whose rows are claimed. If the outcome is unknown, it stays "sending" in the journal, and `search` resolves it.

        Raises:
            JournalError: The outcome cannot be recorded. The next run finds it out.
            ClaudeError: The batch was certainly not created. Its rows are released.
        """
        is_recorded = False
        heartbeats = asyncio.get_running_loop().create_task(self._send_heartbeats(tag))
        try:
            await self._record_sending(tag, rows)
            is_recorded = True
            await self._create(tag, rows)
        except JournalError:  # the batch is in the state that the journal has, or a later one
            if not is_recorded:
                self._ledger.finish_batch(tag)
            raise
        except ClaudeError as error:
            if not (is_recorded and may_be_created(error)):
                await self._release(tag)
                raise
        except BaseException:
            if not is_recorded:
                await asyncio.shield(self._release(tag))
            raise
        finally:
            heartbeats.cancel()

    async def _release(self, tag: str) -> None:
        self._ledger.finish_batch(tag)
        self._reserved.pop(tag, None)
        if (note := await asyncio.to_thread(self._notes.get, tag)) is not None:
            await asyncio.to_thread(self._notes.drop, note)

    async def _send_heartbeats(self, tag: str) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            with contextlib.suppress(ClaudeError):  # such as a journal that is locked for a while
                await asyncio.to_thread(self._notes.beat, tag)

    async def _record_sending(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Admit a batch, and record durably that it is about to be sent, with what is needed to find it again.

        Raises:
            ClaudeError: The batch was not admitted, or the server's batches cannot be listed.
        """
        observer = self._observer
        try:
            newest = await _first(self._client.batches.list(most=1, observer=observer))
        except NotFoundError:
            raise ConfigurationError(
                f"{observer.server} has no message batches. Leave via='batch' (--via batch) out. Nothing was sent."
            ) from None
        await self._admit(tag, rows)
        is_mine = await asyncio.to_thread(
            self._notes.sending,
            tag,
            account=observer.account,
            fence=None if newest is None else newest.id,
            fenced=None if newest is None else newest.created,
            clock_offset=observer.clock_offset,
        )
        if not is_mine:
            raise ConfigurationError(
                "Another kernel has taken over these rows, because this one did not respond for a while. Nothing was sent. "
                "Run the same line again."
            )

    async def _admit(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Reserve the maximum cost of a batch.

        Raises:
            BudgetExceededError: The maximum cost exceeds `max_cost` or the budget.
        """
        request, max_cost = self._task.template, self._task.request.max_cost
        worst, reserved = _sum_worst_cases(rows), sum(self._reserved.values())
        what = f"This batch of {counted(len(rows), 'request')}"
        if max_cost is not None and (worst is None or reserved + worst.total > max_cost):
            cost = "an unknown amount" if worst is None else f"up to {format_usd(worst.total)}"
            sent = f", {format_usd(reserved)} of it for batches before" if reserved else ""
            raise BudgetExceededError(
                f"{what} could cost {cost} if each answer were as long as max_tokens ({request.max_tokens:,}) allows, and "
                f"max_cost is {format_usd(max_cost)}{sent}. A batch cannot be stopped at an amount, so it was not sent. Lower max_tokens, "
                "or raise max_cost."
            )
        await self._ledger.admit_batch(
            self._client, tag, request, worst, what=what, is_simulated=self._observer.is_simulated
        )
        self._reserved[tag] = 0.0 if worst is None else worst.total

    async def _create(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Create a batch, and record its id. An interrupt waits up to 2 s for that."""
        results = self._task.results
        body = batch_body(batch_entry(custom_id(tag, row.key), row.params) for row in rows)

        async def create() -> None:
            batch = await self._client.batches.create(
                body, betas=self._task.template.betas, observer=self._observer
            )
            results.add_batch(batch.id, (row.key for row in rows))
            results.waiting = f"{counted(batch.request_counts.total, 'row')} sent in {batch.id}"
            await asyncio.to_thread(self._notes.sent, tag, batch.id, batch.expires)

        creating = asyncio.get_running_loop().create_task(create())
        try:
            await asyncio.shield(creating)
        except asyncio.CancelledError:
            await asyncio.wait({creating}, timeout=_CANCEL_GRACE)
            creating.cancel()
            await asyncio.wait({creating})
            raise

    # Resolving interrupted sends...

    async def search(self, note: BatchNote) -> tuple[float | None, str]:
        """Search the server's list for a batch whose sending was interrupted; release its rows if it was certainly not created.

        Returns:
            Seconds until the next search, and the reason as part of a sentence. The seconds are 0 if the batch was
            found or its rows were released, and None if a batch in progress may be the one.

        Raises:
            ConfigurationError: The outcome cannot be determined.
        """
        known = {each.id for each in await asyncio.to_thread(self._notes.all)}
        candidates: list[str] = []
        for batch in [batch async for batch in self._newer_than_fence(note)]:
            if batch.id in known or batch.id in self._other_batches or not _may_match(batch, note):
                continue
            if not batch.has_ended:
                candidates.append(batch.id)
            elif await self._matches_note(batch, note):
                await asyncio.to_thread(self._notes.sent, note.tag, batch.id, batch.expires)
                return 0.0, ""
            else:
                self._other_batches.add(batch.id)
        rows = f"the sending of {counted(note.requests, 'row')} broke off"
        if candidates:
            return None, f"{rows}; {list_batches(candidates)} may contain them, and its results will show it"
        beat, missed = self._missing_since.get(note.tag, (math.nan, 0.0))
        is_again = beat == note.beat
        missed = min(missed, now()) if is_again else now()
        self._missing_since[note.tag] = note.beat, missed
        # A heartbeat in the future means that the clock was set back.
        rest = min(note.beat, missed) + CREATION_TIMEOUT - now()
        # After a machine slept, all heartbeats are old. A second search gives a live process time for a new one.
        if rest > 0 or not is_again:
            why = f"{rows}; the server does not list them; they are sent again once that is certain"
            return max(rest, 2 * HEARTBEAT_INTERVAL), why
        await asyncio.to_thread(self._notes.drop, note)
        return 0.0, ""

    async def _newer_than_fence(self, note: BatchNote) -> AsyncIterator[MessageBatch]:
        """Yield the server's batches that are newer than the fence of a note.

        Raises:
            ConfigurationError: The key belongs to another account, whose list does not help.
        """
        listed = self._client.batches.list(is_poll=True, observer=self._observer)
        async with contextlib.aclosing(listed) as batches:
            batch = await anext(batches, None)
            if self._observer.account != note.account:
                raise _other_account(note)
            while batch is not None:
                is_older = note.fenced is not None and (batch.created or math.inf) < note.fenced
                if batch.id == note.fence or is_older:
                    return
                yield batch
                batch = await anext(batches, None)
            if note.fence is not None and not self._observer.identifies_account:
                # Possibly another account: the fence is missing, and no header identifies the account.
                raise _other_account(note)

    async def _matches_note(self, batch: MessageBatch, note: BatchNote) -> bool:
        """Return whether the first result of a batch shows that it is the one of a note.

        Raises:
            ConfigurationError: The batch has no results any more, or none that can be read.
        """
        try:
            first = await _first(self._client.batches.results(batch.id, observer=self._observer))
        except (NotFoundError, InvalidLinesError):
            first = None
        if first is None:
            raise ConfigurationError(
                f"The sending of {note.requests:,} of these rows broke off. Batch {batch.id} may contain them, but its results, which "
                "would show it, are no longer available or cannot be read. Nothing was sent. If the batch is another one, "
                f"`%claude batches forget {note.tag}` lets the rows be asked again."
            )
        return key_of(first.custom_id, note.tag) is not None


async def _first(items: AsyncGenerator[_T, None]) -> _T | None:
    """Return the first item, and read no further."""
    async with contextlib.aclosing(items) as opened:
        return await anext(opened, None)


def _other_account(note: BatchNote) -> ConfigurationError:
    return ConfigurationError(
        f"The sending of {note.requests:,} of these rows broke off. Only a key of the workspace they were sent to, at "
        f"{note.server}, can show whether they arrived; this key belongs to another workspace. Use the other key, or let the rows be asked "
        f"again with `%claude batches forget {note.tag}`. Nothing was sent."
    )


def max_batch_cost(empty: MessageRequest, rows: int, chars: int) -> float | None:
    """Return the maximum cost of rows in USD, before their requests are built; None if the model has no known price.

    Args:
        empty: Request of a row without text.
        rows: Number of rows.
        chars: Total number of characters of the rows; a character takes at most four tokens.
    """
    worst, price = worst_case(empty, None, attempts=1, share=BATCH_SHARE), price_of(empty.model)
    if worst is None or price is None:
        return None
    return rows * worst.per_attempt + BATCH_SHARE * usd(4 * chars, max(price.input, price.write_1h))


def _sum_worst_cases(rows: Sequence[BatchRow]) -> WorstCase | None:
    cases = [row.worst for row in rows if row.worst is not None]
    if len(cases) < len(rows):
        return None
    return WorstCase(
        input_tokens=sum(case.input_tokens for case in cases),
        output_tokens=sum(case.output_tokens for case in cases),
        attempts=1,
        per_attempt=sum(case.per_attempt for case in cases),
        is_counted=False,
    )


def _may_match(batch: MessageBatch, note: BatchNote) -> bool:
    """Return whether a batch newer than the fence may be the one of a note."""
    if batch.request_counts.total not in (0, note.requests):
        return False
    if note.clock_offset is None or batch.created is None:
        return True
    return batch.created <= note.beat + note.clock_offset + CREATION_TIMEOUT
