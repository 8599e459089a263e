"""Who runs the calls of tools, as the engine sees it."""

from __future__ import annotations

import concurrent.futures
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..client import ToolUseBlock, mended


class CallState(enum.Enum):
    """How far the call of a tool has come."""

    WRITTEN = "written"
    """The model is writing it, or has; nothing is done about it yet."""
    WAITING = "waiting"
    """The thread on which it is to run is busy with a cell."""
    APPROVAL = "approval"
    """A person is asked whether it may run."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether the call has come to its end."""
        return self not in (
            CallState.WRITTEN,
            CallState.WAITING,
            CallState.APPROVAL,
            CallState.RUNNING,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call gave back.

    Attributes:
        tool_use_id: The call, by its id.
        content: Text or content blocks, for the model.
        is_error: It gave nothing, and the content says why.
        state: How it ended.
        note: What the reader should know about it, as a sentence; empty if nothing.
    """

    tool_use_id: str
    content: str | Sequence[dict[str, Any]]
    is_error: bool = False
    state: CallState = CallState.DONE
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "content", mended(self.content)
        )  # half characters are shown as they are sent

    @property
    def text(self) -> str:
        """The content as text, for people."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(
            block["text"] if block.get("type") == "text" else f"[{block.get('type')}]"
            for block in self.content
        )

    def to_param(self) -> dict[str, Any]:
        """Return the result as the API takes it."""
        content = self.content if isinstance(self.content, str) else list(self.content)
        result = {"type": "tool_result", "tool_use_id": self.tool_use_id, "content": content}
        return {**result, "is_error": True} if self.is_error else result


class ToolExecutor(Protocol):
    """Runs calls, wherever tools live."""

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The tools, as the API describes them."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the reader should know about the tools, as sentences."""
        ...

    def submit(
        self, call: ToolUseBlock, report: Callable[[CallState, str], None]
    ) -> concurrent.futures.Future[ToolResult]:
        """Run a call; called on the bridge, and returns at once.

        Args:
            call: The call.
            report: Takes note of how far it is; on any thread.

        Returns:
            Its result. Cancelling it interrupts the call.
        """
        ...
