"""What the simulator says."""

from __future__ import annotations

from ._conversation import Conversation


def answer_text(conversation: Conversation) -> str:
    """A Markdown answer to the last prompt; the same one for the same conversation."""
    return f"You asked:\n\n> {conversation.prompt}\n\nThis is the **simulator**, which answers by rule."
