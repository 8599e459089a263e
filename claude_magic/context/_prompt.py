"""`{{ expression }}` in a prompt becomes the value of the expression.

Only where it is a Python expression about things of the user's: its root, the name that stands first in it, must be one of
theirs, and every other name must exist. So Jinja, LaTeX and JSON pass as they are typed. Values are never looked into
again, and single braces mean nothing.
"""

from __future__ import annotations

import builtins
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain, islice

from ..client import ConfigurationError
from ._collected import Collected, Part, error_text, is_numpy_scalar, join, plain_text, with_text_joined
from ._describe import CHARS_PER_TOKEN, DEFAULT_TOKENS, describe
from ._names import Expression, did_you_mean, parse_expression, resolve_name
from ._plain import unwrapped, written
from ._redaction import exposed_in, refusal

_OPENING = re.compile(r"(?<!\{)\{\{(?![{%#])")
_SINGLE_BRACES = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})")
_GETTEXT = re.compile(r"_\s*\(")
"""How templates mark what is to be translated; in a notebook `_` is the last output."""
_LONGEST_EXPRESSION = 1_000
_MOST_ENDS = 8
"""Candidates for the `}}` that ends an expression: it may hold dicts and strings with braces in them."""
_MOST_REMEMBERED = 1_000
_MOST_NAMED = 3
"""Expressions that a note names; of the rest it gives the number."""
_LONGEST_NAMED = 60
_MOST_COLUMNS = 12
_LONG_TEXT = round(DEFAULT_TOKENS * CHARS_PER_TOKEN)
"""Characters of a text beyond which a note says that all of it is sent."""

_NOTHING = compile("None", "<column>", "eval")

_Parse = Callable[[str], Expression | None]


@dataclass(frozen=True, slots=True)
class _Braced:
    """What stands between double braces, where it ends, and the expression that it is, if it is one."""

    source: str
    end: int
    expression: Expression | None


def interpolate(text: str, names: Mapping[str, object]) -> Collected:
    """Return a prompt with values in the place of `{{ expression }}`.

    A text is put in as it is, a number as Python writes it, anything else as `describe` tells it.

    Args:
        text: What was typed.
        names: The user's names.

    Raises:
        ConfigurationError: An expression could not be evaluated, or a name is nearly one of the user's. Nothing was sent.
    """
    pieces: list[Collected] = []
    untouched: list[tuple[str, str]] = []
    copied = 0
    for start, braced in _all_braced(text):
        _refuse_slip(braced, names)
        if reason := _why_not(braced, names):
            untouched.append((_in_braces(braced.source), reason))
        elif braced.expression is not None:
            pieces += [_typed(text[copied:start]), _inline(braced.expression, names)]
            copied = braced.end
    pieces.append(_typed(text[copied:]))
    return join([*pieces, Collected(notes=tuple(_note_on(untouched)))])


def names_in(text: str) -> frozenset[str]:
    """Return the names that the expressions between double braces in a prompt are about, whether there are such names or not."""
    expressions = (braced.expression for _, braced in _all_braced(text))
    return frozenset(name for each in expressions if each is not None for name in each.needed)


def _all_braced(text: str, *, passes_constants: bool = True) -> Iterator[tuple[int, _Braced]]:
    """Yield what stands between double braces, with where it begins; what is an expression is passed as a whole.

    Args:
        text: What was typed.
        passes_constants: So are expressions without names. Else what stands in them is looked into.
    """
    parse = lru_cache(maxsize=_MOST_REMEMBERED)(parse_expression)
    position = 0
    while opening := _OPENING.search(text, position):
        position = opening.end()
        if (braced := _find_braced(text, position, parse)) is None:
            continue
        if (found := braced.expression) is not None and (passes_constants or found.root is not None):
            position = braced.end
        yield opening.start(), braced


def _find_braced(text: str, start: int, parse: _Parse) -> _Braced | None:
    """Return the shortest Python expression from here to a `}}`; else what stands before the first one, if any does."""
    first: _Braced | None = None
    for end in islice(_ends(text, start, start + _LONGEST_EXPRESSION), _MOST_ENDS):
        source = text[start:end].strip()
        expression = parse(source)
        if expression is not None:
            return _Braced(source, end + 2, expression)
        first = first or _Braced(source, end + 2, None)
    return first


def _ends(text: str, start: int, stop: int) -> Iterator[int]:
    end = text.find("}}", start, stop)
    while end >= 0:
        yield end
        end = text.find("}}", end + 1, stop)


def _why_not(braced: _Braced, names: Mapping[str, object]) -> str:
    """Say why something stays as typed, as a clause; "" if there is nothing to say: it does not, or was not meant to be a value."""
    if braced.expression is None:
        word = re.match(r"\w+", braced.source)
        return "it is not a Python expression" if word and word[0] in names else ""
    root = braced.expression.root
    if root is None:
        return "it uses none of your variables"
    if root not in names and hasattr(builtins, root):
        return f"it begins with Python's own `{root}`"
    if _GETTEXT.match(braced.source) and not callable(names.get("_")):
        return "it calls `_`, which is not a function here"
    missing = _missing(braced.expression, names)
    return f"there is no variable `{missing[0]}`" if missing else ""


def _missing(expression: Expression, names: Mapping[str, object]) -> list[str]:
    return [name for name in expression.needed if name not in names and not hasattr(builtins, name)]


def _refuse_slip(braced: _Braced, names: Mapping[str, object]) -> None:
    """Refuse an expression whose name is nearly one of the user's: it is no value, and hardly meant to be sent as typed.

    Raises:
        ConfigurationError: It is one.
    """
    for name in () if braced.expression is None else _missing(braced.expression, names):
        if hint := did_you_mean(name, names):
            raise ConfigurationError(
                f"{_in_braces(braced.source)}: there is no variable {name}.{hint} Nothing was sent."
            )


def _inline(expression: Expression, names: Mapping[str, object]) -> Collected:
    value = unwrapped(_evaluate(expression, names))
    text = plain_text(value)
    if text is None:
        return describe(value, name=expression.source)
    shown = _in_braces(expression.source)
    notes = (f"{shown} is sent in full: {len(text):,} characters.",) if len(text) > _LONG_TEXT else ()
    return Collected(parts=(text,), notes=notes, exposed=exposed_in(text, shown))


def _evaluate(expression: Expression, names: Mapping[str, object]) -> object:
    needed = {name: names[name] for name in expression.needed if name in names}
    try:
        return eval(expression.code, {"__builtins__": builtins, **needed})  # noqa: S307  the user's own, as in a cell
    except Exception as error:
        raise ConfigurationError(
            f"{_in_braces(expression.source)} raised {error_text(error)}. Nothing was sent."
        ) from None


def _in_braces(source: str) -> str:
    """Return an expression as it is named in messages: on one line, and not too long."""
    line = " ".join(source.split())
    shown = line if len(line) <= _LONGEST_NAMED else f"{line[:_LONGEST_NAMED]}…"
    return f"{{{{ {shown} }}}}"


def _typed(text: str) -> Collected:
    return Collected(parts=(text,) if text else ())


def _note_on(untouched: list[tuple[str, str]]) -> Iterator[str]:
    unique = list(dict.fromkeys(untouched))
    if not unique:
        return
    if len(unique) == 1:
        [(shown, why)] = unique
        yield f"Sent as typed: {re.sub('^it ', lambda _: f'{shown} ', why)}."
        return
    named = "; ".join(f"{shown} ({why})" for shown, why in unique[:_MOST_NAMED])
    more = f"; and {len(unique) - _MOST_NAMED} more" if len(unique) > _MOST_NAMED else ""
    yield f"Sent as typed: {named}{more}."


def describe_name(name: str, names: Mapping[str, object]) -> Collected:
    """Return what a dotted name stands for: code with its source, anything else described.

    Args:
        name: A name, or a path of attributes that begins with one.
        names: The user's names.

    Raises:
        ConfigurationError: It does not exist, or cannot be read.
    """
    value = resolve_name(name, names, asked_by="explain")
    collected = describe(value, name=name)
    kind = f"`{name}`, of type {type(value).__name__}:\n"
    return Collected(parts=(kind, *collected.parts), notes=collected.notes, redacted=collected.redacted)


class NullValueError(ConfigurationError):
    """A value that the prompt of a row needs is missing in that row."""


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """A prompt for many rows, read once.

    Attributes:
        pieces: Its parts in order: text that is the same for all rows, and expressions about a row.
        columns: The names of a row that the expressions are about.
        names: The names of the user that they need, too.
        notes: Sentences for the reader.
    """

    pieces: tuple[str | Expression, ...]
    columns: tuple[str, ...]
    names: Mapping[str, object]
    notes: tuple[str, ...] = ()

    @property
    def beginning(self) -> str:
        """The text before the first value of a row: the same for all of them."""
        first = self.pieces[0]
        return first if isinstance(first, str) else ""

    @property
    def shared_after(self) -> int:
        """Characters of the text that is the same for all rows and stands behind a value, where no cache finds it."""
        return sum(len(piece) for piece in self.pieces[1:] if isinstance(piece, str))

    def fill(self, row: Mapping[str, object]) -> tuple[Part, ...]:
        """Return what is asked about a row, behind `beginning`: text, and blocks where a value is a picture.

        Args:
            row: The values, by name.

        Raises:
            NullValueError: A value is missing.
            ConfigurationError: An expression could not be evaluated.
        """
        pieces = self.pieces[1:] if self.beginning else self.pieces
        filled = ((piece,) if isinstance(piece, str) else self._value_of(piece, row) for piece in pieces)
        return tuple(with_text_joined(chain.from_iterable(filled)))

    def _value_of(self, expression: Expression, row: Mapping[str, object]) -> tuple[Part, ...]:
        if expression.source in row:
            value = row[expression.source]
        else:
            value = _evaluate(expression, {**self.names, **row})
        value = unwrapped(value)
        if _is_null(value):
            raise NullValueError(f"{_in_braces(expression.source)} is null: this row was not asked.")
        # As a text, what a row holds is sent whole.
        text = written(value) if (text := plain_text(value)) is None else text
        return (text,) if text is not None else describe(value, name=expression.source).parts


def row_prompt(text: str, columns: Collection[str], names: Mapping[str, object]) -> RowPrompt:
    """Read a prompt whose `{{ expression }}` are about the rows of a table; names of a row go before the user's own.

    Args:
        text: What was typed.
        columns: The names that a row has.
        names: The user's names.

    Raises:
        ConfigurationError: An expression has a name that is neither; none is about a row; or one about no row could not be
            evaluated. Nothing was sent.
    """
    pieces: list[str | Expression] = []
    notes: dict[str, None] = {}
    needed: dict[str, None] = {}
    copied = 0
    for start, braced in _all_braced(text, passes_constants=False):
        if start < copied:
            continue
        if (
            expression := _named_column(braced, columns) or braced.expression
        ) is None or expression.root is None:
            continue
        _refuse_unknown(expression, columns, names)
        _add_text(pieces, text[copied:start])
        if used := [name for name in expression.needed if name in columns]:
            needed |= dict.fromkeys(used)
            pieces.append(expression)
        else:
            constant = _inline(expression, names)
            notes |= dict.fromkeys(constant.notes)
            if constant.exposed:
                raise ConfigurationError(
                    refusal(constant.exposed, "Write it into a column and use raw=True.")
                )
            _add_text(pieces, constant.text)
        copied = braced.end
    _add_text(pieces, text[copied:])
    if not needed:
        single = [name for name in _SINGLE_BRACES.findall(text) if name in columns]
        remark = f"{{{single[0]}}} in single braces is sent as typed. " if single else ""
        raise ConfigurationError(
            f"The prompt has no value of a row in it, so every row would ask the same. {remark}Write one in double braces: "
            f"{_some(single or columns, '{{{{ {} }}}}')}. Nothing was sent."
        )
    own = {
        name: names[name]
        for piece in pieces
        if not isinstance(piece, str)
        for name in piece.needed
        if name not in columns and name in names
    }
    return RowPrompt(tuple(pieces), tuple(needed), own, tuple(notes))


def _named_column(braced: _Braced, columns: Collection[str]) -> Expression | None:
    """Return what stands for a column whose name is no name in Python, such as `my column`, `a.b`, `class` or `2026`."""
    name, found = braced.source, braced.expression
    if (
        name not in columns and not name.isascii()
    ):  # files from elsewhere write accents as characters of their own
        alike = (each for each in columns if _composed(each) == _composed(name))
        name = next(alike, name)
    if name not in columns or (found is not None and name in found.needed):
        return None
    # Its value is looked up by the name of the column, so there is nothing to evaluate.
    return Expression(source=name, code=_NOTHING, needed=(name,))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFKC", name)


def _add_text(pieces: list[str | Expression], text: str) -> None:
    if pieces and isinstance(last := pieces[-1], str):
        pieces[-1] = last + text
    elif text:
        pieces.append(text)


def _refuse_unknown(expression: Expression, columns: Collection[str], names: Mapping[str, object]) -> None:
    """Refuse an expression with a name that is neither of a row nor of the user.

    Raises:
        ConfigurationError: There is one.
    """
    for name in expression.needed:
        if name in columns or name in names or hasattr(builtins, name):
            continue
        raise ConfigurationError(
            f"{_in_braces(expression.source)}: a row has no {name}, and neither has the notebook."
            f"{did_you_mean(name, [*columns, *names])} A row has {_some(columns, '{}')}. Nothing was sent."
        )


def _some(columns: Collection[str], form: str) -> str:
    shown = ", ".join(form.format(name) for name in islice(columns, _MOST_COLUMNS))
    return shown if len(columns) <= _MOST_COLUMNS else f"{shown} and {len(columns) - _MOST_COLUMNS} more"


def _is_null(value: object) -> bool:
    """Tell None, each kind of NaN and NaT, and the nulls of pandas and numpy."""
    if isinstance(value, str):
        return False
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float | complex) or is_numpy_scalar(value):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant")
