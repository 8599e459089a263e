"""Converts a function into a tool definition: its name, its description, and the schema of its arguments."""

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typing_extensions
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    ValidationError,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, PydanticJsonSchemaWarning
from pydantic_core import to_jsonable_python

from ..client import ConfigurationError
from ..context import redact, resolve_name, with_article
from ..schema import fields_of, portable

if TYPE_CHECKING:
    import docstring_parser

_MAX_DESCRIPTION_CHARS = 4_000


def documentation_of(function: Callable[..., Any], implementation: Any) -> tuple[str, Mapping[str, str]]:
    """Return the description of a function from its docstrings ("" without one), and those of its arguments by name.

    Args:
        function: The callable: a function, a class, an object.
        implementation: The function that takes its arguments, possibly with its own docstring.
    """
    import docstring_parser  # late: only questions with tools need it

    inner = docstring_parser.parse(_docstring(implementation))
    outer = docstring_parser.parse(_docstring(function)) if function is not implementation else inner
    description = _description(outer) or _description(inner)
    return description[:_MAX_DESCRIPTION_CHARS], {**_arguments(inner), **_arguments(outer)}


def _docstring(thing: Any) -> str:
    """Return a docstring; "" for the one of `object` and for a generated one of a dataclass."""
    text = inspect.getdoc(thing) or ""
    is_made_up = inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")
    return "" if is_made_up or text == inspect.getdoc(object.__init__) else text


def _description(docstring: docstring_parser.Docstring) -> str:
    parts = [docstring.short_description, docstring.long_description]
    if docstring.returns is not None and docstring.returns.description:
        parts.append(f"Returns: {docstring.returns.description}")
    return "\n\n".join(part for part in parts if part)


def _arguments(docstring: docstring_parser.Docstring) -> dict[str, str]:
    """Return the descriptions of arguments by name; NumPy style may describe several at once ("x, y : int")."""
    return {
        name.strip().lstrip("*"): param.description
        for param in docstring.params
        for name in param.arg_name.split(",")
        if param.description
    }


LEFT_OUT: Any = object()
"""The marker for an unknown default: the argument is left out of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An argument of a tool.

    Attributes:
        name: Its name.
        hint: Its type hint, in a form that pydantic accepts.
        default: Its default in the signature; `...` if it has none.
        has_declared_default: Whether a `Field` declares its default. Python does not apply such a default.
        is_positional: Whether it is positional-only.
        is_kept: Whether it always keeps its default, because JSON cannot express it.
    """

    name: str
    hint: Any
    default: Any = ...
    has_declared_default: bool = False
    is_positional: bool = False
    is_kept: bool = False

    def own_value(self) -> Any:
        """Return the default to pass, or `LEFT_OUT` to let Python use the default in the signature."""
        if self.has_declared_default:
            return FieldInfo.from_annotation(self.hint).get_default(
                call_default_factory=True, validated_data={}
            )
        return self.default if self.is_positional else LEFT_OUT

    def field(self, about: str | None, names: Mapping[str, str]) -> tuple[Any, Any]:
        """Return the argument as a field for `create_model`.

        Args:
            about: Its description in the docstring. A description in its `Field` takes precedence.
            names: The names of the arguments, by the names of their fields.
        """
        declared = FieldInfo.from_annotation(self.hint)
        options: dict[str, Any] = {"alias": self.name, "validation_alias": self.name}
        if about and not declared.description:
            options["description"] = about
        if not self.has_declared_default:
            options["default"] = self.default
        elif declared.default_factory_takes_validated_data:
            make: Any = declared.default_factory
            options["default_factory"] = lambda data: make(
                {names[field]: value for field, value in data.items()}
            )
        return self.hint, Field(**options)


def implementation_of(function: Callable[..., Any]) -> Any:
    """Return the function that takes the arguments of a callable: a function, a class, an object or a partial."""
    if isinstance(function, functools.partial):
        return implementation_of(function.func)
    if inspect.isclass(function):
        return function.__init__ if isinstance(function.__init__, types.FunctionType) else function
    return function if inspect.isroutine(function) else type(function).__call__


def read_parameters(function: Callable[..., Any], name: str) -> tuple[list[Parameter], Any]:
    """Read the signature of a function.

    Returns:
        The named arguments, including those that a model cannot pass: those that JSON cannot express keep their defaults.
        The type of other keyword arguments; None if the function takes none.

    Raises:
        ConfigurationError: The function cannot be a tool; the message gives the reason.
    """
    signature = _signature(function, name)
    hints = _hints(implementation_of(function), signature)
    found: list[Parameter] = []
    further: Any = None
    for parameter in signature.parameters.values():
        hint = hints[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise _refusal(name, "a model passes arguments by name, and *arguments have none.")
        if parameter.kind is parameter.VAR_KEYWORD:
            named, further = _further(hint, name)
            found += named
            continue
        read = _parameter(parameter, hint, name)
        if _is_expressible(read.hint):
            found.append(read)
        elif read.default is ... and not read.has_declared_default:
            kind = shown_type(read.hint)
            raise _refusal(
                name, f"JSON cannot express its argument {parameter.name}, which is of type {kind}."
            )
        else:
            found.append(dataclasses.replace(read, is_kept=True))
    return found, further


def _refusal(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be a tool: {reason} Wrap it in a function of your own. Nothing was sent."
    )


def shown_type(hint: Any) -> str:
    """Return a type as written in code."""
    return hint.__name__ if isinstance(hint, type) else inspect.formatannotation(hint)


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise _refusal(name, "Python cannot inspect its arguments.") from None
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    is_method = isinstance(function, types.FunctionType) and owner and not owner.endswith("<locals>")
    if is_method and next(iter(signature.parameters), "") == "self":
        raise _refusal(name, f"it is a method of {owner}, and needs an object: name it as object.{name}.")
    return signature


def _parameter(parameter: inspect.Parameter, hint: Any, tool: str) -> Parameter:
    default = ... if parameter.default is parameter.empty else parameter.default
    if (declared := _declared(default, hint)) is not None:
        hint, default = Annotated[hint, declared], ...
    elif hint is Any and default is not ... and not _is_json(default):
        # Otherwise a model could pass anything in place of, for example, a connection.
        hint = for_pydantic(type(default))
    markers = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    for marker in (default,) if default is not ... else markers:
        if _has(marker, "dependency"):
            raise _refusal(
                tool,
                f"its argument {parameter.name} is filled in by a framework, through {type(marker).__name__}, and none "
                "runs here. functools.partial can give it a value.",
            )
    return Parameter(
        name=parameter.name,
        hint=hint,
        default=default,
        has_declared_default=default is ... and _declares_default(hint),
        is_positional=parameter.kind is parameter.POSITIONAL_ONLY,
    )


def _declared(default: Any, hint: Any) -> FieldInfo | None:
    """Return a pydantic `Field` that is given as a default, or one made from its equivalent in another library.

    Functions for pydantic's `validate_call` have `x: int = Field(3, ge=1)`; others have `typer.Option(3)` or
    `dataclasses.field(default=3)`: objects with a default or a default factory.
    """
    if isinstance(default, FieldInfo):
        return default
    if not _has(default, "default", "default_factory"):
        return None
    about = getattr(default, "help", None) or getattr(default, "description", None)
    options: dict[str, Any] = {"description": about} if isinstance(about, str) else {}
    if inspect.isroutine(default.default_factory) or default.default_factory in (list, dict, set, tuple):
        return cast(FieldInfo, Field(default_factory=default.default_factory, **options))
    if default.default is None or _fits(default.default, hint):
        return cast(FieldInfo, Field(default=default.default, **options))
    return cast(FieldInfo, Field(**options))  # each library has its own marker for "required"


def _has(value: Any, *names: str) -> bool:
    """Return whether an object (not a class) defines these attributes. A table or a mock has every attribute."""
    return not isinstance(value, type) and all(
        inspect.getattr_static(value, name, LEFT_OUT) is not LEFT_OUT for name in names
    )


def _declares_default(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated and not FieldInfo.from_annotation(hint).is_required()


def _fits(value: Any, hint: Any) -> bool:
    if value is ... or value is dataclasses.MISSING:
        return False
    try:
        _new_model("Probe", {"value": (hint, ...)}).model_validate({"value": value})
    except (ValidationError, PydanticUserError):
        return False
    return True


def _is_json(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str, list, tuple, dict)


def _further(hint: Any, tool: str) -> tuple[list[Parameter], Any]:
    """Return the arguments named by `**named: Unpack[Options]`, and the type of other keyword arguments."""
    if typing.get_origin(hint) not in (typing.Unpack, typing_extensions.Unpack):
        return [], hint if _is_expressible(hint) else Any
    fields = fields_of(typing.get_args(hint)[0])
    for name, (kind, _) in fields.items():
        if not _is_expressible(for_pydantic(kind)):
            raise _refusal(
                tool, f"JSON cannot express its argument {name}, which is of type {shown_type(kind)}."
            )
    return [
        Parameter(name=name, hint=for_pydantic(kind), default=... if is_required else LEFT_OUT)
        for name, (kind, is_required) in fields.items()
    ], None


def _hints(implementation: Any, signature: inspect.Signature) -> Mapping[str, Any]:
    """Return the type of each argument; `Any` if it cannot be resolved.

    String annotations are resolved in the module of the function, one by one, because a name that is imported only for type
    checkers must not make the others fail.
    """
    try:
        resolved = typing.get_type_hints(implementation, include_extras=True)
    except Exception:
        resolved = {}
    inner = inspect.unwrap(implementation)
    names = getattr(inner, "__globals__", {})
    return {
        name: for_pydantic(resolved.get(name, _resolved(parameter.annotation, names)))
        for name, parameter in signature.parameters.items()
    }


def _resolved(annotation: Any, names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, globalns=dict(names), include_extras=True)["it"]
    except Exception:
        return Any


def for_pydantic(hint: Any) -> Any:
    """Return a type in a form that pydantic accepts; a numpy scalar type is converted from a Python number."""
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
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)  # about defaults that are not JSON
            _new_model("Probe", {"value": (hint, ...)}).model_json_schema()
    except (PydanticUserError, TypeError, NameError):
        return False
    return True


def _new_model(
    name: str, fields: Mapping[str, Any], extra: Literal["ignore", "forbid", "allow"] = "ignore"
) -> type[BaseModel]:
    """Return a model whose fields may have any type."""
    config = ConfigDict(arbitrary_types_allowed=True, extra=extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about `ReadOnly`, which is not checked at run time
        made: type[BaseModel] = create_model(name, __config__=config, **fields)
    return made


_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_DEFAULT_CHARS = 500


class _ArgumentsSchema(GenerateJsonSchema):
    """A schema generator that serializes a default by its value if its type fails, as a `typing.TypedDict` in a tuple may."""

    def encode_default(self, dft: Any) -> Any:
        try:
            return super().encode_default(dft)
        except PydanticUserError:
            return to_jsonable_python(dft)


class Tool:
    """A function that a model may call.

    Args:
        function: A function, method, or other callable.
        name: The name of the tool; None for the function's own name.

    Attributes:
        notes: Sentences for the user about the tool.

    Raises:
        ConfigurationError: The function cannot be a tool; the message gives the reason.
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
        self._parameters, further = read_parameters(function, self.name)
        implementation = implementation_of(function)
        unwrapped = inspect.unwrap(implementation)
        self.is_async = inspect.iscoroutinefunction(unwrapped) or inspect.isasyncgenfunction(unwrapped)
        self.description, about_arguments = documentation_of(_unbound(function), implementation)
        self.notes = tuple(
            f"{self.name} keeps the default of its argument {each.name}: "
            f"JSON cannot express {shown_type(each.hint)}."
            for each in self._parameters
            if each.is_kept
        )
        self._model = _arguments_model(self.name, self._parameters, further, about_arguments)

    def definition(self) -> dict[str, Any]:
        """Return the tool definition for the API."""
        with warnings.catch_warnings():
            # Defaults that are not JSON are left out.
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
            schema = self._model.model_json_schema(by_alias=True, schema_generator=_ArgumentsSchema)
        definition = {"name": self.name, "input_schema": _tidied(schema)}
        return {**definition, "description": self.description} if self.description else definition

    def bind(self, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        """Validate arguments, and return a callable that calls the function with them. A coroutine result must be awaited.

        Raises:
            BadArgumentsError: The arguments do not match the signature.
        """
        try:
            checked = self._model.model_validate(dict(arguments))
        except ValidationError as invalid:
            raise BadArgumentsError("; ".join(map(_describe, invalid.errors(include_url=False)))) from None
        values = vars(checked)  # reading a deprecated field as an attribute would warn
        positional: list[Any] = []
        named: dict[str, Any] = dict(checked.model_extra or {})
        for index, parameter in enumerate(self._parameters):
            field = _field_name(index)
            is_checked = field in checked.model_fields_set or parameter.has_declared_default
            value = values[field] if is_checked and not parameter.is_kept else parameter.own_value()
            if parameter.is_positional:  # always passed, so that the following ones keep their positions
                positional.append(value)
            elif value is not LEFT_OUT:
                named[parameter.name] = value
        return functools.partial(self.function, *positional, **named)


class BadArgumentsError(ValueError):
    """A model called a tool with invalid arguments."""


def _name_of(function: Callable[..., Any]) -> str:
    inner = _unbound(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _unbound(function: Any) -> Any:
    return _unbound(function.func) if isinstance(function, functools.partial) else function


def _field_name(index: int) -> str:
    """Return a valid name for a pydantic field, whatever the name of the argument."""
    return f"argument_{index}"


def _arguments_model(
    name: str, parameters: Sequence[Parameter], further: Any, descriptions: Mapping[str, str]
) -> type[BaseModel]:
    names = {_field_name(index): each.name for index, each in enumerate(parameters)}
    fields: dict[str, Any] = {
        _field_name(index): parameter.field(descriptions.get(parameter.name), names)
        for index, parameter in enumerate(parameters)
        if not parameter.is_kept
    }
    if further is not None:
        fields["__pydantic_extra__"] = (dict.__class_getitem__((str, further)), ...)
    return _new_model(f"{name}_arguments", fields, extra="forbid" if further is None else "allow")


def _tidied(schema: Any) -> Any:
    """Remove titles generated by pydantic, which cost tokens in each request, and defaults that cannot be sent."""
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
    """Return whether a default is JSON, short, and not a secret, as in the common `password: str = PASSWORD`."""
    try:
        text = json.dumps(default, allow_nan=False)
    except ValueError:
        return False
    return len(text) <= _MAX_DEFAULT_CHARS and not redact(text)[1]


def _describe(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


class Toolbox:
    """The functions that a model may call, by name.

    Args:
        functions: The functions under their own names, or a mapping of names to functions.

    Attributes:
        definitions: The tool definitions for the API.
        notes: Sentences for the user about the tools.

    Raises:
        ConfigurationError: A function cannot be a tool, or two have the same name.
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
        """Return the tools of a list of functions, as given in Python; None if the list is empty.

        Raises:
            ConfigurationError: `functions` is not a list of functions, or one of them cannot be a tool.
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
        """Return the tools with the given names.

        Args:
            names: Names and paths of attributes ("boat.position", called boat_position for the model).
            known: The user's variables.

        Raises:
            ConfigurationError: A name does not exist, or is not callable.
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
        """The names of the tools, in the given order."""
        return tuple(self._tools)

    def find(self, name: str) -> Tool | None:
        """Return a tool by name; None if there is none."""
        return self._tools.get(name)


def _same_name(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"Two of the tools would be called {name}. Rename one of them. Nothing was sent."
    )
