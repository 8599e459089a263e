"""One call, from its arguments to its result. How an answer is waited for differs; what is done is the same."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..client import ToolUseBlock
from ._executor import CallState, ToolResult
from ._results import content_of, describe_failure
from ._signature import BadArgumentsError, Tool
from ._toolbox import Toolbox

REFUSED = "The user refused this call."
NOBODY = "Nobody could be asked whether this call may run, so it did not. (The user can allow calls with --approve never.)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that waits for a person's word.

    Attributes:
        name: The tool.
        arguments: What it is called with.
    """

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


class RunningCall:
    """A call on its way to a result.

    Args:
        toolbox: The tools there are.
        call: The call.
        report: Takes note of how far it is.
    """

    def __init__(
        self, toolbox: Toolbox, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> None:
        self.call = ToolCall(name=call.name, arguments=call.input)
        self.report = report
        self._toolbox = toolbox
        self._block = call

    @property
    def tool(self) -> Tool | None:
        """The tool that is called; None if there is none of that name, or the arguments did not arrive whole."""
        return None if self._block.raw_input is not None else self._toolbox.find(self._block.name)

    def impossible(self) -> ToolResult:
        """Return what to answer a call that names no tool, or whose arguments are no JSON."""
        if self._block.raw_input is not None:
            return self._failed(json.dumps({"INVALID_JSON": self._block.raw_input}))
        return self._failed(f"There is no tool {self._block.name}.")

    def refused(self, reason: str) -> ToolResult:
        """Return what to answer a call that was not allowed."""
        return self._result(reason, CallState.REFUSED, is_error=True)

    def done(self, value: object) -> ToolResult:
        """Return what a call gave back."""
        return self._result(content_of(value), CallState.DONE)

    def failed(self, error: BaseException) -> ToolResult:
        """Return how a call failed."""
        if isinstance(error, BadArgumentsError):
            return self._failed(f"The arguments do not fit: {error}.")
        return self._failed(describe_failure(error))

    def _failed(self, text: str) -> ToolResult:
        return self._result(text, CallState.FAILED, is_error=True)

    def _result(
        self, content: str | list[dict[str, Any]], state: CallState, *, is_error: bool = False
    ) -> ToolResult:
        return ToolResult(tool_use_id=self._block.id, content=content, is_error=is_error, state=state)


@contextlib.contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in what runs here, whatever it does around it.

    While an awaited cell runs, a kernel answers Ctrl-C by cancelling a task, which a function that blocks the loop never sees.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
