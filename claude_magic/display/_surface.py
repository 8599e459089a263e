"""The contents of frames, the protocol of surfaces, and the frame rate."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

from ..render import (
    LAST,
    Bundle,
    Column,
    LiveFrames,
    describe_facts,
    describe_total_cost,
    render_column_heading,
    render_columns,
    render_comparison,
    render_reply,
)
from ..runtime import Phase, ReplySnapshot

FRAME_INTERVAL: Final = 1 / 13
"""Seconds between frames. Some frames send two displays; in total they stay below 15 per second."""
LONGEST_INTERVAL: Final = 1 / 2
IDLE_INTERVAL: Final = 1.0
TAIL_CHARS_PER_SECOND: Final = 25_000
"""Maximum data rate in characters of HTML: the longer the part that each frame sends again, the fewer frames. A paragraph is
sent 13 times per second; a part full of formulas, which the browser typesets each time, 5 times."""

Snapshot_contra = TypeVar("Snapshot_contra", contravariant=True)


def interval_after(tail_chars: int, *, shortest: float = FRAME_INTERVAL) -> float:
    """Return the seconds after which the next frame may follow a frame that sends this many characters."""
    return max(shortest, min(LONGEST_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))


class Surface(Protocol[Snapshot_contra]):
    """A place where one or several answers are drawn.

    Attributes:
        has_cleared: Whether `finish` has cleared other outputs of the cell.
    """

    has_cleared: bool

    def draw(self, snapshot: Snapshot_contra, /) -> float:
        """Draw a snapshot. Return the seconds after which the next frame may follow."""

    def finish(self, snapshot: Snapshot_contra, /) -> None:
        """Draw the final state."""


class Content(Protocol[Snapshot_contra]):
    """What a surface shows of a snapshot.

    Attributes:
        chars_per_second: Maximum data rate in characters of HTML, if each frame sends the whole content.
        is_whole: Whether a frame has a single slot with all content.
        remote_images: Whether to load images from other hosts.
        remark: How to stop the answer; "" for no remark.
    """

    chars_per_second: int
    is_whole: bool
    remote_images: bool
    remark: str

    def slots(self, snapshot: Snapshot_contra, /) -> Sequence[str]:
        """Return a frame as pieces of HTML, of which only the last may still change."""

    def final(self, snapshot: Snapshot_contra, /) -> Bundle:
        """Return the final output."""

    def is_empty(self, snapshot: Snapshot_contra, /) -> bool:
        """Whether there is no final output except the error of the cell."""

    def silenced(self, snapshot: Snapshot_contra, /) -> str:
        """Return the line that is shown if the prompt ends with a semicolon; "" for none."""

    def columns(self, snapshot: Snapshot_contra, /) -> Sequence[Column]:
        """Return the answers, each with the expression that holds it."""


def answer_mark(cell: str) -> str:
    """Return the CSS class of the answer in a cell, by which the page finds the cell."""
    return f"claude-magic-at-{re.sub('[^A-Za-z0-9_-]', '-', cell)}"


class AnswerContent:
    """The content of one answer.

    Args:
        remote_images: Whether to load images from other hosts.
        remark: How to stop the answer; "" for no remark.
        kept_in: The expression that holds the answer even after other questions; "" if the answer is the value of the cell,
            whose error reports a failure.
        last: The expression that holds the last reply.
        in_pieces: Whether each complete block of the text gets its own slot.
        cell: The id of the cell, if the page puts buttons under it; else "".
    """

    chars_per_second = 200_000
    is_whole = False

    def __init__(
        self,
        *,
        remote_images: bool,
        remark: str = "",
        kept_in: str = "",
        last: str = LAST,
        in_pieces: bool = False,
        cell: str = "",
    ) -> None:
        self.remote_images = remote_images
        self.remark = remark
        self._cell = cell
        self._kept_in = kept_in
        self._last = last
        self._frames = LiveFrames(remote_images=remote_images, remark=remark, in_pieces=in_pieces)

    def slots(self, snapshot: ReplySnapshot, /) -> Sequence[str]:
        return self._frames.slots(snapshot, time.monotonic())

    def last_slots(self, snapshot: ReplySnapshot) -> Sequence[str]:
        """Return the last frame for widgets: in pieces, without a footer."""
        return self._frames.last_slots(snapshot)

    def final(self, snapshot: ReplySnapshot, /) -> Bundle:
        # If the cell fails, its error is shown right below.
        shown = snapshot if self._kept_in else dataclasses.replace(snapshot, error=None)
        bundle = render_reply(shown, remote_images=self.remote_images, kept_in=self._kept_in or self._last)
        if not self._cell:
            return bundle
        marked = f'<div class="{answer_mark(self._cell)}">{bundle.data["text/html"]}</div>'
        return Bundle({**bundle.data, "text/html": marked}, bundle.metadata)

    def is_empty(self, snapshot: ReplySnapshot, /) -> bool:
        has_content = snapshot.phase is Phase.COMPLETE or bool(snapshot.text or snapshot.thinking)
        return not (has_content or self._kept_in)

    def silenced(self, snapshot: ReplySnapshot, /) -> str:
        if not snapshot.text:
            return ""
        return f"{describe_facts(snapshot)} · hidden by the ; at the end, the answer is in _"

    def columns(self, snapshot: ReplySnapshot, /) -> Sequence[Column]:
        return (Column(name="", kept_in=self._kept_in or self._last, answer=snapshot),)


class Compared(Protocol):
    """Several answers at one moment."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The answers, in the order in which the models were named."""


class ComparisonContent:
    """The content of several answers side by side.

    They share one display, so each frame sends the whole content again, including finished parts.

    Args:
        remote_images: Whether to load images from other hosts.
        remark: How to stop the answers; "" for no remark.
    """

    chars_per_second = 60_000
    is_whole = True

    def __init__(self, *, remote_images: bool, remark: str = "") -> None:
        self.remote_images = remote_images
        self.remark = remark
        self._frames: list[LiveFrames] = []

    def slots(self, snapshot: Compared, /) -> Sequence[str]:
        if not self._frames:
            self._frames = [
                LiveFrames(remote_images=self.remote_images, remark=self.remark) for _ in snapshot.columns
            ]
        now = time.monotonic()
        html = render_columns(
            (render_column_heading(column), "".join(frames.slots(column.answer, now)))
            for column, frames in zip(snapshot.columns, self._frames, strict=True)
        )
        return (html,)

    def final(self, snapshot: Compared, /) -> Bundle:
        return render_comparison(snapshot.columns, remote_images=self.remote_images)

    def is_empty(self, _snapshot: Compared, /) -> bool:
        return False

    def silenced(self, snapshot: Compared, /) -> str:
        answers = [column.answer for column in snapshot.columns]
        names = ", ".join(column.name for column in snapshot.columns)
        seconds = f"{max(answer.elapsed for answer in answers):.1f} s"
        facts = " · ".join(fact for fact in (names, describe_total_cost(answers), seconds) if fact)
        return f"{facts} · hidden by the ; at the end, the answers are in _"

    def columns(self, snapshot: Compared, /) -> Sequence[Column]:
        return snapshot.columns


AnyContent = Content[Any]
