"""What `%claude` says about itself, made from the tables of options and subcommands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from ._commands import COMMANDS
from ._options import OPTION_SPECS, OptionSpec

if TYPE_CHECKING:
    from ._cell import Cell

SHORT_HELP = """\
%%claude [options]        ask Claude; the cell below is the prompt, sent exactly as typed
%claude [options] prompt  the same on one line
%claude fix               explain the last error, and correct its cell
%claude status            client, limiter and settings, each with its source
%claude login             type in an API key, for this kernel only
%claude help              all of it (also %claude?)
"""

_OPENING = """\
Ask Claude. The answer streams into the cell.

    %%claude [NAME <<] [options] [--]
    prompt, as many lines as you like

    %claude [NAME <<] [options] [ask] prompt

Options end at the first word that is none; from there on everything is the prompt and is sent character by
character: quotes, backslashes, #, {}, $ and ? mean nothing here. Only {{ expression }} becomes its value, and
only if it begins with a name of yours. Words behind the options on the %%claude line are the prompt's first
line. Write -- before a prompt that starts with a dash. A value with spaces stands in quotes, one that starts
with a dash behind =. No option can be abbreviated."""

_SUBCOMMANDS = """\
Subcommands, where one is the whole line. What begins like one and does not fit it is an error, unless it is plainly
prose; anything else is a prompt, and so is whatever stands behind %claude ask. Those that ask Claude may have options
before them: %claude -m opus fix."""

_CLOSING = """\
The cell's value, _, is the reply: print(_.text), _.usage, _.message. The last one is also `claude.last`, after
`from claude_magic import claude`, and an interrupted or failed one keeps what had come of it.

%config ClaudeMagics.model = "claude-haiku-5-5" sets a default for the kernel; %config ClaudeMagics lists them all.
Keys come from ANTHROPIC_API_KEY where Jupyter was started, or from %claude login: never from a cell."""


def show_short_help() -> None:
    """Print the help of a line that says nothing."""
    print(SHORT_HELP, end="")


def show_help(_cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Print all of it."""
    print(FULL_HELP, end="")


def spelling(spec: OptionSpec) -> str:
    """Return how an option is written: `-m, --model MODEL`."""
    names = ", ".join(spec.names)
    return names if spec.value is None else f"{names} {spec.value}"


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


def _option_rows() -> Iterator[tuple[str, str]]:
    for spec in OPTION_SPECS:
        # A long name without a short one stands under the other long ones.
        yield ("" if len(spec.names) > 1 else "    ") + spelling(spec), spec.help


def _render_options() -> str:
    lines = dict(zip(OPTION_SPECS, _columns(_option_rows()).splitlines(), strict=True))
    groups = groupby(OPTION_SPECS, key=lambda spec: spec.group)
    return "\n\n".join(f"{title}:\n\n" + "\n".join(lines[spec] for spec in specs) for title, specs in groups)


def _render_commands() -> str:
    return _columns((f"%claude {command.usage}", command.help) for command in COMMANDS)


FULL_HELP = "\n\n".join([_OPENING, _render_options(), _SUBCOMMANDS, _render_commands(), _CLOSING]) + "\n"
