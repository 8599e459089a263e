"""Where an answer is drawn: in the output area of a notebook cell, live or once.

`AreaScreen` owns the whole output area, which is so in an awaited `%%claude` cell: it opens a display for each slot,
and in the end replaces them all by one output with all its types. `HandleScreen` is a guest among other outputs (a
`%claude` line between the user's prints): it keeps to one display of its own and clears nothing. `FinalScreen` draws
once, for tools that compare or collect outputs.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..render import Bundle, LivePicture, describe_facts, render_reply
from ..runtime import Phase, ReplySnapshot

FRAME_INTERVAL = 1 / 13
"""Now and then a frame sends two displays; in all they stay below 15 a second."""
LONGEST_FRAME_INTERVAL = 1 / 2
TAIL_CHARS_PER_SECOND = 25_000
"""What is sent again with each frame is sent the less often the longer it is, in characters of HTML: a paragraph 15 times
a second, a piece full of formulas, which the browser has to set anew each time, 5 times."""

WHOLE_CHARS_PER_SECOND = 200_000
"""The same where each frame is the whole answer."""

IDLE_INTERVAL = 1.0


class Screen(Protocol):
    """Something an answer can be drawn on.

    Attributes:
        has_cleared: Whether finishing has cleared what others had put into the same cell.
    """

    has_cleared: bool

    def draw(self, snapshot: ReplySnapshot) -> float:
        """Show how far the answer has come; return the seconds after which the next frame may follow."""

    def finish(self, snapshot: ReplySnapshot) -> None:
        """Show the answer as it stays."""


class AreaScreen:
    """The output area of a cell that holds nothing but the answer.

    Args:
        publisher: What displays are published with.
        remote_images: Load images from other hosts.
        remark: How to stop the answer; "" where that need not be said.
        kept_in: The expression that has the answer when others have been asked meanwhile; "" where this is the cell's one, whose
            error tells how it failed.
    """

    def __init__(
        self, publisher: Any, *, remote_images: bool = False, remark: str = "", kept_in: str = ""
    ) -> None:
        self.has_cleared = False
        self._publisher = publisher
        self._picture = LivePicture(remote_images=remote_images, remark=remark)
        self._remote_images = remote_images
        self._kept_in = kept_in
        self._id = uuid.uuid4().hex
        self._shown: list[str] = []

    def draw(self, snapshot: ReplySnapshot) -> float:
        slots = self._picture.slots(snapshot, time.monotonic())
        for index, html in enumerate(slots):
            self._show(index, html)
        tail_chars = len(slots[-1]) if slots else 0
        return min(LONGEST_FRAME_INTERVAL, max(FRAME_INTERVAL, tail_chars / TAIL_CHARS_PER_SECOND))

    def finish(self, snapshot: ReplySnapshot) -> None:
        """Replace all slots by one output.

        Front ends that know no updates (`jupyter console`, an `Output` widget) see the answer here for the first time,
        which is why even a single slot is not simply updated.
        """
        if self._shown:
            self._publisher.clear_output(wait=True)
            self.has_cleared = True
        publish_final(self._publisher, snapshot, remote_images=self._remote_images, kept_in=self._kept_in)

    def _show(self, index: int, html: str) -> None:
        is_new = index == len(self._shown)
        if is_new:
            self._shown.append(html)
        elif self._shown[index] == html:
            return
        self._shown[index] = html
        _publish(self._publisher, {"text/html": html}, display_id=f"{self._id}-{index}", update=not is_new)


class HandleScreen:
    """One display among the other outputs of a cell. Arguments as for `AreaScreen`."""

    def __init__(
        self, publisher: Any, *, remote_images: bool = False, remark: str = "", kept_in: str = ""
    ) -> None:
        self.has_cleared = False
        self._publisher = publisher
        self._picture = LivePicture(remote_images=remote_images, remark=remark)
        self._remote_images = remote_images
        self._kept_in = kept_in
        self._id = uuid.uuid4().hex
        self._shown: str | None = None

    def draw(self, snapshot: ReplySnapshot) -> float:
        html = "".join(self._picture.slots(snapshot, time.monotonic()))
        if html != self._shown:
            is_new, self._shown = self._shown is None, html
            _publish(self._publisher, {"text/html": html}, display_id=self._id, update=not is_new)
        return max(FRAME_INTERVAL, len(html) / WHOLE_CHARS_PER_SECOND)

    def finish(self, snapshot: ReplySnapshot) -> None:
        bundle = _render(snapshot, remote_images=self._remote_images, kept_in=self._kept_in)
        is_new = self._shown is None
        _publish(self._publisher, bundle.data, bundle.metadata, display_id=self._id, update=not is_new)


class FinalScreen:
    """One display at the end."""

    def __init__(self, publisher: Any, *, remote_images: bool = False) -> None:
        self.has_cleared = False
        self._publisher = publisher
        self._remote_images = remote_images

    def draw(self, snapshot: ReplySnapshot) -> float:
        return IDLE_INTERVAL

    def finish(self, snapshot: ReplySnapshot) -> None:
        publish_final(self._publisher, snapshot, remote_images=self._remote_images)


class QuietScreen:
    """Nothing at all, for `--quiet`, or one line, for a prompt that ends with a semicolon.

    Args:
        say: Shows that line; None shows nothing.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.has_cleared = False
        self._say = say

    def draw(self, snapshot: ReplySnapshot) -> float:
        return IDLE_INTERVAL

    def finish(self, snapshot: ReplySnapshot) -> None:
        if self._say is not None and snapshot.text:
            self._say(f"{describe_facts(snapshot)} · silenced by the ; at the end, the answer is in _")


def publish_final(publisher: Any, snapshot: ReplySnapshot, *, remote_images: bool, kept_in: str = "") -> None:
    """Show the one output that is saved.

    Args:
        publisher: What it is published with.
        snapshot: The reply at its end.
        remote_images: Load images from other hosts.
        kept_in: See `AreaScreen`. Where the cell's error tells how it failed, an answer that failed without a word leaves only that.
    """
    is_empty = snapshot.phase is not Phase.COMPLETE and not (snapshot.text or snapshot.thinking)
    if is_empty and not kept_in:
        return
    bundle = _render(snapshot, remote_images=remote_images, kept_in=kept_in)
    _publish(publisher, bundle.data, bundle.metadata)


def is_captured(publisher: Any) -> bool:
    """Whether outputs are being collected (`%%capture`) instead of shown."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(publisher, CapturingDisplayPublisher)


def _render(snapshot: ReplySnapshot, *, remote_images: bool, kept_in: str) -> Bundle:
    """Return the last picture, without what the cell's own error is about to say, right below it."""
    if kept_in:
        return render_reply(snapshot, remote_images=remote_images, kept_in=kept_in)
    return render_reply(dataclasses.replace(snapshot, error=None), remote_images=remote_images)


def _publish(
    publisher: Any,
    data: Mapping[str, str],
    metadata: Mapping[str, Any] | None = None,
    *,
    display_id: str | None = None,
    update: bool = False,
) -> None:
    transient = {"display_id": display_id} if display_id else {}
    publisher.publish(data=dict(data), metadata=dict(metadata or {}), transient=transient, update=update)
