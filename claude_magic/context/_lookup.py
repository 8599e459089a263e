"""What a name of the user's stands for, with the attributes and items behind it: `df.col`, `Out[3]`, `rows[-1]["city"]`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..client import ConfigurationError
from ._safely import error_text

MISSING: Final = object()
_LONGEST_PATH = 1_000


def root_of(path: str) -> str | None:
    """Return the name with which a path of attributes and items begins; None if a text is no such path."""
    node = _parse(path)
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def look_up(path: str, names: Mapping[str, object]) -> Any:
    """Return the value of a name, or of a path of attributes and items that begins with one; `MISSING` if there is none.

    Raises:
        ConfigurationError: An attribute or item exists, but fails when it is read.
    """
    root = root_of(path)
    if root is None or root not in names:
        return MISSING
    value: Any = names[root]
    for step in _steps(path):
        try:
            value = (
                getattr(value, step.attr) if isinstance(step, ast.Attribute) else value[_index(step.slice)]
            )
        except (AttributeError, LookupError, TypeError):
            return MISSING
        except Exception as error:  # a property may fail in any way
            raise ConfigurationError(
                f"{path} cannot be read: {error_text(error)}. Nothing was sent."
            ) from None
    return value


def _parse(path: str) -> ast.expr | None:
    if len(path) > _LONGEST_PATH or path != path.strip():
        return None
    try:
        node = ast.parse(path, mode="eval").body
        for step in _steps_of(node):
            if isinstance(step, ast.Subscript):
                _index(step.slice)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    return node


def _steps(path: str) -> list[ast.Attribute | ast.Subscript]:
    """Return what follows the name, from left to right."""
    node = _parse(path)
    return [] if node is None else list(_steps_of(node))[::-1]


def _steps_of(node: ast.expr) -> Iterator[ast.Attribute | ast.Subscript]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        yield node
        node = node.value


def _index(node: ast.expr) -> Any:
    """Return an index that is written out: a literal, or a slice of literals.

    Raises:
        ValueError: It is to be computed.
    """
    if not isinstance(node, ast.Slice):
        return ast.literal_eval(node)
    return slice(*(None if part is None else _index(part) for part in (node.lower, node.upper, node.step)))
