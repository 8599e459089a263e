"""Records what others print into a cell while an answer streams in it: log lines, the prints of a thread, a tool's figures.

Where the final output of an answer replaces all outputs of its cell, theirs would go with it. A kernel's `sys.stdout` and
`sys.stderr` can echo what is written to them (ipykernel's `OutStream.echo`), and its display publisher passes on what is
displayed (`register_hook`). What is recorded there is replayed below the answer. Of displays only those of tools are
kept, which ran for this answer: not a progress bar that a thread draws.
"""

from __future__ import annotations

import contextvars
import sys
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, Self, cast

keeps_displays: contextvars.ContextVar[bool] = contextvars.ContextVar("keeps_displays", default=False)
"""Whether what is displayed in this context stays in the cell: that of a tool, but not the question whether it may run."""

_Recorded = list["_Text | _Display"]


class OutputRecorder:
    """Records while it is entered; `replay` writes and displays what was recorded again, in its order.

    Args:
        publisher: What displays are published with.
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
            echo.is_listening = False
            if echo.stream.echo is echo:  # else a cell in a subshell listens too, and forwards to this one
                echo.stream.echo = echo.previous
        if hasattr(self._publisher, "unregister_hook"):
            self._publisher.unregister_hook(self._displays)

    def replay(self) -> None:
        """Write and display it again, now that the outputs are cleared."""
        recorded = self._recorded[:]
        self._recorded.clear()
        for stream, run in groupby(recorded, key=lambda each: getattr(each, "stream", None)):
            if stream is None:
                for each in run:
                    # Under its name, so that it can still be updated.
                    self._publisher.publish(**cast(_Display, each).content)
            else:
                # With one write: a stream that is flushed between two, by a timer of an earlier print, makes two outputs of a line.
                stream.write("".join(cast(_Text, each).text for each in run))


@dataclass(frozen=True, slots=True)
class _Text:
    """Something written to a stream."""

    stream: Any
    text: str


@dataclass(slots=True)
class _Display:
    """Something displayed, as it looks by now."""

    content: dict[str, Any]

    @property
    def display_id(self) -> str | None:
        """The name under which it can be updated, if it has one."""
        found: str | None = self.content["transient"].get("display_id")
        return found


class _Echo:
    """Keeps what is written to a stream for the cell that is being answered; called on the writer's thread."""

    def __init__(self, stream: Any, recorded: _Recorded) -> None:
        self.stream = stream
        self.previous = stream.echo
        self.is_listening = True
        self._recorded = recorded
        self._cell = _cell_of(stream)

    def write(self, text: str) -> None:
        # Output of a task or thread that an earlier cell started goes to that cell, where it is not cleared.
        if self.is_listening and _cell_of(self.stream) == self._cell:
            self._recorded.append(_Text(self.stream, text))
        if self.previous is not None:
            self.previous.write(text)

    def flush(self) -> None:
        if self.previous is not None:
            self.previous.flush()


class _DisplayEcho:
    """Keeps what tools display; a hook of ipykernel's publisher, which passes its messages through."""

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
