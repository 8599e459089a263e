"""What a line may refer to: the user's names and the kernel's conversations. Looking imports and makes nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from ._names import Scope

_RUNTIME = "claude_magic.runtime"
DEFAULT_THREAD = "main"


class Surroundings(Protocol):
    """What the grammar and the completer ask about."""

    def names(self) -> Mapping[str, object]:
        """Return the user's own names, as they are seen where the line stands."""
        ...

    def threads(self) -> tuple[str, ...]:
        """Return the names of the conversations there are."""
        ...


class ShellSurroundings:
    """The surroundings of a line in a shell.

    Args:
        shell: The shell.
        scope: Where the line stands; None at the top of the notebook.
    """

    def __init__(self, shell: Any, scope: Scope | None = None) -> None:
        self._scope = scope or Scope(shell)

    def names(self) -> Mapping[str, object]:
        """Return the user's own names, as they are seen where the line stands."""
        return self._scope.names()

    def threads(self) -> tuple[str, ...]:
        """Return the names of the conversations; before the first question there is the default one."""
        module = sys.modules.get(_RUNTIME)
        if module is None:
            return (DEFAULT_THREAD,)
        return tuple(summary.name for summary in module.get_runtime().conversations.threads())
