"""The spec of an answer: `name, age int, tags list[str]`."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from kinds import NAMES, Keeper

from claude_magic.client import ConfigurationError
from claude_magic.schema import make_output_schema
from claude_magic.simulator._checks import check_output_format


def read(spec: str, value: object) -> Any:
    """Make a schema, check it against the rules of the API, and parse a value."""
    schema = make_output_schema(spec, NAMES)
    check_output_format({"type": "json_schema", "schema": schema.json_schema})
    return schema.parse(json.dumps(value))


def fields(spec: str) -> dict[str, Any]:
    """Return the properties of the JSON schema of a spec."""
    properties: dict[str, Any] = make_output_schema(spec, NAMES).json_schema["properties"]
    return properties


def test_fields_become_an_object_with_a_good_repr() -> None:
    """It is readable as the last value of a cell."""
    answer = read("name, age int, tags list[str]", {"name": "Ada", "age": 36, "tags": ["x"]})

    assert answer.age == 36
    assert repr(answer) == "Answer(name='Ada', age=36, tags=['x'])"


@pytest.mark.parametrize(
    ("spec", "schema"),
    [
        ("f", {"type": "string"}),
        ("f str", {"type": "string"}),
        ("f: str", {"type": "string"}),
        ("f int", {"type": "integer"}),
        ("f float", {"type": "number"}),
        ("f bool", {"type": "boolean"}),
        ("f date", {"type": "string", "format": "date"}),
        ("f datetime", {"type": "string", "format": "date-time"}),
        ("f list", {"type": "array", "items": {"type": "string"}}),
        ("f list[list[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ("f happy|sad", {"type": "string", "enum": ["happy", "sad"]}),
        ("f: happy | sad", {"type": "string", "enum": ["happy", "sad"]}),
        ("f 'very happy'|\"so, so\"", {"type": "string", "enum": ["very happy", "so, so"]}),
        ("f 1|2|3", {"type": "integer", "enum": [1, 2, 3]}),
        ("f 1|2|many", {"type": "string", "enum": ["1", "2", "many"]}),
        ("f int|str", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("f int: in metres", {"type": "integer", "description": "in metres"}),
        ("f: a date of birth", {"type": "string", "description": "a date of birth"}),
        ("f: date of birth", {"type": "string", "description": "date of birth"}),
        ("f int: 'long, and wide'", {"type": "integer", "description": "long, and wide"}),
        ("f Lamp", {"$ref": "#/$defs/Lamp"}),
    ],
)
def test_a_field_has_a_type_and_a_description(spec: str, schema: dict[str, Any]) -> None:
    """Both are optional; a type may follow a colon, as in Python."""
    made = fields(f"first, {spec}")["f"]

    assert made == schema


@pytest.mark.parametrize("spec", ["a, f int?", "a, f? int", "a, f?: int", "a, f: int?"])
def test_a_question_mark_makes_a_field_optional(spec: str) -> None:
    """It is None if the answer leaves it out."""
    answer = read(spec, {"a": "x"})

    assert answer.f is None


def test_fields_may_be_on_separate_lines() -> None:
    """As in a triple-quoted string."""
    answer = read(
        "\n  name,\n  born date: of birth\n\n  tags list[str]\n",
        {"name": "A", "born": "1815-12-10", "tags": []},
    )

    assert answer.born == datetime.date(1815, 12, 10)


def test_objects_are_in_braces() -> None:
    """Alone, in lists, and nested."""
    answer = read(
        "name, keepers list[{name, since int, lamp {kind oil|led}}]",
        {"name": "x", "keepers": [{"name": "Ada", "since": 1863, "lamp": {"kind": "oil"}}]},
    )

    assert answer.keepers[0].lamp.kind == "oil"


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("int", 3),
        ("date", datetime.date(2026, 11, 22)),
        ("list[str]", ["a"]),
        ("happy|sad", "sad"),
        ("list[Keeper]", [Keeper(name="Ada", since=1863)]),
    ],
)
def test_a_type_alone_is_a_spec(spec: str, value: object) -> None:
    """The answer is the value, not an object around it."""
    plain = json.loads(
        json.dumps(
            value, default=lambda each: each.model_dump() if hasattr(each, "model_dump") else str(each)
        )
    )

    assert read(spec, {"value": plain}) == value


def test_fields_may_have_names_of_model_attributes() -> None:
    """Or be Python keywords."""
    answer = read(
        "copy, json, model_name, class", {"copy": "1", "json": "2", "model_name": "3", "class": "4"}
    )

    assert (answer.copy, answer.json, answer.model_name, getattr(answer, "class")) == ("1", "2", "3", "4")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "name, age strng",
            "there is no type strng (at character 11 of `name, age strng`). Did you mean str?",
        ),
        ("age number", "there is no type number (at character 5"),
        ("name the name", "(at character 6 of `name the name`). Types are str, int, float"),
        ("a int|b", "there is no type b"),
        ("a nope|int", "Types are str"),
        ("list[strng]", "there is no type strng (at character 6"),
        ("a,,b", "expected the name of a field (at character 3"),
        ("a, 1b", "expected the name of a field (at character 4"),
        ("a b|c extra", "expected a comma (at character 7"),
        ("a list[int", "expected ] (at its end"),
        ("a {b int", "expected a comma or } (at its end"),
        ("list[int] x", "expected nothing more (at character 11"),
        ("a dict[str, int]", "dict has free keys"),
        ("a, a", "the field a is given twice"),
        ("_a, b", "_a cannot be the name of a field (at character 1"),
        ("a " + "list[" * 20, "nested more than 12 deep"),
        ("a " + "{b " * 20, "nested more than 12 deep"),
    ],
)
def test_a_mistake_is_reported_with_its_position(spec: str, words: str) -> None:
    """With the reason and a suggestion."""
    with pytest.raises(ConfigurationError) as caught:
        make_output_schema(spec, NAMES)

    assert words in caught.value.message
    assert caught.value.message.startswith("--schema: ")
