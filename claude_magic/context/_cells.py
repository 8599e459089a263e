"""`--cells`: cells that were run, with what they showed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..client import ConfigurationError
from ._collected import Collected
from ._redaction import redact

_RANGE = re.compile(r"(-?\d+)?(?:(:)(-?\d+)?)?")
_MAX_OUTPUT_CHARS = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """A cell that was run.

    Attributes:
        number: Its number, as in `In [number]`.
        source: What was typed.
        outputs: What it showed, as text, in order.
    """

    number: int
    source: str
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRange:
    """Which cells: by their numbers, or, below zero, counted from the last one that is no question to Claude."""

    start: int | None
    stop: int | None

    def chosen(self, cells: Sequence[CellRecord]) -> list[CellRecord]:
        """Return the cells in the range, oldest first."""
        start, stop = _number(self.start, cells), _number(self.stop, cells)
        return [
            cell
            for cell in cells
            if (start is None or cell.number >= start) and (stop is None or cell.number <= stop)
        ]


def parse_cell_range(spec: str) -> CellRange:
    """Read `-3:`, `2:5`, `7`, `all` or `none`. Both ends are included, as they are numbers of cells.

    Raises:
        ConfigurationError: It is none of these.
    """
    if spec == "all":
        return CellRange(start=None, stop=None)
    if spec == "none":
        return CellRange(start=1, stop=0)
    match = _RANGE.fullmatch(spec)
    if match is None or spec in ("", ":"):
        raise ConfigurationError(
            f"--cells {spec}: write -3: (the last three), 2:5, 7, all or none. Nothing was sent."
        )
    first, colon, last = match.groups()
    start = None if first is None else int(first)
    return CellRange(start=start, stop=start if not colon else None if last is None else int(last))


def collect_cells(cells: Sequence[CellRecord], cell_range: CellRange) -> Collected:
    """Return the cells of a range as text, redacted.

    Args:
        cells: The cells that were run, oldest first, without questions to Claude.
        cell_range: Which of them.
    """
    chosen = cell_range.chosen(cells)
    if not chosen:
        note = (
            ()
            if (cell_range.start, cell_range.stop) == (1, 0)
            else ("--cells: no cell of that range has been run.",)
        )
        return Collected(parts=(), notes=note)
    text, labels = redact("\n\n".join(part for cell in chosen for part in _shown(cell)))
    return Collected(parts=(f"Cells of my notebook:\n\n{text}\n",), redacted=labels)


def _number(bound: int | None, cells: Sequence[CellRecord]) -> int | None:
    if bound is None or bound >= 0 or not cells:
        return bound
    return cells[max(0, len(cells) + bound)].number


def _shown(cell: CellRecord) -> Iterator[str]:
    yield f"In [{cell.number}]:\n```python\n{cell.source.rstrip()}\n```"
    for output in cell.outputs:
        text = output if len(output) <= _MAX_OUTPUT_CHARS else f"{output[:_MAX_OUTPUT_CHARS]}\n[… cut]"
        yield f"Output of [{cell.number}]:\n```\n{text.rstrip()}\n```"
