"""The names in a notebook that its user would call their own: the one definition; and what stands behind an expression."""

from __future__ import annotations

import ast
import difflib
import re
import symtable
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any, Final

from ..client import ConfigurationError
from ._collected import error_text

_HISTORY: Final = re.compile(r"In|Out|_{1,3}|_\d+|_i{1,3}|_i\d+")
MISSING: Final = object()
_LIKENESS: Final = 0.75
"""Lets `dff` be a slip of `df`, and "hlep" of `help`; `gravity` is none of `gravity_of_mars`, nor "hello" of `help`."""


def names_of(shell: Any, local: Mapping[str, object] | None = None) -> Mapping[str, object]:
    """Return a live view of the names in a shell that a user would call their own, and `Err`, the errors of the session.

    Args:
        shell: An IPython shell; None, outside of IPython, has no names.
        local: What the code sees where the names are used, in front of the shell's.
    """
    if shell is None:
        return {}
    # The magics keep the errors. They are asked by name, because this package imports no IPython.
    magic = getattr(shell, "find_line_magic", lambda _name: None)("claude")
    errors = getattr(getattr(magic, "__self__", None), "errors", None)
    extra = {} if errors is None else {"Err": errors}
    return UserNames(shell.user_ns, shell.user_ns_hidden, extra=extra, local=local)


_FACADE: Final = "claude_magic.api"


def last_reply_in(shell: Any) -> str:
    """Return the expression that has the last reply in a shell: `claude.last` where `claude` is ours, else one that works there."""
    names = getattr(shell, "user_ns", {})
    if type(names.get("claude")).__module__ == _FACADE or shell is None:
        return "claude.last"
    is_imported = isinstance(names.get("claude_magic"), ModuleType)
    return f"claude_magic.claude.last{'' if is_imported else ' (after `import claude_magic`)'}"


def is_history(name: str) -> bool:
    """Return whether a name is one of those under which IPython keeps inputs and outputs, whether it does or not."""
    return bool(_HISTORY.fullmatch(name))


def closest_name(word: str, names: Iterable[str], *, likeness: float = _LIKENESS) -> str | None:
    """Return the name that was probably meant by one that does not exist; None if none is much like it.

    Args:
        word: What was typed, in upper or lower case.
        names: The names there are. Those of the history, as `_1`, are never meant.
        likeness: How much alike they must be, from 0 to 1.
    """
    known = {name.casefold(): name for name in names if not is_history(name)}
    matches = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=likeness)
    return known[matches[0]] if matches else None


def did_you_mean(word: str, names: Iterable[str], form: str = "{}") -> str:
    """Return the question whether another name was meant, to stand behind a sentence; "" if none is much like it.

    Args:
        word: What was typed.
        names: The names there are.
        form: How the name is shown, in the place of the braces: "boat.{}".
    """
    guess = closest_name(word, names)
    return "" if guess is None else f" Did you mean {form.replace('{}', guess, 1)}?"


class UserNames(Mapping[str, object]):
    """A live view of a namespace without what IPython put there; `In`, `Out`, `_` and `_12` are the user's, too.

    A name that IPython defined and the user bound to something else is the user's own.

    Args:
        namespace: What the cells see.
        hidden: What IPython put there itself: name and value, as in `user_ns_hidden`.
        extra: Names that exist only in prompts. The user's own come first.
        local: Names of a function of the user's, which hide those of the namespace.
    """

    def __init__(
        self,
        namespace: MutableMapping[str, Any],
        hidden: Mapping[str, Any],
        extra: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
    ) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._extra = extra or {}
        # Python has names there that nobody can write: `.0`, and `__class__` where `super()` is used.
        self._local = {name: value for name, value in (local or {}).items() if _is_writable(name)}

    def __getitem__(self, name: str) -> object:
        if name in self._local:
            return self._local[name]
        value = self._namespace.get(name, MISSING)
        if value is not MISSING and self._is_own(name, value):
            return value
        return self._extra[name]

    def __iter__(self) -> Iterator[str]:
        # One step of C, so that a thread which defines a name meanwhile does no harm.
        entries = list(self._namespace.items())
        own = [name for name, value in entries if self._is_own(name, value)]
        yield from dict.fromkeys([*self._local, *own, *self._extra])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} names)"

    def _is_own(self, name: str, value: object) -> bool:
        if not isinstance(name, str):
            return False
        if _HISTORY.fullmatch(name):
            return not (isinstance(value, str) and value == "")  # what `_` is before there is any output
        if name.startswith("__"):
            return False
        return self._hidden.get(name, MISSING) is not value


def _is_writable(name: str) -> bool:
    return name.isidentifier() and not (name.startswith("__") and name.endswith("__"))


_LONGEST_PATH = 1_000


def root_of(path: str) -> str | None:
    """Return the name with which a path of attributes and items begins; None if a text is no such path."""
    return _read_path(path)[0]


def resolve_name(
    path: str,
    names: Mapping[str, object],
    *,
    asked_by: str,
    suits: Callable[[object], bool] = lambda _value: True,
) -> Any:
    """Return the value of a name, or of a path of attributes and items that begins with one.

    Args:
        path: The name or path, as typed.
        names: The user's names.
        asked_by: The option or subcommand that takes it, for the message: "--map".
        suits: Whether a value is of the kind that is wanted; only names of such are suggested.

    Raises:
        ConfigurationError: There is none, or it cannot be read. The message says what is missing, and what was probably meant.
    """
    value = look_up(path, names)
    if value is not MISSING:
        return value
    root, steps = _read_path(path)
    if root is None or root not in names:
        root = root or path
        hint = did_you_mean(
            root, [name for name in names if suits(names.get(name))], path.replace(root, "{}", 1)
        )
        problem = f"there is no variable {root} in the notebook"
        hint = hint or " Run the cell that defines it first."
    else:
        step = next((step for step in steps if look_up(ast.unparse(step), names) is MISSING), steps[-1])
        problem, hint = f"there is no {ast.unparse(step)}", ""
        if isinstance(step, ast.Attribute):
            owner = ast.unparse(step.value)
            problem = f"{owner} has no {step.attr}"
            hint = did_you_mean(step.attr, _attributes(look_up(owner, names)), f"{owner}.{{}}")
            hint = hint or f" dir({owner}) lists what it has."
    raise ConfigurationError(f"{asked_by}: {problem}.{hint} Nothing was sent.")


def _attributes(value: object) -> list[str]:
    try:
        return [name for name in dir(value) if isinstance(name, str)]
    except Exception:  # `__dir__` is theirs
        return []


def look_up(path: str, names: Mapping[str, object]) -> Any:
    """Return what `resolve_name` does; `MISSING` if there is none.

    Raises:
        ConfigurationError: An attribute or item exists, but fails when it is read.
    """
    root, steps = _read_path(path)
    if root is None or root not in names:
        return MISSING
    value: Any = names[root]
    for step in steps:
        try:
            value = (
                getattr(value, step.attr) if isinstance(step, ast.Attribute) else value[_index(step.slice)]
            )
        except (AttributeError, LookupError, TypeError):
            return MISSING
        except Exception as error:  # a property may fail in any way
            raise ConfigurationError(
                f"{path} cannot be read: {error_text(error)}. Nothing was sent."
            ) from None
    return value


def _read_path(path: str) -> tuple[str | None, list[ast.Attribute | ast.Subscript]]:
    """Return the name with which a path begins, None if a text is no path, and what follows it, from left to right."""
    if len(path) > _LONGEST_PATH or path != path.strip():
        return None, []
    steps: list[ast.Attribute | ast.Subscript] = []
    try:
        node = ast.parse(path, mode="eval").body
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            if isinstance(node, ast.Subscript):
                _index(node.slice)
            steps.insert(0, node)
            node = node.value
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None, []
    return (node.id, steps) if isinstance(node, ast.Name) else (None, [])


def _index(node: ast.expr) -> Any:
    """Return an index that is written out: a literal, or a slice of literals.

    Raises:
        ValueError: It is to be computed.
    """
    if not isinstance(node, ast.Slice):
        return ast.literal_eval(node)
    return slice(*(None if part is None else _index(part) for part in (node.lower, node.upper, node.step)))


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
