"""Which models share their rate limits."""

from __future__ import annotations

import re
from functools import lru_cache

_DATE = re.compile(r"-(20\d{6}|latest)$", re.ASCII)
_GENERATION_4 = re.compile(r"(claude-(?:opus|sonnet|haiku))-4(?:-\d+)?", re.ASCII)
_FABLE_5 = re.compile(r"claude-(?:fable|mythos)-5(?:-\d+)?", re.ASCII)


@lru_cache(maxsize=256)
def model_class(model: str) -> str:
    """Return a name for the models that share their limits with this one.

    The published rule of November 2026: all of Opus 4 share a limit, and so do all of Sonnet 4 and all of Fable 5; every
    other model has its own. A snapshot's date makes no difference. Of a model that is not known a class of its own is
    assumed, which at worst learns the same twice.
    """
    name = _DATE.sub("", model)
    if fourth := _GENERATION_4.fullmatch(name):
        return f"{fourth[1]}-4"
    return "claude-fable-5" if _FABLE_5.fullmatch(name) else name
