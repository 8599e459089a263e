"""A fork waits for imports of this package in other threads, and for nothing else."""

from __future__ import annotations

import contextlib
import importlib.abc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

import pytest

from claude_magic import _forks

Importing = Callable[..., contextlib.AbstractContextManager[None]]


class Finder(importlib.abc.Loader):
    """Finds modules that call a function and then fail."""

    def __init__(self) -> None:
        self.calls: dict[str, Callable[[], object]] = {}

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name in self.calls else None

    def exec_module(self, module: ModuleType) -> None:
        self.calls[module.__name__]()
        raise ImportError


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    made = Finder()
    monkeypatch.setattr(sys, "meta_path", [made, *sys.meta_path])
    return made


@pytest.fixture
def importing(finder: Finder) -> Importing:
    """Return a function whose context a thread spends importing a module, from code of the module `by`, called by another."""

    @contextlib.contextmanager
    def run(name: str, *, by: str = "notebook", called_by: str = "threading") -> Iterator[None]:
        has_begun, may_end = threading.Event(), threading.Event()
        finder.calls[name] = lambda: has_begun.set() or may_end.wait(60)
        code = f"def work():\n    try:\n        import {name}\n    except ImportError:\n        pass"
        names: dict[str, Any] = {"__name__": by}
        exec(code, names)
        caller: dict[str, Any] = {"__name__": called_by, "work": names["work"]}
        exec("def call():\n    work()", caller)
        thread = threading.Thread(target=caller["call"])
        thread.start()
        try:
            assert has_begun.wait(60)
            yield
        finally:
            may_end.set()
            thread.join()

    return run


@pytest.mark.parametrize(
    ("name", "by"), [("claude_magic.part", "notebook"), ("library", "claude_magic.runtime._bridge")]
)
def test_imports_of_this_package_and_for_it_are_waited_for(importing: Importing, name: str, by: str) -> None:
    with importing(name, by=by):
        assert _forks._is_importing()
    assert not _forks._is_importing()


def test_the_wait_ends_with_the_import(importing: Importing) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(importing("claude_magic.part"))
        timer = threading.Timer(0.2, stack.close)
        started = time.monotonic()
        timer.start()

        _forks._wait_for_imports()

        assert 0.15 < time.monotonic() - started < _forks._MAX_DELAY
        timer.join()


def test_an_import_by_a_library_that_this_package_calls_is_waited_for(importing: Importing) -> None:
    with importing("library", by="pydantic.main", called_by="claude_magic.client._config"):
        assert _forks._is_importing()


def test_an_import_by_the_users_callback_is_not_waited_for(importing: Importing) -> None:
    """This package calls it, but the module is the user's, and may take minutes."""
    with importing("library", by="notebook", called_by="claude_magic._observers"):
        assert not _forks._is_importing()


@pytest.mark.parametrize(("name", "by"), [("library", "notebook"), ("claude_magicians", "__main__")])
def test_imports_of_others_are_not_waited_for(importing: Importing, name: str, by: str) -> None:
    """They may take minutes, and any program that forks has to expect them."""
    with importing(name, by=by):
        assert not _forks._is_importing()


def test_an_import_that_waits_for_the_forking_thread_does_not_stop_it(
    importing: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_forks, "_MAX_DELAY", 0.1)
    with importing("claude_magic.part"):
        _forks._wait_for_imports()


def test_a_fork_during_an_import_of_its_own_thread_waits_for_no_other(
    importing: Importing, finder: Finder
) -> None:
    """The other thread may import the same module next."""
    found: list[bool] = []
    finder.calls["library"] = lambda: found.append(_forks._is_importing())
    with importing("claude_magic.part"), contextlib.suppress(ImportError):
        importlib.import_module("library")

    assert found == [False]
