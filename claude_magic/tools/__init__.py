"""Functions of the notebook as tools: their schemas, their calls, their results."""

from ._executor import CallState, ToolExecutor, ToolResult

__all__ = ["CallState", "ToolExecutor", "ToolResult"]
