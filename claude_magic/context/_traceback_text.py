"""A traceback as its reader saw it: cells under their names, without the machinery that runs them."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Iterator

from ._screen_text import as_on_screen

_MACHINERY = ("/IPython/core/", "/ipykernel/")
_INSTALLED = ("/site-packages/", "/dist-packages/")
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"].replace("\\", "/")


def format_traceback(error: BaseException, name_of_file: Callable[[str], str | None]) -> str:
    """Return the traceback of an error, and of those it came from.

    Args:
        error: The exception.
        name_of_file: Says what a file that stands for a cell is called; None for a real file.
    """
    trace = traceback.TracebackException.from_exception(error, compact=True)
    for each in _chain(trace):
        each.stack = traceback.StackSummary.from_list(
            [frame for frame in each.stack if not _is_machinery(frame.filename)]
        )
        for frame in each.stack:
            frame.filename = name_of_file(frame.filename) or frame.filename
        if isinstance(getattr(each, "filename", None), str):  # only of a SyntaxError
            each.filename = name_of_file(each.filename) or each.filename
    return as_on_screen("".join(trace.format()))


def is_typed(path: str) -> bool:
    """Say whether a file stands for a cell."""
    return "ipykernel_" in path or path.startswith("<ipython-input")


def is_library(path: str) -> bool:
    """Say whether a file is of what was installed, rather than of the user's own code."""
    if is_typed(path):
        return False
    path = path.replace("\\", "/")
    return path.startswith(("<", _STANDARD_LIBRARY)) or any(folder in path for folder in _INSTALLED)


def _is_machinery(path: str) -> bool:
    return any(folder in path.replace("\\", "/") for folder in _MACHINERY)


def _chain(trace: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield a traceback, those that led to it, and those of a group."""
    waiting = [trace]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        waiting += getattr(each, "exceptions", None) or []
