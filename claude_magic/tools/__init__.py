"""Functions of the notebook as tools: their schemas, their calls, their results."""

from ._executor import CallState, ToolExecutor, ToolResult
from ._interrupts import interrupts_raised, interrupts_raised_between_cells
from ._loop_executor import LoopExecutor
from ._running import NOBODY, REFUSED, CallReading, ToolCall, visible
from ._toolbox import Toolbox
from ._typed_approval import TypedApproval
from ._waiting_executor import WaitingExecutor

__all__ = [
    "NOBODY",
    "REFUSED",
    "CallReading",
    "CallState",
    "LoopExecutor",
    "ToolCall",
    "ToolExecutor",
    "ToolResult",
    "Toolbox",
    "TypedApproval",
    "WaitingExecutor",
    "interrupts_raised",
    "interrupts_raised_between_cells",
    "visible",
]
