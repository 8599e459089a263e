"""Pictures as image blocks: figures, PIL images, files. Larger ones than the API can use are made smaller first."""

from __future__ import annotations

import base64
import io
from typing import Any

from ..client import ConfigurationError
from ._collected import Collected

LONGEST_SIDE = 1568
"""Pixels; the API shrinks what is larger, after it was sent and paid for in time."""
MAX_BYTES = 5 * 1024 * 1024
"""Of one picture, in base64."""

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
    return image_block(_encoded(_fitted(image)), name="the picture")


def describe_figure(figure: Any, _chars: int) -> Collected:
    """Return a matplotlib figure as a content block, as it looks now."""
    buffer = io.BytesIO()
    inches = max(figure.get_size_inches())
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=min(150.0, LONGEST_SIDE / max(inches, 0.1)))
    return image_block(buffer.getvalue(), name="the figure")


def describe_plot(figure: Any, chars: int) -> Collected:
    """Return a plotly figure as a content block; as text where nothing can draw it without a browser."""
    try:
        return image_block(figure.to_image(format="png"), name="the figure")
    except Exception:  # no kaleido, or no browser for it: both are usual
        text = _traces(figure)[:chars]
    note = "A plotly figure is sent as a summary of its data; with kaleido installed it would be a picture."
    return Collected(parts=(text,), notes=(note,))


def _traces(figure: Any) -> str:
    title = figure.layout.title.text
    lines = [f"plotly figure{f' “{title}”' if title else ''} with {len(figure.data)} traces"]
    for trace in figure.data[:20]:
        lines.append(f"- {trace.type}{f' “{trace.name}”' if trace.name else ''}: {_points(trace)}")
    return "\n" + "\n".join(lines) + "\n"


def _points(trace: Any) -> str:
    axes = {axis: getattr(trace, axis, None) for axis in ("x", "y", "z", "values", "labels")}
    shown = [
        f"{axis} of {len(values):,} values, {', '.join(map(str, list(values[:5])))}, …"
        for axis, values in axes.items()
        if values is not None
    ]
    return "; ".join(shown) or "no data"


def _shrunk(data: bytes, media_type: str, name: str) -> tuple[bytes, str, str]:
    """Return the picture in a size the API can use, its type, and a note on what was done."""
    try:
        from PIL import Image
    except ImportError:
        return data, media_type, ""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            is_small = max(width, height) <= LONGEST_SIDE and len(data) * 4 / 3 <= MAX_BYTES
            if is_small:
                return data, media_type, ""
            fitted = _fitted(image)
            data = _encoded(fitted)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigurationError(f"{name} cannot be read as a picture: {error}. Nothing was sent.") from None
    note = f"{name} was made smaller, from {width}×{height} to {fitted.width}×{fitted.height} pixels."
    return data, str(media_type_of(data)), f"{note[0].upper()}{note[1:]}"


def _fitted(image: Any) -> Any:
    """Return a PIL image in a mode and size that can be sent."""
    image = (
        image
        if image.mode in ("RGB", "RGBA", "L", "P")
        else image.convert("RGBA" if "A" in image.mode else "RGB")
    )
    if max(image.size) <= LONGEST_SIDE:
        return image
    image = image.convert("RGBA" if image.mode in ("P", "RGBA") else "RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image


def _encoded(image: Any) -> bytes:
    """Return a PIL image as PNG, or as JPEG where that would be too large."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    if len(buffer.getvalue()) * 4 / 3 > MAX_BYTES:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()
