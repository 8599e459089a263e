"""What somebody may have meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, choices: Iterable[str], *, cutoff: float = 0.7) -> str | None:
    """Return the choice that is most like a word, or `None` if none is much like it."""
    matches = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=cutoff)
    return matches[0] if matches else None
