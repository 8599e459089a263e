"""The content of results for the model."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import io
import itertools
import json
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import BaseModel

from claude_magic.tools._call import Content, describe_failure, outcome_of, take_async


def content_of(value: object) -> Content:
    """Return the content for a value."""
    return outcome_of(value).content


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
    """Also pydantic models, at any depth."""
    assert content_of(value) == content


def test_an_empty_result_is_described() -> None:
    """The API would reject an empty one."""
    assert "nothing" in content_of(None)
    assert "empty" in content_of("")


def test_objects_in_data_are_named_by_their_type() -> None:
    """Instead of an error that the model cannot fix, or an address."""
    outcome = outcome_of({"x": object()})

    assert json.loads(outcome.content) == {"x": "<object>"}
    assert outcome.notes == ("Only the type of a builtins.object is sent: its repr shows nothing else.",)


def picture(color: str = "red") -> Image.Image:
    return Image.new("RGB", (4, 4), color)


def png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    picture(color).save(buffer, "PNG")
    return buffer.getvalue()


@dataclasses.dataclass
class Panel:
    name: str
    drawn: Any


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (("Panel", picture()), ['["Panel",', None, "]"]),
        ({"a": picture(), "b": [picture("blue")]}, ['{"a":', None, ',"b":[', None, "]}"]),
        (Panel("x", picture()), ['{"name":"x","drawn":', None, "}"]),
        ([{"png": png()}], ['[{"png":', None, "}]"]),
        (io.BytesIO(png()), [None]),
        ((each for each in ["a", picture()]), ['["a",', None, "]"]),
    ],
    ids=["tuple", "dict", "dataclass", "bytes", "buffer", "generator"],
)
def test_images_in_data_are_blocks_in_their_places(value: Any, texts: list[str | None]) -> None:
    """At any depth; the data around them is unchanged."""
    content = content_of(value)

    assert isinstance(content, list)
    assert [block.get("text") for block in content] == texts
    assert [block["type"] for block in content] == ["image" if text is None else "text" for text in texts]


def test_the_axes_of_a_figure_are_one_image() -> None:
    """In data, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        figure_class = importlib.import_module("matplotlib.figure").Figure
    axes = figure_class().subplots(2, 2)

    content = content_of({"axes": axes})

    assert [block["type"] for block in content] == ["text", "image", "text"]


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ((number for number in (1, 2)), "[1,2]"),
        (map(str, [1, 2]), '["1","2"]'),
        (iter({"a": 1}), '["a"]'),
        ((each for each in ()), "[]"),
        ({"rows": zip("ab", [1, 2], strict=True)}, '{"rows":[["a",1],["b",2]]}'),
    ],
)
def test_the_values_of_a_generator_are_the_result(value: Any, content: str) -> None:
    """It was made for this call, so no other code needs it."""
    assert content_of(value) == content


def test_an_infinite_generator_is_stopped_and_closed() -> None:
    """The result reports that there is more."""
    closed: list[bool] = []

    def count() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    content = content_of(count())

    assert content.startswith("[0,1,2,")
    assert content.endswith(",999]\n[The function yields more; it was stopped after 1,000 values.]")
    assert closed == [True]
    assert content_of({"inner": count()}).endswith(",999]}")


def test_an_async_generator_is_read_and_closed() -> None:
    """Up to its limit."""

    async def count(end: int) -> AsyncIterator[int]:
        for number in range(end):
            yield number

    assert content_of(asyncio.run(take_async(count(3)))) == "[0,1,2]"
    assert "stopped after 1,000" in content_of(asyncio.run(take_async(count(10**9))))


def test_an_exception_of_a_generator_is_the_error_of_the_call() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("no water")

    with pytest.raises(ValueError, match="no water"):
        outcome_of(fail())


@pytest.mark.parametrize(
    "value",
    [png()[:60], io.BytesIO(png()[:60]), type("Chart", (), {"_repr_png_": lambda self: png()[:60]})()],
)
def test_a_damaged_image_becomes_text_for_the_model(value: Any) -> None:
    """With a note for the user; the answer continues."""
    outcome = outcome_of(value)

    assert isinstance(outcome.content, str)
    assert outcome.content.startswith("[It cannot be shown: the result: the picture is damaged")
    assert "damaged" in outcome.notes[0]
    assert "Nothing was sent" not in outcome.content


def test_a_damaged_image_in_data_is_replaced_by_text() -> None:
    """The rest of the data is unchanged."""
    outcome = outcome_of({"name": "chart", "drawn": io.BytesIO(png()[:60])})

    assert json.loads(outcome.content)["name"] == "chart"
    assert "cannot be shown" in json.loads(outcome.content)["drawn"]


def test_changes_to_a_result_are_noted() -> None:
    """As for attachments."""
    assert (
        outcome_of(Image.new("I;16", (4, 4), 7)).notes[0].startswith("A picture was reduced from mode I;16")
    )


def test_tables_and_images_are_sent_as_in_a_prompt() -> None:
    """Described, or as content blocks."""
    assert "2 rows" in content_of(pd.DataFrame({"a": [1, 2]}))
    (block,) = content_of(Image.new("RGB", (4, 4)))
    assert block["type"] == "image"


def test_a_large_result_is_cut_and_says_so() -> None:
    """The model must know that there is more."""
    content = content_of("x" * 100_000)

    assert len(content) < 61_000
    assert "100,000 characters" in content


def test_an_error_is_shortened_and_keeps_its_end() -> None:
    """The end of a traceback is most informative."""

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


def test_a_result_that_is_not_json_is_described() -> None:
    """The function succeeded, so the call has not failed."""
    endless: list[Any] = []
    endless.append(endless)

    assert "itself" in content_of(endless)
    assert "a" in content_of({"a": "\ud800"})


def test_secrets_are_redacted() -> None:
    """In results and in errors: the model chose the call, and the user did not type it."""
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


def test_an_error_with_a_long_message_keeps_its_type() -> None:
    """Type and beginning first, then the end of the traceback."""

    def fail() -> None:
        raise ValueError("no water " * 10_000)

    try:
        fail()
    except ValueError as error:
        text = describe_failure(error)

    assert text.startswith("ValueError: no water")
    assert len(text) < 4_000
