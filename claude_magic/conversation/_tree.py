"""The tree of turns. Every branch is append-only, as the models of today demand of a conversation.

Running a cell again begins a new branch; `Place` says where. Nothing is deleted, but by `clear`.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ..client import THINKING_TYPES, ConfigurationError, as_sentence, encode_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and all that it took to answer it.

    Attributes:
        id: Tells it from all others.
        parent: The turn before it, by id; None at the root.
        follows: Its parent, or what would have been it if the conversation did not begin again; it need not be there any more.
        thread: The thread in which it was asked.
        cell: The key of the cell that asked, or None.
        prompt: The user's words, for display.
        messages: The API's messages, the user's first, exactly as they were sent and received.
        model: The model that answered, or the one that was asked where none did.
        fingerprint: Of the system prompt and tools; thinking is bound to them.
        is_rebound: It was asked on a path with thinking of another fingerprint, or on one that is gone.
        is_partial: It broke off.
        usage: Tokens it took, as the API names them, or None.
        asked_at: When, as RFC 3339 text.
        context_tokens: Size of the conversation after it, in model tokens; 0 if unknown.
    """

    id: str
    parent: str | None
    follows: str | None
    thread: str
    cell: str | None
    prompt: str
    messages: tuple[dict[str, Any], ...]
    model: str
    fingerprint: str
    is_rebound: bool = False
    is_partial: bool = False
    usage: Mapping[str, Any] | None = None
    asked_at: str = ""
    context_tokens: int = 0

    @property
    def answer_text(self) -> str:
        """The text of the last reply."""
        for message in reversed(self.messages):
            if message["role"] == "assistant":
                return "".join(block["text"] for block in _blocks(message) if block.get("type") == "text")
        return ""

    @property
    def has_thinking(self) -> bool:
        """Whether a reply in it holds thinking, which is bound to what came before."""
        return any(
            block.get("type") in THINKING_TYPES
            for message in self.messages
            if message["role"] == "assistant"
            for block in _blocks(message)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the next turn goes.

    Attributes:
        thread: The thread.
        parent: The turn before it, by id; None at the root.
        follows: What the parent is if the conversation did not begin again.
        cell: The key of the cell that asks, or None.
        left_behind: Later turns that will belong to the previous answer's branch.
        left_aside: Turns on the way to the head that are not on the way to this place, because it is on a branch from before.
        left_head: The number of the turn in which the thread ends, if some are left behind or aside; else 0.
        is_beside: The turn is kept on a branch of its own, and its thread does not go on from it.
    """

    thread: str
    parent: str | None
    follows: str | None
    cell: str | None
    left_behind: int = 0
    left_aside: int = 0
    left_head: int = 0
    is_beside: bool = False


def _blocks(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


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
    """All turns at one moment, for code that draws or writes them.

    Attributes:
        turns: By id, oldest first.
        threads: By name.
        numbers: The numbers of the turns, by id, as `Conversations` counts them; none in a forest that comes from a file.
    """

    turns: Mapping[str, Turn]
    threads: Mapping[str, Thread]
    numbers: Mapping[str, int] = field(default_factory=dict, compare=False)

    def path(self, turn_id: str | None) -> Iterator[Turn]:
        """Yield the turns from one up to the root."""
        return path_to_root(self.turns, turn_id)


def path_to_root(turns: Mapping[str, Turn], turn_id: str | None) -> Iterator[Turn]:
    """Yield the turns from one up to the root; none where there is no such turn."""
    while turn_id is not None and (turn := turns.get(turn_id)) is not None:
        yield turn
        turn_id = turn.parent


# Where a cell's next turn goes.
#
# A cell that has not asked in a thread goes on at the head, wherever `undo`, `fork` or `load` have put that. A cell that asks again
# begins a new branch: its turn follows the *present* turn of the cell that its previous turn followed, so that a second Run All builds a
# fresh branch throughout, and an edit further up counts. Nothing goes on from a turn that was taken back, but from what it stood on.
#
# One execution may ask several questions. They have keys of their own, `id`, `id#1`, `id#2`, and follow one another; what came after
# them follows the last one of the latest execution, however many that asked.
_LATER_QUESTION = re.compile(r"(?P<cell>.+)#(?P<number>[1-9]\d*)", re.DOTALL | re.ASCII)


def find_place(
    turns: Mapping[str, Turn], thread: Thread, *, name: str, cell: str | None, start_new: bool
) -> Place:
    """Return where the next turn of a cell goes in a thread of this name."""
    previous = None if cell is None else turns.get(thread.cells.get(cell, ""))
    if previous is None or cell is None:
        follows, left_behind, left_aside = thread.head, 0, 0
    else:
        follows = _present(turns, thread, previous.follows, cell)
        left_behind, left_aside = _count_leaving(turns, thread.head, previous, follows)
    parent = None if start_new else follows
    if parent is None:  # that a beginning has nothing before it is no news
        left_aside = 0
    return Place(
        thread=name,
        parent=parent,
        follows=follows,
        cell=cell,
        left_behind=left_behind,
        left_aside=left_aside,
    )


def take_cell(thread: Thread, cell: str, turn_id: str) -> None:
    """Make a turn the present one of its cell. Later questions of an execution before this one are earlier ones from now on."""
    asking, number = split_key(cell)
    for key in _questions(thread, asking):
        if split_key(key)[1] > number:
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
    cell, _ = split_key(turn.cell)
    keys = [turn.cell] if cell == split_key(asking)[0] else _questions(thread, cell)
    known = [thread.cells[key] for key in keys if thread.cells.get(key) in turns]
    standing = [each for each in known if each not in thread.taken_back]
    return turns[(standing or known or [turn.id])[-1]]


def _questions(thread: Thread, cell: str) -> list[str]:
    """Return the keys of the questions of a cell, in their order."""
    keys = [key for key in thread.cells if key.startswith(cell) and split_key(key)[0] == cell]
    return sorted(keys, key=lambda key: split_key(key)[1])


def split_key(key: str) -> tuple[str, int]:
    """Return the cell of a key, and which question of an execution it stands for, counted from 0."""
    match = _LATER_QUESTION.fullmatch(key)
    return (key, 0) if match is None else (match["cell"], int(match["number"]))


def _count_leaving(
    turns: Mapping[str, Turn], head: str | None, previous: Turn, follows: str | None
) -> tuple[int, int]:
    """Count the turns on the way to the head that come after the previous one; else those that the new way does not share."""
    way = [turn.id for turn in path_to_root(turns, head)]
    if previous.id in way:
        return way.index(previous.id), 0
    shared = {turn.id for turn in path_to_root(turns, follows)}
    return 0, sum(turn_id not in shared for turn_id in way)


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


MAIN_THREAD = "main"
"""The thread of cells that name none."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What became of the turns of a thread that was forgotten.

    Attributes:
        forgotten: Turns that are gone.
        kept: Turns that other threads go on from.
    """

    forgotten: int
    kept: int


class Conversations:
    """The threads of a kernel. Every method may be called from any thread.

    Turns are numbered from 1 on, in the order in which they come, whatever their threads. No number is given twice.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turns: dict[str, Turn] = {}
        self._numbers: dict[str, int] = {}
        self._last_number = 0
        self._threads: dict[str, Thread] = {MAIN_THREAD: Thread()}

    # Asking...

    def place(
        self,
        *,
        thread: str | None = None,
        cell: str | None = None,
        start_new: bool = False,
        is_beside: bool = False,
    ) -> Place:
        """Return where the next turn goes. Changes nothing.

        Args:
            thread: The thread; None is the main one.
            cell: The key of the cell that asks, or None.
            start_new: Begin at the root.
            is_beside: Nothing goes on from the turn: the cell asks another one in the same place.
        """
        name = thread or MAIN_THREAD
        with self._lock:
            known = self._threads.get(name) or Thread()
            place = find_place(self._turns, known, name=name, cell=cell, start_new=start_new)
            if is_beside:
                return replace(place, is_beside=True, left_behind=0, left_aside=0)
            if place.left_behind or place.left_aside:
                return replace(place, left_head=self._numbers.get(known.head or "", 0))
            return place

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
        name: str | None = None,
    ) -> Turn:
        """Add a turn at a place; the head of its thread moves there, unless the turn stands beside it.

        Args as for `Turn`, but for `name`: what its id is made of, where that is to be the same in each run of a notebook.
        """
        with self._lock:
            parent = place.parent if place.parent in self._turns else None
            # While it was asked: thinking in it is bound to what was before it.
            was_cleared = parent != place.parent
            turn = Turn(
                id=new_turn_id() if name is None else self._stable_id(f"{parent} {place.thread} {name}"),
                parent=parent,
                follows=place.follows,
                thread=place.thread,
                cell=place.cell,
                prompt=prompt,
                messages=tuple(messages),
                model=model,
                fingerprint=fingerprint,
                is_rebound=was_cleared or self.binding(place, fingerprint=fingerprint),
                is_partial=is_partial,
                usage=usage,
                asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
                context_tokens=context_tokens,
            )
            self._turns[turn.id] = turn
            self._count(turn.id)
            thread = self._threads.setdefault(place.thread, Thread())
            if not place.is_beside:
                self._move(thread, turn.id)
                if turn.cell is not None:
                    take_cell(thread, turn.cell, turn.id)
            return turn

    def _stable_id(self, name: str) -> str:
        """Return an id that is the same for the same turns before it."""
        ids = (hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:12] for number in itertools.count())
        return next(each for each in ids if each not in self._turns)

    # Moving about...

    def undo(self, count: int = 1, *, thread: str | None = None) -> list[Turn]:
        """Move the head of a thread back, to the parent of its last turn; the turns stay, off the path.

        Run again, their cells ask in the same place; other cells do not go on from them any more.

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
                known.taken_back.add(turn.id)
            return taken

    def switch(self, number: int) -> tuple[Turn, int]:
        """Let the thread of a turn end in it: the next question goes on from there. What came after it stays in the tree.

        Run again, the cells on the way there ask in the places that they have on that way.

        Args:
            number: The number of the turn.

        Returns:
            The turn, and the number of the one in which its thread ended before; 0 if that had none.

        Raises:
            ConfigurationError: There is no such turn.
        """
        with self._lock:
            turn = self.turn(number)
            thread = self._threads.setdefault(turn.thread, Thread())
            previous = self._numbers.get(thread.head or "", 0)
            self._move(thread, turn.id)
            for each in reversed(list(self._path(turn.id))):
                if each.cell is not None and each.thread == turn.thread:
                    take_cell(thread, each.cell, each.id)
            return turn, previous

    def ends_in(self, cell: str | None, *, thread: str | None = None) -> bool:
        """Whether a thread ends in the present turn of a cell, so that nothing goes on from that yet."""
        with self._lock:
            return self._last_of(cell, thread) is not None

    def return_to(self, question: Mapping[str, Any], *, cell: str | None, thread: str | None = None) -> None:
        """Let a thread end in an earlier turn of the cell that it ends in: in the one in which that asked this, in the same place.

        Where the thread does not end in that cell any more, or no such turn is whole, nothing happens.

        Args:
            question: The message that asked.
            cell: The key of the cell.
            thread: The thread; None is the main one.
        """
        with self._lock:
            last = self._last_of(cell, thread)
            if last is None:
                return
            asked = [turn for turn in self._turns.values() if _asks_the_same(turn, last, question)]
            if asked:
                known = self._threads[last.thread]
                self._move(known, asked[-1].id)
                known.cells[asked[-1].cell or ""] = asked[-1].id

    def fork(self, name: str, *, thread: str | None = None, cell: str | None = None) -> ThreadSummary:
        """Let a new thread begin where another one is.

        The cell that made a thread may make it again, as in a second Run All. Then it begins again; its previous turns stay in the
        tree.

        Args:
            name: The new thread.
            thread: Where it begins; None is the main thread.
            cell: The key of the cell that makes it, or None.

        Raises:
            ConfigurationError: There are turns in a thread of that name, which another cell made.
        """
        with self._lock:
            known = self._threads.get(name) or Thread()
            is_in_use = known.head is not None or any(turn.thread == name for turn in self._turns.values())
            if is_in_use and (cell is None or known.forked_by != cell):
                raise ConfigurationError(
                    f"There is a thread {name} already. Choose another name, or delete it: %claude clear {as_sentence(name)}"
                )
            source = self._threads.get(thread or MAIN_THREAD) or Thread()
            self._threads[name] = Thread(head=source.head, forked_by=cell)
            return self._summary(name)

    def clear(self, thread: str | None = None) -> Cleared:
        """Forget a thread for good: its turns, but for those that other threads go on from. These belong to them afterwards."""
        name = thread or MAIN_THREAD
        with self._lock:
            self._threads.pop(name, None)
            self._threads.setdefault(MAIN_THREAD, Thread())
            heirs = self._heirs(name)
            own = [turn for turn in self._turns.values() if turn.thread == name]
            for turn in own:
                if turn.id in heirs:
                    self._turns[turn.id] = replace(turn, thread=heirs[turn.id])
                else:
                    del self._turns[turn.id], self._numbers[turn.id]
            for other in self._threads.values():
                other.taken_back &= self._turns.keys()
            kept = sum(turn.id in heirs for turn in own)
            return Cleared(forgotten=len(own) - kept, kept=kept)

    # Looking...

    def threads(self) -> tuple[ThreadSummary, ...]:
        """Return all threads, the main one first."""
        with self._lock:
            names = sorted(self._threads, key=lambda name: (name != MAIN_THREAD, name))
            return tuple(self._summary(name) for name in names)

    def turn(self, number: int) -> Turn:
        """Return the turn of a number.

        Raises:
            ConfigurationError: There is none.
        """
        with self._lock:
            found = next((turn for turn in self._turns.values() if self._numbers[turn.id] == number), None)
        if found is None:
            raise ConfigurationError(
                f"There is no turn {number}: %claude history shows the turns with their numbers. Nothing has changed."
            )
        return found

    def number_of(self, turn: Turn) -> int:
        """Return the number of a turn; 0 where it is gone."""
        with self._lock:
            return self._numbers.get(turn.id, 0)

    def forest(self) -> Forest:
        """Return all turns and threads as they are now."""
        with self._lock:
            threads = {name: thread.copy() for name, thread in self._threads.items()}
            return Forest(turns=dict(self._turns), threads=threads, numbers=dict(self._numbers))

    def adopt(self, forest: Forest, *, forgets_cells: bool = False) -> None:
        """Add the turns of another forest; the threads that it has move to where they are there.

        Turns of one's own stay on their branches.

        Args:
            forest: The other one.
            forgets_cells: In these threads, cells whose turns it does not hold have not asked: run again, they go on at the end.
        """
        with self._lock:
            forest = fit_beside(forest, self._turns)
            self._turns.update(forest.turns)
            for turn_id in forest.turns:
                self._count(turn_id)
            for name, thread in forest.threads.items():
                known = self._threads.setdefault(name, Thread())
                known.forked_by = thread.forked_by
                if forgets_cells:
                    known.cells.clear()
                known.cells.update(thread.cells)
                known.taken_back |= thread.taken_back
                self._move(known, thread.head)

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {
                "_turns": dict(self._turns),
                "_numbers": dict(self._numbers),
                "_last_number": self._last_number,
                "_threads": {name: each.copy() for name, each in self._threads.items()},
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def reset_lock(self) -> None:
        """Make a new lock, in a forked child: a thread that may have held it does not exist there."""
        self._lock = threading.RLock()

    def _count(self, turn_id: str) -> None:
        """Give a turn its number, if it has none."""
        if turn_id not in self._numbers:
            self._last_number += 1
            self._numbers[turn_id] = self._last_number

    def _last_of(self, cell: str | None, thread: str | None) -> Turn | None:
        """Return the present turn of a cell if its thread ends in it."""
        known = self._threads.get(thread or MAIN_THREAD)
        if known is None or cell is None or known.head is None or known.cells.get(cell) != known.head:
            return None
        return self._turns[known.head]

    def _move(self, thread: Thread, head: str | None) -> None:
        """Let a thread end in a turn. All on the way there stands, also what was taken back while the turn was asked."""
        thread.head = head
        if thread.taken_back:
            thread.taken_back -= {turn.id for turn in self._path(head)}

    def _heirs(self, name: str) -> dict[str, str]:
        """Return, for each turn that another thread than this one goes on from, the name of that thread."""
        ends = [(turn.id, turn.thread) for turn in self._turns.values() if turn.thread != name]
        ends += [(each.head, other) for other, each in self._threads.items() if each.head is not None]
        return {turn.id: thread for end, thread in ends for turn in self._path(end)}

    def _summary(self, name: str) -> ThreadSummary:
        head = self._threads[name].head
        path = list(self._path(head))
        return ThreadSummary(name=name, turns=len(path), head=path[0] if path else None)

    def _path(self, turn_id: str | None) -> Iterator[Turn]:
        return path_to_root(self._turns, turn_id)


def _asks_the_same(turn: Turn, other: Turn, question: Mapping[str, Any]) -> bool:
    is_there = (turn.cell, turn.thread, turn.parent) == (other.cell, other.thread, other.parent)
    return is_there and not turn.is_partial and turn.messages[0] == question


def fingerprint(system: object, tools: object) -> str:
    """Return what stands for a system prompt and tools: equal ones have equal fingerprints."""
    return hashlib.sha256(encode_json([system or None, tools or []])).hexdigest()
