"""Clicks that are heard while a cell computes, and how to know where they are not.

JupyterLab sends the messages of widgets on a subshell, a thread of the kernel's that no cell keeps busy. ipykernel 7.4 sends
them back to whichever shell published last on that widget; for a panel's widgets that is mostly the main one, where they
would wait for the cell.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import Widget


def hear_at_once(*widgets: Widget) -> None:
    """Let what the user does with these widgets be handled on the subshell that it was sent to."""
    for widget in widgets:
        comm = widget.comm
        if hasattr(comm, "_reply_subshell_for"):  # ipykernel 7.4; private, so others may lack it
            comm._reply_subshell_for = lambda _data, sent_to: sent_to


def waits_for_cells() -> bool:
    """Whether the message that is being handled would have waited for a running cell."""
    return threading.current_thread() is threading.main_thread()
