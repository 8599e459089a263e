"""What can be typed next on a `%claude` line. Inside a prompt that is nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from IPython.core.error import UsageError

from ._commands import COMMAND_BY_NAME, COMMANDS, ESCAPE
from ._completion_values import argument_texts, value_texts
from ._option_specs import EXCLUSIVE_FIELDS, OPTION_SPECS, SPEC_BY_NAME, OptionSpec
from ._scanner import Scanner
from ._surroundings import Surroundings

_CELL = re.compile(r"\s*%%claude(?!\S)")
_CELL_LINE = re.compile(r"%%claude\s(?P<words>.*)", re.DOTALL)
_LINE = re.compile(r"\s*(?:[^%!?'\"#]*=\s*)?%claude\s(?P<words>.*)", re.DOTALL)
_BINDING = re.compile(r"\s*[^\W\d]\w*\s*<<")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """What may take the place of the last characters before the cursor.

    Attributes:
        fragment: Those characters.
        texts: What may stand there, best first; each begins with them.
        kind: What these are, for front ends that show it.
    """

    fragment: str = ""
    texts: tuple[str, ...] = ()
    kind: str = ""


NOTHING = Completions()


def complete_cell(text: str, line_number: int, column: int, surroundings: Surroundings) -> Completions:
    """Complete at a place in a cell; lines count from 0."""
    lines = text.split("\n")
    before = lines[line_number][:column]
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if _CELL.match(lines[first]):
        match = _CELL_LINE.fullmatch(before) if line_number == first else None
        return complete_words(match["words"], surroundings, is_cell=True) if match else NOTHING
    match = _LINE.fullmatch(before)
    return complete_words(match["words"], surroundings, is_cell=False) if match else NOTHING


def complete_words(words: str, surroundings: Surroundings, *, is_cell: bool) -> Completions:
    """Complete at the end of what stands behind the magic's name so far."""
    scanner = Scanner(words)
    if binding := _BINDING.match(words):
        scanner.skip(binding[0])
    given: list[OptionSpec] = []
    while True:
        scanner.skip_spaces()
        word = scanner.peek_word()
        spec = SPEC_BY_NAME.get(word.partition("=")[0])
        if spec is None or (word == scanner.rest() and "=" not in word):
            return _complete_first_word(scanner, given, surroundings, is_cell=is_cell)
        given.append(spec)
        scanner.skip(word.partition("=")[0])
        if not spec.is_flag and (fragment := _pass_value(scanner)) is not None:
            return _offer(value_texts(spec, fragment, surroundings), fragment, spec.field)


def _pass_value(scanner: Scanner) -> str | None:
    """Pass over an option's value; if it is still being typed, return what there is of it."""
    if scanner.peek_char() == "=":
        scanner.skip("=")
    else:
        scanner.skip_spaces()
    if scanner.is_at_quote():
        return _pass_quoted(scanner)
    word = scanner.take_word()
    return None if scanner.rest() else word


def _pass_quoted(scanner: Scanner) -> str | None:
    typed = scanner.rest()
    try:
        scanner.take_quoted("")
    except UsageError:
        return typed[1:]
    return None if scanner.rest() else typed


def _complete_first_word(
    scanner: Scanner, given: Sequence[OptionSpec], surroundings: Surroundings, *, is_cell: bool
) -> Completions:
    """Complete where an option, a subcommand or the prompt begins."""
    typed = scanner.rest()
    word, space, argument = typed.partition(" ")
    if not space:
        texts = _option_names(given) if typed[:1] in ("", "-") else []
        return _offer([*_subcommands(given, is_cell=is_cell), *texts], typed, "option")
    command = COMMAND_BY_NAME.get(word)
    if is_cell or command is None or command.argument is None or (given and command.kind == "do"):
        return NOTHING
    return _offer(argument_texts(command.argument, argument, surroundings), argument, command.argument.key)


def _subcommands(given: Sequence[OptionSpec], *, is_cell: bool) -> list[str]:
    if is_cell:
        return []
    return [ESCAPE, *(command.name for command in COMMANDS if not given or command.kind == "ask")]


def _option_names(given: Sequence[OptionSpec]) -> list[str]:
    """Return the options that may still come; long names first, as they say what they are."""
    fields = {spec.field for spec in given}
    ruled_out = {spec.field for spec in given if not spec.is_repeatable}
    for one, other, _ in EXCLUSIVE_FIELDS:
        ruled_out |= {other} if one in fields else {one} if other in fields else set()
    specs = [spec for spec in OPTION_SPECS if spec.field not in ruled_out]
    return [*(spec.name for spec in specs), *(spec.names[0] for spec in specs if len(spec.names) > 1)]


def _offer(texts: Iterable[str], fragment: str, kind: str) -> Completions:
    fitting = tuple(text for text in texts if text.startswith(fragment))
    return Completions(fragment=fragment, texts=fitting, kind=kind)
