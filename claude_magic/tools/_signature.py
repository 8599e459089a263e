"""From a function to what the API calls a tool: its name, its description, and the schema of its arguments."""

from __future__ import annotations

import functools
import inspect
import json
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, PydanticJsonSchemaWarning
from pydantic_core import to_jsonable_python

from ..client import ConfigurationError
from ..context import redact
from ._documentation import documentation_of
from ._parameters import LEFT_OUT, Parameters, implementation_of, parameters_of, shown_type

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_DEFAULT_CHARS = 500


class _ArgumentsSchema(GenerateJsonSchema):
    """Writes a default by its value where its type is none that every pydantic reads: a TypedDict of `typing` in a tuple."""

    def encode_default(self, dft: Any) -> Any:
        try:
            return super().encode_default(dft)
        except PydanticUserError:
            return to_jsonable_python(dft)


class Tool:
    """A function that a model may call.

    Args:
        function: A function, method, or other callable.
        name: What the model calls it; None takes the function's own name.

    Attributes:
        notes: What the reader should know about it, as sentences.

    Raises:
        ConfigurationError: It cannot be a tool; the message says why.
    """

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.function = function
        self.name = _name_of(function) if name is None else name
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name} cannot be the name of a tool: it takes letters, digits, _ and -, 64 at most. Nothing was sent."
            )
        self._parameters = parameters_of(function, self.name)
        implementation = implementation_of(function)
        unwrapped = inspect.unwrap(implementation)
        self.is_async = inspect.iscoroutinefunction(unwrapped) or inspect.isasyncgenfunction(unwrapped)
        documentation = documentation_of(_unbound(function), implementation)
        self.description = documentation.description
        self.notes = tuple(
            f"{self.name} keeps the default of its argument {each.name}: "
            f"JSON cannot express {shown_type(each.hint)}."
            for each in self._parameters.each
            if each.is_kept
        )
        self._model = _arguments_model(self.name, self._parameters, documentation.arguments)

    def definition(self) -> dict[str, Any]:
        """The tool as the API describes it."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", PydanticJsonSchemaWarning
            )  # of defaults that are no JSON: left out
            schema = self._model.model_json_schema(by_alias=True, schema_generator=_ArgumentsSchema)
        definition = {"name": self.name, "input_schema": _tidied(schema)}
        return {**definition, "description": self.description} if self.description else definition

    def bind(self, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        """Check arguments, and return what calls the function with them. A coroutine that gives is to be awaited.

        Raises:
            BadArgumentsError: They do not fit its signature.
        """
        try:
            checked = self._model.model_validate(dict(arguments))
        except ValidationError as invalid:
            raise BadArgumentsError("; ".join(map(_describe, invalid.errors(include_url=False)))) from None
        values = vars(checked)  # an argument that is deprecated would warn as an attribute
        positional: list[Any] = []
        named: dict[str, Any] = dict(checked.model_extra or {})
        for index, parameter in enumerate(self._parameters.each):
            field = _field_name(index)
            is_checked = field in checked.model_fields_set or parameter.has_declared_default
            value = values[field] if is_checked and not parameter.is_kept else parameter.own_value()
            if parameter.is_positional:  # given in any case, so that those behind it keep their places
                positional.append(value)
            elif value is not LEFT_OUT:
                named[parameter.name] = value
        return functools.partial(self.function, *positional, **named)


class BadArgumentsError(ValueError):
    """A model has called a tool with arguments that do not fit."""


def _name_of(function: Callable[..., Any]) -> str:
    inner = _unbound(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _unbound(function: Any) -> Any:
    return _unbound(function.func) if isinstance(function, functools.partial) else function


def _field_name(index: int) -> str:
    """Return a name that a pydantic field can have, whatever the argument is called."""
    return f"argument_{index}"


def _arguments_model(name: str, parameters: Parameters, told: Mapping[str, str]) -> type[BaseModel]:
    names = {_field_name(index): each.name for index, each in enumerate(parameters.each)}
    fields: dict[str, Any] = {
        _field_name(index): parameter.field(told.get(parameter.name), names)
        for index, parameter in enumerate(parameters.each)
        if not parameter.is_kept
    }
    config = ConfigDict(
        extra="forbid" if parameters.further is None else "allow", arbitrary_types_allowed=True
    )
    if parameters.further is not None:
        fields["__pydantic_extra__"] = (dict.__class_getitem__((str, parameters.further)), ...)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of `ReadOnly`, which nothing checks at run time
        return create_model(f"{name}_arguments", __config__=config, **fields)


def _tidied(schema: Any) -> Any:
    """Leave out the titles that pydantic makes of names, paid for with each request, and defaults that cannot be sent."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _tidied(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _tidied(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and (key != "default" or _is_sendable(value))
    }


def _is_sendable(default: Any) -> bool:
    """Whether a default is JSON, of a bearable length, and no secret: `password: str = PASSWORD` is written often."""
    try:
        text = json.dumps(default, allow_nan=False)
    except ValueError:
        return False
    return len(text) <= _MAX_DEFAULT_CHARS and not redact(text)[1]


def _describe(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
