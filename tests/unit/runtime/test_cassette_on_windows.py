"""The lock of a cassette as Windows has it, played here: `msvcrt.locking` holds bytes, and a file that is read cannot be replaced."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from claude_magic.runtime import _cassette

if sys.platform != "win32":
    import fcntl


class _Msvcrt(types.ModuleType):
    """`msvcrt` with the locks of this system, which also belong to a file handle, not to a process."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.places: list[int] = []
        self.failure: int | None = None

    def locking(self, handle: int, mode: int, count: int) -> None:
        assert count == 1
        self.places.append(os.lseek(handle, 0, os.SEEK_CUR))
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        try:
            fcntl.flock(handle, fcntl.LOCK_UN if mode == self.LK_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, _Msvcrt]:
    """The module as Windows loads it, and the locks that it finds there."""
    if sys.platform == "win32":
        pytest.skip("The real ones are tested by test_cassette.py.")
    msvcrt = _Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    name = "claude_magic.runtime._cassette_on_windows"
    spec = importlib.util.spec_from_file_location(name, _cassette.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        spec.loader.exec_module(module)
    return module, msvcrt


def test_one_holds_it_and_the_next_waits(windows: tuple[Any, _Msvcrt], tmp_path: Path) -> None:
    """Promise: always the same byte is locked, and it is unlocked even after an error."""
    module, msvcrt = windows
    path, order = tmp_path / "c.jsonl", list[str]()

    def wait() -> None:
        with module._locked(path):
            order.append("second")

    with module._locked(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        while len(msvcrt.places) < 3:  # the other one has tried twice
            pass
        order.append("first")
    waiting.join()
    with pytest.raises(ZeroDivisionError), module._locked(path):
        _ = 1 // 0
    with module._locked(path):
        order.append("third")

    assert order == ["first", "second", "third"]
    assert set(msvcrt.places) == {0}


def test_a_lock_that_is_held_too_long_is_an_error(
    windows: tuple[Any, _Msvcrt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = windows
    monkeypatch.setattr(module, "_LOCK_TIMEOUT", 0.0)
    path = tmp_path / "c.jsonl"

    with (
        module._locked(path),
        pytest.raises(OSError, match="another process has held the lock"),
        module._locked(path),
    ):
        pass


def test_what_is_wrong_with_the_disk_is_not_taken_for_another_process(
    windows: tuple[Any, _Msvcrt], tmp_path: Path
) -> None:
    """Promise: the error is reported immediately, not after a wait of half a minute."""
    module, msvcrt = windows
    msvcrt.failure = errno.EIO

    with pytest.raises(OSError, match="Input/output error"), module._locked(tmp_path / "c.jsonl"):
        pass

    assert len(msvcrt.places) == 1


def test_a_cassette_is_rewritten_once_its_readers_are_done(
    windows: tuple[Any, _Msvcrt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = windows
    path, tries, replace = tmp_path / "c.jsonl", list[str](), os.replace
    path.write_bytes(b"old\n")

    def busy(source: Any, target: Any) -> None:
        tries.append(str(source))
        if len(tries) < 3:
            raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    module._rewrite(path, [b"new"])

    assert path.read_bytes() == b"new\n"
    assert [each.name for each in tmp_path.iterdir()] == ["c.jsonl"]

    monkeypatch.setattr(module, "_LOCK_TIMEOUT", 0.0)
    tries.clear()
    with pytest.raises(PermissionError):
        module._rewrite(path, [b"newer"])
    assert path.read_bytes() == b"new\n"
    assert [each.name for each in tmp_path.iterdir()] == ["c.jsonl"]
