"""Errors of ours as the few lines they deserve: what happened and what to do, no frames.

IPython asks an exception for its own picture (`_render_traceback_`), so nothing of the shell is patched, and the cell
fails as it should: Run All stops, `%tb` and `%debug` work. Only what leaves our magics is dressed so; an error raised in
a user's own function keeps its traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

from ..client import ClaudeError
from ..render import short_traceback

_Error = TypeVar("_Error", bound=BaseException)


def shorten(error: _Error, shell: Any) -> _Error:
    """Give an error its short picture, if it is an interrupt or one of ours; return it."""
    if isinstance(error, (ClaudeError, KeyboardInterrupt)):
        colors = str(getattr(shell, "colors", "")).lower() != "nocolor"
        error._render_traceback_ = lambda: short_traceback(error, colors=colors)  # type: ignore[union-attr]
    return error


@contextlib.contextmanager
def shortened(shell: Any) -> Iterator[None]:
    """Give what leaves the context its short picture, and no frames of ours."""
    try:
        yield
    except (ClaudeError, KeyboardInterrupt) as error:
        raise shorten(error, shell) from None
