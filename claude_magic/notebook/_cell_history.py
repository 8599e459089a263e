"""The cells that were run in this shell, with what they showed, as far as IPython remembers it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..context import CellRecord, safe_repr

_OURS = re.compile(r"\s*(?:%%?claude|%(?:re)?load_ext\s+claude_magic)\b")
_MAX_REPR_CHARS = 20_000


def cells_of(shell: Any) -> list[CellRecord]:
    """Return the cells before the one that runs, oldest first; questions to Claude are not among them.

    IPython 9 remembers what a cell printed, IPython 8 only the value of its last line. Neither remembers pictures.
    """
    return [
        _record(shell, number, source)
        for number, source in enumerate(shell.history_manager.input_hist_raw)
        if 0 < number < shell.execution_count and source.strip() and not _OURS.match(source)
    ]


def _record(shell: Any, number: int, source: str) -> CellRecord:
    remembered = getattr(shell.history_manager, "outputs", None)
    outputs = _value(shell, number) if remembered is None else _texts(remembered.get(number, ()))
    return CellRecord(
        number=number,
        source=source,
        outputs=(*outputs, *_error(shell, number)),
        is_complete=remembered is not None,
    )


def _value(shell: Any, number: int) -> Iterator[str]:
    values = shell.user_ns.get("Out")
    if isinstance(values, Mapping) and number in values:
        yield safe_repr(values[number], _MAX_REPR_CHARS)


def _texts(outputs: Sequence[Any]) -> Iterator[str]:
    for output in list(outputs):  # a thread of the user's may be printing
        for kind in ("stream", "text/plain"):
            text = output.bundle.get(kind, "")
            if text:
                yield text if isinstance(text, str) else "".join(text)


def _error(shell: Any, number: int) -> Iterator[str]:
    error = getattr(shell.history_manager, "exceptions", {}).get(number)
    if error:
        yield f"{error.get('ename')}: {error.get('evalue')}"
