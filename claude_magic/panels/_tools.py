"""Tools of a panel: they run on the kernel's main thread, like the user's code, and therefore between cells.

Awaited cells let the loop of that thread continue. During other cells the calls wait, which the panel reports.
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
    Report,
    Toolbox,
    ToolCall,
    ToolResult,
    interrupts_raised_between_cells,
)


class PanelApproval(ApprovalBar, Approval):
    """Asks for approval of tool calls with buttons in the panel.

    Args:
        announce: Makes screen readers read the question.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        super().__init__()
        self._announce = announce

    async def decide(self, call: ToolCall, *, on_press: Callable[[], None]) -> str:
        """Wait for a click. Return why the call may not run, or "" if it may.

        Args:
            call: The tool call.
            on_press: Called when a button is pressed, on any thread.
        """
        if self.is_all_allowed:
            return ""
        self._announce(f"Claude wants to run {call}. Allow, deny, or allow all?")

        def on_decision() -> None:
            # Immediately, because the loop may be blocked by a cell.
            self.hide()
            on_press()

        try:
            pressed = await self.ask(call, on_press=on_decision)
        finally:
            self.hide()
        return self.conclude(is_allowed=pressed != DENY, for_all=pressed == ALLOW_ALL)


WAIT_REPORT_DELAY: Final = 0.3
"""Seconds after which a call is reported to wait for a cell. An idle kernel takes milliseconds."""


class BetweenCells(LoopExecutor):
    """Runs the calls of one answer on the kernel's own loop.

    Args:
        toolbox: The tools.
        approval: The approval buttons; None allows all calls.
        context: The context in which the tools run; their prints go to its cell.
        interrupt: Called when Ctrl-C has interrupted a tool, to stop the whole answer.

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
        self._wait: _KernelWait | None = None

    def submit(self, call: ToolUseBlock, report: Report) -> concurrent.futures.Future[ToolResult]:
        """Run a call; see `ToolExecutor.submit`."""
        self._wait = wait = _KernelWait(report, asyncio.get_running_loop())
        wait.start()
        future = super().submit(call, wait.report)
        future.add_done_callback(lambda _future: wait.end())
        return future

    async def _approve(self, call: ToolCall) -> str:
        if self._approval is None or self._wait is None:
            raise RuntimeError("There is no approval for these tools.")
        return await self._approval.decide(call, on_press=self._wait.start)


class _KernelWait:
    """Reports that a call waits for the kernel, if that takes a while.

    Args:
        report: Reports the state of the call.
        bridge: The loop for the timer, because the kernel's own loop may be blocked.
    """

    def __init__(self, report: Report, bridge: asyncio.AbstractEventLoop) -> None:
        self._report = report
        self._bridge = bridge
        self._lock = threading.Lock()
        self._is_waiting = False

    def start(self) -> None:
        """Start to wait for the kernel's loop. Thread-safe."""
        self._is_waiting = True
        with contextlib.suppress(RuntimeError):  # the bridge has ended, and the answer with it
            self._bridge.call_soon_threadsafe(self._bridge.call_later, WAIT_REPORT_DELAY, self._report_wait)

    def report(self, state: CallState, text: str) -> None:
        """End the wait, and report the new state of the call."""
        with self._lock:
            self._is_waiting = False
            self._report(state, text)

    def end(self) -> None:
        """End the wait, because the call has ended."""
        with self._lock:
            self._is_waiting = False

    def _report_wait(self) -> None:
        with self._lock:
            if self._is_waiting:
                self._report(CallState.WAITING, "")


def blocking_calls(reply: Reply, toolbox: Toolbox | None) -> list[str]:
    """Return the running tools that cannot be cancelled, because they are not asynchronous."""
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
