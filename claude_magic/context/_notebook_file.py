"""A notebook's file as text that reads like a notebook: its cells and what they printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..client import ConfigurationError
from ._collected import Collected
from ._screen_text import as_on_screen

_MAX_OUTPUT_CHARS = 4_000


def read_notebook(text: str, spec: str) -> Collected:
    """Return the cells of a notebook, with their text outputs.

    Args:
        text: The content of the file.
        spec: What the user called it.

    Raises:
        ConfigurationError: It is no notebook.
    """
    try:
        cells = json.loads(text)["cells"]
        shown = "\n\n".join(part for number, cell in enumerate(cells, 1) for part in _cell(number, cell))
        return Collected(parts=(shown,), notes=tuple(_notes(cells, spec)))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigurationError(f"{spec} is not a notebook of today's format. Nothing was sent.") from None


def _cell(number: int, cell: Mapping[str, Any]) -> Iterator[str]:
    source = _joined(cell["source"])
    kind = cell["cell_type"]
    yield f"# Cell {number} ({kind})\n{source}"
    for output in cell.get("outputs", ()):
        text = _output(output)
        if len(text) > _MAX_OUTPUT_CHARS:
            text = f"{text[:_MAX_OUTPUT_CHARS]}\n[… cut]"
        if text:
            yield f"# Output of cell {number}\n{text}"


def _output(output: Mapping[str, Any]) -> str:
    match output.get("output_type"):
        case "stream":
            return as_on_screen(_joined(output["text"]))
        case "error":
            return f"{output.get('ename')}: {as_on_screen(str(output.get('evalue')))}"
        case _:
            data = output.get("data", {})
            return _joined(data.get("text/plain", "")) or f"[{', '.join(data)}]"


def _notes(cells: list[Mapping[str, Any]], spec: str) -> Iterator[str]:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    pictures = sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in outputs)
    if pictures:
        yield f"The pictures among the outputs of {spec} ({pictures:,}) were not attached."
    cut = sum(len(_output(output)) > _MAX_OUTPUT_CHARS for output in outputs)
    if cut:
        yield f"Outputs of {spec} longer than {_MAX_OUTPUT_CHARS:,} characters ({cut:,}) were cut."


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
