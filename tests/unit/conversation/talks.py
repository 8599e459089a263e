"""Questions and answers in a tree of turns, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from claude_magic.conversation import Conversations, Turn, fingerprint_of

PLAIN = fingerprint_of(None, [])


def ask(
    conversations: Conversations,
    prompt: str,
    cell: str | None = None,
    *,
    thread: str | None = None,
    is_new: bool = False,
    is_side_branch: bool = False,
    thinks: bool = False,
    fingerprint: str = PLAIN,
) -> Turn:
    """Ask and answer in a cell."""
    place = conversations.place(thread=thread, cell=cell, is_new=is_new, is_side_branch=is_side_branch)
    content: list[dict[str, Any]] = [{"type": "text", "text": f"answer to {prompt}"}]
    if thinks:
        content.insert(0, {"type": "thinking", "thinking": "", "signature": "x"})
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}]
    return conversations.add(place, prompt=prompt, messages=messages, model="m", fingerprint=fingerprint)


def said(conversations: Conversations, cell: str | None = None, **where: Any) -> list[str]:
    """Return the user's prompts that would precede the next question of a cell."""
    place = conversations.place(cell=cell, **where)
    return [turn["content"] for turn in conversations.messages(place) if turn["role"] == "user"]


def run_all(conversations: Conversations, cells: str, suffix: str = "") -> None:
    for cell in cells:
        ask(conversations, cell + suffix, cell)
