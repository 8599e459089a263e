"""TypedDicts that pydantic reads on every Python: before 3.12 it takes only those of `typing_extensions`."""

from __future__ import annotations

import sys
from types import UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import typing_extensions  # comes with pydantic


def portable(kind: Any) -> Any:
    """Return the type with each TypedDict in it as pydantic takes it; objects of it are dicts all the same."""
    return kind if sys.version_info >= (3, 12) else _rebuilt(kind)


def _rebuilt(kind: Any) -> Any:
    if is_typeddict(kind):
        return _rebuilt_dict(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return Annotated[(_rebuilt(arguments[0]), *arguments[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(_rebuilt(argument) for argument in arguments)]  # noqa: UP007 - known at run time only
    if origin in (list, tuple, set, frozenset, Required, NotRequired):
        parts = tuple(_rebuilt(argument) for argument in arguments)
        return origin[parts if len(parts) > 1 else parts[0]]
    return kind


def _rebuilt_dict(kind: Any) -> Any:
    make: Any = typing_extensions.TypedDict
    hints = get_type_hints(kind, include_extras=True)
    rebuilt = make(kind.__name__, {name: _field(kind, name, hint) for name, hint in hints.items()})
    rebuilt.__doc__ = kind.__doc__
    return rebuilt


def _field(kind: Any, name: str, hint: Any) -> Any:
    # Where annotations are strings, `__required_keys__` does not know of the hint's own NotRequired.
    is_said = get_origin(hint) in (Required, NotRequired)
    return _rebuilt(hint) if is_said or name in kind.__required_keys__ else NotRequired[_rebuilt(hint)]
