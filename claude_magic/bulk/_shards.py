"""A journal that many processes share: each process appends to its own file in one folder, and reads all files there.

SQLite is unreliable on network file systems; a file with a single appending process is not. Each answer is one line, and counts once its
`fsync` has returned. Incomplete lines of killed processes are ignored. Answers are merged by the key of the request, so a second run on
any machine asks only what has no answer yet.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from pydantic import TypeAdapter
from pydantic_core import from_json

from .._files import append_durably, sync_folder
from ..client import KEY_BYTES
from ._journal import Answer, Journal, JournalError

_VERSION: Final = 1
_HEADER: Final = "claude_magic journal shard"
_ENDING: Final = ".jsonl"
_MAX_INTEGER: Final = 2**63 - 1
"""The largest integer in SQLite."""
_UNREAD: Final = (
    "It was not written by claude_magic, or is damaged. Move it away, or name another folder with journal=."
)


class JournalShards(Journal):
    """A journal in a folder that several processes share. All methods are thread-safe.

    Args:
        folder: The folder; created if missing.

    Raises:
        JournalError: The folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(None)  # answers read from the files are held in memory
        self.folder = folder
        self._files_lock = threading.Lock()
        self._offsets: dict[str, int] = {}
        self._own_file: IO[bytes] | None = None
        with self._translated_os_errors():
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def is_durable(self) -> bool:
        """Always true: the answers are in the files of the folder."""
        return True

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Return the known answers by key, including those that other processes have written since the last call."""
        with self._files_lock, self._translated_os_errors():
            for path in sorted(self.folder.glob(f"*{_ENDING}")):
                super().add(list(self._read_new(path)), 0)
        return super().find(keys)

    def add(self, answers: Sequence[Answer], run: int) -> None:
        """Append answers to this process's file. They are durable when this returns."""
        lines = [{**answer._asdict(), "key": answer.key.hex()} for answer in answers]
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        with self._files_lock, self._translated_os_errors():
            self._append(self._open_own_file(), text.encode())
        super().add(answers, run)

    def _open_own_file(self) -> IO[bytes]:
        if self._own_file is None:
            path = self.folder / f"{os.getpid()}-{secrets.token_hex(6)}{_ENDING}"
            made = path.open("xb", buffering=0)
            weakref.finalize(self, made.close)
            try:
                self._append(made, f"{json.dumps({'journal': _HEADER, 'version': _VERSION})}\n".encode())
            except OSError:
                # A file without its header would be refused on every later read.
                made.close()
                path.unlink(missing_ok=True)
                raise
            self._own_file = made
            sync_folder(self.folder)
        return self._own_file

    def _append(self, file: IO[bytes], data: bytes) -> None:
        self._offsets[Path(file.name).name] = append_durably(file, data)

    def _read_new(self, path: Path) -> Iterator[Answer]:
        """Yield the answers added to a file since the last read, from complete lines only."""
        start = self._offsets.get(path.name, 0)
        if path.stat().st_size <= start:
            return
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        if not start and lines:
            _check_header(path, lines.pop(0))
        for line in lines:
            # A damaged line, such as one truncated by a full disk, is skipped, and its request sent again.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                yield _answer_of(from_json(line))
        self._offsets[path.name] = start + len(whole)

    @contextlib.contextmanager
    def _translated_os_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(
                f"The journal in {self.folder} cannot be read or written ({error.strerror or type(error).__name__}). "
                "Answers written before are kept. Name a folder that all workers can write with journal=."
            ) from None


_open_journals: dict[tuple[int, str], JournalShards] = {}


def open_shards(folder: str) -> JournalShards:
    """Return this process's journal for a folder. All threads share it, so the process writes one file."""
    mark = (os.getpid(), folder)
    known = _open_journals.get(mark)
    # Without a lock, which a forked child could find locked for ever: of two journals, one is never used.
    return known or _open_journals.setdefault(mark, JournalShards(Path(folder)))


def _answer_of(found: dict[str, Any]) -> Answer:
    answer = _answer_type().validate_python({**found, "key": bytes.fromhex(found["key"])})
    if len(answer.key) != KEY_BYTES or max(answer.tokens_in, answer.tokens_out) > _MAX_INTEGER:
        raise ValueError("no answer")
    return answer


@functools.cache
def _answer_type() -> TypeAdapter[Answer]:
    return TypeAdapter(Answer)


def _check_header(path: Path, line: bytes) -> None:
    try:
        header = json.loads(line)
        is_ours, version = header["journal"] == _HEADER, int(header["version"])
    except (ValueError, KeyError, TypeError):
        is_ours, version = False, 0
    if not is_ours:
        raise JournalError(f"{path} is not part of a journal. {_UNREAD}")
    if version > _VERSION:
        raise JournalError(
            f"{path} was written by a newer claude_magic (format version {version}; this one supports {_VERSION}). "
            "Use the same version on all workers, or name another folder with journal=."
        )
