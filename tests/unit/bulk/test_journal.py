"""The journal of maps: every process that opens it finds the answers, and errors are reported."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_magic.bulk._journal import (
    NO_KEY,
    Answer,
    Journal,
    JournalError,
    journal_path,
    open_journal,
)
from claude_magic.bulk._records import Runs, describe_pruning, render_difference, render_runs


def answer(number: int, text: str = "yes", problem: str | None = None) -> Answer:
    """Return an answer to the request of that number."""
    return Answer(number.to_bytes(16, "big"), text, problem, "claude-sonnet-5-5", "req_1", 10, 2, 0.5, False)


def start_run(journal: Journal, *numbers: int) -> int:
    """Start a run over the rows of these numbers, and return its number."""
    keys = b"".join(answer(number).key for number in numbers)
    return journal.begin_run(
        prompt="{{ text }}", model="m", rows=len(numbers), requests=len(set(numbers)), keys=keys
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path / ".claude-magic")


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def test_answer_is_found_by_key_after_reopening(journal: Journal, path: Path) -> None:
    journal.add([answer(1), answer(2, "no", "cut")], start_run(journal, 1, 2))
    journal.close()

    again = Journal(path)

    assert again.find([answer(number).key for number in (1, 2, 3)]) == {
        answer(1).key: answer(1),
        answer(2).key: answer(2, "no", "cut"),
    }
    again.close()


def test_find_accepts_many_keys(journal: Journal) -> None:
    """More than SQLite accepts in one query."""
    answers = [answer(number) for number in range(1_200)]
    journal.add(answers, start_run(journal, 1))

    assert len(journal.find([each.key for each in answers])) == 1_200


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 200])
def test_any_number_of_answers_is_written_at_once(journal: Journal, count: int) -> None:
    """Several rows share a statement, within what old versions of SQLite take."""
    journal._database.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    answers = [answer(number, f"answer {number}", "cut" if number % 3 else None) for number in range(count)]

    journal.add(answers, start_run(journal, *range(count)))

    assert [*journal.find([each.key for each in answers]).values()] == answers


def test_last_of_several_answers_to_a_request_is_kept(journal: Journal) -> None:
    journal.add([answer(1, "first"), answer(2), answer(1, "second")], start_run(journal, 1, 2))

    assert journal.find([answer(1).key])[answer(1).key].text == "second"


def test_later_answer_replaces_an_earlier_one(journal: Journal) -> None:
    """`retry` relies on this."""
    run = start_run(journal, 1)
    journal.add([answer(1, "", "cut")], run)
    journal.add([answer(1, "whole")], run)

    assert journal.find([answer(1).key])[answer(1).key].text == "whole"


def test_git_ignores_the_folder(journal: Journal, path: Path) -> None:
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_other_folders_get_no_gitignore(tmp_path: Path) -> None:
    Journal(tmp_path / "mine" / "answers.sqlite").close()

    assert not (tmp_path / "mine" / ".gitignore").exists()


def test_every_commit_is_durable(journal: Journal) -> None:
    """WAL with an `fsync` for each commit: a power failure loses no committed answer."""
    pragmas = [
        journal._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]

    assert pragmas == ["wal", 2]


def test_two_journals_write_concurrently(journal: Journal, path: Path) -> None:
    """As in two kernels."""
    other = Journal(path)

    def write(to: Journal, first: int) -> None:
        run = start_run(to, first)
        for number in range(first, first + 50):
            to.add([answer(number)], run)

    threads = [threading.Thread(target=write, args=each) for each in ((journal, 0), (other, 25))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(other.find([answer(number).key for number in range(100)])) == 75
    other.close()


# What it cannot do...


def test_file_that_is_not_a_database_is_unchanged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    before = path.read_bytes()

    with pytest.raises(JournalError, match=r"cannot be read .*Move the file away"):
        Journal(path)

    assert path.read_bytes() == before


def test_database_of_another_program_is_unchanged(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()

    with pytest.raises(JournalError, match="of another program"):
        Journal(path)


def test_newer_journal_is_unchanged(journal: Journal, path: Path) -> None:
    journal._database.execute("PRAGMA user_version = 7")
    journal.close()

    with pytest.raises(JournalError, match=r"newer claude_magic \(journal version 7; this one supports 2\)"):
        Journal(path)


def test_locked_journal_raises(journal: Journal, path: Path) -> None:
    run = start_run(journal, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = Journal(path, lock_timeout=0.01)

    with pytest.raises(JournalError, match="is locked by another process"):
        impatient.add([answer(1)], run)

    other.execute("ROLLBACK")
    other.close()
    impatient.add([answer(1)], run)
    assert impatient.find([answer(1).key])
    impatient.close()


def test_folder_that_cannot_be_created_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match=r"cannot be kept in .*journal=False"):
        Journal(tmp_path / "file" / "journal.sqlite")


def test_full_disk_keeps_earlier_answers(journal: Journal, path: Path) -> None:
    run = start_run(journal, 1)
    journal.add([answer(1)], run)
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(JournalError, match=r"cannot be written .*full.* Free some space"):
        journal.add([answer(number, "long" * 1_000) for number in range(2, 20)], run)

    journal.close()
    again = Journal(path)
    assert list(again.find([answer(number).key for number in range(20)])) == [answer(1).key]
    again.close()


@pytest.mark.parametrize("stands", ["nothing", "another"])
def test_answers_are_not_written_to_a_deleted_file(stands: str, journal: Journal, path: Path) -> None:
    """As after `git clean`: the answers would be lost, and paid for twice."""
    run = start_run(journal, 1, 2)
    journal.add([answer(1)], run)
    for file in path.parent.glob(f"{path.name}*"):
        file.rename(path.parent / f"moved-{file.name}")
    if stands == "another":
        Journal(path).close()

    with pytest.raises(
        JournalError, match=r"moved, deleted or replaced while it was in use.*same line again"
    ):
        journal.add([answer(2)], run)


def test_lone_surrogate_in_a_prompt_becomes_a_question_mark(journal: Journal) -> None:
    """Python decodes file names that are not UTF-8 to lone surrogates."""
    journal.begin_run(prompt="About \udcff: {{ text }}", model="m", rows=1, requests=1, keys=b"")

    assert Runs(journal).all()[0].prompt == "About ?: {{ text }}"


def test_journal_path_of_files_and_folders(tmp_path: Path) -> None:
    """A path that does not exist is a file if it has a suffix."""
    (tmp_path / "results.v2").mkdir()
    (tmp_path / "answers").write_bytes(b"")

    places = {name: journal_path(tmp_path / name) for name in ("results.v2", "answers", "new", "new.db")}

    assert [str(place.relative_to(tmp_path)) for place in places.values()] == [
        "results.v2/journal.sqlite",
        "answers",
        "new/journal.sqlite",
        "new.db",
    ]
    Journal(places["answers"]).close()


def test_deleted_current_folder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    with pytest.raises(JournalError, match="the current folder, which no longer exists"):
        journal_path()


@pytest.mark.parametrize("place", [3, b"journal", ["journal"]])
def test_invalid_journal_argument_raises(place: object) -> None:
    with pytest.raises(JournalError, match="journal is a file or a folder"):
        open_journal(place)  # type: ignore[arg-type]


def test_journals_created_concurrently_accept_each_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One creates its tables while the other checks the format of the file."""
    connect = sqlite3.connect

    class Slow(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
            if statement == "PRAGMA application_id":
                monkeypatch.setattr(sqlite3, "connect", connect)
                with contextlib.suppress(JournalError):  # it waits, as it should
                    Journal(path, lock_timeout=0.01).close()
                return super().execute("SELECT 0")
            return super().execute(statement, *values)

    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **options: connect(*given, factory=Slow, **options)
    )

    Journal(path).close()


# Runs...


def test_runs_are_listed_with_their_cost(journal: Journal) -> None:
    first = start_run(journal, 1, 2)
    journal.add([answer(1), answer(2)], first)
    journal.end_run(first, state="done", failed=0)
    start_run(journal, 1, 2, 3)

    one, two = Runs(journal).all()

    assert (one.state, one.answers, one.cost, one.tokens_in, one.rows) == ("done", 2, 1.0, 20, 2)
    assert (two.state, two.ended, two.answers, two.cost) == ("running", None, 0, 0.0)


def test_runs_are_compared_by_their_requests(journal: Journal) -> None:
    """Whatever the order of the rows."""
    first, second = start_run(journal, 1, 2, 3, 3), start_run(journal, 9, 1, 2, 3)

    difference = Runs(journal).compare(first, second)

    assert (difference.same, difference.gone, difference.new) == (3, 1, 1)


def test_rows_that_could_not_be_sent_match_no_others(journal: Journal) -> None:
    """They have no request: a value was null, or an expression failed."""
    keys = answer(1).key + NO_KEY
    runs = [
        journal.begin_run(prompt="{{ text }}", model="m", rows=2, requests=1, keys=keys) for _ in range(2)
    ]

    difference = Runs(journal).compare(*runs)

    assert (difference.same, difference.gone, difference.new) == (1, 0, 0)
    assert "1 row asks the same in both runs." in render_difference(difference).data["text/plain"]


@pytest.mark.parametrize("is_simulated", [True, False])
def test_prices_of_a_simulator_say_so(journal: Journal, is_simulated: bool) -> None:
    """In the list and in a comparison, as in the line of the map. A run without answers has no such price."""
    first, second = start_run(journal, 1, 2), start_run(journal, 1, 2)
    journal.add([answer(number)._replace(is_simulated=is_simulated) for number in (1, 2)], first)

    listed = render_runs(journal).data["text/plain"]
    compared = render_difference(Runs(journal).compare(first, second)).data["text/plain"]

    for shown in (listed, compared):
        assert shown.count("$1.00 (simulated)") == is_simulated
        assert shown.count("(simulated)") == is_simulated


def test_pruning_reports_count_and_size() -> None:
    assert describe_pruning(1, 4_096).startswith("Deleted: 1 answer, 4 kB. ")
    assert describe_pruning(1_200, 2_500_000).startswith("Deleted: 1,200 answers, 2.5 MB. ")


def test_comparing_an_unknown_run_raises(journal: Journal) -> None:
    with pytest.raises(JournalError, match="There is no run 7"):
        Runs(journal).compare(start_run(journal, 1), 7)


def test_runs_over_the_same_rows_share_one_key_list(journal: Journal) -> None:
    """Resuming a map ten times does not fill the disk with keys."""
    for _ in range(3):
        start_run(journal, 1, 2)

    assert journal._database.execute("SELECT count(*) FROM lists").fetchone() == (1,)


def test_pruning_deletes_old_answers(journal: Journal) -> None:
    run = start_run(journal, 1)
    journal.add([answer(number, "long" * 1_000) for number in range(100)], run)
    journal.end_run(run, state="done", failed=0)

    assert Runs(journal).prune(1)[0] == 0
    gone, freed = Runs(journal).prune(None)

    assert gone == 100
    assert freed > 100_000
    assert Runs(journal).all() == []


def test_pruning_keeps_a_run_in_progress(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its later cost is still listed. A killed run is kept for two days."""
    run = start_run(journal, 1, 2)
    journal.add([answer(1)], run)

    assert Runs(journal).prune(None)[0] == 1
    journal.add([answer(2)], run)
    journal.end_run(run, state="done", failed=0)
    assert [(each.id, each.state, each.answers) for each in Runs(journal).all()] == [(run, "done", 1)]

    start_run(journal, 3)
    later = time.time() + 3 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    Runs(journal).prune(None)
    assert Runs(journal).all() == []
