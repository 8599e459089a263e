"""The running cell: where its magic was called, and what the shell keeps between cells.

A magic in a function sees the function's variables, as `%time` and `!echo {x}` do. So does a magic that a function calls with
`run_line_magic` or `run_cell_magic`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.interactiveshell import InteractiveShell

from ._notebook_file import is_below
from ._shell import Errors, runtime_if_used

if TYPE_CHECKING:
    from ..display import AnswerActions, ApprovalButtons, FrontEnd
    from ..render import Bundle
    from ..runtime import ReplySnapshot, Runtime, Settings, ShownOnce


_MACHINERY = frozenset({"IPython", "claude_magic", "decorator", "traitlets"})
_LINE_MAGIC = InteractiveShell.run_line_magic.__code__
_WRITES_THROUGH = sys.version_info >= (3, 13)
"""Whether writing to a frame's `f_locals` changes its variables (PEP 667) instead of a copy."""


class Scope:
    """The place in the user's code where a magic was called. Without a frame, it is the top level of the notebook.

    Args:
        shell: The shell.
        frame: The frame that called the magic.
    """

    def __init__(self, shell: Any, frame: FrameType | None = None) -> None:
        self._shell = shell
        self._frames = [] if frame is None else [frame, *_enclosing(frame)]
        self._local = dict(self._locals())

    @classmethod
    def of_caller(cls, shell: Any) -> Scope:
        """Return the scope of the user's code that called the magic."""
        return cls(shell, _calling_frame())

    def names(self) -> Mapping[str, object]:
        """Return the user's variables that are visible there; those of the notebook are a live view."""
        from ..context import names_of  # late: importing it would slow down loading the extension

        return names_of(self._shell, self._local)

    def threads(self) -> tuple[str, ...]:
        """Return the names of the threads; before the runtime exists, only the default one."""
        runtime = runtime_if_used()
        if runtime is None:
            from ..conversation import MAIN_THREAD

            return (MAIN_THREAD,)
        return tuple(summary.name for summary in runtime.conversations.threads())

    def bind(self, name: str, value: object) -> None:
        """Bind a name as an assignment there would: to a variable of the function, else to a global one."""
        for frame in self._frames:
            if not _is_top(frame, self._shell.user_ns) and _owns(frame, name):
                _assign(frame, name, value)
                return
        if self._frames and self._frames[0].f_globals is not self._shell.user_global_ns:
            self._frames[0].f_globals[name] = value
        else:
            self._shell.push({name: value})

    def leave(self) -> None:
        """Release the frames. Later calls of `bind` bind in the notebook."""
        self._frames.clear()

    def _locals(self) -> Iterator[tuple[str, object]]:
        """Yield the variables that hide those of the notebook; if a name occurs twice, the later one applies."""
        if not self._frames:
            return
        module, notebook = self._frames[0].f_globals, self._shell.user_ns
        if module is not notebook:  # a function of an imported module, or a shell that is embedded in one
            is_top = self._frames[0].f_locals is notebook
            yield from ((name, module[name]) for name in list(module) if not (is_top and name in notebook))
        for frame in reversed(self._frames):
            if not _is_top(frame, notebook):
                yield from frame.f_locals.items()


def _calling_frame() -> FrameType | None:
    """Return the frame of the user's code that called the magic, above the frames of IPython and this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_machinery(frame):
        # A wrapper of a magic passes a depth above 1, to name its own caller.
        depth = frame.f_locals["_stack_depth"] if frame.f_code is _LINE_MAGIC else 1
        for _ in range(depth):
            frame = frame and frame.f_back
    return frame


def _is_machinery(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _MACHINERY


def _is_top(frame: FrameType, notebook: Mapping[str, object]) -> bool:
    return frame.f_locals is notebook or frame.f_locals is frame.f_globals


def _enclosing(frame: FrameType) -> Iterator[FrameType]:
    """Yield the frames of the enclosing functions that are still running, innermost first.

    They are needed because Python's closures contain only variables that the inner function's code mentions, and a prompt is not
    code.
    """
    inner, outer = frame, frame.f_back
    while outer is not None:
        is_function = outer.f_code.co_flags & inspect.CO_OPTIMIZED
        if is_function and any(constant is inner.f_code for constant in outer.f_code.co_consts):
            yield outer
            inner = outer
        outer = outer.f_back


def _owns(frame: FrameType, name: str) -> bool:
    code = frame.f_code
    if not code.co_flags & inspect.CO_OPTIMIZED:  # a class body, or code run by `exec`
        return True
    return name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars)


def _assign(frame: FrameType, name: str, value: object) -> None:
    frame.f_locals[name] = value
    if frame.f_code.co_flags & inspect.CO_OPTIMIZED and not _WRITES_THROUGH:
        import ctypes  # late: rarely needed

        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


class View(Protocol):
    """Controls of a cell, which remain after the cell has ended."""

    def close(self) -> None:
        """Stop reacting to the controls."""


class Session:
    """The state of a shell between cells: errors, cell keys, inserted code, controls.

    Args:
        shell: The shell.
        configured: Returns the settings of `%config`, by name.

    Attributes:
        shell: The shell.
        errors: The errors that the shell has shown.
        keys: Assigns each question of a cell its key.
        inserted: The code inserted below each cell, by the cell's key.
        views: The controls of each cell, by the cell's key.
        asked_in: Names of the threads in which a cell has asked.
        actions: The buttons under the answers of cells; None before the first.
        on_screen: The answers that line magics have drawn in the running cell.
    """

    def __init__(self, shell: Any, configured: Callable[[], Mapping[str, object]]) -> None:
        self.shell = shell
        self.errors = Errors(shell)
        self.keys = CellKeys(shell)
        self.inserted: dict[str, str] = {}
        self.views: dict[str, View] = {}
        self.asked_in: set[str] = set()
        self.actions: AnswerActions | None = None
        self.on_screen: list[ShownOnce] = []
        self._configured = configured

    def runtime(self) -> Runtime:
        """Return the kernel's runtime, with `%config` as one of its sources of settings.

        The first call imports the HTTP library, pydantic and the rest of the package; loading the extension does not.
        """
        from ..runtime import get_runtime

        runtime = get_runtime()
        runtime.use_config(self._configured)
        runtime.set_presenter(lambda snapshot: _present(snapshot, runtime, self.shell))
        return runtime

    def mark_on_screen(self, value: ShownOnce) -> None:
        """Record that a value has been drawn: IPython's next display of it in the running cell shows nothing."""
        value.is_on_screen = True
        self.on_screen.append(value)

    def close(self) -> None:
        """Close all controls and remove all buttons."""
        for view in self.views.values():
            view.close()
        self.views.clear()
        if self.actions is not None:
            self.actions.close()
            self.actions = None


class Cell:
    """The running cell.

    Args:
        session: The state of the shell.
        is_awaited: Whether the cell contains only the question and is awaited on the event loop; otherwise it blocks, and may have
            other outputs.

    Attributes:
        shell: The shell.
        errors: The errors that the shell has shown.
        scope: The place in the user's code where the magic was called.
        session: The state of the shell.
    """

    def __init__(self, session: Session, *, is_awaited: bool = False) -> None:
        self.shell = session.shell
        self.errors = session.errors
        self.scope = Scope.of_caller(session.shell)
        self.is_awaited = is_awaited
        self.session = session

    @property
    def runtime(self) -> Runtime:
        """The kernel's runtime, with the settings of `%config`."""
        return self.session.runtime()

    @property
    def settings(self) -> Settings:
        """The current settings."""
        return self.runtime.settings().values

    @property
    def is_live(self) -> bool:
        """Whether answers are drawn while they grow: the setting `live`, and outputs are not captured."""
        return self.settings.live and not self.front_end.is_captured

    @functools.cached_property
    def front_end(self) -> FrontEnd:
        """The capabilities of the front end, determined once per cell."""
        from ..display import FrontEnd

        return FrontEnd(self.shell)

    @functools.cached_property
    def approval(self) -> ApprovalButtons:
        """The buttons that ask whether tools may run for the answer of this cell."""
        from ..display import ApprovalButtons

        return ApprovalButtons()

    @functools.cached_property
    def key(self) -> str | None:
        """The key of this cell's question, assigned at first access; None if the front end does not send cell ids."""
        return self.session.keys.take()

    @property
    def next_key(self) -> str | None:
        """The key of the next question, without assigning it."""
        return self.session.keys.peek()

    @property
    def name(self) -> str:
        """The cell's name as the user sees it: "In[3]". The shell's own counter is already that of the next cell."""
        return f"In[{len(self.shell.history_manager.input_hist_parsed) - 1}]"

    def names(self) -> Mapping[str, object]:
        """Return the user's variables, as visible where the magic was called."""
        return self.scope.names()

    def record_asking_in(self, thread: str) -> bool:
        """Record that a cell asks in a thread. Return whether it is the first."""
        is_first = thread not in self.session.asked_in
        self.session.asked_in.add(thread)
        return is_first

    def keep_value(self, value: Any) -> None:
        """Set `_`, `Out` and the execution result to a value, as IPython's display hook does, without displaying it."""
        hook = self.shell.displayhook
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def insert_below(self, code: str) -> None:
        """Insert code into a new cell below, or, in a terminal, into the next prompt. It is not run.

        A cell that is run again does not insert the same code again; after a restart, it is recognised in the saved notebook.
        """
        inserted = self.session.inserted
        is_known = self.key is not None and inserted.get(self.key) == code
        if not is_known and not is_below(self.shell, code):
            self.shell.set_next_input(code, replace=False)
        if self.key is not None:
            inserted[self.key] = code

    def keep_view(self, view: View) -> None:
        """Keep the controls until the cell is run again."""
        self.session.views[self.key or ""] = view

    def close_previous_view(self) -> None:
        """Close the controls of the cell's previous run."""
        previous = self.session.views.pop(self.next_key or "", None)
        if previous is not None:
            previous.close()


class CellKeys:
    """Assigns keys to the questions of each execution: the cell's id for the first, `id#1` for the second, and so on.

    The keys let a cell that is run again replace its answers in the conversation.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._execution: object = None
        self._count = 0

    def take(self) -> str | None:
        """Assign and return the key of a question; None if the front end does not send cell ids."""
        key = self.peek()
        self._count, self._execution = self._next_count(), self._running_execution()
        return key

    def peek(self) -> str | None:
        """Return the key of the next question, without assigning it."""
        from ..display import cell_id_of

        cell, count = cell_id_of(self._shell), self._next_count()
        return f"{cell}#{count}" if cell and count else cell or None

    def _next_count(self) -> int:
        return self._count + 1 if self._running_execution() == self._execution else 0

    def _running_execution(self) -> object:
        parent = getattr(self._shell, "parent_header", None) or {}
        return (parent.get("header") or {}).get("msg_id")


def loads_remote_images(runtime: Runtime) -> bool:
    """Return the setting `remote_images`; False if a settings file has become invalid, which the next question reports."""
    from ..client import ConfigurationError

    try:
        return runtime.settings().values.remote_images
    except ConfigurationError:
        return False


def _present(snapshot: ReplySnapshot, runtime: Runtime, shell: Any) -> Bundle:
    from ..context import last_reply_in
    from ..render import render_reply

    return render_reply(snapshot, remote_images=loads_remote_images(runtime), kept_in=last_reply_in(shell))
