"""What the front end of a kernel can do: the one place that asks. Other packages are given a `FrontEnd`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TextIO

from ..context import last_reply_in
from ..render import Bundle, render_notice

if TYPE_CHECKING:
    from ipywidgets import Widget

_BUSY_INTERVAL = 1.0
"""Seconds between two reports that the kernel is busy."""
_FIRST_WITH_CLICKS = 7
"""ipykernel 6 handles a click when the cell has ended."""


def fit_lines(text: str, stream: TextIO) -> str:
    """Break lines between words where a terminal would break them within one; for any other stream leave them as they are."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    fill = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(fill(line) if len(line) > width else line for line in text.split("\n"))


class FrontEnd:
    """What is known about the front end while a cell runs.

    Args:
        shell: The shell that runs the cell.

    Attributes:
        publisher: Publishes displays.
        has_kernel: A kernel runs the shell; a terminal does not.
        is_captured: Outputs are collected (`%%capture`) instead of shown.
        is_attended: A person looks at the outputs as they come. Tools that execute notebooks unattended accept no input.
        cell_id: What the front end calls the cell that runs; "" where it does not say.
        has_widgets: A person looks at a front end with widgets. Such front ends name their cells; a console and nbclient do not.
        runs_clicks: A click is handled while an awaited cell runs.
        follows_context: What a thread displays reaches the cell that the thread works for, if its context comes along.
            ipykernel 6 keeps the current cell elsewhere: there, it reaches whichever cell runs.
        has_colors: Colours and dim text may be written: `--colors=NoColor`, and NO_COLOR in a terminal, ask for none.
        last_reply: The expression by which the user's code reaches the last reply.
    """

    def __init__(self, shell: Any) -> None:
        from IPython.core.displaypub import CapturingDisplayPublisher

        kernel = getattr(shell, "kernel", None)
        parent = getattr(shell, "parent_header", None) or {}
        self._shell = shell
        self.publisher = getattr(shell, "display_pub", None)
        self.has_kernel = hasattr(shell, "kernel")
        self.is_captured = isinstance(self.publisher, CapturingDisplayPublisher)
        self.is_attended = kernel is not None and bool(getattr(kernel, "_allow_stdin", False))
        self.cell_id = str((parent.get("metadata") or {}).get("cellId") or "")
        self.has_widgets = self.is_attended and bool(self.cell_id)
        self.runs_clicks = self.has_widgets and _kernel_version() >= _FIRST_WITH_CLICKS
        wants_none = str(getattr(shell, "colors", "")).lower() == "nocolor"
        self.has_colors = not (wants_none or (not self.has_kernel and os.environ.get("NO_COLOR")))
        self.last_reply = last_reply_in(shell)
        self.follows_context = isinstance(
            getattr(self.publisher, "_parent_header", None), contextvars.ContextVar
        )

    @property
    def can_ask(self) -> bool:
        """Whether somebody can type an answer to a question, here or in the terminal."""
        if self.has_kernel:
            return self.is_attended
        return sys.stdin is not None and sys.stdin.isatty()

    def show(self, bundle: Bundle) -> None:
        """Display a mimebundle; a terminal gets its plain text."""
        if self.has_kernel:
            self._shell.display_pub.publish(data=bundle.data, metadata=bundle.metadata)
        else:
            print(bundle.data["text/plain"])

    @property
    def confirm(self) -> Callable[[str], bool] | None:
        """Asks the person at the front end a question, and tells whether the answer is yes; None where nobody can answer."""
        is_there = self.is_attended if self.has_kernel else sys.stdin is not None and sys.stdin.isatty()
        return (lambda question: input(question).strip().casefold() in ("y", "yes")) if is_there else None

    def say(self, line: str) -> None:
        """Display one quiet line."""
        if self.has_kernel:
            self.show(render_notice(line))
        else:
            print(fit_lines(line, sys.stdout))

    @contextlib.asynccontextmanager
    async def shown_as_busy(self) -> AsyncIterator[None]:
        """Let the front end show the kernel as busy as long as the context lasts.

        JupyterLab shows the state that any message has reported last, and makes a subshell for the first widget of a
        kernel: when that is done, it shows "Idle", though the cell runs. So the state is reported again, every second.
        """
        if not self.runs_clicks:
            yield
            return
        reporting = asyncio.create_task(self._report_busy())
        try:
            yield
        finally:
            # On the loop of the cell, so that none comes after the kernel has said that it is idle.
            reporting.cancel()

    async def _report_busy(self) -> None:
        kernel = self._shell.kernel
        while True:
            await asyncio.sleep(_BUSY_INTERVAL)
            # Without a parent, as when a kernel starts: what belongs to the cell stays as it is, its timing too.
            kernel.session.send(kernel.iopub_socket, "status", {"execution_state": "busy"})


def route_to_subshell(*widgets: Widget) -> None:
    """Handle what the user does with these widgets on the subshell that it was sent to.

    JupyterLab sends the messages of widgets to a subshell, a thread of the kernel that no cell keeps busy. ipykernel 7.4
    forwards them to the shell that published last on that widget; for the widgets of a panel that is mostly the main
    one, where they would wait for the cell.
    """
    for widget in widgets:
        comm = widget.comm
        # Private in ipykernel 7.4, so others may lack it.
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = lambda _data, sent_to: sent_to


def waits_for_cells() -> bool:
    """Whether the message that is being handled would have waited for a running cell."""
    return threading.current_thread() is threading.main_thread()


def _kernel_version() -> int:
    # A kernel runs, so ipykernel is there.
    from ipykernel._version import version_info

    return int(str(version_info[0]))
