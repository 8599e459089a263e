"""The JSON of an answer, with whatever a model writes around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final

from ._code import fenced_blocks
from ._errors import NoJSONError

_AT_LINE_START: Final = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_ANYWHERE: Final = re.compile(r"(?=[{\[])")
# Each opening bracket in prose may be read to the end of the text before it turns out to be none: at most so many
# characters are read for each character of the text.
_READINGS: Final = 20
_MAX_CANDIDATES: Final = 5_000

_decoder: Final = json.JSONDecoder()


def extract_json(text: str) -> Any:
    """Return the JSON value of an answer.

    That is the whole text, else the first fenced block that is JSON, else the first complete object or array in the text,
    where one that begins a line goes before one in the middle of a sentence.

    Raises:
        NoJSONError: There is no complete value.
    """
    return find_json(text)[0]


def find_json(text: str) -> tuple[Any, str]:
    """Return the JSON value of an answer and its source. Raises as `extract_json` does."""
    stripped = text.strip().removeprefix("\ufeff")
    for source in chain([stripped], (block.code.strip() for block in fenced_blocks(text))):
        try:
            return _decoder.decode(source), source
        except (ValueError, RecursionError):
            continue
    found = _first_in_prose(text)
    if found is None:
        raise NoJSONError(_describe_lack(stripped), text=text)
    return found


def _first_in_prose(text: str) -> tuple[Any, str] | None:
    allowance = _READINGS * len(text) + 10_000
    for start in islice(_candidates(text), _MAX_CANDIDATES):
        try:
            value, end = _decoder.raw_decode(text, start)
        except RecursionError:
            allowance -= 10_000
        except ValueError as error:
            allowance -= getattr(error, "pos", len(text)) - start
        else:
            return value, text[start:end]
        if allowance < 0:
            return None
    return None


def _candidates(text: str) -> Iterator[int]:
    for places in (_AT_LINE_START, _ANYWHERE):
        yield from (place.end() for place in places.finditer(text))


def _describe_lack(text: str) -> str:
    if not text:
        return "The answer is empty, so there is no JSON in it."
    opening = _AT_LINE_START.search(text)
    if opening is None:
        return "The answer holds no JSON value that is whole. Ask for it with -f json, or say what it is to look like with --schema."
    try:
        _decoder.raw_decode(text, opening.end())
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        if error.pos >= len(text):
            return f"The JSON of the answer breaks off at its end ({where}): the answer may have been cut."
        return f"The answer is not JSON: {error.msg} ({where})."
    except (ValueError, RecursionError) as error:
        return f"The JSON of the answer cannot be read: {error}."
    return "The answer holds no complete JSON."
