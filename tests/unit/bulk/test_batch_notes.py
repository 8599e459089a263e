"""Batches in the journal: a row is in at most one open batch, and a sent batch never counts as unsent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_magic.bulk import Journal, _batch_notes
from claude_magic.bulk._batch_notes import (
    HEARTBEAT_TIMEOUT,
    BatchNotes,
    custom_id,
    demo_server,
    held_rows,
    key_of,
    name_server,
    new_tag,
    sending_batch,
)
from claude_magic.bulk._journal import Answer
from claude_magic.bulk._records import Runs


class Clock:
    """A clock that tests can move."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_batch_notes, "now", made)
    monkeypatch.setattr("time.time", made)
    return made


@pytest.fixture
def notes(tmp_path: Path, clock: Clock) -> Iterator[BatchNotes]:
    journal = Journal(tmp_path / "journal.sqlite")
    yield BatchNotes(journal)
    journal.close()


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


KEYS = [key(number) for number in range(4)]


def claim(notes: BatchNotes, tag: str, keys: list[bytes], since: float = 0.0) -> list[bytes]:
    return notes.claim(tag, 1, keys, model="m", since=since)


def answer(number: int, problem: str | None = None) -> Answer:
    return Answer(key(number), "text", problem, "m", None, 1, 1, 0.1, False)


def send(notes: BatchNotes, tag: str, account: str = "https://here|a") -> bool:
    return notes.sending(tag, account=account, fence=None, fenced=None, clock_offset=None)


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batch_notes, "_PROCESS", "another")


def test_row_is_in_at_most_one_open_batch(notes: BatchNotes) -> None:
    assert claim(notes, "a", KEYS[:2]) == KEYS[:2]
    assert claim(notes, "b", KEYS) == KEYS[2:]
    assert claim(notes, "c", KEYS) == []

    assert [(note.tag, note.state, note.requests) for note in notes.all()] == [
        ("a", "claimed", 2),
        ("b", "claimed", 2),
    ]
    assert [note.tag for note in notes.open({KEYS[3]})] == ["b"]
    assert held_rows(notes.all(), lambda: {KEYS[0], KEYS[3]}) == {"a": 1, "b": 1}


@pytest.mark.parametrize("end", ["merged", "dropped"])
def test_rows_of_a_finished_batch_can_be_claimed(end: str, notes: BatchNotes) -> None:
    claim(notes, "a", KEYS)
    send(notes, "a")
    if end == "merged":
        notes.sent("a", "msgbatch_1", None)
        notes.merged("a")
    else:
        [note] = notes.all()
        assert notes.drop(note)

    assert [note.state for note in notes.all()] == [end]
    assert claim(notes, "b", KEYS) == KEYS


def test_answered_rows_are_not_claimed(notes: BatchNotes, clock: Clock) -> None:
    """Any answer counts; a problem only if it was recorded after the journal was read."""
    notes.journal.add([answer(0), answer(1, "declined")], 1)
    since = clock.now
    clock.now += 1
    notes.journal.add([answer(2, "declined")], 1)

    assert notes.answered(KEYS, since) == {KEYS[0], KEYS[2]}
    assert claim(notes, "a", KEYS, since) == [KEYS[1], KEYS[3]]


def test_concurrent_kernels_claim_each_row_once(notes: BatchNotes, tmp_path: Path) -> None:
    keys = [key(number) for number in range(1000)]
    claimed: list[bytes] = []

    def run(number: int) -> None:
        journal = Journal(tmp_path / "journal.sqlite")
        for start in range(0, 1000, 100):
            claimed.extend(claim(BatchNotes(journal), f"{number}-{start}", keys[: start + 100]))
        journal.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == keys


def test_batch_is_dropped_only_if_unchanged(notes: BatchNotes, clock: Clock) -> None:
    """A live process sends a heartbeat or changes the state."""
    claim(notes, "a", KEYS)
    [seen] = notes.all()
    clock.now += 1
    notes.beat("a")
    assert not notes.drop(seen)

    [seen] = notes.all()
    send(notes, "a")
    assert not notes.drop(seen)


def test_dropped_batch_is_not_sent_but_reopened_if_it_was(notes: BatchNotes) -> None:
    claim(notes, "a", KEYS)
    [note] = notes.all()
    notes.drop(note)
    assert not send(notes, "a")

    notes.sent("a", "msgbatch_1", None)
    assert [(note.state, note.id) for note in notes.all()] == [("sent", "msgbatch_1")]


def test_process_without_heartbeats_is_presumed_dead(
    notes: BatchNotes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process knows immediately whether it is sending a batch itself; so does a forked child."""
    with sending_batch("a"):
        claim(notes, "a", KEYS)
        [note] = notes.all()
        clock.now += 2 * HEARTBEAT_TIMEOUT
        assert note.is_being_sent
    assert not note.is_being_sent

    claim(notes, "b", [key(9)])
    note = notes.all()[-1]
    as_another_process(monkeypatch)
    assert note.is_being_sent
    clock.now += HEARTBEAT_TIMEOUT
    assert not note.is_being_sent
    clock.now -= 3 * HEARTBEAT_TIMEOUT  # the clock was set back
    assert not note.is_being_sent
    assert note.owner.startswith(f"{os.getpid()}-")


def test_rows_of_ended_demos_are_released(
    notes: BatchNotes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tag, account, keys in (("a", f"{demo_server()}|x", KEYS[:1]), ("b", "https://here|x", KEYS[1:2])):
        claim(notes, tag, keys)
        send(notes, tag, account)
        notes.sent(tag, f"msgbatch_{tag}", None)
    notes.drop_demos(demo_server())
    assert [note.state for note in notes.all()] == ["sent", "sent"]

    as_another_process(monkeypatch)
    clock.now += HEARTBEAT_TIMEOUT
    notes.drop_demos(demo_server())
    assert [note.state for note in notes.all()] == ["dropped", "sent"]


def test_pruning_keeps_open_batches(notes: BatchNotes, clock: Clock) -> None:
    claim(notes, "a", KEYS[:2])
    claim(notes, "b", KEYS[2:])
    send(notes, "b")
    notes.sent("b", "msgbatch_1", None)
    notes.merged("b")

    Runs(notes.journal).prune(None)

    assert [note.tag for note in notes.all()] == ["a"]
    assert notes.get("b") is None


def test_custom_id_identifies_batch_and_row() -> None:
    tag = new_tag()
    name = custom_id(tag, KEYS[3])

    assert len(name) == 49
    assert key_of(name, tag) == KEYS[3]
    assert key_of(name, new_tag()) is None
    for other in ("", "theirs-1", f"{tag}_", f"{tag}_ff", f"{tag}_zz", f"{tag}_{'f' * 34}"):
        assert key_of(other, tag) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com"),
        ("https://user:secret@gateway.example:8443/key/secret", "https://gateway.example:8443"),
    ],
)
def test_server_name_contains_no_secrets(url: str, name: str) -> None:
    assert name_server(url) == name
