"""The names that a prompt may speak of: in a panel the same as in a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython import get_ipython

from ..context import UserNames


def prompt_names() -> Mapping[str, object]:
    """Return a live view of the user's own names, and `Err` where the extension is loaded: its magics keep the errors."""
    shell: Any = get_ipython()
    if shell is None:
        return {}
    magic = shell.find_line_magic("claude")
    errors = getattr(getattr(magic, "__self__", None), "errors", None)
    return UserNames(shell.user_ns, shell.user_ns_hidden, extra={} if errors is None else {"Err": errors})
