"""The search for a budget of ancestor processes: before each request, and cheap if nothing has changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_magic.runtime import _budget
from claude_magic.runtime._budget import ParentBudget, find_parent_budget

LONG_AGO = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the markers, last changed long ago."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(_budget, "_no_parent_at", None)
    made = Path(_budget._folder())
    made.mkdir()
    os.utime(made, (LONG_AGO, LONG_AGO))
    return made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[ParentBudget | None], list[int]]:
    """Give the ancestors this budget; return a list that grows with each search."""

    def have(budget: ParentBudget | None) -> list[int]:
        seen: list[int] = []
        monkeypatch.setattr(_budget, "_find_in_ancestors", lambda: seen.append(1) or budget)
        return seen

    return have


def test_they_are_not_looked_at_again_while_the_folder_is_as_it_was(
    folder: Path, looks: Callable[[ParentBudget | None], list[int]]
) -> None:
    seen = looks(None)

    assert [find_parent_budget() for _ in range(3)] == [None] * 3
    assert len(seen) == 1


def test_a_new_mark_is_found(folder: Path, looks: Callable[[ParentBudget | None], list[int]]) -> None:
    """A budget that is set while a map runs."""
    looks(None)
    assert find_parent_budget() is None

    seen = looks(ParentBudget(1, 2.0))
    (folder / "budget-1").write_text("{}")

    assert find_parent_budget() == find_parent_budget() == ParentBudget(1, 2.0)
    assert len(seen) == 2


def test_what_changed_just_now_may_change_again_unseen(
    folder: Path, looks: Callable[[ParentBudget | None], list[int]]
) -> None:
    """A marker may be created and then written within the same clock tick."""
    seen = looks(None)
    os.utime(folder)

    find_parent_budget()
    find_parent_budget()

    assert len(seen) == 2


def test_a_forked_child_looks_for_itself(
    folder: Path, looks: Callable[[ParentBudget | None], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent's own marker did not count for the parent, but counts for the child."""
    seen = looks(None)
    find_parent_budget()
    monkeypatch.setattr(os, "getpid", lambda: 1)

    find_parent_budget()

    assert len(seen) == 2
