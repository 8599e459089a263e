"""Taking widgets away for good: ipywidgets keeps each of them, here and in the browser, until it is closed."""

from __future__ import annotations

from collections.abc import Iterable

from ipywidgets import Widget

from ._restoring import widgets_held


def close_all(widgets: Iterable[Widget]) -> None:
    """Close widgets with all that is inside them."""
    with widgets_held:
        for widget in widgets:
            close_all(getattr(widget, "children", ()))
            for part in (getattr(widget, "style", None), getattr(widget, "layout", None), widget):
                if part is not None:
                    part.close()
