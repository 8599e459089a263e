"""Column types of a mapper's tables. They depend on the schema alone, so all partitions have the same types.

Engines concatenate partitions, so a column's type must not depend on the answers in one of them. A column of nulls, an empty list, and an
integer beyond 64 bits do not change it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_PANDAS_DTYPES: Final = {"integer": "Int64", "number": "float64", "boolean": "boolean"}
"""Nullable pandas dtypes by JSON type. Text has pandas' default string dtype; everything else is `object`."""
_MAX_DEPTH: Final = 20
_INT_BITS: Final = 63


def pandas_type(schema: Mapping[str, Any]) -> Any:
    """Return the dtype of a pandas column.

    Args:
        schema: JSON schema of the field, without `$ref`.
    """
    import pandas

    kind = _json_type(schema)[0]
    return pandas.Series(["text"]).dtype if kind == "string" else _PANDAS_DTYPES.get(kind, "object")


def pandas_column(schema: Mapping[str, Any], values: Sequence[Any], index: Any) -> tuple[Any, list[int]]:
    """Return a pandas column, and the positions of values that do not fit its dtype and became null."""
    import pandas

    converted = [_convert(schema, value) for value in values]
    column = pandas.Series(converted, index=index, dtype=pandas_type(schema))
    return column, _lost_positions(values, converted)


def narwhals_type(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """Return the dtype of a narwhals column (polars, pyarrow and others). Values without a single type are stored as JSON text."""
    import narwhals.stable.v2 as nw

    kind, schema = _json_type(schema)
    if depth > _MAX_DEPTH:
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
    """Return a native column (polars, pyarrow and others), and the positions of values that do not fit its dtype and became null."""
    import narwhals.stable.v2 as nw

    dtype = narwhals_type(schema)
    converted = [_convert_nested(dtype, _convert(schema, value)) for value in values]

    def column(of: list[Any]) -> Any:
        return nw.new_series(name, of, dtype, backend=backend)

    try:
        made = column(converted)
    except Exception:  # each library raises its own exception for a value that does not fit
        converted = [value if _fits(column, value) else None for value in converted]
        made = column(converted)
    return made, _lost_positions(values, converted)


def _fits(column: Any, value: Any) -> bool:
    try:
        column([value])
    except Exception:
        return False
    return True


def _lost_positions(values: Sequence[Any], converted: Sequence[Any]) -> list[int]:
    pairs = zip(values, converted, strict=True)
    return [place for place, (value, made) in enumerate(pairs) if made is None and value is not None]


def _convert(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a value converted to the type of its column; None for a number that does not fit a numeric column."""
    kind = _json_type(schema)[0]
    if value is None:
        return None
    if kind == "string":
        return as_text(value)
    if kind == "integer":
        return value if isinstance(value, int) and value.bit_length() <= _INT_BITS else None
    try:
        return float(value) if kind == "number" else value
    except (OverflowError, ValueError, TypeError):
        return None


def _convert_nested(dtype: Any, value: Any) -> Any:
    """Return a value converted to a narwhals dtype, with parts that have no single type as text."""
    import narwhals.stable.v2 as nw

    if value is None:
        return None
    if isinstance(dtype, nw.List):
        return [_convert_nested(dtype.inner, item) for item in value] if isinstance(value, list) else value
    if isinstance(dtype, nw.Struct):
        return {field.name: _convert_nested(field.dtype, value.get(field.name)) for field in dtype.fields}
    if dtype == nw.Float64():
        return float(value)
    return as_text(value) if dtype == nw.String() else value


def as_text(value: Any) -> str:
    """Return a value as text; lists and dicts become JSON."""
    if isinstance(value, str):
        return value
    return (
        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    )


def _json_type(schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the JSON type other than null, and the schema that declares it; "" if several types are possible."""
    choices: Iterable[Any] = schema.get("anyOf") or (schema,)
    found = [each for each in choices if each.get("type") != "null"]
    if len(found) != 1:
        kinds = {_json_type(each)[0] for each in found}
        return (kinds.pop(), schema) if len(kinds) == 1 and not kinds & {"array", "object"} else ("", schema)
    kind = found[0].get("type")
    names = [name for name in (kind if isinstance(kind, list) else [kind]) if name not in (None, "null")]
    return (names[0], found[0]) if len(names) == 1 else ("", schema)
