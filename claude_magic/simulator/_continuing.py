"""Going on with an answer that was cut off."""

from __future__ import annotations

import re

_CUT = re.compile(r"\bwas cut off\b.*\bGo on exactly where it stopped\b", re.DOTALL)
_TAIL = re.compile(r"It stopped with:\n\n(.*)\Z", re.DOTALL)


def find_tail(prompt: str) -> str | None:
    """The end of the answer that a prompt wants continued; None where it wants something else."""
    tail = _TAIL.search(prompt) if _CUT.search(prompt) else None
    return tail[1].strip() if tail else None


def rest_after(answer: str, tail: str) -> str | None:
    """What comes in a whole answer after its cut part; None where the part does not stand in it."""
    before, found, rest = answer.rpartition(tail)
    del before
    return rest.lstrip("\n") or None if found else None
