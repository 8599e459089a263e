"""Tools of a panel run where the user's things live, on the kernel's main thread, and so between cells.

Awaited cells let the loop of that thread go on; all others keep the calls waiting, which the panel tells.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, Final

from IPython import get_ipython
from ipywidgets import HTML, Button, HBox, VBox, Widget

from ..client import ConfigurationError, ToolUseBlock
from ..display import route_to_subshell
from ..display.widgets import close_all
from ..render import render_approval
from ..runtime import Reply
from ..tools import (
    REFUSED,
    CallReading,
    CallState,
    LoopExecutor,
    Toolbox,
    ToolCall,
    ToolResult,
    interrupts_raised_between_cells,
)

_YES, _NO, _ALL, _MORE = "Allow", "Deny", "Allow all", "Show more"
_TOOLTIPS: Final = {
    _YES: "Let {name} run",
    _NO: "Do not let {name} run",
    _ALL: "Let all calls of this answer run",
}


class ApprovalBar(VBox):
    """Three buttons below the call that they decide on, as long as it is undecided. "Allow all" holds for one answer.

    Args:
        announce: Tells screen readers that somebody is asked.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        super().__init__(_dom_classes=["claude-magic-approval"])
        self._announce = announce
        self._is_all_allowed = False

    async def ask(self, call: ToolCall, *, on_press: Callable[[], None]) -> str:
        """Wait for a button to be pressed; return why the call may not run, or "" if it may.

        Args:
            call: What is to run.
            on_press: Called when one is pressed, on any thread.
        """
        if self._is_all_allowed:
            return ""
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[str] = loop.create_future()

        def press(button: Button) -> None:
            label = button.description
            self._hide()  # at once: the loop may have to wait for a cell
            on_press()
            with contextlib.suppress(RuntimeError):  # the kernel shuts down
                loop.call_soon_threadsafe(_resolve, verdict, label)

        self._show(call, press)
        try:
            pressed = await verdict
        finally:
            self._hide()
        self._is_all_allowed = pressed == _ALL
        return REFUSED if pressed == _NO else ""

    def _show(self, call: ToolCall, press: Callable[[Button], None]) -> None:
        buttons = [
            Button(description=label, tooltip=tooltip.format(name=call.name))
            for label, tooltip in _TOOLTIPS.items()
        ]
        buttons[0].add_class("mod-primary")
        for button in buttons:
            button.on_click(press)
        reading = CallReading(call)
        words = HTML(_asked(reading), _dom_classes=["claude-magic-block"])
        if not reading.is_complete:
            buttons.append(self._more_button(reading, words, [buttons[0], buttons[2]]))
        route_to_subshell(*buttons)
        self._fill(words, HBox(buttons, _dom_classes=["claude-magic-verdicts"]))
        self._announce(f"Claude wants to run {call}. Allow, deny, or allow all?")

    def _more_button(self, reading: CallReading, words: HTML, allowing: list[Button]) -> Button:
        """Return the button that shows the next page; until the last is seen nothing can be allowed."""
        more = Button(description=_MORE, tooltip="Show the rest of the arguments")

        def show(_button: Button) -> None:
            reading.show_more()
            words.value = _asked(reading)
            more.disabled = reading.is_complete
            for button in allowing:
                button.disabled = not reading.is_complete

        for button in allowing:
            button.disabled = True
        more.on_click(show)
        return more

    def _hide(self) -> None:
        shown: tuple[Widget, ...] = self.children
        self._fill()
        close_all(shown)

    def _fill(self, *widgets: Widget) -> None:
        self.children = widgets


def _asked(reading: CallReading) -> str:
    return render_approval(f"Claude wants to run {reading.text}")


def _resolve(verdict: asyncio.Future[str], label: str) -> None:
    if not verdict.done():
        verdict.set_result(label)


PATIENCE: Final = 0.3
"""Seconds after which a call that has not gone on is said to wait for a cell. A free kernel takes milliseconds."""

Report = Callable[[CallState, str], None]


class BetweenCells(LoopExecutor):
    """Runs the calls of one answer on the kernel's own loop.

    Args:
        toolbox: The tools.
        approval: Where a person is asked whether a call may run; None allows all.
        context: The context in which they run: what they print goes to its cell.
        interrupt: Ends the whole answer, when Ctrl-C has ended a tool.

    Raises:
        ConfigurationError: There is no kernel.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        approval: ApprovalBar | None,
        context: contextvars.Context,
        *,
        interrupt: Callable[[], object],
    ) -> None:
        super().__init__(
            toolbox,
            _kernel_loop(),
            context,
            approve=None if approval is None else self._approve,
            interrupt=interrupt,
            interrupts=interrupts_raised_between_cells,
        )
        self._approval = approval
        self._turn: _KernelTurn | None = None

    def submit(self, call: ToolUseBlock, report: Report) -> concurrent.futures.Future[ToolResult]:
        """Run a call; see `ToolExecutor.submit`."""
        self._turn = turn = _KernelTurn(report, asyncio.get_running_loop())
        turn.await_kernel()
        future = super().submit(call, turn.note)
        future.add_done_callback(lambda _future: turn.end())
        return future

    async def _approve(self, call: ToolCall) -> str:
        if self._approval is None or self._turn is None:
            raise RuntimeError("Nobody is to be asked.")
        return await self._approval.ask(call, on_press=self._turn.await_kernel)


class _KernelTurn:
    """Waits with a call for the kernel, and says so when that takes a while.

    Args:
        report: Takes note of how far the call is.
        bridge: The loop that keeps the time; the kernel's own may stand still.
    """

    def __init__(self, report: Report, bridge: asyncio.AbstractEventLoop) -> None:
        self._report = report
        self._bridge = bridge
        self._lock = threading.Lock()
        self._is_waiting = False

    def await_kernel(self) -> None:
        """The kernel's loop has something to do for the call; on any thread."""
        self._is_waiting = True
        with contextlib.suppress(RuntimeError):  # the bridge has ended, and the answer with it
            self._bridge.call_soon_threadsafe(self._bridge.call_later, PATIENCE, self._tell)

    def note(self, state: CallState, text: str) -> None:
        """Take note that the call has gone on, and of how far it is."""
        with self._lock:
            self._is_waiting = False
            self._report(state, text)

    def end(self) -> None:
        """There is a result, or none is wanted any more."""
        with self._lock:
            self._is_waiting = False

    def _tell(self) -> None:
        with self._lock:
            if self._is_waiting:
                self._report(CallState.WAITING, "")


def blocking_calls(reply: Reply, toolbox: Toolbox | None) -> list[str]:
    """Return the tools that run at present and cannot be cancelled, because they await nothing."""
    calls = [block.call for block in reply.snapshot().blocks if block.call is not None]
    running = [call.name for call in calls if call.state is CallState.RUNNING]
    found = [None if toolbox is None else toolbox.find(name) for name in running]
    return [name for name, tool in zip(running, found, strict=True) if tool is not None and not tool.is_async]


def _kernel_loop() -> asyncio.AbstractEventLoop:
    shell: Any = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        raise ConfigurationError(
            "Tools of a panel run between the cells of a kernel, and there is no kernel here. Nothing was sent. "
            "claude.ask(..., tools=[...]) runs them where it waits."
        )
    loop: asyncio.AbstractEventLoop = kernel.io_loop.asyncio_loop
    return loop
