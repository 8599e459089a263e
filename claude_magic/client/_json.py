r"""JSON in and out, forgiving where text is not quite Unicode.

Strings pasted into a notebook or cut by a JavaScript gateway can hold halves of UTF-16 pairs ("\ud83d"), which UTF-8
cannot express. Both ways, two halves that stand together become their character, and a lone one becomes U+FFFD, as it
does in every browser.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from ._errors import ConfigurationError

_MOST_DIGITS = 4000


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
        return to_json(_mended(value))
    except (PydanticSerializationError, RecursionError) as error:
        reason = str(error)
    raise ConfigurationError(
        f"The request cannot be written as JSON ({reason}). Nothing was sent; use text, numbers, lists and dicts only."
    )


def decode_json(data: bytes | str) -> Any:
    """Decode JSON, also where it is a little off: lone surrogates, raw control characters, bytes that are not UTF-8.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return from_json(data)
    except ValueError:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        return _mended(json.loads(text, strict=False, parse_int=_parse_int))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _parse_int(digits: str) -> int | float:
    """Read a whole number; one of more digits than Python reads is infinite, as one of 400 digits and a point is."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _mended(value: Any) -> Any:
    """Copy a JSON value, its strings made valid Unicode."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(item) for item in value]
    return value
