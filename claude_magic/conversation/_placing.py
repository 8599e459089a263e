"""Where a cell's next turn goes.

A cell that has not asked in a thread goes on at the head, wherever `undo`, `fork` or `load` have put that. A cell that asks again
begins a new branch: its turn follows the *present* turn of the cell that its former turn followed, so that a second Run All builds a
fresh branch throughout, and an edit further up counts. Nothing goes on from a turn that was taken back, but from what it stood on.

One execution may ask several questions. They have keys of their own, `id`, `id#1`, `id#2`, and follow one another; what came after
them follows the last one of the latest execution, however many that asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ._forest import Thread, path_to_root
from ._turn import Place, Turn

_LATER_QUESTION = re.compile(r"(?P<cell>.+)#(?P<number>[1-9]\d*)", re.DOTALL | re.ASCII)


def find_place(
    turns: Mapping[str, Turn], thread: Thread, *, name: str, cell: str | None, start_new: bool
) -> Place:
    """Return where the next turn of a cell goes in a thread of this name."""
    former = None if cell is None else turns.get(thread.cells.get(cell, ""))
    if former is None or cell is None:
        follows, left_behind, left_aside = thread.head, 0, 0
    else:
        follows = _present(turns, thread, former.follows, cell)
        left_behind, left_aside = _count_leaving(turns, thread.head, former, follows)
    parent = None if start_new else follows
    return Place(
        thread=name,
        parent=parent,
        follows=follows,
        cell=cell,
        left_behind=left_behind,
        left_aside=left_aside
        if parent is not None
        else 0,  # that a beginning has nothing before it is no news
    )


def take_cell(thread: Thread, cell: str, turn_id: str) -> None:
    """Make a turn the present one of its cell. Later questions of an execution before this one are former ones from now on."""
    asking, number = _split(cell)
    for key in _questions(thread, asking):
        if _split(key)[1] > number:
            del thread.cells[key]
    thread.cells[cell] = turn_id


def _present(turns: Mapping[str, Turn], thread: Thread, turn_id: str | None, asking: str) -> str | None:
    """Return the turn that stands now where a cell followed this one when it asked before; None for the root."""
    turn = turns.get(turn_id or "")
    if turn is None:
        return None
    present = _present_of_cell(turns, thread, turn, asking)
    if present.id not in thread.taken_back:
        return present.id
    way = path_to_root(turns, present.id)
    base = next((each for each in way if each.id not in thread.taken_back), None)
    return None if base is None else _present_of_cell(turns, thread, base, asking).id


def _present_of_cell(turns: Mapping[str, Turn], thread: Thread, turn: Turn, asking: str) -> Turn:
    """Return the present turn of the cell that a turn belongs to; the turn itself where that cell has none, or it has no cell."""
    if turn.cell is None:
        return turn
    cell, _ = _split(turn.cell)
    keys = [turn.cell] if cell == _split(asking)[0] else _questions(thread, cell)
    known = [thread.cells[key] for key in keys if thread.cells.get(key) in turns]
    standing = [each for each in known if each not in thread.taken_back]
    return turns[(standing or known or [turn.id])[-1]]


def _questions(thread: Thread, cell: str) -> list[str]:
    """Return the keys of the questions of a cell, in their order."""
    keys = [key for key in thread.cells if key.startswith(cell) and _split(key)[0] == cell]
    return sorted(keys, key=lambda key: _split(key)[1])


def _split(key: str) -> tuple[str, int]:
    """Return the cell of a key, and which question of an execution it stands for, counted from 0."""
    match = _LATER_QUESTION.fullmatch(key)
    return (key, 0) if match is None else (match["cell"], int(match["number"]))


def _count_leaving(
    turns: Mapping[str, Turn], head: str | None, former: Turn, follows: str | None
) -> tuple[int, int]:
    """Count the turns on the way to the head that come after the former one; else those that the new way does not share."""
    way = [turn.id for turn in path_to_root(turns, head)]
    if former.id in way:
        return way.index(former.id), 0
    shared = {turn.id for turn in path_to_root(turns, follows)}
    return 0, sum(turn_id not in shared for turn_id in way)
