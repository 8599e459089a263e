"""Figures, pictures and their files: content blocks of a size that the API can use."""

from __future__ import annotations

import base64
import importlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from IPython.display import Image as ShownImage
from PIL import Image

from claude_magic.client import ConfigurationError
from claude_magic.context import Collected, describe, image_block, interpolate


def picture_of(collected: Collected) -> Image.Image:
    """Return the one picture in what was collected."""
    (block,) = collected.parts
    assert isinstance(block, dict)
    source = block["source"]
    picture = Image.open(io.BytesIO(base64.b64decode(source["data"])))
    assert source["type"] == "base64"
    assert source["media_type"] == f"image/{str(picture.format).lower()}"
    return picture


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def plt() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # an old matplotlib calls a new pyparsing by old names
        pyplot = importlib.import_module("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    return pyplot


@pytest.fixture
def figure(plt: Any) -> Iterator[Any]:
    figure, axes = plt.subplots()
    axes.plot([1, 3, 2])
    yield figure
    plt.close("all")


def test_a_figure_in_a_prompt_is_a_picture_between_its_words(figure: Any) -> None:
    """The text around it stays where it was."""
    collected = interpolate("What is odd in {{ figure }}?", {"figure": figure})

    before, block, after = collected.parts
    assert (before, after) == ("What is odd in ", "?")
    assert isinstance(block, dict)
    assert block["type"] == "image"


def test_a_part_of_a_figure_stands_for_the_figure(plt: Any, figure: Any) -> None:
    """Axes, lines, subfigures: what plotting functions return."""
    (axes,) = figure.axes
    subfigure = plt.figure().subfigures(1, 2)[0]

    for part in (figure, axes, axes.lines[0], subfigure, subfigure.subplots()):
        assert picture_of(describe(part)).format == "PNG"


def test_a_large_figure_is_drawn_smaller(plt: Any) -> None:
    """Rather than drawn large and shrunk."""
    figure = plt.figure(figsize=(60, 20))

    picture = picture_of(describe(figure))

    plt.close(figure)
    assert max(picture.size) <= 1568


def test_a_removed_part_is_told_by_its_repr(figure: Any) -> None:
    """It belongs to no figure."""
    (line,) = figure.axes[0].lines
    line.remove()

    assert "Line2D" in describe(line).text


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_a_picture_of_any_mode_can_be_sent(mode: str) -> None:
    """In a form that the API reads."""
    picture = picture_of(describe(Image.new("RGB", (40, 30), "red").convert(mode)))

    assert picture.size == (40, 30)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_file_that_fits_is_sent_as_it_is(kind: str) -> None:
    """Byte for byte: nothing is gained by writing it anew."""
    data = file_of(Image.new("RGB", (40, 30)), kind)

    collected = image_block(data)

    (block,) = collected.parts
    assert isinstance(block, dict)
    assert base64.b64decode(block["source"]["data"]) == data
    assert collected.notes == ()


@pytest.mark.parametrize(
    ("kind", "sent_as"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("GIF", "PNG"), ("WEBP", "PNG")]
)
def test_a_large_file_is_made_smaller(kind: str, sent_as: str) -> None:
    """To what the API would make of it; a photo stays one, and a note tells."""
    collected = image_block(file_of(Image.new("RGB", (3136, 1000)), kind), name="plan")

    picture = picture_of(collected)
    assert picture.size == (1568, 500)
    assert picture.format == sent_as
    assert collected.notes == ("Plan was made smaller, from 3136×1000 to 1568×500 pixels.",)


def test_a_photo_keeps_its_right_side_up() -> None:
    """How the camera was held is a note in the file, which does not survive."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees

    picture = picture_of(image_block(file_of(Image.new("RGB", (3136, 1000)), "JPEG", exif=exif)))

    assert picture.size == (500, 1568)


def test_noise_that_is_too_many_bytes_becomes_a_jpeg() -> None:
    """Five megabytes is the bound of a picture, in base64."""
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)

    picture = picture_of(describe(Image.fromarray(noise)))

    assert picture.format == "JPEG"


def test_a_shrunk_image_leaves_the_users_alone() -> None:
    """And a note tells of it."""
    image = Image.new("RGB", (3136, 1000))

    collected = describe(image)

    assert image.size == (3136, 1000)
    assert picture_of(collected).size == (1568, 500)
    assert collected.notes == ("A picture was made smaller, from 3136×1000 to 1568×500 pixels.",)


def test_bytes_of_a_picture_are_a_picture() -> None:
    """As are those that a notebook shows; other bytes are told."""
    data = file_of(Image.new("RGB", (40, 30)), "PNG")

    assert picture_of(describe(data)).size == (40, 30)
    assert picture_of(describe(ShownImage(data=data))).size == (40, 30)
    assert describe(b"\x89PNG").text == r"b'\x89PNG'"


@pytest.mark.parametrize("data", [b"", b"no picture", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_a_broken_file_is_an_error_that_names_it(data: bytes) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=r"^plan\.png .*Nothing was sent\.$"):
        image_block(data, name="plan.png")


def test_broken_bytes_are_still_told() -> None:
    """A variable that begins like a picture is sent as what it is."""
    collected = describe(b"GIF89a broken", name="data")

    assert collected.text == "b'GIF89a broken'"
    assert "could not be described" in collected.notes[0]


def test_a_plotly_figure_is_told_by_its_data_where_nothing_can_draw_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Title, axes, and what each trace draws; a note says how it would be a picture."""
    figure = go.Figure(
        [go.Scatter(x=list(range(9)), y=np.arange(9), name="tide"), go.Pie(labels=["a"], values=[1])],
        layout={"title": "Height", "xaxis": {"title": "hour"}},
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    collected = describe(figure)

    assert "plotly figure “Height” with 2 traces\nxaxis: “hour”\n- scatter “tide”: " in collected.text
    assert "x of 9 values: 0, 1, 2, 3, 4, …" in collected.text
    assert "labels of 1 values: a" in collected.text
    assert "pip install kaleido" in collected.notes[0]


def test_a_plotly_figure_is_a_picture_where_something_can_draw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its data again if that fails."""
    drawn = file_of(Image.new("RGB", (40, 30)), "PNG")
    figure = go.Figure(go.Bar(y=[1, 2]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(go.Figure, "to_image", lambda self, format: drawn)
    picture = describe(figure)
    monkeypatch.setattr(go.Figure, "to_image", lambda self, format: None)
    text = describe(figure)

    assert picture_of(picture).size == (40, 30)
    assert "- bar: y of 2 values: 1, 2" in text.text
    assert "kaleido could not draw it" in text.notes[0]
