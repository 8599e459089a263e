"""Completion of `%claude` lines: options, their values and subcommands. Prompts are not completed."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from IPython.core.error import UsageError

from ._cell import Scope
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
from ._options import OPTION_SPECS, SPEC_BY_NAME, OptionSpec

_MOST_FILES = 200


def value_texts(spec: OptionSpec, fragment: str, scope: Scope) -> Iterable[str]:
    """Return candidates for an option's value that begins with `fragment`."""
    if spec.choices:
        return spec.choices
    find = _FINDERS.get(spec.field)
    return () if find is None else find(fragment, scope)


def argument_texts(argument: Argument, fragment: str, scope: Scope) -> Iterable[str]:
    """Return candidates for a subcommand's argument that begins with `fragment`."""
    if argument is EXISTING_NAME:
        return (name for name, _ in _named(fragment, scope))
    if argument in (EXISTING_THREAD, ANY_THREAD):
        return scope.threads()
    if argument is JSON_FILE:
        return (path for path in _files(fragment) if path.endswith((".json", "/")))
    if argument is SAVED:
        paths = (path for path in _files(fragment) if path.endswith((".json", ".ipynb", "/")))
        return (*argument.choices, *paths)
    return argument.choices


def _models(_fragment: str, _scope: Scope) -> Iterator[str]:
    from ..runtime import MODELS, SHORT_NAMES

    yield from SHORT_NAMES
    yield from MODELS


def _threads(_fragment: str, scope: Scope) -> Iterable[str]:
    return scope.threads()


def _named(fragment: str, scope: Scope) -> Iterator[tuple[str, object]]:
    """Yield variables with their values; those that begin with _ only if the fragment does too."""
    names = scope.names()
    for name in sorted(names):
        if fragment.startswith("_") or not name.startswith("_"):
            yield name, names[name]


def _variables(fragment: str, scope: Scope) -> Iterator[str]:
    for name, value in _named(fragment, scope):
        if not (isinstance(value, ModuleType) or callable(value)):
            yield name


def _attachments(fragment: str, scope: Scope) -> Iterator[str]:
    yield from _variables(fragment, scope)
    yield from _files(fragment)


def _classes(fragment: str, scope: Scope) -> Iterator[str]:
    for name, value in _named(fragment, scope):
        # Not `isinstance`: it reads `__class__`, which makes the lazy objects of some libraries load.
        if issubclass(type(value), type):
            yield name


def _functions(fragment: str, scope: Scope) -> Iterator[str]:
    for name, value in _named(fragment, scope):
        # Other callables can be tools too, but seldom are.
        if isinstance(value, _FUNCTIONS):
            yield name


_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, functools.partial)


def _prompt_files(fragment: str, _scope: Scope) -> Iterator[str]:
    if fragment.startswith("@"):
        for path in _files(fragment[1:]):
            yield f"@{path}"


def _files(fragment: str) -> Iterator[str]:
    """Yield the paths that complete a fragment, folders with a slash, without paths that contain spaces."""
    folder, _, beginning = fragment.rpartition("/")
    typed = f"{folder}/" if "/" in fragment else ""
    try:
        with os.scandir(Path(typed or ".").expanduser()) as entries:
            found = sorted(
                (entry.name, entry.is_dir()) for entry in entries if entry.name.startswith(beginning)
            )
    except (OSError, RuntimeError):  # RuntimeError: ~ has no home directory
        return
    for name, is_folder in found[:_MOST_FILES]:
        if " " not in name and (beginning or not name.startswith(".")):
            yield f"{typed}{name}{'/' if is_folder else ''}"


_Finder = Callable[[str, Scope], Iterable[str]]


def _several(find: _Finder) -> _Finder:
    """Return a finder for comma-separated lists, which offers each name only once."""

    def find_next(fragment: str, scope: Scope) -> Iterator[str]:
        chosen, comma, typed = fragment.rpartition(",")
        for name in find(typed, scope):
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
    """Candidates that replace the text before the cursor.

    Attributes:
        fragment: The text that they replace.
        texts: The candidates, best first; each begins with the fragment.
        kinds: The kind of each candidate, which some front ends show.
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
"""Kinds of candidates, by the field of an option or the key of an argument."""


def complete_cell(text: str, line_number: int, column: int, scope: Scope) -> Completions:
    """Return completions at a position in a cell; lines and columns count from 0."""
    lines = text.split("\n")
    before = lines[line_number][:column]
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if _CELL.match(lines[first]):
        match = _CELL_LINE.fullmatch(before) if line_number == first else None
        return complete_words(match["words"], scope, is_cell=True) if match else NOTHING
    match = _LINE.fullmatch(before)
    return complete_words(match["words"], scope, is_cell=False) if match else NOTHING


def complete_words(words: str, scope: Scope, *, is_cell: bool) -> Completions:
    """Return completions at the end of `words`, the text between the magic's name and the cursor."""
    scanner = Scanner(words)
    if binding := _BINDING.match(words):
        scanner.skip(binding[0])
    given: list[OptionSpec] = []
    while True:
        scanner.skip_spaces()
        word = scanner.peek_word()
        spec = SPEC_BY_NAME.get(word.partition("=")[0])
        if spec is None or (word == scanner.rest() and "=" not in word):
            return _complete_first_word(scanner, given, scope, is_cell=is_cell)
        given.append(spec)
        scanner.skip(word.partition("=")[0])
        if not spec.is_flag and (fragment := _pass_value(scanner)) is not None:
            return _offer(value_texts(spec, fragment, scope), fragment, _KINDS.get(spec.field, "value"))


def _pass_value(scanner: Scanner) -> str | None:
    """Skip an option's value and return None; if the value is incomplete, return its beginning."""
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
    scanner: Scanner, given: Sequence[OptionSpec], scope: Scope, *, is_cell: bool
) -> Completions:
    """Return completions at the beginning of an option, a subcommand or the prompt."""
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
    return _offer(argument_texts(command.argument, argument, scope), argument, kind)


def _subcommands(given: Sequence[OptionSpec], *, is_cell: bool) -> list[str]:
    if is_cell:
        return []
    return [ESCAPE, *(command.name for command in COMMANDS if not given or command.kind == "ask")]


def _option_names(given: Sequence[OptionSpec]) -> list[str]:
    """Return the names of the options that can still be given, the more descriptive long names first."""
    fields = {spec.field for spec in given}
    ruled_out = {spec.field for spec in given if not spec.is_repeatable}
    for one, other, _ in EXCLUSIVE_FIELDS:
        ruled_out |= {other} if one in fields else {one} if other in fields else set()
    specs = [spec for spec in OPTION_SPECS if spec.field not in ruled_out]
    return [*(spec.name for spec in specs), *(spec.names[0] for spec in specs if len(spec.names) > 1)]


def _offer(texts: Iterable[str], fragment: str, kind: str) -> Completions:
    fitting = tuple(text for text in texts if text.startswith(fragment))
    return Completions(fragment=fragment, texts=fitting, kinds=(kind,) * len(fitting))
