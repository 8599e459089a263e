"""Files on disk: what was reported as written is there after a power failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_magic._files import append_durably, replace_file
from claude_magic.conversation import Forest, load_forest, save_forest

Write = Callable[[Path], object]


def append(path: Path) -> int:
    """Append to a file that stays open."""
    with path.open("a+b", buffering=0) as file:
        return append_durably(file, b"new\n")


WRITES: dict[str, Write] = {
    "save": lambda path: save_forest(Forest(turns={}, threads={}), path),
    "replace": lambda path: replace_file(path, b"new\n"),
    "append": append,
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("exists", [False, True])
def test_a_file_is_on_disk_when_the_call_returns(
    name: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the whole content is synced before the file gets its name, and the name after that."""
    path, synced, sync = tmp_path / "talk.json", list[tuple[int, int]](), os.fsync
    if exists:
        save_forest(Forest(turns={}, threads={}), path)

    def note(handle: int) -> None:
        state = os.fstat(handle)
        synced.append((state.st_ino, state.st_size))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    WRITES[name](path)

    assert synced[0] == (path.stat().st_ino, path.stat().st_size)
    if name != "append":
        assert [inode for inode, _ in synced[1:]] == [tmp_path.stat().st_ino]


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_leaves_the_file_as_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "talk.json"
    save_forest(Forest(turns={}, threads={}), path)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        WRITES[name](path)

    assert load_forest(path) == Forest(turns={}, threads={})
    assert [each.name for each in tmp_path.iterdir()] == ["talk.json"]
