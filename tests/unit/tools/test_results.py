"""What a model gets for what a function gave back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import BaseModel

from claude_magic.tools._results import content_of, describe_failure


class Port(BaseModel):
    name: str


@dataclasses.dataclass
class Boat:
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
        (Boat("Ada"), '{"name":"Ada"}'),
        ({"x": np.float64(1.5), "y": np.arange(3)}, '{"x":1.5,"y":[0,1,2]}'),
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


def test_a_result_that_json_cannot_hold_is_described_instead() -> None:
    """The function has done its work; that its result is odd is no failure of it."""
    endless: list[Any] = []
    endless.append(endless)

    assert "itself" in content_of(endless)
    assert "a" in content_of({"a": "\ud800"})


def test_secrets_stay_here() -> None:
    """In what a function read, and in how it failed: the model chose what to call, nobody typed it."""
    key = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"

    def fail() -> None:
        raise ValueError(f"refused: {key}")

    try:
        fail()
    except ValueError as error:
        failure = describe_failure(error)

    for text in (content_of(key), content_of({"key": key}), content_of("x" * 59_990 + key), failure):
        assert "abcdefgh" not in text
    assert "ValueError: refused: [REDACTED]" in failure


def test_a_failure_with_a_long_message_still_says_what_it_is() -> None:
    """Type and beginning first, then the end of the traceback."""

    def fail() -> None:
        raise ValueError("no water " * 10_000)

    try:
        fail()
    except ValueError as error:
        text = describe_failure(error)

    assert text.startswith("ValueError: no water")
    assert len(text) < 4_000
