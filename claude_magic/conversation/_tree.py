"""The tree of turns. Every branch is append-only, as the models of today demand of a conversation.

Running a cell again begins a new branch: its parent is the present turn of the cell that its former turn followed, so that a
second Run All builds a fresh branch throughout, and an edit further up counts. Nothing is deleted, but by `clear`.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from ._turn import Place, Turn

MAIN_THREAD = "main"


@dataclass
class _Thread:
    head: str | None = None
    cells: dict[str, str] = field(default_factory=dict)  # the present turn of each cell


class Conversations:
    """The threads of a kernel. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turns: dict[str, Turn] = {}
        self._threads: dict[str, _Thread] = {MAIN_THREAD: _Thread()}

    def place(self, *, thread: str | None = None, cell: str | None = None, start_new: bool = False) -> Place:
        """Return where the next turn goes. Changes nothing.

        Args:
            thread: The thread; None is the main one.
            cell: The key of the cell that asks, or None.
            start_new: Begin at the root.
        """
        name = thread or MAIN_THREAD
        with self._lock:
            known = self._threads.get(name) or _Thread()
            former = self._turns.get(known.cells.get(cell or "", ""))
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

    def binding(self, place: Place, *, model: str, fingerprint: str) -> bool:
        """Return whether thinking on the way to a place is bound to other system prompts or tools than these."""
        with self._lock:
            return any(
                turn.is_rebound or (turn.has_thinking and turn.fingerprint != fingerprint)
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
            turn = Turn(
                id=uuid.uuid4().hex[:12],
                parent=place.parent,
                thread=place.thread,
                cell=place.cell,
                prompt=prompt,
                messages=tuple(messages),
                model=model,
                fingerprint=fingerprint,
                is_rebound=self.binding(place, model=model, fingerprint=fingerprint),
                is_partial=is_partial,
                usage=usage,
                asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
                context_tokens=context_tokens,
            )
            self._turns[turn.id] = turn
            thread = self._threads.setdefault(place.thread, _Thread())
            thread.head = turn.id
            if turn.cell is not None:
                thread.cells[turn.cell] = turn.id
            return turn

    def _present(self, thread: _Thread, turn_id: str | None) -> str | None:
        turn = self._turns.get(turn_id or "")
        if turn is None or turn.cell is None:
            return turn_id
        return thread.cells.get(turn.cell, turn.id)

    def _path(self, turn_id: str | None) -> Iterator[Turn]:
        """Yield the turns from one up to the root."""
        while (turn := self._turns.get(turn_id or "")) is not None:
            yield turn
            turn_id = turn.parent

    def _count_after(self, former: Turn, head: str | None) -> int:
        path = [turn.id for turn in self._path(head)]
        return path.index(former.id) if former.id in path else 0


def fingerprint(system: object, tools: object) -> str:
    """Return what stands for a system prompt and tools: equal ones have equal fingerprints."""
    return hashlib.sha256(to_json([system or None, tools or []])).hexdigest()
