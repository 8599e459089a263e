"""What somebody may have meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, choices: Iterable[str], *, cutoff: float = 0.7) -> str | None:
    """Return the choice that is most like a word, or `None` if none is much like it."""
    known = {choice.casefold(): choice for choice in choices}
    matches = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=cutoff)
    return known[matches[0]] if matches else None
