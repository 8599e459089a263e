"""The notebook's functions as tools: their schemas, calls and results."""

from ._call import CallReading, CallState, Report, ToolCall, ToolExecutor, ToolResult, visible
from ._executors import Approval, LoopExecutor, TypedApproval, WaitingExecutor, needs_approval
from ._nested_loop import (
    interruptible_read,
    interrupts_deferred,
    interrupts_raised,
    interrupts_raised_between_cells,
    loop_kept_awake,
    run_blocking,
    sigint_handled,
)
from ._tool import Toolbox
