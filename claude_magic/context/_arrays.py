"""Arrays of numpy, and of libraries that look like it."""

from __future__ import annotations

from typing import Any

from ._collected import Collected
from ._safely import bounded, one_line, safe_repr

_SMALL = 200
_SAMPLE = 1_000_000
_FIRST = 20
_MAX_VALUE_CHARS = 100
_NUMBERS = "iufb"


def describe_array(array: Any, chars: int) -> Collected:
    """Describe an array in about `chars` characters: whole where it is small, else by shape, type and statistics."""
    size = int(array.numel()) if hasattr(array, "numel") else int(array.size)
    heading = f"Array: {' × '.join(f'{length:,}' for length in array.shape) or 'scalar'}, {array.dtype}"
    is_simple = _kind_of(array) not in "OV"
    if size <= _SMALL and is_simple:
        return bounded(f"{heading}\n{safe_repr(array, chars)}", chars, "array")
    flat = _flat(array)
    step = max(1, -(-size // _SAMPLE))
    lines = [heading]
    if _kind_of(array) in _NUMBERS:
        lines += _statistics(flat[::step], is_sampled=step > 1)
    lines.append(f"first values: {_listed(flat[:_FIRST], is_all=size <= _FIRST)}")
    notes = (f"Statistics of an array are from one in {step} of its {size:,} values.",) if step > 1 else ()
    collected = bounded("\n".join(lines), chars, "array")
    return Collected(parts=(f"\n{collected.text}\n",), notes=(*notes, *collected.notes))


def _flat(array: Any) -> Any:
    """Return the values in one row, of which slices can be taken: not a copy of all of them."""
    return array.flat if hasattr(array, "flat") else array.detach().reshape(-1)


def _kind_of(array: Any) -> str:
    """Return the letter that numpy has for a type; tensors of other libraries hold numbers."""
    return str(getattr(array.dtype, "kind", "f"))


def _statistics(sample: Any, *, is_sampled: bool) -> list[str]:
    is_number = sample == sample
    nan = len(sample) - int(is_number.sum())
    values = sample[is_number] if nan else sample
    if len(values) == 0:
        return ["all values are NaN"]
    facts = f"min {float(values.min()):.6g}, max {float(values.max()):.6g}, mean {_mean(values):.6g}"
    return [facts + (f", {nan:,} NaN" if nan else "") + (" (in the sample)" if is_sampled else "")]


def _mean(values: Any) -> float:
    if hasattr(values, "numel"):
        return float(values.float().mean())  # tensors of whole numbers have none
    return float(values.mean(dtype=float))


def _listed(values: Any, *, is_all: bool) -> str:
    shown = [
        f"{value:.6g}" if isinstance(value, float) else one_line(value, _MAX_VALUE_CHARS)
        for value in values.tolist()
    ]
    return ", ".join(shown if is_all else [*shown, "…"])
