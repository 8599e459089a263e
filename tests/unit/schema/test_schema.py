"""Output schemas: types of the user's, converted to the subset of the API, and checked in the answer."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kinds import NAMES, Course, Fleet, Harbour, Keeper, Lamp, Lighthouse, Tide
from typing_extensions import TypeAliasType

from claude_magic.client import ConfigurationError
from claude_magic.schema import OutputSchema, SchemaMismatchError, make_output_schema
from claude_magic.simulator._checks import check_output_format
from claude_magic.simulator._values import make_instance

USER_NAMES = {
    **NAMES,
    "keepers": list[Keeper],
    "courses": list[Course],
    "alias": TypeAliasType("alias", list[Keeper]),
    "somebody": Keeper(name="Ada", since=1800),
    "answer": 42,
    "models": SimpleNamespace(Keeper=Keeper),
}

LIGHTHOUSE = {
    "name": "Ouessant",
    "height": 54.85,
    "keepers": [{"name": "Ada", "since": 1863}],
    "head": {"name": "Bob", "since": 1900},
    "lamp": "Oil",
    "position": [48.4, -5.1],
    "lit": "1863-03-01",
    "price": "2.10",
    "tags": ["old"],
}


def schema(spec: str) -> OutputSchema:
    return make_output_schema(spec, USER_NAMES)


def accept(json_schema: dict[str, Any]) -> None:
    """Check a schema against the rules of the API."""
    check_output_format({"type": "json_schema", "schema": json_schema})


ACCEPTED = [
    "Keeper",
    "Lighthouse",
    "Tide",
    "Ship",
    "Harbour",
    "Home",
    "Lamp",
    "keepers",
    "alias",
    "models.Keeper",
]


@pytest.mark.parametrize("spec", ACCEPTED)
def test_the_api_supports_the_schema(spec: str) -> None:
    """Models, dataclasses, TypedDicts, enums and lists of them use only the subset that the API supports."""
    accept(schema(spec).json_schema)


@pytest.mark.parametrize("spec", ACCEPTED)
def test_the_top_of_a_schema_is_an_object(spec: str) -> None:
    """A type that is not an object is wrapped in one."""
    assert schema(spec).json_schema["type"] == "object"


@pytest.mark.parametrize("spec", ["Tide", "Ship", "Harbour", "Home", "Lamp", "name, age int, mood happy|sad"])
def test_a_value_that_satisfies_the_schema_can_be_parsed(spec: str) -> None:
    """A round trip: an instance of the schema becomes an object."""
    made = schema(spec)
    instance = make_instance(made.json_schema, "Ada since 1863, Bob since 1900 and 1902 and 1904")

    assert made.parse(json.dumps(instance)) is not None


def test_a_model_becomes_an_object_of_its_class() -> None:
    """With pydantic's conversions from JSON: enums, dates, decimals, tuples and sets."""
    lighthouse = schema("Lighthouse").parse(json.dumps(LIGHTHOUSE))

    assert isinstance(lighthouse, Lighthouse)
    assert lighthouse.lamp is Lamp.OIL
    assert lighthouse.position == (48.4, -5.1)
    assert lighthouse.lit.year == 1863
    assert lighthouse.tags == {"old"}


def test_a_dataclass_becomes_an_instance() -> None:
    """Its nested models too."""
    tide = schema("Tide").parse('{"port": "Brest", "metres": 3, "keepers": [{"name": "Ada", "since": 1863}]}')

    assert tide == Tide("Brest", 3.0, [Keeper(name="Ada", since=1863)])


def test_a_typed_dict_becomes_a_dict() -> None:
    """Also a `typing.TypedDict` on Python 3.11, which pydantic rejects, and one inside another."""
    harbour: Harbour = schema("Harbour").parse('{"ships": [{"name": "Erika"}], "flag": null}')

    assert harbour == {"ships": [{"name": "Erika"}], "flag": None}


def test_nested_typed_dicts_are_supported() -> None:
    """In a dataclass inside another TypedDict, in a list; a recursive one is refused like any recursive type."""
    course = schema("Course").parse(
        '{"name": "north", "fleet": {"ships": [{"name": "Erika"}], "flag": {"name": "Ada", "tonnes": 3}}}'
    )

    assert course == {
        "name": "north",
        "fleet": Fleet(ships=[{"name": "Erika"}], flag={"name": "Ada", "tonnes": 3}),
    }
    assert schema("Course").json_schema["required"] == ["name"]
    assert schema("courses").parse('[{"name": "north"}]') == [{"name": "north"}]
    with pytest.raises(ConfigurationError, match="Buoy is recursive"):
        schema("Buoy")


def test_a_list_is_wrapped_for_the_api_and_unwrapped_for_the_user() -> None:
    """An unwrapped one, from a server without structured outputs, is accepted too."""
    made = schema("keepers")

    assert made.parse('{"value": [{"name": "Ada", "since": 1863}]}') == [Keeper(name="Ada", since=1863)]
    assert made.parse('[{"name": "Ada", "since": 1863}]') == [Keeper(name="Ada", since=1863)]


def test_the_answer_may_be_in_a_fence() -> None:
    """As from servers without structured outputs."""
    assert schema("Keeper").parse('Here:\n```json\n{"name": "Ada", "since": 1863}\n```').since == 1863


@pytest.mark.parametrize("spelled", ["oil", "OIL", "Oil"])
def test_the_case_of_enum_values_is_corrected(spelled: str) -> None:
    """The API guarantees the words, not their case."""
    lighthouse = schema("Lighthouse").parse(json.dumps({**LIGHTHOUSE, "lamp": spelled}))

    assert lighthouse.lamp is Lamp.OIL


# What the API does not know


def test_bounds_are_described_and_still_checked() -> None:
    """Numeric bounds, lengths and unsupported patterns move into the description."""
    made = schema("Lighthouse")
    properties = made.json_schema["properties"]

    assert properties["name"]["description"] == "at least 2 characters; matches the regular expression ^\\w+?"
    assert properties["keepers"]["description"] == "at most 9 items"
    assert properties["keepers"]["minItems"] == 1
    assert properties["head"]["description"] == "the head keeper"
    assert (
        properties["head"]["properties"]["since"]["description"] == "first year (at least 1700; at most 2100)"
    )
    with pytest.raises(SchemaMismatchError, match=r"keepers\[0\]\.since: .*greater than or equal to 1700"):
        made.parse(json.dumps({**LIGHTHOUSE, "keepers": [{"name": "Ada", "since": 12}]}))


def test_a_tuple_is_a_list_of_known_length() -> None:
    """The API supports only one schema for all items."""
    position = schema("Lighthouse").json_schema["properties"]["position"]

    assert position == {
        "type": "array",
        "items": {"type": "number"},
        "description": "at least 2 items; at most 2 items",
    }


def test_an_optional_field_is_not_a_union_with_null() -> None:
    """The API limits both, and one of them is enough."""
    made = schema("Lighthouse").json_schema

    assert made["properties"]["height"] == {"type": "number"}
    assert "height" not in made["required"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("Tree", r"Tree is recursive \(Tree → Tree, at Tree\.children\[\]\)"),
        ("Even", r"recursive \((Even → Odd → Even|Odd → Even → Odd)"),
        ("Scores", r"Scores\.scores is a dict with free keys"),
        ("Anything", r"Anything\.thing may be anything"),
        ("Bag", r"Bag\.things is a list of anything"),
        ("answer", "answer is of type int, not a class. Name a pydantic model, a dataclass or a TypedDict"),
        ("somebody", "somebody is an instance of Keeper. Name the class itself"),
        ("Keper", "there is no type Keper. Did you mean Keeper?"),
        ("nope", "there is no type nope. Define it first"),
        (
            "verdict",
            "there is no type verdict. Define it first; as a field, give it a type, such as `verdict str`",
        ),
        ("models.Ship", "models has no Ship"),
        ("", "say what the answer should be"),
        (", ".join(f"f{n}?" for n in range(25)), "25 optional fields, and the API takes at most 24"),
        (
            ", ".join(f"f{n} int|str" for n in range(17)),
            "17 fields of several types, and the API takes at most 16",
        ),
    ],
)
def test_an_unsupported_type_is_refused_with_its_place(spec: str, words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        schema(spec)

    assert caught.value.message.endswith(" Nothing was sent.")
    assert caught.value.message.count("Nothing was sent") == 1


def test_a_class_that_is_not_a_model_is_refused() -> None:
    """With pydantic's reason and the name that the user typed."""

    class Plain:
        pass

    with pytest.raises(ConfigurationError, match="Plain cannot be read from JSON"):
        make_output_schema("Plain", {"Plain": Plain})


def test_only_the_users_names_are_looked_up() -> None:
    """An undefined name is not searched elsewhere."""
    with pytest.raises(ConfigurationError, match="there is no type Keeper"):
        make_output_schema("Keeper", {})


# What does not fit


def test_a_mismatch_gives_place_and_reason_and_keeps_the_text() -> None:
    """Each problem with its field and, if it is short, the value."""
    text = '{"name": 3, "keepers": []}'

    with pytest.raises(SchemaMismatchError) as caught:
        schema("Lighthouse").parse(text)

    assert caught.value.text == text
    assert caught.value.problems[0] == "name: Input should be a valid string (it is 3)"
    assert "head: Field required" in caught.value.problems
    assert str(caught.value).startswith(
        "The answer does not fit Lighthouse: name: Input should be a valid string"
    )
    assert str(caught.value).endswith("reply.text has the original text.")


def test_many_problems_are_counted_not_listed() -> None:
    """The message stays readable; `problems` contains all of them."""
    text = json.dumps({**LIGHTHOUSE, "keepers": [{"name": "Ada", "since": 1}] * 9})

    with pytest.raises(SchemaMismatchError, match="and 4 more") as caught:
        schema("Lighthouse").parse(text)

    assert len(caught.value.problems) == 9


@pytest.mark.parametrize("text", ["", "I would rather not.", '{"name": "Ou'])
def test_no_json_is_a_mismatch_too(text: str) -> None:
    """A refusal, or an answer that was cut."""
    with pytest.raises(SchemaMismatchError, match="does not fit Keeper") as caught:
        schema("Keeper").parse(text)

    assert caught.value.text == text
