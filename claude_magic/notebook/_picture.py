"""What a streaming answer looks like at one moment: a row of slots, of which all but the last have settled.

A slot is one display of its own in the cell. Drawing is comparing two rows: a slot that has not changed is not sent
again, so that what goes over the wire grows with the answer and not with its square.
"""

from __future__ import annotations

from ..render import GrowingMarkdown, render_status_line, render_thinking
from ..runtime import ReplySnapshot


class LivePicture:
    """The slots of one answer while it grows."""

    def __init__(self, *, remote_images: bool = False) -> None:
        self._markdown = GrowingMarkdown(remote_images=remote_images)
        self._has_text = False
        self._thinking_source = ""
        self._thinking_html = ""

    def slots(self, snapshot: ReplySnapshot, now: float) -> list[str]:
        """Return the HTML of each slot, top to bottom; slots only ever become more.

        Args:
            snapshot: The reply; later ones must continue the former.
            now: The present, by `time.monotonic()`.
        """
        if not snapshot.text:
            status = render_status_line(snapshot, now)
            return [status] if status else []
        if not self._has_text:
            # The status line's slot becomes the thinking's. Thinking that begins later has no slot above the text,
            # because that would move all others down; the final picture has it in its place.
            self._has_text = True
            self._thinking_source = snapshot.thinking
            self._thinking_html = render_thinking(snapshot.thinking)
        answer = [block.html for block in self._markdown.update(snapshot.text).blocks]
        return [self._thinking_html, *answer] if self._thinking_html else answer
