"""All turns and threads, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ._turn import Turn


@dataclass(kw_only=True)
class Thread:
    """A path through the tree, by its last turn.

    Attributes:
        head: The last turn, by id; None before the first.
        cells: The present turn of each cell that has asked here.
        taken_back: Turns that nothing goes on from any more, since `undo`.
        forked_by: The key of the cell that made it go on from another thread, or None.
    """

    head: str | None = None
    cells: dict[str, str] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)
    forked_by: str | None = None

    def copy(self) -> Thread:
        """Return one that does not change with this one."""
        return replace(self, cells=dict(self.cells), taken_back=set(self.taken_back))


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
        return path_to_root(self.turns, turn_id)


def path_to_root(turns: Mapping[str, Turn], turn_id: str | None) -> Iterator[Turn]:
    """Yield the turns from one up to the root; none where there is no such turn."""
    while turn_id is not None and (turn := turns.get(turn_id)) is not None:
        yield turn
        turn_id = turn.parent
