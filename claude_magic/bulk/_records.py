"""What `%claude journal` and `%claude batches` list, compare, delete, cancel and forget: the runs and the batches of a journal."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..client import (
    ClaudeClient,
    ClaudeError,
    ConfigurationError,
    MessageBatch,
    NotFoundError,
    counted,
    excerpt,
    split_keys,
)
from ..render import Bundle, file_size, render_rows
from ..runtime import Runtime, format_usd
from ._batch_notes import RESULTS_KEPT, BatchNote, BatchNotes, now
from ._journal import NO_KEY, Journal, JournalError, journal_path

_DAY: Final = 86_400.0
_LONGEST_RUN: Final = 2 * _DAY
"""Seconds after which a run without an end time is no longer considered running; a batch takes up to 24 hours."""
_MAX_RUNS: Final = 20
_SHOWN_CHARS: Final = 80
_RUN_COLUMNS: Final = (
    "run",
    "state",
    "price",
    "answers paid",
    "failed",
    "rows",
    "prompt",
    "model",
    "started",
)
_RUN_NUMBERS: Final = (0, 2, 3, 4, 5)
_MAX_BATCHES: Final = 100
_TIMEOUT: Final = 60.0
"""Seconds to wait for the server's response."""
_NO_REPLAY: Final = {"replay": "off"}
"""A cassette has no batches; those of the server are listed and cancelled with every setting of `replay`."""
_BATCH_COLUMNS: Final = ("batch", "state", "done", "failed", "left", "age", "until", "map")
_BATCH_NUMBERS: Final = (2, 3, 4)


class RunRecord(NamedTuple):
    """One run, as listed by `%claude journal`.

    Attributes:
        id: Number of the run.
        started: Start time, in seconds since the epoch.
        ended: End time, in seconds since the epoch; None while the run continues, or if its process was killed.
        state: "running", "done", "stopped" or "failed".
        prompt: Prompt template, as typed.
        model: Full name of the model.
        rows: Number of rows, times the draws of each.
        requests: Number of distinct requests.
        failed: Requests without an answer at the end.
        answers: Answers in the journal that this run paid for.
        tokens_in: Input tokens of these answers.
        tokens_out: Output tokens of these answers.
        cost: Cost of these answers in USD, without those of unknown price.
        is_simulated: A simulator answered.
    """

    id: int
    started: float
    ended: float | None
    state: str
    prompt: str
    model: str
    rows: int
    requests: int
    failed: int
    answers: int
    tokens_in: int
    tokens_out: int
    cost: float
    is_simulated: bool

    @property
    def price(self) -> str:
        """The cost as text, which says whether it is simulated."""
        return f"{format_usd(self.cost)}{' (simulated)' if self.is_simulated else ''}"


class Difference(NamedTuple):
    """The comparison of two runs.

    Attributes:
        first: First run.
        second: Second run.
        same: Number of rows with the same request in both.
        gone: Number of rows only in the first run.
        new: Number of rows only in the second run.
    """

    first: RunRecord
    second: RunRecord
    same: int
    gone: int
    new: int


class Runs:
    """The runs in a journal. All methods are thread-safe.

    Args:
        journal: The open journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def all(self) -> list[RunRecord]:
        """Return all runs, oldest first, with the cost of their answers."""
        with self.journal.reading() as database:
            return [
                RunRecord._make((*row[:-1], bool(row[-1])))
                for row in database.execute(
                    """
                    SELECT id, started, ended, state, prompt, model, rows, requests, failed, coalesce(answers, 0),
                        coalesce(tokens_in, 0), coalesce(tokens_out, 0), coalesce(cost, 0.0),
                        (SELECT is_simulated FROM answers WHERE run = id LIMIT 1)
                    FROM runs LEFT JOIN (
                        SELECT run, count(*) AS answers, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,
                            total(cost) AS cost
                        FROM answers GROUP BY run
                    ) ON run = id ORDER BY id
                    """
                )
            ]

    def compare(self, first: int, second: int) -> Difference:
        """Return the comparison of two runs.

        Raises:
            JournalError: The journal has no run of that number.
        """
        known = {run.id: run for run in self.all()}
        for number in (first, second):
            if number not in known:
                raise JournalError(
                    f"There is no run {number} in the journal. %claude journal lists the runs."
                )
        one, other = self._keys_of(first), self._keys_of(second)
        same = (one & other).total()
        return Difference(known[first], known[second], same, one.total() - same, other.total() - same)

    def _keys_of(self, run: int) -> Counter[bytes]:
        with self.journal.reading() as database:
            (keys,) = database.execute(
                "SELECT keys FROM lists JOIN runs ON runs.list = lists.id WHERE runs.id = ?", (run,)
            ).fetchone()
        found = Counter(split_keys(keys))
        del found[NO_KEY]
        return found

    def prune(self, days: float | None) -> tuple[int, int]:
        """Delete the answers older than `days` days, or all (None), with runs and finished batches that are no longer needed.

        Returns:
            Number of deleted answers, and number of bytes freed on disk.
        """
        at = now()
        size, until = self.journal.size(), at - (0.0 if days is None else days * _DAY)
        with self.journal.transaction() as database:
            gone = database.execute("DELETE FROM answers WHERE at <= ?", (until,)).rowcount
            # Keep runs that may be in progress. A killed run looks the same, so it is kept for two days.
            database.execute(
                "DELETE FROM runs WHERE started <= ? AND id NOT IN (SELECT run FROM answers) AND NOT (state = 'running' AND started > ?)",
                (until, at - _LONGEST_RUN),
            )
            database.execute("DELETE FROM lists WHERE id NOT IN (SELECT list FROM runs)")
            database.execute(
                "DELETE FROM batches WHERE claimed <= ? AND state IN ('merged', 'dropped')", (until,)
            )
        self.journal.shrink()
        return gone, max(0, size - self.journal.size())


def render_runs(journal: Journal) -> Bundle:
    """Render the runs and the size of a journal."""
    runs = Runs(journal).all()
    note = f"{_relative(journal.path)}: {file_size(journal.size())}"
    if not runs:
        return render_rows([], notes=[f"No map has run here yet. {note}."])
    hidden = len(runs) - _MAX_RUNS
    notes = [
        f"{note}{f'; {hidden} earlier runs are not shown' if hidden > 0 else ''}.",
        "`%claude journal compare A B` compares two runs; `%claude journal prune DAYS` deletes older answers.",
    ]
    rows = [_run_row(run) for run in runs[-_MAX_RUNS:]]
    return render_rows([("", rows)], columns=_RUN_COLUMNS, numbers=_RUN_NUMBERS, notes=notes)


def _relative(path: Path | None) -> Path | None:
    """Return a path relative to the current folder if possible, so that shared notebooks do not reveal the home folder."""
    here = Path.cwd()
    return path.relative_to(here) if path is not None and path.is_relative_to(here) else path


def _run_row(run: RunRecord) -> tuple[str, ...]:
    return (
        str(run.id),
        "cut off" if run.state == "running" and run.ended is None else run.state,
        run.price,
        f"{run.answers:,}",
        f"{run.failed:,}",
        f"{run.rows:,}",
        excerpt(run.prompt, 40),
        run.model,
        moment(run.started),
    )


def render_difference(difference: Difference) -> Bundle:
    """Render the comparison of two runs."""
    runs = difference[:2]
    rows: list[tuple[str, ...]] = [
        ("started", *(moment(run.started) for run in runs)),
        ("prompt", *(excerpt(run.prompt, _SHOWN_CHARS) for run in runs)),
        ("model", *(run.model for run in runs)),
        ("rows", *(f"{run.rows:,}" for run in runs)),
        ("rows only here", f"{difference.gone:,}", f"{difference.new:,}"),
        ("answers paid", *(f"{run.answers:,}" for run in runs)),
        ("price", *(run.price for run in runs)),
    ]
    verb = "asks" if difference.same == 1 else "ask"
    return render_rows(
        [("", rows)],
        columns=("", *(f"run {run.id}" for run in runs)),
        notes=[f"{counted(difference.same, 'row')} {verb} the same in both runs."],
    )


def describe_pruning(gone: int, freed: int) -> str:
    """Return a sentence about what `Runs.prune` deleted."""
    return (
        f"Deleted: {counted(gone, 'answer')}, {file_size(freed)}. A map that needs one of them asks it again."
    )


def moment(at: float) -> str:
    """Format a time, in seconds since the epoch, as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


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
        notes = [f"The server has older ones; the newest {_MAX_BATCHES} are shown."] if self._has_more else []
        if any(record.prompt and "not fetched" in record.state for record in self):
            notes.append("To fetch answers, run the line of the map again.")
        notes.append(
            "`%claude batches cancel ID` cancels a batch; `%claude batches forget ID` lets the rows of a lost one be asked again."
        )
        return render_rows(
            [("", [_batch_row(record) for record in self])],
            columns=_BATCH_COLUMNS,
            numbers=_BATCH_NUMBERS,
            notes=notes,
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
            async with contextlib.aclosing(client.batches.list(most=_MAX_BATCHES + 1)) as batches:
                return [batch async for batch in batches]

        try:
            batches = self._runtime.submit(listed, _NO_REPLAY).result(_TIMEOUT)
        except NotFoundError as error:
            raise ConfigurationError(f"The server has no message batches ({error.message})") from None
        except TimeoutError:
            raise ClaudeError(f"The server did not list its batches within {_TIMEOUT:g} s.") from None
        with contextlib.closing(self._open_journal()) as journal:
            notes = BatchNotes(journal).all()
            prompts = {run.id: run.prompt for run in Runs(journal).all()}
        by_id = {note.id: note for note in notes}
        records = [_record(batch, by_id.get(batch.id), prompts) for batch in batches[:_MAX_BATCHES]]
        unconfirmed = [
            _unconfirmed(note, prompts) for note in reversed(notes) if note.state in ("claimed", "sending")
        ]
        return BatchList([*unconfirmed, *records], has_more=len(batches) > _MAX_BATCHES)

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
        """Release the rows of a batch that have no answer, so that they can be sent again, and return their number.

        Nothing changes at the server: if the batch exists, it is billed, and its answers are not fetched.

        Args:
            name: Id of the batch, or its tag if sending was interrupted.

        Raises:
            JournalError: The journal has no open batch of that name, or it is being sent right now.
        """
        with contextlib.closing(self._open_journal()) as journal:
            notes = BatchNotes(journal)
            note = next((each for each in notes.open() if name in (each.id, each.tag)), None)
            if note is None:
                raise JournalError(
                    f"The journal {self._path} has no open batch {name}. %claude batches lists them."
                )
            if note.state != "sent" and note.is_being_sent:
                raise JournalError(f"Batch {name} is being sent. Wait until that is done.")
            if not notes.drop(note):
                raise JournalError(f"The state of batch {name} has just changed. %claude batches shows it.")
            return note.requests - len(notes.answered(note.row_keys, note.claimed))

    def _open_journal(self) -> Journal:
        """Return the open journal; an empty one if there is no file, which listing does not create."""
        return Journal(self._path if self._path.exists() else None)


def _record(batch: MessageBatch, note: BatchNote | None, prompts: Mapping[int, str]) -> BatchRecord:
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
        prompt="" if note is None else prompts.get(note.run, ""),
    )


def _unconfirmed(note: BatchNote, prompts: Mapping[int, str]) -> BatchRecord:
    return BatchRecord(
        id=note.tag,
        state="being sent" if note.is_being_sent else "sending broke off",
        left=note.requests,
        created=note.claimed,
        prompt=prompts.get(note.run, ""),
    )


def _batch_row(record: BatchRecord) -> tuple[str, ...]:
    age = "" if record.created is None else _format_age(now() - record.created)
    until = "" if record.until is None else moment(record.until)
    counts = (f"{count:,}" for count in (record.done, record.failed, record.left))
    return (record.id, record.state, *counts, age, until, excerpt(record.prompt, 40))


def _format_age(seconds: float) -> str:
    minutes = max(0.0, seconds) / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 2880 else f"{minutes / 1440:.0f} days"
