"""Text of bounded length, also from objects that misbehave, and without secrets that a cut would leave half of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ._collected import Collected
from ._redaction import redact

_LONGEST_SECRET = 2_000
"""Characters. What is cut is redacted first, and half a secret is none that could be recognised afterwards."""
_MAX_REASON_CHARS = 200

_labels: ContextVar[list[str] | None] = ContextVar("labels of what was redacted before a cut", default=None)


@contextmanager
def noting_redactions() -> Iterator[list[str]]:
    """Collect the labels of what is redacted before it is cut."""
    labels: list[str] = []
    token = _labels.set(labels)
    try:
        yield labels
    finally:
        _labels.reset(token)


def head(text: str, chars: int) -> str:
    """Return the first characters of a text; redacted, if that cuts it."""
    if len(text) <= chars:
        return text
    window = text[: chars + _LONGEST_SECRET]
    clean = _redacted(window)
    if len(window) < len(text):
        clean = clean[:-_LONGEST_SECRET]  # what the end of the window may have left of a secret
    return clean[:chars]


def tail(text: str, chars: int) -> str:
    """Return the last characters of a text; redacted, if that cuts it."""
    if len(text) <= chars:
        return text
    window = text[-(chars + _LONGEST_SECRET) :]
    clean = _redacted(window)
    if len(window) < len(text):
        clean = clean[_LONGEST_SECRET:]
    return clean[max(0, len(clean) - chars) :]


def safe_repr(value: object, chars: int) -> str:
    """Return an object's `repr`, cut, and something in its place where it has none."""
    if type(value) in (str, bytes) and len(value) > chars:  # type: ignore[arg-type]
        return _cut_repr(value, chars)
    try:
        text = repr(value)
    except Exception as error:  # a broken __repr__ is no reason not to send the prompt
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= chars else f"{head(text, chars)}… ({len(text):,} characters)"


def _cut_repr(value: Any, chars: int) -> str:
    """Return the `repr` of the beginning of a text or of bytes, which may be huge."""
    if isinstance(value, bytes):
        return f"{value[:chars]!r}… ({len(value):,} bytes)"
    return f"{head(value, chars)!r}… ({len(value):,} characters)"


def one_line(value: object, chars: int) -> str:
    """Return an object's text on one line, cut: what stands in a cell of a table."""
    try:
        text = value if type(value) is str else str(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose str raises {type(error).__name__}>"
    cut = text if len(text) <= chars else f"{head(text, chars)}…"
    return " ".join(cut.splitlines())


def error_text(error: BaseException) -> str:
    """Return type and message of a foreign error, in bounds and without secrets."""
    kind = type(error).__name__
    message = one_line(error, _MAX_REASON_CHARS)
    return f"{kind}: {_redacted(message).rstrip('.')}" if message else kind


def bounded(text: str, chars: int, what: str = "text") -> Collected:
    """Return text, cut in the middle where it is too long, which is said in it and in a note."""
    if len(text) <= chars:
        return Collected(parts=(text,))
    first, last = head(text, chars * 2 // 3), tail(text, chars // 3)
    left_out = len(text) - chars * 2 // 3 - chars // 3
    cut = f"{first}\n[… {left_out:,} characters left out …]\n{last}"
    return Collected(
        parts=(cut,), notes=(f"Of a {what} of {len(text):,} characters, {left_out:,} were left out.",)
    )


def fenced(text: str, language: str = "") -> str:
    """Return text as a Markdown block on lines of its own; no fence inside can end it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _redacted(text: str) -> str:
    clean, labels = redact(text)
    collected = _labels.get()
    if collected is not None:
        collected.extend(labels)
    return clean
