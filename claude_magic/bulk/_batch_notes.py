"""What the journal knows of batches: which rows each holds, and how far sending it came.

A row belongs to at most one open batch: it is claimed in one step, before anything is sent, and stays claimed until the answers
of the batch are kept or it is certain that there is no such batch. So neither a crash nor a second kernel sends it again.

    claimed -> sending -> sent -> merged
       |          |
       +----------+-----> dropped

"sending" is durable before the POST leaves, "sent" after the server has answered. What stays "sending" although its process has
gone may or may not have arrived: that is found out from the server's list.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ..client import KEY_BYTES, split_keys
from ._journal import Journal, select_by_key

OPEN: Final = ("claimed", "sending", "sent")
RESULTS_KEPT: Final = 29 * 86_400.0
"""Seconds from the creation of a batch, for which the server keeps its results."""
BEAT: Final = 5.0
"""Seconds between two signs of life of a process that sends a batch."""
STALE: Final = 20.0
"""Seconds without one, after which it is taken for dead."""

_PROCESS: Final = secrets.token_hex(8)

_sending: set[str] = set()
"""Tags of what this process sends at this moment."""


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


class BatchNote(NamedTuple):
    """A batch as the journal knows it.

    Attributes:
        tag: Begins each of its `custom_id`s; the key of the row follows.
        state: "claimed", "sending", "sent", "merged" or "dropped".
        run: The run that has claimed its rows.
        model: The model that is asked.
        requests: How many rows it has.
        keys: Their keys, joined.
        owner: The process that sends it.
        claimed: When its rows were claimed, by `time.time()`.
        beat: The last sign of life of a process that sends it.
        account: Where it was sent, as what, or None.
        fence: The newest batch that the server had before, or None.
        fenced: When that one was created, by the server's clock, or None.
        clock_offset: Seconds by which the server's clock is ahead, or None.
        id: The server's id, once that is known.
        expires: When it expires, by the server's clock, or None.
    """

    tag: str
    state: str
    run: int
    model: str
    requests: int
    keys: bytes
    owner: str
    claimed: float
    beat: float
    account: str | None
    fence: str | None
    fenced: float | None
    clock_offset: float | None
    id: str | None
    expires: float | None

    @property
    def server(self) -> str:
        """Where it was sent; "" where it was not."""
        return (self.account or "").partition("|")[0]

    @property
    def row_keys(self) -> list[bytes]:
        """The key of each of its rows."""
        return split_keys(self.keys)

    @property
    def is_being_sent(self) -> bool:
        """Whether a process that lives is sending it."""
        if self.owner == owner():
            return self.tag in _sending
        return abs(now() - self.beat) < STALE  # one that lies ahead is of before the clock was set back


_ARE_OPEN: Final = f"state IN {OPEN}"


def owner() -> str:
    """Name this process; a forked child is another one."""
    return f"{os.getpid()}-{_PROCESS}"


@contextlib.contextmanager
def is_sending(tag: str) -> Iterator[None]:
    """Let this process count as sending a batch, as long as it is at it."""
    _sending.add(tag)
    try:
        yield
    finally:
        _sending.discard(tag)


def new_tag() -> str:
    """Return what the names in a new batch begin with."""
    return f"cm{secrets.token_hex(7)}"


def custom_id(tag: str, key: bytes) -> str:
    """Return the name of a row in a batch: 49 of the 64 characters that are allowed."""
    return f"{tag}_{key.hex()}"


def key_of(custom_id: str, tag: str) -> bytes | None:
    """Return the key of a row by its name; None for a name that this batch did not give."""
    beginning, _, rest = custom_id.rpartition("_")
    try:
        key = bytes.fromhex(rest)
    except ValueError:
        return None
    return key if beginning == tag and len(key) == KEY_BYTES else None


def demo_server() -> str:
    """Name the simulator of this process."""
    return f"demo-{owner()}"


def name_server(base_url: str) -> str:
    """Return scheme, host and port of an address; what else stands in one may be secret."""
    parts = urlsplit(base_url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def held_rows(notes: Sequence[BatchNote], find_rows: Callable[[], Container[bytes]]) -> dict[str, int]:
    """Return how many rows each batch holds, by its id, or its tag where that is not known; none that holds no row.

    Args:
        notes: The batches.
        find_rows: Returns the keys that count as rows; called where there are batches at all.
    """
    rows = find_rows() if notes else ()
    held = {note.id or note.tag: sum(key in rows for key in note.row_keys) for note in notes}
    return {name: count for name, count in held.items() if count}


def describe_held(held: Mapping[str, int]) -> str:
    """Say that rows are in batches, and what to do."""
    names = list(held)
    where = "a batch" if len(names) == 1 else "batches"
    return (
        f"Of these rows, {sum(held.values()):,} are in {where} already ({', '.join(names[:3])}). They would be paid twice. "
        f"via='batch' (--via batch) fetches their answers; `%claude batches forget {names[0]}` lets the rows be asked again."
    )


class BatchNotes:
    """The batches in a journal. Every method may be called from any thread.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    # Reading...

    def all(self) -> list[BatchNote]:
        """Return all of them, oldest first."""
        return self._select("1")

    def open(self, keys: Collection[bytes] | None = None) -> list[BatchNote]:
        """Return those that are open, oldest first; with `keys`, those that hold one of these."""
        found = self._select(_ARE_OPEN)
        if keys is None or not found:
            return found
        wanted = keys if isinstance(keys, set | frozenset | dict) else set(keys)
        return [note for note in found if any(key in wanted for key in note.row_keys)]

    def get(self, tag: str) -> BatchNote | None:
        """Return one as it is now; None where it was merged or dropped, and pruned since."""
        found = self._select("tag = ?", (tag,))
        return found[0] if found else None

    def answered(self, keys: Sequence[bytes], since: float) -> set[bytes]:
        """Return the keys that have an answer, or were answered with a problem since then."""
        with self.journal.reading() as database:
            return _answered(database, keys, since)

    # Sending...

    def claim(self, tag: str, run: int, keys: Sequence[bytes], *, model: str, since: float) -> list[bytes]:
        """Claim rows that nobody else has claimed or answered, and return their keys; none leave no note.

        Args:
            tag: What names it.
            run: The run that claims.
            keys: The keys of the rows.
            model: The model that is asked.
            since: When the journal was read: what was answered by then is wanted all the same.
        """
        with self.journal.transaction() as database:
            rows = database.execute(f"SELECT keys FROM batches WHERE {_ARE_OPEN}")  # noqa: S608 (no value of others)
            taken = {key for (joined,) in rows for key in split_keys(joined)}
            taken |= _answered(database, keys, since)
            mine = [key for key in keys if key not in taken]
            if mine:
                database.execute(
                    "INSERT INTO batches (tag, state, run, model, requests, keys, owner, claimed, beat) "
                    "VALUES (?, 'claimed', ?, ?, ?, ?, ?, ?, ?)",
                    (tag, run, model, len(mine), b"".join(mine), owner(), now(), now()),
                )
        return mine

    def sending(
        self, tag: str, *, account: str, fence: str | None, fenced: float | None, clock_offset: float | None
    ) -> bool:
        """Note that it leaves now, durably; False where another process has taken it for dead, and dropped it."""
        return self._move(
            tag,
            "claimed",
            "sending",
            beat=now(),
            account=account,
            fence=fence,
            fenced=fenced,
            clock_offset=clock_offset,
        )

    def sent(self, tag: str, batch_id: str, expires: float | None) -> None:
        """Note its id. Also where it was dropped meanwhile: it exists, and its answers are paid for."""
        with self.journal.transaction() as database:
            database.execute(
                "UPDATE batches SET state = 'sent', id = ?, expires = ? WHERE tag = ?",
                (batch_id, expires, tag),
            )

    def beat(self, tag: str) -> None:
        """Give a sign of life."""
        with self.journal.transaction() as database:
            database.execute("UPDATE batches SET beat = ? WHERE tag = ?", (now(), tag))

    # Ending...

    def merged(self, tag: str) -> None:
        """Note that its answers are kept."""
        self._move(tag, "sent", "merged")

    def drop(self, note: BatchNote) -> bool:
        """Give its rows free; False where another process was faster, or it has moved on since `note` was read."""
        return self._move(note.tag, note.state, "dropped", note.beat)

    def drop_demos(self, server: str) -> None:
        """Give the rows of demos free whose simulator has gone with its process.

        Args:
            server: The demo of this process, which stays.
        """
        for note in self.open():
            if note.server.startswith("demo") and note.server != server and not note.is_being_sent:
                self.drop(note)

    def _move(
        self,
        tag: str,
        before: str,
        after: str,
        seen_beat: float | None = None,
        **values: float | str | None,
    ) -> bool:
        sets = ", ".join(["state = ?", *(f"{name} = ?" for name in values)])
        with self.journal.transaction() as database:
            changed = database.execute(
                f"UPDATE batches SET {sets} WHERE tag = ? AND state = ? AND beat = coalesce(?, beat)",  # noqa: S608 (our names)
                (after, *values.values(), tag, before, seen_beat),
            )
        return changed.rowcount == 1

    def _select(self, where: str, values: Iterable[Any] = ()) -> list[BatchNote]:
        with self.journal.reading() as database:
            rows = database.execute(
                f"SELECT {', '.join(BatchNote._fields)} FROM batches WHERE {where} ORDER BY claimed, tag",  # noqa: S608 (our names)
                tuple(values),
            ).fetchall()
        return list(map(BatchNote._make, rows))


def _answered(database: Any, keys: Sequence[bytes], since: float) -> set[bytes]:
    return {key for (key,) in select_by_key(database, "key", keys, "problem IS NULL OR at > ?", (since,))}
