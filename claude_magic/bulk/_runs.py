"""The runs in a journal: what each map asked, how it ended, and what its answers cost; as `%claude journal` lists, compares and prunes them."""

from __future__ import annotations

import time
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from ..client import KEY_BYTES, split_keys
from ..render import Bundle, counted, excerpt, file_size, render_rows
from ..runtime import format_usd
from ._journal import Journal, JournalError

NO_KEY: Final = bytes(KEY_BYTES)
"""In the list of a run: a row that could not be asked."""
_DAY: Final = 86_400.0
_LONGEST_RUN: Final = 2 * _DAY
"""Seconds for which a run without an end may still be under way: a batch takes a day."""
_MOST_SHOWN: Final = 20
_SHOWN_CHARS: Final = 80
_COLUMNS: Final = ("run", "state", "price", "answers paid", "failed", "rows", "prompt", "model", "started")
_NUMBERS: Final = (0, 2, 3, 4, 5)


class RunRecord(NamedTuple):
    """One run, as `%claude journal` lists it.

    Attributes:
        id: Its number.
        started: When, by `time.time()`.
        ended: When it ended; None while it runs, and where its process was killed.
        state: "running", "done", "stopped" or "failed".
        prompt: The prompt, as typed.
        model: The model that was asked.
        rows: Rows of the input.
        requests: Distinct requests of all rows.
        failed: Requests without an answer at its end.
        answers: Answers that this run has paid for.
        tokens_in: Their input.
        tokens_out: Their output.
        cost: Their price in USD, as far as it is known.
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


class Difference(NamedTuple):
    """What two runs have in common.

    Attributes:
        first: The one.
        second: The other.
        same: Rows that ask the same in both.
        gone: Rows of the first that the second does not have.
        new: Rows of the second that the first does not have.
    """

    first: RunRecord
    second: RunRecord
    same: int
    gone: int
    new: int


class Runs:
    """The runs in a journal. Every method may be called from any thread.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def begin(self, *, prompt: str, model: str, rows: int, requests: int, keys: bytes) -> int:
        """Note that a run begins, and return its number.

        Args:
            prompt: As typed.
            model: The model that is asked.
            rows: Rows of the input.
            requests: Distinct requests among them.
            keys: The keys of all rows, joined; runs over the same rows share one list.
        """
        digest = blake2b(keys, digest_size=16).digest()
        with self.journal.transaction() as database:
            database.execute("INSERT OR IGNORE INTO lists (digest, keys) VALUES (?, ?)", (digest, keys))
            (number,) = database.execute("SELECT id FROM lists WHERE digest = ?", (digest,)).fetchone()
            made = database.execute(
                "INSERT INTO runs (started, state, prompt, model, rows, requests, failed, list) VALUES (?, 'running', ?, ?, ?, ?, 0, ?)",
                (time.time(), _storable(prompt), model, rows, requests, number),
            )
            return int(made.lastrowid or 0)

    def end(self, run: int, *, state: str, failed: int) -> None:
        """Note how a run ended."""
        with self.journal.transaction() as database:
            database.execute(
                "UPDATE runs SET ended = ?, state = ?, failed = ? WHERE id = ?",
                (time.time(), state, failed, run),
            )

    def all(self) -> list[RunRecord]:
        """Return all runs, oldest first, with what their answers cost."""
        with self.journal.reading() as database:
            return [
                RunRecord._make(row)
                for row in database.execute(
                    """
                    SELECT id, started, ended, state, prompt, model, rows, requests, failed, coalesce(answers, 0),
                        coalesce(tokens_in, 0), coalesce(tokens_out, 0), coalesce(cost, 0.0)
                    FROM runs LEFT JOIN (
                        SELECT run, count(*) AS answers, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,
                            total(cost) AS cost
                        FROM answers GROUP BY run
                    ) ON run = id ORDER BY id
                    """
                )
            ]

    def compare(self, first: int, second: int) -> Difference:
        """Return what two runs have in common.

        Raises:
            JournalError: There is no such run.
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
        """Delete what was answered more than `days` ago, or everything (None), and return the freed space.

        Returns:
            How many answers were deleted, and how many bytes the file is smaller.
        """
        now = time.time()
        size, until = self.journal.size(), now - (0.0 if days is None else days * _DAY)
        with self.journal.transaction() as database:
            gone = database.execute("DELETE FROM answers WHERE at <= ?", (until,)).rowcount
            # One that is under way is listed with what it pays yet. Of one that was killed nobody can tell, so it stays for a while.
            database.execute(
                "DELETE FROM runs WHERE started <= ? AND id NOT IN (SELECT run FROM answers) AND NOT (state = 'running' AND started > ?)",
                (until, now - _LONGEST_RUN),
            )
            database.execute("DELETE FROM lists WHERE id NOT IN (SELECT list FROM runs)")
            database.execute(
                "DELETE FROM batches WHERE claimed <= ? AND state IN ('merged', 'dropped')", (until,)
            )
        self.journal.shrink()
        return gone, max(0, size - self.journal.size())


def _storable(text: str) -> str:
    """Return a text as SQLite takes it: half a character, as names of files and cut texts have it, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def render_runs(journal: Journal) -> Bundle:
    """List the runs of a journal, with its size."""
    runs = Runs(journal).all()
    note = f"{_from_here(journal.path)}: {file_size(journal.size())}"
    if not runs:
        return render_rows([], notes=[f"No map has run here yet. {note}."])
    hidden = len(runs) - _MOST_SHOWN
    notes = [
        f"{note}{f'; {hidden} earlier runs are not shown' if hidden > 0 else ''}.",
        "`%claude journal compare A B` compares two runs; `%claude journal prune DAYS` deletes older answers.",
    ]
    rows = [_row(run) for run in runs[-_MOST_SHOWN:]]
    return render_rows([("", rows)], columns=_COLUMNS, numbers=_NUMBERS, notes=notes)


def _from_here(path: Path | None) -> Path | None:
    """Return a path as seen from the current folder: a notebook that is shared does not tell whose folder that is."""
    here = Path.cwd()
    return path.relative_to(here) if path is not None and path.is_relative_to(here) else path


def _row(run: RunRecord) -> tuple[str, ...]:
    return (
        str(run.id),
        "cut off" if run.state == "running" and run.ended is None else run.state,
        format_usd(run.cost),
        f"{run.answers:,}",
        f"{run.failed:,}",
        f"{run.rows:,}",
        excerpt(run.prompt, 40),
        run.model,
        moment(run.started),
    )


def render_difference(difference: Difference) -> Bundle:
    """Describe what two runs have in common."""
    runs = difference[:2]
    rows: list[tuple[str, ...]] = [
        ("started", *(moment(run.started) for run in runs)),
        ("prompt", *(excerpt(run.prompt, _SHOWN_CHARS) for run in runs)),
        ("model", *(run.model for run in runs)),
        ("rows", *(f"{run.rows:,}" for run in runs)),
        ("rows only here", f"{difference.gone:,}", f"{difference.new:,}"),
        ("answers paid", *(f"{run.answers:,}" for run in runs)),
        ("price", *(format_usd(run.cost) for run in runs)),
    ]
    verb = "asks" if difference.same == 1 else "ask"
    return render_rows(
        [("", rows)],
        columns=("", *(f"run {run.id}" for run in runs)),
        notes=[f"{counted(difference.same, 'row')} {verb} the same in both runs."],
    )


def describe_pruning(gone: int, freed: int) -> str:
    """Say what `Runs.prune` has deleted."""
    return (
        f"Deleted: {counted(gone, 'answer')}, {file_size(freed)}. A map that needs one of them asks it again."
    )


def moment(at: float) -> str:
    """Write a time as the clock on the wall here shows it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
