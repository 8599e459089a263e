"""Several answers side by side while they grow: a widget for each block of each, so that what has settled is not sent again.

The widgets live as long as the answers grow. What stays in the cell is one display without widgets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import ipywidgets
from IPython.display import DisplayHandle
from ipywidgets.widgets.widget_string import HTMLMathStyle

from ..render import (
    COLUMN_GAP,
    COLUMN_WIDTHS,
    WIDGET_CLASSES,
    Column,
    LivePicture,
    in_widget,
    render_column_heading,
    render_comparison,
)
from ._comparison import ComparisonSnapshot
from ._comparison_screens import publish_final

FRAMES_PER_SECOND: Final = 26
"""What all columns together send at most; now and then one sends two or three blocks."""
LONGEST_FRAME_INTERVAL: Final = 1 / 2
TAIL_CHARS_PER_SECOND: Final = 25_000
"""What is sent again with each frame is sent the less often the longer it is, in characters of HTML."""


class GrowingColumns:
    """The output area of a cell that holds nothing but the answers, or a place among its other outputs.

    Args:
        publisher: Publishes displays.
        owns_area: The cell holds nothing else.
        remote_images: Load images from other hosts.
        remark: What is to be said below answers that take a while: how to stop them.
    """

    def __init__(
        self, publisher: Any, *, owns_area: bool, remote_images: bool = False, remark: str = ""
    ) -> None:
        self.has_cleared = False
        self.is_live = True
        self._publisher = publisher
        self._owns_area = owns_area
        self._remote_images = remote_images
        self._remark = remark
        self._columns: list[_GrowingColumn] = []
        self._grid: ipywidgets.GridBox | None = None
        self._handle = DisplayHandle()

    def draw(self, snapshot: ComparisonSnapshot, /) -> float:
        """Bring the widgets up to date."""
        if self._grid is None:
            self._show(snapshot.columns)
        tail_chars = sum(
            growing.draw(column) for growing, column in zip(self._columns, snapshot.columns, strict=True)
        )
        shortest = len(self._columns) / FRAMES_PER_SECOND
        return max(shortest, min(LONGEST_FRAME_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))

    def finish(self, snapshot: ComparisonSnapshot, /) -> None:
        """Put one display in the place of the widgets."""
        if self._grid is None or self._owns_area:
            if self._grid is not None:
                self._publisher.clear_output(wait=True)
                self.has_cleared = True
            publish_final(self._publisher, snapshot, remote_images=self._remote_images)
        else:
            bundle = render_comparison(snapshot.columns, remote_images=self._remote_images)
            self._handle.update(bundle.data, metadata=bundle.metadata, raw=True)
        self._close()

    def _show(self, columns: Sequence[Column]) -> None:
        self._columns = [
            _GrowingColumn(remote_images=self._remote_images, remark=self._remark) for _ in columns
        ]
        for growing, column in zip(self._columns, columns, strict=True):
            growing.draw(column)
        self._grid = ipywidgets.GridBox(
            [growing.box for growing in self._columns],
            layout=ipywidgets.Layout(
                grid_template_columns=COLUMN_WIDTHS, grid_gap=COLUMN_GAP, overflow="visible"
            ),
        )
        self._handle.display(self._grid)

    def _close(self) -> None:
        """Forget the widgets, now that no display has them: without its model a front end shows an error instead."""
        if self._grid is not None:
            self._grid.layout.close()
            self._grid.close()
        for column in self._columns:
            column.close()


class _GrowingColumn:
    """One answer: its heading, and its blocks."""

    def __init__(self, *, remote_images: bool, remark: str) -> None:
        self._picture = LivePicture(remote_images=remote_images, remark=remark)
        # The blocks share their looks, because each widget of its own is two more messages.
        self._looks = {
            "layout": ipywidgets.Layout(display="block", margin="0", padding="0", height="auto"),
            "style": HTMLMathStyle(),
        }
        self._heading = ipywidgets.HTMLMath(**self._looks_of_block())
        self.box = ipywidgets.VBox(
            [self._heading], layout=ipywidgets.Layout(min_width="0", overflow="visible")
        )

    def draw(self, column: Column) -> int:
        """Bring it up to date; return how long what changes with each frame is, in characters."""
        self._heading.value = in_widget(render_column_heading(column))
        slots = self._picture.slots(column.answer, time.monotonic())
        blocks = self.box.children[1:]
        for block, html in zip(blocks, slots, strict=False):
            block.value = in_widget(html)  # sends nothing where nothing has changed
        if len(slots) > len(blocks):
            new = [
                ipywidgets.HTMLMath(in_widget(html), **self._looks_of_block())
                for html in slots[len(blocks) :]
            ]
            self.box.children = (*self.box.children, *new)
        return len(slots[-1]) if slots else 0

    def close(self) -> None:
        """Forget its widgets."""
        for widget in (*self.box.children, self.box.layout, self.box, *self._looks.values()):
            widget.close()

    def _looks_of_block(self) -> dict[str, Any]:
        return {**self._looks, "_dom_classes": WIDGET_CLASSES}
