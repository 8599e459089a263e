"""Figures, images and image files: content blocks of a size that the API accepts."""

from __future__ import annotations

import base64
import importlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from IPython.display import Image as ShownImage
from PIL import Image

from claude_magic.client import ConfigurationError
from claude_magic.context import Collected, describe, interpolate
from claude_magic.context._pictures import image_block


def picture_of(collected: Collected) -> Image.Image:
    """Return the only image in the collected parts."""
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


def test_a_figure_in_a_prompt_is_an_image_in_its_place(figure: Any) -> None:
    """The text around it is unchanged."""
    collected = interpolate("What is odd in {{ figure }}?", {"figure": figure})

    before, block, after = collected.parts
    assert (before, after) == ("What is odd in ", "?")
    assert isinstance(block, dict)
    assert block["type"] == "image"


def test_a_part_of_a_figure_is_sent_as_the_figure(plt: Any, figure: Any) -> None:
    """Axes, lines, subfigures: the results of plotting functions."""
    (axes,) = figure.axes
    subfigure = plt.figure().subfigures(1, 2)[0]

    for part in (figure, axes, axes.lines[0], subfigure, subfigure.subplots()):
        assert picture_of(describe(part)).format == "PNG"


def test_a_large_figure_is_drawn_smaller(plt: Any) -> None:
    """Instead of being drawn large and scaled down."""
    figure = plt.figure(figsize=(60, 20))

    picture = picture_of(describe(figure))

    plt.close(figure)
    assert max(picture.size) <= 1568


def test_a_removed_artist_is_described_by_its_repr(figure: Any) -> None:
    """It belongs to no figure."""
    (line,) = figure.axes[0].lines
    line.remove()

    assert "Line2D" in describe(line).text


@pytest.mark.parametrize(
    "mode",
    [
        *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"),
        *("I;16", "I;16L", "I;16B", "I;16N", "La", "RGBa", "LAB"),
    ],
)
def test_an_image_of_any_mode_can_be_sent(mode: str) -> None:
    """In a mode that the API accepts."""
    picture = picture_of(describe(Image.new(mode, (40, 30))))

    assert picture.size == (40, 30)
    assert picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA")


def ramp(low: float, high: float, kind: str) -> Image.Image:
    """Return an image whose values increase from left to right."""
    values = np.linspace(low, high, 256).reshape(1, 256).repeat(4, 0)
    return Image.fromarray(values.astype(kind))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (ramp(0, 65_535, "uint16"), "mode I;16 to 8 bits: 0 is black, 65,535 is white"),
        (ramp(0, 4_095, "uint16"), "4,095 is white"),
        (ramp(-1_000, 70_000, "int32"), "mode I to 8 bits: -1,000 is black, 70,000 is white"),
        (ramp(0, 1, "float32"), "mode F to 8 bits: 0 is black, 1 is white"),
        (ramp(-5.5, 5.5, "float32"), "-5.5 is black"),
        (ramp(0, 65_535, "uint16").convert("I").convert("F"), "65,535 is white"),
    ],
)
def test_an_image_of_more_than_8_bits_is_scaled_with_a_note(image: Image.Image, says: str) -> None:
    """The minimum is black, the maximum white, and values between them increase."""
    collected = describe(image)
    row = [picture_of(collected).getpixel((x, 0)) for x in range(256)]

    assert (row[0], row[-1]) == (0, 255)
    assert all(abs(shade - x) <= 1 for x, shade in enumerate(row))
    assert len(collected.notes) == 1
    assert says in collected.notes[0]


@pytest.mark.parametrize(
    ("image", "shade"),
    [
        (Image.new("I;16", (4, 4), 32_768), 127),
        (Image.new("I", (4, 4), 100), 100),
        (Image.new("F", (4, 4), 0.5), 127),
        (Image.new("I", (4, 4), 10**6), 255),
    ],
)
def test_an_image_of_one_value_keeps_its_brightness(image: Image.Image, shade: int) -> None:
    """It has no range to be scaled by."""
    assert picture_of(describe(image)).getpixel((0, 0)) == shade


def test_nan_and_infinity_do_not_whiten_an_image() -> None:
    """They occur in measurements."""
    values = np.array([[np.nan, 0, 5], [10, np.inf, -np.inf]], dtype="float32")

    picture = picture_of(describe(Image.fromarray(values)))

    assert [picture.getpixel((x, y)) for y in (0, 1) for x in range(3)] == [0, 0, 127, 255, 255, 0]


def deep_png() -> bytes:
    """Return a PNG with 16 bits for each of three colours, which Pillow cannot write: a header and a row of zeros."""
    header = struct.pack(">IIBBBBB", 4, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + b"\xff\x00" * 12)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (file_of(ramp(0, 4_095, "uint16"), "PNG"), "was scaled from mode I;16 to 8 bits"),
        (deep_png(), "was reduced from 16 to 8 bits"),
        (file_of(Image.new("CMYK", (4, 4)), "JPEG"), "converted from print colours (CMYK) to RGB"),
        (
            file_of(
                Image.new("RGB", (4, 4)),
                "GIF",
                save_all=True,
                append_images=[Image.new("RGB", (4, 4), "red")],
            ),
            "is animated: its first picture is sent",
        ),
    ],
    ids=["grey", "colours", "print", "animated"],
)
def test_a_file_that_the_api_may_not_accept_is_re_encoded(data: bytes, fact: str) -> None:
    """Of 16 bits, in CMYK, animated; with a note."""
    collected = image_block(data, name="plan")

    assert picture_of(collected).mode in ("L", "RGB", "P")
    (note,) = collected.notes
    assert note.startswith("Plan ")
    assert fact in note


def test_transparency_is_kept() -> None:
    """Also with a palette, and if the image is scaled down."""
    image = Image.new("P", (2_000, 10))
    image.info["transparency"] = 0

    assert picture_of(describe(image)).convert("RGBA").getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_suitable_file_is_sent_unchanged(kind: str) -> None:
    """Byte for byte."""
    data = file_of(Image.new("RGB", (40, 30)), kind)

    collected = image_block(data)

    (block,) = collected.parts
    assert isinstance(block, dict)
    assert base64.b64decode(block["source"]["data"]) == data
    assert collected.notes == ()


@pytest.mark.parametrize(
    ("kind", "sent_as"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("GIF", "PNG"), ("WEBP", "PNG")]
)
def test_a_large_file_is_scaled_down(kind: str, sent_as: str) -> None:
    """To the size that the API would use; a photo stays a JPEG, with a note."""
    collected = image_block(file_of(Image.new("RGB", (3136, 1000)), kind), name="plan")

    picture = picture_of(collected)
    assert picture.size == (1568, 500)
    assert picture.format == sent_as
    assert collected.notes == ("Plan was made smaller, from 3136×1000 to 1568×500 pixels.",)


def test_a_photo_keeps_its_orientation() -> None:
    """The EXIF orientation is lost when a file is re-encoded."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees

    picture = picture_of(image_block(file_of(Image.new("RGB", (3136, 1000)), "JPEG", exif=exif)))

    assert picture.size == (500, 1568)


def test_a_png_of_too_many_bytes_becomes_a_jpeg() -> None:
    """The limit of an image is 5 MiB in base64."""
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)

    picture = picture_of(describe(Image.fromarray(noise)))

    assert picture.format == "JPEG"


def test_scaling_does_not_change_the_users_image() -> None:
    """A note reports it."""
    image = Image.new("RGB", (3136, 1000))

    collected = describe(image)

    assert image.size == (3136, 1000)
    assert picture_of(collected).size == (1568, 500)
    assert collected.notes == ("A picture was made smaller, from 3136×1000 to 1568×500 pixels.",)


def test_bytes_of_an_image_are_an_image() -> None:
    """Like the bytes of an IPython image; other bytes are described."""
    data = file_of(Image.new("RGB", (40, 30)), "PNG")

    assert picture_of(describe(data)).size == (40, 30)
    assert picture_of(describe(ShownImage(data=data))).size == (40, 30)
    assert picture_of(describe(io.BytesIO(data))).size == (40, 30)
    assert describe(b"\x89PNG").text == r"b'\x89PNG'"


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_an_error_that_names_it(kind: str, part: float) -> None:
    """At any length: it is decoded before anything is sent."""
    data = file_of(NOISE, kind)

    with pytest.raises(ConfigurationError, match=r"^plan is damaged .*Nothing was sent\.$"):
        image_block(data[: max(16, int(len(data) * part))], name="plan")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_file_is_detected_if_pillow_loads_truncated_images(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that load many images often set this option."""
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    data = file_of(NOISE, kind)

    with pytest.raises(ConfigurationError, match="is damaged"):
        image_block(data[: len(data) // 2])
    assert image_block(data).notes == ()


def test_a_png_with_a_wrong_byte_is_damaged() -> None:
    """Its checksums show it."""
    data = bytearray(file_of(NOISE, "PNG"))
    data[len(data) // 2] ^= 0xFF

    with pytest.raises(ConfigurationError, match="is damaged"):
        image_block(bytes(data))


@pytest.mark.parametrize("data", [b"", b"no picture", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_a_broken_file_is_an_error_that_names_it(data: bytes) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=r"^plan\.png .*Nothing was sent\.$"):
        image_block(data, name="plan.png")


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_an_image_that_declares_a_huge_size_is_not_decoded(side: int) -> None:
    """The file may be small; the error gives its size or the limit."""
    data = bytearray(deep_png())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))

    with pytest.raises(ConfigurationError, match=r"^plan has .*200 million.*Nothing was sent\.$"):
        image_block(bytes(data), name="plan")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Image.open(io.BytesIO(file_of(NOISE, "PNG")[:5_000])), "is damaged"),
        (lambda: Image.new("RGB", (0, 4)), "has no pixels"),
        (lambda: file_of(NOISE, "PNG")[:5_000], "is damaged"),
        (lambda: bytearray(b"GIF89a broken"), "is damaged"),
        (lambda: ShownImage(data=file_of(NOISE, "JPEG")[:1_000]), "is damaged"),
        (lambda: io.BytesIO(file_of(NOISE, "WEBP")[:1_000]), "is damaged"),
    ],
    ids=["pil", "empty", "bytes", "bytearray", "shown", "buffer"],
)
def test_a_damaged_image_in_a_prompt_is_refused(make: Callable[[], object], says: str) -> None:
    """By its name; in a container, only the image is left out, with a note."""
    value = make()

    with pytest.raises(ConfigurationError, match=rf"^chart: the picture {says}.*Nothing was sent\.$"):
        interpolate("{{ chart }}", {"chart": value})
    inside = describe(["a", make()])
    assert inside.text.startswith("['a', <")
    assert says in inside.notes[0]


def test_a_plotly_figure_is_described_by_its_data_without_kaleido(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Title, axes and the data of each trace; a note says how to send an image."""
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


def test_a_plotly_figure_is_an_image_with_kaleido(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data is described if kaleido fails."""
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
