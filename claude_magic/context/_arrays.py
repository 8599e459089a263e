"""Arrays of numpy, and of libraries that look like it."""

from __future__ import annotations

from typing import Any

from ._collected import Collected
from ._safely import bounded, safe_repr

_SMALL = 200
_SAMPLE = 1_000_000


def describe_array(array: Any, chars: int) -> Collected:
    """Describe an array in about `chars` characters: whole where it is small, else by shape, type and statistics."""
    size = (
        int(array.size() if callable(array.size) else array.size)
        if not hasattr(array, "numel")
        else int(array.numel())
    )
    shape = " × ".join(f"{length:,}" for length in array.shape) or "scalar"
    head = f"Array: {shape}, {array.dtype}"
    if size <= _SMALL:
        return bounded(f"{head}\n{safe_repr(array, chars)}", chars, "array")
    flat = array.reshape(-1)
    step = -(-size // _SAMPLE)
    sample = flat[::step]
    notes = (f"Statistics of an array are from {len(sample):,} of its {size:,} values.",) if step > 1 else ()
    lines = [head, *_statistics(sample, is_sampled=step > 1), f"first values: {_listed(flat[:10])}"]
    return Collected(parts=("\n" + "\n".join(lines) + "\n",), notes=notes)


def _statistics(sample: Any, *, is_sampled: bool) -> list[str]:
    if str(getattr(sample.dtype, "kind", "f")) not in "iufb":
        return []
    nan = int((sample != sample).sum())
    finite = sample[sample == sample] if nan else sample
    if len(finite) == 0:
        return ["all values are NaN"]
    where = " of a sample" if is_sampled else ""
    facts = f"min {float(finite.min()):.6g}, max {float(finite.max()):.6g}, mean {float(finite.mean()):.6g}"
    return [f"{facts}{where}" + (f", {nan:,} NaN" if nan else "")]


def _listed(values: Any) -> str:
    return (
        ", ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in values.tolist())
        + ", …"
    )
