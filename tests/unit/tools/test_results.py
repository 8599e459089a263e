"""What a model gets for what a function gave back."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from pydantic import BaseModel

from claude_magic.tools._results import content_of, describe_failure


class Port(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("high", "high"),
        ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        (Port(name="Brest"), '{"name":"Brest"}'),
        (7, "7"),
        (True, "true"),
        ([Port(name="Brest")], '[{"name":"Brest"}]'),
    ],
)
def test_data_is_json_and_text_is_text(value: Any, content: str) -> None:
    """Models of pydantic too, also inside."""
    assert content_of(value) == content


def test_nothing_is_said_in_words() -> None:
    """An empty result would be refused."""
    assert "nothing" in content_of(None)
    assert "empty" in content_of("")


def test_what_json_cannot_express_is_its_repr() -> None:
    """Rather than an error that the model cannot repair."""
    assert "object at" in json.loads(content_of({"x": object()}))["x"]


def test_tables_and_pictures_are_what_they_are_in_a_prompt() -> None:
    """Described, or as content blocks."""
    assert "2 rows" in content_of(pd.DataFrame({"a": [1, 2]}))
    (block,) = content_of(Image.new("RGB", (4, 4)))
    assert block["type"] == "image"


def test_a_large_result_is_cut_and_says_so() -> None:
    """The model must know that there is more."""
    content = content_of("x" * 100_000)

    assert len(content) < 61_000
    assert "100,000 characters" in content


def test_a_failure_is_bounded_and_ends_with_what_happened() -> None:
    """The end of a traceback says most."""

    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError("no water")

    try:
        fail(200)
    except ValueError as error:
        text = describe_failure(error)

    assert len(text) < 4_000
    assert text.rstrip().endswith("ValueError: no water")
