"""The grammar of `%claude` lines: a subcommand, or options and a prompt.

    %claude [NAME <<] [OPTION ...] [ask | --] PROMPT
    %claude [OPTION ...] SUBCOMMAND [ARGUMENT]

A line is a subcommand only if all of it matches that subcommand, including the names it refers to: `explain df` is one
if `df` exists, `explain why the sky is blue` is a prompt. After `ask` or `--`, everything is a prompt. A comment after
a subcommand is ignored, as in Python.

A line that begins with a subcommand's name but does not match it is probably a typo, and an error: see `_typos.py`.
"""

from __future__ import annotations

import re

from IPython.core.error import UsageError

from ._commands import COMMAND_BY_NAME, ESCAPE, find_call
from ._line import Line, Scanner, parse_cell, parse_option_line
from ._names import Namespace


def read_line(line: str, namespace: Namespace) -> Line:
    """Parse a line that asks Claude, with a prompt or by a subcommand of kind `ask`.

    Raises:
        UsageError: The options are not valid, or the prompt is probably meant as a subcommand.
    """
    parsed = parse_option_line(line)
    if parsed.is_closed:
        return Line(options=parsed.options, prompt=parsed.rest)
    scanner = Scanner(parsed.rest)
    if scanner.peek_word() == ESCAPE:
        scanner.skip(ESCAPE)
        scanner.skip_one_space()
        return Line(options=parsed.options, prompt=scanner.rest())
    call = find_call(parsed.rest, namespace)
    if call is not None and call.command.kind == "ask":
        return Line(options=parsed.options, prompt=parsed.rest, call=call)
    from ._typos import refuse_typo  # late: prompts below `%%claude` are not checked

    refuse_typo(parsed.rest, line, namespace, percents="%")
    return Line(options=parsed.options, prompt=parsed.rest)


def read_cell(line: str, body: str, namespace: Namespace) -> Line:
    """Parse a `%%claude` cell: everything after its options is the prompt.

    Raises:
        UsageError: The options are not valid, or the cell is probably meant as a subcommand.
    """
    request = parse_cell(line, body)
    parsed = parse_option_line(line)
    if parsed.is_closed:
        return request
    if not body.strip():
        from ._typos import refuse_typo

        refuse_typo(parsed.rest, line, namespace, percents="%%")
        return request
    # The first line of a prompt may be anything, so only an exact subcommand is refused.
    call = find_call(parsed.rest, namespace)
    if call is not None and not call.command.takes_prose:
        from ._typos import as_shown

        raise UsageError(
            f"%claude {as_shown(parsed.rest, call.command)} is a subcommand: write it with one percent sign, in a cell of its own. "
            "To send it as a prompt, write -- after %%claude. Nothing was sent."
        )
    return request


_ASKS = re.compile(r"\s*(?P<percents>%%?)claude(?!\S)(?P<words>[^\n]*)(?:\n(?P<body>.*))?", re.DOTALL)


def prompt_of(source: str) -> str | None:
    """Return the prompt of a cell, given its saved source, if the cell only asks a question; else None."""
    # IPython ends every cell with a line break.
    match = _ASKS.fullmatch(source if source.endswith("\n") else f"{source}\n")
    if match is None:
        return None
    words, body = match["words"].removesuffix("\r"), match["body"] or ""
    try:
        if match["percents"] == "%%":
            prompt = parse_cell(words, body).prompt
            return prompt if prompt.strip() else None
        parsed = parse_option_line(words)
    except UsageError:
        return None
    first, _, rest = parsed.rest.partition(" ")
    is_command = not parsed.is_closed and first in COMMAND_BY_NAME and COMMAND_BY_NAME[first].kind == "do"
    if body.strip() or is_command:
        return None
    return (rest if first == ESCAPE and not parsed.is_closed else parsed.rest) or None
