"""The user's variables in a notebook, and the values of paths."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import ModuleType
from typing import Any, Final

from ..client import ConfigurationError
from ._collected import error_text

_HISTORY: Final = re.compile(r"In|Out|_{1,3}|_\d+|_i{1,3}|_i\d+")
MISSING: Final = object()
_LIKENESS: Final = 0.75
"""Treats `dff` as a typo of `df`, and "hlep" of `help`, but not `gravity` of `gravity_of_mars`, nor "hello" of `help`."""


def names_of(shell: Any, local: Mapping[str, object] | None = None) -> Mapping[str, object]:
    """Return a live view of the user's variables in a shell, and of `Err`, the errors of the session.

    Args:
        shell: An IPython shell; None outside of IPython, for an empty mapping.
        local: Local variables where the names are used; they come before those of the shell.
    """
    if shell is None:
        return {}
    # The magics hold the errors. They are found by name, because this package does not import IPython.
    magic = getattr(shell, "find_line_magic", lambda _name: None)("claude")
    errors = getattr(getattr(magic, "__self__", None), "errors", None)
    extra = {} if errors is None else {"Err": errors}
    return UserNames(shell.user_ns, shell.user_ns_hidden, extra=extra, local=local)


_FACADE: Final = "claude_magic.api"


def last_reply_in(shell: Any) -> str:
    """Return the expression for the last reply in a shell: `claude.last`, or one that works if `claude` is another object."""
    names = getattr(shell, "user_ns", {})
    if type(names.get("claude")).__module__ == _FACADE or shell is None:
        return "claude.last"
    is_imported = isinstance(names.get("claude_magic"), ModuleType)
    return f"claude_magic.claude.last{'' if is_imported else ' (after `import claude_magic`)'}"


def is_history(name: str) -> bool:
    """Return whether a name is one of IPython's for inputs and outputs, such as `_`, `In` or `_i3`."""
    return bool(_HISTORY.fullmatch(name))


# Names that IPython binds and reads, including `_` and the history, and those of the interpreter, such as `__name__`.
_IPYTHONS: Final = (
    r"In|Out|get_ipython|exit|quit|display|_+|_\d+|_i+|_i\d+|_[dios]h|_exit_code|__\w+__|__builtin__"
)
_OURS: Final = ("claude", "Err")


def why_not_bindable(name: str) -> str:
    """Return why a name cannot become a variable of the user's: "list is taken, and …"; "" if it can.

    Code can assign to it, and it is no builtin and no name that IPython or this package uses.
    """
    if keyword.iskeyword(name):
        return f"{name} is a Python keyword"
    if not name.isidentifier():
        return "a name has letters, digits and _, no digit first"
    if hasattr(builtins, name) or re.fullmatch(_IPYTHONS, name, re.ASCII) or name in _OURS:
        return f"{name} is taken, and code that uses it would break"
    return ""


def closest_name(word: str, names: Iterable[str], *, likeness: float = _LIKENESS) -> str | None:
    """Return the existing name closest to a word; None if no name is close.

    Args:
        word: The word that the user typed, in any case.
        names: The existing names. Names of the history, such as `_1`, are ignored.
        likeness: The minimum similarity, from 0 to 1.
    """
    import difflib  # late: only typos need it

    known = {name.casefold(): name for name in names if not is_history(name)}
    matches = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=likeness)
    return known[matches[0]] if matches else None


def did_you_mean(word: str, names: Iterable[str], form: str = "{}") -> str:
    """Return " Did you mean NAME?", to append to a sentence; "" if no name is close.

    Args:
        word: The word that the user typed.
        names: The existing names.
        form: The format of the name, which replaces the braces: "boat.{}".
    """
    guess = closest_name(word, names)
    return "" if guess is None else f" Did you mean {form.replace('{}', guess, 1)}?"


class UserNames(Mapping[str, object]):
    """A live view of the user's variables in a namespace, without those that IPython defined.

    `In`, `Out`, `_` and `_12` count as the user's, and so does a name of IPython's that the user has rebound.

    Args:
        namespace: The namespace of the cells.
        hidden: The names and values that IPython defined, as in `user_ns_hidden`.
        extra: Names that exist only in prompts. The user's variables take precedence.
        local: Local variables of the calling function, which hide those of the namespace.
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
        # Python adds names that no source can contain, such as `.0`, and `__class__` if `super()` is used.
        self._local = {name: value for name, value in (local or {}).items() if _is_writable(name)}

    def __getitem__(self, name: str) -> object:
        if name in self._local:
            return self._local[name]
        value = self._namespace.get(name, MISSING)
        if value is not MISSING and self._is_own(name, value):
            return value
        return self._extra[name]

    def __iter__(self) -> Iterator[str]:
        # `list` copies the items in C, so another thread cannot change the dict meanwhile.
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
            return not (isinstance(value, str) and value == "")  # the value of `_` before the first output
        if name.startswith("__"):
            return False
        return self._hidden.get(name, MISSING) is not value


def _is_writable(name: str) -> bool:
    return name.isidentifier() and not (name.startswith("__") and name.endswith("__"))


_LONGEST_PATH = 1_000


def root_of(path: str) -> str | None:
    """Return the first name of a path of attributes and items; None if a text is not a path."""
    return _read_path(path)[0]


def resolve_name(
    path: str,
    names: Mapping[str, object],
    *,
    asked_by: str,
    suits: Callable[[object], bool] = lambda _value: True,
) -> Any:
    """Return the value of a name, or of a path of attributes and items.

    Args:
        path: The name or path, as typed.
        names: The user's variables.
        asked_by: The option or subcommand that takes the path, for the message: "--map".
        suits: Whether a value is suitable; only names of suitable values are suggested.

    Raises:
        ConfigurationError: The path does not exist, or reading it fails. The message names the missing part and suggests another.
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
    except Exception:  # the user's `__dir__` may raise anything
        return []


def look_up(path: str, names: Mapping[str, object]) -> Any:
    """Return the value of a path, like `resolve_name`; `MISSING` if it does not exist.

    Raises:
        ConfigurationError: An attribute or item exists, but reading it fails.
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
        except Exception as error:  # a property may raise anything
            raise ConfigurationError(
                f"{path} cannot be read: {error_text(error)}. Nothing was sent."
            ) from None
    return value


def _read_path(path: str) -> tuple[str | None, list[ast.Attribute | ast.Subscript]]:
    """Return the first name of a path (None if a text is not a path) and the steps after it, from left to right."""
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
    """Return the value of an index that is a literal, or a slice of literals.

    Raises:
        ValueError: The index has to be computed.
    """
    if not isinstance(node, ast.Slice):
        return ast.literal_eval(node)
    return slice(*(None if part is None else _index(part) for part in (node.lower, node.upper, node.step)))
