"""Prompts that are most likely meant as a subcommand: which they are, and what is said of them.

What begins with a subcommand's name and does not fit it is most likely a typo; it is an error, and nothing is
sent. It is a prompt where it is plainly one: a sentence of four words or more, and behind `explain`, `help`, `history`, `fix`,
`stop` and `continue` any words but an option, a number, or what is nearly an argument.

A name with one letter wrong, missing or too many, or with two letters swapped, counts as the name: `fokr idea`. Where it makes a word of
English, as "for" and "work" are of `fork`, the line is an error only if the rest of it is an argument of that subcommand.
"""

from __future__ import annotations

import re

from IPython.core.error import UsageError

from ._commands import (
    ANY_THREAD,
    COMMAND_BY_NAME,
    ESCAPE,
    EXISTING_NAME,
    EXISTING_THREAD,
    NEW_THREAD,
    Command,
    find_call,
)
from ._line import as_typed, ended
from ._names import Surroundings
from ._options import SPEC_BY_NAME, closest

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


def refuse_slip(text: str, line: str, surroundings: Surroundings, *, percents: str) -> None:
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
    typed = _written(f"{percents}claude", options, as_shown(text.strip(), command))
    hint = " %claude threads lists them." if command.argument is EXISTING_THREAD and rest else ""
    raise UsageError(
        f"{typed} is not a subcommand. Did you mean {meant}?{hint} To send it as a prompt: {ended(escaped)} Nothing was sent."
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


def as_shown(text: str, command: Command) -> str:
    """Return typed words for an error, which is saved with the notebook; behind `login` there may be a secret."""
    line = " ".join(text.split())
    if command.name == "login" and " " in line:
        return f"{line.partition(' ')[0]} …"
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


def _written(*words: str) -> str:
    return " ".join(word for word in words if word)
