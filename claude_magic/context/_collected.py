"""What is collected for a prompt: text of bounded length and content blocks, in order, with notes for the reader."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from pathlib import PurePath
from typing import Any, Final, cast
from uuid import UUID

from ._redaction import redact

Part = str | dict[str, Any]
"""Text, or a content block as the API takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Things of the user's, ready to be sent.

    Attributes:
        parts: Text and content blocks, in order.
        notes: Sentences for the reader: what was cut, sampled, left as typed.
        redacted: What became `[REDACTED]`, by label ("an API key"), never by value.
        exposed: What looks like credentials and would be sent as it is, since the user named it: where, and by label.
    """

    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))


def join(pieces: Iterable[Collected]) -> Collected:
    """Return all pieces as one, in order; text that meets text becomes one part, a note or label stands once."""
    pieces = list(pieces)
    return Collected(
        parts=tuple(with_text_joined(part for piece in pieces for part in piece.parts)),
        notes=tuple(dict.fromkeys(note for piece in pieces for note in piece.notes)),
        redacted=tuple(dict.fromkeys(label for piece in pieces for label in piece.redacted)),
        exposed=tuple(dict.fromkeys(label for piece in pieces for label in piece.exposed)),
    )


def with_text_joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield parts, those of text that meet as one; empty text is left out."""
    for is_text, run in groupby(parts, key=lambda part: isinstance(part, str)):
        if not is_text:
            yield from run
        elif text := "".join(cast("Iterator[str]", run)):
            yield text


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


def with_article(noun: str) -> str:
    """Return a noun with its article: an int, a DataFrame, a UserDict."""
    return f"an {noun}" if re.match(r"[aeio]|u(?!ni|se|u)", noun, re.IGNORECASE) else f"a {noun}"


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


def fence_around(text: str) -> str:
    """Return a fence of backticks that nothing in `text` can end."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def fenced(text: str, language: str = "") -> str:
    """Return text as a Markdown block on lines of its own; no fence inside can end it."""
    fence = fence_around(text)
    return f"\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _redacted(text: str) -> str:
    clean, labels = redact(text)
    collected = _labels.get()
    if collected is not None:
        collected.extend(labels)
    return clean


Block = dict[str, Any]


def content_of(sections: Sequence[Sequence[Part]]) -> str | list[Block]:
    """Return a user's turn: plain text where that is all there is, else content blocks.

    Args:
        sections: Text and content blocks, in order. Text of two sections is not joined.
    """
    if len(sections) == 1 and all(isinstance(part, str) for part in sections[0]):
        return "".join(str(part) for part in sections[0])
    return [block for parts in sections for block in _blocks(parts)]


def _blocks(parts: Sequence[Part]) -> Iterator[Block]:
    """Yield parts as blocks. The API takes no blank text, which between two pictures means nothing anyway."""
    for part in with_text_joined(parts):
        if not isinstance(part, str):
            yield dict(part)
        elif part.strip():
            yield {"type": "text", "text": part}


def notes_on(collected: Iterable[Collected]) -> tuple[str, ...]:
    """Return what the reader should know about what is sent, as sentences, each once; secrets by label, never by value."""
    whole = join(collected)
    if not whole.redacted:
        return whole.notes
    return (*whole.notes, f"Redacted before sending: {', '.join(whole.redacted)}.")


_NUMBERS: Final = frozenset({bool, int, float, complex, type(None)})
_READABLE: Final = (datetime.date, datetime.time, datetime.timedelta, Decimal, Fraction, PurePath, UUID)


def plain_text(value: Any) -> str | None:
    """Return what a single value is written as; None for anything that is more, or has no such text.

    It is neither cut nor redacted: who names a text or a number means just that.
    """
    kind = type(value)
    try:
        if issubclass(kind, str):
            return str.__str__(value)
        if kind in _NUMBERS:
            return repr(value)
        if issubclass(kind, _READABLE) or is_numpy_scalar(value) or _is_of_pandas(kind):
            return str(value)
    except Exception:  # a number of more digits than Python writes, a broken subclass
        return None
    return None


def _is_of_pandas(kind: type) -> bool:
    """Tell a month or another span of pandas'; its dates are Python's."""
    return kind.__qualname__ in ("Period", "Interval") and kind.__module__.partition(".")[0] == "pandas"


def is_numpy_scalar(value: object) -> bool:
    """Tell a number of numpy's, which writes itself as `np.float64(1.5)`."""
    return any(f"{kind.__module__}.{kind.__qualname__}" == "numpy.generic" for kind in type(value).__mro__)
