"""The columns of a mapper's tables: each has one type, by the schema alone, so that all partitions fit together.

What an engine puts together of partitions must not depend on what Claude has answered in one of them: a column of nulls, an empty list and a number
beyond 64 bits have the type of the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_PANDAS: Final = {"integer": "Int64", "number": "float64", "boolean": "boolean"}
"""Of columns that may hold nulls; text has pandas' own type, anything else is an object."""
_DEEPEST: Final = 20
_BITS: Final = 63


def pandas_type(schema: Mapping[str, Any]) -> Any:
    """Return the type of a column of pandas.

    Args:
        schema: The JSON schema of the field, without references.
    """
    import pandas

    kind = _kind_of(schema)[0]
    return pandas.Series(["text"]).dtype if kind == "string" else _PANDAS.get(kind, "object")


def pandas_column(schema: Mapping[str, Any], values: Sequence[Any], index: Any) -> tuple[Any, list[int]]:
    """Return a column of pandas, and the places of values that it cannot hold, which are null."""
    import pandas

    fitted = [_fitted(schema, value) for value in values]
    return pandas.Series(fitted, index=index, dtype=pandas_type(schema)), _wrong(values, fitted)


def narwhals_type(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """Return the type of a column of polars, pyarrow and others; what is no one type is a text: JSON."""
    import narwhals.stable.v2 as nw

    kind, schema = _kind_of(schema)
    if depth > _DEEPEST:
        return nw.String()
    if kind == "array" and isinstance(items := schema.get("items"), Mapping):
        return nw.List(narwhals_type(items, depth + 1))
    if kind == "object" and (fields := schema.get("properties")) and not schema.get("additionalProperties"):
        return nw.Struct({name: narwhals_type(field, depth + 1) for name, field in fields.items()})
    simple = {"integer": nw.Int64(), "number": nw.Float64(), "boolean": nw.Boolean()}
    return simple.get(kind, nw.String())


def narwhals_column(
    name: str, schema: Mapping[str, Any], values: Sequence[Any], backend: Any
) -> tuple[Any, list[int]]:
    """Return a column of polars, pyarrow and others, and the places of values that it cannot hold, which are null."""
    import narwhals.stable.v2 as nw

    dtype = narwhals_type(schema)
    fitted = [_as_typed(dtype, _fitted(schema, value)) for value in values]

    def column(of: list[Any]) -> Any:
        return nw.new_series(name, of, dtype, backend=backend)

    try:
        made = column(fitted)
    except Exception:  # each library says in its own way that a value does not fit
        fitted = [value if _fits(column, value) else None for value in fitted]
        made = column(fitted)
    return made, _wrong(values, fitted)


def _fits(column: Any, value: Any) -> bool:
    try:
        column([value])
    except Exception:
        return False
    return True


def _wrong(values: Sequence[Any], fitted: Sequence[Any]) -> list[int]:
    pairs = zip(values, fitted, strict=True)
    return [place for place, (value, made) in enumerate(pairs) if made is None and value is not None]


def _fitted(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a value as its column holds it; None for a number that no column of numbers can hold."""
    kind = _kind_of(schema)[0]
    if value is None:
        return None
    if kind == "string":
        return as_text(value)
    if kind == "integer":
        return value if isinstance(value, int) and value.bit_length() <= _BITS else None
    try:
        return float(value) if kind == "number" else value
    except (OverflowError, ValueError, TypeError):
        return None


def _as_typed(dtype: Any, value: Any) -> Any:
    """Return a value in which what has no one type is a text."""
    import narwhals.stable.v2 as nw

    if value is None:
        return None
    if isinstance(dtype, nw.List):
        return [_as_typed(dtype.inner, item) for item in value] if isinstance(value, list) else value
    if isinstance(dtype, nw.Struct):
        return {field.name: _as_typed(field.dtype, value.get(field.name)) for field in dtype.fields}
    if dtype == nw.Float64():
        return float(value)
    return as_text(value) if dtype == nw.String() else value


def as_text(value: Any) -> str:
    """Return a value as a column of text holds it: lists and dicts as JSON."""
    if isinstance(value, str):
        return value
    return (
        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    )


def _kind_of(schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return what JSON calls the type, null left out, with the schema that says so; "" where it is one of several."""
    choices: Iterable[Any] = schema.get("anyOf") or (schema,)
    found = [each for each in choices if each.get("type") != "null"]
    if len(found) != 1:
        kinds = {_kind_of(each)[0] for each in found}
        return (kinds.pop(), schema) if len(kinds) == 1 and not kinds & {"array", "object"} else ("", schema)
    said = found[0].get("type")
    names = [name for name in (said if isinstance(said, list) else [said]) if name not in (None, "null")]
    return (names[0], found[0]) if len(names) == 1 else ("", schema)
