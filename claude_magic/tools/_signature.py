"""From a function to what the API calls a tool: its name, its description, and the schema of its arguments."""

from __future__ import annotations

import functools
import inspect
import re
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import PydanticJsonSchemaWarning

from ..client import ConfigurationError

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_DESCRIPTION_CHARS = 4_000


class Tool:
    """A function that a model may call.

    Args:
        function: A function, method, or other callable.
        name: What the model calls it; None takes the function's own name.

    Raises:
        ConfigurationError: It cannot be a tool; the message says why.
    """

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or _name_of(function)
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name} cannot be the name of a tool: it takes letters, digits, _ and -, 64 at most. Nothing was sent."
            )
        self._parameters = _parameters(function, self.name)
        documentation = docstring_parser.parse(inspect.getdoc(_documented(function)) or "")
        self.description = _description(documentation)
        self._model = _arguments_model(self.name, function, self._parameters, documentation)

    def definition(self) -> dict[str, Any]:
        """The tool as the API describes it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", PydanticJsonSchemaWarning
                )  # of defaults that are no JSON: left out
                schema = self._model.model_json_schema(by_alias=True)
        except PydanticUserError as error:
            raise ConfigurationError(
                f"The arguments of {self.name} cannot be described as JSON: {error.message.splitlines()[0]} Nothing was sent."
            ) from None
        definition = {"name": self.name, "input_schema": _without_titles(schema)}
        return {**definition, "description": self.description} if self.description else definition

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function; what a coroutine function gives back is to be awaited.

        Raises:
            BadArgumentsError: The arguments do not fit its signature.
        """
        try:
            checked = self._model.model_validate(dict(arguments))
        except ValidationError as invalid:
            raise BadArgumentsError("; ".join(map(_describe, invalid.errors(include_url=False)))) from None
        positional: list[Any] = []
        named: dict[str, Any] = dict(checked.model_extra or {})
        for field, parameter in self._parameters.items():
            if field not in checked.model_fields_set:
                continue  # the function's own default does
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(getattr(checked, field))
            else:
                named[parameter.name] = getattr(checked, field)
        return self.function(*positional, **named)


class BadArgumentsError(ValueError):
    """A model has called a tool with arguments that do not fit."""


def _name_of(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))


def _documented(function: Callable[..., Any]) -> Any:
    return function.func if isinstance(function, functools.partial) else function


def _parameters(function: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters under names that a pydantic field can have."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{name} cannot be a tool: Python does not know its arguments. Wrap it in a function of yours. Nothing was sent."
        ) from None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values()):
        raise ConfigurationError(
            f"{name} cannot be a tool: *arguments have no names to give them by. Wrap it in a function of yours. Nothing was sent."
        )
    return {f"argument_{index}": each for index, each in enumerate(signature.parameters.values())}


def _arguments_model(
    name: str,
    function: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    documentation: docstring_parser.Docstring,
) -> type[BaseModel]:
    hints = _hints(function)
    told = {each.arg_name: each.description for each in documentation.params}
    fields: dict[str, Any] = {}
    extra: typing.Literal["allow", "forbid"] = "forbid"
    for field, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        about = told.get(parameter.name)
        fields[field] = (
            hints.get(parameter.name, Any),
            Field(default, alias=parameter.name, description=about),
        )
    try:
        return create_model(
            f"{name}_arguments", __config__=ConfigDict(extra=extra, arbitrary_types_allowed=True), **fields
        )
    except (PydanticUserError, TypeError, NameError) as error:
        raise ConfigurationError(f"{name} cannot be a tool: {error}. Nothing was sent.") from None


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the types of the arguments; annotations written as text are looked up where the function was made."""
    inner = _documented(function)
    target = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # a name that is imported for type checkers alone: then nothing is known of the types
        return {}


def _description(documentation: docstring_parser.Docstring) -> str:
    parts = [documentation.short_description, documentation.long_description]
    if documentation.returns is not None and documentation.returns.description:
        parts.append(f"Returns: {documentation.returns.description}")
    return "\n\n".join(part for part in parts if part)[:_MAX_DESCRIPTION_CHARS]


def _without_titles(schema: Any) -> Any:
    """Leave out the titles that pydantic makes of names: they say nothing, and are paid for with each request."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_titles(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _describe(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
