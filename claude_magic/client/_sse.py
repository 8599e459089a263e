"""Server-Sent Events, without I/O: bytes in, events out.

Follows the WHATWG rules for interpreting an event stream (HTML standard, section 9.2.6), on bytes: a line ends at CR LF,
LF or CR and nowhere else, so decoding to text first, where U+2028 and others count as line ends, would corrupt data.

Every byte is looked at a fixed number of times, however the stream is cut into chunks: what is unfinished is kept as a
list of pieces, which is joined when its end arrives.
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
        event: Its name; empty where the stream gave none.
        data: Its data lines, joined with a line feed; UTF-8, not decoded.
    """

    event: str
    data: bytes


class SSEDecoder:
    """Cuts a stream of bytes into events.

    Ids and reconnection times are read over: a reply cannot be resumed.

    Args:
        max_event_bytes: Largest event in bytes, its field names and comments included.
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
        """Whether something of an event has arrived that its blank line has not completed yet."""
        return any(piece.strip(b"\n") for piece in self._pieces)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events they complete, in order.

        An event is complete with the blank line behind it; one that never gets it is never returned.

        Raises:
            StreamInterruptedError: An event is larger than `max_event_bytes`. If others precede it in the same bytes,
                they are returned first, and the next call raises. The decoder cannot be used afterwards.
        """
        return [event for block in self.split(data) if (event := read_block(block)) is not None]

    def split(self, data: bytes) -> list[bytes]:
        """Take the next bytes as `feed` does, and return the events as they came, for `read_block`: their lines, parted by LF.

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
        return self._checked(
            blocks if len(data) <= self._max_event_bytes else self._up_to_the_largest(blocks)
        )

    def close(self) -> None:
        """Take note of the end of the stream, and drop an event that has no blank line behind it, as the rules say."""
        self._pieces = []
        self._pending_bytes = 0

    def _normalised(self, data: bytes) -> bytes:
        """Return the data without a byte order mark and with LF as the only line end."""
        if self._is_at_start:
            data = self._without_bom(data)
        if b"\r" in data or self._is_after_cr:
            data = self._with_line_feeds(data)
        return data

    def _without_bom(self, data: bytes) -> bytes:
        """Drop a byte order mark; keep its first bytes back until it is clear whether they begin one."""
        data = b"".join((*self._pieces, data))
        self._pieces = []
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._pieces = [data] if data else []
            return b""
        self._is_at_start = False
        return data.removeprefix(_BOM)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Turn CR LF and CR into LF; a CR ends its line at once, and a LF that follows later belongs to it."""
        if not data:
            return data
        if self._is_after_cr:
            data = data.removeprefix(b"\n")
        self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _up_to_the_largest(self, blocks: list[bytes]) -> list[bytes]:
        """Return the events before the first that is too large, if one is, and refuse that."""
        for number, block in enumerate(blocks):
            if len(block) > self._max_event_bytes:
                self._refuse()
                return blocks[:number]
        return blocks

    def _checked(self, blocks: list[bytes]) -> list[bytes]:
        if self._pending_bytes > self._max_event_bytes:
            self._refuse()
        if self._failure is not None and not any(map(read_block, blocks)):
            raise self._failure
        return blocks

    def _refuse(self) -> None:
        self.close()
        self._failure = StreamInterruptedError(
            f"The server sent an event of more than {self._max_event_bytes:,} bytes, the most that is read into "
            "memory. If such an event is expected, raise max_event_bytes.",
            is_transient=False,
        )


def read_block(block: bytes) -> ServerSentEvent | None:
    """Interpret the lines of one event by the letter of the rules; None if it has no data.

    Args:
        block: The lines, parted by LF.
    """
    line, separator, data = block.partition(b"\ndata: ")
    if separator and line.startswith(_EVENT) and _LF not in line and _LF not in data:  # as most are written
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
