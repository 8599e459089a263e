"""Surfaces in the output area of a notebook cell, and which surface an answer gets."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ..render import Bundle
from ._frontend import FrontEnd
from ._surface import FRAME_INTERVAL, IDLE_INTERVAL, AnyContent, Surface, interval_after
from ._terminal import TerminalSurface

INTERRUPT = "to stop, interrupt the kernel (■)"


class OutputSurface:
    """The output area of a cell, or one display among its other outputs.

    A cell that holds nothing but the answer has a display for each slot, and in the end one output with all types takes
    their place. Among other outputs there is one display, and nothing is cleared. Where outputs are collected or compared,
    nothing is drawn before the end.

    Args:
        publisher: Publishes displays.
        content: What is shown.
        owns_area: The cell holds nothing else.
        is_live: Draw while it grows.
    """

    def __init__(self, publisher: Any, content: AnyContent, *, owns_area: bool, is_live: bool = True) -> None:
        self.is_live = is_live
        self.has_cleared = False
        self._publisher = publisher
        self._content = content
        self._is_one_display = is_live and not owns_area
        self._id = uuid.uuid4().hex
        self._shown: list[str] = []

    def draw(self, snapshot: Any, /) -> float:
        """Send what has changed."""
        if not self.is_live:
            return IDLE_INTERVAL
        slots = self._content.slots(snapshot)
        if not self._is_one_display:
            for index, html in enumerate(slots):
                self._show(index, html)
            return interval_after(len(slots[-1]) if slots else 0)
        html = "".join(slots)
        self._show(0, html)
        return max(FRAME_INTERVAL, len(html) / self._content.chars_per_second)

    def finish(self, snapshot: Any, /) -> None:
        """Replace all slots by one output.

        Front ends without updates (`jupyter console`, an `Output` widget) show the answer here for the first time,
        which is why even a single slot of an own area is not simply updated.
        """
        if self._is_one_display:
            self._publish(self._content.final(snapshot), 0, update=bool(self._shown))
            return
        if self._shown:
            self._publisher.clear_output(wait=True)
            self.has_cleared = True
        publish_final(self._publisher, self._content, snapshot)

    def _show(self, index: int, html: str) -> None:
        is_new = index == len(self._shown)
        if is_new:
            self._shown.append(html)
        elif self._shown[index] == html:
            return
        self._shown[index] = html
        self._publish(Bundle({"text/html": html}, {}), index, update=not is_new)

    def _publish(self, bundle: Bundle, index: int, *, update: bool) -> None:
        transient = {"display_id": f"{self._id}-{index}"}
        _publish(self._publisher, bundle.data, bundle.metadata, transient=transient, update=update)


class QuietSurface:
    """Nothing while an answer grows, and at its end what `at_end` shows.

    Args:
        at_end: Shows something at the end; None shows nothing.
    """

    def __init__(self, at_end: Callable[[Any], None] | None = None) -> None:
        self.is_live = False
        self.has_cleared = False
        self._at_end = at_end

    def draw(self, _snapshot: Any, /) -> float:
        """Draw nothing."""
        return IDLE_INTERVAL

    def finish(self, snapshot: Any, /) -> None:
        """Show what there is to show."""
        if self._at_end is not None:
            self._at_end(snapshot)


def choose_surface(
    front_end: FrontEnd,
    content: AnyContent,
    *,
    owns_area: bool,
    is_live: bool,
    is_quiet: bool = False,
    is_silenced: bool = False,
    in_widgets: Callable[[], Surface[Any]] | None = None,
) -> Surface[Any]:
    """Return what an answer is drawn on in the running cell.

    Args:
        front_end: Where the cell is shown.
        content: What is shown.
        owns_area: The cell holds nothing else.
        is_live: The setting `live`: draw while it grows.
        is_quiet: Show nothing.
        is_silenced: The prompt ends with a semicolon: show one line at the end.
        in_widgets: Makes a surface of widgets, for content that is drawn in them where the front end has them.
    """
    if is_quiet:
        return QuietSurface()
    if is_silenced:
        return QuietSurface(lambda snapshot: _say_silenced(front_end, content.silenced(snapshot)))
    if not front_end.has_kernel and not front_end.is_captured:
        return TerminalSurface(sys.stdout, content)
    if not is_live or front_end.is_captured:
        return OutputSurface(front_end.publisher, content, owns_area=True, is_live=False)
    if in_widgets is not None and front_end.has_widgets:
        return in_widgets()
    return OutputSurface(front_end.publisher, content, owns_area=owns_area)


def remark_on_stopping(front_end: FrontEnd, *, is_awaited: bool) -> str:
    """Return how to stop an answer where there is a person to tell, and no button for it; "" elsewhere."""
    return INTERRUPT if front_end.has_widgets and not (is_awaited and front_end.runs_clicks) else ""


def publish_final(publisher: Any, content: AnyContent, snapshot: Any) -> None:
    """Show the one output that is saved. An answer that failed without a word leaves only the error of its cell."""
    if not content.is_empty(snapshot):
        bundle = content.final(snapshot)
        _publish(publisher, bundle.data, bundle.metadata)


def _say_silenced(front_end: FrontEnd, line: str) -> None:
    if line:
        front_end.say(line)


def _publish(
    publisher: Any,
    data: Mapping[str, str],
    metadata: Mapping[str, Any],
    *,
    transient: Mapping[str, str] | None = None,
    update: bool = False,
) -> None:
    publisher.publish(
        data=dict(data), metadata=dict(metadata), transient=dict(transient or {}), update=update
    )
