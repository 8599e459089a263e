"""Generation of values that satisfy a JSON schema, from the prompt where possible, else plausible for the field."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ._checks import resolve
from ._wire import JSON, invalid, pick, read_by_word, read_words

CAPITALS: Mapping[str, str] = read_words("capitals")
"""Maps each capital to its country."""
_COUNTRIES: Mapping[str, str] = {**CAPITALS, **read_words("harbours")}
_FORMATS: Mapping[str, tuple[str, str]] = read_words("formats")
"""Maps each format to a pattern and a default value."""
_FORMAT_OF_WORD: Mapping[str, str] = read_by_word("format_of_word")
_SAMPLES: Mapping[str, list[str]] = read_by_word("samples")
_RANGES: Mapping[str, list[float]] = read_by_word("ranges")
"""Minimum and maximum of generated numbers, then of numbers from the prompt."""
_PROMPTS, _PROSE, _NOT_NAMES = map(read_words, ("prompts", "prose", "not_names"))
_MAX_DEPTH = 12
_BOUND = re.compile(r"\b(at least|at most|more than|less than) (-?\d+(?:\.\d+)?)(?! (?:characters|items))")
_NAME = re.compile(r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
_QUOTED = re.compile(r"[\"“'`]([^\"”'`]{1,200})[\"”'`]")
_BEGINNING = re.compile(r"(?:\A|[.!?]\s+)\Z")
_AFTER_NAME = re.compile(r"\s*(?:,|\(|\d|(?:is|was|has|and|since|lives|works|born)\b)")
_NUMBER = r"-?\d+(?:\.\d+)?"
_LONE_NUMBER = re.compile(rf"(?<![\w.-]){_NUMBER}(?![\w-]|[.:]\d| (?!and\b)[a-z])")

Path: TypeAlias = tuple[str, ...]
"""The name of a field, then the names of its parents, innermost first."""


class _Hints:
    """Names, places, numbers and quoted texts from a prompt, each used once, in order."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.quoted = [each for each in _QUOTED.findall(prompt) if each.strip()]
        found = list(_names_in(_QUOTED.sub(" ", prompt)))
        self.places = [name for name, is_place in found if is_place]
        self.people = [name for name, is_place in found if not is_place]
        self.numbers = [float(text) for text in _LONE_NUMBER.findall(prompt)]
        self._used: Counter[str] = Counter()

    def sample(self, samples: Sequence[str]) -> str:
        """Return the next of these samples."""
        self._used[samples[0]] += 1
        return samples[(self._used[samples[0]] - 1) % len(samples)]

    def value_next_to(self, name: str, value: str) -> str | None:
        """Return the value next to a field's name in the prompt, as in `day 3` or `3 days`; None if there is none."""
        field = rf"\b{re.escape(name.replace('_', ' '))}s?\b"
        pattern = rf"{field}(?: is| =|:|=| of| called| named)? *({value})|(?<![\w.-])({value}) {field}"
        match = re.search(pattern, self.prompt, re.IGNORECASE)
        return None if match is None else match[1] or match[2]


def _names_in(prompt: str) -> Iterator[tuple[str, bool]]:
    """Yield names, and whether each is a place. The capitalised first word of a sentence is not a name."""
    for match in _NAME.finditer(prompt):
        words = match[0].split(" ")
        is_beginning = len(words) == 1 and _BEGINNING.search(prompt[: match.start()]) is not None
        while words and words[0] in _NOT_NAMES:
            words.pop(0)
        name = " ".join(words)
        is_known = name in _COUNTRIES or name in _COUNTRIES.values()
        if words and (not is_beginning or is_known or _AFTER_NAME.match(prompt, match.end())):
            yield (
                name,
                is_known
                or bool(
                    re.search(r"\b(?:from|in|at|near|via|from\b[^.]*\bto)\s+\Z", prompt[: match.start()])
                ),
            )


def make_instance(schema: JSON, prompt: str) -> Any:
    """Return a value that satisfies the schema. The same prompt always gives the same value.

    Raises:
        APIError: 400, the schema contains itself without end.
    """
    try:
        return _make(schema, schema, ("value",), _Hints(prompt))
    except RecursionError:
        raise invalid("The simulator cannot fill a schema that no finite value satisfies.") from None


def _make(schema: JSON | bool, root: JSON, path: Path, hints: _Hints) -> Any:
    if isinstance(schema, bool):  # any value
        schema = {}
    if "$ref" in schema:
        return _make(resolve(schema["$ref"], root), root, path, hints)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return next((each for each in schema["enum"] if _is_mentioned(each, hints)), schema["enum"][0])
    for choices in (schema.get("anyOf"), schema.get("oneOf")):
        if choices:
            chosen = next((each for each in choices if each.get("type") != "null"), choices[0])
            return _make(chosen, root, path, hints)
    if schema.get("allOf"):
        return _make(_merged(schema, root), root, path, hints)
    return _make_of_type(_type_of(schema), schema, root, path, hints)


def _is_mentioned(value: object, hints: _Hints) -> bool:
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", hints.prompt, re.IGNORECASE) is not None


def _make_of_type(kind: str, schema: JSON, root: JSON, path: Path, hints: _Hints) -> Any:
    if kind == "object":
        return _make_object(schema, root, path, hints)
    if kind == "array":
        items = schema.get("items")
        if not isinstance(items, dict) or not items:
            items = {"type": "string"}
        usual = 2 if _type_of(items) == "object" or "$ref" in items else 3
        stated = re.search(
            rf"\b([1-9]) (?:\w+ )?{re.escape(path[0].replace('_', ' '))}\b", hints.prompt, re.IGNORECASE
        )
        usual = int(stated[1]) if stated else usual
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", usual))
        count = least if len(path) > _MAX_DEPTH else max(least, min(most, usual))
        return [_make(items, root, path, hints) for _ in range(count)]
    if kind in ("integer", "number"):
        return _make_number(schema, path[0], hints, is_whole=kind == "integer")
    if kind == "boolean":
        return not re.search(r"\b(?:no|not|never|false|without)\b", hints.prompt, re.IGNORECASE)
    if kind == "null":
        return None
    return _make_string(schema, path, hints)[: schema.get("maxLength")].ljust(
        int(schema.get("minLength", 0)), "."
    )


def _make_object(schema: JSON, root: JSON, path: Path, hints: _Hints) -> JSON:
    """Return an object with consistent fields: the country matches the place, the email address matches the name."""
    properties, required = schema.get("properties", {}), schema.get("required", ())
    names = sorted(properties, key=lambda name: name not in required)
    if len(path) > _MAX_DEPTH:
        names = [name for name in names if name in required]
    made: JSON = {}
    for name in names:
        made[name] = _make(properties[name], root, (name, *path), hints)
        places = [_COUNTRIES[each] for each in made.values() if isinstance(each, str) and each in _COUNTRIES]
        if "country" in _words_of(name) and places:
            made[name] = places[-1].removeprefix("the ")
        if made[name] == _FORMATS["email"][1] and isinstance(made.get("name"), str):
            made[name] = ".".join(re.findall(r"[a-z]+", made["name"].lower())) + "@example.com"
    return made


def _words_of(name: str) -> list[str]:
    """Return the words of a field's name in the singular, last word first."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    single = {"cities": "city", "countries": "country", "people": "person", "address": "address"}
    return [single.get(word, word.removesuffix("s")) for word in reversed(words)]


def _make_number(schema: JSON, name: str, hints: _Hints, *, is_whole: bool) -> int | float:
    least, most = _bounds_of(schema, 1 if is_whole else 0.1)
    low, high, *others = next((_RANGES[word] for word in _words_of(name) if word in _RANGES), _RANGES[""])
    allowed = others or (low, high)
    stated = hints.value_next_to(name, _NUMBER)
    found = next(
        (each for each in hints.numbers if allowed[0] <= each <= allowed[1] and least <= each <= most), None
    )
    value = found if stated is None else float(stated)
    if value in hints.numbers:
        hints.numbers.remove(value)
    if value is None:
        if max(low, least) > min(high, most):
            low, high = (least, least + 9) if math.isfinite(least) else (most - 9, most)
        low, high = max(low, least), min(high, most)
        value = low + (high - low) * pick(hints.prompt + name + hints.sample("1234567"), range(2, 9)) / 10
    value = min(max(value, least), most)
    return round(value) if is_whole else round(value, 1 if high - low > 1 else 2)


def _bounds_of(schema: JSON, step: float) -> tuple[float, float]:
    """Return the bounds from the schema or its description: the API accepts no bounds in schemas."""
    described = {word: float(text) for word, text in _BOUND.findall(str(schema.get("description", "")))}
    least = (
        schema.get("minimum"),
        described.get("at least"),
        _shifted(schema.get("exclusiveMinimum", described.get("more than")), step),
    )
    most = (
        schema.get("maximum"),
        described.get("at most"),
        _shifted(schema.get("exclusiveMaximum", described.get("less than")), -step),
    )
    return (
        max((each for each in least if each is not None), default=-math.inf),
        min((each for each in most if each is not None), default=math.inf),
    )


def _shifted(bound: float | None, step: float) -> float | None:
    return None if bound is None else bound + step


def _make_string(schema: JSON, path: Path, hints: _Hints) -> str:
    words = _words_of(path[0])
    stated = hints.value_next_to(path[0], r"[\"“'`][^\"”'`]+[\"”'`]")
    if stated is not None or hints.quoted:
        text = stated[1:-1] if stated is not None else hints.quoted[0]
        hints.quoted = [each for each in hints.quoted if each != text]
        return text
    kind = schema.get("format") or next(
        (_FORMAT_OF_WORD[word] for word in words if word in _FORMAT_OF_WORD), None
    )
    if kind is not None and kind in _FORMATS:
        pattern, fallback = _FORMATS[kind]
        found = re.search(rf"(?<![\w.-]){pattern}", hints.prompt)
        return found[0] if found and found[0] else fallback
    if not _PROMPTS.isdisjoint(words):
        return " ".join(hints.prompt.split())[:200] or "nothing was asked"
    if not _PROSE.isdisjoint(words):
        return f"This {words[0]} was made up by the simulator."
    return _make_name(words, path, hints)


def _make_name(words: Sequence[str], path: Path, hints: _Hints) -> str:
    """Return a name of the kind that the field's words or its parents' words indicate; a person's name by default."""
    around = [word for part in path[1:] for word in _words_of(part)] if "name" in words else []
    samples = next((_SAMPLES[word] for word in (*words, *around) if word in _SAMPLES), None)
    if samples is None and "name" in words:
        samples = _SAMPLES["person"]
    offered = {id(_SAMPLES["person"]): hints.people, id(_SAMPLES["city"]): hints.places}.get(id(samples))
    if samples is None:
        offered = hints.people or hints.places
    if samples is _SAMPLES["country"]:
        stated = next((place for place in hints.places if place in _COUNTRIES.values()), None)
        return stated or hints.sample(samples)
    if offered:
        return offered.pop(0)
    return hints.sample(samples) if samples else f"example {' '.join(reversed(words))}"


def _type_of(schema: JSON) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    return str(kind or ("object" if "properties" in schema else "array" if "items" in schema else "string"))


def _merged(schema: JSON, root: JSON) -> JSON:
    merged: JSON = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        resolved = resolve(part["$ref"], root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **resolved.get("properties", {})}
        required = [*merged.get("required", []), *resolved.get("required", [])]
        merged = {**merged, **resolved, "properties": properties, "required": required}
    return merged
