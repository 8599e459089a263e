"""What is drawn, and what it is drawn on: the contents of a frame, the protocol of a surface, and the pace of frames."""

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
"""Seconds. Now and then a frame sends two displays; in all they stay below 15 a second."""
LONGEST_INTERVAL: Final = 1 / 2
IDLE_INTERVAL: Final = 1.0
TAIL_CHARS_PER_SECOND: Final = 25_000
"""Bounds the data rate: the longer the part is that is sent again with each frame, in characters of HTML, the fewer frames. A paragraph
is sent 13 times a second, a piece full of formulas, which the browser sets again each time, 5 times."""

Snapshot_contra = TypeVar("Snapshot_contra", contravariant=True)


def interval_after(tail_chars: int, *, shortest: float = FRAME_INTERVAL) -> float:
    """Return the seconds after which the next frame may follow one that changes so many characters."""
    return max(shortest, min(LONGEST_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))


class Surface(Protocol[Snapshot_contra]):
    """Something that an answer, or several, can be drawn on.

    Attributes:
        has_cleared: Finishing has cleared what others had put into the same cell.
    """

    has_cleared: bool

    def draw(self, snapshot: Snapshot_contra, /) -> float:
        """Show how far it has come; return the seconds after which the next frame may follow."""

    def finish(self, snapshot: Snapshot_contra, /) -> None:
        """Show it as it stays."""


class Content(Protocol[Snapshot_contra]):
    """What a surface shows of a snapshot.

    Attributes:
        chars_per_second: What a surface sends of it where each frame is the whole, in characters of HTML.
        is_whole: A frame has one slot, which holds all there is.
        remote_images: Load images from other hosts.
        remark: How to stop it; "" where that need not be said.
    """

    chars_per_second: int
    is_whole: bool
    remote_images: bool
    remark: str

    def slots(self, snapshot: Snapshot_contra, /) -> Sequence[str]:
        """Return a frame as pieces of HTML, of which all but the last have settled."""

    def final(self, snapshot: Snapshot_contra, /) -> Bundle:
        """Return what stays."""

    def is_empty(self, snapshot: Snapshot_contra, /) -> bool:
        """Whether nothing stays but the error of the cell."""

    def silenced(self, snapshot: Snapshot_contra, /) -> str:
        """Return the line that stands for it after a prompt that ends with a semicolon; "" for none."""

    def columns(self, snapshot: Snapshot_contra, /) -> Sequence[Column]:
        """Return the answers, each with the expression that holds it."""


def answer_mark(cell: str) -> str:
    """Return the class of the answer of a cell, by which the page finds the cell."""
    return f"claude-magic-at-{re.sub('[^A-Za-z0-9_-]', '-', cell)}"


class AnswerContent:
    """One answer.

    Args:
        remote_images: Load images from other hosts.
        remark: How to stop the answer; "" where that need not be said.
        kept_in: The expression that has the answer when others have been asked meanwhile; "" where the answer is the value of the
            cell, whose error says how it failed.
        last: The expression that has the last reply.
        in_pieces: Each block of the text gets a slot of its own as soon as it is whole.
        cell: The id of the cell that holds it, where the page puts buttons under it; "" where it does not.
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
        """Return the last frame in pieces, without a footer, for widgets."""
        return self._frames.last_slots(snapshot)

    def final(self, snapshot: ReplySnapshot, /) -> Bundle:
        # Where the cell fails, its error is shown right below.
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
        """The answers, in the order in which their models were named."""


class ComparisonContent:
    """Several answers side by side.

    Side by side means in one display, which is sent whole: what has settled is sent again with each frame.

    Args:
        remote_images: Load images from other hosts.
        remark: How to stop the answers; "" where that need not be said.
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
