"""plotly figures: as a picture where something can draw one, else as a summary of their data."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ._collected import Collected
from ._pictures import image_block
from ._safely import bounded, error_text, one_line

_MAX_TRACES = 20
_FIRST = 5
_MAX_VALUE_CHARS = 60


def describe_plot(figure: Any, chars: int) -> Collected:
    """Return a plotly figure as a content block; as text where nothing can draw it."""
    reason = "with kaleido installed (pip install kaleido) it would be a picture"
    if importlib.util.find_spec("kaleido") is not None:
        try:
            return image_block(figure.to_image(format="png"), name="the figure")
        except Exception as error:  # kaleido needs a browser, and has many ways not to find one
            reason = f"kaleido could not draw it ({error_text(error)})"
    collected = bounded("\n".join(_lines(figure)), chars, "plotly figure")
    note = f"A plotly figure is sent as a summary of its data; {reason}."
    return Collected(parts=(f"\n{collected.text}\n",), notes=(note, *collected.notes))


def _lines(figure: Any) -> Iterator[str]:
    yield f"plotly figure{_quoted(figure.layout.title.text)} with {len(figure.data)} traces"
    for axis in ("xaxis", "yaxis"):
        title = figure.layout[axis].title.text
        if title:
            yield f"{axis}:{_quoted(title)}"
    for trace in islice(figure.data, _MAX_TRACES):
        yield f"- {trace.type}{_quoted(trace.name)}: {'; '.join(_data(trace)) or 'no data'}"
    if len(figure.data) > _MAX_TRACES:
        yield f"… {len(figure.data) - _MAX_TRACES:,} more traces"


def _data(trace: Any) -> Iterator[str]:
    """Yield what a trace draws: its properties that hold many values."""
    for name in trace:
        values = trace[name]
        if isinstance(values, list | tuple) or hasattr(values, "dtype"):
            first = ", ".join(one_line(value, _MAX_VALUE_CHARS) for value in values[:_FIRST])
            yield f"{name} of {len(values):,} values: {first}{', …' if len(values) > _FIRST else ''}"


def _quoted(text: object) -> str:
    return f" “{one_line(text, _MAX_VALUE_CHARS)}”" if text else ""
