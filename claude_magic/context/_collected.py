"""The content collected for a prompt: text of limited length and content blocks, in order, with notes for the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar, cast

from ._redaction import redact

T = TypeVar("T")
Part = str | dict[str, Any]
"""Text, or a content block of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Content that is ready to be sent.

    Attributes:
        parts: Text and content blocks, in order.
        notes: Sentences for the user about content that was cut, sampled or left as typed.
        redacted: Labels of the secrets that became `[REDACTED]` ("an API key"), never their values.
        exposed: Labels and places of apparent credentials that would be sent unredacted, because the user named the value.
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
    """Return all pieces as one, in order; adjacent texts are joined, repeated notes and labels are dropped."""
    pieces = list(pieces)
    return Collected(
        parts=tuple(with_text_joined(part for piece in pieces for part in piece.parts)),
        notes=tuple(dict.fromkeys(note for piece in pieces for note in piece.notes)),
        redacted=tuple(dict.fromkeys(label for piece in pieces for label in piece.redacted)),
        exposed=tuple(dict.fromkeys(label for piece in pieces for label in piece.exposed)),
    )


def with_text_joined(parts: Iterable[str | T]) -> Iterator[str | T]:
    """Yield parts with adjacent texts joined; empty text is left out."""
    for is_text, run in groupby(parts, key=lambda part: isinstance(part, str)):
        if not is_text:
            yield from run
        elif text := "".join(cast("Iterator[str]", run)):
            yield text


_LONGEST_SECRET = 2_000
"""Characters. Text is redacted before it is cut, because half a secret is no longer recognised."""
_MAX_REASON_CHARS = 200

_labels: ContextVar[list[str] | None] = ContextVar("labels of what was redacted before a cut", default=None)


def collect(make: Callable[[], Collected], *, redacts: bool = True) -> Collected:
    """Return what a function collects, with the labels of all secrets in it, also of those that were redacted before a cut.

    Args:
        make: Collects the content.
        redacts: Whether to redact its text; if not, only what is cut is redacted.
    """
    labels: list[str] = []
    token = _labels.set(labels)
    try:
        collected = make()
        parts = tuple(
            _redacted(part) if redacts and isinstance(part, str) else part for part in collected.parts
        )
    finally:
        _labels.reset(token)
    return replace(collected, parts=parts, redacted=tuple(dict.fromkeys((*collected.redacted, *labels))))


def head(text: str, chars: int) -> str:
    """Return the first characters of a text; the text is redacted if it is cut."""
    if len(text) <= chars:
        return text
    window = text[: chars + _LONGEST_SECRET]
    clean = _redacted(window)
    if len(window) < len(text):
        clean = clean[:-_LONGEST_SECRET]  # the end of the window may contain half a secret
    return clean[:chars]


def tail(text: str, chars: int) -> str:
    """Return the last characters of a text; the text is redacted if it is cut."""
    if len(text) <= chars:
        return text
    window = text[-(chars + _LONGEST_SECRET) :]
    clean = _redacted(window)
    if len(window) < len(text):
        clean = clean[_LONGEST_SECRET:]
    return clean[max(0, len(clean) - chars) :]


def safe_repr(value: object, chars: int) -> str:
    """Return an object's `repr`, cut to `chars`; a placeholder if `repr` raises."""
    if type(value) in (str, bytes) and len(value) > chars:  # type: ignore[arg-type]
        return _cut_repr(value, chars)
    try:
        text = repr(value)
    except Exception as error:  # a broken __repr__ does not stop the prompt
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= chars else f"{head(text, chars)}… ({len(text):,} characters)"


def _cut_repr(value: Any, chars: int) -> str:
    """Return the `repr` of the beginning of a long text or bytes."""
    if isinstance(value, bytes):
        return f"{value[:chars]!r}… ({len(value):,} bytes)"
    return f"{head(value, chars)!r}… ({len(value):,} characters)"


def one_line(value: object, chars: int) -> str:
    """Return an object's `str` on one line, cut to `chars`."""
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
    """Return the type and the message of an error of other code, shortened and redacted."""
    kind = type(error).__name__
    message = one_line(error, _MAX_REASON_CHARS)
    return f"{kind}: {_redacted(message).rstrip('.')}" if message else kind


def bounded(text: str, chars: int, what: str = "text") -> Collected:
    """Return a text; if it is too long, cut out its middle and note that in the text and in `notes`."""
    if len(text) <= chars:
        return Collected(parts=(text,))
    first, last = head(text, chars * 2 // 3), tail(text, chars // 3)
    left_out = len(text) - chars * 2 // 3 - chars // 3
    cut = f"{first}\n[… {left_out:,} characters left out …]\n{last}"
    return Collected(
        parts=(cut,), notes=(f"{left_out:,} of {len(text):,} characters of a {what} were left out.",)
    )


def fence_around(text: str) -> str:
    """Return a fence of more backticks than any run in `text`."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def fenced(text: str, language: str = "") -> str:
    """Return text as a fenced Markdown code block; no fence inside can end it."""
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
    """Return the content of a user message: a string if there is only text, else content blocks.

    Args:
        sections: Text and content blocks, in order. Texts of different sections are not joined.
    """
    if len(sections) == 1 and all(isinstance(part, str) for part in sections[0]):
        return "".join(str(part) for part in sections[0])
    return [block for parts in sections for block in _blocks(parts)]


def _blocks(parts: Sequence[Part]) -> Iterator[Block]:
    """Yield parts as blocks. Blank text is left out, because the API rejects it."""
    for part in with_text_joined(parts):
        if not isinstance(part, str):
            yield dict(part)
        elif part.strip():
            yield {"type": "text", "text": part}


def notes_on(collected: Iterable[Collected]) -> tuple[str, ...]:
    """Return the notes for the user, each once, and a note on redacted secrets, by label and never by value."""
    whole = join(collected)
    if not whole.redacted:
        return whole.notes
    return (*whole.notes, f"Redacted before sending: {', '.join(whole.redacted)}.")
