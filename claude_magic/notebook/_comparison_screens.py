"""Where answers are drawn that are compared: side by side in a cell, one after another in a terminal.

Side by side means in one display, and a display is sent whole: what has settled would be sent again with each frame. So
where the front end has widgets, the answers grow in widgets, each block of each column one of its own
(`_growing_columns.py`), and only the last picture is a display. Elsewhere frames come the more rarely the longer they are.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from ..render import (
    Bundle,
    LivePicture,
    describe_total_cost,
    render_column_heading,
    render_columns,
    render_comparison,
    render_footer_text,
)
from ..runtime import Phase
from ._comparison import ComparisonSnapshot
from ._screens import FRAME_INTERVAL, IDLE_INTERVAL
from ._terminal import TerminalScreen

WHOLE_CHARS_PER_SECOND = 60_000
"""What all columns together send while they grow, in characters of HTML: two answers of 30 kB take some 3 MB."""


class ComparisonScreen(Protocol):
    """Something that several answers can be drawn on.

    Attributes:
        has_cleared: Whether finishing has cleared what others had put into the same cell.
        is_live: Whether the answers are seen while they grow, in a cell.
    """

    has_cleared: bool
    is_live: bool

    def draw(self, snapshot: ComparisonSnapshot, /) -> float:
        """Show how far the answers have come; return the seconds after which the next frame may follow."""

    def finish(self, snapshot: ComparisonSnapshot, /) -> None:
        """Show them as they stay."""


class ColumnsScreen:
    """One display with all columns.

    Args:
        publisher: Publishes displays.
        remote_images: Load images from other hosts.
    """

    def __init__(self, publisher: Any, *, remote_images: bool = False) -> None:
        self.has_cleared = False
        self.is_live = True
        self._publisher = publisher
        self._remote_images = remote_images
        self._id = uuid.uuid4().hex
        self._pictures: list[LivePicture] = []
        self._shown: str | None = None

    def draw(self, snapshot: ComparisonSnapshot, /) -> float:
        """Send all columns, if anything in them has changed."""
        if not self._pictures:
            self._pictures = [LivePicture(remote_images=self._remote_images) for _ in snapshot.columns]
        now = time.monotonic()
        html = render_columns(
            render_column_heading(column) + "".join(picture.slots(column.answer, now))
            for column, picture in zip(snapshot.columns, self._pictures, strict=True)
        )
        if html != self._shown:
            self._publish(Bundle({"text/html": html}, {}))
            self._shown = html
        return max(FRAME_INTERVAL, len(html) / WHOLE_CHARS_PER_SECOND)

    def finish(self, snapshot: ComparisonSnapshot, /) -> None:
        """Put the last picture in its place."""
        self._publish(render_comparison(snapshot.columns, remote_images=self._remote_images))

    def _publish(self, bundle: Bundle) -> None:
        self._publisher.publish(
            data=dict(bundle.data),
            metadata=dict(bundle.metadata),
            transient={"display_id": self._id},
            update=self._shown is not None,
        )


class FinalColumnsScreen:
    """One display at the end."""

    def __init__(self, publisher: Any, *, remote_images: bool = False) -> None:
        self.has_cleared = False
        self.is_live = False
        self._publisher = publisher
        self._remote_images = remote_images

    def draw(self, _snapshot: ComparisonSnapshot, /) -> float:
        return IDLE_INTERVAL

    def finish(self, snapshot: ComparisonSnapshot, /) -> None:
        publish_final(self._publisher, snapshot, remote_images=self._remote_images)


class SilentScreen:
    """Nothing at all, for `--quiet`, or one line, for a prompt that ends with a semicolon.

    Args:
        say: Shows that line; None shows nothing.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.has_cleared = False
        self.is_live = False
        self._say = say

    def draw(self, _snapshot: ComparisonSnapshot, /) -> float:
        return IDLE_INTERVAL

    def finish(self, snapshot: ComparisonSnapshot, /) -> None:
        if self._say is not None:
            self._say(f"{_describe_totals(snapshot)} · silenced by the ; at the end, the answers are in _")


class OneAfterAnotherScreen:
    """A terminal: the first answer as it comes, then the next one, which has grown meanwhile.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self.has_cleared = False
        self.is_live = False
        self._stream = stream
        self._screens: list[TerminalScreen] = []

    def draw(self, snapshot: ComparisonSnapshot, /) -> float:
        """Write what has come of the answer that is being written; where that has ended, go on to the next."""
        while True:
            column = snapshot.columns[max(0, len(self._screens) - 1)]
            if not self._screens:
                self._begin(column.name)
            if not column.answer.phase.is_final or len(self._screens) == len(snapshot.columns):
                return self._screens[-1].draw(column.answer)
            self._end(snapshot)
            self._begin(snapshot.columns[len(self._screens)].name)

    def finish(self, snapshot: ComparisonSnapshot, /) -> None:
        """Write the rest of all of them."""
        if not self._screens:
            self._begin(snapshot.columns[0].name)
        self._end(snapshot)
        while len(self._screens) < len(snapshot.columns):
            self._begin(snapshot.columns[len(self._screens)].name)
            self._end(snapshot)

    def _begin(self, name: str) -> None:
        self._stream.write(f"{name}\n{'─' * len(name)}\n")
        self._screens.append(TerminalScreen(self._stream))

    def _end(self, snapshot: ComparisonSnapshot) -> None:
        column = snapshot.columns[len(self._screens) - 1]
        self._screens[-1].finish(column.answer, kept_in=column.kept_in)
        if column.answer.phase is not Phase.COMPLETE and not column.answer.blocks:
            self._stream.write(render_footer_text(column.answer) + "\n")
        if len(self._screens) < len(snapshot.columns):
            self._stream.write("\n")


def publish_final(publisher: Any, snapshot: ComparisonSnapshot, *, remote_images: bool) -> None:
    """Show the one output that is saved."""
    bundle = render_comparison(snapshot.columns, remote_images=remote_images)
    publisher.publish(data=dict(bundle.data), metadata=dict(bundle.metadata))


def _describe_totals(snapshot: ComparisonSnapshot) -> str:
    answers = [column.answer for column in snapshot.columns]
    names = ", ".join(column.name for column in snapshot.columns)
    seconds = f"{max(answer.elapsed for answer in answers):.1f} s"
    return " · ".join(fact for fact in (names, describe_total_cost(answers), seconds) if fact)
