"""From a function to what the API calls a tool: its name, its description, and the schema of its arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import numbers
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import docstring_parser
import typing_extensions
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, PydanticJsonSchemaWarning
from pydantic_core import to_jsonable_python

from ..client import ConfigurationError
from ..context import redact, resolve_name, with_article
from ..schema import fields_of, portable

_MAX_DESCRIPTION_CHARS = 4_000


def documentation_of(function: Callable[..., Any], implementation: Any) -> tuple[str, Mapping[str, str]]:
    """Return what docstrings say of a function and what it returns, empty where nothing, and of arguments by their names.

    Args:
        function: What is called: a function, a class, an object.
        implementation: The function that takes its arguments; it may have a docstring of its own.
    """
    inner = docstring_parser.parse(_docstring(implementation))
    outer = docstring_parser.parse(_docstring(function)) if function is not implementation else inner
    description = _description(outer) or _description(inner)
    return description[:_MAX_DESCRIPTION_CHARS], {**_arguments(inner), **_arguments(outer)}


def _docstring(thing: Any) -> str:
    """Return a docstring that somebody wrote: not `object`'s, nor the one that a dataclass gives itself."""
    text = inspect.getdoc(thing) or ""
    is_made_up = inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")
    return "" if is_made_up or text == inspect.getdoc(object.__init__) else text


def _description(docstring: docstring_parser.Docstring) -> str:
    parts = [docstring.short_description, docstring.long_description]
    if docstring.returns is not None and docstring.returns.description:
        parts.append(f"Returns: {docstring.returns.description}")
    return "\n\n".join(part for part in parts if part)


def _arguments(docstring: docstring_parser.Docstring) -> dict[str, str]:
    """Return what is said of each; NumPy's style says it of several at once ("x, y : int")."""
    return {
        name.strip().lstrip("*"): param.description
        for param in docstring.params
        for name in param.arg_name.split(",")
        if param.description
    }


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
        # Else a model could put anything in the place of a connection.
        hint = as_pydantic_takes_it(type(default))
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
    checkers alone, and must not take the others with it.
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
        if not callable(function):
            raise ConfigurationError(
                f"tools takes functions, and {with_article(type(function).__name__)} is not one. Nothing was sent."
            )
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
        self.description, about_arguments = documentation_of(_unbound(function), implementation)
        self.notes = tuple(
            f"{self.name} keeps the default of its argument {each.name}: "
            f"JSON cannot express {shown_type(each.hint)}."
            for each in self._parameters.each
            if each.is_kept
        )
        self._model = _arguments_model(self.name, self._parameters, about_arguments)

    def definition(self) -> dict[str, Any]:
        """The tool as the API describes it."""
        with warnings.catch_warnings():
            # Defaults that are no JSON are left out.
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
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


class Toolbox:
    """Functions that a model may call, by their names.

    Args:
        functions: The functions, each under its own name, or by the names they are to have.

    Attributes:
        definitions: The tools, as the API describes them.
        notes: What the reader should know about them, as sentences.

    Raises:
        ConfigurationError: One of them cannot be a tool, or two have the same name and could not be told apart.
    """

    def __init__(self, functions: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]) -> None:
        if isinstance(functions, Mapping):
            tools = [Tool(function, name) for name, function in functions.items()]
        else:
            tools = [Tool(function) for function in functions]
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if self._tools.setdefault(tool.name, tool) is not tool:
                raise _same_name(tool.name)
        self.definitions = [tool.definition() for tool in tools]
        self.notes = tuple(note for tool in tools for note in tool.notes)

    @classmethod
    def of(cls, functions: object) -> Toolbox | None:
        """Return the tools of a list of functions, as given in Python; None if there are none in it.

        Raises:
            ConfigurationError: It is not a list of functions, or one of them cannot be a tool.
        """
        if callable(functions) or not isinstance(functions, Iterable):
            kind = with_article(type(functions).__name__)
            raise ConfigurationError(
                f"tools takes a list of functions, as in tools=[f], not {kind}. Nothing was sent."
            )
        given = tuple(functions)
        return cls(given) if given else None

    @classmethod
    def named(cls, names: Iterable[str], known: Mapping[str, object]) -> Toolbox:
        """Return the tools of these names.

        Args:
            names: What they are called, attributes of objects included ("boat.position", for the model boat_position).
            known: The user's names.

        Raises:
            ConfigurationError: One does not exist, or cannot be called.
        """
        functions: dict[str, Callable[..., Any]] = {}
        for name in dict.fromkeys(names):
            function = resolve_name(name, known, asked_by="--tools", suits=callable)
            if not callable(function):
                kind = with_article(type(function).__name__)
                raise ConfigurationError(
                    f"--tools {name}: {name} is {kind}, not a function. Name a function. Nothing was sent."
                )
            if functions.setdefault(name.replace(".", "_"), function) is not function:
                raise _same_name(name.replace(".", "_"))
        return cls(functions)

    @property
    def names(self) -> tuple[str, ...]:
        """What the tools are called, in the order in which they were given."""
        return tuple(self._tools)

    def find(self, name: str) -> Tool | None:
        """Return a tool by its name."""
        return self._tools.get(name)


def _same_name(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"Two of the tools would be called {name}. Rename one of them. Nothing was sent."
    )
