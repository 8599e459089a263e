"""A decoder for server-sent events, without I/O: bytes in, events out.

Follows the WHATWG rules for interpreting an event stream (HTML standard, section 9.2.6), on bytes: lines end at CR LF,
LF or CR only. Decoding to text first would corrupt data, because text also counts U+2028 and others as line ends.

Decoding takes linear time, however the stream is cut into chunks: an incomplete event is kept as a list of chunks,
which are joined when its end arrives.
"""

from __future__ import annotations

from typing import NamedTuple

from ._errors import StreamInterruptedError

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_LF = ord("\n")
_BLANK_LINE = b"\n\n"
_EVENT = b"event: "


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        event: The event's name; empty if the stream gives none.
        data: The data lines, joined with a line feed; UTF-8, not decoded.
    """

    event: str
    data: bytes


class SSEDecoder:
    """A decoder that splits a stream of bytes into events.

    Ids and reconnection times are ignored: a reply cannot be resumed.

    Args:
        max_event_bytes: Largest event in bytes, including field names and comments.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._is_at_start = True
        self._is_after_cr = False
        self._pieces: list[bytes] = []
        self._pending_bytes = 0
        self._failure: StreamInterruptedError | None = None

    @property
    def has_pending(self) -> bool:
        """Whether part of an event has arrived, but not yet the blank line that completes it."""
        return any(piece.strip(b"\n") for piece in self._pieces)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Consume the next bytes and return the events they complete, in order.

        A blank line completes an event; an event without one is never returned.

        Raises:
            StreamInterruptedError: An event is larger than `max_event_bytes`. Events that precede it in the same bytes
                are returned first, and the next call raises. The decoder cannot be used afterwards.
        """
        return [event for block in self.split(data) if (event := read_block(block)) is not None]

    def split(self, data: bytes) -> list[bytes]:
        """Consume the next bytes like `feed`, but return each event's raw lines, separated by LF, for `read_block`.

        Raises:
            StreamInterruptedError: See `feed`.
        """
        if self._failure is not None:
            raise self._failure
        data = self._normalised(data)
        if not data:
            return []
        pieces = self._pieces
        if pieces:
            is_end = _BLANK_LINE in data or (data[0] == _LF and pieces[-1][-1] == _LF)
            pieces.append(data)
            self._pending_bytes += len(data)
            if not is_end:
                return self._checked([])
            data = b"".join(pieces)
        blocks = data.split(_BLANK_LINE)
        rest = blocks.pop()
        self._pieces = [rest] if rest else []
        self._pending_bytes = len(rest)
        return self._checked(blocks if len(data) <= self._max_event_bytes else self._before_oversized(blocks))

    def close(self) -> None:
        """Mark the end of the stream. An event without a terminating blank line is dropped, as the standard requires."""
        self._pieces = []
        self._pending_bytes = 0

    def _normalised(self, data: bytes) -> bytes:
        """Return the data without a byte order mark, and with LF as the only line end."""
        if self._is_at_start:
            data = self._without_bom(data)
        if b"\r" in data or self._is_after_cr:
            data = self._with_line_feeds(data)
        return data

    def _without_bom(self, data: bytes) -> bytes:
        """Drop a byte order mark; hold back the first bytes while they may still be the start of one."""
        data = b"".join((*self._pieces, data))
        self._pieces = []
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._pieces = [data] if data else []
            return b""
        self._is_at_start = False
        return data.removeprefix(_BOM)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Turn CR LF and CR into LF. A CR ends its line at once; an LF at the start of the next chunk belongs to it."""
        if not data:
            return data
        if self._is_after_cr:
            data = data.removeprefix(b"\n")
        self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _before_oversized(self, blocks: list[bytes]) -> list[bytes]:
        """Return the events before the first one that is too large, and record the failure if there is one."""
        for number, block in enumerate(blocks):
            if len(block) > self._max_event_bytes:
                self._fail()
                return blocks[:number]
        return blocks

    def _checked(self, blocks: list[bytes]) -> list[bytes]:
        if self._pending_bytes > self._max_event_bytes:
            self._fail()
        if self._failure is not None and not any(map(read_block, blocks)):
            raise self._failure
        return blocks

    def _fail(self) -> None:
        self.close()
        self._failure = StreamInterruptedError(
            f"The server sent an event of more than {self._max_event_bytes:,} bytes, the most that is read into "
            "memory. If such an event is expected, raise max_event_bytes.",
            is_transient=False,
        )


def read_block(block: bytes) -> ServerSentEvent | None:
    """Parse the lines of one event as the standard requires; None if it has no data.

    Args:
        block: The lines, separated by LF.
    """
    line, separator, data = block.partition(b"\ndata: ")
    if separator and line.startswith(_EVENT) and _LF not in line and _LF not in data:  # the usual form
        return ServerSentEvent(line.removeprefix(_EVENT).decode("utf-8", "replace"), data)
    name = b""
    values: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            values.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return ServerSentEvent(name.decode("utf-8", "replace"), b"\n".join(values)) if values else None
