"""Values that satisfy a JSON schema, taken from the prompt where it offers fitting ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ._tool_checks import resolve
from ._wire import JSON, pick

MAX_DEPTH = 12
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NAMES = re.compile(r"\b[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)*")
_QUOTED = re.compile(r"[\"“'`]([^\"”'`]{1,200})[\"”'`]")
_NOT_NAMES = frozenset(
    re.findall(
        r"\w+",
        """
        A An And Are Call Can Could Create Describe Do Does Extract Fill Find For From Generate Get Give Hello
        Hi How I Is Json List Make Please Return Show Tell The This Today Tomorrow Use What When Where Which
        Who Why Will Write You
        """,
    )
)
_PROSE = re.compile(r"summary|description|explanation|reason|text|content|answer|query|prompt|body")
_FORMATS = {
    "date": (r"\d{4}-\d{2}-\d{2}", "2026-11-22"),
    "time": (r"\d{2}:\d{2}(?::\d{2})?", "12:00:00"),
    "date-time": (r"\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:\d{2})", "2026-11-22T12:00:00Z"),
    "email": (r"[\w.+-]+@[\w-]+\.[\w.]*\w", "someone@example.org"),
    "uri": (r"https?://[^\s\"'<>)]+", "https://example.org/"),
    "uuid": (r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "123e4567-e89b-42d3-a456-426614174000"),
    "ipv4": (r"(?:\d{1,3}\.){3}\d{1,3}", "192.0.2.1"),
    "hostname": (r"(?:[a-z0-9-]+\.)+[a-z]{2,}", "example.org"),
    "duration": (r"P(?:\d+[YMWD])*(?:T(?:\d+[HMS])+)?", "PT1H"),
}
_WORDS_OF_NAME = {
    "email": "email",
    "url": "uri",
    "link": "uri",
    "date": "date",
    "day": "date",
}


class Hints:
    """What a prompt offers: names, numbers and quoted texts, each given out once, in order."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self._numbers: Iterator[str] = iter(_NUMBER.findall(prompt))
        self._names: Iterator[str] = iter(_names_in(prompt))
        self._quoted: Iterator[str] = iter(_QUOTED.findall(prompt))

    def number(self) -> str | None:
        """The next number that is left."""
        return next(self._numbers, None)

    def name(self) -> str | None:
        """The next quoted text, else the next capitalised name."""
        return next(self._quoted, None) or next(self._names, None)


def _names_in(prompt: str) -> list[str]:
    found = []
    for name in _NAMES.findall(prompt):
        words = [word for word in name.split() if word not in _NOT_NAMES]
        if words:
            found.append(" ".join(words))
    return found


def make_instance(schema: JSON, prompt: str) -> Any:
    """A value that satisfies the schema; the same one for the same prompt."""
    return _make(schema, schema, "value", Hints(prompt), 0)


def _make(schema: JSON, root: JSON, name: str, hints: Hints, depth: int) -> Any:
    if "$ref" in schema:
        return _make(resolve(schema["$ref"], root), root, name, hints, depth)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return _choose(schema["enum"], name, hints)
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _make(_first_real(schema[word]), root, name, hints, depth)
    if schema.get("allOf"):
        return _make(_merged(schema, root), root, name, hints, depth)
    return _make_of_type(_type_of(schema), schema, root, name, hints, depth)


def _make_of_type(kind: str, schema: JSON, root: JSON, name: str, hints: Hints, depth: int) -> Any:
    if kind == "object":
        return _make_object(schema, root, hints, depth)
    if kind == "array":
        return _make_array(schema, root, name, hints, depth)
    if kind in ("integer", "number"):
        return _make_number(schema, kind, hints)
    if kind == "boolean":
        return not re.search(r"\b(no|not|never|false|without)\b", hints.prompt, re.IGNORECASE)
    return None if kind == "null" else _make_string(schema, name, hints)


def _make_object(schema: JSON, root: JSON, hints: Hints, depth: int) -> JSON:
    properties: JSON = schema.get("properties", {})
    required: Sequence[str] = schema.get("required", [])
    if depth >= MAX_DEPTH:
        properties = {name: part for name, part in properties.items() if name in required}
    ordered = [name for name in properties if name in required] + [
        name for name in properties if name not in required
    ]
    return {name: _make(properties[name], root, name, hints, depth + 1) for name in ordered}


def _make_array(schema: JSON, root: JSON, name: str, hints: Hints, depth: int) -> list[Any]:
    items: JSON = schema.get("items") or {"type": "string"}
    least = int(schema.get("minItems", 0))
    most = int(schema.get("maxItems", max(least, 3)))
    wanted = 0 if depth >= MAX_DEPTH else max(least, min(most, 2 if _type_of(items) == "object" else 3))
    return [_make(items, root, name.removesuffix("s"), hints, depth + 1) for _ in range(max(least, wanted))]


def _make_number(schema: JSON, kind: str, hints: Hints) -> int | float:
    text = hints.number()
    value = float(text) if text is not None else float(1 + pick(hints.prompt + str(schema), range(9)))
    low = schema.get("minimum", schema.get("exclusiveMinimum", value - 1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", value + 1) - 1)
    value = min(max(value, low), high)
    return int(value) if kind == "integer" or value.is_integer() else value


def _make_string(schema: JSON, name: str, hints: Hints) -> str:
    kind = schema.get("format") or _format_of_name(name)
    if kind in _FORMATS:
        pattern, fallback = _FORMATS[kind]
        found = re.search(rf"(?<![\w.-]){pattern}", hints.prompt)
        return found.group() if found and found.group() else fallback
    if re.search(
        r"summary|description|explanation|reason|text|content|answer|query|prompt|body", name.lower()
    ):
        text = " ".join(hints.prompt.split())
        return _fit(text[:200] or "nothing was asked", schema)
    return _fit(hints.name() or f"example {name.replace('_', ' ')}", schema)


def _format_of_name(name: str) -> str:
    return next((kind for word, kind in _WORDS_OF_NAME.items() if word in name.lower().split("_")), "")


def _fit(text: str, schema: JSON) -> str:
    longest = schema.get("maxLength")
    text = text if longest is None else text[:longest]
    return text.ljust(int(schema.get("minLength", 0)), ".")


def _choose(values: Sequence[Any], name: str, hints: Hints) -> Any:
    """The value that the prompt names, else any."""
    lowered = hints.prompt.lower()
    for value in values:
        if isinstance(value, str) and value and re.search(rf"\b{re.escape(value.lower())}", lowered):
            return value
    return pick(hints.prompt + name, list(values))


def _type_of(schema: JSON) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _first_real(choices: Sequence[JSON]) -> JSON:
    return next((choice for choice in choices if choice.get("type") != "null"), choices[0])


def _merged(schema: JSON, root: JSON) -> JSON:
    merged: JSON = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        resolved = resolve(part["$ref"], root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **resolved.get("properties", {})}
        required = [*merged.get("required", []), *resolved.get("required", [])]
        merged = {**merged, **resolved, "properties": properties, "required": required}
    return merged
