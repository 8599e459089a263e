"""A thread that writes answers to the journal in batches: all answers since the last commit share the next one.

Each batch costs one `fsync`. An answer is counted only after its commit has returned.
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
"""Seconds between two commits. Answers that arrive in between share one."""
_MAX_WAITING: Final = 2_000
"""Number of unwritten answers at which the engine pauses requests and downloads."""


class AnswerWriter:
    """A writer of the answers of one run. Use it only on the event loop on which it was created.

    Args:
        journal: The journal to write to.
        run: Number of the run in the journal.
        on_change: Called after answers have become durable.
        on_failure: Called with the error if writing fails. Answers that are not written are passed to their `on_lost`.
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
        self._waiting: dict[bytes, tuple[Answer, Callable[[Answer], None], Callable[[Answer], None]]] = {}
        self._has_room, self._is_idle = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._is_idle.set()
        self._has_failed = False
        self._lock = threading.Lock()
        self._queue: list[Answer] = []
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._write_loop, name="claude-magic-journal", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return the number of answers not yet written."""
        return len(self._waiting)

    def put(
        self,
        answer: Answer,
        on_durable: Callable[[Answer], None],
        *,
        on_lost: Callable[[Answer], None] = lambda _: None,
    ) -> None:
        """Queue an answer, and call `on_durable` with it once it is durable, or `on_lost` if it cannot be written. Returns immediately."""
        if self._has_failed:
            on_lost(answer)
            return
        self._waiting[answer.key] = answer, on_durable, on_lost
        self._is_idle.clear()
        if len(self._waiting) >= _MAX_WAITING:
            self._has_room.clear()
        with self._lock:
            self._queue.append(answer)

    async def wait_for_room(self) -> None:
        """Wait until the queue of unwritten answers is short enough."""
        await self._has_room.wait()

    async def wait_until_durable(self) -> None:
        """Wait until all queued answers are durable."""
        await self._is_idle.wait()

    async def close(self) -> None:
        """Write the remaining answers and stop the thread. All callbacks have run when this returns."""
        self._is_closing.set()
        await self._loop.run_in_executor(None, self._thread.join)
        await asyncio.sleep(0)

    def _on_commit(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if (waiting := self._waiting.pop(answer.key, None)) is not None:
                _, on_durable, _ = waiting
                on_durable(answer)
        if len(self._waiting) < _MAX_WAITING:
            self._has_room.set()
        if not self._waiting:
            self._is_idle.set()
        self._on_change()

    def _fail(self, error: ClaudeError) -> None:
        self._has_failed = True
        for answer, _, on_lost in self._waiting.values():
            on_lost(answer)
        self._waiting.clear()
        self._has_room.set()
        self._is_idle.set()
        self._on_failure(error)

    # On the writer thread...

    def _write_loop(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(_COMMIT_INTERVAL)
            with self._lock:
                answers, self._queue = self._queue, []
            if not answers:
                continue
            try:
                self._journal.add(answers, self._run)
            except ClaudeError as error:
                self._call_on_loop(partial(self._fail, error))
                return
            except Exception as error:  # any failure must reach the callers that wait for the writer
                kind = type(error).__name__
                failure = JournalError(f"The journal cannot take an answer ({kind}: {error}).")
                self._call_on_loop(partial(self._fail, failure))
                return
            self._call_on_loop(partial(self._on_commit, answers))

    def _call_on_loop(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so the run has ended
            self._loop.call_soon_threadsafe(callback)
