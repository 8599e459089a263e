"""The language of `--schema`, which describes the form of an answer: `name, age int, tags list[str], mood happy|sad`.

```
spec    = type | fields                     int · list[str] · happy|sad · name, age int
fields  = field ("," field)*                commas, or lines
field   = NAME ["?"] [type] ["?"] [":" description]
type    = option ("|" option)*              only types, or only values: str|int · happy|sad · 1|2|3
option  = str int float bool date datetime time · list[type] · {fields} · NAME of a type · a value, quoted if necessary
```

After the colon, Python's notation for types is also accepted (`age: int`).
"""

from __future__ import annotations

import datetime
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..client import ConfigurationError
from ..context import closest_name

TYPES: Final[Mapping[str, Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "None": NoneType,
}
SUGGESTED_TYPES: Final = tuple(name for name in TYPES if name != "None")
_FOREIGN: Final[Mapping[str, str]] = {
    "string": "str",
    "text": "str",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
    "array": "list[...]",
    "List": "list[...]",
    "null": "None",
}
_DICTS: Final = frozenset({"dict", "Dict", "object", "map", "Mapping"})
_NAME: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_WORD: Final = re.compile(r"[\w.+\-/%°€$#@&*]+")
_QUOTED: Final = re.compile(r"\"([^\"\n]*)\"|'([^'\n]*)'")
_SPACE: Final = re.compile(r"[ \t\r]*")
_BREAK: Final = re.compile(r"[ \t\r]*\n\s*")
_DESCRIPTION: Final = re.compile(r"[^,}\n]*")
_LONE_TYPE: Final = re.compile(
    r"\s*(?:\{|(?:list|List|dict|Dict)\s*\[|(?:[\w.+\-]+|\"[^\"]*\"|'[^']*')\s*\|)"
)
_ENDS_OF_TYPE: Final = ("", ",", "\n", "}", "?")
_MAX_DEPTH: Final = 12

Lookup = Callable[[str], Any]
"""Returns the user's type of a given name; None if there is none."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A literal in a union of literals, and its position in the spec."""

    value: str | int
    position: int


class SpecParser:
    """A parser for one spec.

    Args:
        spec: The spec as typed.
        lookup: Finds the user's own types.
    """

    def __init__(self, spec: str, lookup: Lookup) -> None:
        self._spec = spec
        self._lookup = lookup
        self._position = 0
        self._depth = 0

    def parse(self) -> Any:
        """Return the type that the spec describes: a pydantic model for fields.

        Raises:
            ConfigurationError: The spec does not match the grammar; the message gives the position.
        """
        if not _LONE_TYPE.match(self._spec) and self._spec.strip() not in TYPES:
            return self._fields("Answer", closing="")
        found = self._type("Answer")
        if not self._is_at_end():
            self._fail("expected nothing more")
        return found

    # Characters

    def _skip(self) -> None:
        if spaces := _SPACE.match(self._spec, self._position):
            self._position = spaces.end()

    def _peek(self) -> str:
        self._skip()
        return self._spec[self._position : self._position + 1]

    def _take(self, mark: str) -> bool:
        if self._peek() != mark:
            return False
        self._position += 1
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        found = pattern.match(self._spec, self._position)
        if found:
            self._position = found.end()
        return found

    def _is_at_end(self) -> bool:
        return not self._spec[self._position :].strip()

    def _fail(self, what: str, position: int | None = None, hint: str = "") -> NoReturn:
        at = self._position if position is None else position
        where = "at its end" if at >= len(self._spec.rstrip()) else f"at character {at + 1}"
        raise ConfigurationError(
            f"--schema: {what} ({where} of `{_shortened(self._spec)}`).{hint and f' {hint}'}"
        )

    # Grammar rules

    def _fields(self, name: str, closing: str) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        while True:
            self._skip_breaks()
            field_name, field = self._field(name)
            if field_name in fields:
                self._fail(f"the field {field_name} is given twice")
            fields[field_name] = field
            is_separated = self._take(",") or self._match(_BREAK) is not None
            self._skip_breaks()
            is_closed = self._take(closing) if closing else self._is_at_end()
            if is_closed:
                return self._model(name, fields)
            if not is_separated:
                self._fail("expected a comma" + (f" or {closing}" if closing else ""))

    def _skip_breaks(self) -> None:
        while self._match(_BREAK):
            pass

    def _field(self, owner: str) -> tuple[str, Any]:
        found = self._match(_NAME)
        if found is None:
            self._fail("expected the name of a field")
        name = found[0]
        if "." in name or name.startswith("_"):
            self._fail(f"{name} cannot be the name of a field", found.start())
        is_optional = self._take("?")
        has_type = self._peek() not in (*_ENDS_OF_TYPE, ":")
        field_type = self._type(inside=f"{owner}_{name}") if has_type else str
        is_optional |= self._take("?")
        description = None
        if self._take(":"):
            annotated = None if has_type else self._annotation(f"{owner}_{name}")
            field_type = field_type if annotated is None else annotated
            is_optional |= self._take("?")
            description = self._description() if annotated is None else None
        return name, _field_definition(field_type, description, is_optional=is_optional)

    def _annotation(self, inside: str) -> Any:
        """Return the type after a colon; None, without advancing, if a description follows."""
        start, depth = self._position, self._depth
        try:
            found = self._type(inside)
        except ConfigurationError:
            found = None
        if found is None or self._peek() not in _ENDS_OF_TYPE:
            self._position, self._depth = start, depth
            return None
        return found

    def _description(self) -> str:
        quoted = self._match(_QUOTED)
        if quoted:
            return quoted[1] or quoted[2] or ""
        text = self._match(_DESCRIPTION)
        return text[0].strip() if text else ""

    def _type(self, inside: str) -> Any:
        """Parse a type; `inside` is the name for a model in braces. Several unknown words are values."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(f"nested more than {_MAX_DEPTH} deep")
        options = [self._option(inside)]
        while self._take("|"):
            options.append(self._option(inside))
        self._depth -= 1
        return self._joined(options)

    def _option(self, inside: str) -> Any:
        self._skip()
        start = self._position
        if self._take("{"):
            return self._fields(inside, closing="}")
        if quoted := self._match(_QUOTED):
            return _Value(quoted[1] or quoted[2] or "", start)
        if word := self._match(_WORD):
            return self._word(word[0], start, inside)
        self._fail("expected a type")

    def _word(self, word: str, start: int, inside: str) -> Any:
        if word in ("list", "List") and self._take("["):
            item: Any = self._type(inside)
            if not self._take("]"):
                self._fail("expected ]")
            return list.__class_getitem__(item)
        if word in _DICTS:
            self._fail(
                f"{word} has free keys, which the API does not take; list the fields in braces, "
                "or take list[{key, value}]",
                start,
            )
        if word == "list":
            return list[str]
        if word in TYPES:
            return TYPES[word]
        if (found := self._lookup(word)) is not None:
            return found
        return _Value(int(word) if re.fullmatch(r"-?\d{1,15}", word) else word, start)

    def _joined(self, options: list[Any]) -> Any:
        values = [option for option in options if isinstance(option, _Value)]
        if not values:
            return reduce(or_, options)
        types = [option for option in options if not isinstance(option, _Value) and option is not NoneType]
        if types or len(values) == 1:
            self._fail_at_unknown(values[0])
        literal: Any = Literal.__getitem__(tuple(_with_one_type([value.value for value in values])))
        return literal | None if NoneType in options else literal

    def _fail_at_unknown(self, value: _Value) -> NoReturn:
        word = str(value.value)
        near = _FOREIGN.get(word) or closest_name(word, SUGGESTED_TYPES)
        hint = (
            f"Did you mean {near}?"
            if near
            else f"Types are {', '.join(TYPES)}, list[...], {{...}} and a|b|c."
        )
        self._fail(f"there is no type {word}", value.position, hint)

    def _model(self, name: str, fields: dict[str, Any]) -> type[BaseModel]:
        title = "".join(part.capitalize() for part in name.split("_"))
        try:
            with warnings.catch_warnings():
                # `copy` and `json` are allowed as fields, although they shadow deprecated methods of a model.
                warnings.simplefilter("ignore", UserWarning)
                return create_model(title, __config__=ConfigDict(protected_namespaces=()), **fields)
        except (NameError, TypeError, ValueError) as error:
            self._fail(f"invalid fields: {error}")


def _field_definition(field_type: Any, description: str | None, *, is_optional: bool) -> tuple[Any, Any]:
    if is_optional:
        return field_type | None, Field(default=None, description=description)
    return field_type, Field(description=description)


def _with_one_type(values: list[str | int]) -> list[str | int]:
    """Return the values as integers if all are integers, else all as strings."""
    return values if all(isinstance(value, int) for value in values) else [str(value) for value in values]


def _shortened(spec: str) -> str:
    return spec if len(spec) <= 80 else spec[:77] + "..."
