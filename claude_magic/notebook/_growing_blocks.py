"""An answer in widgets while it grows: one for each block, so that what has settled is not sent again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import ipywidgets
from ipywidgets.widgets.widget_string import HTMLMathStyle

from ..live.widgets import close_all
from ..render import WIDGET_CLASSES, LivePicture, in_widget
from ..runtime import ReplySnapshot

LONGEST_FRAME_INTERVAL: Final = 1 / 2
TAIL_CHARS_PER_SECOND: Final = 25_000
"""What is sent again with each frame is sent the less often the longer it is, in characters of HTML."""


def interval_after(tail_chars: int, *, shortest: float) -> float:
    """Return the seconds after which the next frame may follow one that changes so many characters."""
    return max(shortest, min(LONGEST_FRAME_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))


class GrowingBlocks:
    """A column of blocks.

    Args:
        remote_images: Load images from other hosts.
        remark: What is to be said below an answer that takes a while: how to stop it.
    """

    def __init__(self, *, remote_images: bool, remark: str = "") -> None:
        self._remote_images = remote_images
        self._remark = remark
        # The blocks share their looks, because each widget of its own is two more messages.
        self._looks: dict[str, Any] = {
            "layout": ipywidgets.Layout(display="block", margin="0", padding="0", height="auto"),
            "style": HTMLMathStyle(),
        }
        self.box = ipywidgets.VBox(layout=ipywidgets.Layout(min_width="0", overflow="visible"))
        self.start_over()

    def start_over(self) -> None:
        """Get ready for another answer. The former one stays until that is drawn."""
        self._picture = LivePicture(remote_images=self._remote_images, remark=self._remark)

    def draw(self, snapshot: ReplySnapshot) -> int:
        """Show how far the answer has come; return how long what changes with each frame is, in characters."""
        slots = self._picture.slots(snapshot, time.monotonic())
        self._show(slots)
        return len(slots[-1]) if slots else 0

    def finish(self, snapshot: ReplySnapshot) -> None:
        """Show the answer as it stays, without its footer."""
        self._show(self._picture.last_slots(snapshot))

    def block(self, html: str = "") -> ipywidgets.HTMLMath:
        """Return a widget that looks like a block, for what stands beside them."""
        return ipywidgets.HTMLMath(in_widget(html), **self._looks, _dom_classes=WIDGET_CLASSES)

    @property
    def shared_looks(self) -> tuple[ipywidgets.Widget, ...]:
        """The looks that all of its blocks have."""
        return tuple(self._looks.values())

    def close(self) -> None:
        """Forget the widgets."""
        close_all((self.box, *self.shared_looks))

    def _show(self, slots: Sequence[str]) -> None:
        blocks = self.box.children
        for block, html in zip(blocks, slots, strict=False):
            block.value = in_widget(html)  # sends nothing where nothing has changed
        if len(slots) != len(blocks):
            new = [self.block(html) for html in slots[len(blocks) :]]
            self.box.children = (*blocks[: len(slots)], *new)
            for block in blocks[len(slots) :]:
                block.close()  # not by `close_all`: its looks are the others', too
