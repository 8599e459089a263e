"""A notebook's file as text that reads like a notebook: its cells and what they printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..client import ConfigurationError

_MAX_OUTPUT_CHARS = 4_000


def read_notebook(text: str, spec: str) -> str:
    """Return the cells of a notebook, with their text outputs.

    Raises:
        ConfigurationError: It is no notebook.
    """
    try:
        notebook = json.loads(text)
        cells = notebook["cells"]
        return "\n\n".join(part for number, cell in enumerate(cells, 1) for part in _cell(number, cell))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"-a {spec} is not a notebook of today's format. Nothing was sent."
        ) from None


def _cell(number: int, cell: Mapping[str, Any]) -> Iterator[str]:
    source = _joined(cell["source"])
    kind = cell["cell_type"]
    yield f"# Cell {number} ({kind})\n{source}"
    for output in cell.get("outputs", ()):
        shown = _output(output)
        if shown:
            yield f"# Output of cell {number}\n{shown}"


def _output(output: Mapping[str, Any]) -> str:
    match output.get("output_type"):
        case "stream":
            text = _joined(output["text"])
        case "error":
            text = f"{output.get('ename')}: {output.get('evalue')}"
        case _:
            data = output.get("data", {})
            text = _joined(data.get("text/plain", "")) or f"[{', '.join(data)}]"
    return text if len(text) <= _MAX_OUTPUT_CHARS else f"{text[:_MAX_OUTPUT_CHARS]}\n[… cut]"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
