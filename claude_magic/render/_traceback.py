"""Errors as a few coloured lines, as IPython's own last line of a traceback looks."""

from __future__ import annotations

import textwrap

_WIDTH = 88
"""Columns. JupyterLab breaks longer lines of an error in the middle of a word."""

# IPython prints the exception's name in red: the same here, whatever its colour scheme.
_RED, _PLAIN = "\x1b[0;31m", "\x1b[0m"


def short_traceback(error: BaseException, *, colors: bool) -> list[str]:
    """Return the lines for `_render_traceback_`: what happened and what to do, and no frames."""
    name, message = type(error).__name__, str(error)
    if isinstance(error, KeyboardInterrupt):
        name, message = "KeyboardInterrupt", message or "interrupted"
    first, *rest = _wrap(f"{name}: {message}")
    if not colors:
        return [first, *rest]
    return [f"{_RED}{name}{_PLAIN}{first[len(name) :]}", *rest]


def _wrap(text: str) -> list[str]:
    return [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    ]
