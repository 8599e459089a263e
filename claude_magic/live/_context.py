"""Whether what a thread displays reaches the cell that the thread works for."""

from __future__ import annotations

import contextvars
from typing import Any


def displays_follow_context(shell: Any) -> bool:
    """Whether the kernel keeps what the present cell is in a context variable, which a thread can take along.

    ipykernel 6 keeps it elsewhere: there, what a thread displays goes to whichever cell runs.
    """
    publisher = getattr(shell, "display_pub", None)
    return isinstance(getattr(publisher, "_parent_header", None), contextvars.ContextVar)
