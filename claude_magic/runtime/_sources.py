"""Where settings come from, in their order: the first source that has a value wins.

1. an explicit option or argument
2. `%config ClaudeMagics.…`
3. the environment: `CLAUDE_MAGIC_<NAME>`, then `ANTHROPIC_BASE_URL` and `ANTHROPIC_CUSTOM_HEADERS`; empty is unset
4. `claude-magic.toml` beside the notebook (in the current folder), which may not set everything: it may be a stranger's
5. `claude-magic.toml` in the user's config folder
6. the default
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..client import ClientConfig, ConfigurationError
from ._settings import (
    CLIENT_FIELDS,
    DEFAULT_SOURCE,
    LOCAL_SOURCE,
    NOTEBOOK_FIELDS,
    SECRET_FIELDS,
    STRANGER_FIELDS,
    ResolvedSettings,
    Settings,
    shown,
)

_PREFIX = "CLAUDE_MAGIC_"
_FOREIGN_VARIABLES = {"base_url": "ANTHROPIC_BASE_URL", "headers": "ANTHROPIC_CUSTOM_HEADERS"}
_MAX_UNKNOWN = 5
_LONGEST_NAME = 60
_UNPRINTED_FIELDS = frozenset({"base_url", "headers"})
"""Their values may hold a secret of some gateway, so no message quotes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One source.

    Attributes:
        values: What it sets; None counts as not set.
        describe: Says in words where a field of it comes from.
        notes: What a person should know about it.
    """

    values: Mapping[str, object]
    describe: Callable[[str], str]
    notes: tuple[str, ...] = ()


def option_layer(options: Mapping[str, object]) -> Layer:
    """What was given with the call."""
    return Layer(values=options, describe=lambda _: "option")


def config_layer(traits: Mapping[str, object]) -> Layer:
    """What `%config ClaudeMagics.…` has set.

    Raises:
        ConfigurationError: It sets something that a notebook must not decide.
    """
    refused = sorted(
        name for name, value in traits.items() if value is not None and name not in NOTEBOOK_FIELDS
    )
    if refused:
        raise ConfigurationError(
            f"%config cannot set {', '.join(refused)}, because notebooks are saved and passed on. "
            "Use `%claude login`, `%claude demo on`, or the environment."
        )
    return Layer(values=traits, describe=lambda _: "%config")


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """What the environment sets."""
    values: dict[str, object] = {}
    variables: dict[str, str] = {}
    for name in Settings.model_fields:
        for variable in (_PREFIX + name.upper(), _FOREIGN_VARIABLES.get(name, "")):
            if name not in values and environment.get(variable):
                values[name] = environment[variable]
                variables[name] = variable
    return Layer(
        values=values,
        describe=lambda name: f"environment ({variables[name]})",
        notes=tuple(_unknown_variables(environment)),
    )


def local_file_layer(path: Path, content: Mapping[str, Any]) -> Layer:
    """What the file beside the notebook sets, as far as it may."""
    where = f"{path.name} beside the notebook"
    refused = [name for name in content if name in (*Settings.model_fields, *SECRET_FIELDS)]
    refused = [name for name in refused if name not in STRANGER_FIELDS]
    notes = [
        f"{where} may not set {name}, because it may be a stranger's; ignored. Set it in your own config folder or in "
        "the environment."
        for name in refused
    ]
    return Layer(
        values={name: value for name, value in content.items() if name in STRANGER_FIELDS},
        describe=lambda _: LOCAL_SOURCE,
        notes=(*notes, *_unknown_keys(content, where)),
    )


def user_file_layer(path: Path, content: Mapping[str, Any]) -> Layer:
    """What the file in the user's config folder sets; credentials aside, which are read elsewhere."""
    return Layer(
        values={name: value for name, value in content.items() if name in Settings.model_fields},
        describe=lambda _: f"file ({path})",
        notes=tuple(_unknown_keys(content, str(path))),
    )


def resolve(layers: Iterable[Layer]) -> ResolvedSettings:
    """Take each setting from the first layer that has it.

    Raises:
        ConfigurationError: A value in force is not valid. The message names setting, source and what is accepted.
    """
    values: dict[str, object] = {}
    sources = dict.fromkeys(Settings.model_fields, DEFAULT_SOURCE)
    notes: list[str] = []
    for layer in layers:
        notes += layer.notes
        for name, value in layer.values.items():
            if value is not None and name not in values:
                values[name] = value
                sources[name] = layer.describe(name)
    settings = _validate(values, sources)
    _check_with_client(settings, values, sources)
    return ResolvedSettings(values=settings, sources=sources, notes=tuple(notes))


def _validate(values: Mapping[str, object], sources: Mapping[str, str]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]  # checked here, by pydantic
    except ValidationError as invalid:
        problem = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
    name = str(problem["loc"][0])
    if name not in Settings.model_fields:
        raise ConfigurationError(f"There is no setting {name!r}.{_suggest(name, Settings.model_fields)}")
    wanted = problem["msg"].removeprefix("Value error, ")
    value = "" if name in _UNPRINTED_FIELDS else f" is {shown(values[name])} and"
    raise ConfigurationError(
        f"The setting {name}{value} cannot be used: {wanted}. It comes from: {sources[name]}."
    )


def _check_with_client(settings: Settings, values: Mapping[str, object], sources: Mapping[str, str]) -> None:
    """Let the client judge its part one by one, so that a complaint can name its source."""
    for name in values.keys() & CLIENT_FIELDS:
        try:
            ClientConfig(**{name: getattr(settings, name)})
        except ConfigurationError as error:
            complaint = error.message
        else:
            continue
        raise ConfigurationError(f"{complaint} It comes from: {sources[name]}.")


def _unknown_variables(environment: Mapping[str, str]) -> Iterable[str]:
    known = [_PREFIX + name.upper() for name in Settings.model_fields]
    keys = {_PREFIX + name.upper(): f"ANTHROPIC_{name.upper()}" for name in SECRET_FIELDS}
    for variable in environment:
        if variable.startswith(_PREFIX) and variable not in known:
            hint = f" Set {keys[variable]} instead." if variable in keys else _suggest(variable, known)
            yield f"The environment variable {variable} means nothing here.{hint}"


def _unknown_keys(content: Mapping[str, Any], where: str) -> Iterable[str]:
    known = [*Settings.model_fields, *SECRET_FIELDS]
    unknown = [name for name in content if name not in known]
    for name in unknown[:_MAX_UNKNOWN]:
        hint = _suggest(name, known) if len(name) <= _LONGEST_NAME else ""
        yield f"{where} sets {shown(name)}, which is no setting; ignored.{hint}"
    if len(unknown) > _MAX_UNKNOWN:
        yield f"{where} sets {len(unknown) - _MAX_UNKNOWN:,} more things that are no settings; ignored."


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""
