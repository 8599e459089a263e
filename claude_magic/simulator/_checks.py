"""Small checks of JSON values, worded as the API words them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ._wire import JSON, invalid


def join(path: str, name: str | int) -> str:
    """The path of a member."""
    return f"{path}.{name}" if path else str(name)


def required(fields: JSON, name: str, path: str = "") -> Any:
    """The value of a field that must be there."""
    if name not in fields:
        raise invalid(f"{join(path, name)}: Field required")
    return fields[name]


def string(value: Any, path: str, *, longest: int | None = None) -> str:
    """A string, perhaps of a limited length."""
    if not isinstance(value, str):
        raise invalid(f"{path}: Input should be a valid string")
    if longest is not None and len(value) > longest:
        raise invalid(f"{path}: String should have at most {longest} characters")
    return value


def integer(value: Any, path: str, *, least: int | None = None) -> int:
    """An integer, perhaps with a lower bound."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{path}: Input should be a valid integer")
    if least is not None and value < least:
        raise invalid(f"{path}: Input should be greater than or equal to {least}")
    return value


def number(value: Any, path: str, *, least: float, most: float) -> float:
    """A number within bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(f"{path}: Input should be a valid number")
    if value < least:
        raise invalid(f"{path}: Input should be greater than or equal to {least:g}")
    if value > most:
        raise invalid(f"{path}: Input should be less than or equal to {most:g}")
    return float(value)


def boolean(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid(f"{path}: Input should be a valid boolean")
    return value


def dictionary(value: Any, path: str) -> JSON:
    """A JSON object."""
    if not isinstance(value, dict):
        raise invalid(f"{path}: Input should be a valid dictionary")
    return value


def array(value: Any, path: str) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise invalid(f"{path}: Input should be a valid list")
    return value


def one_of(value: Any, path: str, choices: Iterable[str]) -> str:
    """One of a few strings."""
    known = list(choices)
    if value not in known:
        raise invalid(f"{path}: Input should be {_listed(known)}")
    return str(value)


def no_extras(fields: JSON, path: str, known: Collection[str]) -> None:
    """No field but the known ones."""
    for name in fields:
        if name not in known:
            raise invalid(f"{join(path, name)}: Extra inputs are not permitted")


def _listed(values: list[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
