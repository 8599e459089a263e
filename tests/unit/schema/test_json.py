"""The JSON of an answer, whatever surrounds it."""

from __future__ import annotations

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
