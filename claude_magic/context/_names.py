"""The names in a notebook that its user would call their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

_HISTORY: Final = re.compile(r"In|Out|_{1,3}|_\d+|_i{1,3}|_i\d+")
_ABSENT: Final = object()


class UserNames(Mapping[str, object]):
    """A live view of a namespace without what IPython put there; `In`, `Out`, `_` and `_12` are the user's, too.

    A name that IPython defined and the user bound to something else is the user's own.

    Args:
        namespace: What the cells see.
        hidden: What IPython put there itself: name and value, as in `user_ns_hidden`.
        extra: Names that exist only in prompts. The user's own come first.
    """

    def __init__(
        self,
        namespace: MutableMapping[str, Any],
        hidden: Mapping[str, Any],
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._extra = extra or {}

    def __getitem__(self, name: str) -> object:
        value = self._namespace.get(name, _ABSENT)
        if value is not _ABSENT and self._is_own(name, value):
            return value
        return self._extra[name]

    def __iter__(self) -> Iterator[str]:
        # One step of C, so that a thread which defines a name meanwhile does no harm.
        entries = list(self._namespace.items())
        own = [name for name, value in entries if self._is_own(name, value)]
        yield from dict.fromkeys([*own, *self._extra])

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
