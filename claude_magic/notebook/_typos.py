"""Detects mistyped subcommands and options, and raises an error that suggests what was probably meant.

A line that begins with a subcommand's name but does not match it is probably a typo: it is an error, and nothing is
sent. It is a prompt only if it clearly reads as one: a sentence of four words or more, or, after `code`, `continue`, `explain`, `fix`,
`help` and `history`, two words or more except an option, a number or the argument. `explain` may be followed by one word that does
not look like a name. After `stop`, three words are needed, and the first must not be one such as "all" or "the": a mistyped `stop` must
not start another request.

A name with one letter wrong, missing or extra, or with two letters swapped, counts as the name: `fokr idea`. If the result is an English
word, as "for" and "work" are near `fork`, the line is an error only if the rest is a valid argument of that subcommand.

Below: options, and values of options, with typographic characters (`—model`), and words that are no option.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from IPython.core.error import UsageError

from ._cell import Scope
from ._commands import (
    ANY_THREAD,
    COMMAND_BY_NAME,
    ESCAPE,
    EXISTING_NAME,
    EXISTING_THREAD,
    JOB,
    NEW_THREAD,
    Command,
    find_call,
)
from ._options import SPEC_BY_NAME, OptionSpec, closest, with_full_stop

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
# What cannot be an ordinary word: `my_df`, `df2`, `df.T`, `rows[0]`. Others, such as "C++" and "GPT-4", are taken as prose.
_NAME = re.compile(r"[^\W\d]\w*(?:\.\w+|\[.*\]|\(.*\))*[.,;:!?]*")
_SHORTEST_AFTER_STOP = 3
_MEANT_TO_STOP = re.compile(r"(?:all|any\w*|every\w*|it|jobs?|my|th(?:at|e|ese|is|ose))\b", re.IGNORECASE)
_HINTS = {
    EXISTING_THREAD: "%claude threads lists them.",
    JOB: "%claude jobs lists the answers with their numbers.",
}
_MOST_SHOWN = 60


def refuse_typo(
    text: str, line: str, scope: Scope, *, percents: str, accepts: Callable[[Command | None], bool]
) -> None:
    """Reject a prompt that is probably meant as a subcommand.

    Args:
        text: The prompt.
        line: The whole option line, which ends with the prompt.
        scope: The variables and threads that exist.
        percents: The percent signs of the magic, for the error message.
        accepts: Returns whether the options of the line can be used with a subcommand, or with a prompt if it is None.
            They are left out of a suggestion with which they cannot.

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
    if not _is_typo(command, word, match["end"], rest, scope):
        return
    options = line[: line.rindex(text.strip())].strip()
    if "=" in options:  # a value after it may be a secret, and errors are saved with the notebook
        options = "[options]"
    words = _meant(command, rest, scope)
    if word != name and rest and _is_model(command, rest):  # `model opus`
        words = f"--model {rest} PROMPT"
    meant = _join_words("%claude", options if command.kind == "ask" and accepts(command) else "", words)
    escaped = _join_words(
        "%claude", options if accepts(None) else "", ESCAPE, text.strip() if not rest else "…"
    )
    typed = _join_words(f"{percents}claude", options, as_shown(text.strip(), command))
    hint = (
        f"{_HINTS[command.argument]} "
        if words == command.usage and command.argument in _HINTS and rest
        else ""
    )
    wrong = _describe_wrong(command, rest, scope) if word == name and match["end"] == "" else ""
    is_guess = not wrong or not rest or command.argument is None or words != command.usage
    form = f"Did you mean {meant}?" if is_guess else f"The form is {meant}."
    raise UsageError(
        f"{wrong or f'{typed} is not a subcommand.'} {form} {hint}To send it as a prompt: {with_full_stop(escaped)} Nothing was sent."
    )


def _describe_wrong(command: Command, rest: str, scope: Scope) -> str:
    """Return what is wrong with the rest of a line that begins with a subcommand's name, as a sentence; "" if nothing is."""
    argument = command.argument
    if argument is None:
        return f"%claude {command.name} takes nothing after it." if rest else ""
    if not rest:
        return f"%claude {command.name} needs an argument."
    return "" if argument.read(rest, scope) is not None else argument.wrong.format(text=_excerpt(rest))


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


def _is_typo(command: Command, word: str, end: str, rest: str, scope: Scope) -> bool:
    """Return whether a line that begins with a subcommand's name, or a similar word, is probably meant as that subcommand.

    Args:
        command: The subcommand.
        word: The word that is or resembles its name.
        end: The punctuation after the word.
        rest: The rest of the line.
        scope: The variables and threads that exist.
    """
    is_named = word.casefold() == command.name
    is_misspelt = _is_misspelt(word, command.name)
    # "status: all good?" is a prompt, because `status` takes no argument.
    is_closed = command.argument is not None or not end.strip("?!.,;")
    is_exact = (word == command.name or is_misspelt) and is_closed
    if not rest:
        return True
    if find_call(f"{command.name} {rest}", scope) is not None:
        # A new thread can have any name, so any word is a valid argument: "for example" is not `fork example`.
        return is_named or is_misspelt or command.argument not in (NEW_THREAD, ANY_THREAD)
    if command.argument is JOB and (is_named or is_misspelt) and _is_meant_to_stop(rest):
        return True
    if _is_sentence(rest):
        return False
    if command.name == "login":  # the rest may be a secret in any form
        return is_named or is_misspelt or (" " not in rest and not _is_english(word))
    if is_exact and not command.takes_prose:
        return True
    if _is_english(word):
        return False
    return _resembles_call(command, rest, scope, is_exact=is_exact)


def _is_meant_to_stop(rest: str) -> bool:
    """Return whether the words after `stop` are probably about answers: "everything", "the running job"."""
    return len(rest.split()) < _SHORTEST_AFTER_STOP or _MEANT_TO_STOP.match(rest) is not None


def _resembles_call(command: Command, rest: str, scope: Scope, *, is_exact: bool) -> bool:
    """Return whether the words after a name resemble its argument, or begin with one."""
    first, *others = rest.split()
    if first.startswith("-") and len(first) > 1:
        return True
    if _NUMBER.fullmatch(first):
        return sum(bool(_WORD.fullmatch(word)) for word in others) < _SHORTEST_SENTENCE - 1
    if others:
        return find_call(f"{command.name} {first}", scope) is not None and _is_end(others[0])
    return _is_model(command, first) or (is_exact and _resembles_argument(command, first, scope))


def _is_model(command: Command, word: str) -> bool:
    """Return whether the word after `models` names a model, which is chosen by an option instead."""
    if command.name != "models":
        return False
    from ..runtime import MODELS, SHORT_NAMES, nearest_model  # late: it would slow down loading the extension

    return word in SHORT_NAMES or word in MODELS or nearest_model(word) is not None


def _is_end(word: str) -> bool:
    return word.partition("=")[0] in SPEC_BY_NAME or word.startswith("--") or bool(_NUMBER.fullmatch(word))


def _resembles_argument(command: Command, word: str, scope: Scope) -> bool:
    """Return whether the only word after a name is probably no prompt: `history nobody`, `fix it`, `explain my_df`."""
    if command.argument is not EXISTING_NAME:
        # In some languages, a sentence has no spaces.
        return word.isascii()
    return EXISTING_NAME.guess(word, scope) is not None or bool(
        _NAME.fullmatch(word) and not _WORD.fullmatch(word)
    )


def _meant(command: Command, rest: str, scope: Scope) -> str:
    """Return the subcommand that was probably meant, as it is typed."""
    argument = command.argument
    if not rest or argument is None:
        return command.usage
    options = [word for word in rest.split() if word.partition("=")[0] in SPEC_BY_NAME]
    if options and command.kind == "ask":  # options go before the subcommand
        return f"[options] {command.usage}"
    if argument.read(rest, scope) is not None:
        return f"{command.name} {rest}"
    guess = argument.guess(rest, scope)
    return command.usage if guess is None else f"{command.name} {guess}"


def _is_sentence(text: str) -> bool:
    words = text.split()
    if not _WORD.fullmatch(words[0]) or any(word.startswith("--") for word in words):
        return False
    return sum(bool(_WORD.fullmatch(word)) for word in words) >= _SHORTEST_SENTENCE


def as_shown(text: str, command: Command) -> str:
    """Return typed text for an error message, shortened; after `login` it may be a secret, and errors are saved."""
    line = _excerpt(text)
    return f"{line.partition(' ')[0]} …" if command.name == "login" and " " in line else line


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


def _join_words(*words: str) -> str:
    return " ".join(word for word in words if word)


# Characters that word processors, chats and web pages use in place of ASCII characters.
#
# Most look-alikes of ASCII dashes, quotes, spaces and letters are recognised by their Unicode properties. These are the exceptions.
_DASHES = "\u2212\u2043\u02d7\u23af\u2500"
"""Characters that look like dashes but are not in Unicode's dash category: minus, hyphen bullet, lines."""
_QUOTES = "\u201e\u201a\u2033\u2032\u00b4\uff02\uff07\u301d\u301e\u301f"
"""Characters that look like quotes but are not in Unicode's quote categories: low quotes, primes, acute accent, full width."""
_LONG_DASHES = "\u2014\u2015\u2e3a\u2e3b\ufe31"
"""Long dashes, each of which stands for two hyphens."""


def to_ascii(text: str) -> str:
    """Return a text with ASCII characters in place of their look-alikes, and without invisible characters."""
    return "".join(map(_ascii_of, text))


def is_typographic_quote(character: str) -> bool:
    """Return whether a character is a typographic quotation mark."""
    return character in _QUOTES or (
        not character.isascii() and unicodedata.category(character) in ("Pi", "Pf")
    )


def describe_typographic(text: str) -> str:
    """Describe the first typographic or invisible character of a text: `“ (U+201C, left double quotation mark)`."""
    odd = next((each for each in text if _ascii_of(each) != each or is_typographic_quote(each)), "")
    if not odd:
        return "nothing odd"
    name = unicodedata.name(odd, "unnamed").lower()
    shown = "an invisible character" if unicodedata.category(odd) == "Cf" else odd
    return f"{shown} (U+{ord(odd):04X}, {name})"


def _ascii_of(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if character in _LONG_DASHES:
        return "--"
    if category == "Pd" or character in _DASHES:
        return "-"
    if category == "Cf":
        return ""
    if category == "Zs":
        return " "
    wide = unicodedata.normalize("NFKC", character)
    return wide if wide.isascii() and wide.isprintable() else character


_LIKENESS = 0.85
_OPTION_NAME = re.compile(r"[a-z][a-z-]{2,}", re.ASCII)
_MOST_OF_WORD = 40
_ESCAPE_HINT = "To start a prompt with a dash, write -- before it. Nothing was sent."


def refuse_typography(word: str) -> None:
    """Reject an option written with typographic characters: `—no-history`, `--model＝opus`.

    Raises:
        UsageError: The word is such an option.
    """
    typed = to_ascii(word)
    body, equals, _ = typed.lstrip("-").partition("=")
    if typed == word or not typed.startswith("-"):
        return
    # A long dash is replaced with two hyphens, but a short name has only one.
    spec = SPEC_BY_NAME.get(f"--{body}") or SPEC_BY_NAME.get(f"-{body}")
    if spec is None:
        guess = (
            closest(f"--{body}", SPEC_BY_NAME, likeness=_LIKENESS) if _OPTION_NAME.fullmatch(body) else None
        )
        spec = None if guess is None else SPEC_BY_NAME[guess]
    if spec is None:
        return
    name = next((name for name in spec.names if name.lstrip("-") == body), spec.name)
    value = "" if spec.is_flag or not equals else "=…"
    shown = word if not equals and len(word) <= _MOST_OF_WORD else f"{word[: len(body) + 1]}…"
    raise UsageError(
        f"{shown} contains {describe_typographic(word)}, but options are plain ASCII: type {name}{value}. "
        f"{_ESCAPE_HINT}"
    )


def refuse_value(spec: OptionSpec, value: str) -> None:
    """Reject a value that begins with a typographic quote or an equals sign: `“Be brief.”`, `= opus`.

    Raises:
        UsageError: The value does.
    """
    if value and (value[0] in "=＝"):
        raise UsageError(
            f"{spec.name} is followed by a space and an =. Type {spec.name} {spec.value}, or {spec.name}={spec.value} without "
            "spaces. Nothing was sent."
        )
    if value and is_typographic_quote(value[0]):
        raise UsageError(
            f"The value of {spec.name} begins with {describe_typographic(value[0])}. Type straight quotes around it: "
            f'{spec.name} "{spec.value}". Nothing was sent.'
        )


def ascii_hint(spec: OptionSpec, text: str) -> str:
    """Return a hint for an invalid value that would be valid in ASCII, such as `--cells −3:`; "" for others."""
    typed = to_ascii(text)
    if typed == text:
        return ""
    try:
        spec.convert(typed)
    except ValueError:
        return ""
    equals = "=" if typed.startswith("-") and not spec.takes_dash(typed) else " "
    return f" It contains {describe_typographic(text)}; type {spec.name}{equals}{with_full_stop(typed)}"


def explain_unknown(word: str) -> str:
    """Return the message for a word that begins with a dash and is no option, with the option that was probably meant."""
    word = to_ascii(word)
    name = word.partition("=")[0]
    short = SPEC_BY_NAME.get(word[:2])
    if "key" in name:
        return f"There is no option {name}: a key in a cell is saved with it. Type it in with %claude login. Nothing was sent."
    if short is not None:
        name = word
        guess: str | None = f"{word[:2]} {word[2:].lstrip('=')}" if not short.is_flag else word[:2]
    else:
        guess = closest(name, SPEC_BY_NAME)
    if guess:
        return f"There is no option {name}. Did you mean {guess}? Nothing was sent."
    return f"There is no option {name}. %claude? lists the options. {_ESCAPE_HINT}"
