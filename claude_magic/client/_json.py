r"""JSON in and out, forgiving where text is not quite Unicode.

Strings pasted into a notebook or cut by a JavaScript gateway can hold halves of UTF-16 pairs ("\ud83d"), which UTF-8
cannot express. Both ways, two halves that stand together become their character, and a lone one becomes U+FFFD, as it
does in every browser. Halves of a character that are bytes, as of a gateway that cuts its text after so many of them, are
kept as Python keeps undecodable bytes (U+DC80 to U+DCFF), until the rest has come.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from ._errors import ConfigurationError

_MOST_DIGITS = 4000
"""Of a whole number; Python refuses to read more than 4,300."""

_LONE_HALF = re.compile("[\ud800-\udfff]")
_BEGUN_CHARACTER = re.compile(
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)
_RAW_BYTES = re.compile("[\udc80-\udcff]+")


def encode_json(value: Any) -> bytes:
    """Encode the body of a request as compact JSON in UTF-8.

    Raises:
        ConfigurationError: It holds something JSON cannot express. Nothing was sent.
    """
    try:
        return to_json(value)
    except PydanticSerializationError:
        pass  # mostly a lone surrogate, which can be mended
    try:
        return to_json(mended(value))
    except (PydanticSerializationError, RecursionError) as error:
        reason = str(error)
    raise ConfigurationError(
        f"The request cannot be written as JSON ({reason}). Nothing was sent. Use text, numbers, lists and dicts only."
    )


def decode_json(data: bytes | str) -> Any:
    """Decode JSON, also where it is a little off: lone surrogates, raw control characters, bytes that are not UTF-8.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return from_json(data)
    except ValueError:
        return mended(_loads(data, "replace"))


def decode_odd_json(data: bytes) -> Any:
    """Decode JSON that is a little off, and leave half characters in it as they are; see `mended` and `split_end`.

    Raises:
        ValueError: It is not JSON.
    """
    return _loads(data, "surrogateescape")


def mended(value: Any) -> Any:
    """Copy a JSON value, its strings made valid Unicode."""
    if isinstance(value, str):
        return _encoded(value).decode("utf-16-le", "replace") if has_half(value) else value
    if isinstance(value, dict):
        return {mended(name): mended(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mended(item) for item in value]
    return value


def has_half(text: str) -> bool:
    """Whether half characters are in a text."""
    return not text.isascii() and _LONE_HALF.search(text) is not None


def split_end(text: str, *, is_end: bool = False) -> tuple[str, str]:
    """Return a text made valid Unicode, and apart from it the character that it has begun at its end, if any.

    Args:
        text: The text; its halves are of UTF-16, or bytes.
        is_end: Nothing follows, so that what has begun becomes U+FFFD.
    """
    text = _encoded(text).decode("utf-16-le", "surrogatepass")  # halves that stand together become one
    begun = None if is_end else _BEGUN_CHARACTER.search(text)
    at = len(text) if begun is None else begun.start()
    return mended(_RAW_BYTES.sub(_decoded, text[:at])), text[at:]


def _loads(data: bytes | str, errors: str) -> Any:
    try:
        return json.loads(
            data if isinstance(data, str) else _text_of(data, errors), strict=False, parse_int=_parse_int
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _text_of(data: bytes, errors: str) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")  # Java's halves, of three bytes each
    except UnicodeDecodeError:
        return data.decode("utf-8", errors)


def _encoded(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _decoded(raw_bytes: re.Match[str]) -> str:
    return raw_bytes[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _parse_int(digits: str) -> int | float:
    """Read a whole number; one of more digits than Python reads is infinite, as one of 400 digits and a point is."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)
