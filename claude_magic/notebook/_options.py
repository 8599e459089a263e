"""What the options of a cell ask for, whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._commands import Call
    from ._names import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the options asked for; `None`, `False` or empty where one was not given.

    Attributes:
        model: A model's id, or a short name such as `opus`.
        compare: Models that answer side by side, in place of one.
        system: The system prompt, or `@` and the path of a file that holds it.
        max_tokens: The longest answer.
        effort: One of `EFFORT_LEVELS`.
        thinking: One of `THINKING_MODES`.
        thread: The conversation to go on with.
        is_new: Begin a conversation anew.
        no_history: Neither send earlier turns nor become one.
        cells: Which cells to send along: a range, `all` or `none`.
        attach: Paths, URLs and names of variables to send along, in order.
        interact: Variables of the prompt that become controls.
        format: One of `FORMATS`.
        schema: The name of a class, or fields in the short form `name, age int`.
        out: The variable that the reply is bound to.
        insert_code: Put the answer's code into a new cell.
        tools: Functions that Claude may call, by name.
        approve: One of `APPROVALS`.
        web_search: Let Claude search the web.
        stop: Texts at which the answer ends.
        extra: Fields of the request that no option names, as JSON values.
        dry_run: Show what would be sent, and send nothing.
        raw: Leave double braces in the prompt alone.
        quiet: Show no answer.
        background: Let the cell end at once, and the answer come when it comes.
        notes: What the reader should know of them, as sentences; no option sets it.
    """

    model: str | None = None
    compare: tuple[str, ...] = ()
    system: str | None = None
    max_tokens: int | None = None
    effort: str | None = None
    thinking: str | None = None
    thread: str | None = None
    is_new: bool = False
    no_history: bool = False
    cells: str | None = None
    attach: tuple[str, ...] = ()
    format: str | None = None
    schema: str | None = None
    out: str | None = None
    insert_code: bool = False
    tools: tuple[str, ...] = ()
    approve: str | None = None
    web_search: bool = False
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    interact: tuple[str, ...] = ()
    raw: bool = False
    quiet: bool = False
    background: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One parsed `%claude` line or `%%claude` cell on which Claude is asked.

    Attributes:
        options: What its options ask for.
        prompt: The user's words, as typed.
        call: The subcommand that makes a question of itself (`fix`), where the words are one.
        scope: Where it stands in the user's code; None at the top of the notebook.
    """

    options: Options = field(default_factory=Options)
    prompt: str = ""
    call: Call | None = None
    scope: Scope | None = field(default=None, compare=False, repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self.prompt.strip()
