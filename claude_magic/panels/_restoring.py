"""Pages that open while something streams.

A page that is reloaded asks ipywidgets for the state of all widgets, which is collected in a walk through a dict. If another
thread makes or closes a widget meanwhile, the walk fails (ipywidgets 8.1), and the page says "Loading widget..." for ever. So
neither is done during the other.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import comm
from ipywidgets import Widget

widgets_held: Final = threading.RLock()
"""To be held by whoever makes or closes widgets on a thread of its own."""

_TARGET: Final = "jupyter.widget.control"


def answer_pages_safely() -> None:
    """Let pages be answered while no widget is made or closed. Done twice it does no harm."""
    comm.get_comm_manager().register_target(_TARGET, _on_page)


def _on_page(opened: Any, message: Any) -> None:
    Widget.handle_control_comm_opened(opened, message)

    def answer(asked: Any) -> None:
        with widgets_held:
            Widget._handle_control_comm_msg(asked)

    opened.on_msg(answer)  # in the place of ipywidgets' own
