"""Answers on their way to the disk: one thread writes them, as many at a time as have come since its last commit.

That costs one `fsync` for all of them, and no answer is counted before its commit has returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ..client import ClaudeError
from ._journal import Answer, Journal, JournalError

_COMMIT_INTERVAL: Final = 0.02
"""Seconds between two commits: what comes meanwhile shares one."""
_MOST_WAITING: Final = 2_000
"""Answers that wait for the disk, from which on no more are asked for or read."""


class AnswerWriter:
    """Writes the answers of a run. It belongs to the loop on which it is made.

    Args:
        journal: Where they are written.
        run: The number of the run there.
        on_change: Called after answers have become durable.
        on_failure: Told why no more can be written. Answers that are put from then on are dropped.
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
        self._waiting: dict[bytes, Callable[[Answer], None]] = {}
        self._has_room, self._is_idle = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._is_idle.set()
        self._has_failed = False
        self._lock = threading.Lock()
        self._new: list[Answer] = []
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="claude-magic-journal", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many answers wait for the disk."""
        return len(self._waiting)

    def put(self, answer: Answer, on_kept: Callable[[Answer], None]) -> None:
        """Write an answer soon, and call back with it once it is durable; returns at once."""
        if self._has_failed:
            return
        self._waiting[answer.key] = on_kept
        self._is_idle.clear()
        if len(self._waiting) >= _MOST_WAITING:
            self._has_room.clear()
        with self._lock:
            self._new.append(answer)

    async def room(self) -> None:
        """Wait until not too many answers wait for the disk."""
        await self._has_room.wait()

    async def all_kept(self) -> None:
        """Wait until no answer waits for the disk."""
        await self._is_idle.wait()

    async def close(self) -> None:
        """Write what is left, and end; what was written has been told by then."""
        self._is_closing.set()
        await self._loop.run_in_executor(None, self._thread.join)
        await asyncio.sleep(0)

    def _kept(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if (on_kept := self._waiting.pop(answer.key, None)) is not None:
                on_kept(answer)
        if len(self._waiting) < _MOST_WAITING:
            self._has_room.set()
        if not self._waiting:
            self._is_idle.set()
        self._on_change()

    def _fail(self, error: ClaudeError) -> None:
        self._has_failed = True
        self._has_room.set()
        self._is_idle.set()
        self._on_failure(error)

    # On the thread...

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(_COMMIT_INTERVAL)
            with self._lock:
                answers, self._new = self._new, []
            if not answers:
                continue
            try:
                self._journal.add(answers, self._run)
            except ClaudeError as error:
                self._post(partial(self._fail, error))
                return
            except Exception as error:  # whatever it is: who waits for the disk must be told
                kind = type(error).__name__
                failure = JournalError(f"The journal cannot take an answer ({kind}: {error}).")
                self._post(partial(self._fail, failure))
                return
            self._post(partial(self._kept, answers))

    def _post(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
            self._loop.call_soon_threadsafe(callback)
