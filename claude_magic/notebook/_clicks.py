"""Whether somebody sits at the notebook, can be shown a button, and is heard when they press it."""

from __future__ import annotations

from typing import Any

_OLDEST_WITH_CLICKS = 7
"""ipykernel 6 hears a click when the cell has ended."""


def is_attended(shell: Any) -> bool:
    """Whether a person looks at this kernel's outputs as they come; those who execute notebooks unattended take no input."""
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and bool(getattr(kernel, "_allow_stdin", False))


def shows_widgets(shell: Any) -> bool:
    """Whether a person sits at a front end with widgets.

    Front ends that have widgets name their cells; those that name none (a console, nbclient) have none.
    """
    parent = getattr(shell, "parent_header", None) or {}
    return is_attended(shell) and bool((parent.get("metadata") or {}).get("cellId"))


def hears_clicks(shell: Any) -> bool:
    """Whether there are buttons, and a click is heard while an awaited cell runs."""
    if not shows_widgets(shell):
        return False
    from ipykernel._version import version_info  # a kernel runs, so it is there

    return int(str(version_info[0])) >= _OLDEST_WITH_CLICKS
