"""The one runtime of this process, kept where reloading our modules, and forking, find the right one."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from ._budget import publish_budget
from ._runtime import Runtime

# `importlib.reload` executes this file again in the same namespace, so what was there before is still there.
_kept: dict[str, Any] = globals().get("_kept", {})
_lock: threading.Lock = globals().get("_lock", threading.Lock())


def get_runtime() -> Runtime:
    """Return this kernel's runtime. Makes the object on first use, but starts no thread.

    It survives `%reload_ext`. When our modules were reloaded, a new runtime of the new code takes over: the old one's
    thread ends, while the limiter's state, the login and the last reply stay.
    """
    with _lock:
        former = _kept.get("runtime")
        if type(former) is Runtime:
            return former
        runtime = Runtime(
            inherited=None if former is None else former.hand_over(), publish_budget=publish_budget
        )
        _kept["runtime"] = runtime
        if former is None:
            _watch_process()
        return runtime


def close_runtime() -> None:
    """End the runtime's thread, client and simulator, if there is one; see `Runtime.close`."""
    runtime = _kept.get("runtime")
    if runtime is not None:
        runtime.close()


def _watch_process() -> None:
    """Close at the interpreter's exit, and start over in forked children."""
    atexit.register(lambda: publish_budget(None))
    atexit.register(lambda: close_runtime())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _start_over_after_fork())


def _start_over_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    runtime = _kept.get("runtime")
    if runtime is not None:
        _kept.setdefault("parents", []).append(runtime.start_over_after_fork())
