"""The subcommands of `%claude`: one table from which they are recognised, explained and completed.

Each names the function that runs it as "module:function", in a module that is imported when it is called. A module of this
room begins with a dot; those that show widgets are above this room, which imports none of `panels`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from . import _command_arguments as arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One subcommand.

    Attributes:
        name: Its first word.
        help: One line for the help.
        handler: The function that runs it.
        argument: What may follow; `None` if nothing may.
        kind: `do` does something at once and shows something. `ask` makes a question of itself, which takes the way
            of every prompt and may have options before it.
        takes_prose: Words behind it that are none of its arguments may be those of a prompt: "explain the error". Behind the
            others, which are about money, secrets and deletion too, only a whole sentence is.
    """

    name: str
    help: str
    handler: str
    argument: arguments.Argument | None = None
    kind: Literal["do", "ask"] = "do"
    takes_prose: bool = False

    @property
    def usage(self) -> str:
        """What is typed, as the help has it."""
        return self.name if self.argument is None else f"{self.name} {self.argument.usage}"

    def load(self) -> Callable[..., Any]:
        """Import the function that runs it."""
        module, _, function = self.handler.partition(":")
        return getattr(importlib.import_module(module, __package__), function)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A subcommand as it was typed.

    Attributes:
        command: Which one.
        arguments: What was typed behind it, under its argument's key; empty where that was left out.
    """

    command: Command
    arguments: Mapping[str, str] = field(default_factory=dict)


COMMANDS = (
    Command(
        name="fix",
        help="explain the last error, and correct its cell in a new one below",
        handler="._error_help:fix",
        kind="ask",
        takes_prose=True,
    ),
    Command(
        name="explain",
        help="explain something of yours: a variable, function, class, module",
        handler="._error_help:explain",
        argument=arguments.EXISTING_NAME,
        kind="ask",
        takes_prose=True,
    ),
    Command(
        name="continue",
        help="go on with an answer that was cut off",
        handler="._continue:continue_answer",
        kind="ask",
        takes_prose=True,
    ),
    Command(
        name="history",
        help="the turns of all conversations as a tree, or of one",
        handler="._thread_commands:history",
        argument=arguments.EXISTING_THREAD,
        takes_prose=True,
    ),
    Command(name="threads", help="the conversations of this kernel", handler="._thread_commands:threads"),
    Command(
        name="fork",
        help="let a new conversation begin where the current one is",
        handler="._thread_commands:fork",
        argument=arguments.NEW_THREAD,
    ),
    Command(
        name="undo",
        help="take back the last turn, or the last N; they stay in the tree",
        handler="._thread_commands:undo",
        argument=arguments.COUNT,
    ),
    Command(
        name="clear",
        help="forget a conversation for good",
        handler="._thread_commands:clear",
        argument=arguments.EXISTING_THREAD,
    ),
    Command(
        name="save",
        help="write the conversations to a file that people can read",
        handler="._thread_commands:save",
        argument=arguments.JSON_FILE,
    ),
    Command(
        name="load",
        help="read conversations that were saved",
        handler="._thread_commands:load",
        argument=arguments.JSON_FILE,
    ),
    Command(
        name="jobs",
        help="the answers on their way, and those of background cells",
        handler="._jobs_commands:jobs",
    ),
    Command(
        name="stop",
        help="stop the answer on its way, or one by its number; what has come stays",
        handler="._jobs_commands:stop",
        argument=arguments.JOB,
        takes_prose=True,
    ),
    Command(
        name="panel",
        help="a conversation beside the cells, with buttons",
        handler="claude_magic._panel_commands:show_panel",
        argument=arguments.ANY_THREAD,
    ),
    Command(name="usage", help="tokens and prices, by model and thread", handler="._usage_commands:usage"),
    Command(
        name="budget",
        help="what may be spent, in USD; a request that could pass it is refused",
        handler="._usage_commands:budget",
        argument=arguments.AMOUNT,
    ),
    Command(
        name="limits",
        help="the server's rate limits, and what is left; with --live a gauge that moves",
        handler="claude_magic._gauge_commands:show_limits",
        argument=arguments.LIVE,
    ),
    Command(
        name="models", help="the models, their short names and prices", handler="._usage_commands:models"
    ),
    Command(
        name="status",
        help="client, limiter and every setting with its source; never a key",
        handler="._access_commands:status",
    ),
    Command(
        name="login",
        help="type in an API key; it stays in memory and ends with the kernel",
        handler="._access_commands:login",
    ),
    Command(name="logout", help="forget that key", handler="._access_commands:logout"),
    Command(
        name="demo",
        help="let the simulator inside this package answer, or stop that",
        handler="._access_commands:demo",
        argument=arguments.SWITCH,
    ),
    Command(name="help", help="all options and subcommands", handler="._help:show_help", takes_prose=True),
)

COMMAND_BY_NAME = {command.name: command for command in COMMANDS}
ESCAPE = "ask"
"""The word behind which everything is a prompt."""
