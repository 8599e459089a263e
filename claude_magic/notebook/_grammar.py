"""What a `%claude` line is: a subcommand, or options and a prompt.

    %claude [NAME <<] [OPTION ...] [ask | --] PROMPT
    %claude [OPTION ...] SUBCOMMAND [ARGUMENT]

A line is a subcommand only if the whole of it fits that subcommand, down to the names it refers to: `explain df` is one
while there is a `df`, `explain why the sky is blue` is a prompt. Behind `ask` or `--` everything is a prompt. A comment behind
a subcommand is left out, as it is in Python.

What begins with a subcommand's name and does not fit it is most likely a typo, and an error: see `_slips.py`.
"""

from __future__ import annotations

import re

from IPython.core.error import UsageError

from ._commands import COMMAND_BY_NAME, ESCAPE, Line, find_call
from ._line import Scanner, parse_cell, parse_option_line
from ._names import Surroundings


def read_line(line: str, surroundings: Surroundings) -> Line:
    """Read a line on which Claude is asked: with a prompt, or by a subcommand that makes one.

    Raises:
        UsageError: The options are wrong, or the prompt is most likely meant as a subcommand.
    """
    parsed = parse_option_line(line)
    if parsed.is_closed:
        return Line(options=parsed.options, prompt=parsed.rest)
    scanner = Scanner(parsed.rest)
    if scanner.peek_word() == ESCAPE:
        scanner.skip(ESCAPE)
        scanner.skip_one_space()
        return Line(options=parsed.options, prompt=scanner.rest())
    call = find_call(parsed.rest, surroundings)
    if call is not None and call.command.kind == "ask":
        return Line(options=parsed.options, prompt=parsed.rest, call=call)
    from ._slips import refuse_slip  # late: what is typed below `%%claude` is not checked for slips

    refuse_slip(parsed.rest, line, surroundings, percents="%")
    return Line(options=parsed.options, prompt=parsed.rest)


def read_cell(line: str, body: str, surroundings: Surroundings) -> Line:
    """Read a `%%claude` cell: the words behind its options and all below them are the prompt.

    Raises:
        UsageError: The options are wrong, or it is most likely meant as a subcommand.
    """
    request = parse_cell(line, body)
    parsed = parse_option_line(line)
    if parsed.is_closed:
        return request
    if not body.strip():
        from ._slips import refuse_slip

        refuse_slip(parsed.rest, line, surroundings, percents="%%")
        return request
    # Prose may begin with any word, and goes on below: only what is a subcommand to the letter is none.
    call = find_call(parsed.rest, surroundings)
    if call is not None and not call.command.takes_prose:
        from ._slips import as_shown

        raise UsageError(
            f"%claude {as_shown(parsed.rest, call.command)} is a subcommand: write it with one percent sign, in a cell of its own. "
            "To send it as a prompt, write -- after %%claude. Nothing was sent."
        )
    return request


_ASKS = re.compile(r"\s*(?P<percents>%%?)claude(?!\S)(?P<words>[^\n]*)(?:\n(?P<body>.*))?", re.DOTALL)


def prompt_of(source: str) -> str | None:
    """Return the prompt of a cell that is a question and nothing else, as it stands in a file; None for any other cell."""
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
    is_told = not parsed.is_closed and first in COMMAND_BY_NAME and COMMAND_BY_NAME[first].kind == "do"
    if body.strip() or is_told:
        return None
    return (rest if first == ESCAPE and not parsed.is_closed else parsed.rest) or None
