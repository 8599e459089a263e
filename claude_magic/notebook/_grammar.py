"""What a `%claude` line is: a subcommand, or options and a prompt.

    %claude [NAME <<] [OPTION ...] [ask | --] PROMPT
    %claude [OPTION ...] SUBCOMMAND [ARGUMENT]

A line is a subcommand only if the whole of it fits that subcommand, down to the names it refers to: `explain df` is one
while there is a `df`, `explain why the sky is blue` is a prompt. Behind `ask` or `--` everything is a prompt. A prompt of
one word that is, or nearly is, a subcommand's name is most likely a slip; it is an error, and nothing is sent.
"""

from __future__ import annotations

from IPython.core.error import UsageError

from ._commands import COMMAND_BY_NAME, ESCAPE, Call
from ._option_line import OptionLine, parse_cell, parse_option_line
from ._options import Request
from ._scanner import Scanner
from ._suggestion import closest
from ._surroundings import Surroundings

_HELP = ("?", "??")
_LIKENESS = 0.75  # lets "hlep" and "statsu" be caught, and "hello" and "start" be prompts


def find_call(text: str, surroundings: Surroundings) -> Call | None:
    """Return the subcommand that a text is as a whole, or `None`."""
    name, *rest = text.split(maxsplit=1) or [""]
    command = COMMAND_BY_NAME.get("help" if name in _HELP else name)
    if command is None:
        return None
    argument = command.argument
    if not rest:
        return Call(command=command) if argument is None or argument.is_optional else None
    value = argument.read(rest[0].strip(), surroundings) if argument is not None else None
    if argument is None or value is None:
        return None
    return Call(command=command, arguments={argument.key: value})


def find_deed(line: str, surroundings: Surroundings) -> Call | None:
    """Return the subcommand that a line is, if that does something by itself; `None` if Claude is asked."""
    call = find_call(line, surroundings)
    return call if call is not None and call.command.kind == "do" else None


def read_line(line: str, surroundings: Surroundings) -> Request:
    """Read a line on which Claude is asked: with a prompt, or by a subcommand that makes one.

    Raises:
        UsageError: The options are wrong, or the prompt is most likely meant as a subcommand.
    """
    parsed = parse_option_line(line)
    if parsed.is_closed:
        return Request(options=parsed.options, prompt=parsed.rest)
    scanner = Scanner(parsed.rest)
    if scanner.peek_word() == ESCAPE:
        scanner.skip(ESCAPE)
        scanner.skip_one_space()
        return Request(options=parsed.options, prompt=scanner.rest())
    call = find_call(parsed.rest, surroundings)
    if call is not None and call.command.kind == "ask":
        return Request(options=parsed.options, prompt=parsed.rest, call=call)
    _refuse_slip(parsed, line, percents="%")
    return Request(options=parsed.options, prompt=parsed.rest)


def read_cell(line: str, body: str) -> Request:
    """Read a `%%claude` cell: the words behind its options and all below them are the prompt.

    Raises:
        UsageError: The options are wrong, or there is but one word and that is a subcommand's name.
    """
    request = parse_cell(line, body)
    if not body.strip():
        parsed = parse_option_line(line)
        if not parsed.is_closed:
            _refuse_slip(parsed, line, percents="%%")
    return request


def _refuse_slip(parsed: OptionLine, line: str, *, percents: str) -> None:
    word = parsed.rest.strip()
    if not (word.isascii() and word.isalpha() and len(word) > 2):
        return
    name = word if word in COMMAND_BY_NAME else closest(word, COMMAND_BY_NAME, cutoff=_LIKENESS)
    if name is None:
        return
    options = line[: line.rindex(word)].strip()
    if "=" in options:  # behind which there may be a secret, and errors are saved with the notebook
        options = "[options]"
    command = COMMAND_BY_NAME[name]
    meant = _written("%claude", options if command.kind == "ask" else "", command.usage)
    escaped = _written("%claude", options, ESCAPE, word)
    typed = _written(f"{percents}claude", options, word)
    raise UsageError(
        f"{typed} is no subcommand. Did you mean {meant}? To send it as a prompt: {escaped}. Nothing was sent."
    )


def _written(*words: str) -> str:
    return " ".join(word for word in words if word)
