"""What can be read off a picture or a document without looking at it."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from dataclasses import dataclass

from ._exchange import JSON

PATCH_PIXELS = 28
MAX_IMAGE_TOKENS = 4784
UNKNOWN_IMAGE_TOKENS = 1568
TOKENS_PER_PAGE = 1500
_PAGE = re.compile(rb"/Type\s*/Page[^s]")
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is known of an image."""

    description: str
    tokens: int


def read_image(block: JSON) -> Picture:
    """Describe an image block by its kind, dimensions and size."""
    source: JSON = block.get("source", {})
    data = _decode(source)
    if data is None:
        where = source.get("url") or source.get("file_id") or "elsewhere"
        return Picture(description=f"an image at {where}", tokens=UNKNOWN_IMAGE_TOKENS)
    kind = str(source.get("media_type", "image")).removeprefix("image/").upper()
    size = image_size(data)
    if size is None:
        return Picture(description=f"a {kind} image of {_bytes(len(data))}", tokens=UNKNOWN_IMAGE_TOKENS)
    width, height = size
    tokens = min(MAX_IMAGE_TOKENS, math.ceil(width / PATCH_PIXELS) * math.ceil(height / PATCH_PIXELS))
    return Picture(
        description=f"a {kind} image, {width} by {height} pixels, {_bytes(len(data))}", tokens=max(1, tokens)
    )


def read_document(block: JSON) -> Picture:
    """Describe a document block that is not plain text."""
    source: JSON = block.get("source", {})
    title = f"“{block['title']}”, " if block.get("title") else ""
    data = _decode(source)
    if data is None:
        where = source.get("url") or source.get("file_id") or "elsewhere"
        return Picture(description=f"{title}a document at {where}", tokens=TOKENS_PER_PAGE)
    pages = max(1, len(_PAGE.findall(data)))
    plural = "page" if pages == 1 else "pages"
    return Picture(
        description=f"{title}a PDF of {pages} {plural}, {_bytes(len(data))}", tokens=pages * TOKENS_PER_PAGE
    )


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, from the file's first bytes; None where they tell nothing."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
            return width, height
        if data[:4] == b"GIF8":
            width, height = struct.unpack("<HH", data[6:10])
            return width, height
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
    except (struct.error, IndexError):
        return None
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    form = data[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def _decode(source: JSON) -> bytes | None:
    if source.get("type") != "base64":
        return None
    try:
        return base64.b64decode(source.get("data", ""))
    except (binascii.Error, ValueError):
        return b""


def _bytes(count: int) -> str:
    return f"{count} bytes" if count < 1000 else f"{count / 1000:.1f} kB"
