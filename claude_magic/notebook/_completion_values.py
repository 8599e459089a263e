"""What the value of an option or the argument of a subcommand may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

from ._command_arguments import ANY_THREAD, EXISTING_NAME, EXISTING_THREAD, JSON_FILE, Argument
from ._option_specs import OptionSpec
from ._surroundings import Surroundings

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
    return argument.choices


def _models(_fragment: str, _surroundings: Surroundings) -> Iterator[str]:
    from ..runtime import MODELS, SHORT_NAMES

    yield from SHORT_NAMES
    yield from MODELS


def _model_lists(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    chosen, comma, _ = fragment.rpartition(",")
    for name in _models(fragment, surroundings):
        if name not in chosen.split(","):
            yield f"{chosen}{comma}{name}"


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


def _variable_lists(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    chosen, comma, typed = fragment.rpartition(",")
    for name in _variables(typed, surroundings):
        if name not in chosen.split(","):
            yield f"{chosen}{comma}{name}"


def _attachments(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    yield from _variables(fragment, surroundings)
    yield from _files(fragment)


def _classes(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    for name, value in _named(fragment, surroundings):
        if _is_class(value):
            yield name


def _functions(fragment: str, surroundings: Surroundings) -> Iterator[str]:
    chosen, comma, typed = fragment.rpartition(",")
    for name, value in _named(typed, surroundings):
        if callable(value) and not _is_class(value) and name not in chosen.split(","):
            yield f"{chosen}{comma}{name}"


def _is_class(value: object) -> bool:
    # Of its type, as the lazy objects of some libraries begin to work when they are asked for their class.
    return issubclass(type(value), type)


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


_FINDERS: dict[str, Callable[[str, Surroundings], Iterable[str]]] = {
    "model": _models,
    "compare": _model_lists,
    "system": _prompt_files,
    "thread": _threads,
    "attach": _attachments,
    "interact": _variable_lists,
    "out": _variables,
    "schema": _classes,
    "tools": _functions,
}
