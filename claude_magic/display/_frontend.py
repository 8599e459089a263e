"""Detection of the front end's capabilities. Other packages receive a `FrontEnd` instead of checking themselves."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TextIO

from ..context import last_reply_in
from ..render import Bundle, render_notice
from ..schema import reveal
from ..tools import interruptible_read

if TYPE_CHECKING:
    from ipywidgets import Widget

_BUSY_INTERVAL = 1.0
"""Seconds between two reports of the busy state."""
_FIRST_WITH_CLICKS = 7
"""Major version of ipykernel. Version 6 handles a click only after the cell has ended."""

_VISIBLE = {
    code: chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))
    if chr(code) not in "\t\n"
}


def without_controls(text: str) -> str:
    """Make escape sequences visible, which a terminal would interpret: text and names from a server are untrusted."""
    return reveal(text.translate(_VISIBLE))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal. Without a console, a program has no stderr, or a closed one."""
    return stream is not None and not stream.closed and stream.isatty()


def fit_lines(text: str, stream: TextIO | None) -> str:
    """Wrap lines between words at the width of a terminal; for other streams, return the text unchanged."""
    if not is_terminal(stream):
        return text
    width = shutil.get_terminal_size().columns
    fill = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(fill(line) if len(line) > width else line for line in text.split("\n"))


class FrontEnd:
    """The capabilities of the front end while a cell runs.

    Args:
        shell: The shell that runs the cell.

    Attributes:
        publisher: The display publisher.
        has_kernel: Whether the shell runs in a kernel, not in a terminal.
        is_captured: Whether outputs are captured (`%%capture`) instead of shown.
        is_attended: Whether a person watches the outputs. Tools that execute notebooks unattended allow no input.
        cell_id: The front end's id of the running cell; "" if it sends none.
        has_widgets: Whether a person uses a front end with widgets. Such front ends send cell ids; a console and nbclient do not.
        runs_clicks: Whether clicks are handled while an awaited cell runs.
        follows_context: Whether displays from a thread reach the cell whose context the thread runs in. ipykernel 6 does not
            use the context: there, they reach the cell that is currently running.
        has_colors: Whether colours and dim text are allowed. `--colors=NoColor`, and NO_COLOR in a terminal, turn them off.
        last_reply: The expression for the last reply in the user's code.
    """

    def __init__(self, shell: Any) -> None:
        from IPython.core.displaypub import CapturingDisplayPublisher

        kernel = getattr(shell, "kernel", None)
        self._shell = shell
        self.publisher = getattr(shell, "display_pub", None)
        self.has_kernel = hasattr(shell, "kernel")
        self.is_captured = isinstance(self.publisher, CapturingDisplayPublisher)
        self.is_attended = kernel is not None and bool(getattr(kernel, "_allow_stdin", False))
        self.cell_id = cell_id_of(shell)
        self.has_widgets = self.is_attended and bool(self.cell_id)
        self.runs_clicks = self.has_widgets and _kernel_version() >= _FIRST_WITH_CLICKS
        wants_none = str(getattr(shell, "colors", "")).lower() == "nocolor"
        self.has_colors = not (wants_none or (not self.has_kernel and os.environ.get("NO_COLOR")))
        self.last_reply = last_reply_in(shell)
        self.follows_context = isinstance(
            getattr(self.publisher, "_parent_header", None), contextvars.ContextVar
        )

    def show(self, bundle: Bundle) -> None:
        """Display a mimebundle; in a terminal, print its plain text."""
        if self.has_kernel:
            self._shell.display_pub.publish(data=bundle.data, metadata=bundle.metadata)
        else:
            print(without_controls(bundle.data["text/plain"]))

    @property
    def confirm(self) -> Callable[[str], bool] | None:
        """A function that asks a question and returns whether the answer is yes; None if no person can answer."""
        is_there = self.is_attended if self.has_kernel else sys.stdin is not None and sys.stdin.isatty()
        return _is_confirmed if is_there else None

    def say(self, line: str) -> None:
        """Display a line as a notice."""
        if self.has_kernel:
            self.show(render_notice(line))
        else:
            print(fit_lines(without_controls(line), sys.stdout))

    @contextlib.asynccontextmanager
    async def shown_as_busy(self) -> AsyncIterator[None]:
        """Keep the front end showing the kernel as busy within the context.

        JupyterLab shows the last reported state, and creates a subshell for the first widget of a kernel. After that it
        shows "Idle", although the cell is running. Therefore the busy state is reported again every second.
        """
        if not self.runs_clicks:
            yield
            return
        reporting = asyncio.create_task(self._report_busy())
        try:
            yield
        finally:
            # The reports run on the cell's loop, so none can follow the kernel's own idle report.
            reporting.cancel()

    async def _report_busy(self) -> None:
        kernel = self._shell.kernel
        while True:
            await asyncio.sleep(_BUSY_INTERVAL)
            # Without a parent message, as at kernel start, so that the cell's state and timing do not change.
            kernel.session.send(kernel.iopub_socket, "status", {"execution_state": "busy"})


def cell_id_of(shell: Any) -> str:
    """Return the front end's id of the running cell; "" if it sends none."""
    parent = getattr(shell, "parent_header", None) or {}
    return str((parent.get("metadata") or {}).get("cellId") or "")


def answer_mark(cell: str) -> str:
    """Return the CSS class of the answer in a cell, by which the page finds the cell."""
    return f"claude-magic-at-{re.sub('[^A-Za-z0-9_-]', '-', cell)}"


def route_to_subshell(*widgets: Widget) -> None:
    """Handle messages from these widgets on the subshell that received them.

    JupyterLab sends the messages of widgets to a subshell, a kernel thread that cells do not block. ipykernel 7.4
    forwards them to the shell that last published on that widget. For the widgets of a panel this is usually the main
    shell, where they would wait for the running cell.
    """
    for widget in widgets:
        comm = widget.comm
        # Private in ipykernel 7.4, so other versions may lack it.
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = lambda _data, sent_to: sent_to


def _is_confirmed(question: str) -> bool:
    try:
        with interruptible_read():
            return input(question).strip().casefold() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False


def waits_for_cells() -> bool:
    """Whether the current message is handled on the main thread, where messages wait for running cells."""
    return threading.current_thread() is threading.main_thread()


def _kernel_version() -> int:
    # Called only in a kernel, so ipykernel is installed.
    from ipykernel._version import version_info

    return int(str(version_info[0]))
