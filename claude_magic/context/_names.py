"""The names in a notebook that its user would call their own: the one definition, for prompts, options, commands and panels."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

_HISTORY: Final = re.compile(r"In|Out|_{1,3}|_\d+|_i{1,3}|_i\d+")
_ABSENT: Final = object()
_LIKENESS: Final = 0.75
"""Lets `dff` be a slip of `df`, and `gravity` be none of `gravity_of_mars`."""


def names_of(shell: Any, local: Mapping[str, object] | None = None) -> Mapping[str, object]:
    """Return a live view of the names in a shell that a user would call their own, and `Err`, the errors of the session.

    Args:
        shell: An IPython shell; None, outside of IPython, has no names.
        local: What the code sees where the names are used, in front of the shell's.
    """
    if shell is None:
        return {}
    # The magics keep the errors. They are asked by name: panels and magics do not import each other.
    magic = getattr(shell, "find_line_magic", lambda _name: None)("claude")
    errors = getattr(getattr(magic, "__self__", None), "errors", None)
    extra = {} if errors is None else {"Err": errors}
    return UserNames(shell.user_ns, shell.user_ns_hidden, extra=extra, local=local)


def is_history(name: str) -> bool:
    """Return whether a name is one of those under which IPython keeps inputs and outputs, whether it does or not."""
    return bool(_HISTORY.fullmatch(name))


def closest_name(word: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant by one that does not exist; None if none is much like it."""
    known = {name.casefold(): name for name in names if not name.startswith("_")}
    matches = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=_LIKENESS)
    return known[matches[0]] if matches else None


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
        value = self._namespace.get(name, _ABSENT)
        if value is not _ABSENT and self._is_own(name, value):
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
        return self._hidden.get(name, _ABSENT) is not value


def _is_writable(name: str) -> bool:
    return name.isidentifier() and not (name.startswith("__") and name.endswith("__"))
