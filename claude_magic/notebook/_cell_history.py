"""The cells that were run in this shell, with what they showed, as far as IPython remembers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..context import CellRecord

_OURS = ("%%claude", "%claude", "%load_ext claude_magic")


def cells_of(shell: Any) -> list[CellRecord]:
    """Return the cells before the one that runs, oldest first; questions to Claude are not among them.

    IPython 9 remembers all that a cell showed, IPython 8 only the value of its last line.
    """
    sources = shell.history_manager.input_hist_raw
    current = shell.execution_count
    return [
        CellRecord(number=number, source=source, outputs=tuple(_outputs(shell, number)))
        for number, source in enumerate(sources)
        if 0 < number < current and source.strip() and not source.lstrip().startswith(_OURS)
    ]


def _outputs(shell: Any, number: int) -> Iterator[str]:
    remembered = getattr(shell.history_manager, "outputs", None)
    shown = [] if remembered is None else list(remembered.get(number, ()))
    if not shown:
        value = shell.user_ns.get("Out", {}).get(number)
        if value is not None:
            yield repr(value)
        yield from _error(shell, number)
        return
    for output in shown:
        yield from _text(output.bundle)
    yield from _error(shell, number)


def _text(bundle: dict[str, Any]) -> Iterator[str]:
    for kind in ("stream", "text/plain"):
        if kind in bundle:
            text = bundle[kind]
            yield text if isinstance(text, str) else "".join(text)


def _error(shell: Any, number: int) -> Iterator[str]:
    error = getattr(shell.history_manager, "exceptions", {}).get(number)
    if error:
        yield f"{error.get('ename')}: {error.get('evalue')}"
