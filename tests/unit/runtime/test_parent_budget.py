"""The search for a budget of ancestor processes: before each request, and cheap if nothing has changed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from claude_magic.client import MessageRequest
from claude_magic.runtime import BudgetExceededError, Ledger, _ledger
from claude_magic.runtime._ledger import ParentBudget

LONG_AGO = 1_000_000_000
REQUEST = MessageRequest(model="claude-sonnet-5-5", max_tokens=10, messages=[])
Looks = Callable[[ParentBudget | None], list[int]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the markers, last changed long ago."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Path(_ledger._folder())
    made.mkdir()
    os.utime(made, (LONG_AGO, LONG_AGO))
    return made


@pytest.fixture
def count_searches(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Return a function that gives the ancestors a budget, and returns a list that grows with each search."""

    def have(budget: ParentBudget | None) -> list[int]:
        seen: list[int] = []
        monkeypatch.setattr(_ledger, "_find_in_ancestors", lambda: seen.append(1) or budget)
        return seen

    return have


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the time pass until the folder is looked at again."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait() -> None:
        now[0] += _ledger._CHECK_INTERVAL

    return wait


def mark_parent(folder: Path, amount: float = 2.0) -> Path:
    """Write the marker of a budget of this process's parent."""
    parent = psutil.Process().parent()
    assert parent is not None
    marker = folder / f"budget-{parent.pid}"
    marker.write_text(json.dumps({"amount": amount, "started": parent.create_time()}))
    return marker


def refusal(ledger: Ledger) -> str:
    """Return how the ledger refuses a request, up to the number of the process; "" if it admits it."""
    try:
        asyncio.run(ledger.admit(cast(Any, object()), REQUEST, attempts=1, is_simulated=False))
    except BudgetExceededError as error:
        return error.message.partition(" in process ")[0]
    return ""


def admits(ledger: Ledger) -> bool:
    """Return whether the ledger admits a request."""
    try:
        asyncio.run(ledger.admit(cast(Any, object()), REQUEST, attempts=1, is_simulated=False))
    except BudgetExceededError as error:
        return "A budget of $2.00 is set in process 1, which started this one" not in error.message
    return True


def test_they_are_not_looked_at_again_while_the_folder_is_as_it_was(
    folder: Path, count_searches: Looks, pass_time: Callable[[], None]
) -> None:
    seen, ledger = count_searches(None), Ledger()

    for _ in range(3):
        assert admits(ledger)
        pass_time()

    assert len(seen) == 1


def test_the_folder_is_not_looked_at_for_each_of_many_requests(
    folder: Path, count_searches: Looks, pass_time: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map sends a thousand requests per second, and each look is a system call."""
    count_searches(None)
    ledger, changed_at, looked = Ledger(), _ledger._changed_at, list[int]()
    monkeypatch.setattr(_ledger, "_changed_at", lambda: looked.append(1) or changed_at())

    assert all(admits(ledger) for _ in range(3))
    assert len(looked) == 1

    pass_time()
    assert admits(ledger)
    assert len(looked) == 2


def test_a_new_mark_is_found(folder: Path, count_searches: Looks, pass_time: Callable[[], None]) -> None:
    """A budget that is set while a map runs: from then on, each request is refused."""
    count_searches(None)
    ledger = Ledger()
    assert admits(ledger)

    seen = count_searches(ParentBudget(1, 2.0))
    (folder / "budget-1").write_text("{}")
    pass_time()

    assert [admits(ledger) for _ in range(2)] == [False, False]
    assert len(seen) == 2


def test_what_changed_just_now_may_change_again_unseen(
    folder: Path, count_searches: Looks, pass_time: Callable[[], None]
) -> None:
    """A marker may be created and then written within the same clock tick."""
    seen, ledger = count_searches(None), Ledger()
    os.utime(folder)

    admits(ledger)
    pass_time()
    admits(ledger)

    assert len(seen) == 2


def test_a_forked_child_looks_for_itself(folder: Path, count_searches: Looks) -> None:
    """The parent's own marker did not count for the parent, but counts for the child."""
    seen, ledger = count_searches(None), Ledger()
    admits(ledger)

    admits(ledger.for_forked_child())

    assert len(seen) == 2


def test_with_a_budget_of_its_own_a_process_does_not_look(folder: Path, count_searches: Looks) -> None:
    """It starts an account of its own."""
    seen, ledger = count_searches(ParentBudget(1, 2.0)), Ledger()
    ledger.set_budget(None)

    assert admits(ledger)
    assert seen == []


def test_a_budget_can_be_set_where_no_file_can_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It applies to this process. Python raises an error of its own if no folder for temporary files is writable."""
    missing = FileNotFoundError(2, "No usable temporary directory found")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: (_ for _ in ()).throw(missing))
    ledger = Ledger()

    ledger.set_budget(2.0)
    assert ledger.budget == 2.0
    _ledger.publish_budget(None)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"amount": 2}', b'{"amount": {}}'])
def test_a_marker_that_cannot_be_read_is_a_budget(
    folder: Path, pass_time: Callable[[], None], content: bytes
) -> None:
    """Its process may just be writing it. It is read again for each request, although the folder does not change."""
    marker, ledger = mark_parent(folder), Ledger()
    whole = marker.read_bytes()
    marker.write_bytes(content)
    os.utime(folder, (LONG_AGO, LONG_AGO))

    assert refusal(ledger) == "A budget is set"
    pass_time()
    marker.write_bytes(whole)
    os.utime(folder, (LONG_AGO, LONG_AGO))

    assert refusal(ledger) == "A budget of $2.00 is set"
    marker.unlink()
    assert refusal(ledger) == ""


def test_a_damaged_marker_of_an_earlier_process_with_the_same_id_is_none(folder: Path) -> None:
    """It is older than the process."""
    marker = mark_parent(folder)
    marker.write_text("")
    os.utime(marker, (LONG_AGO, LONG_AGO))

    assert refusal(Ledger()) == ""


def test_a_budget_that_is_set_again_never_leaves_half_a_marker(folder: Path) -> None:
    """Another process may read at any moment. The folder changes, so that all of them look again."""
    ledger, marker = Ledger(is_published=True), folder / f"budget-{os.getpid()}"
    ledger.set_budget(2.0)
    os.utime(folder, (LONG_AGO, LONG_AGO))

    with marker.open() as reader:
        ledger.set_budget(3.0)
        assert json.load(reader)["amount"] == 2.0
    assert json.loads(marker.read_text())["amount"] == 3.0
    assert os.stat(folder).st_mtime > LONG_AGO
    assert os.listdir(folder) == [marker.name]
    ledger.set_budget(None)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("failing", ["write_text", "replace"])
def test_a_full_disk_hides_no_budget(folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Children refuse, without knowing the amount, and no other file is left."""
    no_space = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object, **__: object) -> None:
        raise no_space

    monkeypatch.setattr(Path if failing == "write_text" else os, failing, fail)
    Ledger(is_published=True).set_budget(2.0)

    assert os.listdir(folder) == [f"budget-{os.getpid()}"]
    assert _ledger._budget_of(psutil.Process()) == ParentBudget(os.getpid(), None)


def test_a_marker_that_cannot_be_opened_is_a_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that can be listed but not searched, say."""
    mark_parent(folder)

    def refuse(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")

    parent = psutil.Process().parent()
    assert parent is not None
    monkeypatch.setattr(Path, "stat", refuse)

    assert _ledger._budget_of(parent) == ParentBudget(parent.pid, None)


def test_a_folder_that_cannot_be_listed_is_listed_again(
    folder: Path, pass_time: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with too many open files, for a moment."""
    ledger, list_folder, failures = Ledger(), os.listdir, [OSError(errno.EMFILE, "Too many open files")]
    mark_parent(folder)
    os.utime(folder, (LONG_AGO, LONG_AGO))

    def listed(path: str) -> list[str]:
        if failures:
            raise failures.pop()
        return list_folder(path)

    monkeypatch.setattr(os, "listdir", listed)
    asyncio.run(ledger.admit(cast(Any, object()), REQUEST, attempts=1, is_simulated=False))
    pass_time()

    assert refusal(ledger) == "A budget of $2.00 is set"


def test_an_ancestor_that_ends_during_the_search_hides_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_parent(folder)
    list_parents, failures = psutil.Process.parents, [psutil.NoSuchProcess(1), psutil.NoSuchProcess(1)]

    def parents(process: psutil.Process) -> list[psutil.Process]:
        if failures:
            raise failures.pop()
        return list_parents(process)

    monkeypatch.setattr(psutil.Process, "parents", parents)

    assert refusal(Ledger()) == "A budget of $2.00 is set"


def test_ancestors_that_cannot_be_listed_stop_no_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some systems do not allow it."""
    mark_parent(folder)
    monkeypatch.setattr(psutil.Process, "parents", lambda _: (_ for _ in ()).throw(psutil.AccessDenied(1)))

    assert refusal(Ledger()) == ""
