"""What a `%claude` line is: a subcommand, or options and a prompt.

    %claude [NAME <<] [OPTION ...] [ask | --] PROMPT
    %claude [OPTION ...] SUBCOMMAND [ARGUMENT]

A line is a subcommand only if the whole of it fits that subcommand, down to the names it refers to: `explain df` is one
while there is a `df`, `explain why the sky is blue` is a prompt. Behind `ask` or `--` everything is a prompt.

What begins with a subcommand's name and does not fit it is most likely a typo; it is an error, and nothing is
sent. It is a prompt where it is plainly one: a sentence of four words or more, and behind `explain`, `help`, `history`, `fix`,
`stop` and `continue` any words but an option, a number, or what is nearly an argument.

A name with one letter wrong, missing or too many, or with two letters swapped, counts as the name: `fokr idea`. Where it makes a word of
English, as "for" and "work" are of `fork`, the line is an error only if the rest of it is an argument of that subcommand.
"""

from __future__ import annotations

import re

from IPython.core.error import UsageError

from ._commands import ANY_THREAD, COMMAND_BY_NAME, ESCAPE, EXISTING_NAME, NEW_THREAD, Call, Command, Line
from ._line import Scanner, as_typed, ended, parse_cell, parse_option_line
from ._names import Surroundings
from ._options import SPEC_BY_NAME, closest

_HELP = ("?", "??")
_SHORTEST_SENTENCE = 4
# A subcommand's name as it may be mistyped: `/budget 2`, `budget=2`, `status?`, `und0`, `log-out`.
_OPENING = re.compile(
    r"[/\\%!]*(?P<word>[A-Za-z0-9][\w-]+)(?P<end>[:=]|[.,;!?]*(?=\s|$))\s*(?P<rest>.*)", re.DOTALL
)
_SHORTEST_SINGULAR = 5  # of shorter ones too many words are near: "job" and "joy"
# Common words of English that are one slip away from a subcommand's name, and begin a prompt more often than they are one.
_ENGLISH = (
    " six fit mix fox fax fig fin fir explains continues continued come core rode coke codes cope mode modes coded coder "
    "cone cod node cove ode threats threat treads tread for work form pork folk fort york cork fore forks ford unto witch "
    "stitch snitch twitch swatch clean clears have same gave safe saved wave sake slave sale cave shave saves sane sage "
    "rave dave pave saver lead road loud lord loan loads lad loaf toad joys robs sobs jabs mobs jogs bobs top step shop "
    "stops stow journals matches match catches catch watches watch patches patch hatches hatch latch bath cassettes panels "
    "pane panes budge budgets usages states statue statues stats stat motel motels modem modems modal modals logic logan "
    "loin demon demos memo deco hell held helps heap helm hemp kelp yelp "
)
_WORD = re.compile(r"""["'(“‘«]*[^\W\d_]+(?:['’-][^\W\d_]+)*["')”’»]*[.,;:!?…]*""")
_NUMBER = re.compile(r"[#$€£+−-]*[.,]?\d\S*")
_DASHES = "-‐‑‒–—―−﹣－"
_MOST_SHOWN = 60


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


def find_command(line: str, surroundings: Surroundings) -> Call | None:
    """Return the subcommand that a line is, if that does something by itself; `None` if Claude is asked."""
    call = find_call(line, surroundings)
    return call if call is not None and call.command.kind == "do" else None


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
    _refuse_slip(parsed.rest, line, surroundings, percents="%")
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
        _refuse_slip(parsed.rest, line, surroundings, percents="%%")
        return request
    # Prose may begin with any word, and goes on below: only what is a subcommand to the letter is none.
    call = find_call(parsed.rest, surroundings)
    if call is not None and not call.command.takes_prose:
        raise UsageError(
            f"%claude {_shown(parsed.rest, call.command)} is a subcommand: write it with one percent sign, in a cell of its own. "
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


def _refuse_slip(text: str, line: str, surroundings: Surroundings, *, percents: str) -> None:
    """Refuse a prompt that is most likely meant as a subcommand.

    Raises:
        UsageError: It is.
    """
    match = _OPENING.match(as_typed(text.strip()))
    if match is None:
        return
    word, rest = match["word"], match["rest"].strip()
    name = word if word in COMMAND_BY_NAME else _nearly_command(word)
    if name is None:
        return
    from ..context import holds_key  # late: loading the extension must not cost this

    command = COMMAND_BY_NAME[name]
    if holds_key(rest):
        raise UsageError(
            "There is a key in this line, and cells are saved with their notebook. Take it out of the cell, and type %claude login "
            "alone: it asks for the key. Nothing was sent."
        )
    if not _is_slip(command, word, match["end"], rest, surroundings):
        return
    options = line[: line.rindex(text.strip())].strip()
    if "=" in options:  # behind which there may be a secret, and errors are saved with the notebook
        options = "[options]"
    words = _meant(command, rest, surroundings)
    if word != name and rest and _is_model(command, rest):  # `model opus`
        words = f"--model {rest} PROMPT"
    meant = _written("%claude", options if command.kind == "ask" else "", words)
    escaped = _written("%claude", options, ESCAPE, text.strip() if not rest else "…")
    typed = _written(f"{percents}claude", options, _shown(text.strip(), command))
    raise UsageError(
        f"{typed} is not a subcommand. Did you mean {meant}? To send it as a prompt: {ended(escaped)} Nothing was sent."
    )


def _nearly_command(word: str) -> str | None:
    """Return the subcommand that a word is nearly; two letters that changed places count, however short the word."""
    word = word.casefold()
    swapped = {word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)}
    return next(
        (name for name in COMMAND_BY_NAME if name in swapped),
        closest(word, COMMAND_BY_NAME)
        or next((name for name in COMMAND_BY_NAME if _is_misspelt(word, name)), None),
    )


def _is_misspelt(word: str, name: str) -> bool:
    """Whether a word is most likely a subcommand's name, or its singular, with one slip: it is, and no word of English."""
    word, singular = word.casefold(), name.removesuffix("es" if name.endswith("ches") else "s")
    meant = (name, singular) if len(singular) >= _SHORTEST_SINGULAR else (name,)
    return (
        word not in (name, singular)
        and not _is_english(word)
        and any(_is_one_slip(word, each) for each in meant)
    )


def _is_english(word: str) -> bool:
    return f" {word.casefold()} " in _ENGLISH


def _is_one_slip(word: str, name: str) -> bool:
    """Whether one letter is wrong, missing or too many, or two letters have changed places."""
    at = next(
        (at for at, (one, other) in enumerate(zip(word, name, strict=False)) if one != other),
        min(len(word), len(name)),
    )
    typed, meant = word[at:], name[at:]
    is_swapped = typed[:2] == meant[:2][::-1] and typed[2:] == meant[2:]
    return is_swapped or typed[1:] in (meant, meant[1:]) or typed == meant[1:]


def _is_slip(command: Command, word: str, end: str, rest: str, surroundings: Surroundings) -> bool:
    """Whether words that begin with a subcommand's name, or nearly so, are most likely meant as that subcommand.

    Args:
        command: The subcommand.
        word: What stands for its name.
        end: The punctuation behind it.
        rest: The words behind that.
        surroundings: The names that there are.
    """
    is_named = word.casefold() == command.name
    is_misspelt = _is_misspelt(word, command.name)
    # "status: all good?" is a prompt, as nothing can follow `status`.
    is_closed = command.argument is not None or not end.strip("?!.,;")
    is_exact = (word == command.name or is_misspelt) and is_closed
    if not rest:
        return True
    if find_call(f"{command.name} {rest}", surroundings) is not None:
        # A new thread may have any name, so that any word fits: "for example" is not `fork example`.
        return is_named or is_misspelt or command.argument not in (NEW_THREAD, ANY_THREAD)
    if _is_sentence(rest):
        return False
    if command.name == "login":  # a secret, of whatever form
        return is_named or is_misspelt or (" " not in rest and not _is_english(word))
    if is_exact and not command.takes_prose:
        return True
    if _is_english(word):
        return False
    return _is_nearly_call(command, rest, surroundings, is_exact=is_exact)


def _is_nearly_call(command: Command, rest: str, surroundings: Surroundings, *, is_exact: bool) -> bool:
    """Whether the words behind a name are nearly an argument of it, or one and more."""
    first, *others = rest.split()
    if first[0] in _DASHES and len(first) > 1:
        return True
    if _NUMBER.fullmatch(first):
        return sum(bool(_WORD.fullmatch(word)) for word in others) < _SHORTEST_SENTENCE - 1
    if others:
        is_argument = find_call(f"{command.name} {first}", surroundings) is not None
        is_job = command.argument is not None and command.argument.key == "job" and first in ("job", "jobs")
        return (is_argument and _is_end(others[0])) or (is_job and bool(_NUMBER.fullmatch(others[0])))
    return _is_model(command, first) or (is_exact and _is_nearly_argument(command, first, surroundings))


def _is_model(command: Command, word: str) -> bool:
    """Whether it is that of a model behind `models`: one is chosen by an option."""
    if command.name != "models":
        return False
    from ..runtime import MODELS, SHORT_NAMES, nearest_model  # late: loading the extension must not cost this

    return word in SHORT_NAMES or word in MODELS or nearest_model(word) is not None


def _is_end(word: str) -> bool:
    return word.partition("=")[0] in SPEC_BY_NAME or word.startswith("--") or bool(_NUMBER.fullmatch(word))


def _is_nearly_argument(command: Command, word: str, surroundings: Surroundings) -> bool:
    if command.argument is not None:
        return command.argument.guess(word, surroundings) is not None
    if command.name == "help":
        return word in COMMAND_BY_NAME or f"--{word}" in SPEC_BY_NAME
    return (
        EXISTING_NAME.read(word, surroundings) is not None
        or EXISTING_NAME.guess(word, surroundings) is not None
    )


def _meant(command: Command, rest: str, surroundings: Surroundings) -> str:
    """Return what was probably meant, as it is typed."""
    argument = command.argument
    if not rest or argument is None:
        return command.usage
    options = [word for word in rest.split() if word.partition("=")[0] in SPEC_BY_NAME]
    if options and command.kind == "ask":  # they stand in front
        return f"[options] {command.usage}"
    if argument.read(rest, surroundings) is not None:
        return f"{command.name} {rest}"
    guess = argument.guess(rest, surroundings)
    return command.usage if guess is None else f"{command.name} {guess}"


def _is_sentence(text: str) -> bool:
    words = text.split()
    if not _WORD.fullmatch(words[0]) or any(word.startswith("--") for word in words):
        return False
    return sum(bool(_WORD.fullmatch(word)) for word in words) >= _SHORTEST_SENTENCE


def _shown(text: str, command: Command) -> str:
    """Return typed words for an error, which is saved with the notebook; behind `login` there may be a secret."""
    line = " ".join(text.split())
    if command.name == "login" and " " in line:
        return f"{line.partition(' ')[0]} …"
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


def _written(*words: str) -> str:
    return " ".join(word for word in words if word)
