"""Upper and lower case of enum values, which structured outputs do not promise to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_case_of(schema: Mapping[str, Any], value: Any) -> Any:
    """Return `value` with its enum values spelled as in the schema, where only upper and lower case differ."""
    return _respelled(schema, value, schema.get("$defs", {}))


def _respelled(schema: Mapping[str, Any], value: Any, definitions: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    for choice in schema.get("anyOf", ()):
        value = _respelled(choice, value, definitions)
    if isinstance(value, str):
        return _spelling(value, [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])])
    if isinstance(value, list) and "items" in schema:
        return [_respelled(schema["items"], item, definitions) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        return {
            name: _respelled(parts[name], item, definitions) if name in parts else item
            for name, item in value.items()
        }
    return value


def _spelling(value: str, allowed: list[Any]) -> str:
    if value in allowed:
        return value
    alike = [each for each in allowed if isinstance(each, str) and each.casefold() == value.casefold()]
    return alike[0] if len(alike) == 1 else value
