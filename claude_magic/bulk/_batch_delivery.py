"""Sending a batch so that it is paid once, and finding out whether one has arrived whose sending broke off.

The API has no key that makes a second POST harmless, and its list tells no names of rows. So before the POST the journal notes
which batch was the server's newest; what the list shows beyond that, with as many rows, may be it. The results tell for certain.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import blake2b
from typing import Final, TypeVar

from ..client import (
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    MessageBatch,
    MessageRequest,
    NotFoundError,
    ResponseStarted,
    batch_body,
    batch_entry,
    may_be_created,
    retry_after_from_headers,
)
from ..render import counted
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
from ._batch_notes import BEAT, BatchNote, BatchNotes, custom_id, key_of, now
from ._engine import Task
from ._journal import JournalError

SETTLING: Final = 300.0
"""Seconds after the last sign of life of what sent a batch, before its absence from the list counts."""
_GRACE: Final = 2.0
"""Seconds that an interrupt leaves to a POST under way, so that its answer is noted."""

_T = TypeVar("_T")


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


_NAMELESS: Final = _digest("|")


class Heard:
    """What the headers of a server tell; the observer of each call.

    Attributes:
        clock_offset: Seconds by which its clock is ahead; None if it does not tell the time.
        retry_after: Seconds that its last response asked to wait, or None.
        is_simulated: It is a simulator.
    """

    def __init__(self, *, is_simulated: bool) -> None:
        self._names = ""
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
            self._names = _digest("|".join(names))
            with contextlib.suppress(ValueError, TypeError):
                self.clock_offset = parsedate_to_datetime(headers.get("date", "")).timestamp() - now()

    @property
    def names_account(self) -> bool:
        """Whether the server says whose requests it answers; gateways may not."""
        return self._names not in ("", _NAMELESS)

    def account(self, server: str) -> str:
        """Name the account that answers at a server; accounts are told apart, and not named."""
        return f"{server}|{self._names}"


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row on its way into a batch."""

    key: bytes
    params: bytes
    worst: WorstCase | None

    @property
    def size(self) -> int:
        """Bytes that it takes in the body, at most."""
        return len(self.params) + 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What a run by way of batches works with.

    Attributes:
        task: What is to be done.
        client: Sends the requests.
        notes: The batches in the journal.
        run: The number of the run there.
        since: When the journal was read.
        server: Names the server.
        ledger: Where batches are admitted, and their rows booked.
        heard: What the server's headers tell.
    """

    task: Task
    client: ClaudeClient
    notes: BatchNotes
    run: int
    since: float
    server: str
    ledger: Ledger
    heard: Heard

    @property
    def account(self) -> str:
        """The account that answers."""
        return self.heard.account(self.server)


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do what waits for a disk on another thread."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


class Delivery:
    """Sends the batches of one run.

    Args:
        context: What it works with.
    """

    def __init__(self, context: BatchContext) -> None:
        self._context = context
        self._committed: dict[str, float] = {}
        self._strangers: set[str] = set()
        self._missed: dict[str, tuple[float, float]] = {}

    # Sending...

    async def send(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Send a batch whose rows are claimed; at the end the journal notes its id, or that its sending broke off.

        Raises:
            JournalError: What became of it cannot be noted. The next run finds it out.
            ClaudeError: It certainly did not arrive. Its rows are free again.
        """
        context, is_leaving = self._context, False
        beating = asyncio.get_running_loop().create_task(self._beat(tag))
        try:
            await self._note_departure(tag, rows)
            is_leaving = True
            await self._create(
                tag, batch_body(batch_entry(custom_id(tag, row.key), row.params) for row in rows)
            )
        except JournalError:  # the batch is where the journal says, or further
            if not is_leaving:
                context.ledger.settle_batch(tag)
            raise
        except ClaudeError as error:
            if not (is_leaving and may_be_created(error)):
                await self._withdraw(tag)
                raise
        except BaseException:
            if not is_leaving:
                await asyncio.shield(self._withdraw(tag))
            raise
        finally:
            beating.cancel()

    async def _withdraw(self, tag: str) -> None:
        context = self._context
        context.ledger.settle_batch(tag)
        self._committed.pop(tag, None)
        if (note := await in_thread(lambda: context.notes.get(tag))) is not None:
            await in_thread(lambda: context.notes.drop(note))

    async def _beat(self, tag: str) -> None:
        while True:
            await asyncio.sleep(BEAT)
            with contextlib.suppress(ClaudeError):  # a journal that is locked for a while
                await in_thread(lambda: self._context.notes.beat(tag))

    async def _note_departure(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Admit a batch, and note durably that it leaves, and by what to recognise it.

        Raises:
            ClaudeError: It may not, or the server does not tell which batches it has.
        """
        context = self._context
        try:
            async with contextlib.aclosing(
                context.client.batches.list(most=1, observer=context.heard)
            ) as batches:
                newest = await anext(batches, None)
        except NotFoundError:
            raise ConfigurationError(
                f"{context.server} has no message batches. Leave via='batch' (--via batch) out. Nothing was sent."
            ) from None
        await self._admit(tag, rows)
        is_mine = await in_thread(
            lambda: context.notes.sending(
                tag,
                account=context.account,
                fence=None if newest is None else newest.id,
                fenced=None if newest is None else newest.created,
                clock_offset=context.heard.clock_offset,
            )
        )
        if not is_mine:
            raise ConfigurationError(
                "Another kernel has taken these rows over, because this one gave no sign of life for a while. Nothing was sent. "
                "Run the same line again."
            )

    async def _admit(self, tag: str, rows: Sequence[BatchRow]) -> None:
        """Reserve the most that a batch can cost.

        Raises:
            BudgetExceededError: That is more than may be spent.
        """
        context, most = self._context, self._context.task.max_cost
        worst, committed = _worst_of(rows), sum(self._committed.values())
        what = f"This batch of {len(rows):,} requests"
        if most is not None and (worst is None or committed + worst.total > most):
            cost = "an amount that nobody knows" if worst is None else f"up to {format_usd(worst.total)}"
            sent = f", {format_usd(committed)} of it for batches before" if committed else ""
            raise BudgetExceededError(
                f"{what} could cost {cost} if each answer were as long as max_tokens ({context.task.request.max_tokens:,}) allows, and "
                f"max_cost is {format_usd(most)}{sent}. A batch cannot be stopped at an amount, so it was not sent. Lower max_tokens, "
                "or raise max_cost."
            )
        await context.ledger.admit_batch(
            context.client,
            tag,
            context.task.request,
            worst,
            what=what,
            is_simulated=context.heard.is_simulated,
        )
        self._committed[tag] = 0.0 if worst is None else worst.total

    async def _create(self, tag: str, body: bytes) -> None:
        """Send a batch, and note its id. An interrupt leaves it a moment for that."""
        context, results = self._context, self._context.task.results

        async def create() -> None:
            batch = await context.client.batches.create(
                body, betas=context.task.request.betas, observer=context.heard
            )
            results.batches = (*results.batches, batch.id)
            results.waiting = f"{counted(batch.request_counts.total, 'row')} sent in {batch.id}"
            await in_thread(lambda: context.notes.sent(tag, batch.id, batch.expires))

        creating = asyncio.get_running_loop().create_task(create())
        try:
            await asyncio.shield(creating)
        except asyncio.CancelledError:
            await asyncio.wait({creating}, timeout=_GRACE)
            creating.cancel()
            await asyncio.wait({creating})
            raise

    # Finding out whether it arrived...

    async def search(self, note: BatchNote) -> tuple[float | None, str]:
        """Find a batch whose sending broke off in the server's list, or give its rows free when it is certainly not there.

        Returns:
            Seconds after which to look again, 0 where it was found or given free, None where it may be a batch that has not ended;
            and why, as part of a sentence.

        Raises:
            ConfigurationError: It cannot be found out.
        """
        notes = self._context.notes
        known = {each.id for each in await in_thread(notes.all) if each.id is not None}
        undecided: list[str] = []
        for batch in [batch async for batch in self._newer_than_fence(note)]:
            if batch.id in known or batch.id in self._strangers or not _may_be(batch, note):
                continue
            if not batch.has_ended:
                undecided.append(batch.id)
            elif await self._is_it(batch, note):
                await in_thread(partial(notes.sent, note.tag, batch.id, batch.expires))
                return 0.0, ""
            else:
                self._strangers.add(batch.id)
        rows = f"the sending of {counted(note.requests, 'row')} broke off"
        if undecided:
            return None, f"{rows}; {', '.join(undecided[:3])} may be them, its results will tell"
        beat, missed = self._missed.get(note.tag, (math.nan, 0.0))
        is_again = beat == note.beat
        missed = min(missed, now()) if is_again else now()
        self._missed[note.tag] = note.beat, missed
        # A sign of life that lies ahead is of before the clock was set back.
        rest = min(note.beat, missed) + SETTLING - now()
        # After a machine has slept, all signs of life are old. A process that still runs gives a new one meanwhile.
        if rest > 0 or not is_again:
            why = f"{rows}; the server does not list them, they are sent again once that is certain"
            return max(rest, 2 * BEAT), why
        await in_thread(lambda: notes.drop(note))
        return 0.0, ""

    async def _newer_than_fence(self, note: BatchNote) -> AsyncIterator[MessageBatch]:
        """Yield what the server lists and did not have before.

        Raises:
            ConfigurationError: It lists another account's, which tells nothing.
        """
        context = self._context
        async with contextlib.aclosing(
            context.client.batches.list(is_poll=True, observer=context.heard)
        ) as batches:
            batch = await anext(batches, None)
            if context.account != note.account:
                raise _other_account(note)
            while batch is not None:
                is_older = note.fenced is not None and (batch.created or math.inf) < note.fenced
                if batch.id == note.fence or is_older:
                    return
                yield batch
                batch = await anext(batches, None)
            if note.fence is not None and not context.heard.names_account:
                raise _other_account(note)  # perhaps: what was there is no longer, and nothing else tells

    async def _is_it(self, batch: MessageBatch, note: BatchNote) -> bool:
        """Tell by the first of its results whether a batch is the one whose sending broke off."""
        try:
            async with contextlib.aclosing(
                self._context.client.batches.results(batch.id, observer=self._context.heard)
            ) as results:
                first = await anext(results, None)
        except NotFoundError:
            first = None
        if first is None:
            raise ConfigurationError(
                f"The sending of {note.requests:,} of these rows broke off. Batch {batch.id} may be them, and its results, which would "
                "tell, are no longer available. Nothing was sent. If it is another one, let the rows be asked again with "
                f"`%claude batches forget {note.tag}`."
            )
        return key_of(first.custom_id, note.tag) is not None


def _other_account(note: BatchNote) -> ConfigurationError:
    return ConfigurationError(
        f"The sending of {note.requests:,} of these rows broke off. Whether they have arrived can only be told with a key of the "
        f"workspace they were sent to, at {note.server}; this key is another one's. Use that key, or let the rows be asked again with "
        f"`%claude batches forget {note.tag}`. Nothing was sent."
    )


def worst_of_all(empty: MessageRequest, rows: int, chars: int) -> float | None:
    """Return what rows can cost in USD, at most, before they are written; None where the model has no price.

    Args:
        empty: The request of a row without text.
        rows: How many rows.
        chars: Their characters together; none takes more than four tokens.
    """
    worst, price = worst_case(empty, None, attempts=1, share=BATCH_SHARE), price_of(empty.model)
    if worst is None or price is None:
        return None
    return rows * worst.per_attempt + BATCH_SHARE * usd(4 * chars, max(price.input, price.write_1h))


def _worst_of(rows: Sequence[BatchRow]) -> WorstCase | None:
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


def _may_be(batch: MessageBatch, note: BatchNote) -> bool:
    """Whether a batch that the server did not have before may be the one whose sending broke off."""
    if batch.request_counts.total not in (0, note.requests):
        return False
    if note.clock_offset is None or batch.created is None:
        return True
    return batch.created <= note.beat + note.clock_offset + SETTLING
