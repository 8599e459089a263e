"""`%claude fix` and `%claude explain NAME`: questions that write themselves."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..client import ConfigurationError
from ..context import describe_error, describe_name
from ._draft import Draft, draft_of, names_seen

if TYPE_CHECKING:
    from ._magics import ClaudeMagics
    from ._options import Request

_FIX = (
    "A cell of my notebook failed. First explain in a few sentences why. Then give the corrected cell, whole, as one "
    "Python code block and no other code.\n\n"
)
_FIX_MAGIC = (
    "A cell of my notebook failed, which begins with a magic. First explain in a few sentences why. Then give the corrected cell, "
    "whole and with its magic, as one Python code block and no other code.\n\n"
)
_FIX_BETWEEN = (
    "Something in my notebook failed between two cells. First explain in a few sentences why. Then give the corrected code as one "
    "Python code block and no other code.\n\n"
)
_EXPLAIN = "Explain `{name}` from my notebook: what it is, and what stands out. It is this:\n\n"


def fix(magics: ClaudeMagics, request: Request) -> Draft:
    """Return the question about the last error; the corrected cell goes below.

    Raises:
        ConfigurationError: No cell has failed.
    """
    errors = magics.errors
    if not errors:
        raise ConfigurationError(
            "No cell of this session has failed, so there is nothing to fix. Nothing was sent."
        )
    record = errors[-1]
    collected = describe_error(record)
    if errors.shown_since:
        note = f"This is about the {record.name} before the {errors.shown_since} that was shown last, which is no fault of a cell's code."
        collected = dataclasses.replace(collected, notes=(*collected.notes, note))
    options = dataclasses.replace(request.options, insert_code=True)
    return draft_of("fix", [(_opening(record.source), *collected.parts)], [collected], options)


def explain(magics: ClaudeMagics, request: Request) -> Draft:
    """Return the question about something of the user's.

    Raises:
        ConfigurationError: It does not exist, or cannot be read.
    """
    name = "" if request.call is None else request.call.arguments["name"]
    collected = describe_name(name, names_seen(magics, request.scope))
    parts = (_EXPLAIN.format(name=name), *collected.parts)
    return draft_of(f"explain {name}", [parts], [collected], request.options)


def _opening(source: str) -> str:
    if not source.strip():
        return _FIX_BETWEEN
    return _FIX_MAGIC if source.lstrip().startswith(("%", "!")) else _FIX
