"""Recording of other outputs in the cell of a streaming answer: log lines, prints of a thread, figures of tools.

The final output of an answer may replace all outputs of its cell, including these. A kernel's `sys.stdout` and
`sys.stderr` can echo what is written to them (ipykernel's `OutStream.echo`), and its display publisher can pass displays
to a hook (`register_hook`). The recorded outputs are replayed below the answer. Displays are recorded only if they come
from a tool of this answer, unlike the progress bar of a thread.
"""

from __future__ import annotations

import contextvars
import sys
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, Self, cast

keeps_displays: contextvars.ContextVar[bool] = contextvars.ContextVar("keeps_displays", default=False)
"""Whether displays from this context stay in the cell: those of tools do, but not their approval buttons."""

_Recorded = list["_Text | _Display"]


class OutputRecorder:
    """Records outputs within a `with` block. `replay` writes and displays them again, in the same order.

    Args:
        publisher: The display publisher.
    """

    def __init__(self, publisher: Any) -> None:
        self._recorded: _Recorded = []
        self._publisher = publisher
        self._displays = _DisplayEcho(self._recorded)
        streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "echo")]
        self._echoes = [_Echo(stream, self._recorded) for stream in streams]

    def __enter__(self) -> Self:
        for echo in self._echoes:
            echo.stream.echo = echo
        if hasattr(self._publisher, "register_hook"):
            self._publisher.register_hook(self._displays)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for echo in self._echoes:
            echo.is_active = False
            if echo.stream.echo is echo:  # otherwise a cell in a subshell records too, and forwards here
                echo.stream.echo = echo.previous
        if hasattr(self._publisher, "unregister_hook"):
            self._publisher.unregister_hook(self._displays)

    def replay(self) -> None:
        """Write and display the recorded outputs again, after the cell was cleared."""
        recorded = self._recorded[:]
        self._recorded.clear()
        for stream, run in groupby(recorded, key=lambda each: getattr(each, "stream", None)):
            if stream is None:
                for each in run:
                    # With its display id, so that it can still be updated.
                    self._publisher.publish(**cast(_Display, each).content)
            else:
                # In one write: if a timer flushes the stream between two writes, a line is split into two outputs.
                stream.write("".join(cast(_Text, each).text for each in run))


@dataclass(frozen=True, slots=True)
class _Text:
    """Text written to a stream."""

    stream: Any
    text: str


@dataclass(slots=True)
class _Display:
    """A display in its latest state."""

    content: dict[str, Any]

    @property
    def display_id(self) -> str | None:
        """The id by which the display can be updated, if it has one."""
        found: str | None = self.content["transient"].get("display_id")
        return found


class _Echo:
    """Records what the answer's cell writes to a stream. Called on the writer's thread."""

    def __init__(self, stream: Any, recorded: _Recorded) -> None:
        self.stream = stream
        self.previous = stream.echo
        self.is_active = True
        self._recorded = recorded
        self._cell = _cell_of(stream)

    def write(self, text: str) -> None:
        # Output of a task or thread that an earlier cell started goes to that cell, where it is not cleared.
        if self.is_active and _cell_of(self.stream) == self._cell:
            self._recorded.append(_Text(self.stream, text))
        if self.previous is not None:
            self.previous.write(text)

    def flush(self) -> None:
        if self.previous is not None:
            self.previous.flush()


class _DisplayEcho:
    """Records the displays of tools. A hook for ipykernel's publisher that passes all messages through."""

    def __init__(self, recorded: _Recorded) -> None:
        self._recorded = recorded

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        if keeps_displays.get():
            self._keep(message["msg_type"], message["content"])
        return message

    def _keep(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "display_data":
            self._recorded.append(_Display(content))
        elif kind == "update_display_data":
            for each in self._recorded:
                if isinstance(each, _Display) and each.display_id == content["transient"].get("display_id"):
                    each.content = content
        elif kind == "clear_output":
            self._recorded.clear()


def _cell_of(stream: Any) -> object:
    return getattr(stream, "parent_header", {}).get("msg_id")
