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

from ..client import ConfigurationError, ToolUseBlock
from ..display.widgets import ALLOW_ALL, DENY, ApprovalBar
from ..runtime import Reply
from ..tools import (
    Approval,
    CallState,
    LoopExecutor,
    Toolbox,
    ToolCall,
    ToolResult,
    interrupts_raised_between_cells,
)


class PanelApproval(ApprovalBar, Approval):
    """Asks with buttons in the panel.

    Args:
        announce: Tells screen readers that somebody is asked.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        super().__init__()
        self._announce = announce

    async def decide(self, call: ToolCall, *, on_press: Callable[[], None]) -> str:
        """Wait for a button to be pressed; return why the call may not run, or "" if it may.

        Args:
            call: What is to run.
            on_press: Called when one is pressed, on any thread.
        """
        if self.is_all_allowed:
            return ""
        self._announce(f"Claude wants to run {call}. Allow, deny, or allow all?")

        def take_note() -> None:
            # At once: the loop may have to wait for a cell.
            self.hide()
            on_press()

        try:
            pressed = await self.ask(call, on_press=take_note)
        finally:
            self.hide()
        return self.conclude(is_allowed=pressed != DENY, for_all=pressed == ALLOW_ALL)


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
        approval: PanelApproval | None,
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
        return await self._approval.decide(call, on_press=self._turn.await_kernel)


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
