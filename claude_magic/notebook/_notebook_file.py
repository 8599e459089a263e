"""The file of a shell's notebook, as far as the kernel can determine it, and what it has saved around the running cell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_SESSION_NAME = "JPY_SESSION_NAME"
"""Environment variable that Jupyter sets to the path of the notebook when it starts the kernel."""
_VSCODE_NAME = "__vsc_ipynb_file__"
_VSCODE_CELL = "vscode-notebook-cell:"
_MOST_BYTES = 16_000_000
"""Maximum size of a notebook that is read without the user asking for it."""
_MOST_SEARCHED = 50


def notebook_path(shell: Any, *, may_search: bool) -> Path | None:
    """Return the file of the shell's notebook; None if the kernel cannot determine it.

    Args:
        shell: The shell.
        may_search: If the file was renamed after the kernel was started, search the notebooks of the working directory for the
            running cell.
    """
    from ..display import cell_id_of  # late: importing it would slow down loading the extension

    cell = cell_id_of(shell)
    in_vscode = unquote(urlsplit(cell).path) if cell.startswith(_VSCODE_CELL) else None
    named = (shell.user_ns.get(_VSCODE_NAME), in_vscode, os.environ.get(_SESSION_NAME))
    paths = [Path(name) for name in named if isinstance(name, str) and name.endswith(".ipynb")]
    existing = next((path for path in paths if path.is_file()), None)
    if not may_search or not cell or in_vscode or (existing is not None and _contains_cell(existing, cell)):
        return existing
    try:
        others = sorted(Path.cwd().glob("*.ipynb"))[:_MOST_SEARCHED]
    except OSError:  # the working directory was deleted
        return existing
    found = [path for path in others if _contains_cell(path, cell)]
    return found[0] if len(found) == 1 else existing


def answers_above(shell: Any, thread: str) -> int:
    """Return the number of answers of a thread that the notebook has saved above the running cell; 0 if unknown.

    Raises no error and reads no large file, because a question waits for the result.
    """
    from ..conversation import saved_answers  # late: importing it would slow down loading the extension
    from ..display import cell_id_of

    cell = cell_id_of(shell)
    if not cell:  # no notebook is open, though the environment may name one
        return 0
    try:
        document = _read_small(notebook_path(shell, may_search=False))
        ids = [each.get("id") for each in document["cells"]]
        end = ids.index(cell) if cell in ids else len(ids)
        return sum(each.thread == thread and each.index < end for each in saved_answers(document))
    except Exception:  # a broken or unreadable file must not prevent the question
        return 0


def is_below(shell: Any, code: str) -> bool:
    """Return whether this code is in the first code cell below the running cell, in the saved notebook; False if unknown.

    Raises no error and reads no large file.
    """
    from ..display import cell_id_of  # late, as above

    cell = cell_id_of(shell)
    if not cell:
        return False
    try:
        path = notebook_path(shell, may_search=False) or notebook_path(shell, may_search=True)
        cells = _read_small(path)["cells"]
        at = [each.get("id") for each in cells].index(cell)
        below = next(each for each in cells[at + 1 :] if each["cell_type"] == "code")
        return "".join(below["source"]).strip() == code.strip()
    except Exception:  # as above
        return False


def _read_small(path: Path | None) -> Mapping[str, Any]:
    """Read a notebook; one that is not known, or is large, counts as empty."""
    from ..conversation import read_notebook  # late, as above

    if path is None or path.stat().st_size > _MOST_BYTES:
        return {"cells": []}
    return read_notebook(path)


def _contains_cell(path: Path, cell: str) -> bool:
    try:
        return path.stat().st_size <= _MOST_BYTES and f'"{cell}"'.encode() in path.read_bytes()
    except OSError:
        return False
