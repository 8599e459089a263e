"""The names that a prompt may speak of: the user's own, and the errors of the session as `Err`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context import UserNames
from ._error_help import errors_of


def names_of(shell: Any) -> Mapping[str, object]:
    """Return a live view of the names in a shell that a user would call their own."""
    return UserNames(shell.user_ns, shell.user_ns_hidden, extra={"Err": errors_of(shell)})
