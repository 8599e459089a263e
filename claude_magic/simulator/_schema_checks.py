"""Rules for `output_config.format`: which JSON schemas the API compiles."""

from __future__ import annotations

from typing import Any

from . import _checks as check
from ._errors import invalid
from ._exchange import JSON

UNSUPPORTED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "if",
    "not",
)
MAX_OPTIONAL = 24
MAX_UNIONS = 16


class _Tally:
    def __init__(self) -> None:
        self.optional = 0
        self.unions = 0


def check_output_format(value: Any, fields: JSON) -> None:
    """Every rule for `output_config.format`."""
    path = "output_config.format"
    output_format = check.dictionary(value, path)
    check.one_of(check.required(output_format, "type", path), f"{path}.type", ["json_schema"])
    schema = check.dictionary(check.required(output_format, "schema", path), f"{path}.schema")
    check.no_extras(output_format, path, ("type", "schema", "name"))
    tally = _Tally()
    _check_schema(schema, f"{path}.schema", schema, (), tally)
    if tally.optional > MAX_OPTIONAL:
        raise invalid(f"{path}.schema: Schema has more than {MAX_OPTIONAL} optional parameters")
    if tally.unions > MAX_UNIONS:
        raise invalid(f"{path}.schema: Schema has more than {MAX_UNIONS} parameters with union types")
    if _wants_citations(fields):
        raise invalid("output_config.format: structured outputs cannot be combined with citations")


def _check_schema(value: Any, path: str, root: JSON, seen: tuple[str, ...], tally: _Tally) -> None:
    schema = check.dictionary(value, path)
    for word in UNSUPPORTED:
        if word in schema:
            raise invalid(
                f"{path}: For '{schema.get('type', 'any')}' type, property '{word}' is not supported"
            )
    if schema.get("minItems", 0) not in (0, 1):
        raise invalid(f"{path}: 'minItems' values other than 0 or 1 are not supported")
    if "$ref" in schema:
        _check_reference(schema["$ref"], path, root, seen, tally)
    if schema.get("type") == "object":
        _check_object(schema, path, root, seen, tally)
    if isinstance(schema.get("items"), dict):
        _check_schema(schema["items"], f"{path}.items", root, seen, tally)
    unions = [word for word in ("anyOf", "allOf", "oneOf") if word in schema]
    tally.unions += bool(unions) or isinstance(schema.get("type"), list)
    for word in unions:
        for index, part in enumerate(check.array(schema[word], f"{path}.{word}")):
            _check_schema(part, f"{path}.{word}.{index}", root, seen, tally)


def _check_object(schema: JSON, path: str, root: JSON, seen: tuple[str, ...], tally: _Tally) -> None:
    if schema.get("additionalProperties") is not False:
        raise invalid(f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    properties = check.dictionary(schema.get("properties", {}), f"{path}.properties")
    required = schema.get("required", [])
    tally.optional += sum(1 for name in properties if name not in required)
    for name, part in properties.items():
        _check_schema(part, f"{path}.properties.{name}", root, seen, tally)


def _check_reference(value: Any, path: str, root: JSON, seen: tuple[str, ...], tally: _Tally) -> None:
    reference = check.string(value, f"{path}.$ref")
    if not reference.startswith("#/"):
        raise invalid(f"{path}.$ref: External references are not supported")
    if reference in seen:
        raise invalid(f"{path}.$ref: Recursive schemas are not supported")
    _check_schema(resolve(reference, root, path), f"{path}.$ref", root, (*seen, reference), tally)


def resolve(reference: str, root: JSON, path: str = "schema") -> JSON:
    """The part of the schema that a local reference points at."""
    part: Any = root
    for key in reference.removeprefix("#/").split("/"):
        if not isinstance(part, dict) or key not in part:
            raise invalid(f"{path}: Reference '{reference}' does not exist")
        part = part[key]
    return check.dictionary(part, path)


def _wants_citations(fields: JSON) -> bool:
    for message in fields["messages"] if isinstance(fields.get("messages"), list) else []:
        blocks = message.get("content")
        for block in blocks if isinstance(blocks, list) else []:
            if block.get("type") == "document" and (block.get("citations") or {}).get("enabled"):
                return True
    return False
