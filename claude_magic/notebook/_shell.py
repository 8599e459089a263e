"""What a shell remembers of its cells: errors (`Err`), sources and outputs, and the replies that they have started or drawn.

IPython stores each error that it shows in `sys.last_value`, wherever it was raised: in a cell, a script of `%run`, a missing magic, a
`_repr_html_`, a widget callback. `Errors` reads it when a cell begins or ends, and when errors are accessed. The exception is converted
to text only when needed, so that cells stay fast.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from ..context import CellRecord, ErrorRecord
    from ..runtime import Reply, ShownOnce

_KEPT = 20
# Names instead of classes, so that a terminal need not import asyncio.
_NOT_ERRORS = ("KeyboardInterrupt", "CancelledError", "SystemExit")


class Errors(Sequence["ErrorRecord"]):
    """The last errors of a shell, oldest first, without those that the magics themselves raise.

    Args:
        shell: The shell. It provides the names of the cells' files, and what the cells have printed.
    """

    def __init__(self, shell: Any = None) -> None:
        self._shell = shell
        self._records: deque[ErrorRecord] = deque(maxlen=_KEPT)
        self._last: tuple[BaseException, str, int] | None = None
        self._seen: BaseException | None = getattr(sys, "last_value", None)
        self._running: list[str] = []
        self.shown_since = ""
        """Class name of an exception shown after the last error that `fix` does not apply to: an interrupt, or an error of the magics."""

    def enter(self, source: str) -> None:
        """Record that a cell has begun."""
        self._check_last_value()
        self._running.append(source)

    def leave(self) -> None:
        """Record that the cell that began last has ended."""
        self._check_last_value()
        if self._running:
            self._running.pop()

    def _add(self, error: BaseException, source: str) -> None:
        """Add an error; the previous one is reduced to text.

        Args:
            error: The exception.
            source: Source of the cell that raised it; "" between cells.
        """
        self._make_record()
        if self._records:
            self._records[-1].forget_frame()
        self._last = (error, source, getattr(self._shell, "execution_count", 0))
        self.shown_since = ""

    def __len__(self) -> int:
        self._check_last_value()
        self._make_record()
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> ErrorRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ErrorRecord]: ...
    def __getitem__(self, index: int | slice) -> Any:
        self._check_last_value()
        self._make_record()
        return list(self._records)[index]

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self))}]"

    def _check_last_value(self) -> None:
        """Add the error that was shown since the last call, if any."""
        error: BaseException | None = getattr(sys, "last_value", None)
        if error is None or error is self._seen:
            return
        self._seen = error
        if type(error).__name__ in _NOT_ERRORS or _is_ours(error):
            self.shown_since = type(error).__name__
        else:
            self._add(error, self._running[-1] if self._running else "")

    def _make_record(self) -> None:
        """Make the record of the last error, unless it exists already."""
        if self._last is None:
            return
        from ..context import ErrorRecord  # late: importing it would slow down loading the extension

        (error, source, number), self._last = self._last, None
        self._records.append(
            ErrorRecord(error, source, name_of_file=self._name_of_file, printed=self._printed(number))
        )

    def _printed(self, number: int) -> str | None:
        """Return what the cell with this number has written to stderr; None if IPython does not record outputs."""
        remembered = getattr(getattr(self._shell, "history_manager", None), "outputs", None)
        if remembered is None:
            return None
        return "".join(
            text if isinstance(text, str) else "".join(text)
            for output in list(remembered.get(number, ()))
            if output.output_type == "err_stream" and (text := output.bundle.get("stream", ""))
        )

    def _name_of_file(self, path: str) -> str | None:
        """Return a name such as "Cell In[3]" for a cell's file, as IPython's tracebacks do; None for other files."""
        name = getattr(getattr(self._shell, "compile", None), "format_code_name", lambda _path: None)(path)
        return " ".join(name) if name else None


def _is_ours(error: BaseException) -> bool:
    """Return whether an error explains itself: it is shown without a traceback, or is a UsageError of this package."""
    if type(error).__module__.startswith("claude_magic."):
        return hasattr(error, "_render_traceback_")
    if type(error).__name__ != "UsageError":
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("claude_magic.")


_ASKS_CLAUDE = re.compile(r"\s*(?:%%?claude|%(?:re)?load_ext\s+claude_magic)\b")
_MAX_REPR_CHARS = 20_000


def cells_of(shell: Any) -> list[CellRecord]:
    """Return the cells before the running one, oldest first, without questions to Claude.

    IPython 9 records the text outputs of a cell, IPython 8 only the value of its last line. Neither records images.
    """
    return [
        _record(shell, number, source)
        for number, source in enumerate(shell.history_manager.input_hist_raw)
        if 0 < number < shell.execution_count and source.strip() and not _ASKS_CLAUDE.match(source)
    ]


def _record(shell: Any, number: int, source: str) -> CellRecord:
    remembered = getattr(shell.history_manager, "outputs", None)
    outputs = _value(shell, number) if remembered is None else _texts(remembered.get(number, ()))
    from ..context import CellRecord  # late: importing it would slow down loading the extension

    return CellRecord(
        number=number,
        source=source,
        outputs=(*outputs, *_error_line(shell, number)),
        is_complete=remembered is not None,
    )


def _value(shell: Any, number: int) -> Iterator[str]:
    values = shell.user_ns.get("Out")
    if isinstance(values, Mapping) and number in values:
        from ..context import safe_repr  # late, as above

        yield safe_repr(values[number], _MAX_REPR_CHARS)


def _texts(outputs: Sequence[Any]) -> Iterator[str]:
    for output in list(outputs):  # a copy, because another thread may be printing
        for kind in ("stream", "text/plain"):
            text = output.bundle.get(kind, "")
            if text:
                yield text if isinstance(text, str) else "".join(text)


def _error_line(shell: Any, number: int) -> Iterator[str]:
    error = getattr(shell.history_manager, "exceptions", {}).get(number)
    if error:
        yield f"{error.get('ename')}: {error.get('evalue')}"


_INTERRUPTS = ("KeyboardInterrupt", "CancelledError")
_DISPLAY_FAILED = "_last_traceback_during_displayhook"


class ShellWatch:
    """Tracks the beginning and end of cells for `Errors`, and for what is on the screen. Cancels the replies that an interrupted cell started, unless they outlive it.

    In terminal IPython, Ctrl-C during `await reply` tears down the event loop, but the reply would continue to stream on the
    bridge's thread, unseen and billed.
    """

    def __init__(self, shell: Any, errors: Errors, on_screen: list[ShownOnce]) -> None:
        self._shell = shell
        self._errors = errors
        self._on_screen = on_screen
        self._in_flight_before: frozenset[Reply] = frozenset()

    def start(self) -> None:
        """Register the callbacks."""
        self._shell.events.register("pre_run_cell", self._on_start)
        self._shell.events.register("post_run_cell", self._on_end)

    def stop(self) -> None:
        """Unregister the callbacks."""
        self._shell.events.unregister("pre_run_cell", self._on_start)
        self._shell.events.unregister("post_run_cell", self._on_end)

    def _on_start(self, info: Any) -> None:
        self._forget_on_screen()
        self._errors.enter(str(getattr(info, "raw_cell", "") or ""))
        if getattr(self._shell, _DISPLAY_FAILED, False):
            # Left by an earlier cell. ipykernel 7.4 resets it only before blocking cells, so an awaited cell would count as failed.
            setattr(self._shell, _DISPLAY_FAILED, False)
        self._in_flight_before = frozenset(_in_flight())

    def _on_end(self, result: Any) -> None:
        self._forget_on_screen()
        self._errors.leave()
        if _was_interrupted(result):
            for reply in _in_flight():
                if reply not in self._in_flight_before and not reply.outlives_cell:
                    reply.cancel()

    def _forget_on_screen(self) -> None:
        """Make the value of a later cell visible again. What a callback has drawn between two cells is not in the next one either."""
        while self._on_screen:
            self._on_screen.pop().is_on_screen = False


def _was_interrupted(result: Any) -> bool:
    # IPython reports a Ctrl-C between two statements as an error before the execution.
    errors = (getattr(result, "error_in_exec", None), getattr(result, "error_before_exec", None))
    return any(type(error).__name__ in _INTERRUPTS for error in errors)


def runtime_if_used() -> Any:
    """Return the runtime if it has been imported, else None."""
    module = sys.modules.get("claude_magic.runtime")
    return None if module is None else module.get_runtime()


def _in_flight() -> tuple[Reply, ...]:
    runtime = runtime_if_used()
    return () if runtime is None else runtime.in_flight()
