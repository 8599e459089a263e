"""The batches recorded in the journal: the rows of each, and its state.

A row belongs to at most one open batch. It is claimed atomically before anything is sent, and stays claimed until the answers of the
batch are stored, or it is certain that the batch does not exist. So neither a crash nor a second kernel sends it twice.

    claimed -> sending -> sent -> merged
       |          |
       +----------+-----> dropped

"sending" is committed before the POST, "sent" after the server's response. If a process ends in the state "sending", the batch may or may
not exist; the server's list of batches shows which.
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
"""Seconds after its creation for which the server keeps the results of a batch."""
HEARTBEAT_INTERVAL: Final = 5.0
"""Seconds between two heartbeats of a process that sends a batch."""
HEARTBEAT_TIMEOUT: Final = 20.0
"""Seconds without a heartbeat after which a process is presumed dead."""

_MAX_LISTED: Final = 3
_PROCESS: Final = secrets.token_hex(8)

_sending: set[str] = set()
"""Tags of the batches that this process is sending."""


def now() -> float:
    """Return the current time in seconds since the epoch."""
    return time.time()


class BatchNote(NamedTuple):
    """A batch as recorded in the journal. Times are in seconds since the epoch.

    Attributes:
        tag: Prefix of each `custom_id` of the batch; the key of the row follows.
        state: "claimed", "sending", "sent", "merged" or "dropped".
        run: Number of the run that claimed the rows.
        model: Full name of the model.
        requests: Number of rows.
        keys: Keys of the rows, concatenated.
        owner: Process that sends the batch.
        claimed: When the rows were claimed.
        beat: Last heartbeat of the process that sends the batch.
        account: Identifier of the server and account it was sent to, or None.
        fence: Id of the server's newest batch before it was sent, or None.
        fenced: When the fence was created, by the server's clock, or None.
        clock_offset: Seconds by which the server's clock is ahead of the local clock, or None.
        id: The server's id of the batch, or None if unknown.
        expires: When the batch expires, by the server's clock, or None.
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
        """Name of the server it was sent to; "" if it was not sent."""
        return (self.account or "").partition("|")[0]

    @property
    def row_keys(self) -> list[bytes]:
        """Keys of the rows."""
        return split_keys(self.keys)

    @property
    def is_being_sent(self) -> bool:
        """Whether a live process is sending it."""
        if self.owner == owner():
            return self.tag in _sending
        # A heartbeat far in the future means that the clock was set back.
        return abs(now() - self.beat) < HEARTBEAT_TIMEOUT


_ARE_OPEN: Final = f"state IN {OPEN}"


def owner() -> str:
    """Return an identifier of this process; a forked child has another one."""
    return f"{os.getpid()}-{_PROCESS}"


@contextlib.contextmanager
def sending_batch(tag: str) -> Iterator[None]:
    """Mark a batch as being sent by this process inside the `with` block."""
    _sending.add(tag)
    try:
        yield
    finally:
        _sending.discard(tag)


def new_tag() -> str:
    """Return the tag of a new batch, the prefix of its `custom_id`s."""
    return f"cm{secrets.token_hex(7)}"


def custom_id(tag: str, key: bytes) -> str:
    """Return the `custom_id` of a row: 49 of at most 64 characters."""
    return f"{tag}_{key.hex()}"


def key_of(custom_id: str, tag: str) -> bytes | None:
    """Return the key of a row from its `custom_id`; None if the `custom_id` is not from this batch."""
    beginning, _, rest = custom_id.rpartition("_")
    try:
        key = bytes.fromhex(rest)
    except ValueError:
        return None
    return key if beginning == tag and len(key) == KEY_BYTES else None


def demo_server() -> str:
    """Return the server name for the demo simulator of this process."""
    return f"demo-{owner()}"


def name_server(base_url: str) -> str:
    """Return scheme, host and port of a URL; other parts may contain secrets."""
    parts = urlsplit(base_url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def held_rows(notes: Sequence[BatchNote], find_rows: Callable[[], Container[bytes]]) -> dict[str, int]:
    """Return the number of rows in each batch, by batch id, or by tag if the id is unknown. Batches without any are left out.

    Args:
        notes: The batches.
        find_rows: Function that returns the keys of the rows to count; called only if there are batches.
    """
    rows = find_rows() if notes else ()
    held = {note.id or note.tag: sum(key in rows for key in note.row_keys) for note in notes}
    return {name: count for name, count in held.items() if count}


def list_batches(names: Sequence[str]) -> str:
    """Return the names of batches as text, at most three of them: "a, b, c and 2 more"."""
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def describe_held(held: Mapping[str, int]) -> str:
    """Return a message that rows are in open batches, with the ways to proceed."""
    names = list(held)
    where = "a batch" if len(names) == 1 else "batches"
    return (
        f"Of these rows, {sum(held.values()):,} are in {where} already ({list_batches(names)}). They would be paid for twice. "
        f"via='batch' (--via batch) fetches their answers; `%claude batches forget {names[0]}` lets the rows be asked again."
    )


class BatchNotes:
    """The batches in a journal. All methods are thread-safe.

    Args:
        journal: The open journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    # Reading...

    def all(self) -> list[BatchNote]:
        """Return all batches, oldest first."""
        return self._select("1")

    def open(self, keys: Collection[bytes] | None = None) -> list[BatchNote]:
        """Return the open batches, oldest first; with `keys`, only those that contain one of these keys."""
        found = self._select(_ARE_OPEN)
        if keys is None or not found:
            return found
        wanted = keys if isinstance(keys, set | frozenset | dict) else set(keys)
        return [note for note in found if any(key in wanted for key in note.row_keys)]

    def get(self, tag: str) -> BatchNote | None:
        """Return the current state of a batch; None if it was pruned after it was merged or dropped."""
        found = self._select("tag = ?", (tag,))
        return found[0] if found else None

    def answered(self, keys: Sequence[bytes], since: float) -> set[bytes]:
        """Return the keys that have an answer, or a problem recorded after `since`."""
        with self.journal.reading() as database:
            return _answered(database, keys, since)

    # Sending...

    def claim(self, tag: str, run: int, keys: Sequence[bytes], *, model: str, since: float) -> list[bytes]:
        """Claim the rows that are neither claimed nor answered, and return their keys. If there are none, no batch is recorded.

        Args:
            tag: Tag of the new batch.
            run: Number of the run that claims the rows.
            keys: Keys of the rows.
            model: Full name of the model.
            since: When the journal was read. A problem recorded before that does not prevent a claim.
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
        """Record durably that the batch is about to be sent. Return False if another process presumed this one dead, and dropped the batch."""
        fields = {"account": account, "fence": fence, "fenced": fenced, "clock_offset": clock_offset}
        return self._update(tag, {"state": "claimed"}, state="sending", beat=now(), **fields)

    def sent(self, tag: str, batch_id: str, expires: float | None) -> None:
        """Record the server's id. This reopens a dropped batch, because the batch exists and its answers are paid for."""
        self._update(tag, {}, state="sent", id=batch_id, expires=expires)

    def beat(self, tag: str) -> None:
        """Record a heartbeat."""
        self._update(tag, {}, beat=now())

    # Ending...

    def merged(self, tag: str) -> None:
        """Record that all answers of the batch are stored."""
        self._update(tag, {"state": "sent"}, state="merged")

    def drop(self, note: BatchNote) -> bool:
        """Release the rows of a batch. Return False if its state or heartbeat changed after `note` was read."""
        return self._update(note.tag, {"state": note.state, "beat": note.beat}, state="dropped")

    def drop_demos(self, server: str) -> None:
        """Release the rows of demo batches whose simulator ended with its process.

        Args:
            server: Name of this process's own demo server, whose batches are kept.
        """
        for note in self.open():
            if note.server.startswith("demo") and note.server != server and not note.is_being_sent:
                self.drop(note)

    def _update(self, tag: str, seen: Mapping[str, object], **values: float | str | None) -> bool:
        """Set values of a batch, if it still has the values that were seen. Return whether it had."""
        sets = ", ".join(f"{name} = ?" for name in values)
        where = " AND ".join(f"{name} = ?" for name in ("tag", *seen))
        with self.journal.transaction() as database:
            changed = database.execute(
                f"UPDATE batches SET {sets} WHERE {where}",  # noqa: S608 (our names)
                (*values.values(), tag, *seen.values()),
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
