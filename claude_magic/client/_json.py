r"""JSON encoding and decoding that tolerates invalid Unicode.

Strings pasted into a notebook or cut by a JavaScript gateway can contain lone UTF-16 surrogates ("\ud83d"), which UTF-8
cannot encode. When encoding and when decoding, an adjacent pair of surrogates becomes its character, and a lone one
becomes U+FFFD, as in every browser. A gateway may also cut text in the middle of a UTF-8 sequence. Such bytes are kept
as Python's `surrogateescape` keeps them (U+DC80 to U+DCFF) until the rest arrives.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from ._errors import ConfigurationError

_MOST_DIGITS = 4000
"""Maximum number of digits that are parsed as an integer; Python refuses more than 4,300."""

_MOST_LEVELS = 200
"""Maximum nesting depth that is accepted, as in `from_json`. Received values are sent back inside a request, which adds
levels, and `to_json` refuses more than 255."""

_TOO_DEEP = "it is nested too deeply"

_SURROGATE = re.compile("[\ud800-\udfff]")
_INCOMPLETE_CHARACTER = re.compile(
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)
_RAW_BYTES = re.compile("[\udc80-\udcff]+")


def encode_json(value: Any) -> bytes:
    """Encode a request body as compact JSON in UTF-8.

    Raises:
        ConfigurationError: The body contains a value that JSON cannot represent. Nothing was sent.
    """
    try:
        return to_json(value)
    except PydanticSerializationError:
        pass  # usually a lone surrogate, which can be replaced
    try:
        return to_json(mended(value))
    except ValueError as error:
        reason = str(error)
    raise ConfigurationError(
        f"The request cannot be written as JSON ({reason}). Nothing was sent. Use text, numbers, lists and dicts only."
    )


def decode_json(data: bytes | str) -> Any:
    """Decode JSON; tolerate lone surrogates, raw control characters, and bytes that are not UTF-8.

    Raises:
        ValueError: The data is not JSON.
    """
    try:
        return from_json(data)
    except ValueError:
        return mended(_loads(data, "replace"))


def decode_odd_json(data: bytes) -> Any:
    """Decode slightly invalid JSON, and keep split characters unchanged; see `mended` and `split_end`.

    Raises:
        ValueError: The data is not JSON.
    """
    return _loads(data, "surrogateescape")


def mended(value: Any, levels: int = _MOST_LEVELS) -> Any:
    """Return a copy of a JSON value in which all strings are valid Unicode.

    Args:
        value: The value.
        levels: Maximum nesting depth.

    Raises:
        ValueError: The value is nested more deeply than `levels`.
    """
    if isinstance(value, str):
        return _encoded(value).decode("utf-16-le", "replace") if has_surrogate(value) else value
    if not isinstance(value, dict | list | tuple):
        return value
    if not levels:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, dict):
        return {mended(name): mended(item, levels - 1) for name, item in value.items()}
    return [mended(item, levels - 1) for item in value]


def has_surrogate(text: str) -> bool:
    """Return whether a text contains surrogates: halves of split characters."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def split_end(text: str, *, is_end: bool = False) -> tuple[str, str]:
    """Return the text as valid Unicode, and the incomplete character at its end separately; empty if there is none.

    Args:
        text: The text; may contain lone UTF-16 surrogates or escaped bytes.
        is_end: Nothing follows, so an incomplete character at the end becomes U+FFFD.
    """
    text = _encoded(text).decode("utf-16-le", "surrogatepass")  # adjacent surrogates become one character
    incomplete = None if is_end else _INCOMPLETE_CHARACTER.search(text)
    at = len(text) if incomplete is None else incomplete.start()
    return mended(_RAW_BYTES.sub(_decoded, text[:at])), text[at:]


def _loads(data: bytes | str, errors: str) -> Any:
    text = data if isinstance(data, str) else _text_of(data, errors)
    try:
        return json.loads(text.removeprefix("\ufeff"), strict=False, parse_int=_parse_int)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _text_of(data: bytes, errors: str) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")  # Java encodes each surrogate in three bytes
    except UnicodeDecodeError:
        return data.decode("utf-8", errors)


def _encoded(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _decoded(raw_bytes: re.Match[str]) -> str:
    return raw_bytes[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _parse_int(digits: str) -> int | float:
    """Parse an integer; one with more digits than Python accepts becomes infinity, like a 400-digit float."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)
