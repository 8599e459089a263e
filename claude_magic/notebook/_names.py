"""The names that a prompt may speak of: the user's own, and the errors of the session as `Err`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..context import UserNames

if TYPE_CHECKING:
    from ._magics import ClaudeMagics


def names_of(magics: ClaudeMagics) -> Mapping[str, object]:
    """Return a live view of the names in a shell that a user would call their own."""
    shell = magics.shell
    return UserNames(shell.user_ns, shell.user_ns_hidden, extra={"Err": magics.errors})
