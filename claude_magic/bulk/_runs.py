"""The runs recorded in a journal: prompt, state and cost of each map. `%claude journal` lists, compares and prunes them."""

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
"""Placeholder in the key list of a run for a row that could not be sent."""
_DAY: Final = 86_400.0
_LONGEST_RUN: Final = 2 * _DAY
"""Seconds after which a run without an end time is no longer considered running; a batch takes up to 24 hours."""
_MAX_SHOWN: Final = 20
_SHOWN_CHARS: Final = 80
_COLUMNS: Final = ("run", "state", "price", "answers paid", "failed", "rows", "prompt", "model", "started")
_NUMBERS: Final = (0, 2, 3, 4, 5)


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

    def begin(self, *, prompt: str, model: str, rows: int, requests: int, keys: bytes) -> int:
        """Record the start of a run, and return its number.

        Args:
            prompt: Prompt template, as typed.
            model: Full name of the model.
            rows: Number of rows, times the draws of each.
            requests: Number of distinct requests.
            keys: Keys of all rows, concatenated. Runs with the same requests share one list.
        """
        digest = blake2b(keys, digest_size=16).digest()
        with self.journal.transaction() as database:
            database.execute("INSERT OR IGNORE INTO lists (digest, keys) VALUES (?, ?)", (digest, keys))
            (number,) = database.execute("SELECT id FROM lists WHERE digest = ?", (digest,)).fetchone()
            made = database.execute(
                "INSERT INTO runs (started, state, prompt, model, rows, requests, failed, list) VALUES (?, 'running', ?, ?, ?, ?, 0, ?)",
                (time.time(), _replace_surrogates(prompt), model, rows, requests, number),
            )
            return int(made.lastrowid or 0)

    def end(self, run: int, *, state: str, failed: int) -> None:
        """Record the end of a run: its state, and its number of failed requests."""
        with self.journal.transaction() as database:
            database.execute(
                "UPDATE runs SET ended = ?, state = ?, failed = ? WHERE id = ?",
                (time.time(), state, failed, run),
            )

    def all(self) -> list[RunRecord]:
        """Return all runs, oldest first, with the cost of their answers."""
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
        now = time.time()
        size, until = self.journal.size(), now - (0.0 if days is None else days * _DAY)
        with self.journal.transaction() as database:
            gone = database.execute("DELETE FROM answers WHERE at <= ?", (until,)).rowcount
            # Keep runs that may be in progress. A killed run looks the same, so it is kept for two days.
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


def _replace_surrogates(text: str) -> str:
    """Return a text that SQLite can store: lone surrogates, as in file names and truncated texts, become question marks."""
    return text.encode("utf-8", "replace").decode()


def render_runs(journal: Journal) -> Bundle:
    """Render the runs and the size of a journal."""
    runs = Runs(journal).all()
    note = f"{_relative(journal.path)}: {file_size(journal.size())}"
    if not runs:
        return render_rows([], notes=[f"No map has run here yet. {note}."])
    hidden = len(runs) - _MAX_SHOWN
    notes = [
        f"{note}{f'; {hidden} earlier runs are not shown' if hidden > 0 else ''}.",
        "`%claude journal compare A B` compares two runs; `%claude journal prune DAYS` deletes older answers.",
    ]
    rows = [_row(run) for run in runs[-_MAX_SHOWN:]]
    return render_rows([("", rows)], columns=_COLUMNS, numbers=_NUMBERS, notes=notes)


def _relative(path: Path | None) -> Path | None:
    """Return a path relative to the current folder if possible, so that shared notebooks do not reveal the home folder."""
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
    """Render the comparison of two runs."""
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
    """Return a sentence about what `Runs.prune` deleted."""
    return (
        f"Deleted: {counted(gone, 'answer')}, {file_size(freed)}. A map that needs one of them asks it again."
    )


def moment(at: float) -> str:
    """Format a time, in seconds since the epoch, as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
