"""What the docstring of a function says about it and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import docstring_parser

_MAX_DESCRIPTION_CHARS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Documentation:
    """What a docstring says.

    Attributes:
        description: What the function does, and what it returns; empty where nothing is said.
        arguments: What is said about arguments, by their names.
    """

    description: str
    arguments: Mapping[str, str]


def documentation_of(function: Callable[..., Any], implementation: Any) -> Documentation:
    """Read the docstrings of a function.

    Args:
        function: What is called: a function, a class, an object.
        implementation: The function that takes its arguments; it may have a docstring of its own.
    """
    inner = docstring_parser.parse(_docstring(implementation))
    outer = docstring_parser.parse(_docstring(function)) if function is not implementation else inner
    description = _description(outer) or _description(inner)
    return Documentation(
        description=description[:_MAX_DESCRIPTION_CHARS], arguments={**_arguments(inner), **_arguments(outer)}
    )


def _docstring(thing: Any) -> str:
    """Return a docstring that somebody wrote: not `object`'s, nor the one that a dataclass gives itself."""
    text = inspect.getdoc(thing) or ""
    is_made_up = inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")
    return "" if is_made_up or text == inspect.getdoc(object.__init__) else text


def _description(docstring: docstring_parser.Docstring) -> str:
    parts = [docstring.short_description, docstring.long_description]
    if docstring.returns is not None and docstring.returns.description:
        parts.append(f"Returns: {docstring.returns.description}")
    return "\n\n".join(part for part in parts if part)


def _arguments(docstring: docstring_parser.Docstring) -> dict[str, str]:
    """Return what is said of each; NumPy's style says it of several at once ("x, y : int")."""
    return {
        name.strip().lstrip("*"): param.description
        for param in docstring.params
        for name in param.arg_name.split(",")
        if param.description
    }
