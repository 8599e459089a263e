"""The journal: each answer of a map, kept beside the notebook before it counts.

An answer is found again by the key of its request (`RequestKeys`), so running the same line again asks only what has no answer
yet. Answers are written by one thread, as many at a time as have come since its last commit: that costs one `fsync` for all of
them, and no answer is counted before its commit has returned.

SQLite in WAL mode: several kernels may read and write at once, and neither `kill -9` nor a power cut loses what was committed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..client import KEY_BYTES, ClaudeError, as_sentence, split_keys
from ..render import Bundle, excerpt, render_rows
from ..runtime import FOLDER, format_usd, make_folder

FILE_NAME: Final = "journal.sqlite"
VERSION: Final = 2
_APPLICATION_ID: Final = 0x434D4A4C
_COMMIT_INTERVAL: Final = 0.02
"""Seconds between two commits: what comes meanwhile shares one."""
_LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process to finish its commit, which takes milliseconds."""
_KEYS_PER_QUERY: Final = 500
NO_KEY: Final = bytes(KEY_BYTES)
"""In the list of a run: a row that could not be asked."""
_DAY: Final = 86_400.0
_LONGEST_RUN: Final = 2 * _DAY
"""Seconds for which a run without an end may still be under way: a batch takes a day."""
_MOST_RUNS: Final = 20
SHOWN_CHARS: Final = 80

_SCHEMA: Final = """
CREATE TABLE answers (
    key BLOB PRIMARY KEY, run INTEGER NOT NULL, at REAL NOT NULL, text TEXT NOT NULL, problem TEXT, model TEXT NOT NULL,
    request_id TEXT, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL, is_simulated INTEGER NOT NULL
);
CREATE INDEX answers_of_run ON answers (run, cost, tokens_in, tokens_out);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, started REAL NOT NULL, ended REAL, state TEXT NOT NULL, prompt TEXT NOT NULL,
    model TEXT NOT NULL, rows INTEGER NOT NULL, requests INTEGER NOT NULL, failed INTEGER NOT NULL, list INTEGER NOT NULL
);
CREATE TABLE lists (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, keys BLOB NOT NULL);
"""
_RUNS: Final = """
SELECT id, started, ended, state, prompt, model, rows, requests, failed, coalesce(answers, 0), coalesce(tokens_in, 0),
    coalesce(tokens_out, 0), coalesce(cost, 0.0)
FROM runs LEFT JOIN (
    SELECT run, count(*) AS answers, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, total(cost) AS cost
    FROM answers GROUP BY run
) ON run = id ORDER BY id
"""
_SINCE_VERSION_2: Final = """
CREATE TABLE batches (
    tag TEXT PRIMARY KEY, state TEXT NOT NULL, run INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
    keys BLOB NOT NULL, owner TEXT NOT NULL, claimed REAL NOT NULL, beat REAL NOT NULL, account TEXT, fence TEXT,
    fenced REAL, clock_offset REAL, id TEXT UNIQUE, expires REAL
);
"""


class JournalError(ClaudeError):
    """The journal cannot be read or written. What was in it before still is."""


class Answer(NamedTuple):
    """A finished request.

    Attributes:
        key: The key of the request.
        text: The text that came.
        problem: Why the text is no answer, as a sentence; None if it is one.
        model: The model that answered.
        request_id: The server's id of the request, or None.
        tokens_in: All input in model tokens, cached or not.
        tokens_out: Output in model tokens.
        cost: USD; None where the price is not known.
        is_simulated: A simulator answered.
    """

    key: bytes
    text: str
    problem: str | None
    model: str
    request_id: str | None
    tokens_in: int
    tokens_out: int
    cost: float | None
    is_simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
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


class Journal:
    """A journal, open. Every method may be called from any thread.

    Args:
        path: Its file, which is made where it is missing; None keeps everything in memory, until it is closed.
        lock_timeout: Seconds to wait while another process writes.

    Raises:
        JournalError: It cannot be opened: locked, written by a newer version, no journal, no place to write.
    """

    def __init__(self, path: Path | None, *, lock_timeout: float = _LOCK_TIMEOUT) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: tuple[int, int] | None = None
        if path is not None:
            _make_folder(path)
        with self._explained():
            self._database = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=lock_timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare()
                self._file = _identity(path)
            except BaseException:
                self._database.close()
                raise
        self._close = weakref.finalize(self, self._database.close)

    def close(self) -> None:
        """Close the file. Closing twice is fine. What is in memory only stays, as long as somebody holds this."""
        if self.path is not None:
            with self._lock:
                self._close()

    # Answers...

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Return the answers that are there already, by key."""
        with self.reading() as database:
            rows = select_by_key(database, ", ".join(Answer._fields), keys)
            return {row[0]: Answer._make((*row[:-1], bool(row[-1]))) for row in rows}

    def add(self, answers: Sequence[Answer], run: int) -> None:
        """Write answers, all or none; they are durable when this returns. A later answer to the same request takes its place."""
        now = time.time()
        rows = [(each.key, run, now, *each[1:]) for each in answers]
        with self.transaction():
            self._database.executemany(
                "INSERT OR REPLACE INTO answers (key, run, at, text, problem, model, request_id, tokens_in, tokens_out, cost, "
                "is_simulated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    # Runs...

    def begin_run(
        self, *, prompt: str, model: str, rows: int, requests: int, keys: bytes, digest: bytes
    ) -> int:
        """Note that a run begins, and return its number.

        Args:
            prompt: As typed.
            model: The model that is asked.
            rows: Rows of the input.
            requests: Distinct requests among them.
            keys: The keys of all rows, joined.
            digest: A hash of `keys`: runs over the same rows share one list.
        """
        with self.transaction():
            self._database.execute("INSERT OR IGNORE INTO lists (digest, keys) VALUES (?, ?)", (digest, keys))
            (number,) = self._database.execute("SELECT id FROM lists WHERE digest = ?", (digest,)).fetchone()
            made = self._database.execute(
                "INSERT INTO runs (started, state, prompt, model, rows, requests, failed, list) VALUES (?, 'running', ?, ?, ?, ?, 0, ?)",
                (time.time(), _storable(prompt), model, rows, requests, number),
            )
            return int(made.lastrowid or 0)

    def end_run(self, run: int, *, state: str, failed: int) -> None:
        """Note how a run ended."""
        with self.transaction():
            self._database.execute(
                "UPDATE runs SET ended = ?, state = ?, failed = ? WHERE id = ?",
                (time.time(), state, failed, run),
            )

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first, with what their answers cost."""
        with self.reading() as database:
            rows = database.execute(_RUNS).fetchall()
        names = [field.name for field in fields(RunRecord)]
        return [RunRecord(**dict(zip(names, row, strict=True))) for row in rows]

    def compare(self, first: int, second: int) -> Difference:
        """Return what two runs have in common.

        Raises:
            JournalError: There is no such run.
        """
        known = {run.id: run for run in self.runs()}
        for number in (first, second):
            if number not in known:
                raise JournalError(
                    f"There is no run {number} in the journal. %claude journal lists the runs."
                )
        one, other = (Counter(split_keys(self._keys_of(number))) for number in (first, second))
        for keys in (one, other):
            del keys[NO_KEY]
        same = sum((one & other).values())
        return Difference(
            first=known[first],
            second=known[second],
            same=same,
            gone=one.total() - same,
            new=other.total() - same,
        )

    def prune(self, days: float | None) -> tuple[int, int]:
        """Delete what was answered more than `days` ago, or everything (None), and return the freed space.

        Returns:
            How many answers were deleted, and how many bytes the file is smaller.
        """
        size, until = self.size(), time.time() - (0.0 if days is None else days * _DAY)
        with self.transaction():
            gone = self._database.execute("DELETE FROM answers WHERE at <= ?", (until,)).rowcount
            # One that is under way is listed with what it pays yet. Of one that was killed nobody can tell, so it stays for a while.
            self._database.execute(
                "DELETE FROM runs WHERE started <= ? AND id NOT IN (SELECT run FROM answers) AND NOT (state = 'running' AND started > ?)",
                (until, time.time() - _LONGEST_RUN),
            )
            self._database.execute("DELETE FROM lists WHERE id NOT IN (SELECT list FROM runs)")
            self._database.execute(
                "DELETE FROM batches WHERE claimed <= ? AND state IN ('merged', 'dropped')", (until,)
            )
        with self._lock, self._explained():
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone, max(0, size - self.size())

    def size(self) -> int:
        """Return the bytes that the journal takes on the disk; 0 in memory."""
        if self.path is None:
            return 0
        files = [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))]
        return sum(file.stat().st_size for file in files if file.exists())

    def _keys_of(self, run: int) -> bytes:
        with self.reading() as database:
            (keys,) = database.execute(
                "SELECT keys FROM lists JOIN runs ON runs.list = lists.id WHERE runs.id = ?", (run,)
            ).fetchone()
        return bytes(keys)

    # The file...

    def _prepare(self) -> None:
        """Make the tables where there are none, and check whose file it is.

        Raises:
            JournalError: It is no journal, or a newer one.
        """
        # What is read is of one moment: another process may be making the tables.
        self._database.execute("BEGIN")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self._database.execute("COMMIT")
        if application != _APPLICATION_ID and (tables or version):
            raise JournalError(
                f"{self.path} is a database of another program, so it is not used as a journal. Name another file with journal=."
            )
        if version > VERSION:
            raise JournalError(
                f"{self.path} was written by a newer claude_magic (journal version {version}, and this one knows {VERSION}). "
                "Update claude_magic, or name another file with journal=."
            )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        if version < VERSION:
            with self.transaction():
                # Another process may have been faster.
                (version,) = self._database.execute("PRAGMA user_version").fetchone()
                missing = ("" if version else _SCHEMA) + (_SINCE_VERSION_2 if version < VERSION else "")
                for statement in missing.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._database.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read, also while another process writes."""
        with self._lock, self._explained():
            yield self._database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write in one step, which other processes see whole or not at all; durable at its end."""
        with self._lock, self._explained():
            self._check_place()
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._database.execute("ROLLBACK")
                raise

    def _check_place(self) -> None:
        """Refuse to write into a file that has gone: nobody would find it again.

        Raises:
            JournalError: It was deleted, or another stands in its place.
        """
        if self._file is not None and _identity(self.path) != self._file:
            raise JournalError(
                f"The journal {self.path} was moved, deleted or replaced while it was in use, so answers can no longer be kept in it. Put it "
                "back, or leave it gone, then run the same line again."
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite says into an error that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(_explain(self.path, error)) from None


def select_by_key(
    database: sqlite3.Connection,
    columns: str,
    keys: Sequence[bytes],
    where: str = "1",
    values: tuple[Any, ...] = (),
) -> Iterator[tuple[Any, ...]]:
    """Yield the answers that have one of these keys, as many at a time as SQLite takes; the columns are names of ours."""
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(part))
        yield from database.execute(
            f"SELECT {columns} FROM answers WHERE key IN ({marks}) AND ({where})",  # noqa: S608 (our names, and marks)
            (*part, *values),
        )


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from another that is put in its place; None if it is not there."""
    try:
        state = None if path is None else path.stat()
    except OSError:
        return None
    return None if state is None else (state.st_dev, state.st_ino)


class JournalWriter:
    """Writes answers as they come, many with one commit.

    Args:
        journal: Where they are written.
        run: The run that they belong to.
        on_kept: Told of answers that are durable now, on the writer's thread.
        on_failure: Told, on the same thread, why no more can be written.
    """

    def __init__(
        self,
        journal: Journal,
        run: int,
        *,
        on_kept: Callable[[list[Answer]], None],
        on_failure: Callable[[ClaudeError], None],
    ) -> None:
        self._journal = journal
        self._run = run
        self._on_kept = on_kept
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._pending: list[Answer] = []
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="claude-magic-journal", daemon=True)
        self._thread.start()

    def put(self, answer: Answer) -> None:
        """Write an answer soon; returns at once."""
        with self._lock:
            self._pending.append(answer)

    def close(self) -> None:
        """Write what is left, and end. Blocks for the last commit."""
        self._is_closing.set()
        self._thread.join()

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(_COMMIT_INTERVAL)
            with self._lock:
                answers, self._pending = self._pending, []
            if not answers:
                continue
            try:
                self._journal.add(answers, self._run)
            except ClaudeError as error:
                self._on_failure(error)
                return
            except Exception as error:  # whatever it is: who waits for the disk must be told
                kind = type(error).__name__
                self._on_failure(JournalError(f"The journal cannot take an answer ({kind}: {error})."))
                return
            self._on_kept(answers)


def open_journal(place: Journal | str | Path | bool | None) -> Journal:
    """Return a journal that is open: a file or folder, None and True for the one beside the notebook, False for one in memory.

    Raises:
        JournalError: It cannot be opened.
    """
    if isinstance(place, Journal):
        return place
    if place is None or isinstance(place, bool):
        return Journal(None if place is False else journal_path())
    if not isinstance(place, str | os.PathLike):
        raise JournalError(
            f"journal is a file or a folder, or False for none on the disk, not {place!r}. Nothing was sent."
        )
    return Journal(journal_path(place))


def journal_path(place: str | Path | None = None) -> Path:
    """Return the file of a journal: beside the notebook (in the current folder), or where `place` says.

    Args:
        place: A file, or a folder that gets the usual file in it; None is the current folder's `.claude-magic`. What does not exist
            is taken for a file where its name has an ending.

    Raises:
        JournalError: There is no current folder any more.
    """
    if place is None:
        return _here() / FOLDER / FILE_NAME
    path = Path(place).expanduser()
    is_file = path.is_file() or (bool(path.suffix) and not path.is_dir())
    return path if is_file else path / FILE_NAME


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise JournalError(
            f"The journal is kept in the current folder, and that is gone ({error.strerror}). Nothing was sent. Go to another one with "
            "%cd, or keep no journal with journal=False."
        ) from None


def _storable(text: str) -> str:
    """Return a text as SQLite takes it: half a character, as names of files and cut texts have it, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _make_folder(path: Path) -> None:
    """Make the folder of a journal. In one of our own, git ignores everything."""
    try:
        make_folder(path.parent)
    except OSError as error:
        raise JournalError(
            f"The journal cannot be kept in {path.parent}: {error.strerror or error}. Nothing was sent. Name another place with "
            "journal='folder', or keep none with journal=False."
        ) from None


def _explain(path: Path | None, error: sqlite3.Error) -> str:
    reason = str(error)
    if "full" in reason or "disk I/O" in reason:
        return (
            f"The journal {path} cannot be written ({reason}). What was written before is kept. Free some space on its disk, then run "
            "the same line again."
        )
    if "locked" in reason or "busy" in reason:
        return f"The journal {path} is locked by another process. End that one, or wait for it, then run the same line again."
    if "readonly" in reason or "unable to open" in reason:
        return (
            f"The journal {path} cannot be opened for writing ({reason}). Name another place with journal='folder', or keep none "
            "with journal=False."
        )
    if isinstance(error, sqlite3.DatabaseError) and ("not a database" in reason or "malformed" in reason):
        return (
            f"The journal {path} cannot be read ({reason}). Move the file away to begin a new one, or name another with journal=. Its "
            "answers may be saved with the tool `sqlite3 FILE .recover`."
        )
    return f"The journal {path} failed: {as_sentence(reason)}"


_COLUMNS: Final = ("run", "state", "price", "answers paid", "failed", "rows", "prompt", "model", "started")
_NUMBERS: Final = (0, 2, 3, 4, 5)


def render_journal(journal: Journal) -> Bundle:
    """List the runs of a journal, with its size."""
    runs = journal.runs()
    note = f"{_from_here(journal.path)}: {_bytes(journal.size())}"
    if not runs:
        return render_rows([], notes=[f"No map has run here yet. {note}."])
    shown = [_run_row(run) for run in runs[-_MOST_RUNS:]]
    notes = [
        note
        + (f"; {len(runs) - _MOST_RUNS} earlier runs are not shown" if len(runs) > _MOST_RUNS else "")
        + "."
    ]
    notes.append(
        "%claude journal compare A B compares two runs; %claude journal prune DAYS deletes older answers."
    )
    return render_rows([("", shown)], columns=_COLUMNS, numbers=_NUMBERS, notes=notes)


def _from_here(path: Path | None) -> Path | None:
    """Return a path as seen from the current folder: a notebook that is shared does not tell whose folder that is."""
    here = Path.cwd()
    return path.relative_to(here) if path is not None and path.is_relative_to(here) else path


def render_difference(difference: Difference) -> Bundle:
    """Describe what two runs have in common."""
    runs = (difference.first, difference.second)
    rows: list[tuple[str, ...]] = [
        ("started", *(moment(run.started) for run in runs)),
        ("prompt", *(excerpt(run.prompt, SHOWN_CHARS) for run in runs)),
        ("model", *(run.model for run in runs)),
        ("rows", *(f"{run.rows:,}" for run in runs)),
        ("rows only here", f"{difference.gone:,}", f"{difference.new:,}"),
        ("answers paid", *(f"{run.answers:,}" for run in runs)),
        ("price", *(format_usd(run.cost) for run in runs)),
    ]
    heads = ("", *(f"run {run.id}" for run in runs))
    verb = "asks" if difference.same == 1 else "ask"
    return render_rows(
        [("", rows)],
        columns=heads,
        notes=[f"{counted(difference.same, 'row')} {verb} the same in both runs."],
    )


def describe_pruning(gone: int, freed: int) -> str:
    """Say what `Journal.prune` has deleted."""
    return f"Deleted: {counted(gone, 'answer')}, {_bytes(freed)}. A map that needs one of them asks it again."


def counted(count: int, thing: str) -> str:
    """Write a number of things: "1 row", "2,000 rows"."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def _run_row(run: RunRecord) -> tuple[str, ...]:
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


def moment(at: float) -> str:
    """Write a time as the clock on the wall here shows it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
