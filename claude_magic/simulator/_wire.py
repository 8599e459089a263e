"""Requests, and the steps of responses: the interface between the server and the API.

This module does no I/O. Code that answers a request yields *steps* (send this head, send these bytes,
pause, hang up), and the server performs them in order. A fault is just another sequence of steps.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import secrets
import string
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

JSON: TypeAlias = dict[str, Any]
BATCHES_PATH = "/v1/messages/batches"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A complete HTTP request."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case; values of repeated headers joined by commas."""
    raw_body: bytes
    fault: APIError | None = None
    """The error for a request that was rejected without its body, which was discarded."""

    @property
    def path(self) -> str:
        """The path of the target, without the query."""
        return split_target(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The query parameters, each with its values in order."""
        return parse_qs(split_target(self.target).query, keep_blank_values=True)

    @cached_property
    def body(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        return read_json(self.raw_body)

    @property
    def fields(self) -> JSON:
        """The body if it is a JSON object, else an empty dictionary."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def wants_stream(self) -> bool:
        """Whether the body requests server-sent events (`stream` is true)."""
        return self.fields.get("stream") is True


@dataclass(frozen=True, slots=True)
class Head:
    """Send the status line and the headers."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    is_close_delimited: bool = False
    """Whether the end of the connection delimits the body, as with an HTTP/1.0 proxy."""


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
    """End the body. Implied after the last step."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the connection by a TCP reset, by closing it, or by closing only the server's side."""

    how: Literal["reset", "close", "half"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until the gate is opened."""

    gate: Gate


Step: TypeAlias = Head | Chunk | Pause | Finish | HangUp | Hold
Steps: TypeAlias = Iterator[Step]


class Gate:
    """A gate that streams wait for until `open` is called, from any thread.

    With a gate, a test can inspect a partial answer without sleeping.
    """

    def __init__(self) -> None:
        self._opened = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether the gate is open."""
        return self._opened.is_set()

    def open(self) -> None:
        """Release the waiting streams. Further calls have no effect."""
        self._opened.set()


def split_target(target: str) -> SplitResult:
    """Split a request target. Only a target with a scheme has a host: `//x/y` is a path."""
    if not target.startswith("/"):
        with contextlib.suppress(ValueError):
            return urlsplit(target)
    path, _, query = target.partition("?")
    return SplitResult("", "", path, query, "")


def read_json(raw: bytes) -> Any:
    """Parse a body as JSON; None if it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested absurdly deep
        return None


def encode_json(value: object, default: Callable[[Any], JSON] | None = None) -> bytes:
    """Encode JSON as the API does: compact, in UTF-8, with minimal escaping.

    Args:
        value: The value.
        default: Returns an object in place of what is not JSON.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default)
    return text.encode("utf-8", "surrogatepass")


def json_steps(status: int, value: object, headers: Mapping[str, str]) -> Steps:
    """Send a complete JSON response."""
    return body_steps(status, encode_json(value), {"content-type": "application/json", **headers})


def body_steps(status: int, body: bytes, headers: Mapping[str, str]) -> Steps:
    """Send a complete response with `content-length`."""
    yield Head(status, (*headers.items(), ("content-length", str(len(body)))))
    if body:
        yield Chunk(body)


ERROR_OF_STATUS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request was malformed."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Claude API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    409: ("conflict_error", "The resource was changed by another request at the same time."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: (
        "rate_limit_error",
        "This request would exceed your organization's rate limit of requests per minute.",
    ),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request took too long to process."),
    529: ("overloaded_error", "Overloaded"),
}
"""Type and usual message of each documented error."""


class APIError(Exception):
    """An error response.

    Args:
        status: The HTTP status.
        message: The error's message; by default the message for the status.
        error_type: The error's type; by default the type for the status.
        details: Additional data, such as `error_code`.
        headers: Additional response headers, such as `retry-after`.
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        error_type: str | None = None,
        details: JSON | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # A status without a documented type has that of similar statuses.
        undocumented = ERROR_OF_STATUS[500 if status >= 500 else 400][0], f"Simulated status {status}."
        usual_type, usual_message = ERROR_OF_STATUS.get(status, undocumented)
        self.status = status
        self.message = message or usual_message
        self.error_type = error_type or usual_type
        super().__init__(self.message)
        self.details = details
        self.headers = dict(headers or {})


def invalid(message: str) -> APIError:
    """Return a 400 with this message."""
    return APIError(400, message)


def error_envelope(fault: APIError, request_id: str | None) -> JSON:
    """Return the body of an error response."""
    error: JSON = {"type": fault.error_type, "message": fault.message}
    if fault.details is not None:
        error["details"] = fault.details
    return {"type": "error", "error": error, "request_id": request_id}


def read_corpus(name: str) -> str:
    """Read a file of the `corpus` folder."""
    return (resources.files(__package__) / "corpus" / name).read_text(encoding="utf-8")


@cache
def _words() -> JSON:
    tables: JSON = json.loads(read_corpus("words.json"))
    return tables


def read_words(name: str) -> Any:
    """Return a table of `words.json`; a list of lines becomes the set of its words."""
    table = _words()[name]
    return frozenset(" ".join(table).split()) if isinstance(table, list) else table


def read_by_word(name: str) -> Any:
    """Return a table whose keys contain several words, with one key per word."""
    return {word: value for words, value in read_words(name).items() for word in words.split(" ")}


_ALPHABET = string.digits + string.ascii_letters
_serial = itertools.count()
_seed = secrets.token_hex(8)


def new_id(prefix: str) -> str:
    """Return a unique identifier, such as `msg_01...`."""
    return f"{prefix}_01{opaque(f'{_seed}-{next(_serial)}')}"


def opaque(text: str, length: int = 22) -> str:
    """Return letters and digits derived from the text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


T = TypeVar("T")


def pick(text: str, choices: Sequence[T]) -> T:
    """Return one of the choices. The same text gives the same choice in every process."""
    digest = hashlib.sha256(text.encode()).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]


# A deterministic stand-in for the tokenizer.
#
# A token is a run of at most four letters with the space before it, up to three digits, a run of spaces or one
# other character. The counts are close to the real ones for English prose. The tokens join to the original text, so a
# text can be cut after exactly n tokens.
_TOKEN = re.compile(r" ?[A-Za-z]{1,4}| ?\d{1,3}|\n+| {2,}| ?[^\w\s]|\w{1,2}|\s|.", re.DOTALL)


def split_tokens(text: str) -> list[str]:
    """Split the text into tokens, which join to the original text."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """Return the number of tokens of the text."""
    return sum(1 for _ in _TOKEN.finditer(text))


def cut_to_tokens(text: str, limit: int) -> str:
    """Return the text's first `limit` tokens."""
    return "".join(split_tokens(text)[:limit])
