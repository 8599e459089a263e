"""Errors of the session: the traceback, the cell it came from, and the values its frame shows.

The record of the last error reads the frame when it is asked; those before it are text only, so that no frame, and nothing that
hangs on one, is kept alive for long.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from ._collected import Collected, join
from ._describe import describe
from ._redaction import redact

_MAX_TRACEBACK_CHARS = 12_000
_MAX_VALUES = 12
_TOKENS_PER_VALUE = 150
_NAME = re.compile(r"[^\W\d]\w*")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ErrorRecord:
    """One error; as text it is its traceback.

    Args:
        error: The exception, with its traceback.
        source: The source of the cell that failed.
        name_of_file: Says what a file that stands for a cell is called; None for a real file.
    """

    def __init__(
        self,
        error: BaseException,
        source: str,
        *,
        name_of_file: Callable[[str], str | None] = lambda _path: None,
    ) -> None:
        self.name = type(error).__name__
        self.message = str(error)
        self.source = source
        self.traceback = _format(error, name_of_file)
        self._frame: FrameType | None = _users_frame(error.__traceback__)
        self._line = _failing_line(error, self._frame)

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<{self.name}: {self.message[:80]}>"

    def _repr_claude_(self) -> str:
        return f"\n```\n{self.traceback.rstrip()}\n```\n"

    def forget_frame(self) -> None:
        """Let go of the frame; the text stays."""
        self._frame = None

    def values(self) -> Iterator[Collected]:
        """Yield what the failing frame shows: what its line names first, then its other variables."""
        frame = self._frame
        if frame is None:
            return
        shown = frame.f_locals
        on_line = [name for name in dict.fromkeys(_NAME.findall(self._line)) if name in shown]
        others = [] if frame.f_code.co_name == "<module>" else [name for name in shown if name not in on_line]
        for name in (*on_line, *others)[:_MAX_VALUES]:
            if name.startswith("__"):
                continue
            value = describe(shown[name], name=name, max_tokens=_TOKENS_PER_VALUE)
            yield Collected(parts=(f"{name} = {value.text.strip()}\n",), redacted=value.redacted)


def describe_error(record: ErrorRecord) -> Collected:
    """Return all that helps to understand an error, redacted: the cell, the traceback, the values."""
    text, labels = redact(
        f"The cell:\n```python\n{record.source.rstrip()}\n```\n\nThe error:\n```\n{record.traceback.rstrip()}\n```\n"
    )
    values = [*record.values()]
    heading = Collected(parts=("\nValues where it happened:\n```\n",) if values else ())
    ending = Collected(parts=("```\n",) if values else ())
    return join([Collected(parts=(text,), redacted=labels), heading, *map(_redacted, values), ending])


def _redacted(value: Collected) -> Collected:
    """Redact plain strings too: here they were collected, nobody named them."""
    text, labels = redact(value.text)
    return Collected(parts=(text,), redacted=(*value.redacted, *labels))


def _format(error: BaseException, name_of_file: Callable[[str], str | None]) -> str:
    trace = traceback.TracebackException.from_exception(error, compact=True)
    trace.stack = traceback.StackSummary.from_list(
        [frame for frame in trace.stack if not _is_shells(frame.filename)]
    )
    for frame in trace.stack:
        frame.filename = name_of_file(frame.filename) or frame.filename
    text = _ANSI.sub("", "".join(trace.format()))
    if len(text) <= _MAX_TRACEBACK_CHARS:
        return text
    half = _MAX_TRACEBACK_CHARS // 2
    return f"{text[:half]}\n[… cut …]\n{text[-half:]}"


def _is_shells(filename: str) -> bool:
    return "/IPython/core/" in filename.replace("\\", "/") or "/ipykernel/" in filename.replace("\\", "/")


def _users_frame(trace: TracebackType | None) -> FrameType | None:
    """Return the innermost frame of code that was typed in a notebook; else the innermost at all."""
    last = users = None
    while trace is not None:
        last = trace.tb_frame
        if _is_typed(last.f_code.co_filename):
            users = last
        trace = trace.tb_next
    return users or last


def _is_typed(filename: str) -> bool:
    return "ipykernel_" in filename or filename.startswith("<ipython-input")


def _failing_line(error: BaseException, frame: FrameType | None) -> str:
    trace = error.__traceback__
    number = 0
    while trace is not None:
        if trace.tb_frame is frame:
            number = trace.tb_lineno
        trace = trace.tb_next
    return "" if frame is None else linecache.getline(frame.f_code.co_filename, number, frame.f_globals)
