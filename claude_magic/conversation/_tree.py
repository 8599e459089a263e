"""The tree of turns. Every branch is append-only, as current models require of a conversation.

Running a cell again begins a new branch, at a `Place`. Only `clear` deletes turns.
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
from typing import Any, Final

from ..client import THINKING_TYPES, ConfigurationError, as_sentence, encode_json

CUT_SHORT: Final = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})
"""The API's reasons for the end of an answer that is incomplete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and its answer, with all messages between them.

    Attributes:
        id: Its unique id.
        parent: The id of the turn before it; None at the root.
        follows: The id of its parent, or of the turn that would be its parent if no new conversation had begun; that turn may
            no longer exist.
        thread: The thread of the question.
        cell: The key of the cell that asked, or None.
        prompt: The user's prompt, for display.
        messages: The messages of the API, the user's first, exactly as sent and received.
        model: The model that answered; without an answer, the requested one.
        fingerprint: The fingerprint of the system prompt and tools, to which thinking is bound.
        is_rebound: Whether its path contained thinking with another fingerprint, or was deleted while it was answered.
        is_partial: Whether the answer is incomplete.
        usage: The token usage in the API's form, or None.
        asked_at: The time of the question, in RFC 3339 format.
        context_tokens: The tokens of the conversation after it; 0 if unknown.
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
        """Whether a reply contains thinking, which is bound to the messages before it."""
        return any(
            block.get("type") in THINKING_TYPES
            for message in self.messages
            if message["role"] == "assistant"
            for block in _blocks(message)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of the next turn.

    Attributes:
        thread: The thread.
        parent: The id of the turn before it; None at the root.
        follows: The id of the parent if no new conversation began here.
        cell: The key of the cell that asks, or None.
        left_behind: The number of later turns that remain on the branch of the cell's previous answer.
        left_aside: The number of turns on the path to the head, but not on the path to this place (on an older branch).
        left_head: The number of the thread's last turn if turns are left behind or aside; else 0.
        is_side_branch: Whether the turn is kept on a branch of its own, from which the thread does not continue.
    """

    thread: str
    parent: str | None
    follows: str | None
    cell: str | None
    left_behind: int = 0
    left_aside: int = 0
    left_head: int = 0
    is_side_branch: bool = False


def _blocks(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _without_thinking(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] != "assistant" or isinstance(message["content"], str):
        return message
    content = [block for block in message["content"] if block.get("type") not in THINKING_TYPES]
    return {**message, "content": content}


@dataclass(kw_only=True)
class Thread:
    """A path through the tree, given by its last turn.

    Attributes:
        head: The id of the last turn; None before the first.
        cells: The id of the current turn of each cell that has asked here, by the key of the cell.
        taken_back: The ids of turns removed by `undo`, from which no turn continues.
        forked_by: The key of the cell that forked it from another thread, or None.
    """

    head: str | None = None
    cells: dict[str, str] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)
    forked_by: str | None = None

    def copy(self) -> Thread:
        """Return an independent copy."""
        return replace(self, cells=dict(self.cells), taken_back=set(self.taken_back))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """A snapshot of all turns, for display and saving.

    Attributes:
        turns: The turns by id, oldest first.
        threads: The threads by name.
        numbers: The numbers that `Conversations` gave the turns, by id; empty in a forest from a file.
        renamed: The names of threads that have another name than in the file, by their names there.
    """

    turns: Mapping[str, Turn]
    threads: Mapping[str, Thread]
    numbers: Mapping[str, int] = field(default_factory=dict, compare=False)
    renamed: Mapping[str, str] = field(default_factory=dict, compare=False)

    def path(self, turn_id: str | None) -> Iterator[Turn]:
        """Yield the turns from the given one up to the root."""
        return path_to_root(self.turns, turn_id)


def path_to_root(turns: Mapping[str, Turn], turn_id: str | None) -> Iterator[Turn]:
    """Yield the turns from the given one up to the root; none if it does not exist."""
    while turn_id is not None and (turn := turns.get(turn_id)) is not None:
        yield turn
        turn_id = turn.parent


# The place of a cell's next turn.
#
# A cell that has not asked in a thread continues at the head, which `undo`, `fork` and `load` may have moved. A cell that asks again
# begins a new branch: its turn follows the *current* turn of the cell that its previous turn followed. So a second Run All builds a
# completely new branch, and edits of earlier cells take effect. A turn that was taken back is replaced by its parent.
#
# One execution may ask several questions. They have the keys `id`, `id#1`, `id#2` and follow one another. Later cells follow the last
# question of the latest execution, however many it asked.
_LATER_QUESTION = re.compile(r"(?P<cell>.+)#(?P<number>[1-9]\d*)", re.DOTALL | re.ASCII)


def find_place(
    turns: Mapping[str, Turn], thread: Thread, *, name: str, cell: str | None, is_new: bool
) -> Place:
    """Return the place of the next turn of a cell in a thread."""
    previous = None if cell is None else turns.get(thread.cells.get(cell, ""))
    if previous is None or cell is None:
        follows, left_behind, left_aside = thread.head, 0, 0
    else:
        follows = _current(turns, thread, previous.follows, cell)
        left_behind, left_aside = _count_leaving(turns, thread.head, previous, follows)
    parent = None if is_new else follows
    if parent is None:  # a new conversation has no earlier turns to report
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
    """Make a turn the current one of its cell, and forget later questions of the cell's previous execution."""
    asking, number = split_key(cell)
    for key in _questions(thread, asking):
        if split_key(key)[1] > number:
            del thread.cells[key]
    thread.cells[cell] = turn_id


def _current(turns: Mapping[str, Turn], thread: Thread, turn_id: str | None, asking: str) -> str | None:
    """Return the current replacement of the turn that a cell followed when it asked before; None for the root."""
    turn = turns.get(turn_id or "")
    if turn is None:
        return None
    current = _current_of_cell(turns, thread, turn, asking)
    if current.id not in thread.taken_back:
        return current.id
    path = path_to_root(turns, current.id)
    base = next((each for each in path if each.id not in thread.taken_back), None)
    return None if base is None else _current_of_cell(turns, thread, base, asking).id


def _current_of_cell(turns: Mapping[str, Turn], thread: Thread, turn: Turn, asking: str) -> Turn:
    """Return the current turn of a turn's cell; the turn itself if it has no cell, or the cell has no current turn."""
    if turn.cell is None:
        return turn
    cell, _ = split_key(turn.cell)
    keys = [turn.cell] if cell == split_key(asking)[0] else _questions(thread, cell)
    known = [thread.cells[key] for key in keys if thread.cells.get(key) in turns]
    active = [each for each in known if each not in thread.taken_back]
    return turns[(active or known or [turn.id])[-1]]


def _questions(thread: Thread, cell: str) -> list[str]:
    """Return the keys of the questions of a cell, in order."""
    keys = [key for key in thread.cells if key.startswith(cell) and split_key(key)[0] == cell]
    return sorted(keys, key=lambda key: split_key(key)[1])


def split_key(key: str) -> tuple[str, int]:
    """Return the cell of a key, and the index of the question in its execution, counted from 0."""
    match = _LATER_QUESTION.fullmatch(key)
    return (key, 0) if match is None else (match["cell"], int(match["number"]))


def _count_leaving(
    turns: Mapping[str, Turn], head: str | None, previous: Turn, follows: str | None
) -> tuple[int, int]:
    """Return the numbers of turns that a new path leaves behind and aside; see `Place`."""
    path = [turn.id for turn in path_to_root(turns, head)]
    if previous.id in path:
        return path.index(previous.id), 0
    shared = {turn.id for turn in path_to_root(turns, follows)}
    return 0, sum(turn_id not in shared for turn_id in path)


def new_turn_id() -> str:
    """Return a new unique id."""
    return uuid.uuid4().hex[:12]


def with_unique_ids(forest: Forest, existing_turns: Mapping[str, Turn]) -> Forest:
    """Return the forest with new ids where needed, so that adding it replaces no existing turn.

    A turn with an existing id is the same turn, unless it or a turn before it was edited. Then it gets a new id, and loses its
    thinking, which is bound to the messages before it.
    """
    ids: dict[str, str] = {}
    turns: dict[str, Turn] = {}
    for turn in _parents_first(forest):
        moved = replace(turn, parent=_renamed(ids, turn.parent), follows=_renamed(ids, turn.follows))
        existing = existing_turns.get(turn.id)
        if existing is None:
            kept = moved
        elif _is_same(existing, moved):
            kept = existing
        else:
            kept = replace(moved, id=new_turn_id(), messages=tuple(map(_without_thinking, moved.messages)))
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
        path = []
        for turn in path_to_root(forest.turns, turn_id):
            if turn.id in seen:
                break
            path.append(turn)
        seen.update(turn.id for turn in path)
        yield from reversed(path)


def _renamed(ids: Mapping[str, str], turn_id: str | None) -> str | None:
    return None if turn_id is None else ids.get(turn_id, turn_id)


def _is_same(one: Turn, other: Turn) -> bool:
    """Return whether two turns have the same content. Their threads may differ, because `clear` moves turns to others."""
    return (one.parent, one.prompt, one.messages) == (other.parent, other.prompt, other.messages)


MAIN_THREAD = "main"
"""The thread of cells that do not name one."""
THREAD_NAME: Final = "one word of letters, digits, _ . and -"
"""What the name of a thread is, for messages."""


def is_thread_name(name: object) -> bool:
    """Return whether a thread can have this name."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) is not None


def check_thread_name(name: str) -> str:
    """Return the name of a thread.

    Raises:
        ConfigurationError: No thread can have this name.
    """
    if not is_thread_name(name):
        shown = repr(name[:60] if isinstance(name, str) else name)
        raise ConfigurationError(
            f"{shown} cannot be the name of a thread: it is {THREAD_NAME}. Nothing was sent."
        )
    return name


def with_thread_names(forest: Forest) -> Forest:
    """Return the forest with other names for threads that cannot have theirs: earlier versions allowed any name in Python."""
    names = dict.fromkeys([*forest.threads, *(turn.thread for turn in forest.turns.values())])
    renamed: dict[str, str] = {}
    for name in names:
        if not is_thread_name(name):
            stem = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "thread"
            numbered = (f"{stem}-{number}" for number in itertools.count(2))
            taken = {MAIN_THREAD, *forest.threads, *renamed.values()}
            renamed[name] = next(each for each in itertools.chain([stem], numbered) if each not in taken)
    if not renamed:
        return forest
    turns = {
        turn.id: replace(turn, thread=renamed[turn.thread]) if turn.thread in renamed else turn
        for turn in forest.turns.values()
    }
    threads = {renamed.get(name, name): thread for name, thread in forest.threads.items()}
    return replace(forest, turns=turns, threads=threads, renamed=renamed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSummary:
    """A summary of a thread.

    Attributes:
        name: Its name.
        turns: The number of turns from the root to its head.
        head: Its last turn, or None.
    """

    name: str
    turns: int
    head: Turn | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """The result of clearing a thread.

    Attributes:
        forgotten: The number of deleted turns.
        kept: The number of turns that other threads continue from.
    """

    forgotten: int
    kept: int


class Conversations:
    """The conversations of a kernel. Every method is thread-safe.

    Turns are numbered from 1 in order of arrival, across all conversation threads. No number is reused.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turns: dict[str, Turn] = {}
        self._numbers: dict[str, int] = {}
        self._last_number = 0
        self._threads: dict[str, Thread] = {MAIN_THREAD: Thread()}

    # Asking

    def place(
        self,
        *,
        thread: str | None = None,
        cell: str | None = None,
        is_new: bool = False,
        is_side_branch: bool = False,
    ) -> Place:
        """Return the place of the next turn. Nothing is changed.

        Args:
            thread: The thread; None for the main one.
            cell: The key of the cell that asks, or None.
            is_new: Whether to begin at the root.
            is_side_branch: Whether to keep the turn on its own branch: the cell asks another question in the same place.

        Raises:
            ConfigurationError: No thread can have this name.
        """
        name = MAIN_THREAD if thread is None else check_thread_name(thread)
        with self._lock:
            known = self._threads.get(name) or Thread()
            place = find_place(self._turns, known, name=name, cell=cell, is_new=is_new)
            if is_side_branch:
                return replace(place, is_side_branch=True, left_behind=0, left_aside=0)
            if place.left_behind or place.left_aside:
                return replace(place, left_head=self._numbers.get(known.head or "", 0))
            return place

    def messages(self, place: Place) -> list[dict[str, Any]]:
        """Return the messages from the root to a place, oldest first: the same objects that were added."""
        with self._lock:
            turns = list(self._path(place.parent))
        return [message for turn in reversed(turns) for message in turn.messages]

    def is_rebound(self, place: Place, fingerprint: str) -> bool:
        """Return whether thinking on the path to a place is bound to another system prompt or other tools."""
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
        """Add a turn at a place and return it. It becomes the head of the thread, unless `place.is_side_branch` is set.

        The arguments are the attributes of `Turn`, and `name`. If given, the id is derived from the name, so that it is
        the same in each run of a notebook.
        """
        with self._lock:
            parent = place.parent if place.parent in self._turns else None
            # Cleared while the question was answered: thinking in the answer is bound to the deleted turns.
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
                is_rebound=was_cleared or self.is_rebound(place, fingerprint),
                is_partial=is_partial,
                usage=usage,
                asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
                context_tokens=context_tokens,
            )
            self._turns[turn.id] = turn
            self._assign_number(turn.id)
            thread = self._threads.setdefault(place.thread, Thread())
            if not place.is_side_branch:
                self._move_head(thread, turn.id)
                if turn.cell is not None:
                    take_cell(thread, turn.cell, turn.id)
            return turn

    def _stable_id(self, name: str) -> str:
        """Return an unused id that depends only on the name and the existing ids."""
        ids = (hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:12] for number in itertools.count())
        return next(each for each in ids if each not in self._turns)

    # Moving heads

    def undo(self, count: int = 1, *, thread: str | None = None) -> list[Turn]:
        """Move the head of a thread back to the parent of its last turn; the turns stay in the tree, off the path.

        If their cells run again, they ask in the same place; other cells do not continue from these turns.

        Returns:
            The turns that were taken back, the last one first; possibly fewer than `count`.
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
        """Move the head of a thread to one of its turns, so that the next question continues there; later turns stay in the tree.

        If cells on the path to the turn run again, they ask in their places on that path.

        Args:
            number: The number of the turn.

        Returns:
            The turn, and the number of the previous head; 0 if there was none.

        Raises:
            ConfigurationError: There is no turn with this number.
        """
        with self._lock:
            turn = self.turn(number)
            thread = self._threads.setdefault(turn.thread, Thread())
            previous = self._numbers.get(thread.head or "", 0)
            self._move_head(thread, turn.id)
            for each in reversed(list(self._path(turn.id))):
                if each.cell is not None and each.thread == turn.thread:
                    take_cell(thread, each.cell, each.id)
            return turn, previous

    def ends_in(self, cell: str | None, *, thread: str | None = None) -> bool:
        """Return whether a thread ends in the current turn of a cell, so that no turn continues from it yet."""
        with self._lock:
            return self._last_of(cell, thread) is not None

    def return_to(self, question: Mapping[str, Any], *, cell: str | None, thread: str | None = None) -> None:
        """Move the head of a thread from the last turn of a cell to its earlier turn with this question in the same place.

        If the thread no longer ends in that cell, or there is no complete turn with this question, nothing changes.

        Args:
            question: The message with the question.
            cell: The key of the cell.
            thread: The thread; None for the main one.
        """
        with self._lock:
            last = self._last_of(cell, thread)
            if last is None:
                return
            asked = [turn for turn in self._turns.values() if _asks_the_same(turn, last, question)]
            if asked:
                known = self._threads[last.thread]
                self._move_head(known, asked[-1].id)
                known.cells[asked[-1].cell or ""] = asked[-1].id

    def fork(self, name: str, *, thread: str | None = None, cell: str | None = None) -> ThreadSummary:
        """Make a new thread that continues from the head of another one.

        The cell that made a thread may make it again, as in a second Run All. Then it starts again; its previous turns stay in the
        tree.

        Args:
            name: The name of the new thread.
            thread: The thread to fork; None for the main thread.
            cell: The key of the cell that makes it, or None.

        Raises:
            ConfigurationError: No thread can have this name, or a thread that has it has turns and was made by another cell.
        """
        check_thread_name(name)
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
        """Delete a thread and its turns; turns that other threads continue from are moved to these threads."""
        name = thread or MAIN_THREAD
        with self._lock:
            self._threads.pop(name, None)
            self._threads.setdefault(MAIN_THREAD, Thread())
            new_threads = self._continuing_threads(name)
            own = [turn for turn in self._turns.values() if turn.thread == name]
            for turn in own:
                if turn.id in new_threads:
                    self._turns[turn.id] = replace(turn, thread=new_threads[turn.id])
                else:
                    del self._turns[turn.id], self._numbers[turn.id]
            for other in self._threads.values():
                other.taken_back &= self._turns.keys()
            kept = sum(turn.id in new_threads for turn in own)
            return Cleared(forgotten=len(own) - kept, kept=kept)

    # Reading

    def threads(self) -> tuple[ThreadSummary, ...]:
        """Return all threads, the main one first."""
        with self._lock:
            names = sorted(self._threads, key=lambda name: (name != MAIN_THREAD, name))
            return tuple(self._summary(name) for name in names)

    def turn(self, number: int) -> Turn:
        """Return the turn with this number.

        Raises:
            ConfigurationError: There is no turn of this number.
        """
        with self._lock:
            found = next((turn for turn in self._turns.values() if self._numbers[turn.id] == number), None)
        if found is None:
            raise ConfigurationError(
                f"There is no turn {number}: %claude history shows the turns with their numbers. Nothing has changed."
            )
        return found

    def number_of(self, turn: Turn) -> int:
        """Return the number of a turn; 0 if it was deleted."""
        with self._lock:
            return self._numbers.get(turn.id, 0)

    def forest(self) -> Forest:
        """Return a snapshot of all turns and threads."""
        with self._lock:
            threads = {name: thread.copy() for name, thread in self._threads.items()}
            return Forest(turns=dict(self._turns), threads=threads, numbers=dict(self._numbers))

    def adopt(self, forest: Forest, *, forgets_cells: bool = False) -> None:
        """Add the turns of another forest, and move its threads to their heads there.

        Existing turns stay on their branches.

        Args:
            forest: The other forest.
            forgets_cells: Whether to forget the cells without a turn in the forest. If such a cell runs again, it
                continues at the end of the thread.
        """
        with self._lock:
            forest = with_unique_ids(forest, self._turns)
            self._turns.update(forest.turns)
            for turn_id in forest.turns:
                self._assign_number(turn_id)
            for name, thread in forest.threads.items():
                known = self._threads.setdefault(name, Thread())
                known.forked_by = thread.forked_by
                if forgets_cells:
                    known.cells.clear()
                known.cells.update(thread.cells)
                known.taken_back |= thread.taken_back
                self._move_head(known, thread.head)

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
        """Replace the lock in a forked child, where the thread that may hold it does not exist."""
        self._lock = threading.RLock()

    def _assign_number(self, turn_id: str) -> None:
        """Number a turn that has no number."""
        if turn_id not in self._numbers:
            self._last_number += 1
            self._numbers[turn_id] = self._last_number

    def _last_of(self, cell: str | None, thread: str | None) -> Turn | None:
        """Return the current turn of a cell if the thread ends in it, else None."""
        known = self._threads.get(thread or MAIN_THREAD)
        if known is None or cell is None or known.head is None or known.cells.get(cell) != known.head:
            return None
        return self._turns[known.head]

    def _move_head(self, thread: Thread, head: str | None) -> None:
        """Move the head of a thread. Turns on the path count as not taken back, also after an `undo` during the question."""
        thread.head = head
        if thread.taken_back:
            thread.taken_back -= {turn.id for turn in self._path(head)}

    def _continuing_threads(self, name: str) -> dict[str, str]:
        """Return the turns that other threads continue from, each with the name of such a thread."""
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
    is_same_place = (turn.cell, turn.thread, turn.parent) == (other.cell, other.thread, other.parent)
    return is_same_place and not turn.is_partial and turn.messages[0] == question


def fingerprint_of(system: object, tools: object) -> str:
    """Return a hash of a system prompt and tools."""
    return hashlib.sha256(encode_json([system or None, tools or []])).hexdigest()
