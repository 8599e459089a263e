"""Single values that are their own best description: text, numbers, dates, paths."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

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
        if issubclass(kind, _READABLE) or is_numpy_scalar(value):
            return str(value)
    except Exception:  # a number of more digits than Python writes, a broken subclass
        return None
    return None


def is_numpy_scalar(value: object) -> bool:
    """Tell a number of numpy's, which writes itself as `np.float64(1.5)`."""
    return any(f"{kind.__module__}.{kind.__qualname__}" == "numpy.generic" for kind in type(value).__mro__)
