"""What an answer is to look like, as the API takes it, and back: the text of an answer as an object of the user's."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

from ..client import ConfigurationError
from ._dsl import TYPES, SpecParser
from ._errors import NoJSONError, SchemaMismatchError
from ._json import find_json
from ._letter_case import with_case_of
from ._normalise import normalise
from ._typed_dicts import portable

_DOTTED: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_WRAPPER_FIELD: Final = "value"
_MAX_PROBLEMS: Final = 5
_MAX_SHOWN_CHARS: Final = 60


class OutputSchema:
    """A type, its JSON schema for the API, and the way from an answer to an object of the type.

    Attributes:
        name: What the type is called, for messages.
        json_schema: The schema for `output_config.format`. What is no object at its top is wrapped in one.
        spec: The description that the type was made from, or None.
    """

    name: str
    json_schema: dict[str, Any]

    def __init__(self, kind: Any, name: str, *, spec: str | None = None) -> None:
        self.name = name
        self.spec = spec
        self._kind = kind
        self._adapter: TypeAdapter[Any] = _make_adapter(kind, name)
        schema = _schema_of(self._adapter, name)
        self._is_wrapped = not _is_object(schema)
        if self._is_wrapped:
            definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
            schema = {
                "type": "object",
                "properties": {_WRAPPER_FIELD: schema},
                "required": [_WRAPPER_FIELD],
                **definitions,
            }
        self.json_schema = normalise(schema, name)

    def __repr__(self) -> str:
        return f"<OutputSchema {self.name}>"

    def __copy__(self) -> OutputSchema:
        return self

    def __deepcopy__(self, _copies: object) -> OutputSchema:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without depending on the type, which need not exist where this is read: in a notebook it seldom does."""
        try:
            kind = pickle.dumps(self._kind)
        except Exception:  # a class of a function, of a description, of a loop; the errors are as many
            kind = b""
        return _stored_schema, (self.name, self.json_schema, self._is_wrapped, kind, self.spec)

    def parse(self, text: str) -> Any:
        """Return the object that an answer describes.

        Raises:
            SchemaMismatchError: It is no JSON, or does not fit; the message says where, and the error keeps the text.
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
        """Try again with the values of enums spelled as in the schema: the API does not promise upper and lower case."""
        schema = self.json_schema
        if self._is_wrapped:
            schema = {**schema["properties"][_WRAPPER_FIELD], "$defs": schema.get("$defs", {})}
        respelled = with_case_of(schema, value)
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
            f"The answer does not fit {self.name}: {shown.rstrip('.')}. What came is in reply.text.",
            text=text,
            problems=problems,
        )


def make_output_schema(spec: str, names: Mapping[str, object]) -> OutputSchema:
    """Return the schema that a user asked for.

    Args:
        spec: The name of a pydantic model, dataclass or TypedDict, dotted too; or a short description of the fields, such
            as `name, age int, tags list[str]` (see `_dsl`).
        names: The user's own names.

    Raises:
        ConfigurationError: There is no such name, it stands for something else, or it cannot be said to the API.
    """
    spec = spec.strip()
    if not spec:
        raise ConfigurationError("--schema: say what the answer is to be, such as `name, age int`.")
    if _DOTTED.fullmatch(spec) and spec.partition(".")[0] in names:
        return OutputSchema(_as_type(_resolve(spec, names), spec), spec)
    if _DOTTED.fullmatch(spec) and spec not in TYPES:
        raise ConfigurationError(_describe_unknown(spec, names))
    kind = SpecParser(spec, lambda word: _find_type(word, names)).parse()
    return OutputSchema(kind, "Answer" if _is_model(kind) else spec, spec=spec)


def _stored_schema(
    name: str, json_schema: dict[str, Any], is_wrapped: bool, kind: bytes, spec: str | None
) -> OutputSchema:
    """Read a schema that was pickled: with its type where that is found, else the answer is plain data."""
    with contextlib.suppress(Exception):  # whatever a module that is gone or changed makes of it
        if kind:
            return OutputSchema(pickle.loads(kind), name, spec=spec)  # noqa: S301 (read from the same pickle)
        if spec is not None:
            return make_output_schema(spec, {})
    schema = OutputSchema.__new__(OutputSchema)
    schema.name, schema.json_schema, schema.spec = name, json_schema, spec
    schema._kind, schema._adapter, schema._is_wrapped = Any, TypeAdapter(Any), is_wrapped
    return schema


def _find_type(word: str, names: Mapping[str, object]) -> Any:
    """Return the type that a word of a description stands for, or None if it is no name of the user's."""
    if not _DOTTED.fullmatch(word) or word.partition(".")[0] not in names:
        return None
    value = names[word.partition(".")[0]] if "." not in word else _resolve(word, names)
    return value if _is_typelike(value) else None


def _resolve(dotted: str, names: Mapping[str, object]) -> object:
    root, *attributes = dotted.split(".")
    value = names[root]
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            raise ConfigurationError(f"--schema: {root} has no attribute {attribute} ({dotted}).") from None
    return value


def _as_type(value: object, name: str) -> Any:
    if _is_typelike(value):
        return value
    kind = type(value)
    if _is_model(kind) or dataclasses.is_dataclass(kind):
        raise ConfigurationError(f"--schema: {name} is an object of {kind.__name__}; name the class itself.")
    raise ConfigurationError(
        f"--schema: {name} is of type {kind.__name__}; it takes a pydantic model, a dataclass or a TypedDict, "
        "or a description such as `name, age int`."
    )


def _is_typelike(value: object) -> bool:
    """Whether a value is a class, a type made of others such as list[Tower], or `type Towers = list[Tower]`."""
    # By name, because `typing` and `typing_extensions` each have a class for aliases, and Python 3.11 none.
    is_alias = type(value).__name__ == "TypeAliasType"
    return is_alias or isinstance(value, type) or get_origin(value) is not None


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _describe_unknown(word: str, names: Mapping[str, object]) -> str:
    types = [name for name in names if _is_typelike(names[name])]
    near = difflib.get_close_matches(word, [*types, *TYPES], n=1, cutoff=0.7)
    if near:
        return f"--schema: there is no {word}; did you mean {near[0]}?"
    return f"--schema: there is no {word}. Define it first, or say what type it is, such as `{word} str`."


def _make_adapter(kind: Any, name: str) -> TypeAdapter[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of `ReadOnly`, which nothing checks at run time
            return TypeAdapter(portable(kind))
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        raise ConfigurationError(f"--schema: {name} cannot be read from JSON: {_reason(error)}.") from error


def _schema_of(adapter: TypeAdapter[Any], name: str) -> dict[str, Any]:
    try:
        return adapter.json_schema()
    except PydanticUserError as error:
        raise ConfigurationError(f"--schema: {name} has no JSON schema: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")


def _is_object(schema: Mapping[str, Any]) -> bool:
    reference = schema.get("$ref", "").removeprefix("#/$defs/")
    target = schema.get("$defs", {}).get(reference, schema)
    return bool(target.get("type") == "object")


def _describe(problem: ErrorDetails) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(
        "."
    )
    given = problem["input"]
    is_shown = problem["type"] != "missing" and not isinstance(given, dict | list)
    shown = repr(given)
    shown = shown if len(shown) <= _MAX_SHOWN_CHARS else shown[: _MAX_SHOWN_CHARS - 1] + "…"
    message = problem["msg"] + (f" (it is {shown})" if is_shown else "")
    return f"{place}: {message}" if place else message
