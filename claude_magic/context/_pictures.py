"""Pictures as image blocks: figures, PIL images, files. Larger ones than the API can use are made smaller first."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any

from ..client import ConfigurationError
from ._collected import Collected

LONGEST_SIDE = 1568
"""Pixels; the API shrinks what is larger, after it was sent and paid for in time."""
MAX_BYTES = 5 * 1024 * 1024
"""Of one picture, in base64."""

_JPEG_QUALITY = 88
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
"""What a PNG can hold."""

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
    """Return a picture as a content block, made smaller where it is larger than the API can use.

    Args:
        data: A PNG, JPEG, GIF or WebP file.
        name: What it is called in messages.

    Raises:
        ConfigurationError: It is none of these, or too large and Pillow, which could shrink it, is not installed.
    """
    media_type = media_type_of(data)
    if media_type is None:
        raise ConfigurationError(f"{name} is no PNG, JPEG, GIF or WebP picture. Nothing was sent.")
    data, media_type, note = _shrunk(data, media_type, name)
    encoded = base64.b64encode(data).decode("ascii")
    if len(encoded) > MAX_BYTES:
        raise ConfigurationError(
            f"{name} is too large: {len(encoded) / 2**20:.1f} MB of at most 5 MB. Save it smaller; with Pillow installed "
            "(pip install pillow) it is made smaller by itself. Nothing was sent."
        )
    source = {"type": "base64", "media_type": media_type, "data": encoded}
    return Collected(parts=({"type": "image", "source": source},), notes=(note,) if note else ())


def describe_picture(image: Any, _chars: int) -> Collected:
    """Return a PIL image as a content block."""
    fitted = _fitted(image)
    block = image_block(_encoded(fitted))
    if fitted.size == image.size:
        return block
    note = f"A picture was made smaller, from {image.width}×{image.height} to {fitted.width}×{fitted.height} pixels."
    return Collected(parts=block.parts, notes=(note,))


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


def _shrunk(data: bytes, media_type: str, name: str) -> tuple[bytes, str, str]:
    """Return the picture in a size the API can use, its type, and a note on what was done."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        return data, media_type, ""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")  # of pictures that take much memory, and of odd metadata
            if max(image.size) <= LONGEST_SIDE and _base64_bytes(data) <= MAX_BYTES:
                return data, media_type, ""
            before = image.size
            # A camera notes how it was held, which is lost when the picture is written anew.
            fitted = _fitted(ImageOps.exif_transpose(image))
            data = _encoded(fitted, is_photo=media_type == "image/jpeg")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "it is damaged" if isinstance(error, UnidentifiedImageError) else error
        raise ConfigurationError(f"{name} cannot be read as a picture: {reason}. Nothing was sent.") from None
    note = f"{name} was made smaller, from {before[0]}×{before[1]} to {fitted.width}×{fitted.height} pixels."
    return data, str(media_type_of(data)), f"{note[0].upper()}{note[1:]}"


def _fitted(image: Any) -> Any:
    """Return a PIL image in a mode and size that can be sent."""
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
        if _base64_bytes(buffer.getvalue()) <= MAX_BYTES:
            return buffer.getvalue()
        buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _base64_bytes(data: bytes) -> int:
    return -(-len(data) // 3) * 4
