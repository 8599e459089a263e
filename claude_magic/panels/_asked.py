"""What a panel has been asked: enough to ask it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..client import mended
from ..runtime import Question, Where
from ..tools import ToolExecutor


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question of a panel.

    Attributes:
        prompt: The user's words.
        thread: The conversation it belongs to.
        key: Tells it from the other questions of the kernel, as cells are told apart: asked again, it takes its own place.
        content: What is sent as the user's turn.
        is_new: The conversation began anew with it.
        attached: The names of what goes with the words.
        notes: What the reader should know about what is sent, as sentences.
    """

    prompt: str
    thread: str
    key: str
    content: str | Sequence[Mapping[str, Any]]
    is_new: bool = False
    attached: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "prompt", mended(self.prompt)
        )  # as the runtime does: a page takes valid Unicode only

    def to_question(self, tools: ToolExecutor | None) -> Question:
        """Return what the runtime is asked, with what runs the calls of its answer."""
        where = Where(thread=self.thread, cell=self.key, is_new=self.is_new)
        return Question(
            prompt=self.prompt,
            content=self.content,
            where=where,
            tools=tools,
            outlives_cell=True,
            origin="panel",
            notes=self.notes,
        )
