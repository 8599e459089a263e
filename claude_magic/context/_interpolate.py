"""`{{ expression }}` in a prompt becomes the value of the expression.

Only where it is a Python expression about things of the user's: its root, the name that stands first in it, must be one of
theirs, and every other name must exist. So Jinja, LaTeX and JSON pass as they are typed. Values are never looked into
again, and single braces mean nothing.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ..client import ConfigurationError
from ._collected import Collected, join
from ._describe import describe

_OPENING = re.compile(r"(?<!\{)\{\{(?![{%#])")
_BEFORE_A_NAME = ("(", "-", "+", "~")
_LONGEST_EXPRESSION = 1_000
_MOST_ENDS = 5
"""Candidates for the `}}` that ends an expression: it may hold dicts and strings with braces in them."""
_MOST_NAMED = 3
"""Expressions that a note names; of the rest it gives the number."""


@dataclass(frozen=True, slots=True)
class _Found:
    source: str
    code: ast.Expression
    end: int


def interpolate(text: str, names: Mapping[str, object]) -> Collected:
    """Return a prompt with values in the place of `{{ expression }}`.

    Args:
        text: What was typed.
        names: The user's names.

    Raises:
        ConfigurationError: An expression could not be evaluated. Nothing was sent.
    """
    pieces: list[Collected] = []
    untouched: list[str] = []
    position = 0
    while opening := _OPENING.search(text, position):
        found = _find_expression(text, opening.end())
        if found is None:
            pieces.append(_typed(text[position : opening.end()]))
            position = opening.end()
            continue
        pieces.append(_typed(text[position : opening.start()]))
        if reason := _why_not(found.code, names):
            pieces.append(_typed(text[opening.start() : found.end]))
            untouched.append(f"{{{{ {found.source} }}}} {reason}")
        else:
            pieces.append(_inline(found, names))
        position = found.end
    pieces.append(_typed(text[position:]))
    return join([*pieces, Collected(parts=(), notes=tuple(_note_on(untouched)))])


def _find_expression(text: str, start: int) -> _Found | None:
    """Return the shortest Python expression from here to a `}}`; None if there is none."""
    line_end = start + _LONGEST_EXPRESSION
    for end in islice(_ends(text, start, line_end), _MOST_ENDS):
        source = text[start:end].strip()
        if not (source[:1].isidentifier() or source[:1] in _BEFORE_A_NAME):
            return None  # no name of anybody's can stand first
        try:
            return _Found(source, ast.parse(source, mode="eval"), end + 2)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


def _ends(text: str, start: int, stop: int) -> Iterator[int]:
    end = text.find("}}", start, stop)
    while end >= 0:
        yield end
        end = text.find("}}", end + 1, stop)


def _why_not(code: ast.Expression, names: Mapping[str, object]) -> str:
    """Say why an expression stays as typed; "" if it does not."""
    root = _root_name(code.body)
    if root is None:
        return "is about no name of yours"
    if root not in names:
        is_builtin = hasattr(builtins, root)
        return f"begins with Python's own `{root}`" if is_builtin else f"has no `{root}` in the notebook"
    missing = _free_names(code) - names.keys() - set(dir(builtins))
    return f"has no `{min(missing)}` in the notebook" if missing else ""


def _root_name(node: ast.expr) -> str | None:
    """Return the name that stands first in an expression."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Await(value=inner):
                node = inner
            case ast.Call(func=inner) | ast.BinOp(left=inner) | ast.Compare(left=inner):
                node = inner
            case ast.BoolOp(values=[inner, *_]) | ast.UnaryOp(operand=inner) | ast.IfExp(body=inner):
                node = inner
            case _:
                return None
    return node.id


def _free_names(code: ast.Expression) -> set[str]:
    """Return the names an expression needs, without those that it binds itself, as a comprehension does."""
    loaded: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return loaded - bound


def _inline(found: _Found, names: Mapping[str, object]) -> Collected:
    code = compile(found.code, "<prompt>", "eval")
    needed = {name: names[name] for name in _free_names(found.code) if name in names}
    try:
        value = eval(code, {"__builtins__": builtins, **needed})  # noqa: S307  the user's own expression, as in a cell
    except Exception as error:
        raise ConfigurationError(
            f"{{{{ {found.source} }}}} raised {type(error).__name__}: {error}. Nothing was sent; --raw sends it as typed."
        ) from None
    return _typed(value) if isinstance(value, str) else describe(value, name=found.source)


def _typed(text: str) -> Collected:
    return Collected(parts=(text,) if text else ())


def _note_on(untouched: list[str]) -> Iterator[str]:
    unique = list(dict.fromkeys(untouched))
    if not unique:
        return
    shown = "; ".join(unique[:_MOST_NAMED])
    more = f"; and {len(unique) - _MOST_NAMED} more" if len(unique) > _MOST_NAMED else ""
    yield f"Sent as typed: {shown}{more}."
