"""HTML for a widget of ipywidgets, which sets text in lines as high as its buttons unless told otherwise."""

from __future__ import annotations

from ._styles import IN_WIDGET

WIDGET_CLASSES = ("jp-RenderedHTMLCommon",)
"""Classes by which a widget's text looks like an output's."""


def in_widget(html: str) -> str:
    """Return safe HTML with the looks of an output, for the value of an `HTMLMath`."""
    return f'<div style="{IN_WIDGET}">{html}</div>' if html else ""
