"""`--cells`: cells that were run, with what they showed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..client import ConfigurationError
from ._collected import Collected
from ._redaction import redact
from ._safely import fenced, head, noting_redactions, tail
from ._screen_text import as_on_screen

MAX_CHARS = 400_000
"""Of all cells together, about 100,000 tokens."""

_RANGE = re.compile(r"(-?\d+)?(?:(:)(-?\d+)?)?")
_MAX_OUTPUT_CHARS = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """A cell that was run.

    Attributes:
        number: Its number, as in `In [number]`.
        source: What was typed.
        outputs: What it showed, as text, in order.
        is_complete: Whether what it printed is among that; else only the value of its last line is.
    """

    number: int
    source: str
    outputs: tuple[str, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRange:
    """Which cells: by their numbers, or, below zero, counted from the last one that is no question to Claude."""

    start: int | None
    stop: int | None

    def chosen(self, cells: Sequence[CellRecord]) -> list[CellRecord]:
        """Return the cells in the range, oldest first."""
        return [cell for place, cell in enumerate(cells, -len(cells)) if self._holds(cell.number, place)]

    def _holds(self, number: int, place: int) -> bool:
        """Say whether a cell is in the range: by its number, and its place from the end (-1 for the last)."""
        is_after_start = self.start is None or (number if self.start >= 0 else place) >= self.start
        return is_after_start and (self.stop is None or (number if self.stop >= 0 else place) <= self.stop)


NO_CELLS: Final = CellRange(start=1, stop=0)


def parse_cell_range(spec: str) -> CellRange:
    """Read `-3:`, `2:5`, `7`, `all` or `none`. Both ends are included, as they are numbers of cells.

    Raises:
        ConfigurationError: It is none of these.
    """
    if spec == "all":
        return CellRange(start=None, stop=None)
    if spec == "none":
        return NO_CELLS
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

    Raises:
        ConfigurationError: There are none in the range, or they are more than can be sent.
    """
    chosen = cell_range.chosen(cells)
    if not chosen:
        if cell_range == NO_CELLS:
            return Collected()
        if not cells:
            return Collected(notes=("--cells: no cell of that range has been run.",))
        raise ConfigurationError(
            f"--cells: no cell of that range has been run. The numbers of those that have been, but for questions to Claude, go from "
            f"{cells[0].number} to {cells[-1].number}. Nothing was sent."
        )
    with noting_redactions() as cut_labels:
        text, labels = redact("\n".join(part for cell in chosen for part in _shown(cell)))
    if len(text) > MAX_CHARS:
        raise ConfigurationError(
            f"--cells: these cells have {len(text):,} characters; at most {MAX_CHARS:,} are sent. Ask for fewer, --cells -3: say. "
            "Nothing was sent."
        )
    return Collected(
        parts=(f"Cells of my notebook:\n{text}",),
        notes=tuple(_notes(chosen)),
        redacted=tuple(dict.fromkeys((*cut_labels, *labels))),
    )


def _shown(cell: CellRecord) -> Iterator[str]:
    yield f"\nIn [{cell.number}]:{fenced(cell.source, 'python')}"
    for text in map(as_on_screen, cell.outputs):
        yield f"Output of [{cell.number}]:{fenced(_bounded(text))}"


def _is_long(output: str) -> bool:
    return len(output) > _MAX_OUTPUT_CHARS


def _bounded(output: str) -> str:
    if not _is_long(output):
        return output
    return f"{head(output, _MAX_OUTPUT_CHARS * 3 // 4)}\n[… cut …]\n{tail(output, _MAX_OUTPUT_CHARS // 4)}"


def _notes(cells: Sequence[CellRecord]) -> Iterator[str]:
    cut = [str(cell.number) for cell in cells if any(map(_is_long, map(as_on_screen, cell.outputs)))]
    if cut:
        yield f"--cells: long outputs were cut, in {', '.join(cut)}."
    if not all(cell.is_complete for cell in cells):
        yield (
            "--cells: of outputs only the values of last lines are sent; IPython remembers what cells print from its version 9 on."
        )
