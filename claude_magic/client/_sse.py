"""Server-Sent Events, without I/O: bytes in, events out.

Follows the WHATWG rules for interpreting an event stream (HTML standard, section 9.2.6), on bytes: a line ends at CR LF,
LF or CR and nowhere else, so decoding to text first, where U+2028 and others count as line ends, would corrupt data.

Every byte is looked at a fixed number of times, however the stream is cut into chunks: an unfinished line is kept as a
list of pieces that is joined when its end arrives.
"""

from __future__ import annotations

from typing import NamedTuple

from ._errors import StreamInterruptedError

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


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

    Args:
        max_event_bytes: Largest event, in bytes of its data and of the line being read.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._is_at_start = True
        self._is_after_cr = False
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._event = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    @property
    def has_pending(self) -> bool:
        """Whether something of an event has arrived that its blank line has not completed yet."""
        return bool(self._data or self._line_bytes or self._event)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events they complete, in order.

        An event is complete with the blank line behind it; one that never gets it is never returned.

        Raises:
            StreamInterruptedError: An event is larger than `max_event_bytes`. The decoder cannot be used afterwards.
        """
        if self._is_at_start:
            data = self._without_bom(data)
        if b"\r" in data or self._is_after_cr:
            data = self._with_line_feeds(data)
        if not data:
            return []
        head, *lines = data.split(b"\n")
        if not lines:
            self._keep(head)
            return []
        rest = lines.pop()
        if self._line_bytes:
            self._keep(head)
            head = b"".join(self._line)
            self._line.clear()
            self._line_bytes = 0
        events = self._read_lines([head, *lines])
        if rest:
            self._keep(rest)
        return events

    def _read_lines(self, lines: list[bytes]) -> list[ServerSentEvent]:
        """Interpret whole lines."""
        events: list[ServerSentEvent] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._add_data(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    events.append(ServerSentEvent(self._event, self._take_data()))
                self._event = ""
            elif line.startswith(b"event:"):
                self._event = (line[7:] if line[6:7] == b" " else line[6:]).decode("utf-8", "replace")
            elif line == b"data":
                self._add_data(b"")
            elif line == b"event":
                self._event = ""
            # A comment (`:`), `id`, `retry` and fields that nobody knows are passed over: nothing here resumes a stream.
        return events

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + 1
        self._check_size()

    def _take_data(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        return data

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a line whose end has not arrived."""
        self._line.append(piece)
        self._line_bytes += len(piece)
        self._check_size()

    def _check_size(self) -> None:
        if self._data_bytes + self._line_bytes > self._max_event_bytes:
            raise StreamInterruptedError(
                f"The server sent an event of more than {self._max_event_bytes:,} bytes, the most that is read into "
                "memory. If such an event is expected, raise max_event_bytes.",
                is_transient=False,
            )

    def _without_bom(self, data: bytes) -> bytes:
        """Drop a byte order mark; keep its first bytes back until it is clear whether they begin one."""
        data = b"".join((*self._line, data))
        self._line.clear()
        self._line_bytes = 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._keep(data)
            return b""
        self._is_at_start = False
        return data.removeprefix(_BOM)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Turn CR LF and CR into LF; a CR ends its line at once, and a LF that follows later belongs to it."""
        if self._is_after_cr and data:
            data = data.removeprefix(b"\n")
            self._is_after_cr = False
        if data.endswith(b"\r"):
            self._is_after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
