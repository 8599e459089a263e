"""What others print into a cell while an answer streams in it: log lines, the prints of a thread.

The last picture of an answer replaces all outputs of its cell, and theirs would go with it. A kernel's `sys.stdout` and
`sys.stderr` can echo what is written to them (ipykernel's `OutStream.echo`); meanwhile we listen there, and say it
again below the picture. Displays of others (a progress bar that a thread draws) are not kept.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self


class Bystanders:
    """Listens while it is entered; `repeat` says again what was overheard."""

    def __init__(self) -> None:
        self._echoes = [_Echo(stream) for stream in (sys.stdout, sys.stderr) if hasattr(stream, "echo")]

    def __enter__(self) -> Self:
        for echo in self._echoes:
            echo.stream.echo = echo
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for echo in self._echoes:
            echo.is_listening = False
            if echo.stream.echo is echo:  # else a cell in a subshell listens too, and forwards to this one
                echo.stream.echo = echo.former

    def repeat(self) -> None:
        """Write the overheard again, now that the outputs are cleared."""
        for echo in self._echoes:
            pieces, echo.pieces = echo.pieces, []
            echo.stream.write("".join(pieces))


class _Echo:
    """Keeps what is written to a stream for the cell that is being answered; called on the writer's thread."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.former = stream.echo
        self.pieces: list[str] = []
        self.is_listening = True
        self._cell = _cell_of(stream)

    def write(self, text: str) -> None:
        # Output of a task or thread that an earlier cell started goes to that cell, where it is not cleared.
        if self.is_listening and _cell_of(self.stream) == self._cell:
            self.pieces.append(text)
        if self.former is not None:
            self.former.write(text)

    def flush(self) -> None:
        if self.former is not None:
            self.former.flush()


def _cell_of(stream: Any) -> object:
    return getattr(stream, "parent_header", {}).get("msg_id")
