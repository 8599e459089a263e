"""The message batches of a workspace, as listed by `%claude batches` and `claude.batches()`: their state, and the maps that sent them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..client import ClaudeClient, ClaudeError, ConfigurationError, MessageBatch, NotFoundError
from ..render import Bundle, excerpt, render_rows
from ..runtime import Runtime
from ._batch_notes import RESULTS_KEPT, BatchNote, BatchNotes, now
from ._journal import Journal, JournalError, journal_path
from ._runs import Runs, moment

_MAX_SHOWN: Final = 100
_TIMEOUT: Final = 60.0
"""Seconds to wait for the server's response."""
_NO_REPLAY: Final = {"replay": "off"}
"""A cassette has no batches; those of the server are listed and cancelled with every setting of `replay`."""
_COLUMNS: Final = ("batch", "state", "done", "failed", "left", "age", "until", "map")
_NUMBERS: Final = (2, 3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A batch as known to the server, the journal, or both.

    Attributes:
        id: The server's id; or the journal's tag if sending was interrupted, and it is unknown whether the batch exists.
        state: State of the batch, in words.
        done: Number of answered rows. The server reports it when the whole batch has ended.
        failed: Number of rows that expired, failed or were cancelled. The server reports it when the whole batch has ended.
        left: Number of rows in progress.
        created: When it was created, in seconds since the epoch, or None.
        until: When it expires or, once it has ended, when its results are deleted, in seconds since the epoch; or None.
        prompt: Prompt of the map that sent it; empty if the journal does not contain it.
    """

    id: str
    state: str
    done: int = 0
    failed: int = 0
    left: int
    created: float | None
    until: float | None = None
    prompt: str


class BatchList(Sequence[BatchRecord]):
    """A sequence of batches, newest first, shown as a table in notebooks.

    Args:
        records: The batches.
        has_more: The server has older batches.
    """

    def __init__(self, records: Sequence[BatchRecord], *, has_more: bool) -> None:
        self._records = tuple(records)
        self._has_more = has_more

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def render(self) -> Bundle:
        """Render the batches as a table."""
        if not self._records:
            return render_rows([], notes=["There are no batches in this workspace."])
        notes = [f"The server has older ones; the newest {_MAX_SHOWN} are shown."] if self._has_more else []
        if any(record.prompt and "not fetched" in record.state for record in self):
            notes.append("To fetch answers, run the line of the map again.")
        notes.append(
            "`%claude batches cancel ID` cancels a batch; `%claude batches forget ID` lets the rows of a lost one be asked again."
        )
        return render_rows(
            [("", [_row(record) for record in self])], columns=_COLUMNS, numbers=_NUMBERS, notes=notes
        )

    def __repr__(self) -> str:
        return str(self.render().data["text/plain"])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        return self.render().data


class BatchDesk:
    """Operations on batches: list, cancel, forget.

    Args:
        runtime: Runtime that calls the server.
        journal: File or folder of the journal; None for the one beside the notebook.
    """

    def __init__(self, runtime: Runtime, journal: Any = None) -> None:
        self._runtime = runtime
        self._path = journal_path(journal)

    def list(self) -> BatchList:
        """Return the batches of the workspace, and those in the journal that may not exist at the server.

        Raises:
            ClaudeError: The batches cannot be listed, or the journal cannot be read.
        """

        async def listed(client: ClaudeClient) -> Sequence[MessageBatch]:
            async with contextlib.aclosing(client.batches.list(most=_MAX_SHOWN + 1)) as batches:
                return [batch async for batch in batches]

        try:
            batches = self._runtime.submit(listed, _NO_REPLAY).result(_TIMEOUT)
        except NotFoundError as error:
            raise ConfigurationError(f"The server has no message batches ({error.message})") from None
        except TimeoutError:
            raise ClaudeError(f"The server did not list its batches within {_TIMEOUT:g} s.") from None
        notes, prompts = self._notes()
        by_id = {note.id: note for note in notes if note.id is not None}
        records = [
            _record(batch, by_id.get(batch.id), _prompt_of(by_id.get(batch.id), prompts))
            for batch in batches[:_MAX_SHOWN]
        ]
        lost = [note for note in notes if note.state in ("claimed", "sending")]
        unconfirmed = [_unconfirmed(note, _prompt_of(note, prompts)) for note in reversed(lost)]
        return BatchList([*unconfirmed, *records], has_more=len(batches) > _MAX_SHOWN)

    def cancel(self, batch_id: str) -> MessageBatch:
        """Start to cancel a batch. Requests completed before that have answers and are billed.

        Raises:
            ClaudeError: The batch does not exist, or has ended.
        """
        try:
            called = self._runtime.submit(lambda client: client.batches.cancel(batch_id), _NO_REPLAY)
            return called.result(_TIMEOUT)
        except NotFoundError:
            raise ConfigurationError(
                f"This key finds no batch {batch_id}. %claude batches lists those of its workspace. Nothing was cancelled."
            ) from None
        except TimeoutError:
            raise ClaudeError(
                f"The server did not answer within {_TIMEOUT:g} s. %claude batches shows whether {batch_id} is being cancelled."
            ) from None

    def forget(self, name: str) -> int:
        """Release the rows of a batch, so that they can be sent again, and return their number.

        Nothing changes at the server: if the batch exists, it is billed, and its answers are not fetched.

        Args:
            name: Id of the batch, or its tag if sending was interrupted.

        Raises:
            JournalError: The journal has no open batch of that name, or it is being sent right now.
        """
        with self._opened() as notes:
            found = [] if notes is None else [note for note in notes.open() if name in (note.id, note.tag)]
            if notes is None or not found:
                raise JournalError(
                    f"The journal {self._path} has no open batch {name}. %claude batches lists them."
                )
            [note] = found
            if note.state != "sent" and note.is_being_sent:
                raise JournalError(f"Batch {name} is being sent. Wait until that is done.")
            if not notes.drop(note):
                raise JournalError(f"The state of batch {name} has just changed. %claude batches shows it.")
            return note.requests

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BatchNotes | None]:
        if not self._path.exists():
            yield None
            return
        journal = Journal(self._path)
        try:
            yield BatchNotes(journal)
        finally:
            journal.close()

    def _notes(self) -> tuple[Sequence[BatchNote], dict[int, str]]:
        with self._opened() as notes:
            if notes is None:
                return [], {}
            return notes.all(), {run.id: run.prompt for run in Runs(notes.journal).all()}


def _prompt_of(note: BatchNote | None, prompts: dict[int, str]) -> str:
    return "" if note is None else prompts.get(note.run, "")


def _record(batch: MessageBatch, note: BatchNote | None, prompt: str) -> BatchRecord:
    counts, created = batch.request_counts, batch.created
    state = batch.processing_status.replace("_", " ")
    until = batch.expires
    if batch.has_ended:
        until = None if created is None else created + RESULTS_KEPT
        if batch.archived_at is not None:
            state = "results deleted"
        elif note is not None:
            state = {"merged": "ended, fetched", "dropped": "ended, forgotten"}.get(
                note.state, "ended, not fetched"
            )
    return BatchRecord(
        id=batch.id,
        state=state,
        done=counts.succeeded,
        failed=counts.failed,
        left=counts.processing,
        created=created,
        until=until,
        prompt=prompt,
    )


def _unconfirmed(note: BatchNote, prompt: str) -> BatchRecord:
    state = "being sent" if note.is_being_sent else "sending broke off"
    return BatchRecord(
        id=note.tag,
        state=state,
        left=note.requests,
        created=note.claimed,
        prompt=prompt,
    )


def _row(record: BatchRecord) -> tuple[str, ...]:
    age = "" if record.created is None else _format_age(now() - record.created)
    until = "" if record.until is None else moment(record.until)
    counts = (f"{count:,}" for count in (record.done, record.failed, record.left))
    return (record.id, record.state, *counts, age, until, excerpt(record.prompt, 40))


def _format_age(seconds: float) -> str:
    minutes = max(0.0, seconds) / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 2880 else f"{minutes / 1440:.0f} days"
