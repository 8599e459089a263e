"""Turns of a file beside those that are there already."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ._forest import Forest, Thread, path_to_root
from ._turn import Turn


def new_turn_id() -> str:
    """Return an id that no other turn has."""
    return uuid.uuid4().hex[:12]


def fit_beside(forest: Forest, present: Mapping[str, Turn]) -> Forest:
    """Return a forest that replaces none of the turns that are there.

    A turn of the same id is the same turn, unless the file was edited. Then it gets another id, and so do the turns after it.
    """
    ids: dict[str, str] = {}
    turns: dict[str, Turn] = {}
    for turn in _parents_first(forest):
        moved = replace(turn, parent=_renamed(ids, turn.parent), follows=_renamed(ids, turn.follows))
        there = present.get(turn.id)
        if there is None:
            kept = moved
        elif _is_same(there, moved):
            kept = there
        else:
            kept = replace(moved, id=new_turn_id())
        ids[turn.id] = kept.id
        turns[kept.id] = kept
    threads = {
        name: Thread(
            head=_renamed(ids, thread.head),
            cells={cell: ids[turn] for cell, turn in thread.cells.items()},
            taken_back={ids[turn] for turn in thread.taken_back},
            forked_by=thread.forked_by,
        )
        for name, thread in forest.threads.items()
    }
    return Forest(turns=turns, threads=threads)


def _parents_first(forest: Forest) -> Iterator[Turn]:
    seen: set[str] = set()
    for turn_id in forest.turns:
        way = []
        for turn in path_to_root(forest.turns, turn_id):
            if turn.id in seen:
                break
            way.append(turn)
        seen.update(turn.id for turn in way)
        yield from reversed(way)


def _renamed(ids: Mapping[str, str], turn_id: str | None) -> str | None:
    return None if turn_id is None else ids.get(turn_id, turn_id)


def _is_same(one: Turn, other: Turn) -> bool:
    """Tell whether two turns of one id say the same. Their threads may differ: `clear` leaves some to others."""
    return (one.parent, one.prompt, one.messages) == (other.parent, other.prompt, other.messages)
