"""What a shell remembers of its cells, and in which file they are: errors, as `Err` shows them, output, replies in flight.

IPython leaves each error that it shows in `sys.last_value`, wherever it came from: a cell, a script of `%run`, a magic that is not
there, a `_repr_html_`, a widget's callback. So that is where errors are found: when a cell ends, and when somebody asks. Only the
error is kept until somebody asks; making text of it then keeps cells quick.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from ..context import CellRecord, ErrorRecord
    from ..runtime import Reply

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


_ASKS_CLAUDE = re.compile(r"\s*(?:%%?claude|%(?:re)?load_ext\s+claude_magic)\b")
_MAX_REPR_CHARS = 20_000


def cells_of(shell: Any) -> list[CellRecord]:
    """Return the cells before the one that runs, oldest first; questions to Claude are not among them.

    IPython 9 remembers what a cell printed, IPython 8 only the value of its last line. Neither remembers pictures.
    """
    return [
        _record(shell, number, source)
        for number, source in enumerate(shell.history_manager.input_hist_raw)
        if 0 < number < shell.execution_count and source.strip() and not _ASKS_CLAUDE.match(source)
    ]


def _record(shell: Any, number: int, source: str) -> CellRecord:
    remembered = getattr(shell.history_manager, "outputs", None)
    outputs = _value(shell, number) if remembered is None else _texts(remembered.get(number, ()))
    from ..context import CellRecord  # late: loading the extension must not cost this

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
    for output in list(outputs):  # a thread of the user's may be printing
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
    """Tells the errors when cells begin and end, and cancels replies that an interrupted cell has started and nobody waits for any more.

    In terminal IPython, Ctrl-C during `await reply` tears the loop down and leaves the reply streaming on the bridge,
    unseen and paid for.
    """

    def __init__(self, shell: Any, errors: Errors) -> None:
        self._shell = shell
        self._errors = errors
        self._in_flight_before: frozenset[Reply] = frozenset()

    def start(self) -> None:
        """Watch from the next cell on."""
        self._shell.events.register("pre_run_cell", self._on_start)
        self._shell.events.register("post_run_cell", self._on_end)

    def stop(self) -> None:
        """Watch no longer."""
        self._shell.events.unregister("pre_run_cell", self._on_start)
        self._shell.events.unregister("post_run_cell", self._on_end)

    def _on_start(self, info: Any) -> None:
        self._errors.enter(str(getattr(info, "raw_cell", "") or ""))
        if getattr(self._shell, _DISPLAY_FAILED, False):
            # Of an earlier cell. ipykernel 7.4 forgets it before blocking cells only, and would call awaited ones failed.
            setattr(self._shell, _DISPLAY_FAILED, False)
        self._in_flight_before = frozenset(_in_flight())

    def _on_end(self, result: Any) -> None:
        if (last := _last()) is not None:  # an empty reply is false
            # It stands on the screen for this cell's own value only; as the value of a later cell it shows again.
            last.is_on_screen = False
        self._errors.leave()
        if _was_interrupted(result):
            for reply in _in_flight():
                if reply not in self._in_flight_before and not reply.outlives_cell:
                    reply.cancel()


def _was_interrupted(result: Any) -> bool:
    # Where Ctrl-C comes between two statements, IPython counts it as an error before the execution.
    errors = (getattr(result, "error_in_exec", None), getattr(result, "error_before_exec", None))
    return any(type(error).__name__ in _INTERRUPTS for error in errors)


def runtime_if_used() -> Any:
    """Return the runtime if anything has used it, else None; looking must not import it."""
    module = sys.modules.get("claude_magic.runtime")
    return None if module is None else module.get_runtime()


def _in_flight() -> tuple[Reply, ...]:
    runtime = runtime_if_used()
    return () if runtime is None else runtime.in_flight()


def _last() -> Reply | None:
    runtime = runtime_if_used()
    return None if runtime is None else runtime.last


_SESSION_NAME = "JPY_SESSION_NAME"
"""Jupyter puts the path of the notebook here when it starts the kernel."""
_VSCODE_NAME = "__vsc_ipynb_file__"
_VSCODE_CELL = "vscode-notebook-cell:"
_MOST_BYTES = 16_000_000
"""Of a notebook that is read unasked."""
_MOST_SEARCHED = 50


def notebook_path(shell: Any, *, may_search: bool) -> Path | None:
    """Return the file in which the front end saves the notebook of a shell, as far as the kernel can know; None where it cannot.

    Args:
        shell: The shell.
        may_search: Look into the notebooks of the working directory for the cell that runs, where the file has got another name
            since the kernel was started.
    """
    from ..display import FrontEnd  # late: loading the extension must not cost this

    cell = FrontEnd(shell).cell_id
    in_vscode = unquote(urlsplit(cell).path) if cell.startswith(_VSCODE_CELL) else None
    named = (shell.user_ns.get(_VSCODE_NAME), in_vscode, os.environ.get(_SESSION_NAME))
    paths = [Path(name) for name in named if isinstance(name, str) and name.endswith(".ipynb")]
    there = next((path for path in paths if path.is_file()), None)
    if not may_search or not cell or in_vscode or (there is not None and _holds(there, cell)):
        return there
    try:
        others = sorted(Path.cwd().glob("*.ipynb"))[:_MOST_SEARCHED]
    except OSError:  # the working directory was deleted
        return there
    found = [path for path in others if _holds(path, cell)]
    return found[0] if len(found) == 1 else there


def answers_above(shell: Any, thread: str) -> int:
    """Return how many answers of a thread the notebook has saved above the cell that runs; 0 where that cannot be told.

    It never fails, and reads no large file: a question waits for it.
    """
    from ..conversation import read_notebook, saved_answers  # late: loading the extension must not cost these
    from ..display import FrontEnd

    cell = FrontEnd(shell).cell_id
    if not cell:  # nobody looks at a notebook, though the environment may name one
        return 0
    try:
        path = notebook_path(shell, may_search=False)
        if path is None or path.stat().st_size > _MOST_BYTES:
            return 0
        document = read_notebook(path)
        ids = [each.get("id") for each in document["cells"]]
        end = ids.index(cell) if cell in ids else len(ids)
        return sum(each.thread == thread and each.index < end for each in saved_answers(document))
    except Exception:  # whatever is in that file or keeps it from being read, the question is asked
        return 0


def _holds(path: Path, cell: str) -> bool:
    try:
        return path.stat().st_size <= _MOST_BYTES and f'"{cell}"'.encode() in path.read_bytes()
    except OSError:
        return False
