"""TypedDicts that pydantic reads on every Python: before 3.12 it takes only those of `typing_extensions`."""

from __future__ import annotations

import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import typing_extensions


def portable(kind: Any) -> Any:
    """Return the type with each TypedDict in it as pydantic takes it; objects of it are dicts all the same."""
    return kind if sys.version_info >= (3, 12) else _rebuilt(kind)


def _rebuilt(kind: Any) -> Any:
    if is_typeddict(kind):
        return _rebuilt_dict(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return Union[tuple(_rebuilt(argument) for argument in arguments)]  # noqa: UP007 - known at run time only
    if origin in (list, tuple, set, frozenset):
        return origin[tuple(_rebuilt(argument) for argument in arguments)]
    return kind


def _rebuilt_dict(kind: Any) -> Any:
    hints = get_type_hints(kind)
    fields = {
        name: _rebuilt(hint)
        if name in kind.__required_keys__
        else typing_extensions.NotRequired[_rebuilt(hint)]
        for name, hint in hints.items()
    }
    make: Any = typing_extensions.TypedDict
    rebuilt = make(kind.__name__, fields)
    rebuilt.__doc__ = kind.__doc__
    return rebuilt
