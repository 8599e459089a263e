"""Replaces `{{ expression }}` in a prompt by the value of the expression.

The text must be a Python expression about the user's variables: its root (the first name) must be one of them, and every
other name must exist. So Jinja, LaTeX and JSON are sent as typed. Inserted values are not searched for expressions, and
single braces have no meaning.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain, islice
from types import CodeType

from ..client import ConfigurationError
from ._collected import Collected, Part, error_text, join, with_text_joined
from ._describe import CHARS_PER_TOKEN, DEFAULT_TOKENS, describe
from ._names import did_you_mean, resolve_name
from ._redaction import exposed_in, refusal
from ._structures import is_missing, library_names, plain_text, unwrapped, written

_OPENING = re.compile(r"(?<!\{)\{\{(?![{%#])")
_SINGLE_BRACES = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})")
_GETTEXT = re.compile(r"_\s*\(")
"""The mark for translatable text in templates; in a notebook `_` is the last output."""
_LONGEST_EXPRESSION = 1_000
_MOST_ENDS = 8
"""Candidates for the `}}` that ends an expression, which may contain dicts and strings with braces."""
_MOST_REMEMBERED = 1_000
_MOST_NAMED = 3
"""Expressions that a note lists; the others are counted."""
_LONGEST_NAMED = 60
_MOST_COLUMNS = 12
_LONG_TEXT = round(DEFAULT_TOKENS * CHARS_PER_TOKEN)
"""Characters; a note reports that a longer text is sent in full."""

_NOTHING = compile("None", "<column>", "eval")


@dataclass(frozen=True, slots=True)
class Expression:
    """A Python expression.

    Attributes:
        source: The source.
        code: The compiled code, for `eval`.
        needed: The free names of the expression, in the order of the source.
    """

    source: str
    code: CodeType
    needed: tuple[str, ...]

    @property
    def root(self) -> str | None:
        """The first free name; None if there is none."""
        return self.needed[0] if self.needed else None


def parse_expression(source: str) -> Expression | None:
    """Return the parsed expression; None if a text is not an expression."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes, for example: the text may be prose
            tree = ast.parse(source, mode="eval")
            code = compile(tree, "<prompt>", "eval")
            free = set(_free_names(symtable.symtable(source, "<prompt>", "eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in free]
    names.sort(key=lambda node: (node.lineno, node.col_offset))
    return Expression(source, code, tuple(dict.fromkeys(node.id for node in names)))


def _free_names(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that are looked up outside the expression, without those bound by its lambdas and comprehensions."""
    for symbol in table.get_symbols():
        is_own = symbol.is_assigned() or symbol.is_parameter()
        if symbol.is_referenced() and not is_own and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _free_names(inner)


_Parse = Callable[[str], Expression | None]


@dataclass(frozen=True, slots=True)
class _Braced:
    """The text between double braces, the position after it, and its expression; None if it is not one."""

    source: str
    end: int
    expression: Expression | None


def interpolate(text: str, names: Mapping[str, object]) -> Collected:
    """Return a prompt with values in place of `{{ expression }}`.

    A string is inserted as it is, a number in Python notation, anything else as its description.

    Args:
        text: The prompt as typed.
        names: The user's variables.

    Raises:
        ConfigurationError: An expression raised an error, or a name is probably a typo of a variable. Nothing was sent.
    """
    pieces: list[Collected] = []
    untouched: list[tuple[str, str]] = []
    copied = 0
    for start, braced in _all_braced(text):
        _refuse_typo(braced, names)
        if reason := _reason_untouched(braced, names):
            untouched.append((_in_braces(braced.source), reason))
        elif braced.expression is not None:
            pieces += [Collected(parts=(text[copied:start],)), _inline(braced.expression, names)]
            copied = braced.end
    pieces.append(Collected(parts=(text[copied:],)))
    return join([*pieces, Collected(notes=tuple(_note_on(untouched)))])


def names_in(text: str) -> frozenset[str]:
    """Return the free names of the expressions in a prompt, whether they exist or not."""
    expressions = (braced.expression for _, braced in _all_braced(text))
    return frozenset(name for each in expressions if each is not None for name in each.needed)


def _all_braced(text: str, *, passes_constants: bool = True) -> Iterator[tuple[int, _Braced]]:
    """Yield each text between double braces and its start; the search continues after an expression.

    Args:
        text: The prompt as typed.
        passes_constants: Whether the search also continues after an expression without names; if not, inside it.
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
    """Return the shortest Python expression from `start` to a `}}`; else the text before the first `}}`; None without one."""
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


def _reason_untouched(braced: _Braced, names: Mapping[str, object]) -> str:
    """Return why braces are sent as typed, as a clause; "" if they are replaced, or if they are clearly not meant as a value."""
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


def _refuse_typo(braced: _Braced, names: Mapping[str, object]) -> None:
    """Refuse an expression with a typo in the name of a variable, instead of sending it as typed.

    Raises:
        ConfigurationError: A missing name is close to an existing one.
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
        return eval(expression.code, {"__builtins__": builtins, **needed})  # noqa: S307  the user's own code, as in a cell
    except Exception as error:
        raise ConfigurationError(
            f"{_in_braces(expression.source)} raised {error_text(error)}. Nothing was sent."
        ) from None


def _in_braces(source: str) -> str:
    """Return an expression for messages: in braces, on one line, shortened."""
    line = " ".join(source.split())
    shown = line if len(line) <= _LONGEST_NAMED else f"{line[:_LONGEST_NAMED]}…"
    return f"{{{{ {shown} }}}}"


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
    """Return the description of the value of a dotted name; for code, its source.

    Args:
        name: A name, or a path of attributes and items.
        names: The user's variables.

    Raises:
        ConfigurationError: The path does not exist, or reading it fails.
    """
    value = resolve_name(name, names, asked_by="explain")
    collected = describe(value, name=name)
    kind = f"`{name}`, of type {type(value).__name__}:\n"
    return Collected(parts=(kind, *collected.parts), notes=collected.notes, redacted=collected.redacted)


class NullValueError(ConfigurationError):
    """A row lacks a value that its prompt needs."""


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """A prompt for many rows, parsed once.

    Attributes:
        pieces: Its parts in order: text that is the same for all rows, and expressions about a row.
        columns: The columns that the expressions use.
        names: The user's variables that the expressions use.
        notes: Sentences for the user.
    """

    pieces: tuple[str | Expression, ...]
    columns: tuple[str, ...]
    names: Mapping[str, object]
    notes: tuple[str, ...] = ()

    @property
    def beginning(self) -> str:
        """The text before the first value of a row; the same for all rows."""
        first = self.pieces[0]
        return first if isinstance(first, str) else ""

    @property
    def shared_after(self) -> int:
        """The number of characters that are the same for all rows but follow a value, so that no prompt cache applies to them."""
        return sum(len(piece) for piece in self.pieces[1:] if isinstance(piece, str))

    def fill(self, row: Mapping[str, object]) -> tuple[Part, ...]:
        """Return the prompt for a row without `beginning`: text, and image blocks.

        Args:
            row: The values, by column.

        Raises:
            NullValueError: A value is missing.
            ConfigurationError: An expression raised an error.
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
        # Plain data of a row is sent in full.
        text = written(value) if (text := plain_text(value)) is None else text
        return (text,) if text is not None else describe(value, name=expression.source).parts


def row_prompt(text: str, columns: Collection[str], names: Mapping[str, object]) -> RowPrompt:
    """Parse a prompt with `{{ expression }}` about the rows of a table; columns take precedence over variables.

    Args:
        text: The prompt as typed.
        columns: The columns of the table.
        names: The user's variables.

    Raises:
        ConfigurationError: A name in an expression is neither a column nor a variable, no expression uses a column, or an
            expression without columns raised an error. Nothing was sent.
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
            _refuse_misspelt(braced, columns)
            continue
        _refuse_unknown(expression, columns, names)
        pieces.append(text[copied:start])
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
            pieces.append(constant.text)
        copied = braced.end
    pieces.append(text[copied:])
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
    return RowPrompt(tuple(with_text_joined(pieces)), tuple(needed), own, tuple(notes))


def _named_column(braced: _Braced, columns: Collection[str]) -> Expression | None:
    """Return an expression for a column whose name is not a Python name, such as `my column`, `a.b`, `class` or `2026`."""
    name, found = braced.source, braced.expression
    # Files from other systems may contain decomposed accents.
    if name not in columns and not name.isascii():
        matches = (each for each in columns if _composed(each) == _composed(name))
        name = next(matches, name)
    if name not in columns or (found is not None and name in found.needed):
        return None
    # The value is looked up by the name of the column, so there is no code to evaluate.
    return Expression(source=name, code=_NOTHING, needed=(name,))


def _refuse_misspelt(braced: _Braced, columns: Collection[str]) -> None:
    """Refuse text in braces that is probably a column whose name is not a Python name, with a typo.

    Raises:
        ConfigurationError: The text is no expression, and close to the name of such a column.
    """
    odd = () if braced.expression is not None else [name for name in columns if not name.isidentifier()]
    if hint := did_you_mean(braced.source, odd):
        raise ConfigurationError(
            f"{_in_braces(braced.source)}: a row has no such column.{hint} Nothing was sent."
        )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFKC", name)


def _refuse_unknown(expression: Expression, columns: Collection[str], names: Mapping[str, object]) -> None:
    """Refuse an expression with a name that is neither a column nor a variable.

    Raises:
        ConfigurationError: The expression contains such a name.
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
    """Return whether a value is None, NaN or NaT, or a null of pandas or numpy."""
    if isinstance(value, str):
        return False
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float | complex) or "numpy.generic" in library_names(type(value)):
        return bool(value != value)
    return value is None or is_missing(value)
