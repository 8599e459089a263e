"""Values for a schema come from the prompt where possible, and otherwise are plausible by name, type and bounds."""

from __future__ import annotations

import datetime
import json
import re

import pytest

from claude_magic.simulator._values import make_instance

TEXT, WHOLE, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def fields(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


def listed(items):
    return {"type": "array", "items": items}


KEEPER = fields(name=TEXT, age=WHOLE)


@pytest.mark.parametrize(
    "prompt", ["Invent a keeper.", "Invent a programmer", "Suggest somebody", "Generate 3", "Create", ""]
)
def test_a_name_is_a_name_and_an_age_an_age(prompt):
    """The first word of the sentence is not a name, and its number is not an age."""
    value = make_instance(KEEPER, prompt)

    assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", value["name"])
    assert value["name"].split()[0] not in prompt
    assert 18 <= value["age"] <= 90 or value["age"] == 3


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Invent a keeper called Ada", {"name": "Ada"}),
        ("Invent a keeper called Ada, aged 40.", {"name": "Ada", "age": 40}),
        ("Extract: Ada Lovelace, 36", {"name": "Ada Lovelace", "age": 36}),
        ("Ada Lovelace is 36", {"name": "Ada Lovelace", "age": 36}),
        ("Ada is 36, Bob is older.", {"name": "Ada", "age": 36}),
        ('A keeper whose name is "grace"', {"name": "grace"}),
        ("Invent Bob from Paris.", {"name": "Bob"}),
    ],
)
def test_what_the_prompt_says_is_used(prompt, expected):
    """Names and ages come from the prompt."""
    assert make_instance(KEEPER, prompt).items() >= expected.items()


def test_a_number_of_things_is_no_value_but_how_many():
    """`3 keepers` gives three different entries."""
    value = make_instance(fields(keepers=listed(KEEPER)), "Invent 3 keepers")

    assert len({each["name"] for each in value["keepers"]}) == 3
    assert all(18 <= each["age"] <= 90 for each in value["keepers"])


@pytest.mark.parametrize(
    ("name", "schema", "fits"),
    [
        ("email", TEXT, r"[\w.]+@example\.com"),
        ("contact_email", TEXT, r"[\w.]+@example\.com"),
        ("date", TEXT, r"\d{4}-\d\d-\d\d"),
        ("birthday", TEXT, r"\d{4}-\d\d-\d\d"),
        ("created", {"type": "string", "format": "date-time"}, r"\d{4}-\d\d-\d\dT.*Z"),
        ("website", TEXT, r"https://example\.com/"),
        ("city", TEXT, "Lisbon"),
        ("country", TEXT, "Portugal"),
        ("first_name", TEXT, "Ada"),
        ("lastName", TEXT, "Morgan"),
        ("phone", TEXT, r"\+[\d ]+"),
        ("currency", TEXT, "EUR"),
        ("colour", TEXT, "blue"),
        ("sentiment", TEXT, "positive"),
        ("sentiment", {"enum": ["bad", "good"]}, "bad"),
        ("level", {"enum": [3, 1]}, "3"),
        ("summary", TEXT, r"This summary was made up by the simulator\."),
        ("is_open", {"type": "boolean"}, "True"),
        ("anything_else", TEXT, "example anything else"),
    ],
)
def test_a_text_is_plausible_by_its_fields_name_and_type(name, schema, fits):
    """These are typical fields of first schemas."""
    assert re.fullmatch(fits, str(make_instance(fields(**{name: schema}), "")[name]))


@pytest.mark.parametrize(
    ("name", "schema", "least", "most"),
    [
        ("age", WHOLE, 18, 90),
        ("rating", WHOLE, 1, 5),
        ("stars", NUMBER, 1, 5),
        ("price", NUMBER, 1, 100),
        ("year", WHOLE, 1900, 2026),
        ("month", WHOLE, 1, 12),
        ("confidence", NUMBER, 0, 1),
        ("latitude", NUMBER, -90, 90),
        ("rating", {"type": "integer", "minimum": 7, "maximum": 9}, 7, 9),
        ("age", {"type": "integer", "minimum": 100}, 100, 120),
        ("score", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.01, 0.99),
        ("score", {"type": "integer", "description": "at least 40; at most 50"}, 40, 50),
        ("count", {"type": "integer", "description": "more than 100"}, 101, 120),
        ("debt", {"type": "integer", "maximum": -5}, -20, -5),
    ],
)
@pytest.mark.parametrize("prompt", ["", "Invent one.", "Something else", "Once more"])
def test_a_number_is_plausible_and_in_its_bounds(name, schema, least, most, prompt):
    """Bounds come from keywords, or from descriptions if the API accepts no such keywords."""
    value = make_instance(fields(**{name: schema}), prompt)[name]

    assert least <= value <= most
    assert isinstance(value, int) or schema["type"] == "number"


def test_what_belongs_together_fits_together():
    """The country matches the place, the address matches the name; names in a list of ports are places."""
    route = fields(ports=listed(fields(name=TEXT, country=TEXT)), nautical_miles=WHOLE)
    person = make_instance(fields(name=TEXT, email=TEXT, city=TEXT, country=TEXT), "Invent somebody in Oslo.")

    value = make_instance(route, "Plan a trip from Brest to Plymouth")

    assert value["ports"] == [
        {"name": "Brest", "country": "France"},
        {"name": "Plymouth", "country": "United Kingdom"},
    ]
    assert 20 <= value["nautical_miles"] <= 400
    assert person == {
        "name": "Ada Morgan",
        "email": "ada.morgan@example.com",
        "city": "Oslo",
        "country": "Norway",
    }


def test_lists_hold_different_things_and_nesting_ends():
    """Nested objects end as well. Optional fields are included up to a depth."""
    node = {
        "type": "object",
        "properties": {"name": TEXT, "children": {"type": "array", "items": {}}},
        "required": ["name"],
    }
    node["properties"]["children"]["items"] = node

    languages = make_instance(fields(languages=listed(TEXT)), "")["languages"]
    tree = make_instance(node, "")

    assert languages == ["Python", "SQL", "R"]
    assert json.dumps(tree)


def test_arguments_of_a_call_come_from_the_prompt():
    """Arguments are quoted texts, and numbers before or after the argument's name."""
    call = fields(port=TEXT, day=WHOLE)

    assert make_instance(call, 'Use tide_table for port "Brest" and day 3, please.') == {
        "port": "Brest",
        "day": 3,
    }
    assert make_instance(fields(city=TEXT, days=WHOLE), "How is Oslo in the next 3 days?") == {
        "city": "Oslo",
        "days": 3,
    }
    assert make_instance(fields(query=TEXT), "Find lighthouses") == {"query": "Find lighthouses"}


def test_a_date_is_one():
    """It is a valid calendar date."""
    assert datetime.date.fromisoformat(make_instance(fields(day=TEXT), "")["day"])
