"""The arguments of a function: their types, and those among them that a model can give."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import numbers
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typing_extensions  # comes with pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from ..answers import fields_of, portable
from ..client import ConfigurationError

LEFT_OUT: Any = object()
"""Stands for a default that nobody knows: the argument is left out of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument that a model can give.

    Attributes:
        name: Its name.
        hint: Its type, as pydantic takes it.
        default: The default that Python knows; `...` if it knows none.
        has_declared_default: The type itself declares a default, by a `Field` that Python would pass on as it is.
        is_positional: The function takes it by position only.
        is_kept: It keeps its default, because JSON cannot express it.
    """

    name: str
    hint: Any
    default: Any = ...
    has_declared_default: bool = False
    is_positional: bool = False
    is_kept: bool = False

    def own_value(self) -> Any:
        """Return the default that is to be passed; `LEFT_OUT` if Python fills it in itself."""
        if self.has_declared_default:
            return FieldInfo.from_annotation(self.hint).get_default(
                call_default_factory=True, validated_data={}
            )
        return self.default if self.is_positional else LEFT_OUT

    def field(self, about: str | None, names: Mapping[str, str]) -> tuple[Any, Any]:
        """Return it as `create_model` takes a field.

        Args:
            about: What the docstring says of it. What its own `Field` says goes before.
            names: The arguments by the names of their fields.
        """
        declared = FieldInfo.from_annotation(self.hint)
        said: dict[str, Any] = {"alias": self.name, "validation_alias": self.name}
        if about and not declared.description:
            said["description"] = about
        if not self.has_declared_default:
            said["default"] = self.default
        elif declared.default_factory_takes_validated_data:
            make: Any = declared.default_factory
            said["default_factory"] = lambda data: make(
                {names[field]: value for field, value in data.items()}
            )
        return self.hint, Field(**said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All arguments that a model can give.

    Attributes:
        each: The arguments that have a name, those included that a model cannot give.
        further: The type of others that the function takes too; None if it takes no others.
    """

    each: tuple[Parameter, ...]
    further: Any


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
    further: Any = None
    for parameter in signature.parameters.values():
        hint = hints[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise _refusal(name, "*arguments have no names to give them by.")
        if parameter.kind is parameter.VAR_KEYWORD:
            named, further = _further(hint, name)
            found += named
            continue
        read = _read(parameter, hint, name)
        if _is_expressible(read.hint):
            found.append(read)
        elif read.default is ... and not read.has_declared_default:
            kind = shown_type(read.hint)
            raise _refusal(
                name, f"JSON cannot express its argument {parameter.name}, which is of type {kind}."
            )
        else:
            found.append(dataclasses.replace(read, is_kept=True))
    return Parameters(each=tuple(found), further=further)


def _refusal(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be a tool: {reason} Wrap it in a function of yours. Nothing was sent."
    )


def shown_type(hint: Any) -> str:
    """Return a type as it stands in code."""
    return hint.__name__ if isinstance(hint, type) else inspect.formatannotation(hint)


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise _refusal(name, "Python does not know its arguments.") from None
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    is_method = isinstance(function, types.FunctionType) and owner and not owner.endswith("<locals>")
    if is_method and next(iter(signature.parameters), "") == "self":
        raise _refusal(name, f"it is a method of {owner}, and needs an object: name it as object.{name}.")
    return signature


def _read(parameter: inspect.Parameter, hint: Any, tool: str) -> Parameter:
    default = ... if parameter.default is parameter.empty else parameter.default
    if (declared := _declared(default, hint)) is not None:
        hint, default = Annotated[hint, declared], ...
    elif hint is Any and default is not ... and not _is_json(default):
        hint = as_pydantic_takes_it(
            type(default)
        )  # else a model could put anything in the place of a connection
    markers = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    for marker in (default,) if default is not ... else markers:
        if _has(marker, "dependency"):
            raise _refusal(
                tool,
                f"its argument {parameter.name} is left to a framework, by {type(marker).__name__}, which fills in "
                "nothing here. functools.partial can give it a value.",
            )
    return Parameter(
        name=parameter.name,
        hint=hint,
        default=default,
        has_declared_default=default is ... and _declares_default(hint),
        is_positional=parameter.kind is parameter.POSITIONAL_ONLY,
    )


def _declared(default: Any, hint: Any) -> FieldInfo | None:
    """Return the pydantic `Field` that stands where a default stands, or what says the same in another library.

    Functions for pydantic's `validate_call` have `x: int = Field(3, ge=1)`, those for others a `typer.Option(3)`, a
    `dataclasses.field(default=3)`: objects with a default, or with what makes one.
    """
    if isinstance(default, FieldInfo):
        return default
    if not _has(default, "default", "default_factory"):
        return None
    about = getattr(default, "help", None) or getattr(default, "description", None)
    said: dict[str, Any] = {"description": about} if isinstance(about, str) else {}
    if inspect.isroutine(default.default_factory) or default.default_factory in (list, dict, set, tuple):
        return cast(FieldInfo, Field(default_factory=default.default_factory, **said))
    if default.default is None or _fits(default.default, hint):
        return cast(FieldInfo, Field(default=default.default, **said))
    return cast(FieldInfo, Field(**said))  # each library has its own mark for "must be given"


def _has(value: Any, *names: str) -> bool:
    """Whether an object, no class, has attributes of its own: not those that a table or a mock makes up."""
    return not isinstance(value, type) and all(
        inspect.getattr_static(value, name, LEFT_OUT) is not LEFT_OUT for name in names
    )


def _declares_default(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated and not FieldInfo.from_annotation(hint).is_required()


def _fits(value: Any, hint: Any) -> bool:
    if value is ... or value is dataclasses.MISSING:
        return False
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except (ValidationError, PydanticUserError):
        return False
    return True


def _is_json(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str, list, tuple, dict)


def _further(hint: Any, tool: str) -> tuple[list[Parameter], Any]:
    """Return the arguments that `**named: Unpack[Options]` names, and the type of those that have no name before the call."""
    if typing.get_origin(hint) not in (typing.Unpack, typing_extensions.Unpack):
        return [], hint if _is_expressible(hint) else Any
    fields = fields_of(typing.get_args(hint)[0])
    for name, (kind, _) in fields.items():
        if not _is_expressible(as_pydantic_takes_it(kind)):
            raise _refusal(
                tool, f"JSON cannot express its argument {name}, which is of type {shown_type(kind)}."
            )
    return [
        Parameter(name=name, hint=as_pydantic_takes_it(kind), default=... if is_required else LEFT_OUT)
        for name, (kind, is_required) in fields.items()
    ], None


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
        name: as_pydantic_takes_it(resolved.get(name, _resolved(parameter.annotation, names)))
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


def as_pydantic_takes_it(hint: Any) -> Any:
    """Return a type, with numpy's numbers made from Python's; numpy registers its own with `numbers`."""
    if not isinstance(hint, type) or hint.__module__ != "numpy":
        with contextlib.suppress(NameError):
            return portable(hint)
        return hint
    for kind, plain in ((numbers.Integral, int), (numbers.Real, float)):
        if issubclass(hint, kind):
            return Annotated[plain, AfterValidator(hint)]
    return hint


def _is_expressible(hint: Any) -> bool:
    try:
        with warnings.catch_warnings():
            # Of defaults that are no JSON, and of `ReadOnly`, which nothing checks at run time.
            warnings.simplefilter("ignore", UserWarning)
            probe: type[BaseModel] = create_model(
                "Probe", __config__=ConfigDict(arbitrary_types_allowed=True), value=(hint, ...)
            )
            probe.model_json_schema()
    except (PydanticUserError, TypeError, NameError):
        return False
    return True
