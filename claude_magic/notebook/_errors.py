"""The errors of the session, as `Err` shows them: `{{ Err[-1] }}` in a prompt is the last traceback.

IPython leaves each error that it shows in `sys.last_value`, whoever raised it: a cell, a script of `%run`, a magic that is not
there, a `_repr_html_`, a widget's callback. So that is where errors are found: when a cell ends, and when somebody asks. Only the
error is kept until somebody asks; making text of it then keeps cells quick.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from ..context import ErrorRecord

_KEPT = 20
# By name, so that a terminal need not import asyncio for this.
_NOT_ERRORS = ("KeyboardInterrupt", "CancelledError", "SystemExit")


class Errors(Sequence["ErrorRecord"]):
    """The last errors of a shell, oldest first; none of those that our own commands show.

    Args:
        shell: The shell, which knows which file stands for which cell, and what cells have printed.
    """

    def __init__(self, shell: Any = None) -> None:
        self._shell = shell
        self._records: deque[ErrorRecord] = deque(maxlen=_KEPT)
        self._last: tuple[BaseException, str, int] | None = None
        self._seen: BaseException | None = getattr(sys, "last_value", None)
        self._running: list[str] = []
        self.shown_since = ""
        """The name of what was shown after the last error, and is not to be fixed: an interrupt, or an error of ours."""

    def enter(self, source: str) -> None:
        """A cell begins."""
        self._look()
        self._running.append(source)

    def leave(self) -> None:
        """The cell that began last has ended."""
        self._look()
        if self._running:
            self._running.pop()

    def note(self, error: BaseException, source: str) -> None:
        """Take note of an error; the one before it is reduced to text.

        Args:
            error: The exception.
            source: The cell in which it came; "" between cells.
        """
        self._settle()
        if self._records:
            self._records[-1].forget_frame()
        self._last = (error, source, getattr(self._shell, "execution_count", 0))
        self.shown_since = ""

    def __len__(self) -> int:
        self._look()
        self._settle()
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> ErrorRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ErrorRecord]: ...
    def __getitem__(self, index: int | slice) -> Any:
        self._look()
        self._settle()
        return list(self._records)[index]

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self))}]"

    def _look(self) -> None:
        """Take note of the error that was shown since this was called before, if there is one."""
        error: BaseException | None = getattr(sys, "last_value", None)
        if error is None or error is self._seen:
            return
        self._seen = error
        if type(error).__name__ in _NOT_ERRORS or _is_ours(error):
            self.shown_since = type(error).__name__
        else:
            self.note(error, self._running[-1] if self._running else "")

    def _settle(self) -> None:
        """Make the record of the last error, if nobody has yet."""
        if self._last is None:
            return
        from ..context import ErrorRecord  # late: loading the extension must not cost this

        (error, source, number), self._last = self._last, None
        self._records.append(
            ErrorRecord(error, source, name_of_file=self._name_of_file, printed=self._printed(number))
        )

    def _printed(self, number: int) -> str | None:
        """Return what the cell of that number has written to stderr; None where IPython does not remember it."""
        remembered = getattr(getattr(self._shell, "history_manager", None), "outputs", None)
        if remembered is None:
            return None
        return "".join(
            text if isinstance(text, str) else "".join(text)
            for output in list(remembered.get(number, ()))
            if output.output_type == "err_stream" and (text := output.bundle.get("stream", ""))
        )

    def _name_of_file(self, path: str) -> str | None:
        """Return "Cell In[3]" for the file that stands for that cell, as IPython's own tracebacks do."""
        name = getattr(getattr(self._shell, "compile", None), "format_code_name", lambda _path: None)(path)
        return " ".join(name) if name else None


def _is_ours(error: BaseException) -> bool:
    """Whether an error says itself what to do: one of ours that is shown without a traceback, or a word on usage."""
    if type(error).__module__.startswith("claude_magic."):
        return hasattr(error, "_render_traceback_")
    if type(error).__name__ != "UsageError":
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("claude_magic.")
