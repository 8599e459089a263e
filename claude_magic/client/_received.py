"""Bases of the models: short in a notebook, and patient with what servers send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

_LONGEST_SHOWN = 60
"""Characters of one value in a repr: a cell that ends in a message shows its repr."""


class ShortReprModel(BaseModel):
    """A frozen model that keeps unknown fields; its repr leaves out what is as usual and cuts what is long."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            field = fields.get(name or "")
            if field is None or value != field.get_default(call_default_factory=True):
                yield name, _Shown(_shorten(value))


class Received(ShortReprModel):
    """A model of something a server sent. A field of the wrong type counts as absent if it has a default."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return handler(value)
        except ValidationError:
            field = cls.model_fields[info.field_name or ""]
            if field.is_required():
                raise
            return field.get_default(call_default_factory=True)


class _Shown(str):
    """Text that is its own repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _shorten(value: object) -> str:
    if isinstance(value, str):
        if len(value) <= _LONGEST_SHOWN:
            return repr(value)
        return f"{value[:_LONGEST_SHOWN]!r}… ({len(value):,} characters)"
    if isinstance(value, list):
        return f"[{', '.join(map(_shorten, value))}]"
    if isinstance(value, BaseModel):
        return repr(value)
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
