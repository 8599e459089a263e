"""Several answers side by side while they grow: a widget for each block of each, so that what has settled is not sent again.

The widgets live as long as the answers grow. What stays in the cell is one display without widgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ipywidgets
from IPython.display import DisplayHandle

from ..live.widgets import close_all
from ..render import (
    COLUMN_GAP,
    COLUMN_WIDTHS,
    Column,
    in_widget,
    render_column_heading,
    render_comparison,
)
from ._comparison import ComparisonSnapshot
from ._comparison_screens import publish_final
from ._growing_blocks import GrowingBlocks, interval_after

FRAMES_PER_SECOND: Final = 26
"""What all columns together send at most; now and then one sends two or three blocks."""


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
        return interval_after(tail_chars, shortest=len(self._columns) / FRAMES_PER_SECOND)

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
            close_all([self._grid, *(look for column in self._columns for look in column.shared_looks)])


class _GrowingColumn:
    """One answer: its heading, and its blocks."""

    def __init__(self, *, remote_images: bool, remark: str) -> None:
        self._blocks = GrowingBlocks(remote_images=remote_images, remark=remark)
        self._heading = self._blocks.block()
        self.box = ipywidgets.VBox(
            [self._heading, self._blocks.box], layout=ipywidgets.Layout(min_width="0", overflow="visible")
        )

    def draw(self, column: Column) -> int:
        """Bring it up to date; return how long what changes with each frame is, in characters."""
        self._heading.value = in_widget(render_column_heading(column))
        return self._blocks.draw(column.answer)

    @property
    def shared_looks(self) -> tuple[ipywidgets.Widget, ...]:
        """The looks that its heading and all of its blocks have."""
        return self._blocks.shared_looks
