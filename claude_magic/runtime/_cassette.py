"""The cassette: a file of recorded answers beside the notebook, one JSON object per line, easy to read, diff and commit.

The first line contains the format and its version; each other line is one `Recording`. Unreadable lines are reported and kept.
Recordings of the same request are ordered by their `occurrence`; of two with the same one, the later line counts.

A process holds a lock while it changes the file, so kernels that share a cassette lose no recordings. New lines are appended
with one write and synced to disk. Lines are replaced by writing a new file and renaming it atomically.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .._files import append_durably, replace_file
from ..client import ConfigurationError, as_sentence
from ._recording import Recording

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FOLDER: Final = ".claude-magic"
"""The folder of claude_magic beside a notebook; git ignores its content."""
VERSION: Final = 1
_FORMAT: Final = "claude_magic"
_MODELS_LINE: Final = b'{"models"'
_BOM: Final = b"\xef\xbb\xbf"
_CONFLICT_MARKS: Final = (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")
_MAX_NAMED: Final = 5


class CassetteError(ConfigurationError):
    """Raised when the cassette cannot be read or written. Its previous content is unchanged."""


@dataclass(slots=True)
class _Content:
    """The parsed content of the file: recordings by key and occurrence."""

    recordings: dict[str, dict[int, Recording]] = field(default_factory=dict)
    models: list[dict[str, Any]] | None = None
    problems: list[str] = field(default_factory=list)
    has_redacted: bool = False

    def add(self, recording: Recording) -> None:
        self.has_redacted |= recording.is_redacted
        self.recordings.setdefault(recording.key, {})[recording.occurrence] = recording


class Cassette:
    """The recordings of one file. Every method may be called from any thread.

    Args:
        path: The file; it need not exist.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.used: set[tuple[str, int]] = set()
        """The recordings that this kernel has replayed or made."""
        self._opened_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(clock()))
        self._file_lock = threading.RLock()  # held while the file is read or written
        self._lock = threading.Lock()  # held briefly
        self._content = _Content()
        self._stamp: tuple[int, ...] | None = None
        self._reported: set[str] = set()
        self._asked: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._renewed: set[str] = set()
        self._writer = _Writer(self)

    @property
    def name(self) -> str:
        """The path, relative to the current folder if inside it, so that saved messages do not reveal the user's folders."""
        try:
            return str(self.path.relative_to(Path.cwd()))
        except (OSError, ValueError):
            return str(self.path)

    # Reading...

    def is_changed(self) -> bool:
        """Return whether the file has changed since it was last read."""
        return _stamp_of(self.path) != self._stamp

    def refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            CassetteError: The file cannot be read, or was written by a newer version.
        """
        with self._file_lock:
            stamp = _stamp_of(self.path)
            if stamp != self._stamp:
                content = _read(self.path, self.name)
                with self._lock:
                    self._content, self._stamp = content, stamp

    def remarks(self) -> list[str]:
        """Return new problems of the file as sentences; each is returned once."""
        with self._lock:
            new = [each for each in self._content.problems if each not in self._reported]
            self._reported.update(new)
            return new

    def recordings(self) -> list[Recording]:
        """Return all recordings, grouped by request."""
        with self._lock:
            return [each for found in self._content.recordings.values() for each in found.values()]

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of the file, as sentences."""
        return tuple(self._content.problems)

    @property
    def has_redacted(self) -> bool:
        """Whether there are recordings of redacted requests."""
        return self._content.has_redacted

    @property
    def models(self) -> list[dict[str, Any]] | None:
        """The recorded list of the server's models, or None."""
        return self._content.models

    def size(self) -> int:
        """Return the size of the file in bytes; 0 if it does not exist."""
        stamp = _stamp_of(self.path)
        return 0 if stamp is None else stamp[1]

    # Asking...

    def peek(self, key: str, *, takes: bool = False, is_new: bool = False) -> Recording | None:
        """Return the recording that would answer the request now: the next occurrence, or else the last one.

        Args:
            key: The key of the request.
            takes: Count the request as made, so that the next call returns the next occurrence.
            is_new: Do not return a recording that was already taken.
        """
        with self._lock:
            found = self._content.recordings.get(key)
            if not found:
                return None
            occurrences = sorted(found)
            if is_new and self._asked[key] >= len(occurrences):
                return None
            recording = found[occurrences[min(self._asked[key], len(occurrences) - 1)]]
            if takes:
                self._asked[key] += 1
                self.used.add(recording.name)
            return recording

    def count_sent(self, key: str) -> int:
        """Count a request that is sent, and return the occurrence under which its answer is recorded."""
        with self._lock:
            self._asked[key] += 1
            self._sent[key] += 1
            return self._sent[key]

    # Writing...

    def put(self, recording: Recording, *, replaces: bool = False) -> Future[None]:
        """Write a recording on a background thread.

        Args:
            recording: The recording.
            replaces: Replace the recordings of the same request that were made before this kernel sent it.

        Returns:
            A future that is done when the recording is on disk, or fails with a `CassetteError`.
        """
        self.used.add(recording.name)
        return self._writer.put(recording, replaces=replaces)

    def put_models(self, models: list[dict[str, Any]]) -> None:
        """Write the server's list of models. Blocks until it is on disk.

        Raises:
            CassetteError: The file cannot be written.
        """
        with self._changing():
            if self._content.models == models:
                return
            line = json.dumps({"models": models}, ensure_ascii=False).encode("utf-8", "backslashreplace")
            if self._content.models is None:
                _append(self.path, [line])
            else:
                lines = [each for each in _lines_of(self.path) if not each.startswith(_MODELS_LINE)]
                _rewrite(self.path, [*lines, line])
            self._content.models = models
            self._stamp = _stamp_of(self.path)

    def write(self, recordings: Sequence[tuple[Recording, bool]]) -> None:
        """Write all recordings or none. They are on disk when this returns.

        Args:
            recordings: Pairs of a recording and whether it replaces earlier ones of its request.

        Raises:
            CassetteError: The file cannot be written.
        """
        with self._changing():
            new = [recording for recording, _ in recordings]
            # The first time that this kernel sends a request, the earlier recordings of the request are dropped.
            old = {each.key for each, replaces in recordings if replaces} - self._renewed
            old &= self._content.recordings.keys()
            if old:
                _rewrite(self.path, _replaced(_lines_of(self.path), new, old))
            else:
                _append(self.path, [each.to_line() for each in new])
            self._renewed |= {each.key for each in new}
            with self._lock:
                for key in old:
                    del self._content.recordings[key]
                for each in new:
                    self._content.add(each)
                self._stamp = _stamp_of(self.path)

    def prune(self) -> tuple[int, int]:
        """Delete the recordings that this kernel has not used, and those superseded by a later line.

        Recordings made by any kernel since this one opened the cassette are kept, and so are unreadable lines.

        Returns:
            The number of deleted recordings and of saved bytes.

        Raises:
            CassetteError: The file cannot be written.
        """
        with self._changing():
            size, lines = self.size(), _lines_of(self.path)
            found = [_recording_in(line) for line in lines]
            last = {each.name: index for index, each in enumerate(found) if each is not None}
            kept = [
                line
                for index, (line, each) in enumerate(zip(lines, found, strict=True))
                if each is None or (last[each.name] == index and self.is_in_use(each))
            ]
            if len(kept) < len(lines):
                _rewrite(self.path, kept)
                self.refresh()
            return len(lines) - len(kept), size - self.size()

    def is_in_use(self, recording: Recording) -> bool:
        """Return whether a recording was replayed or made since this kernel opened the cassette."""
        return recording.name in self.used or recording.recorded_at[:19] >= self._opened_at

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock of the file, with its current content read.

        Raises:
            CassetteError: The file cannot be written.
        """
        with self._file_lock:
            try:
                with _locked(self.path):
                    self.refresh()
                    yield
            except OSError as failure:
                reason = failure.strerror or type(failure).__name__
            else:
                return
        raise CassetteError(
            f"The cassette {self.name} cannot be written: {as_sentence(reason)} Its previous content is unchanged."
        )


class _Writer:
    """Writes recordings on a thread, all pending ones with one write. The thread ends when none are left."""

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette
        self._lock = threading.Lock()
        self._pending: list[tuple[Recording, bool, Future[None]]] = []
        self._is_running = False

    def put(self, recording: Recording, *, replaces: bool) -> Future[None]:
        written: Future[None] = Future()
        with self._lock:
            self._pending.append((recording, replaces, written))
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._work, name="claude-magic-cassette").start()
        return written

    def _work(self) -> None:
        while True:
            with self._lock:
                pending, self._pending = self._pending, []
                self._is_running = bool(pending)
            if not pending:
                return
            failure: Exception | None = None
            try:
                self._cassette.write([(recording, replaces) for recording, replaces, _ in pending])
            except Exception as error:  # any error is passed to the futures
                failure = error.with_traceback(None)
            for _, _, written in pending:
                if written.set_running_or_notify_cancel():
                    written.set_exception(failure) if failure is not None else written.set_result(None)


class Cassettes:
    """The cassettes of a kernel, by path."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_path: dict[Path, Cassette] = {}

    def at(self, path: str) -> Cassette:
        """Return the cassette of a file; a relative path starts at the current folder."""
        try:
            absolute = Path(os.path.abspath(Path(path).expanduser()))
        except OSError as failure:
            raise CassetteError(
                f"The cassette is in the current folder, which no longer exists ({failure.strerror}). Nothing was "
                "sent. Change to another folder with %cd, or use --replay off."
            ) from None
        with self._lock:
            return self._by_path.setdefault(absolute, Cassette(absolute))


def make_folder(folder: Path) -> None:
    """Create a folder at this path; if it is the folder of claude_magic, with a `.gitignore` for its whole content.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.name == FOLDER and not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


# The file...


def _header() -> bytes:
    return json.dumps({"cassette": _FORMAT, "version": VERSION}).encode()


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _bytes_of(path: Path) -> bytes:
    """Return the content of the file; empty if it does not exist.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _lines_of(path: Path) -> list[bytes]:
    data = _bytes_of(path)
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return lines if lines[-1] else lines[:-1]


def _end_of_lines(path: Path) -> bytes:
    """Return the line ending of a file: a checkout on Windows has CRLF."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return b"\r\n" if b"\r\n" in file.read(4096) else b"\n"
    return b"\n"


def _append(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines with one write. They are on disk when this returns.

    Raises:
        OSError: The lines cannot be written. The file is unchanged.
    """
    end = _end_of_lines(path)
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        begin = _header() + end
        if size:
            file.seek(size - 1)
            begin = b"" if file.read(1) == b"\n" else end  # keep a truncated last line separate
        append_durably(file, begin + b"".join(line + end for line in lines))


def _rewrite(path: Path, lines: Iterable[bytes]) -> None:
    """Replace all lines of a file atomically.

    Raises:
        OSError: The lines cannot be written. The file is unchanged.
    """
    end = _end_of_lines(path)
    replace_file(path.resolve(), b"".join(line + end for line in lines), replace=_replace)


def _read(path: Path, name: str) -> _Content:
    """Read a cassette; unreadable lines become problems.

    Raises:
        CassetteError: The file cannot be opened, or was written by a newer version.
    """
    content = _Content()
    conflicts: list[int] = []
    bad: list[str] = []
    try:
        lines = _lines_of(path)
    except OSError as failure:
        reason = failure.strerror or type(failure).__name__
        raise CassetteError(
            f"The cassette {name} cannot be read: {as_sentence(reason)} Nothing was sent."
        ) from None
    for number, line in enumerate(lines, 1):
        bare = line.removeprefix(_BOM)
        if bare.startswith(_CONFLICT_MARKS):
            conflicts.append(number)
            continue
        if not bare.strip():
            continue
        try:
            _parse_line(content, line, name)
        except json.JSONDecodeError:
            bad.append(f"{name}:{number} (not JSON, or truncated)")
        except RecursionError:
            bad.append(f"{name}:{number} (nested too deeply)")
        except ValueError as problem:
            bad.append(f"{name}:{number} ({problem})")
    content.problems += _problems(name, conflicts, bad)
    return content


def _parse_line(content: _Content, line: bytes, name: str) -> None:
    fields = _json_in(line)
    if isinstance(fields, dict) and "cassette" in fields:
        _check_version(fields, name)
    elif isinstance(fields, dict) and "models" in fields:
        models = fields["models"]
        content.models = (
            [each for each in models if isinstance(each, dict)] if isinstance(models, list) else None
        )
    else:
        content.add(Recording.of(fields))


def _json_in(line: bytes) -> Any:
    """Return the value in a line. A byte order mark is ignored: files that are joined have one in the middle.

    Raises:
        ValueError: The line is not JSON in UTF-8.
    """
    try:
        # `json` would also accept bytes in UTF-16.
        return json.loads(line.removeprefix(_BOM).decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _check_version(header: Mapping[str, Any], name: str) -> None:
    version = header.get("version")
    if header["cassette"] != _FORMAT or type(version) is not int:
        raise ValueError("not the first line of a cassette of claude_magic")
    if version > VERSION:
        raise CassetteError(
            f"The cassette {name} was written by a newer claude_magic (version {version}; this one supports "
            f"{VERSION}), so it is neither read nor changed. Nothing was sent. "
            "Update claude_magic, or name another file with the setting cassette."
        )


def _problems(name: str, conflicts: Sequence[int], bad: Sequence[str]) -> Iterator[str]:
    if conflicts:
        yield (
            f"The cassette {name} contains merge conflict markers (line {conflicts[0]}): the answers of both sides are "
            "used. Delete the lines with the markers."
        )
    if bad:
        more = f" and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        are, them = ("A line", "It is") if len(bad) == 1 else (f"{len(bad)} lines", "They are")
        yield f"{are} of the cassette cannot be read: {', '.join(bad[:_MAX_NAMED])}{more}. {them} left unchanged."


def _recording_in(line: bytes) -> Recording | None:
    """Return the recording in a line; None if the line is not a recording."""
    try:
        fields = _json_in(line)
        return None if "models" in fields or "cassette" in fields else Recording.of(fields)
    except (ValueError, TypeError, RecursionError):
        return None


def _replaced(lines: Iterable[bytes], new: Sequence[Recording], old: Collection[str]) -> Iterator[bytes]:
    """Yield the lines of a file in which new recordings replace the older ones of their requests."""
    left = {each.name: each for each in new}
    for line in lines:
        found = _recording_in(line)
        if found is None or found.key not in old:
            yield line
        elif found.name in left:
            yield left.pop(found.name).to_line()
    yield from (each.to_line() for each in left.values())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the inter-process lock of a file. The lock file is in a folder that git ignores.

    Raises:
        OSError: The lock cannot be acquired.
    """
    folder = path.parent / FOLDER
    make_folder(folder)
    with (folder / f"{path.name}.lock").open("a+b") as file:
        _lock(file.fileno())
        try:
            yield
        finally:
            _unlock(file.fileno())


# What depends on the system: locking a file, and replacing it.
_LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process to finish a write, which takes milliseconds."""
_LOCK_INTERVAL: Final = 0.02


def _lock(handle: int) -> None:
    """Acquire an exclusive lock on an open file. Waits up to 30 seconds.

    Raises:
        OSError: Another process holds the lock for too long, or the file system does not support locks.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while not _try_lock(handle):
        if time.monotonic() > deadline:
            raise OSError(0, "another process has held the lock for too long")
        time.sleep(_LOCK_INTERVAL)


if sys.platform == "win32":

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as failure:
            if failure.errno in (errno.EACCES, errno.EDEADLK):  # another process holds it
                return False
            raise
        return True

    def _unlock(handle: int) -> None:
        """Release the lock."""
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

    def _replace(name: str, target: Path) -> None:
        """Replace `target` with another file. Waits while `target` is open, because Windows does not allow it until then."""
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                return os.replace(name, target)
            except PermissionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_INTERVAL)

else:

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        """Release the lock."""
        fcntl.flock(handle, fcntl.LOCK_UN)

    _replace = os.replace
