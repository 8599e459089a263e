"""What can be typed next on a `%claude` line. Inside a prompt that is nothing of ours."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from IPython.core.error import UsageError

from ._commands import (
    ANY_THREAD,
    COMMAND_BY_NAME,
    COMMANDS,
    ESCAPE,
    EXISTING_NAME,
    EXISTING_THREAD,
    JSON_FILE,
    SAVED,
    Argument,
)
from ._line import EXCLUSIVE_FIELDS, Scanner
from ._names import Surroundings
from ._options import OPTION_SPECS, SPEC_BY_NAME, OptionSpec

_MOST_FILES = 200


def value_texts(spec: OptionSpec, fragment: str, surroundings: Surroundings) -> Iterable[str]:
    """Return what an option's value may be, given its beginning."""
    if spec.choices:
        return spec.choices
    find = _FINDERS.get(spec.field)
    return () if find is None else find(fragment, surroundings)


def argument_texts(argument: Argument, fragment: str, surroundings: Surroundings) -> Iterable[str]:
    """Return what a subcommand's argument may be, given its beginning."""
    if argument is EXISTING_NAME:
        return (name for name, _ in _named(fragment, surroundings))
    if argument in (EXISTING_THREAD, ANY_THREAD):
        return surroundings.threads()
    if argument is JSON_FILE:
        return (path for path in _files(fragment) if path.endswith((".json", "/")))
    if argument is SAVED:
        paths = (path for path in _files(fragment) if path.endswith((".json", ".ipynb", "/")))
        return (*argument.choices, *paths)
    return argument.choices


def _models(_fragment: str, _surroundings: Surroundings) -> Iterator[str]:
    from ..runtime import MODELS, SHORT_NAMES

    yield from SHORT_NAMES
    yield from MODELS


def _threads(_fragment: str, surroundings: Surroundings) -> Iterable[str]:
    return surroundings.threads()


def _named(fragment: str, surroundings: Surroundings) -> Iterator[tuple[str, object]]:
    """Yield names with their values; those that begin with _ only where that is typed."""
    names = surroundings.names()
    for name in sorted(names):
        if fragment.startswith("_") or not name.startswith("_"):
            yield name, names[name]


def _variables(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    for name, value in _named(fragment, surroundings):
        if not (isinstance(value, ModuleType) or callable(value)):
            yield name


def _attachments(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    yield from _variables(fragment, surroundings)
    yield from _files(fragment)


def _classes(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    for name, value in _named(fragment, surroundings):
        # Of its type, as the lazy objects of some libraries begin to work when they are asked for their class.
        if issubclass(type(value), type):
            yield name


def _functions(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    for name, value in _named(fragment, surroundings):
        # Other objects that can be called may be tools, too, but are hardly meant as such.
        if isinstance(value, _FUNCTIONS):
            yield name


_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, functools.partial)


def _prompt_files(fragment: str, _surroundings: Surroundings) -> Iterator[str]:
    if fragment.startswith("@"):
        for path in _files(fragment[1:]):
            yield f"@{path}"


def _files(fragment: str) -> Iterator[str]:
    """Yield paths that begin like this one, folders with a slash, as they are typed; those with spaces not."""
    folder, _, beginning = fragment.rpartition("/")
    typed = f"{folder}/" if "/" in fragment else ""
    try:
        with os.scandir(Path(typed or ".").expanduser()) as entries:
            found = sorted(
                (entry.name, entry.is_dir()) for entry in entries if entry.name.startswith(beginning)
            )
    except (OSError, RuntimeError):  # the latter where ~ is nobody's home
        return
    for name, is_folder in found[:_MOST_FILES]:
        if " " not in name and (beginning or not name.startswith(".")):
            yield f"{typed}{name}{'/' if is_folder else ''}"


_Finder = Callable[[str, Surroundings], Iterable[str]]


def _several(find: _Finder) -> _Finder:
    """Return what finds names with commas between them, each once."""

    def find_next(fragment: str, surroundings: Surroundings) -> Iterator[str]:
        chosen, comma, typed = fragment.rpartition(",")
        for name in find(typed, surroundings):
            if name not in chosen.split(","):
                yield f"{chosen}{comma}{name}"

    return find_next


_FINDERS: dict[str, _Finder] = {
    "model": _models,
    "compare": _several(_models),
    "system": _prompt_files,
    "thread": _threads,
    "attach": _attachments,
    "interact": _several(_variables),
    "map": _variables,
    "out": _variables,
    "schema": _classes,
    "tools": _several(_functions),
}


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
        kinds: What each of them is, for front ends that show it.
    """

    fragment: str = ""
    texts: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


NOTHING = Completions()
_KINDS = {
    "model": "model",
    "compare": "model",
    "thread": "thread",
    "tools": "function",
    "schema": "class",
    "system": "path",
    "file": "path",
    "name": "variable",
    "out": "variable",
    "interact": "variable",
}
"""By the field of an option, or the key of an argument."""


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
            return _offer(
                value_texts(spec, fragment, surroundings), fragment, _KINDS.get(spec.field, "value")
            )


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
        first = _offer(_subcommands(given, is_cell=is_cell), typed, "subcommand")
        then = _offer(_option_names(given) if typed[:1] in ("", "-") else (), typed, "option")
        return Completions(fragment=typed, texts=first.texts + then.texts, kinds=first.kinds + then.kinds)
    command = COMMAND_BY_NAME.get(word)
    if is_cell or command is None or command.argument is None or (given and command.kind == "do"):
        return NOTHING
    kind = _KINDS.get(command.argument.key, "value")
    return _offer(argument_texts(command.argument, argument, surroundings), argument, kind)


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
    return Completions(fragment=fragment, texts=fitting, kinds=(kind,) * len(fitting))
