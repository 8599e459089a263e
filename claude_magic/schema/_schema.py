"""Output schemas: a JSON schema for the API from a type, and an object of that type from the text of an answer."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import json
import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typing_extensions
from pydantic import BaseModel, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails, core_schema
from typing_extensions import ReadOnly

from ..client import ConfigurationError, as_sentence, short
from ..context import did_you_mean, resolve_name
from ._dsl import SUGGESTED_TYPES, TYPES, SpecParser
from ._extract import NoJSONError, SchemaMismatchError, find_json
from ._normalise import normalise

_QUALIFIERS = (Required, NotRequired, ReadOnly)


def portable(kind: Any) -> Any:
    """Return the type with each TypedDict replaced by one that pydantic accepts before Python 3.12; values are still dicts.

    TypedDicts are replaced in other TypedDicts (also recursive ones), containers, unions, aliases, generic types, and the
    fields of dataclasses and named tuples.

    Raises:
        NameError: An annotation of a TypedDict contains an undefined name.
    """
    return kind if sys.version_info >= (3, 12) else _Rebuilder().rebuilt(kind)


def fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a TypedDict: their types, and whether they are required.

    Raises:
        NameError: An annotation contains an undefined name.
    """
    origin = get_origin(kind) or kind
    bound = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    fields = {}
    for name, hint in get_type_hints(origin, include_extras=True).items():
        # If annotations are strings, `__required_keys__` ignores `NotRequired` in them.
        plain, marks = _unqualified(hint)
        is_required = Required in marks or (name in origin.__required_keys__ and NotRequired not in marks)
        fields[name] = _with_types(plain, bound), is_required
    return fields


class _Rebuilder:
    """A builder that replaces types containing a `typing.TypedDict`; all other types stay as they are."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def rebuilt(self, kind: Any) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if typing_extensions.is_typeddict(origin or kind):
            return self._once(kind, self._typed_dict)
        if origin is Literal or isinstance(kind, str | ForwardRef | TypeVar):
            return kind
        if origin is not None:
            return self._generic(kind, origin, arguments)
        # By name, because `typing` and `typing_extensions` each have a class for aliases.
        if type(kind).__name__ == "TypeAliasType":
            return self._once(kind, lambda alias: self.rebuilt(alias.__value__))
        if isinstance(kind, NewType):
            supertype = self.rebuilt(kind.__supertype__)
            return kind if supertype is kind.__supertype__ else supertype
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self._once(kind, self._dataclass)
        if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._once(kind, self._named_tuple)
        return kind

    def _once(self, kind: Any, rebuild: Any) -> Any:
        """Return the replacement of a type, made once; for a recursive type, the one in progress."""
        if kind not in self._made:
            self._made[kind] = kind
            self._made[kind] = rebuild(kind)
        return self._made[kind]

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if origin is Annotated:
            return Annotated[(self.rebuilt(arguments[0]), *arguments[1:])]
        parts = tuple(self.rebuilt(argument) for argument in arguments)
        if all(part is argument for part, argument in zip(parts, arguments, strict=True)):
            return kind
        if origin in (Union, UnionType):
            return Union[parts]  # noqa: UP007 - known at run time only
        if hasattr(kind, "copy_with"):
            return kind.copy_with(parts)
        return origin[parts if len(parts) > 1 else parts[0]]

    def _typed_dict(self, kind: Any) -> Any:
        origin = get_origin(kind) or kind
        make: Any = typing_extensions.TypedDict
        fields = fields_of(kind)
        # Filled afterwards, so that its fields can refer to it. Pydantic reads only its annotations.
        made = make(origin.__name__, dict.fromkeys(fields, Any), total=False)
        self._made[kind] = made
        for name, (hint, is_required) in fields.items():
            plain = self.rebuilt(hint)
            made.__annotations__[name] = Required[plain] if is_required else NotRequired[plain]
        for name in ("__doc__", "__module__", "__pydantic_config__", "__closed__", "__extra_items__"):
            if hasattr(origin, name):
                setattr(made, name, getattr(origin, name))
        return made

    def _dataclass(self, kind: Any) -> Any:
        hints = _hints(kind)
        is_left_to_pydantic = hasattr(kind, "__pydantic_fields__") or any(
            isinstance(hint, dataclasses.InitVar) for hint in hints.values()
        )
        rebuilt = {name: self.rebuilt(hint) for name, hint in hints.items()}
        if is_left_to_pydantic or all(rebuilt[name] is hints[name] for name in hints):
            return kind
        fields = [
            (each.name, rebuilt[each.name], _new_field(each))
            for each in dataclasses.fields(kind)
            if each.init
        ]
        stand_in = dataclasses.make_dataclass(kind.__name__, fields)
        stand_in.__doc__ = kind.__doc__
        return _made_by(stand_in, lambda made: kind(**{name: getattr(made, name) for name, _, _ in fields}))

    def _named_tuple(self, kind: Any) -> Any:
        hints = _hints(kind)
        rebuilt = {name: self.rebuilt(hints.get(name, Any)) for name in kind._fields}
        if all(rebuilt[name] is hints.get(name, Any) for name in kind._fields):
            return kind
        defaults = [kind._field_defaults[name] for name in kind._fields if name in kind._field_defaults]
        make: Any = collections.namedtuple  # its fields are only known at run time
        stand_in = make(kind.__name__, kind._fields, defaults=defaults)
        stand_in.__annotations__ = rebuilt
        return _made_by(stand_in, lambda made: kind(*made))


def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of a class's fields; {} if one cannot be resolved, and then pydantic resolves them itself."""
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception:
        return {}


def _made_by(stand_in: Any, make: Any) -> Any:
    """Return a type that pydantic validates as `stand_in`, with the same fields, and then converts with `make`."""

    def schema(_source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(make, handler(stand_in))

    return Annotated[Any, GetPydanticSchema(schema)]


def _new_field(field: Any) -> Any:
    """Return a copy of a dataclass field, because a field belongs to one class."""
    copied = copy.copy(field)
    copied.kw_only = True  # fields with defaults may precede fields without, mostly inherited ones
    return copied


def _unqualified(hint: Any) -> tuple[Any, set[Any]]:
    """Return the type of a field without its qualifiers (Required, NotRequired, ReadOnly), and the qualifiers."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _QUALIFIERS:
        plain, marks = _unqualified(arguments[0])
        return plain, {*marks, origin}
    if origin is Annotated:
        plain, marks = _unqualified(arguments[0])
        return Annotated[(plain, *arguments[1:])], marks
    return hint, set()


def _with_types(hint: Any, bound: dict[Any, Any]) -> Any:
    """Return a type with its type variables replaced by the arguments of the generic type."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not bound or not parameters:
        return hint
    return hint[tuple(bound.get(each, each) for each in parameters)]


def _respelled(schema: Mapping[str, Any], value: Any) -> Any:
    """Return `value` with its enum values spelled as in the schema, which has no references, if they differ only in case."""
    for choice in schema.get("anyOf", ()):
        value = _respelled(choice, value)
    if isinstance(value, str):
        return _spelling(value, [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])])
    if isinstance(value, list) and "items" in schema:
        return [_respelled(schema["items"], item) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        return {
            name: _respelled(parts[name], item) if name in parts else item for name, item in value.items()
        }
    return value


def _spelling(value: str, allowed: list[Any]) -> str:
    if value in allowed:
        return value
    matches = [each for each in allowed if isinstance(each, str) and each.casefold() == value.casefold()]
    return matches[0] if len(matches) == 1 else value


_DOTTED: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_DEFINITIONS: Final = "#/$defs/"
_WRAPPER_FIELD: Final = "value"
_NOT_SENT: Final = " Nothing was sent."
_MAX_PROBLEMS: Final = 5
_MAX_SHOWN_CHARS: Final = 60


class OutputSchema:
    """A type, its JSON schema for the API, and its parser for answers.

    Attributes:
        name: The name of the type, for messages.
        json_schema: The schema for `output_config.format`. A type that is not an object is wrapped in one.
        spec: The `--schema` spec that the type was made from, or None.
    """

    name: str
    json_schema: dict[str, Any]

    def __init__(self, kind: Any, name: str, *, spec: str | None = None) -> None:
        self.name = name
        self.spec = spec
        self._kind = kind
        self._adapter: TypeAdapter[Any] = _make_adapter(kind, name)
        schema = _schema_of(self._adapter, name)
        top = schema.get("$defs", {}).get(schema.get("$ref", "").removeprefix(_DEFINITIONS), schema)
        self._is_wrapped = top.get("type") != "object"
        if self._is_wrapped:
            definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
            schema = {
                "type": "object",
                "properties": {_WRAPPER_FIELD: schema},
                "required": [_WRAPPER_FIELD],
                **definitions,
            }
        self.json_schema = normalise(schema, name)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the object's fields; () if the type is not an object."""
        return () if self._is_wrapped else tuple(self.json_schema["properties"])

    @property
    def field_schemas(self) -> dict[str, dict[str, Any]]:
        """The JSON schema of each field by name, without references; under "" for a type that is not an object."""
        fields: dict[str, Any] = _inlined(self.json_schema["properties"], self.json_schema.get("$defs", {}))
        return {"": fields[_WRAPPER_FIELD]} if self._is_wrapped else fields

    def __repr__(self) -> str:
        return f"<OutputSchema {self.name}>"

    def __copy__(self) -> OutputSchema:
        return self

    def __deepcopy__(self, _copies: object) -> OutputSchema:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle so that unpickling works without the type: a type defined in a notebook is usually not importable."""
        try:
            kind = pickle.dumps(self._kind)
        except Exception:  # a local class, a class made from a spec; the errors vary
            kind = b""
        return _stored_schema, (self.name, self.json_schema, self._is_wrapped, kind, self.spec)

    def parse(self, text: str) -> Any:
        """Return the object that an answer describes.

        Raises:
            SchemaMismatchError: The answer is not JSON or does not match; the message names the place.
        """
        try:
            value, source = find_json(text)
        except NoJSONError as error:
            raise self._mismatch((error.message,), text) from None
        if self._is_wrapped and isinstance(value, dict) and value.keys() == {_WRAPPER_FIELD}:
            value = value[_WRAPPER_FIELD]
            source = json.dumps(value)
        try:
            return self._adapter.validate_json(source)
        except ValidationError as error:
            return self._parse_leniently(value, text, error)

    def _parse_leniently(self, value: Any, text: str, error: ValidationError) -> Any:
        """Validate again with enum values spelled as in the schema, because the API does not guarantee their case."""
        fields = self.field_schemas
        respelled = _respelled(fields[""] if self._is_wrapped else {"properties": fields}, value)
        if respelled != value:
            try:
                return self._adapter.validate_json(json.dumps(respelled))
            except ValidationError as second:
                error = second
        raise self._mismatch(
            tuple(_describe(each) for each in error.errors(include_url=False)), text
        ) from None

    def _mismatch(self, problems: tuple[str, ...], text: str) -> SchemaMismatchError:
        shown = "; ".join(problems[:_MAX_PROBLEMS])
        if len(problems) > _MAX_PROBLEMS:
            shown += f"; and {len(problems) - _MAX_PROBLEMS} more"
        return SchemaMismatchError(
            f"The answer does not fit {self.name}: {shown.rstrip('.')}. reply.text has the original text.",
            text=text,
            problems=problems,
        )


def make_output_schema(spec: str, names: Mapping[str, object]) -> OutputSchema:
    """Return the output schema for a `--schema` spec.

    Args:
        spec: The name of a pydantic model, dataclass or TypedDict, possibly dotted; or a description of the fields, such
            as `name, age int, tags list[str]` (see `_dsl`).
        names: The user's variables.

    Raises:
        ConfigurationError: The name does not exist or is not a type, or the API does not support the type.
    """
    try:
        return _schema_for(spec.strip(), names)
    except ConfigurationError as error:
        error.replace_message(f"{error.message.removesuffix(_NOT_SENT)}{_NOT_SENT}")
        raise


def _schema_for(spec: str, names: Mapping[str, object]) -> OutputSchema:
    if not spec:
        raise ConfigurationError("--schema: say what the answer should be, such as `name, age int`.")
    if _DOTTED.fullmatch(spec) and spec.partition(".")[0] in names:
        return OutputSchema(_as_type(resolve_name(spec, names, asked_by="--schema"), spec), spec)
    if _DOTTED.fullmatch(spec) and spec not in TYPES:
        types = [name for name in names if _is_typelike(names[name])]
        hint = did_you_mean(spec, [*types, *SUGGESTED_TYPES])
        hint = hint or f" Define it first; as a field, give it a type, such as `{spec} str`."
        raise ConfigurationError(f"--schema: there is no type {spec}.{hint}")
    kind = SpecParser(spec, lambda word: _find_type(word, names)).parse()
    return OutputSchema(kind, "Answer" if _is_model(kind) else spec, spec=spec)


def _stored_schema(
    name: str, json_schema: dict[str, Any], is_wrapped: bool, kind: bytes, spec: str | None
) -> OutputSchema:
    """Unpickle a schema; if its type is not found, answers are parsed as plain data."""
    with contextlib.suppress(Exception):  # a missing or changed module may raise anything
        if kind:
            return OutputSchema(pickle.loads(kind), name, spec=spec)  # noqa: S301 (read from the same pickle)
        if spec is not None:
            return make_output_schema(spec, {})
    schema = OutputSchema.__new__(OutputSchema)
    schema.name, schema.json_schema, schema.spec = name, json_schema, spec
    schema._kind, schema._adapter, schema._is_wrapped = Any, TypeAdapter(Any), is_wrapped
    return schema


def _find_type(word: str, names: Mapping[str, object]) -> Any:
    """Return the user's type for a word of a spec; None if there is none."""
    if not _DOTTED.fullmatch(word) or word.partition(".")[0] not in names:
        return None
    value = resolve_name(word, names, asked_by="--schema")
    return value if _is_typelike(value) else None


def _as_type(value: object, name: str) -> Any:
    if _is_typelike(value):
        return value
    kind = type(value)
    if _is_model(kind) or dataclasses.is_dataclass(kind):
        raise ConfigurationError(
            f"--schema: {name} is an instance of {kind.__name__}. Name the class itself."
        )
    raise ConfigurationError(
        f"--schema: {name} is of type {kind.__name__}, not a class. Name a pydantic model, a dataclass or a TypedDict, "
        "or list the fields, such as `name, age int`."
    )


def _is_typelike(value: object) -> bool:
    """Return whether a value is a class, a generic alias such as list[Tower], or `type Towers = list[Tower]`."""
    # By name, because `typing` and `typing_extensions` each have a class for aliases, and Python 3.11 none.
    is_alias = type(value).__name__ == "TypeAliasType"
    return is_alias or isinstance(value, type) or get_origin(value) is not None


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _make_adapter(kind: Any, name: str) -> TypeAdapter[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about `ReadOnly`, which is not checked at run time
            return TypeAdapter(portable(kind))
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"--schema: {name} cannot be read from JSON: {as_sentence(_reason(error))}"
        ) from error


def _schema_of(adapter: TypeAdapter[Any], name: str) -> dict[str, Any]:
    try:
        return adapter.json_schema()
    except PydanticUserError as error:
        raise ConfigurationError(
            f"--schema: {name} has no JSON schema: {as_sentence(_reason(error))}"
        ) from error


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema with its references, none of which is recursive, replaced by the definitions."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        return _inlined(definitions[schema["$ref"].removeprefix(_DEFINITIONS)], definitions)
    return {name: _inlined(each, definitions) for name, each in schema.items()}


def _describe(problem: ErrorDetails) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    place = "".join(parts).lstrip(".")
    given = problem["input"]
    is_shown = problem["type"] != "missing" and not isinstance(given, dict | list)
    message = problem["msg"] + (f" (it is {short(repr(given), _MAX_SHOWN_CHARS)})" if is_shown else "")
    return f"{place}: {message}" if place else message
