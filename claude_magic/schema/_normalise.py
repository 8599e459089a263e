"""Converts JSON schemas into the subset that the API supports.

The API supports only objects with named fields, without bounds, lengths and most patterns. Unsupported constraints move into
the description, for the model to read, and pydantic checks them in the answer. Recursion, free keys and values of any type
cannot be expressed and raise an error that names the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ..client import ConfigurationError

Schema = dict[str, Any]

MAX_OPTIONAL: Final = 24
MAX_UNIONS: Final = 16
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_KEPT: Final = ("type", "enum", "const", "description")
_SILENT: Final = frozenset(
    {"$defs", "title", "discriminator", "examples", "deprecated", "readOnly", "writeOnly"}
)
"""Keywords that are dropped, because the model does not need them."""
# Matches unsupported patterns: look-around, back references, word boundaries and lazy repetition.
# Anchors, classes, groups and simple repetition are supported.
_HARD_PATTERN: Final = re.compile(r"\(\?|\\[bB1-9pPkG]|[*+?}][?+]|\{\d{3,}")
_WORDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches the regular expression {}",
    "format": "format {}",
    "default": "{} if nothing else is known",
}


def normalise(schema: Mapping[str, Any], name: str) -> Schema:
    """Return the schema in the form that the API supports.

    Args:
        schema: A JSON schema with references only into `$defs`.
        name: The name of the schema in messages.

    Raises:
        ConfigurationError: A part of the schema is not supported; the message names the place.
    """
    return _Normaliser(schema, name).normalised()


class _Normaliser:
    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self._root = schema
        self._name = name
        self._definitions: Mapping[str, Schema] = schema.get("$defs", {})
        self._done: dict[str, Schema] = {}
        self._path: list[str] = []  # the definitions in progress, outermost first
        self._optional = 0
        self._unions = 0

    def normalised(self) -> Schema:
        result = self._resolved(self._root, self._name)
        if self._done:
            result["$defs"] = self._done
        self._check_limits()
        return result

    def _resolved(self, schema: Mapping[str, Any], place: str) -> Schema:
        """Return the normalised schema, with a reference at its top replaced by the definition."""
        if "$ref" not in schema:
            return self._schema(schema, place)
        key = self._define(schema["$ref"], place)
        own = {word: value for word, value in schema.items() if word == "description"}
        return {**self._done[key], **own}

    def _schema(self, schema: Mapping[str, Any], place: str) -> Schema:
        if "$ref" in schema:
            return self._reference(schema, place)
        if "allOf" in schema and len(schema["allOf"]) == 1:
            others = {word: value for word, value in schema.items() if word != "allOf"}
            return self._schema({**schema["allOf"][0], **others}, place)
        result = {word: schema[word] for word in _KEPT if word in schema}
        used = {*_KEPT, *_SILENT}
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            used |= {"anyOf", "oneOf"}
            self._unions += 1
            result["anyOf"] = [self._schema(choice, place) for choice in choices]
        elif schema.get("type") == "object":
            used |= {"properties", "required", "additionalProperties"}
            result |= self._object(schema, place)
        elif schema.get("type") == "array":
            used |= {"items", "prefixItems"}
            result |= self._array(schema, place)
        elif not ({"type", "enum", "const"} & schema.keys()):
            raise ConfigurationError(
                f"--schema: {place} may be anything, and the API needs its type. Annotate it."
            )
        return self._with_remaining(result, {word: schema[word] for word in schema if word not in used})

    def _reference(self, schema: Mapping[str, Any], place: str) -> Schema:
        if "description" in schema:
            return self._resolved(schema, place)  # the API allows no other keyword next to `$ref`
        return {"$ref": f"#/$defs/{self._define(schema['$ref'], place)}"}

    def _define(self, reference: str, place: str) -> str:
        """Normalise a definition once, and return its key."""
        key = reference.removeprefix("#/$defs/")
        if key not in self._definitions:
            raise ConfigurationError(f"--schema: {place} refers to {reference}, which is not in the schema.")
        if key in self._path:
            cycle = " → ".join([*self._path[self._path.index(key) :], key])
            raise ConfigurationError(
                f"--schema: {self._name} is recursive ({cycle}, at {place}), and the API takes no recursive schemas. "
                "Spell out as many levels as you need."
            )
        if key not in self._done:
            self._path.append(key)
            definition = self._schema(self._definitions[key], key)
            self._path.pop()
            self._done[key] = definition
        return key

    def _object(self, schema: Mapping[str, Any], place: str) -> Schema:
        properties = schema.get("properties", {})
        if "patternProperties" in schema or (not properties and schema.get("additionalProperties", False)):
            raise ConfigurationError(
                f"--schema: {place} is a dict with free keys, and the API takes objects with named fields only. "
                "Use a model with fields, or a list of objects with a key and a value."
            )
        if not properties and "additionalProperties" not in schema and place == self._name:
            raise ConfigurationError(f"--schema: {place} has no fields.")
        required = [name for name in properties if name in schema.get("required", ())]
        self._optional += len(properties) - len(required)
        return {
            "properties": {
                name: self._schema(part if name in required else _without_null(part), f"{place}.{name}")
                for name, part in properties.items()
            },
            "required": required,
            "additionalProperties": False,
        }

    def _array(self, schema: Mapping[str, Any], place: str) -> Schema:
        items = schema.get("items")
        if parts := schema.get("prefixItems"):  # a tuple: the API supports only one schema for all items
            alternatives = [part for index, part in enumerate(parts) if part not in parts[:index]]
            items = alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}
        if not items:
            raise ConfigurationError(
                f"--schema: {place} is a list of anything, and the API needs the type of its items. "
                "Annotate it, such as list[str]."
            )
        return {"items": self._schema(items, f"{place}[]")}

    def _with_remaining(self, result: Schema, rest: Mapping[str, Any]) -> Schema:
        """Keep the remaining keywords that the API supports, and add the others to the description."""
        words = []
        for word, value in sorted(rest.items(), key=_order):
            if _is_known(word, value):
                result[word] = value
            elif not (word == "default" and value is None):
                words.append(_in_words(word, value))
        if words:
            description = str(result.get("description", "")).rstrip()
            result["description"] = f"{description} ({'; '.join(words)})" if description else "; ".join(words)
        return result

    def _check_limits(self) -> None:
        for count, most, what in (
            (self._optional, MAX_OPTIONAL, "optional fields"),
            (self._unions, MAX_UNIONS, "fields of several types"),
        ):
            if count > most:
                raise ConfigurationError(
                    f"--schema: {self._name} has {count} {what}, and the API takes at most {most}. "
                    "Make some required, or split the question."
                )


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of an optional field without its null type, which is redundant.

    The API limits the number of unions and of optional fields, and the limit for unions is lower.
    """
    choices = schema.get("anyOf", ())
    real = [choice for choice in choices if choice != {"type": "null"}]
    if len(real) == len(choices) or "default" not in schema or schema["default"] is not None:
        return schema
    rest = {word: value for word, value in schema.items() if word not in ("anyOf", "default")}
    return {**rest, "anyOf": real} if len(real) > 1 else {**real[0], **rest}


def _is_known(word: str, value: Any) -> bool:
    match word:
        case "format":
            return value in _FORMATS
        case "minItems":
            return value in (0, 1)
        case "pattern":
            return not _HARD_PATTERN.search(str(value))
    return False


def _order(item: tuple[str, Any]) -> int:
    order = tuple(_WORDS)
    return order.index(item[0]) if item[0] in order else len(order)


def _in_words(word: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if word == "uniqueItems":
        return "no item twice"
    return _WORDS.get(word, word + " {}").format(text)
