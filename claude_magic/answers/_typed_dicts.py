"""TypedDicts that pydantic reads on every Python: before 3.12 it takes only those of `typing_extensions`."""

from __future__ import annotations

import collections
import copy
import dataclasses
import sys
from types import UnionType
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typing_extensions  # comes with pydantic
from pydantic import GetPydanticSchema
from pydantic_core import core_schema
from typing_extensions import ReadOnly

_QUALIFIERS = (Required, NotRequired, ReadOnly)


def portable(kind: Any) -> Any:
    """Return the type with each TypedDict in it as pydantic takes it; objects of it are dicts all the same.

    TypedDicts are found wherever types are: in other TypedDicts, which may be recursive, in containers, unions,
    aliases and generic types, in the fields of dataclasses and named tuples.

    Raises:
        NameError: An annotation of a TypedDict names what does not exist.
    """
    return kind if sys.version_info >= (3, 12) else _Rebuilder().rebuilt(kind)


def fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a TypedDict: their types, and whether they must be there.

    Raises:
        NameError: An annotation names what does not exist.
    """
    origin = get_origin(kind) or kind
    bound = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    fields = {}
    for name, hint in get_type_hints(origin, include_extras=True).items():
        # Where annotations are strings, `__required_keys__` does not know of the hint's own NotRequired.
        plain, said = _unqualified(hint)
        is_required = Required in said or (name in origin.__required_keys__ and NotRequired not in said)
        fields[name] = _with_types(plain, bound), is_required
    return fields


class _Rebuilder:
    """Rebuilds the types in which a TypedDict of `typing` stands; returns all others as they are."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def rebuilt(self, kind: Any) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if typing_extensions.is_typeddict(origin or kind):
            return self._once(kind, self._typed_dict)
        if origin is Literal or isinstance(kind, str | ForwardRef | TypeVar):
            return kind
        if origin is not None:
            return self._generic(kind, origin, arguments)
        # By name, because `typing` and `typing_extensions` each have a class for aliases.
        if type(kind).__name__ == "TypeAliasType":
            return self._once(kind, lambda alias: self.rebuilt(alias.__value__))
        if isinstance(kind, NewType):
            return _unless_same(self.rebuilt(kind.__supertype__), kind.__supertype__, kind)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self._once(kind, self._dataclass)
        if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._once(kind, self._named_tuple)
        return kind

    def _once(self, kind: Any, rebuild: Any) -> Any:
        """Return what was made of a type before; where it holds itself, the type that is on its way."""
        if kind not in self._made:
            self._made[kind] = kind
            self._made[kind] = rebuild(kind)
        return self._made[kind]

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if origin is Annotated:
            return Annotated[(self.rebuilt(arguments[0]), *arguments[1:])]
        parts = tuple(self.rebuilt(argument) for argument in arguments)
        if all(part is argument for part, argument in zip(parts, arguments, strict=True)):
            return kind
        if origin in (Union, UnionType):
            return Union[parts]  # noqa: UP007 - known at run time only
        if hasattr(kind, "copy_with"):
            return kind.copy_with(parts)
        return origin[parts if len(parts) > 1 else parts[0]]

    def _typed_dict(self, kind: Any) -> Any:
        origin = get_origin(kind) or kind
        make: Any = typing_extensions.TypedDict
        fields = fields_of(kind)
        # Filled afterwards, so that its fields can refer to it. All that pydantic looks at are its annotations.
        made = make(origin.__name__, dict.fromkeys(fields, Any), total=False)
        self._made[kind] = made
        for name, (hint, is_required) in fields.items():
            plain = self.rebuilt(hint)
            made.__annotations__[name] = Required[plain] if is_required else NotRequired[plain]
        for name in ("__doc__", "__module__", "__pydantic_config__", "__closed__", "__extra_items__"):
            if hasattr(origin, name):
                setattr(made, name, getattr(origin, name))
        return made

    def _dataclass(self, kind: Any) -> Any:
        hints = _hints(kind)
        has_its_own_way = hasattr(kind, "__pydantic_fields__") or any(
            isinstance(hint, dataclasses.InitVar) for hint in hints.values()
        )
        rebuilt = {name: self.rebuilt(hint) for name, hint in hints.items()}
        if has_its_own_way or all(rebuilt[name] is hints[name] for name in hints):
            return kind
        fields = [
            (each.name, rebuilt[each.name], _new_field(each))
            for each in dataclasses.fields(kind)
            if each.init
        ]
        stand_in = dataclasses.make_dataclass(kind.__name__, fields)
        stand_in.__doc__ = kind.__doc__
        return _made_by(stand_in, lambda made: kind(**{name: getattr(made, name) for name, _, _ in fields}))

    def _named_tuple(self, kind: Any) -> Any:
        hints = _hints(kind)
        rebuilt = {name: self.rebuilt(hints.get(name, Any)) for name in kind._fields}
        if all(rebuilt[name] is hints.get(name, Any) for name in kind._fields):
            return kind
        defaults = [kind._field_defaults[name] for name in kind._fields if name in kind._field_defaults]
        make: Any = collections.namedtuple  # its fields are known at run time only
        stand_in = make(kind.__name__, kind._fields, defaults=defaults)
        stand_in.__annotations__ = rebuilt
        return _made_by(stand_in, lambda made: kind(*made))


def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of a class's fields; none if one cannot be resolved here: pydantic knows more ways."""
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception:
        return {}


def _made_by(stand_in: Any, make: Any) -> Any:
    """Return a type that is checked as a stand-in of the same fields, and then made as what it stands for."""

    def schema(_source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(make, handler(stand_in))

    return Annotated[Any, GetPydanticSchema(schema)]


def _new_field(field: Any) -> Any:
    """Return a copy of a dataclass's field: one belongs to one class."""
    copied = copy.copy(field)
    copied.kw_only = True  # some have defaults before others that have none, inherited ones mostly
    return copied


def _unqualified(hint: Any) -> tuple[Any, set[Any]]:
    """Return the type of a field without what says whether it must be there and may be changed, and what said so."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _QUALIFIERS:
        plain, said = _unqualified(arguments[0])
        return plain, {*said, origin}
    if origin is Annotated:
        plain, said = _unqualified(arguments[0])
        return Annotated[(plain, *arguments[1:])], said
    return hint, set()


def _with_types(hint: Any, bound: dict[Any, Any]) -> Any:
    """Return a type with its type variables replaced by what a generic type was given for them."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not bound or not parameters:
        return hint
    return hint[tuple(bound.get(each, each) for each in parameters)]


def _unless_same(made: Any, source: Any, kind: Any) -> Any:
    return kind if made is source else made
