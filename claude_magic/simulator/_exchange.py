"""What travels between the sockets and the API: requests in, steps out.

Nothing here does I/O. Whoever answers a request yields *steps* (send this head, send these bytes,
pause, hang up), and the server performs them one by one. Every fault of the simulator is therefore
only another sequence of steps.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

if TYPE_CHECKING:
    from ._errors import APIError

JSON: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request, read completely."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case; repeated headers are joined by a comma."""
    raw_body: bytes
    fault: APIError | None = None
    """Why it is refused whatever its body says; the body was thrown away then."""

    @property
    def path(self) -> str:
        """The path of the target, without its query."""
        return split_target(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters, each with its values in order."""
        return parse_qs(split_target(self.target).query, keep_blank_values=True)

    @cached_property
    def body(self) -> Any:
        """The body as JSON, or None where it is not JSON."""
        return read_json(self.raw_body)

    @property
    def fields(self) -> JSON:
        """The body where it is a JSON object, else an empty one."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def wants_stream(self) -> bool:
        """Whether the body asks for server-sent events."""
        return self.fields.get("stream") is True


@dataclass(frozen=True, slots=True)
class Head:
    """Send the status line and the headers."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    is_close_delimited: bool = False
    """Neither a length nor chunks: the body ends where the connection does, as from an HTTP/1.0 proxy."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Send bytes of the body, in one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """End the body properly. Implied after the last step."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the connection: by TCP reset, by closing it, or by closing only the server's half."""

    how: Literal["reset", "close", "half"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until a test opens the gate."""

    gate: Gate


Step: TypeAlias = Head | Chunk | Pause | Finish | HangUp | Hold
Steps: TypeAlias = Iterator[Step]


class Gate:
    """A door that a stream waits at until `open` is called, from any thread.

    With it a test looks at a half-finished answer without guessing how long to sleep.
    """

    def __init__(self) -> None:
        self._opened = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether streams may pass."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let the streams that wait here go on; opening twice is fine."""
        self._opened.set()


def split_target(target: str) -> SplitResult:
    """The parts of a target. Only one with a scheme has a host: `//x/y` is a path, as it stands in a request."""
    if not target.startswith("/"):
        with contextlib.suppress(ValueError):
            return urlsplit(target)
    path, _, query = target.partition("?")
    return SplitResult("", "", path, query, "")


def read_json(raw: bytes) -> Any:
    """A body as JSON, or None where it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested absurdly deep
        return None


def encode_json(value: object) -> bytes:
    """JSON as the API writes it: compact, UTF-8, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def json_steps(status: int, value: object, headers: Mapping[str, str]) -> Steps:
    """A whole JSON response."""
    return body_steps(status, encode_json(value), {"content-type": "application/json", **headers})


def body_steps(status: int, body: bytes, headers: Mapping[str, str]) -> Steps:
    """A whole response with its length."""
    yield Head(status, (*headers.items(), ("content-length", str(len(body)))))
    if body:
        yield Chunk(body)
