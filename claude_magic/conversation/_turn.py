"""One turn of a conversation, and the place for the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_THINKING = frozenset({"thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and all that it took to answer it.

    Attributes:
        id: Tells it from all others.
        parent: The turn before it, by id; None at the root.
        follows: Its parent, or what would have been it but for a wish to begin anew; it need not be there any more.
        thread: The thread in which it was asked.
        cell: The key of the cell that asked, or None.
        prompt: The user's words, for display.
        messages: The API's messages, the user's first, exactly as they were sent and received.
        model: The model that answered, or the one that was asked where none did.
        fingerprint: Of the system prompt and tools; thinking is bound to them.
        is_rebound: It was asked on a path with thinking of another fingerprint, or on one that is gone.
        is_partial: It broke off.
        usage: Tokens it took, as the API names them, or None.
        asked_at: When, as RFC 3339 text.
        context_tokens: Size of the conversation after it, in model tokens; 0 if unknown.
    """

    id: str
    parent: str | None
    follows: str | None
    thread: str
    cell: str | None
    prompt: str
    messages: tuple[dict[str, Any], ...]
    model: str
    fingerprint: str
    is_rebound: bool = False
    is_partial: bool = False
    usage: Mapping[str, Any] | None = None
    asked_at: str = ""
    context_tokens: int = 0

    @property
    def answer_text(self) -> str:
        """The text of the last reply."""
        for message in reversed(self.messages):
            if message["role"] == "assistant":
                return "".join(block["text"] for block in _blocks(message) if block.get("type") == "text")
        return ""

    @property
    def has_thinking(self) -> bool:
        """Whether a reply in it holds thinking, which is bound to what came before."""
        return any(
            block.get("type") in _THINKING
            for message in self.messages
            if message["role"] == "assistant"
            for block in _blocks(message)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the next turn goes.

    Attributes:
        thread: The thread.
        parent: The turn before it, by id; None at the root.
        follows: What the parent is but for a wish to begin anew.
        cell: The key of the cell that asks, or None.
        left_behind: Later turns that will belong to the former answer's branch.
        left_aside: Turns on the way to the head that are not on the way to this place, because it is on a branch from before.
        is_beside: The turn is kept on a branch of its own, and its thread does not go on from it.
    """

    thread: str
    parent: str | None
    follows: str | None
    cell: str | None
    left_behind: int = 0
    left_aside: int = 0
    is_beside: bool = False


def _blocks(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
