"""Detects prompts that are probably mistyped subcommands, and raises an error that suggests the right one.

A line that begins with a subcommand's name but does not match it is probably a typo: it is an error, and nothing is
sent. It is a prompt only if it clearly reads as one: a sentence of four words or more, or, after `explain`, `help`, `history`, `fix`,
`stop` and `continue`, any words except an option, a number, or a near miss of the argument.

A name with one letter wrong, missing or extra, or with two letters swapped, counts as the name: `fokr idea`. If the result is an English
word, as "for" and "work" are near `fork`, the line is an error only if the rest is a valid argument of that subcommand.
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
from ._line import to_ascii, with_full_stop
from ._names import Namespace
from ._options import SPEC_BY_NAME, closest

_SHORTEST_SENTENCE = 4
# A possibly mistyped subcommand name: `/budget 2`, `budget=2`, `status?`, `und0`, `log-out`.
_OPENING = re.compile(
    r"[/\\%!]*(?P<word>[A-Za-z0-9][\w-]+)(?P<end>[:=]|[.,;!?]*(?=\s|$))\s*(?P<rest>.*)", re.DOTALL
)
_SHORTEST_SINGULAR = 5  # shorter ones resemble too many words: "job" and "joy"
# Common English words that are one typo away from a subcommand's name, but more often begin a prompt.
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


def refuse_typo(text: str, line: str, namespace: Namespace, *, percents: str) -> None:
    """Reject a prompt that is probably meant as a subcommand.

    Args:
        text: The prompt.
        line: The whole option line, which ends with the prompt.
        namespace: The variables and threads that exist.
        percents: The percent signs of the magic, for the error message.

    Raises:
        UsageError: The prompt is probably meant as a subcommand, or a subcommand is followed by a key.
    """
    match = _OPENING.match(to_ascii(text.strip()))
    if match is None:
        return
    word, rest = match["word"], match["rest"].strip()
    name = word if word in COMMAND_BY_NAME else _similar_command(word)
    if name is None:
        return
    from ..context import holds_key  # late: importing it would slow down loading the extension

    command = COMMAND_BY_NAME[name]
    if holds_key(rest):
        raise UsageError(
            "There is a key in this line, and cells are saved with their notebook. Take it out of the cell, and type %claude login "
            "alone: it asks for the key. Nothing was sent."
        )
    if not _is_typo(command, word, match["end"], rest, namespace):
        return
    options = line[: line.rindex(text.strip())].strip()
    if "=" in options:  # a value after it may be a secret, and errors are saved with the notebook
        options = "[options]"
    words = _meant(command, rest, namespace)
    if word != name and rest and _is_model(command, rest):  # `model opus`
        words = f"--model {rest} PROMPT"
    meant = _join_words("%claude", options if command.kind == "ask" else "", words)
    escaped = _join_words("%claude", options, ESCAPE, text.strip() if not rest else "…")
    typed = _join_words(f"{percents}claude", options, as_shown(text.strip(), command))
    hint = " %claude threads lists them." if command.argument is EXISTING_THREAD and rest else ""
    raise UsageError(
        f"{typed} is not a subcommand. Did you mean {meant}?{hint} To send it as a prompt: {with_full_stop(escaped)} Nothing was sent."
    )


def _similar_command(word: str) -> str | None:
    """Return the subcommand whose name a word resembles, or None; in words of any length, two letters may be swapped."""
    word = word.casefold()
    swapped = {word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)}
    return next(
        (name for name in COMMAND_BY_NAME if name in swapped),
        closest(word, COMMAND_BY_NAME)
        or next((name for name in COMMAND_BY_NAME if _is_misspelt(word, name)), None),
    )


def _is_misspelt(word: str, name: str) -> bool:
    """Return whether a word is a subcommand's name, or its singular, with one typo, and is not an English word."""
    word, singular = word.casefold(), name.removesuffix("es" if name.endswith("ches") else "s")
    meant = (name, singular) if len(singular) >= _SHORTEST_SINGULAR else (name,)
    return (
        word not in (name, singular)
        and not _is_english(word)
        and any(_is_one_typo_away(word, each) for each in meant)
    )


def _is_english(word: str) -> bool:
    return f" {word.casefold()} " in _ENGLISH


def _is_one_typo_away(word: str, name: str) -> bool:
    """Return whether one letter is wrong, missing or extra, or two adjacent letters are swapped."""
    at = next(
        (at for at, (one, other) in enumerate(zip(word, name, strict=False)) if one != other),
        min(len(word), len(name)),
    )
    typed, meant = word[at:], name[at:]
    is_swapped = typed[:2] == meant[:2][::-1] and typed[2:] == meant[2:]
    return is_swapped or typed[1:] in (meant, meant[1:]) or typed == meant[1:]


def _is_typo(command: Command, word: str, end: str, rest: str, namespace: Namespace) -> bool:
    """Return whether a line that begins with a subcommand's name, or a similar word, is probably meant as that subcommand.

    Args:
        command: The subcommand.
        word: The word that is or resembles its name.
        end: The punctuation after the word.
        rest: The rest of the line.
        namespace: The variables and threads that exist.
    """
    is_named = word.casefold() == command.name
    is_misspelt = _is_misspelt(word, command.name)
    # "status: all good?" is a prompt, because `status` takes no argument.
    is_closed = command.argument is not None or not end.strip("?!.,;")
    is_exact = (word == command.name or is_misspelt) and is_closed
    if not rest:
        return True
    if find_call(f"{command.name} {rest}", namespace) is not None:
        # A new thread can have any name, so any word is a valid argument: "for example" is not `fork example`.
        return is_named or is_misspelt or command.argument not in (NEW_THREAD, ANY_THREAD)
    if _is_sentence(rest):
        return False
    if command.name == "login":  # the rest may be a secret in any form
        return is_named or is_misspelt or (" " not in rest and not _is_english(word))
    if is_exact and not command.takes_prose:
        return True
    if _is_english(word):
        return False
    return _resembles_call(command, rest, namespace, is_exact=is_exact)


def _resembles_call(command: Command, rest: str, namespace: Namespace, *, is_exact: bool) -> bool:
    """Return whether the words after a name resemble its argument, or begin with one."""
    first, *others = rest.split()
    if first[0] in _DASHES and len(first) > 1:
        return True
    if _NUMBER.fullmatch(first):
        return sum(bool(_WORD.fullmatch(word)) for word in others) < _SHORTEST_SENTENCE - 1
    if others:
        is_argument = find_call(f"{command.name} {first}", namespace) is not None
        is_job = command.argument is not None and command.argument.key == "job" and first in ("job", "jobs")
        return (is_argument and _is_end(others[0])) or (is_job and bool(_NUMBER.fullmatch(others[0])))
    return _is_model(command, first) or (is_exact and _resembles_argument(command, first, namespace))


def _is_model(command: Command, word: str) -> bool:
    """Return whether the word after `models` names a model, which is chosen by an option instead."""
    if command.name != "models":
        return False
    from ..runtime import MODELS, SHORT_NAMES, nearest_model  # late: it would slow down loading the extension

    return word in SHORT_NAMES or word in MODELS or nearest_model(word) is not None


def _is_end(word: str) -> bool:
    return word.partition("=")[0] in SPEC_BY_NAME or word.startswith("--") or bool(_NUMBER.fullmatch(word))


def _resembles_argument(command: Command, word: str, namespace: Namespace) -> bool:
    if command.argument is not None:
        return command.argument.guess(word, namespace) is not None
    if command.name == "help":
        return word in COMMAND_BY_NAME or f"--{word}" in SPEC_BY_NAME
    return EXISTING_NAME.read(word, namespace) is not None or EXISTING_NAME.guess(word, namespace) is not None


def _meant(command: Command, rest: str, namespace: Namespace) -> str:
    """Return the subcommand that was probably meant, as it is typed."""
    argument = command.argument
    if not rest or argument is None:
        return command.usage
    options = [word for word in rest.split() if word.partition("=")[0] in SPEC_BY_NAME]
    if options and command.kind == "ask":  # options go before the subcommand
        return f"[options] {command.usage}"
    if argument.read(rest, namespace) is not None:
        return f"{command.name} {rest}"
    guess = argument.guess(rest, namespace)
    return command.usage if guess is None else f"{command.name} {guess}"


def _is_sentence(text: str) -> bool:
    words = text.split()
    if not _WORD.fullmatch(words[0]) or any(word.startswith("--") for word in words):
        return False
    return sum(bool(_WORD.fullmatch(word)) for word in words) >= _SHORTEST_SENTENCE


def as_shown(text: str, command: Command) -> str:
    """Return typed text for an error message, shortened; after `login` it may be a secret, and errors are saved."""
    line = " ".join(text.split())
    if command.name == "login" and " " in line:
        return f"{line.partition(' ')[0]} …"
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


def _join_words(*words: str) -> str:
    return " ".join(word for word in words if word)
