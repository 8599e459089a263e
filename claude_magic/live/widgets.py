"""Widgets come and go only while no page asks for them: the one owner of that lock.

A page that opens asks ipywidgets for the state of all widgets, which is collected in a walk through a dict. If another thread
makes or closes a widget meanwhile, the walk fails (ipywidgets 8.1), and the page says "Loading widget..." for ever. So from the
import of this module on, ipywidgets makes and closes a widget, of ours or of the user's, and answers a page, only while it
holds one lock. No other module takes it. Whatever makes widgets imports this module first, and closes them by `close_all`.

The door of this room does not import it, because it imports ipywidgets.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from ipywidgets import Widget

_lock: Final = threading.RLock()


def close_all(widgets: Iterable[Widget]) -> None:
    """Close widgets with all that is inside them, from the outside in: no page is told of one without its parts.

    ipywidgets keeps each widget, here and in the browser, until it is closed.
    """
    with _lock:
        for widget in widgets:
            for part in (widget, getattr(widget, "layout", None), getattr(widget, "style", None)):
                if part is not None:
                    part.close()
            close_all(getattr(widget, "children", ()))


def _holding(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def hold(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            return method(*args, **kwargs)

    return hold


Widget.open = _holding(Widget.open)
Widget.close = _holding(Widget.close)
Widget._handle_control_comm_msg = classmethod(_holding(Widget._handle_control_comm_msg.__func__))
