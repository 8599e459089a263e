"""What may stand between double braces: whether it is a Python expression, and about which names."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType


@dataclass(frozen=True, slots=True)
class Expression:
    """A Python expression.

    Attributes:
        source: As it is written.
        code: What `eval` takes.
        needed: The names it needs, without those that it binds itself, in the order in which they stand.
    """

    source: str
    code: CodeType
    needed: tuple[str, ...]

    @property
    def root(self) -> str | None:
        """The name that stands first; None in an expression without names."""
        return self.needed[0] if self.needed else None


def parse_expression(source: str) -> Expression | None:
    """Return the expression that a text is; None if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in its strings, say: it may be prose after all
            tree = ast.parse(source, mode="eval")
            code = compile(tree, "<prompt>", "eval")
            free = set(_free_names(symtable.symtable(source, "<prompt>", "eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in free]
    names.sort(key=lambda node: (node.lineno, node.col_offset))
    return Expression(source, code, tuple(dict.fromkeys(node.id for node in names)))


def _free_names(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that are looked up outside the expression: not those of its lambdas and comprehensions."""
    for symbol in table.get_symbols():
        is_own = symbol.is_assigned() or symbol.is_parameter()
        if symbol.is_referenced() and not is_own and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _free_names(inner)
