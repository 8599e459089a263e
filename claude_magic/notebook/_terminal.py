"""An answer in terminal IPython: its words as they come, and nothing that a plain terminal cannot show."""

from __future__ import annotations

import time
from typing import TextIO

from ..render import describe_status, render_footer_text
from ..runtime import Phase, ReplySnapshot
from ._screens import FRAME_INTERVAL

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"

# What a model wrote may hold escape sequences, and a terminal obeys them. They are shown, not sent.
_UNSAFE_CONTROLS = [code for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\t\n"]
_VISIBLE = {
    code: chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}" for code in _UNSAFE_CONTROLS
}


class TerminalScreen:
    """Writes the text as it grows; while there is none, one line that says what is being waited for.

    Args:
        stream: Where to write. On anything but a terminal there are no colours, and a line that would change in
            place is written once instead.
    """

    def __init__(self, stream: TextIO) -> None:
        self.has_cleared = False
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._written = 0
        self._last_text = ""
        self._status = ""
        self._waits_told: set[tuple[str, int]] = set()

    def draw(self, snapshot: ReplySnapshot) -> float:
        """Write what has come since the last call."""
        if snapshot.text:
            self._write_text(snapshot.text)
        else:
            self._write_status(snapshot)
        self._stream.flush()
        return FRAME_INTERVAL

    def finish(self, snapshot: ReplySnapshot) -> None:
        """Write the rest and the footer."""
        self._write_text(snapshot.text)
        self._clear_status()
        if self._written:
            self._stream.write("\n" if self._last_text.endswith("\n") else "\n\n")
        if self._written or snapshot.phase is Phase.COMPLETE:
            self._stream.write(self._dim(_visible(render_footer_text(snapshot))) + "\n")
        self._stream.flush()

    def _write_text(self, text: str) -> None:
        if len(text) > self._written:
            self._clear_status()
            self._stream.write(_visible(text[self._written :]))
            self._written, self._last_text = len(text), text

    def _write_status(self, snapshot: ReplySnapshot) -> None:
        status = _visible(describe_status(snapshot, time.monotonic()))
        if self._is_terminal:
            if status != self._status:
                self._stream.write(_CLEAR_LINE + self._dim(status))
        elif snapshot.wait is not None:
            # A countdown cannot run here; say once that there is a wait, and for what.
            wait = (snapshot.wait.kind, snapshot.wait.attempt)
            if wait not in self._waits_told:
                self._waits_told.add(wait)
                self._stream.write(status + "\n")
        self._status = status

    def _clear_status(self) -> None:
        if self._status and self._is_terminal:
            self._stream.write(_CLEAR_LINE)
        self._status = ""

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if self._is_terminal and text else text


def _visible(text: str) -> str:
    return text.translate(_VISIBLE)
