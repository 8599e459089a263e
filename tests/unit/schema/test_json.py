"""The JSON of an answer, whatever surrounds it."""

from __future__ import annotations

import json

import pytest

from claude_magic.client import ClaudeError
from claude_magic.schema import AnswerError, NoJSONError, extract_json


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (' \n[1, "ü"]\n', [1, "ü"]),
        ('"text"', "text"),
        ("42", 42),
        ("null", None),
        ('Sure!\n\n```json\n{"a": [1]}\n```\nDone.', {"a": [1]}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('```python\n{1: 2}\n```\n```json\n{"b": 2}\n```', {"b": 2}),
        ('The value is {"a": 1}, I think.', {"a": 1}),
        ('As in [1] and {x},\n{"b": {"c": 2}}\nsee [2].', {"b": {"c": 2}}),
        ('{"a": 1}{"b": 2}', {"a": 1}),
        ("\ufeff[1]", [1]),
    ],
)
def test_json_is_found(answer: str, value: object) -> None:
    """Bare, in a fence, or in prose: the first complete value, at a line start before one inside a sentence."""
    assert extract_json(answer) == value


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "is empty"),
        ("There is none.", "contains no complete JSON"),
        ('{"a": [1, 2', "JSON of the answer is incomplete (line 1, column 12)"),
        ('{\n  "a": 1,\n}', "line 3, column 1"),
        ("{'a': 1}", "line 1, column 2"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_an_answer_without_json_is_an_error_with_the_reason(answer: str, words: str) -> None:
    """Empty, prose, cut, or invalid JSON, with the position; the error keeps the text."""
    with pytest.raises(NoJSONError) as caught:
        extract_json(answer)

    assert words in caught.value.message
    assert caught.value.text == answer


def test_the_error_is_of_both_expected_types() -> None:
    """An error of this package, and a ValueError like those of `json`."""
    assert issubclass(NoJSONError, AnswerError)
    assert issubclass(AnswerError, ClaudeError)
    assert issubclass(AnswerError, ValueError)


@pytest.mark.parametrize("unit", ["{", "[1,", '{"a":', "[ "])
def test_unclosed_brackets_are_parsed_quickly(unit: str) -> None:
    """Parsing to the end from each of them would take hours, and end in the timeout."""
    with pytest.raises(NoJSONError):
        extract_json("words " + unit * 100_000)


CUT = '[{"a": 1, "n": null, "s": "x\\u00e9\\n", "f": -1.5e3}, {"b": [true, false, {}]}]'


@pytest.mark.parametrize("before", ["", "Here it is: ", "As in [1] and {x}:\n", "```json\n", "- ", "[sic] "])
@pytest.mark.parametrize("layout", [CUT, json.dumps(json.loads(CUT), indent=2)], ids=["line", "lines"])
def test_a_part_of_a_value_that_was_cut_is_not_the_value(before: str, layout: str) -> None:
    """At every length: an element of half an array would be taken for the whole answer."""
    for length in range(1, len(layout)):
        try:
            value = extract_json(before + layout[:length])
        except NoJSONError:
            continue
        assert value == [1], layout[:length]  # of "As in [1]"

    assert extract_json(before + layout) == json.loads(CUT)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('x = [{"a": 1},\n{"b": 2}]', [{"a": 1}, {"b": 2}]),
        ('{"a": 1} and then {"b": ', {"a": 1}),
        ('See [1].\n{"a": 1}', {"a": 1}),
        ("[x " * 10_000 + '\n{"a": 1}', {"a": 1}),
    ],
)
def test_an_element_of_a_whole_value_is_not_preferred_to_it(answer: str, value: object) -> None:
    """Not even one at the start of a line."""
    assert extract_json(answer) == value
