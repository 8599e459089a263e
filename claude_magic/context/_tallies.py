"""What is told of all rows of a column: read in pieces, so that no more than one piece is ever copied."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_PIECE_ROWS = 250_000
_MAX_ROWS = 10_000_000
"""Beyond this a reader would wait for seconds; all is told of the sample then."""
_NUMBERS = "iuf"
_DATES = "mM"


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted.

    Attributes:
        missing: The number of missing values.
        count: The number of values that are there.
        min: The least value; None where there is none, or the values have no order.
        max: The greatest.
        mean: The mean of numbers; NaN without any.
        is_exact: Whether all rows were read, not only the sample.
    """

    missing: int
    count: int
    min: Any = None
    max: Any = None
    mean: float = math.nan
    is_exact: bool = True


def is_numeric(column: Any) -> bool:
    """Tell whether a column holds real numbers."""
    return _kind_of(column) in _NUMBERS


def is_countable(column: Any) -> bool:
    """Tell whether a column holds numbers or dates, which are read fast and have an order."""
    return _kind_of(column) in _NUMBERS + _DATES


def tally(column: Any, sample: Any) -> Tally:
    """Return what is known of a column: of all its rows if that is cheap, else of a sample.

    Args:
        column: A pandas Series.
        sample: Some of its rows.
    """
    if not is_countable(column):
        present = int(sample.count())
        return Tally(len(sample) - present, present, is_exact=len(sample) == len(column))
    counted = column if len(column) <= _MAX_ROWS else sample
    pieces = [_tally_piece(counted.iloc[at : at + _PIECE_ROWS]) for at in range(0, len(counted), _PIECE_ROWS)]
    filled = [piece for piece in pieces if piece.count]
    total = sum(piece.count for piece in filled)
    return Tally(
        missing=len(counted) - total,
        count=total,
        min=min((piece.min for piece in filled), default=None),
        max=max((piece.max for piece in filled), default=None),
        mean=sum(piece.mean * (piece.count / total) for piece in filled) if filled else math.nan,
        is_exact=counted is column,
    )


def _tally_piece(piece: Any) -> Tally:
    present = int(piece.count())
    missing = len(piece) - present
    if not present:
        return Tally(missing, present)
    return Tally(
        missing, present, piece.min(), piece.max(), float(piece.mean()) if is_numeric(piece) else math.nan
    )


def _kind_of(column: Any) -> str:
    """Return numpy's letter for a type: also of the types that pandas adds, but not of those that have no order."""
    dtype = column.dtype
    return (
        "O"
        if str(dtype) == "category" or type(dtype).__name__ == "SparseDtype"
        else str(getattr(dtype, "kind", "O"))
    )
