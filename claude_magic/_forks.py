"""Forks: a forked child finds each module of this package imported as a whole, or not at all.

The package is imported piece by piece, by the threads that first need a piece. A child that is forked meanwhile would have half a
module, and the lock of a thread that it does not have: it would wait for ever, or fail at each question.
"""

from __future__ import annotations

# Handlers run in reverse order. Those of `logging`, which this imports, and of the pools hold locks that an import may need.
import concurrent.futures.thread  # noqa: F401
import importlib
import os
import sys
import time
from _thread import get_ident
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import FrameType

_MAX_DELAY: Final = 30.0
"""Seconds that a fork waits for imports in other threads, which may wait for the forking thread."""
_CHECK_INTERVAL: Final = 0.002
_LIBRARIES: Final = sys.stdlib_module_names | {"anyio", "httpcore2", "httpx2", "ipywidgets", "pydantic"}
"""Packages whose functions import something when they are called."""


def _wait_for_imports() -> None:
    """Wait until no other thread imports a part of this package, or something for it."""
    deadline = time.monotonic() + _MAX_DELAY
    while _is_importing() and time.monotonic() < deadline:
        time.sleep(_CHECK_INTERVAL)


def _is_importing() -> bool:
    """Whether another thread imports for this package; False if this thread imports something, which could wait for it."""
    locks = {name: made() for name, made in _module_locks().copy().items()}
    importing = {name: lock.owner for name, lock in locks.items() if lock is not None and lock.owner}
    if get_ident() in importing.values():
        return False
    frames = sys._current_frames()
    return any(_is_ours(name) or _imports_for_ours(frames.get(thread)) for name, thread in importing.items())


def _module_locks() -> dict[str, Any]:
    """Return weak references to the locks of the modules that are being imported, by name. Python has no public function for it."""
    return getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})


def _imports_for_ours(frame: FrameType | None) -> bool:
    """Whether this package imports something, itself or by a call of a library; not whether the user's code does in a callback."""
    is_import = False
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name == "importlib._bootstrap":
            is_import = True
        elif is_import and _is_ours(name):
            return True
        elif name.partition(".")[0] not in _LIBRARIES:
            is_import = False
        frame = frame.f_back
    return False


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == __package__


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_imports)
