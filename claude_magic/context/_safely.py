"""Text of bounded length, also from objects that misbehave."""

from __future__ import annotations

from ._collected import Collected


def safe_repr(value: object, chars: int) -> str:
    """Return an object's `repr`, cut, and something in its place where it has none."""
    try:
        text = repr(value)
    except Exception as error:  # a broken __repr__ is no reason not to send the prompt
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= chars else f"{text[:chars]}… ({len(text):,} characters)"


def bounded(text: str, chars: int, what: str = "text") -> Collected:
    """Return text, cut in the middle where it is too long, which is said in it and in a note."""
    if len(text) <= chars:
        return Collected(parts=(text,))
    head, tail = text[: chars * 2 // 3], text[len(text) - chars // 3 :]
    left_out = len(text) - len(head) - len(tail)
    cut = f"{head}\n[… {left_out:,} characters left out …]\n{tail}"
    return Collected(
        parts=(cut,), notes=(f"Of a {what} of {len(text):,} characters, {left_out:,} were left out.",)
    )
