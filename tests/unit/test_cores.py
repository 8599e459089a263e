"""The number of workers follows the processors available to this run, not those of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..cores import usable


@pytest.fixture
def _sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


@pytest.mark.usefixtures("_sixteen")
@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000"}, 16),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, 16),
        ({"cpu.max": "what is this"}, 16),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "0"}, 16),
    ],
)
def test_workers_follow_the_quota_of_the_container(tmp_path: Path, files: dict[str, str], count: int) -> None:
    """A container of two processors on a machine of sixteen gets two workers."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert usable(tmp_path) == count


def test_workers_follow_the_scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`taskset -c 0,1` gives two workers."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)

    assert usable(tmp_path) == 2
