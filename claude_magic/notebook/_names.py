"""The scope of a magic call: the variables that its prompt can use, and the place where `-o` binds one.

A magic in a function sees the function's variables, as `%time` and `!echo {x}` do. So does a magic that a function calls with
`run_line_magic` or `run_cell_magic`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Protocol

from IPython.core.interactiveshell import InteractiveShell

from ._history import runtime_if_used

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


class Namespace(Protocol):
    """The part of a `Scope` that the grammar and the completer use."""

    def names(self) -> Mapping[str, object]:
        """Return the user's variables that are visible on the line."""
        ...

    def threads(self) -> tuple[str, ...]:
        """Return the names of the existing threads."""
        ...
