"""Writes files that survive a full disk, a killed process and a power failure: each change is on disk as a whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def append_durably(file: IO[bytes], data: bytes) -> int:
    """Append to an unbuffered file, and return its new size. The data is on disk when this returns.

    Raises:
        OSError: The data cannot be written. The file is unchanged.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):  # remove the part that was written before the disk was full
            file.truncate(size)
            file.seek(size)
        raise
    return size + len(data)


def replace_file(path: Path, data: bytes, *, replace: Callable[[str, Path], Any] = os.replace) -> None:
    """Write a file, or replace its whole content. The data is on disk when this returns.

    Args:
        path: The file. A symbolic link would be replaced itself.
        data: The new content.
        replace: Renames the first file to the second.

    Raises:
        OSError: The data cannot be written. The file is unchanged.
    """
    # The temporary name is short, because the file's own name may be as long as possible.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".claude-magic.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before the rename: a power failure may otherwise leave an empty file
        if path.exists():
            shutil.copymode(path, name)
        replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the entry of a new or renamed file durable, on systems that support `fsync` for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
