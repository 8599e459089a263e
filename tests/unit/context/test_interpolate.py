"""`{{ expression }}`: which braces are replaced, which are sent as typed, and the notes."""

from __future__ import annotations

import datetime
import enum
import warnings
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest

from claude_magic.client import ConfigurationError
from claude_magic.context import interpolate


class Mood(enum.StrEnum):
    CALM = "calm"


NAMES: dict[str, Any] = {
    "x": 3,
    "y": 4,
    "city": "Oslo",
    "nested": {"k": {"z": 1}},
    "double": lambda value: value * 2,
    "template": "{{ x }} and {city}",
}


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("{{ x }}", "3"),
        ("{{x}}", "3"),
        ("a {{ x }}{{ y }} b", "a 34 b"),
        ("{{ x + y }}", "7"),
        ("{{ -x }}", "-3"),
        ("{{ 2 * x }}", "6"),
        ("{{ not x }}", "False"),
        ("{{ double(x) }}", "6"),
        ("{{ city.upper() }}", "OSLO"),
        ("{{ city[0] }}", "O"),
        ("{{ nested['k'] }}", "{'z': 1}"),
        ("{{ x if y else city }}", "3"),
        ("{{ double(len(city)) }}", "8"),
        ("{{ [n for n in city] }}", "['O', 's', 'l', 'o']"),
        ("{{ x + max(x for x in [1, 2]) }}", "5"),
        ("{{ double(\n    x\n) }}", "6"),
        ("{{ x  # how many }}", "3"),
    ],
)
def test_an_expression_about_the_users_names_becomes_its_value(typed: str, sent: str) -> None:
    """The root is the user's variable, and every other name exists."""
    assert interpolate(typed, NAMES).text == sent


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("{{ {'a': {'b': x}} }}", "{'a': {'b': 3}}"),
        ("{{ {'a': {'b': x}}}}", "{'a': {'b': 3}}"),
        ("{{ double({'a': {'b': x}}['a']['b']) }}", "6"),
        ("{{ f'{x}}}' }}", "3}"),
        ("{{ f'{x:.2f}' }}!", "3.00!"),
        ("{{ template.replace('}}', '>') }}", "{{ x > and {city}"),
        ("{{ x }}}", "3}"),
        ("{ {{ x }}}", "{ 3}"),
    ],
)
def test_braces_inside_an_expression_do_not_end_it(typed: str, sent: str) -> None:
    """It ends at the first `}}` that completes an expression."""
    assert interpolate(typed, NAMES).text == sent


@pytest.mark.parametrize(
    "typed",
    [
        "{x} and {city}",
        '{"a": {"b": {"c": 1}}}',
        "{{'a', 'b'}, {'c'}}",
        "int grid[2][2] = {{1, 2}, {3, 4}};",
        r"\frac{\mathbf{{a}}}{{b}^{{2}}}",
        'f"{{literal}} {value!r:>{width}}"',
        "@media { .a { color: red } }",
        "body {{ color: red; }}",
        "{{ user.name | upper }}",
        "{% raw %}{{ user }}{% endraw %}",
        "{{% raw %}}",
        "{{# section }}{{/ section }}",
        "{{{ x }}} and {{{{ x }}}}",
        "{{ _('Hello') }}",
        "{{ 'text' }} {{ 1 + 1 }} {{ None }}",
        "{{ lambda: 1 }}",
        "{{}} {{ }} }} {{ {{",
        "{{ x",
        "{{ x := 5 }} {{ x; y }} {{ yield x }} {{ await x }} {{ *x }}",
        "{{ x\x00 }}",
        "${{ secrets.TOKEN }}",
        "{{ print }} {{ len(city) }} {{ __import__('os') }}",
        "{{ x + nowhere }}",
        "{{ it's }} {{ x",
        "{{ " + "(" * 400 + "x" + ")" * 400 + " }}",
    ],
)
def test_text_without_the_users_names_is_sent_as_typed(typed: str) -> None:
    """Code, JSON, LaTeX and templates, character by character."""
    collected = interpolate(typed, NAMES)

    assert collected.parts == (typed,)


def test_a_template_with_gettext_is_sent_as_typed() -> None:
    """`_` is the last output of a notebook, and not a function unless the user makes it one."""
    typed = "{{ _('Hello') }} {{ _ }}"

    assert interpolate(typed, {"_": 5}).text == "{{ _('Hello') }} 5"
    assert interpolate(typed, {"_": str}).text.startswith("Hello ")


def test_values_are_not_searched_for_expressions() -> None:
    """A value with double braces in it is inserted as it is."""
    assert interpolate("{{ template }} {{ x }}", NAMES).text == "{{ x }} and {city} 3"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("it's\n{{ }}", "it's\n{{ }}"),
        (Mood.CALM, "calm"),
        (1.5, "1.5"),
        (True, "True"),
        (None, "None"),
        (np.float64(1.5), "1.5"),
        (np.int8(3), "3"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (pd.Timestamp("2026-01-02 03:04"), "2026-01-02 03:04:00"),
        (Decimal("1.50"), "1.50"),
        (PurePosixPath("a/b"), "a/b"),
    ],
)
def test_single_values_read_well_in_a_sentence(value: object, sent: str) -> None:
    """Without quotes or constructors."""
    assert interpolate("<{{ value }}>", {"value": value}).text == f"<{sent}>"


def test_a_named_string_is_sent_in_full() -> None:
    """The user named all of it, even if it looks like a key; a note reports its length."""
    text = "sk-ant-api03-" + "a" * 90 + "\n" + "long " * 20_000

    collected = interpolate("{{ text }}", {"text": text})

    assert collected.parts == (text,)
    assert collected.redacted == ()
    assert collected.notes == (f"{{{{ text }}}} is sent in full: {len(text):,} characters.",)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("{{ foo }}", "there is no variable `foo`"),
        ("{{ x + foo }}", "there is no variable `foo`"),
        ("{{ len(x) }}", "{{ len(x) }} begins with Python's own `len`"),
        ("{{ x:.2f }}", "{{ x:.2f }} is not a Python expression"),
        ("{{ x +\n }}", "{{ x + }} is not a Python expression"),
        ("{{ 1 }}", "{{ 1 }} uses none of your variables"),
    ],
)
def test_a_note_says_why_braces_are_sent_as_typed(typed: str, reason: str) -> None:
    """Only a note, not an error."""
    assert interpolate(typed, NAMES).notes == (f"Sent as typed: {reason}.",)


def test_a_note_on_several_expressions_gives_each_reason() -> None:
    """With its own reason."""
    (note,) = interpolate("{{ foo }} {{ 1 }}", NAMES).notes

    assert (
        note
        == "Sent as typed: {{ foo }} (there is no variable `foo`); {{ 1 }} (it uses none of your variables)."
    )


def test_there_is_one_note_for_all_expressions_sent_as_typed() -> None:
    """It lists the first three, each once."""
    typed = "".join(f"{{{{ name{number} }}}}" for number in range(50)) * 2

    (note,) = interpolate(typed, NAMES).notes

    assert note.startswith("Sent as typed: {{ name0 }} (there is no variable `name0`); ")
    assert note.endswith("; and 47 more.")


def test_code_in_double_braces_leaves_no_note() -> None:
    """It is clearly not meant as a value."""
    assert interpolate("{{1, 2}, {3}} {{'a': 1}, {}} {{% raw %}}", NAMES).notes == ()


def test_an_expression_that_raises_stops_the_question() -> None:
    """The error names the expression and its exception."""
    with pytest.raises(ConfigurationError) as caught:
        interpolate("a {{ city.nope }}", NAMES)

    assert str(caught.value) == (
        "{{ city.nope }} raised AttributeError: 'str' object has no attribute 'nope'. Nothing was sent."
    )


def test_an_error_is_shortened_and_redacted() -> None:
    """Messages of other code may be long, contain secrets, or fail."""

    def fail(message: object) -> None:
        raise ValueError(message)

    class Untold:
        def __str__(self) -> str:
            raise RuntimeError

    key = "sk-ant-api03-" + "a" * 90

    with pytest.raises(ConfigurationError) as long:
        interpolate("{{ fail(key + ' ' + 'word ' * 10_000) }}", {"fail": fail, "key": key})
    with pytest.raises(ConfigurationError) as untold:
        interpolate("{{ fail(thing) }}", {"fail": fail, "thing": Untold()})

    assert key not in str(long.value)
    assert len(str(long.value)) < 600
    assert "raised ValueError: <ValueError, whose str raises RuntimeError>. Nothing" in str(untold.value)


def test_prose_in_double_braces_raises_no_warning() -> None:
    """Python would warn of invalid escapes in prose."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collected = interpolate(r"{{ city.split('\d') }} {{ '\d' is x }}", NAMES)

    assert collected.text == "['Oslo'] False"


def test_an_expression_leaves_nothing_behind() -> None:
    """It does not define names in the user's namespace."""
    names = dict(NAMES)

    interpolate("{{ (fresh := x) }} {{ [x for _ in city] }}", names)

    assert names == NAMES


@pytest.mark.parametrize(
    "unit", ["{{ x }} ", "{{ nope }} ", "{{ ", "{{x ", "{{ x( }} ", "{{ x ' }} ", "}}", "{{ ((x ", "{{ {x: "]
)
def test_any_number_of_braces_is_parsed_quickly(unit: str) -> None:
    """The work is linear; the timeout of the suite is the limit."""
    text = unit * (300_000 // len(unit))

    collected = interpolate(text, NAMES)

    assert collected.text == (text if "{{ x }}" not in text else text.replace("{{ x }}", "3"))


@pytest.mark.parametrize(
    ("typed", "guess"),
    [
        ("{{ dff }}", "df"),
        ("{{ Df.head() }}", "df"),
        ("{{ df.merge(slaes) }}", "sales"),
        ("{{ sale }}", "sales"),
        ("{{ err[-1] }}", "Err"),
        ("{{ [n for n in slaes] }}", "sales"),
    ],
)
def test_a_typo_of_a_variable_is_not_sent(typed: str, guess: str) -> None:
    """Other words in braces are sent as typed."""
    names = {"df": Frame(), "sales": [1], "Err": []}

    with pytest.raises(ConfigurationError, match=f"Did you mean {guess}") as caught:
        interpolate(f"Look at {typed}.", names)

    assert caught.value.message.endswith("Nothing was sent.")
    assert (
        interpolate("{{ user.name }} and {{ title | upper }}", names).text
        == "{{ user.name }} and {{ title | upper }}"
    )


class Frame:
    """A class with the methods that the prompts above call."""

    def head(self) -> str:
        return "head"

    def merge(self, other: object) -> object:
        return other
