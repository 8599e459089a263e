"""The arguments of a function: their types, and those among them that a model can give."""

from __future__ import annotations

import functools
import inspect
import numbers
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import PydanticJsonSchemaWarning

from ..client import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument that a model can give.

    Attributes:
        name: Its name.
        hint: Its type, as pydantic takes it.
        default: Its default; `...` if it must be given.
        is_positional: The function takes it by position only.
    """

    name: str
    hint: Any
    default: Any
    is_positional: bool

    def field(self, about: str | None) -> tuple[Any, Any]:
        """Return it as `create_model` takes a field."""
        told: dict[str, Any] = {"description": about} if about else {}
        return self.hint, Field(self.default, alias=self.name, **told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All arguments that a model can give.

    Attributes:
        each: The arguments that have a name.
        takes_more: The function takes others too.
    """

    each: tuple[Parameter, ...]
    takes_more: bool


def implementation_of(function: Callable[..., Any]) -> Any:
    """Return the function that takes the arguments of a callable: of a class, an object, a partial function."""
    if isinstance(function, functools.partial):
        return implementation_of(function.func)
    if inspect.isclass(function):
        return function.__init__ if isinstance(function.__init__, types.FunctionType) else function
    return function if inspect.isroutine(function) else type(function).__call__


def parameters_of(function: Callable[..., Any], name: str) -> Parameters:
    """Return the arguments of a function.

    Those that JSON cannot express keep their defaults.

    Raises:
        ConfigurationError: It cannot be a tool called `name`; the message says why.
    """
    signature = _signature(function, name)
    hints = _hints(implementation_of(function), signature)
    found: list[Parameter] = []
    takes_more = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise _refusal(name, "*arguments have no names to give them by.")
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            continue
        read = _read(parameter, hints[parameter.name])
        if _is_expressible(read.hint):
            found.append(read)
        elif read.default is ...:
            hint = hints[parameter.name]
            shown = hint.__name__ if isinstance(hint, type) else inspect.formatannotation(hint)
            raise _refusal(
                name, f"JSON cannot express its argument {parameter.name}, which is of type {shown}."
            )
    return Parameters(each=tuple(found), takes_more=takes_more)


def _refusal(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be a tool: {reason} Wrap it in a function of yours. Nothing was sent."
    )


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise _refusal(name, "Python does not know its arguments.") from None


def _read(parameter: inspect.Parameter, hint: Any) -> Parameter:
    default = ... if parameter.default is parameter.empty else parameter.default
    if isinstance(
        default, FieldInfo
    ):  # `x: int = Field(3, ge=1)`, as functions for pydantic's validate_call have it
        hint, default = Annotated[hint, default], ... if default.is_required() else default.get_default()
    return Parameter(
        name=parameter.name,
        hint=hint,
        default=default,
        is_positional=parameter.kind is parameter.POSITIONAL_ONLY,
    )


def _hints(implementation: Any, signature: inspect.Signature) -> Mapping[str, Any]:
    """Return the type of each argument; of one that nobody can resolve nothing is known.

    Annotations written as text are looked up where the function was made. One may name what is imported for type
    checkers alone, and shall not take the others with it.
    """
    try:
        resolved = typing.get_type_hints(implementation, include_extras=True)
    except Exception:
        resolved = {}
    inner = inspect.unwrap(implementation)
    names = getattr(inner, "__globals__", {})
    return {
        name: _as_pydantic_takes_it(resolved.get(name, _resolved(parameter.annotation, names)))
        for name, parameter in signature.parameters.items()
    }


def _resolved(annotation: Any, names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any

    def bearer() -> None: ...

    bearer.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(bearer, globalns=dict(names), include_extras=True)["it"]
    except Exception:
        return Any


def _as_pydantic_takes_it(hint: Any) -> Any:
    """Return a type, with numpy's numbers made from Python's; numpy registers its own with `numbers`."""
    if not isinstance(hint, type) or hint.__module__ != "numpy":
        return hint
    for kind, plain in ((numbers.Integral, int), (numbers.Real, float)):
        if issubclass(hint, kind):
            return Annotated[plain, AfterValidator(hint)]
    return hint


def _is_expressible(hint: Any) -> bool:
    try:
        probe: type[BaseModel] = create_model(
            "Probe", __config__=ConfigDict(arbitrary_types_allowed=True), value=(hint, ...)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
            probe.model_json_schema()
    except (PydanticUserError, TypeError, NameError):
        return False
    return True
