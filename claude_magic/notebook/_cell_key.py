"""What tells a cell from others, so that running it again replaces its answer in the conversation."""

from __future__ import annotations

from typing import Any


class CellKeys:
    """Names the questions of each execution: the cell's id for the first, `id#1` for the second, and so on."""

    def __init__(self) -> None:
        self._execution: object = None
        self._count = 0

    def next_key(self, shell: Any) -> str | None:
        """Return the key of the question that is being asked; None where the front end does not say which cell runs."""
        parent = _parent_message(shell)
        self._count = self._next_count(parent)
        self._execution = _execution_of(parent)
        return _key(parent, self._count)

    def peek(self, shell: Any) -> str | None:
        """Return the key that the next question will get."""
        parent = _parent_message(shell)
        return _key(parent, self._next_count(parent))

    def _next_count(self, parent: dict[str, Any]) -> int:
        return self._count + 1 if _execution_of(parent) == self._execution else 0


def _key(parent: dict[str, Any], count: int) -> str | None:
    cell_id = (parent.get("metadata") or {}).get("cellId")
    if not isinstance(cell_id, str) or not cell_id:
        return None
    return f"{cell_id}#{count}" if count else cell_id


def _execution_of(parent: dict[str, Any]) -> object:
    return (parent.get("header") or {}).get("msg_id")


def _parent_message(shell: Any) -> dict[str, Any]:
    parent = getattr(shell, "parent_header", None)
    return parent if isinstance(parent, dict) else {}
