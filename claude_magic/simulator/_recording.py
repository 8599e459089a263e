"""What the simulator saw, for tests to ask about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._exchange import read_json

_BYTES_PER_RECORD = 1_000
"""What the names of headers and Python's own part come to."""


@dataclass(slots=True, kw_only=True)
class RecordedRequest:
    """One request, and what became of it."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    raw_body: bytes
    received_at: float
    """`time.monotonic()` when the request had been read completely."""
    connection: int
    """Which TCP connection it came on, counted from 1."""
    status: int | None = None
    """The status that was sent; None as long as no head went out."""
    is_finished: bool = False
    """The response was sent to its proper end."""
    client_gone: bool = False
    """The client closed the connection before the response was complete."""
    failure: str | None = None
    """What went wrong in the simulator itself; anything but None is a bug in it or in a script."""

    @property
    def body(self) -> Any:
        """The JSON of the body, or None where there was none; read at each access, because it is larger than the bytes."""
        return read_json(self.raw_body)

    @property
    def size(self) -> int:
        """About how many bytes it takes to keep."""
        return _BYTES_PER_RECORD + len(self.raw_body) + sum(map(len, self.headers.values()))
