"""From a draft to a reply, and from the reply to what the cell leaves behind: variables, and a cell with its code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..answers import OutputSchema, escape_hidden, extract_code, make_output_schema
from ..render import HIDDEN_IN_CELL, render_notice
from ..runtime import Question, Reply, Where
from ._names import Scope
from ._suggestion import closest

if TYPE_CHECKING:
    from ..tools import ToolExecutor
    from ._draft import Draft
    from ._magics import ClaudeMagics
    from ._options import Options

_MAX_SEARCHES = 5
"""Each costs a cent."""


class Asking:
    """One question of a cell, on its way to an answer.

    Args:
        draft: What is asked.
        magics: The magics of the shell that asks.
        is_awaited: The cell awaits its answer, so that tools can run on its loop.
        cell: What tells the cell from others.

    Raises:
        ConfigurationError: A schema or tool cannot be used. Nothing was sent.
    """

    def __init__(
        self,
        draft: Draft,
        magics: ClaudeMagics,
        *,
        is_awaited: bool,
        cell: str | None,
    ) -> None:
        options = draft.options
        self._draft = draft
        self._magics = magics
        self._scope = draft.scope or Scope(magics.shell)
        names = self._scope.names() if options.schema or options.tools else {}
        self._cell = cell
        self._schema = make_output_schema(options.schema, names) if options.schema else None
        tools = _tools(options, names, magics.shell, is_awaited=is_awaited) if options.tools else None
        origin = _name_of_cell(magics.shell)
        draft = dataclasses.replace(draft, notes=(*draft.notes, *_note_on_thread(options.thread, magics)))
        self.question = _question(draft, cell=cell, tools=tools, schema=self._schema, origin=origin)

    def start(self) -> Reply:
        """Send the question, and bind the reply to the variable that is named for it.

        Raises:
            ClaudeError: It could not be sent.
        """
        runtime = self._magics.runtime()
        runtime.jobs.stop_of_cell(self._cell)  # what it draws on has gone with the cell's former outputs
        reply = runtime.start(self.question, **settings_of(self._draft.options))
        if self._draft.options.background:
            runtime.jobs.add(reply, cell=self._cell)
        # Now, not at the end: the user's own tasks may read it while it grows, and no failure can lose it.
        self.bind(reply)
        return reply

    def bind(self, value: object) -> None:
        """Bind a value to the variable that is named for the reply, if one is."""
        if (name := self._draft.options.out) is not None:
            self._scope.bind(name, value)

    def finish(self, reply: Reply) -> None:
        """Do with a whole reply what the options ask for.

        Raises:
            SchemaMismatchError: The answer does not fit the schema. The variable keeps the reply.
        """
        if self._schema is not None:
            found = reply.parsed
            if (
                not self._draft.options.background
            ):  # whose variable is the reply, also where it was waited for
                self.bind(found)
        if self._draft.options.insert_code and (code := extract_code(reply.text)):
            shown = escape_hidden(code)
            self._magics.insert_cell(shown, below=self._cell)
            if shown != code:
                notice = render_notice(HIDDEN_IN_CELL)
                self._magics.show(notice.data, notice.metadata)


def _question(
    draft: Draft, *, cell: str | None, tools: ToolExecutor | None, schema: OutputSchema | None, origin: str
) -> Question:
    options = draft.options
    where = None if options.no_history else Where(thread=options.thread, cell=cell, is_new=options.is_new)
    return Question(
        prompt=draft.prompt,
        content=draft.content,
        where=where,
        tools=tools,
        max_searches=_MAX_SEARCHES if options.web_search else 0,
        output_schema=schema,
        stop_sequences=options.stop or None,
        extra=options.extra,
        format=options.format or ("md" if schema is None else "json"),
        beginning=draft.beginning,
        outlives_cell=options.background,
        origin=origin,
        notes=draft.notes,
        is_raw=options.raw,
    )


def _note_on_thread(name: str | None, magics: ClaudeMagics) -> Iterator[str]:
    """Say which thread was probably meant where a new one begins whose name is nearly that of another."""
    known = [thread.name for thread in magics.runtime().conversations.threads()]
    guess = None if name is None or name in known else closest(name, known, cutoff=0.75)
    if guess is not None:
        yield f"The thread {name} begins here. Did you mean {guess}? %claude threads lists them."


def _name_of_cell(shell: Any) -> str:
    """Return the running cell's name as the user sees it. The shell's own counter is the next one's already."""
    return f"In[{len(shell.history_manager.input_hist_parsed) - 1}]"


def _tools(options: Options, names: Mapping[str, object], shell: Any, *, is_awaited: bool) -> ToolExecutor:
    from ._approval import execute_on_loop, execute_while_waiting  # late: most questions have no tools

    make = execute_on_loop if is_awaited else execute_while_waiting
    executor: ToolExecutor = make(options, names, shell)
    return executor


def settings_of(options: Options) -> Mapping[str, Any]:
    """Return the settings that were given as options."""
    return {
        "model": options.model,
        "system": options.system,
        "max_tokens": options.max_tokens,
        "effort": options.effort,
        "thinking": options.thinking,
    }
