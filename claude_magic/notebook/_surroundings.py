"""What a line may refer to: the user's names and the kernel's conversations. Looking imports and makes nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

_RUNTIME = "claude_magic.runtime"
DEFAULT_THREAD = "main"
# Earlier inputs and outputs; the last output, _, is as good a name as any.
_KEPT_BY_IPYTHON = re.compile(r"_{2,3}|_\d+|_i{1,3}|_i\d+", re.ASCII)


class Surroundings(Protocol):
    """What the grammar and the completer ask about."""

    def names(self) -> Mapping[str, object]:
        """Return the user's own names; none that IPython put there."""
        ...

    def threads(self) -> tuple[str, ...]:
        """Return the names of the conversations there are."""
        ...


class ShellSurroundings:
    """The surroundings of a cell in a shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def names(self) -> Mapping[str, object]:
        """Return the user's own names, as `%who` tells them from IPython's."""
        return dict(self._own_names())

    def threads(self) -> tuple[str, ...]:
        """Return the names of the conversations; before the first question there is the default one."""
        module = sys.modules.get(_RUNTIME)
        if module is None:
            return (DEFAULT_THREAD,)
        return tuple(summary.name for summary in module.get_runtime().conversations.threads())

    def _own_names(self) -> Iterator[tuple[str, object]]:
        hidden, missing = self._shell.user_ns_hidden, object()
        for name, value in list(self._shell.user_ns.items()):
            if value is not hidden.get(name, missing) and not _KEPT_BY_IPYTHON.fullmatch(name):
                yield name, value
