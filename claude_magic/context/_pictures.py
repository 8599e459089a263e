"""Image blocks from figures, PIL images and image files. Every image is decoded before it is sent.

Images that the API does not accept as they are, because of their size, bit depth or colours, are re-encoded.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import inspect
import io
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple

import nh3

from ..client import ConfigurationError
from ._collected import Collected, Part, bounded, error_text, fenced, one_line, safe_repr

LONGEST_SIDE = 1568
"""Pixels; the API scales larger images down, but only after the upload."""
MAX_BYTES = 5 * 1024 * 1024
"""Bytes of one image in base64."""

_MAX_PIXELS = 200_000_000
"""Pixels of a decoded image: several hundred megabytes. A small file may declare any size."""
_JPEG_QUALITY = 88
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
"""Modes that a PNG of 8 bits can store."""
_ONLY_CONVERSION = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
"""Modes that Pillow converts only to this one mode."""

_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def media_type_of(data: bytes) -> str | None:
    """Return the media type of an image file by its first bytes; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if data.startswith(signature)), None)


def image_block(data: bytes, *, name: str = "the picture") -> Collected:
    """Return an image file as a content block. It is decoded first, so that no damaged image is sent.

    A file that the API accepts is sent unchanged. Others are re-encoded, with a note: large images, images of 16 bits or in
    CMYK, and the first frame of animations.

    Args:
        data: A PNG, JPEG, GIF or WebP file.
        name: The name of the image in messages.

    Raises:
        ConfigurationError: The file has another format, is damaged, or has too many pixels.
    """
    media_type = media_type_of(data)
    if media_type is None:
        raise ConfigurationError(f"{name} is not a PNG, JPEG, GIF or WebP picture. Nothing was sent.")
    from PIL import Image, ImageOps

    with _decoding(name):
        with Image.open(io.BytesIO(data)) as image:
            image.verify()  # verifies checksums and the end of the file; loading does not
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image, name)
            if _is_cut(data, media_type):
                raise OSError("the file ends too early")
            image.load()
            if not (facts := list(_changes(image, data))) and _is_small(image, len(data)):
                return _block(data, media_type)
            # The EXIF orientation is lost when the image is re-encoded.
            upright = ImageOps.exif_transpose(image)
            return _written(upright, name, facts, is_photo=media_type == "image/jpeg")


def describe_picture(image: Any, _chars: int) -> Collected:
    """Return a PIL image as a content block.

    Raises:
        ConfigurationError: The file is damaged or closed, or the image has no pixels or too many.
    """
    with _decoding("the picture"):
        _check_size(image, "the picture")
        image.load()
        return _written(image, "a picture", [])


def describe_figure(figure: Any, _chars: int) -> Collected:
    """Return a matplotlib figure in its current state as a content block."""
    buffer = io.BytesIO()
    inches = max(figure.get_size_inches())
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=min(150.0, LONGEST_SIDE / max(inches, 0.1)))
    return image_block(buffer.getvalue(), name="the figure")


def describe_artist(artist: Any, chars: int) -> Collected:
    """Return the matplotlib figure of an axes, a line or another artist as a content block."""
    figure = artist
    while figure is not None and not hasattr(figure, "savefig"):
        figure = figure.figure  # for a subfigure, its parent
    return describe_figure(figure, chars)


def describe_animation(animation: Any, chars: int) -> Collected:
    """Return the current frame of a matplotlib animation as a content block."""
    block = describe_figure(animation._fig, chars)
    return Collected(parts=block.parts, notes=("An animation is sent as the picture that it shows now.",))


class Lifted:
    """Images that were taken out of a text and replaced by marks of one character.

    The marks are private-use characters of the last Unicode plane, which `repr` escapes. Such characters in a text are replaced.
    """

    _FIRST_MARK = 0x10FF00
    MOST = 20
    """Maximum number of images per object. With more images in a request, the API lowers the maximum size of each."""
    _MARKS = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + 0xEF)}]")

    def __init__(self) -> None:
        self._blocks: list[Part] = []
        self._left_out = 0

    @property
    def is_full(self) -> bool:
        """Whether the maximum number of images is reached."""
        return len(self._blocks) >= self.MOST

    def marked(self, parts: Iterable[Part]) -> str:
        """Return parts as one text, with marks in place of content blocks."""
        return "".join(self.plain(part) if isinstance(part, str) else self._mark(part) for part in parts)

    def plain(self, text: str) -> str:
        """Return a text with characters that look like marks replaced."""
        return self._MARKS.sub("\N{REPLACEMENT CHARACTER}", text)

    def parts(self, text: str) -> tuple[Part, ...]:
        """Return a text with the images in place of their marks; quotes around a single mark are removed."""
        pieces: list[Part] = []
        at = 0
        shown = set()
        for match in re.finditer(f'"({self._MARKS.pattern})"|{self._MARKS.pattern}', text):
            number = ord(match[1] or match[0]) - self._FIRST_MARK
            if number < len(self._blocks):
                shown.add(number)
                pieces += [text[at : match.start()], self._blocks[number]]
                at = match.end()
        self._left_out += len(self._blocks) - len(shown)  # in text that was cut
        return tuple(piece for piece in (*pieces, text[at:]) if piece)

    def notes(self) -> tuple[str, ...]:
        """Return a note on images that were left out; call it after `parts`."""
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
    """Convert any error of a decoder into a ConfigurationError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images and odd metadata
            yield
    except ConfigurationError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(name, "more pixels than can be decoded") from None
    except Exception as error:  # decoders raise many kinds of errors for damaged data
        reason = " ".join(str(error).split())
        if isinstance(error, UnidentifiedImageError):
            reason = "it contains no picture that can be decoded"
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
        f"{name} has {size}; at most {_MAX_PIXELS / 1e6:.0f} million pixels can be scaled down. Save it smaller. Nothing was sent."
    )


def _is_cut(data: bytes, media_type: str) -> bool:
    """Return whether the end of a file is missing, which Pillow ignores if a program has set `LOAD_TRUNCATED_IMAGES`."""
    if media_type == "image/png":
        return b"IEND" not in data
    if media_type == "image/jpeg":
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return False


def _changes(image: Any, data: bytes) -> Iterator[str]:
    """Yield the changes that a file needs, as predicates ("was reduced to 8 bits"); "" for a change without a note."""
    if getattr(image, "is_animated", False):
        yield "is animated: its first picture is sent"
    # data[24] is the bit depth. Other modes are left to `_eight_bits`.
    if image.format == "PNG" and data[24] > 8 and image.mode in _MODES:
        yield f"was reduced from {data[24]} to 8 bits"
    if image.mode == "CMYK":
        yield "was converted from print colours (CMYK) to RGB"
    if image.mode not in _MODES and image.mode != "CMYK":
        yield ""


def _is_small(image: Any, size: int) -> bool:
    return max(image.size) <= LONGEST_SIDE and _base64_bytes(size) <= MAX_BYTES


def _written(image: Any, name: str, facts: list[str], *, is_photo: bool = False) -> Collected:
    """Return a decoded image as a content block, with notes on the changes."""
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
    """Return an image of more than 8 bits in greyscale, and a note; any other image as it is.

    The minimum becomes black and the maximum white, because such images seldom use their whole range.
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
    """Return an image of floats with its finite minimum in place of NaN, and its minimum and maximum."""
    import numpy
    from PIL import Image

    values = numpy.asarray(numbers)
    finite = values[numpy.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Image.fromarray(numpy.nan_to_num(values, nan=low, posinf=high, neginf=low)), low, high


def _grey_of(value: float, mode: str) -> float:
    """Return the grey of an image with a single value, by the usual range of its mode."""
    usual = 65_535.0 if mode.startswith("I;") else 1.0 if mode == "F" and value <= 1 else 255.0
    return min(max(value / usual * 255, 0.0), 255.0)


def _fitted(image: Any) -> Any:
    """Return a PIL image in a mode and size that the API accepts."""
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    image = image.convert(_ONLY_CONVERSION[image.mode]) if image.mode in _ONLY_CONVERSION else image
    if image.mode not in _MODES or max(image.size) > LONGEST_SIDE:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if max(image.size) > LONGEST_SIDE:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))  # converted above, so a copy
    return image


def _encoded(image: Any, *, is_photo: bool = False) -> bytes:
    """Return a PIL image as PNG; as JPEG for a photo, or if the PNG is too large."""
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


_MAX_TRACES = 20
_FIRST = 5
_MAX_VALUE_CHARS = 60


def describe_plot(figure: Any, chars: int) -> Collected:
    """Return a plotly figure as a content block; as text if it cannot be rendered."""
    reason = "with kaleido installed (pip install kaleido) it would be a picture"
    if importlib.util.find_spec("kaleido") is not None:
        try:
            return image_block(figure.to_image(format="png"), name="the figure")
        except Exception as error:  # kaleido needs a browser and fails in many ways without one
            reason = f"kaleido could not draw it ({error_text(error)})"
    collected = bounded("\n".join(_lines(figure)), chars, "plotly figure")
    note = f"A plotly figure is sent as a summary of its data; {reason}."
    return Collected(parts=(f"\n{collected.text}\n",), notes=(note, *collected.notes))


def _lines(figure: Any) -> Iterator[str]:
    yield f"plotly figure{_quoted(figure.layout.title.text)} with {len(figure.data)} traces"
    for axis in ("xaxis", "yaxis"):
        title = figure.layout[axis].title.text
        if title:
            yield f"{axis}:{_quoted(title)}"
    for trace in islice(figure.data, _MAX_TRACES):
        yield f"- {trace.type}{_quoted(trace.name)}: {'; '.join(_data(trace)) or 'no data'}"
    if len(figure.data) > _MAX_TRACES:
        yield f"… {len(figure.data) - _MAX_TRACES:,} more traces"


def _data(trace: Any) -> Iterator[str]:
    """Yield the data of a trace: its properties with many values."""
    for name in trace:
        values = trace[name]
        if isinstance(values, list | tuple) or hasattr(values, "dtype"):
            first = ", ".join(one_line(value, _MAX_VALUE_CHARS) for value in values[:_FIRST])
            yield f"{name} of {len(values):,} values: {first}{', …' if len(values) > _FIRST else ''}"


def _quoted(text: object) -> str:
    return f" “{one_line(text, _MAX_VALUE_CHARS)}”" if text else ""


# Rich representations of objects: Markdown, LaTeX, images, JSON and HTML, from the methods of IPython's display protocol.
#
# The order is that of JupyterLab, except that HTML and SVG come after formats that a model reads better. An informative `repr`
# comes before HTML.
_ADDRESS = re.compile(r"<[\w.<>\- ]+?(?: at 0x[0-9A-Fa-f]+| object)>")
_AT = re.compile(r" at 0x[0-9A-Fa-f]{6,}(?=>)")
_DATA_ADDRESS = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,([A-Za-z0-9+/=\s]*)")
_PICTURE_TAG = re.compile(
    r"<img\b[^<>]{0,2000}?(?=src=)src=[\"']?" + _DATA_ADDRESS.pattern + r"[^<>]{0,2000}>"
)
_MAX_HTML_CHARS = 2_000_000


def is_address(text: str) -> bool:
    """Return whether a `repr` is only the type of an object and its address in memory."""
    return _ADDRESS.fullmatch(text) is not None


def without_addresses(text: str) -> str:
    """Return a `repr` without memory addresses."""
    return _AT.sub("", text)


def has_rich_form(value: object) -> bool:
    """Return whether an object has a rich representation other than text."""
    names = ("_repr_mimebundle_", *(form.method for form in _RICH_FORMS.values() if form.method))
    return any(_has_method(value, name) for name in names)


def describe_rich(value: Any, chars: int, *, is_data: bool) -> Collected | None:
    """Describe an object by its rich representation; None if it has none that can be sent.

    Args:
        value: The object.
        chars: The approximate maximum number of characters.
        is_data: Whether its contents are preferred to its `repr` and HTML.

    Raises:
        ConfigurationError: Its only representation is a damaged image.
    """
    damage: ConfigurationError | None = None
    bundle = _bundle_of(value)
    for kind, form in _RICH_FORMS.items():
        if kind == "text/plain":
            if is_data:
                return None
            if text := _own_text(value) or _plain_of(bundle):
                return form.describe(text, chars)
            continue
        content = bundle.get(kind)
        if content is None:
            content = _call_method(value, form.method)
        if content is None:
            continue
        try:
            described = form.describe(content, chars)
        except ConfigurationError as error:
            damage, described = error, None
        except Exception:  # invalid JSON, or a text of another type: the next format may work
            described = None
        if described is not None and any(
            not isinstance(part, str) or part.strip() for part in described.parts
        ):
            return described
    if damage is not None:
        raise damage
    return None


def _has_method(value: object, name: str) -> bool:
    """Return whether an object has a method, without `getattr`, which some objects answer for any name."""
    return inspect.getattr_static(value, name, None) is not None


def _bundle_of(value: Any) -> dict[str, Any]:
    bundle = _call_method(value, "_repr_mimebundle_", include=None, exclude=None)
    if not isinstance(bundle, Mapping):
        return {}
    found = dict(bundle)
    for kind, content in bundle.items():  # charts; the data of a widget are only an id
        if str(kind).startswith("application/vnd.") and "widget" not in kind and isinstance(content, Mapping):
            found.setdefault("application/json", content)
    return found


def _call_method(value: Any, method: str, **arguments: Any) -> Any:
    """Return the result of a display method without its metadata; None if it fails or does not exist."""
    if isinstance(value, type) or not method or not _has_method(value, method):
        return None
    try:
        content = getattr(value, method)(**arguments)
    except Exception:  # like IPython: another format may work
        return None
    is_with_metadata = isinstance(content, tuple) and len(content) == 2 and isinstance(content[1], dict)
    return content[0] if is_with_metadata else content


def _own_text(value: object) -> str:
    """Return an object's `repr`; "" if it is only an address."""
    if type(value).__repr__ is object.__repr__:
        return ""
    text = safe_repr(value, _MAX_HTML_CHARS)
    return "" if is_address(text) else without_addresses(text)


def _plain_of(bundle: Mapping[str, Any]) -> str:
    text = bundle.get("text/plain")
    return text if isinstance(text, str) and not is_address(text) else ""


def _picture(data: Any, _chars: int) -> Collected:
    return image_block(data if isinstance(data, bytes) else base64.b64decode(data), name="the picture")


def _json(data: Any, chars: int) -> Collected:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=repr)
    return _in_fence(text, chars, "json")


def _svg(text: Any, chars: int) -> Collected:
    source = text.decode("utf-8") if isinstance(text, bytes) else str(text)
    note = "An SVG picture is sent as its source: the API does not take SVG."
    collected = _in_fence(source, chars, "svg")
    return Collected(parts=collected.parts, notes=(note, *collected.notes))


def _in_fence(text: str, chars: int, language: str) -> Collected:
    collected = bounded(text, chars, language)
    return Collected(parts=(fenced(collected.text, language),), notes=collected.notes)


class _RichForm(NamedTuple):
    """A kind of representation: the method that returns it, and what is sent of it."""

    method: str
    describe: Callable[[Any, int], Collected]


_RICH_FORMS: Final[Mapping[str, _RichForm]] = {
    "text/markdown": _RichForm(
        "_repr_markdown_", lambda text, chars: _with_pictures(str(text), chars, "text")
    ),
    "text/latex": _RichForm("_repr_latex_", lambda text, chars: bounded(str(text), chars, "formula")),
    "image/png": _RichForm("_repr_png_", _picture),
    "image/jpeg": _RichForm("_repr_jpeg_", _picture),
    "image/gif": _RichForm("_repr_gif_", _picture),
    "image/webp": _RichForm("_repr_webp_", _picture),
    "application/json": _RichForm("_repr_json_", _json),
    "text/plain": _RichForm("", bounded),
    "text/html": _RichForm(
        "_repr_html_", lambda text, chars: _with_pictures(str(text)[:_MAX_HTML_CHARS], chars, "html")
    ),
    "image/svg+xml": _RichForm("_repr_svg_", _svg),
    "application/javascript": _RichForm(
        "_repr_javascript_", lambda text, chars: _in_fence(str(text), chars, "javascript")
    ),
}
"""By MIME type, in order of preference. Of plain text, the `repr` comes first."""


def _with_pictures(text: str, chars: int, what: str) -> Collected:
    """Return Markdown or HTML with its embedded images as content blocks in their places."""
    lifted = Lifted()
    notes: dict[str, None] = {}
    text = lifted.plain(text)
    for pattern in (_PICTURE_TAG, _DATA_ADDRESS):
        text = pattern.sub(lambda match: _lift(match[1], match[2], lifted, notes), text)
    if what == "html":
        text = nh3.clean(text, attributes=_ATTRIBUTES, link_rel=None).strip()
    collected = bounded(text, chars, what)
    parts = tuple(_parts(lifted, collected.text, what))
    return Collected(parts=parts, notes=(*notes, *collected.notes, *lifted.notes()))


_ATTRIBUTES: Final = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
"""Attributes of HTML that are kept: those with a meaning, not those for style."""


def _parts(lifted: Lifted, text: str, what: str) -> Iterator[Any]:
    for part in lifted.parts(text):
        yield fenced(part, what) if isinstance(part, str) and what == "html" else part


def _lift(kind: str, encoded: str, lifted: Lifted, notes: dict[str, None]) -> str:
    """Return the replacement of embedded data in a text: a mark for an image, else a short text."""
    try:
        picture = image_block(base64.b64decode(encoded, validate=False), name="a picture")
    except (ConfigurationError, binascii.Error, ValueError):
        return f"({kind}, {len(encoded):,} characters, left out)"
    notes.update(dict.fromkeys(picture.notes))
    return lifted.marked(picture.parts)
