"""The tree of turns. Every branch is append-only, as the models of today demand of a conversation.

Running a cell again begins a new branch: its parent is the present turn of the cell that its former turn followed, so that a
second Run All builds a fresh branch throughout, and an edit further up counts. Where the former turn followed one without a cell,
that is the parent. A cell that never asked in a thread goes on at its head, wherever `undo`, `fork` or `load` have put that.
Nothing is deleted, but by `clear`.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from ..client import ConfigurationError
from ._turn import Place, Turn

MAIN_THREAD = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSummary:
    """One thread in a few words.

    Attributes:
        name: Its name.
        turns: Turns on the way from the root to its head.
        head: Its last turn, or None.
    """

    name: str
    turns: int
    head: Turn | None


@dataclass(kw_only=True)
class Thread:
    """A path through the tree, by its last turn.

    Attributes:
        head: The last turn, by id; None before the first.
        cells: The present turn of each cell that has asked here.
    """

    head: str | None = None
    cells: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """All turns at one moment, for whoever draws or writes them.

    Attributes:
        turns: By id, oldest first.
        threads: By name.
    """

    turns: Mapping[str, Turn]
    threads: Mapping[str, Thread]

    def path(self, turn_id: str | None) -> Iterator[Turn]:
        """Yield the turns from one up to the root."""
        while turn_id is not None:
            turn = self.turns[turn_id]
            yield turn
            turn_id = turn.parent


class Conversations:
    """The threads of a kernel. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turns: dict[str, Turn] = {}
        self._threads: dict[str, Thread] = {MAIN_THREAD: Thread()}

    # Asking...

    def place(self, *, thread: str | None = None, cell: str | None = None, start_new: bool = False) -> Place:
        """Return where the next turn goes. Changes nothing.

        Args:
            thread: The thread; None is the main one.
            cell: The key of the cell that asks, or None.
            start_new: Begin at the root.
        """
        name = thread or MAIN_THREAD
        with self._lock:
            known = self._threads.get(name) or Thread()
            former = None if cell is None else self._turns.get(known.cells.get(cell, ""))
            if former is None:
                return Place(thread=name, parent=None if start_new else known.head, cell=cell)
            parent = None if start_new else self._present(known, former.parent)
            return Place(
                thread=name, parent=parent, cell=cell, left_behind=self._count_after(former, known.head)
            )

    def messages(self, place: Place) -> list[dict[str, Any]]:
        """Return what was said on the way from the root to a place, oldest first: the very objects that were added."""
        with self._lock:
            turns = list(self._path(place.parent))
        return [message for turn in reversed(turns) for message in turn.messages]

    def binding(self, place: Place, *, fingerprint: str) -> bool:
        """Return whether thinking on the way to a place is bound to another system prompt or other tools than these."""
        with self._lock:
            return any(
                turn.is_rebound or (turn.fingerprint != fingerprint and turn.has_thinking)
                for turn in self._path(place.parent)
            )

    def parent_turn(self, place: Place) -> Turn | None:
        """Return the turn before a place, or None at the root."""
        with self._lock:
            return self._turns.get(place.parent or "")

    def add(
        self,
        place: Place,
        *,
        prompt: str,
        messages: Sequence[dict[str, Any]],
        model: str,
        fingerprint: str,
        is_partial: bool = False,
        usage: Mapping[str, Any] | None = None,
        context_tokens: int = 0,
    ) -> Turn:
        """Add a turn at a place; the head of its thread moves there."""
        with self._lock:
            parent = place.parent if place.parent in self._turns else None  # else it was cleared meanwhile
            turn = Turn(
                id=uuid.uuid4().hex[:12],
                parent=parent,
                thread=place.thread,
                cell=place.cell,
                prompt=prompt,
                messages=tuple(messages),
                model=model,
                fingerprint=fingerprint,
                is_rebound=self.binding(place, fingerprint=fingerprint),
                is_partial=is_partial,
                usage=usage,
                asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
                context_tokens=context_tokens,
            )
            self._turns[turn.id] = turn
            thread = self._threads.setdefault(place.thread, Thread())
            thread.head = turn.id
            if turn.cell is not None:
                thread.cells[turn.cell] = turn.id
            return turn

    # Moving about...

    def undo(self, count: int = 1, *, thread: str | None = None) -> list[Turn]:
        """Move the head of a thread back, to the parent of its last turn; the turns stay, off the path.

        Returns:
            The turns that were taken back, the last one first; fewer than `count` where there are fewer.
        """
        with self._lock:
            known = self._threads.get(thread or MAIN_THREAD)
            taken: list[Turn] = []
            while known is not None and known.head is not None and len(taken) < count:
                turn = self._turns[known.head]
                taken.append(turn)
                known.head = turn.parent
            return taken

    def fork(self, name: str, *, thread: str | None = None) -> ThreadSummary:
        """Let a new thread begin where another one is.

        Raises:
            ConfigurationError: There are turns in a thread of that name.
        """
        with self._lock:
            known = self._threads.get(name)
            if known is not None and known.head is not None:
                raise ConfigurationError(
                    f"There is a thread {name} already. Take another name, or forget it with %claude clear {name}."
                )
            source = self._threads.get(thread or MAIN_THREAD) or Thread()
            self._threads[name] = Thread(head=source.head)
            return self._summary(name)

    def clear(self, thread: str | None = None) -> int:
        """Forget a thread for good: its turns, but for those that turns of other threads go on from.

        Returns:
            The number of turns that were forgotten.
        """
        name = thread or MAIN_THREAD
        with self._lock:
            self._threads.pop(name, None)
            self._threads.setdefault(MAIN_THREAD, Thread())
            heirs = self._heirs(name)
            forgotten = [
                turn.id for turn in self._turns.values() if turn.thread == name and turn.id not in heirs
            ]
            for turn_id in forgotten:
                del self._turns[turn_id]
            for turn in list(self._turns.values()):
                if turn.thread == name:  # from now on it belongs to whoever goes on from it
                    self._turns[turn.id] = replace(turn, thread=heirs[turn.id])
            return len(forgotten)

    # Looking...

    def threads(self) -> tuple[ThreadSummary, ...]:
        """Return all threads, the main one first."""
        with self._lock:
            names = sorted(self._threads, key=lambda name: (name != MAIN_THREAD, name))
            return tuple(self._summary(name) for name in names)

    def forest(self) -> Forest:
        """Return all turns and threads as they are now."""
        with self._lock:
            threads = {
                name: Thread(head=thread.head, cells=dict(thread.cells))
                for name, thread in self._threads.items()
            }
            return Forest(turns=dict(self._turns), threads=threads)

    def adopt(self, forest: Forest) -> None:
        """Add the turns of another forest; the threads that it has move to where they are there.

        Turns of one's own stay on their branches.
        """
        with self._lock:
            self._turns.update(forest.turns)
            for name, thread in forest.threads.items():
                known = self._threads.setdefault(name, Thread())
                known.head = thread.head
                known.cells.update(thread.cells)

    def reset_lock(self) -> None:
        """Make a new lock, in a forked child: a thread that may have held it does not exist there."""
        self._lock = threading.RLock()

    def _heirs(self, name: str) -> dict[str, str]:
        """Return for each turn that something other than a thread goes on from, which thread that is."""
        ends = [(turn.id, turn.thread) for turn in self._turns.values() if turn.thread != name]
        ends += [(each.head, other) for other, each in self._threads.items() if each.head is not None]
        return {turn.id: thread for end, thread in ends for turn in self._path(end)}

    def _summary(self, name: str) -> ThreadSummary:
        head = self._threads[name].head
        path = list(self._path(head))
        return ThreadSummary(name=name, turns=len(path), head=path[0] if path else None)

    def _present(self, thread: Thread, turn_id: str | None) -> str | None:
        """Return the present turn of the cell that a turn belongs to; the turn itself where it belongs to none."""
        turn = self._turns.get(turn_id or "")
        if turn is None or turn.cell is None:
            return None if turn is None else turn.id
        present = thread.cells.get(turn.cell, turn.id)
        return present if present in self._turns else turn.id

    def _path(self, turn_id: str | None) -> Iterator[Turn]:
        """Yield the turns from one up to the root."""
        while (turn := self._turns.get(turn_id or "")) is not None:
            yield turn
            turn_id = turn.parent

    def _count_after(self, former: Turn, head: str | None) -> int:
        for count, turn in enumerate(self._path(head)):
            if turn.id == former.id:
                return count
        return 0


def fingerprint(system: object, tools: object) -> str:
    """Return what stands for a system prompt and tools: equal ones have equal fingerprints."""
    return hashlib.sha256(to_json([system or None, tools or []])).hexdigest()
