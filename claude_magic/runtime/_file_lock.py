"""Platform-specific parts of changing a file from several processes: locking and replacing it."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Final

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_TIMEOUT: Final = 30.0
"""Seconds to wait for another process to finish a write, which takes milliseconds."""
_INTERVAL: Final = 0.02


def lock(handle: int) -> None:
    """Acquire an exclusive lock on an open file. Waits up to 30 seconds.

    Raises:
        OSError: Another process holds the lock for too long, or the file system does not support locks.
    """
    deadline = time.monotonic() + _TIMEOUT
    while not _try_lock(handle):
        if time.monotonic() > deadline:
            raise OSError(0, "another process has held the lock for too long")
        time.sleep(_INTERVAL)


if sys.platform == "win32":

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as failure:
            if failure.errno in (errno.EACCES, errno.EDEADLK):  # another process holds it
                return False
            raise
        return True

    def unlock(handle: int) -> None:
        """Release the lock."""
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

    def replace_file(name: str, target: Path) -> None:
        """Replace `target` with another file. Waits while `target` is open, because Windows does not allow it until then."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                return os.replace(name, target)
            except PermissionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_INTERVAL)

else:

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(handle: int) -> None:
        """Release the lock."""
        fcntl.flock(handle, fcntl.LOCK_UN)

    def replace_file(name: str, target: Path) -> None:
        """Replace `target` with another file, atomically."""
        os.replace(name, target)
