"""A question: what is asked, and where in which conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..answers import OutputSchema
from ..client import mended
from ..tools import ToolExecutor
from ._models import web_search_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where in the conversations a question is asked.

    Attributes:
        thread: The thread; None is the main one.
        cell: What tells the cell that asks from others, so that running it again replaces its answer; None where
            that is unknown.
        is_new: The conversation begins anew.
        is_beside: The answer is kept on a branch of its own, and the conversation does not go on from it: the cell asks
            another question in the same place.
    """

    thread: str | None = None
    cell: str | None = None
    is_new: bool = False
    is_beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        prompt: The user's words, for the screen and the history.
        content: What is sent as the user's turn: text or content blocks; None sends the prompt.
        where: Where it is asked; None stands alone: nothing of any conversation is sent, and nothing kept.
        tools: Runs the tools of this side that may be called, or None.
        max_searches: Web searches that the server may make for it; 0 offers none.
        output_schema: What the answer must fit, or None.
        stop_sequences: Strings at which the answer ends.
        extra: Further fields of the request, as the API names them; objects are merged with what is there.
        format: How the answer is to be shown.
        beginning: The answer so far, where the rest of one that was cut is asked for: the reply is the whole.
        outlives_cell: It belongs to no cell, though one may be running when it is asked: an interrupt of that one leaves
            it alone.
        origin: Who asks, in a word or two for lists of what is on its way: "In[4]".
        notes: What the reader should know about what is sent, as sentences.
        is_raw: It is sent as it is, even with what looks like a key in it.
    """

    prompt: str
    content: str | Sequence[Mapping[str, Any]] | None = None
    where: Where | None = None
    tools: ToolExecutor | None = None
    max_searches: int = 0
    output_schema: OutputSchema | None = None
    stop_sequences: Sequence[str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    format: str = "md"
    beginning: str = ""
    outlives_cell: bool = False
    origin: str = "Python"
    notes: tuple[str, ...] = ()
    is_raw: bool = False

    def __post_init__(self) -> None:
        # Half characters, as broken files hold them, are sent as U+FFFD; what is shown and saved says so, too.
        object.__setattr__(self, "prompt", mended(self.prompt))
        object.__setattr__(self, "content", mended(self.content))

    def user_turn(self) -> dict[str, Any]:
        """The message that asks."""
        if self.content is None or isinstance(self.content, str):
            return {"role": "user", "content": self.prompt if self.content is None else self.content}
        return {"role": "user", "content": [dict(block) for block in self.content]}

    @property
    def text_length(self) -> int:
        """Characters of text that are sent; pictures and documents do not count."""
        content = self.user_turn()["content"]
        if isinstance(content, str):
            return len(content)
        return sum(len(block["text"]) for block in content if block.get("type") == "text")

    def tool_definitions(self, model: str) -> list[dict[str, Any]]:
        """The tools that may be called, here and at the server, as this model knows them."""
        tools = [] if self.tools is None else list(self.tools.definitions)
        if self.max_searches:
            tools.append({"type": web_search_of(model), "name": "web_search", "max_uses": self.max_searches})
        return tools
