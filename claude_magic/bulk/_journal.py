"""The journal: an SQLite file beside the notebook, to which each answer of a map is written before it counts.

Answers are looked up by the key of the request (`RequestKeys`), so running the same map again asks only what has no answer yet.

SQLite runs in WAL mode: several kernels can read and write concurrently, and neither `kill -9` nor a power failure loses committed answers.
A thread writes the answers of a run: all that have arrived since the last commit share the next one, and its `fsync`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..client import KEY_BYTES, ClaudeError, as_sentence
from ..runtime import FOLDER, make_folder

FILE_NAME: Final = "journal.sqlite"
VERSION: Final = 2
_APPLICATION_ID: Final = 0x434D4A4C
_LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process's commit, which usually takes milliseconds."""
_KEYS_PER_QUERY: Final = 500
_ROWS_PER_INSERT: Final = 64
"""Maximum number of rows per statement: old versions of SQLite accept 999 parameters. `executemany` slows a map by 6 %,
because each statement releases the interpreter lock, and the event loop must wake the writer each time."""

_COMMIT_INTERVAL: Final = 0.02
"""Seconds between two commits. Answers that arrive in between share one."""
_MAX_WAITING: Final = 2_000
"""Number of unwritten answers at which the engine pauses requests and downloads."""

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
_SCHEMA_VERSION_2: Final = """
CREATE TABLE batches (
    tag TEXT PRIMARY KEY, state TEXT NOT NULL, run INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
    keys BLOB NOT NULL, owner TEXT NOT NULL, claimed REAL NOT NULL, beat REAL NOT NULL, account TEXT, fence TEXT,
    fenced REAL, clock_offset REAL, id TEXT UNIQUE, expires REAL
);
"""


class JournalError(ClaudeError):
    """The journal cannot be read or written. Answers committed before are still in it."""


class Answer(NamedTuple):
    """The answer to one request.

    Attributes:
        key: Key of the request.
        text: Text of the reply.
        problem: Reason why the text cannot be used, as a sentence; None if it can.
        model: Model that answered.
        request_id: Id of the request, or of the message if it was in a batch; None if unknown.
        tokens_in: Input tokens, cached or not.
        tokens_out: Output tokens.
        cost: Cost in USD; None if the price is unknown.
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

    @property
    def is_lost(self) -> bool:
        """Whether this is a problem in place of an answer of a batch that may be billed, but cannot be read."""
        return self.problem is not None and self.cost is None and not (self.tokens_in or self.tokens_out)


NO_KEY: Final = bytes(KEY_BYTES)
"""Placeholder in the key list of a run for a row that could not be sent."""
_ANSWER: Final = ", ".join(Answer._fields)


class Journal:
    """An open journal. All methods are thread-safe.

    Args:
        path: The file; created if missing. None keeps the journal in memory, as long as this object exists.
        lock_timeout: Seconds to wait while another process writes.

    Raises:
        JournalError: The file cannot be opened: it is locked, not writable, not a journal, or written by a newer version.
    """

    def __init__(self, path: Path | None, *, lock_timeout: float = _LOCK_TIMEOUT) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: tuple[int, int] | None = None
        if path is not None:
            _make_folder(path)
        with self._translated_errors():
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

    @property
    def is_durable(self) -> bool:
        """Whether the answers are also on disk."""
        return self.path is not None

    def close(self) -> None:
        """Close the file; calling this twice is allowed. A journal in memory stays open."""
        if self.path is not None:
            with self._lock:
                self._close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Return the known answers, by key."""
        with self.reading() as database:
            rows = select_by_key(database, _ANSWER, keys)
            return {row[0]: Answer._make((*row[:-1], bool(row[-1]))) for row in rows}

    def add(self, answers: Sequence[Answer], run: int) -> None:
        """Write answers atomically. They are durable when this returns. An answer replaces an earlier one with the same key."""
        now = time.time()
        row = f"(?, ?{', ?' * len(Answer._fields)})"
        with self.transaction() as database:
            for start in range(0, len(answers), _ROWS_PER_INSERT):
                part = answers[start : start + _ROWS_PER_INSERT]
                rows = ", ".join([row] * len(part))
                database.execute(
                    f"INSERT OR REPLACE INTO answers (run, at, {_ANSWER}) VALUES {rows}",  # noqa: S608 (our names, and marks)
                    [value for each in part for value in (run, now, *each)],
                )

    def begin_run(self, *, prompt: str, model: str, rows: int, requests: int, keys: bytes) -> int:
        """Record the start of a run, and return its number.

        Args:
            prompt: Prompt template, as typed.
            model: Full name of the model.
            rows: Number of rows, times the draws of each.
            requests: Number of distinct requests.
            keys: Keys of all rows, concatenated. Runs with the same requests share one list.
        """
        digest = blake2b(keys, digest_size=16).digest()
        with self.transaction() as database:
            database.execute("INSERT OR IGNORE INTO lists (digest, keys) VALUES (?, ?)", (digest, keys))
            (number,) = database.execute("SELECT id FROM lists WHERE digest = ?", (digest,)).fetchone()
            made = database.execute(
                "INSERT INTO runs (started, state, prompt, model, rows, requests, failed, list) VALUES (?, 'running', ?, ?, ?, ?, 0, ?)",
                (time.time(), _replace_surrogates(prompt), model, rows, requests, number),
            )
            return int(made.lastrowid or 0)

    def end_run(self, run: int, *, state: str, failed: int) -> None:
        """Record the end of a run: its state, and its number of failed requests."""
        with self.transaction() as database:
            database.execute(
                "UPDATE runs SET ended = ?, state = ?, failed = ? WHERE id = ?",
                (time.time(), state, failed, run),
            )

    def size(self) -> int:
        """Return the size of the journal on disk in bytes; 0 if it is in memory."""
        if self.path is None:
            return 0
        files = [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))]
        return sum(file.stat().st_size for file in files if file.exists())

    def shrink(self) -> None:
        """Release the disk space of deleted answers."""
        with self.reading() as database:
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # The file...

    def _prepare(self) -> None:
        """Check the format of the file, and create missing tables.

        Raises:
            JournalError: The file is not a journal, or was written by a newer version.
        """
        # Read in one transaction: another process may be creating the tables.
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
                f"{self.path} was written by a newer claude_magic (journal version {version}; this one supports "
                f"{VERSION}). Update claude_magic, or name another file with journal=."
            )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        if version < VERSION:
            with self.transaction():
                # Another process may have created them in the meantime.
                (version,) = self._database.execute("PRAGMA user_version").fetchone()
                missing = ("" if version else _SCHEMA) + (_SCHEMA_VERSION_2 if version < VERSION else "")
                for statement in missing.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._database.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Provide the connection for reading. Other processes may write at the same time."""
        with self._lock, self._translated_errors():
            yield self._database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Provide the connection for an atomic transaction, durable when the block ends."""
        with self._lock, self._translated_errors():
            self._check_file()
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself if the disk is full
                    self._database.execute("ROLLBACK")
                raise

    def _check_file(self) -> None:
        """Check that the open file is still at its path; answers written to a deleted file would be lost.

        Raises:
            JournalError: The file was moved, deleted or replaced.
        """
        if self._file is not None and _identity(self.path) != self._file:
            raise JournalError(
                f"The journal {self.path} was moved, deleted or replaced while it was in use, so answers can no longer be kept in it. Put it "
                "back if you need its answers, then run the same line again."
            )

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate SQLite errors into a `JournalError` that names a remedy."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(_error_message(self.path, error)) from None


def select_by_key(
    database: sqlite3.Connection,
    columns: str,
    keys: Sequence[bytes],
    where: str = "1",
    values: tuple[Any, ...] = (),
) -> Iterator[tuple[Any, ...]]:
    """Yield the answers that have one of these keys, querying as many keys at a time as SQLite allows.

    Args:
        database: Connection of the journal.
        columns: Column names, as trusted SQL.
        keys: Keys to look up.
        where: Further condition, as trusted SQL.
        values: Parameters of the condition.
    """
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(part))
        yield from database.execute(
            f"SELECT {columns} FROM answers WHERE key IN ({marks}) AND ({where})",  # noqa: S608 (our names, and marks)
            (*part, *values),
        )


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return device and inode of a file; None if there is no file."""
    try:
        state = None if path is None else path.stat()
    except OSError:
        return None
    return None if state is None else (state.st_dev, state.st_ino)


def _replace_surrogates(text: str) -> str:
    """Return a text that SQLite can store: lone surrogates, as in file names and truncated texts, become question marks."""
    return text.encode("utf-8", "replace").decode()


def open_journal(place: Journal | str | Path | bool | None) -> Journal:
    """Return an open journal.

    Args:
        place: A file or folder; None or True for the journal beside the notebook; False for one in memory; or an open journal, which is
            returned unchanged.

    Raises:
        JournalError: The journal cannot be opened.
    """
    if isinstance(place, Journal):
        return place
    if place is None or isinstance(place, bool):
        return Journal(None if place is False else journal_path())
    if not isinstance(place, str | os.PathLike):
        raise JournalError(
            f"journal is a file or a folder, or False to write no file, not {place!r}. Nothing was sent."
        )
    return Journal(journal_path(place))


def journal_path(place: str | Path | None = None) -> Path:
    """Return the path of a journal's file.

    Args:
        place: A file, or the folder of a file with the default name; None is the folder `.claude-magic` in the current folder. A path that
            does not exist counts as a file if its name has a suffix.

    Raises:
        JournalError: The current folder no longer exists.
    """
    if place is None:
        return _current_folder() / FOLDER / FILE_NAME
    path = Path(place).expanduser()
    is_file = path.is_file() or (bool(path.suffix) and not path.is_dir())
    return path if is_file else path / FILE_NAME


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise JournalError(
            f"The journal is in the current folder, which no longer exists ({error.strerror}). Nothing was sent. "
            "Change to another folder with %cd, or keep no journal with journal=False."
        ) from None


def _make_folder(path: Path) -> None:
    """Create the folder of a journal, ignored by git if it is `.claude-magic`."""
    try:
        make_folder(path.parent)
    except OSError as error:
        raise JournalError(
            f"The journal cannot be kept in {path.parent}: {error.strerror or error}. Nothing was sent. Name another place with "
            "journal='folder', or keep none with journal=False."
        ) from None


def _error_message(path: Path | None, error: sqlite3.Error) -> str:
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


_Unwritten = tuple[Answer, Callable[[Answer, bool], None]]
"""An answer to write, and what to call then."""


class AnswerWriter:
    """A writer of the answers of one run. Use it only on the event loop on which it was created.

    Args:
        journal: The journal to write to.
        run: Number of the run in the journal.
        on_change: Called after answers have become durable.
        on_failure: Called with the error if writing fails. Answers that are not written end without being durable.
    """

    def __init__(
        self,
        journal: Journal,
        run: int,
        *,
        on_change: Callable[[], None],
        on_failure: Callable[[ClaudeError], None],
    ) -> None:
        self._journal = journal
        self._run = run
        self._on_change = on_change
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Unwritten] = deque()
        self._unwritten = 0
        self._has_room, self._is_idle = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._is_idle.set()
        self._has_failed = False
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._write_loop, name="claude-magic-journal", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return the number of answers not yet written."""
        return self._unwritten

    def put(self, answer: Answer, on_end: Callable[[Answer, bool], None]) -> None:
        """Queue an answer, and return immediately.

        Args:
            answer: The answer.
            on_end: Called with the answer and True once it is durable, or with False if it cannot be written.
        """
        if self._has_failed:
            on_end(answer, False)
            return
        self._unwritten += 1
        self._is_idle.clear()
        if self._unwritten >= _MAX_WAITING:
            self._has_room.clear()
        self._queue.append((answer, on_end))

    async def wait_for_room(self) -> None:
        """Wait until the queue of unwritten answers is short enough."""
        await self._has_room.wait()

    async def wait_until_durable(self) -> None:
        """Wait until all queued answers are durable."""
        await self._is_idle.wait()

    async def close(self) -> None:
        """Write the remaining answers and stop the thread. All callbacks have run when this returns."""
        self._is_closing.set()
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)

    def _on_commit(self, written: Sequence[_Unwritten]) -> None:
        self._end(written, is_durable=True)
        self._on_change()

    def _fail(self, error: ClaudeError, failed: Sequence[_Unwritten]) -> None:
        self._has_failed = True
        self._end([*failed, *self._queue], is_durable=False)
        self._queue.clear()
        self._on_failure(error)

    def _end(self, answers: Sequence[_Unwritten], *, is_durable: bool) -> None:
        for answer, on_end in answers:
            on_end(answer, is_durable)
        self._unwritten -= len(answers)
        if self._unwritten < _MAX_WAITING:
            self._has_room.set()
        if not self._unwritten:
            self._is_idle.set()

    # On the writer thread...

    def _write_loop(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(_COMMIT_INTERVAL)
            # The loop may append meanwhile; only this thread takes.
            taken = [self._queue.popleft() for _ in range(len(self._queue))]
            if not taken:
                continue
            try:
                self._journal.add([answer for answer, _ in taken], self._run)
            except ClaudeError as error:
                self._call_on_loop(partial(self._fail, error, taken))
                return
            except Exception as error:  # any failure must reach the callers that wait for the writer
                kind = type(error).__name__
                failure = JournalError(f"An answer cannot be written to the journal ({kind}: {error}).")
                self._call_on_loop(partial(self._fail, failure, taken))
                return
            self._call_on_loop(partial(self._on_commit, taken))

    def _call_on_loop(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so the run has ended
            self._loop.call_soon_threadsafe(callback)
