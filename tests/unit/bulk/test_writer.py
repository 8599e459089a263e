"""Writing answers: callers are notified when answers are durable, or why they cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from claude_magic.bulk import Journal, _journal
from claude_magic.bulk._journal import Answer, AnswerWriter
from claude_magic.client import ClaudeError


def answer(number: int, text: str = "yes") -> Answer:
    """Return an answer to the request of that number."""
    return Answer(number.to_bytes(16, "big"), text, None, "claude-sonnet-5-5", "req_1", 10, 2, 0.5, False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def fill(journal: Journal) -> None:
    """Make the disk of the journal full."""
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")


def write(
    journal: Journal,
    answers: Iterable[Answer],
    on_durable: Callable[[Answer], None] = lambda _answer: None,
    on_change: Callable[[], None] = lambda: None,
) -> list[ClaudeError]:
    """Write answers, waiting for room before each, and return the errors."""
    failures: list[ClaudeError] = []

    def on_end(ended: Answer, is_durable: bool) -> None:
        if is_durable:
            on_durable(ended)

    async def main() -> None:
        writer = AnswerWriter(journal, 1, on_change=on_change, on_failure=failures.append)
        for each in answers:
            await writer.wait_for_room()
            writer.put(each, on_end)
        await writer.wait_until_durable()
        await writer.close()

    asyncio.run(main())
    return failures


def test_answer_is_reported_once_durable(journal: Journal, path: Path) -> None:
    """A process that opens the file at that moment finds the answer."""
    found: list[Answer] = []

    def look(kept: Answer) -> None:
        other = Journal(path)
        found.extend(other.find([kept.key]).values())
        other.close()

    assert write(journal, map(answer, range(50)), look) == []

    assert found == list(map(answer, range(50)))


def test_answers_share_commits(journal: Journal) -> None:
    """A commit waits for the disk."""
    kept: list[Answer] = []
    changes: list[int] = []

    write(journal, map(answer, range(500)), kept.append, lambda: changes.append(len(kept)))

    assert changes[-1] == 500
    assert len(changes) < 100


def test_answer_that_cannot_be_stored_is_reported(journal: Journal) -> None:
    """Such as a number beyond 64 bits from a broken server. No caller waits forever."""
    failures = write(journal, [answer(1)._replace(tokens_in=2**70)])

    assert "cannot be written to the journal (OverflowError" in str(failures[0])


def test_full_disk_is_reported(journal: Journal) -> None:
    fill(journal)
    kept: list[Answer] = []

    failures = write(journal, [answer(number, "long" * 1_000) for number in range(20)], kept.append)

    assert kept == []
    assert "Free some space" in str(failures[0])


def test_full_disk_blocks_no_waiter(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that arrive after that are dropped: they are never kept, and would be waited for."""
    monkeypatch.setattr(_journal, "_MAX_WAITING", 3)
    fill(journal)

    failures = write(journal, [answer(number, "long" * 1_000) for number in range(20)])

    assert len(failures) == 1
