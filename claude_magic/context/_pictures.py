"""Pictures as image blocks: figures, PIL images, files. Each is decoded before it is sent.

Those that the API could not use as they are, because of their size, depth or colours, are written again.
"""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..client import ConfigurationError
from ._collected import Collected, Part

LONGEST_SIDE = 1568
"""Pixels; the API shrinks what is larger, after it was sent and paid for in time."""
MAX_BYTES = 5 * 1024 * 1024
"""Of one picture, in base64."""

_MAX_PIXELS = 200_000_000
"""Of what is decoded: some hundred megabytes. A small file may claim any size."""
_JPEG_QUALITY = 88
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
"""What a PNG can hold, in 8 bits."""
_STRAIGHT = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
"""Modes that Pillow converts in one way only."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def media_type_of(data: bytes) -> str | None:
    """Return the type of a picture by its first bytes; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if data.startswith(signature)), None)


def image_block(data: bytes, *, name: str = "the picture") -> Collected:
    """Return a picture as a content block: decoded first, so that nothing is sent that cannot be seen.

    A file that the API can use is sent byte for byte. Others are written again: larger ones, those of 16 bits or in colours of
    print, and the first picture of animations. A note says so.

    Args:
        data: A PNG, JPEG, GIF or WebP file.
        name: What it is called in messages.

    Raises:
        ConfigurationError: It is none of these, is damaged, or holds more pixels than can be decoded.
    """
    media_type = media_type_of(data)
    if media_type is None:
        raise ConfigurationError(f"{name} is no PNG, JPEG, GIF or WebP picture. Nothing was sent.")
    from PIL import Image, ImageOps

    with _decoding(name):
        with Image.open(io.BytesIO(data)) as image:
            image.verify()  # checksums and the end of a file, which loading lets pass
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image, name)
            if _is_cut(data, media_type):
                raise OSError("the file ends too early")
            image.load()
            if not (facts := list(_facts(image, data))) and _is_small(image, len(data)):
                return _block(data, media_type)
            # A camera notes how it was held, which is lost when the picture is written again.
            upright = ImageOps.exif_transpose(image)
            return _written(upright, name, facts, is_photo=media_type == "image/jpeg")


def describe_picture(image: Any, _chars: int) -> Collected:
    """Return a PIL image as a content block.

    Raises:
        ConfigurationError: Its file is damaged or closed, or it has no pixels, or too many.
    """
    with _decoding("the picture"):
        _check_size(image, "the picture")
        image.load()
        return _written(image, "a picture", [])


def describe_figure(figure: Any, _chars: int) -> Collected:
    """Return a matplotlib figure as a content block, as it looks now."""
    buffer = io.BytesIO()
    inches = max(figure.get_size_inches())
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=min(150.0, LONGEST_SIDE / max(inches, 0.1)))
    return image_block(buffer.getvalue(), name="the figure")


def describe_artist(artist: Any, chars: int) -> Collected:
    """Return the matplotlib figure that an axes, a line or another part of one belongs to."""
    figure = artist
    while figure is not None and not hasattr(figure, "savefig"):
        figure = figure.figure  # of a subfigure it is the one above
    return describe_figure(figure, chars)


def describe_animation(animation: Any, chars: int) -> Collected:
    """Return the picture that a matplotlib animation shows now."""
    block = describe_figure(animation._fig, chars)
    return Collected(parts=block.parts, notes=("An animation is sent as the picture that it shows now.",))


def picture_source(value: Any) -> Any:
    """Return what is drawn for a value: the figure, for parts of one. So several of them make one picture."""
    is_artist = any(
        kind.__qualname__ == "Artist" and kind.__module__.startswith("matplotlib.")
        for kind in type(value).__mro__
    )
    return (getattr(value, "figure", None) or value) if is_artist else value


class Lifted:
    """Pictures that were taken out of a text, in which a mark of one character holds the place of each.

    The marks are characters for private use of the last plane, which `repr` escapes; those that a text brings along are replaced.
    """

    _FIRST_MARK = 0x10FF00
    MOST = 20
    """Pictures; of more, the API wants each to be small, and a reader loses the thread."""
    _MARKS = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + 0xEF)}]")

    def __init__(self) -> None:
        self._blocks: list[Part] = []
        self._left_out = 0

    @property
    def is_full(self) -> bool:
        """Whether no more pictures are taken."""
        return len(self._blocks) >= self.MOST

    def marked(self, parts: Iterable[Part]) -> str:
        """Return parts as one text, with marks in the place of content blocks."""
        return "".join(self.plain(part) if isinstance(part, str) else self._mark(part) for part in parts)

    def plain(self, text: str) -> str:
        """Return a text without characters that could be taken for marks."""
        return self._MARKS.sub("\N{REPLACEMENT CHARACTER}", text)

    def parts(self, text: str) -> tuple[Part, ...]:
        """Return a text with the pictures back in their places; quotes that hold nothing but one of them go."""
        pieces: list[Part] = []
        at = 0
        shown = set()
        for match in re.finditer(f'"({self._MARKS.pattern})"|{self._MARKS.pattern}', text):
            number = ord(match[1] or match[0]) - self._FIRST_MARK
            if number < len(self._blocks):
                shown.add(number)
                pieces += [text[at : match.start()], self._blocks[number]]
                at = match.end()
        self._left_out += len(self._blocks) - len(shown)  # in what was cut away
        return tuple(piece for piece in (*pieces, text[at:]) if piece)

    def notes(self) -> tuple[str, ...]:
        """Return what the reader should know, once the text is made up of its parts."""
        if not self._left_out:
            return ()
        return (f"Pictures left out: {self._left_out:,}. At most {self.MOST} of one object are sent.",)

    def _mark(self, block: Part) -> str:
        if self.is_full:
            self._left_out += 1
            return "<a picture, left out>"
        self._blocks.append(block)
        return chr(self._FIRST_MARK + len(self._blocks) - 1)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder makes of a broken file into an error that says so."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pictures that take much memory, and of odd metadata
            yield
    except ConfigurationError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(name, "more pixels than can be decoded") from None
    except Exception as error:  # decoders raise whatever the damage leads them to
        reason = (
            "it holds no picture that can be decoded"
            if isinstance(error, UnidentifiedImageError)
            else " ".join(str(error).split())
        )
        raise ConfigurationError(
            f"{name} is damaged and cannot be read as a picture ({reason or type(error).__name__}). Save or download it "
            "again. Nothing was sent."
        ) from None


def _check_size(image: Any, name: str) -> None:
    if 0 in image.size:
        raise ConfigurationError(f"{name} has no pixels: {image.width}×{image.height}. Nothing was sent.")
    if image.width * image.height > _MAX_PIXELS:
        raise _too_large(name, f"{image.width:,}×{image.height:,} pixels")


def _too_large(name: str, size: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} has {size}; at most {_MAX_PIXELS / 1e6:.0f} million are made smaller here. Save it smaller. Nothing was sent."
    )


def _is_cut(data: bytes, media_type: str) -> bool:
    """Tell a file without its end, which Pillow passes over where a program has set `LOAD_TRUNCATED_IMAGES`."""
    if media_type == "image/png":
        return b"IEND" not in data
    if media_type == "image/jpeg":
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return False


def _facts(image: Any, data: bytes) -> Iterator[str]:
    """Yield why a file cannot be sent as it is, as what happened to it."""
    if getattr(image, "is_animated", False):
        yield "is animated: its first picture is sent"
    if image.format == "PNG" and data[24] > 8 and image.mode in _MODES:  # the depth; else `_eight_bits` tells
        yield f"was reduced from {data[24]} to 8 bits"
    if image.mode == "CMYK":
        yield "was converted from colours of print (CMYK) to RGB"
    if image.mode not in _MODES and image.mode != "CMYK":
        yield ""


def _is_small(image: Any, size: int) -> bool:
    return max(image.size) <= LONGEST_SIDE and _base64_bytes(size) <= MAX_BYTES


def _written(image: Any, name: str, facts: list[str], *, is_photo: bool = False) -> Collected:
    """Return a decoded image as a content block, and notes on what was done to it."""
    shown, scaled = _eight_bits(image)
    fitted = _fitted(shown)
    if fitted.size != image.size:
        sizes = f"{image.width}×{image.height} to {fitted.width}×{fitted.height}"
        facts = [*facts, f"was made smaller, from {sizes} pixels"]
    data = _encoded(fitted, is_photo=is_photo)
    block = _block(data, str(media_type_of(data)))
    notes = tuple(f"{name[0].upper()}{name[1:]} {fact}." for fact in (*facts, scaled) if fact)
    return Collected(parts=block.parts, notes=notes)


def _eight_bits(image: Any) -> tuple[Any, str]:
    """Return an image whose pixels are numbers of more than 8 bits in shades of grey, and what was done; others as they are.

    The least value is black and the greatest white, since such pictures seldom use their whole range.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image, ""
    numbers = (image if image.mode == "F" else image.convert("I")).convert("F")
    low, high = numbers.getextrema()
    if not (math.isfinite(low) and math.isfinite(high)):
        numbers, low, high = _finite(numbers)
    if high > low:
        scale, offset = 255 / (high - low), -low * 255 / (high - low)
        fact = f"was scaled from mode {image.mode} to 8 bits: {low:,.6g} is black, {high:,.6g} is white"
    else:
        scale, offset = 0.0, _grey_of(low, image.mode)
        fact = f"was reduced from mode {image.mode} to 8 bits: all of it is {low:,.6g}"
    return numbers.point(lambda value: value * scale + offset).convert("L"), fact


def _finite(numbers: Any) -> tuple[Any, float, float]:
    """Return an image of floats with the least value in the place of NaN, and its extremes."""
    import numpy
    from PIL import Image

    values = numpy.asarray(numbers)
    finite = values[numpy.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Image.fromarray(numpy.nan_to_num(values, nan=low, posinf=high, neginf=low)), low, high


def _grey_of(value: float, mode: str) -> float:
    """Return the shade of an image that holds a single value: by the range that its kind usually has."""
    usual = 65_535.0 if mode.startswith("I;") else 1.0 if mode == "F" and value <= 1 else 255.0
    return min(max(value / usual * 255, 0.0), 255.0)


def _fitted(image: Any) -> Any:
    """Return a PIL image in a mode and size that can be sent."""
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    image = image.convert(_STRAIGHT[image.mode]) if image.mode in _STRAIGHT else image
    if image.mode not in _MODES or max(image.size) > LONGEST_SIDE:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if max(image.size) > LONGEST_SIDE:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))  # converted above, so a copy
    return image


def _encoded(image: Any, *, is_photo: bool = False) -> bytes:
    """Return a PIL image as PNG; a photo, and what would be too large, as JPEG."""
    buffer = io.BytesIO()
    if not is_photo:
        image.save(buffer, format="PNG")
        if _base64_bytes(len(buffer.getvalue())) <= MAX_BYTES:
            return buffer.getvalue()
        buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _block(data: bytes, media_type: str) -> Collected:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode("ascii")}
    return Collected(parts=({"type": "image", "source": source},))


def _base64_bytes(size: int) -> int:
    return -(-size // 3) * 4
