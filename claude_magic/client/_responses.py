"""Whole responses: the JSON object in a successful one, and the error in any other, or in an `error` event.

An error is read from the API's own envelope, the formats of OpenAI and FastAPI, HTML pages, plain text, and bodies that are
empty, truncated, or not UTF-8: edge proxies and compatible servers send all of these. None of them causes another error.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import to_json

from ._errors import (
    SPEND_CAP_CODES,
    APIError,
    BillingError,
    ClaudeError,
    ForbiddenError,
    InvalidApiKeyError,
    InvalidLinesError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    UnknownStatusError,
    as_sentence,
    short,
)
from ._json import decode_json
from ._retry import describe_seconds, retry_after_from_headers

if TYPE_CHECKING:
    from ._transport import WireResponse

_CLASS_BY_STATUS: Mapping[int, type[APIError]] = {
    400: InvalidRequestError,
    401: InvalidApiKeyError,
    402: BillingError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    529: OverloadedError,
}

_ALSO_TRANSIENT = frozenset({408, 409})
"""Statuses without their own class that the official SDK retries: a timeout, and a conflict with another change."""

_STATUS_BY_TYPE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_HINT_BY_STATUS: Mapping[int, str] = {
    407: "The proxy requires a login: write it into the proxy variable, as http://user:password@host:port.",
    408: "Send it again.",
    409: "Send it again once the other change is done.",
    413: "Make the request smaller: shorten the conversation or the attachments.",
    422: "Change the request as described; the same one would fail again.",
    511: "The network requires a login: open any page in a browser, and log in there.",
}
_REDIRECT_HINT = (
    "Redirects are not followed, because that would send the API key to another address. If that is a login page of the network, log in "
    "with a browser; otherwise set base_url to the final address."
)
_FINAL_PAGE_HINT = (
    "That is not an answer of the Messages API. Check base_url, and whether a proxy or a login page of the network "
    "answers in its place."
)
_PASSING_PAGE_HINT = (
    "That is not an answer of the Messages API: something in front of it, such as a proxy, sent the page. Try again later; "
    "if it persists, check base_url."
)
_UNEXPLAINED_403_HINT = (
    "The server gives no reason: check what this key may do, base_url, and any proxy or firewall in between."
)
_SPEND_CAP_HINT = "A spend limit is reached, so waiting a few minutes does not help. Raise the limit, or wait for the next period."

_TRY_AGAIN = "Try again later."
_AGAIN = re.compile(r"\b(?:try|retry) (?:\w+ )?(?:again|later)\b|\bretry\b", re.IGNORECASE)

_MAX_TEXT = 500
_MAX_NAME = 100
"""Longest value, in characters, of fields that are short in the API: a type, a code, a request id."""
_LONG_NUMBER = re.compile(r"\d{40,}")
_MAX_PAGE_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The content of an error body, as far as it could be parsed."""

    text: str
    error_type: str | None = None
    error_code: str | None = None
    request_id: str | None = None
    is_page: bool = False
    """The body is a web page, which the Messages API never sends."""


_Result = TypeVar("_Result")

_MAX_ERROR_BYTES = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
"""Seconds to read an error's body: the status matters most, and a slow body must not delay it."""


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the server's request id; gateways send it as `x-request-id`."""
    return headers.get("request-id") or headers.get("x-request-id")


async def read_error(response: WireResponse) -> APIError:
    """Read an error response and close it. A slow or truncated body is read as far as possible."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT):
            while len(body) < _MAX_ERROR_BYTES and (chunk := await response.read_chunk()):
                body += chunk
    except (NetworkError, TimeoutError):
        pass
    finally:
        await response.aclose()
    return error_from_response(response.status, response.headers, response.redact(bytes(body)))


async def read_object(response: WireResponse) -> dict[str, Any]:
    """Read the JSON object of a successful response, and close the response.

    Raises:
        APIError: The body is an error envelope in spite of the status, or not JSON (a web page).
        StreamInterruptedError: The JSON is truncated.
    """
    # Redacted at once, because servers quote keys, and the traceback of an error refers to this frame.
    body = response.redact(await response.read_body())
    value = object_in(body)
    if value is not None and not _is_error(value):
        return value
    raise _body_error(response, body)


def object_in(body: bytes) -> dict[str, Any] | None:
    """Decode bytes as a JSON object; None if they are not one."""
    try:
        value = decode_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_error(value: Mapping[str, Any]) -> bool:
    return value.get("type") == "error" or (isinstance(value.get("error"), dict) and "content" not in value)


def _body_error(response: WireResponse, body: bytes) -> ClaudeError:
    """Return the error for a body that is not the expected JSON object."""
    request_id = request_id_of(response.headers)
    value = object_in(body)
    if value is not None:
        return error_from_event(value, request_id)
    is_json = re.search("json|event-stream", response.headers.get("content-type", ""))
    if is_json and body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return StreamInterruptedError(
            f"The reply is not complete: its JSON ends after {len(body)} bytes. Send it again.",
            request_id=request_id,
        )
    return unexpected_body_error(response, body)


def parse_reply(
    response: WireResponse, value: dict[str, Any], parse: Callable[[dict[str, Any]], _Result]
) -> _Result:
    """Parse the JSON object of a response.

    Raises:
        UnknownStatusError: The object is of another kind, so the response is probably from another server.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return parse(value)
    raise unexpected_body_error(response, to_json(value))


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """Return the error for an error response.

    Args:
        status: HTTP status, not 200.
        headers: Response headers with lower-case names.
        body: Decoded body, with arbitrary content; may be empty or truncated.
    """
    reading = _read_body(headers.get("content-type", ""), body)
    location = headers.get("location")
    if 300 <= status < 400 and location:
        reading = _Reading(text=f"the server redirects to {_shorten(location)}")
    return _build_error(
        reading,
        status=status,
        request_id=_string(request_id_of(headers)) or reading.request_id,
        retry_after=retry_after_from_headers(headers),
        should_retry=_flag(headers.get("x-should-retry", "")),
    )


def _flag(value: str) -> bool | None:
    """Return the value of a header, which may be repeated; None if it is neither true nor false."""
    values = {each.strip() for each in value.lower().split(",")}
    return False if "false" in values else True if "true" in values else None


def error_from_event(error: Mapping[str, Any], request_id: str | None = None) -> APIError:
    """Return the error for an `error` event inside a stream whose status is 200.

    Args:
        error: The event's `error` object, or an envelope around it.
        request_id: Request id from the stream's headers, or None.
    """
    reading = _read_object(error if "error" in error else {"error": error})
    return _build_error(reading, status=None, request_id=request_id or reading.request_id)


def unexpected_body_error(response: WireResponse, body: bytes) -> UnknownStatusError:
    """Return the error for a successful response that is not from the Messages API: usually a wrong port or base_url."""
    content_type = response.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip() or "no content type"
    excerpt = _read_body(content_type, body[:_MAX_PAGE_BYTES]).text
    return UnknownStatusError(
        f"{response.url} answered {response.status} with {kind} ({excerpt}) where a reply of the Messages API was expected. "
        "Check base_url: is this the right host and port? A proxy or a login page of the network may answer instead.",
        status=response.status,
    )


def invalid_lines_error(response: WireResponse, batch_id: str, lines: bytes) -> APIError:
    """Return the error for results of a batch with lines that are no results.

    Args:
        response: The response.
        batch_id: Id of the batch.
        lines: The first of these lines.
    """
    text = _shorten(lines.decode("utf-8", "replace"))
    return InvalidLinesError(
        f"The results of batch {batch_id} have lines that are no results ({text}).", status=response.status
    )


def _class_of(status: int, reading: _Reading) -> type[APIError]:
    """Return the class of an error. A web page with a 4xx status is usually not from the API."""
    if 400 <= status < 500:
        if reading.error_type == "billing_error":
            return BillingError
        if reading.is_page and not _is_temporary(status):
            return UnknownStatusError
    return _CLASS_BY_STATUS.get(status, UnknownStatusError)


def _is_temporary(status: int) -> bool:
    """Return whether a status means that the same request may succeed later, or (413) explains what is wrong with it."""
    return status in _ALSO_TRANSIENT or status in (413, 429) or status >= 500


def _is_transient(status: int, *, is_spend_cap: bool, should_retry: bool | None) -> bool | None:
    """Return whether another attempt may help; None to use the default of the class.

    `x-should-retry: false` prevents any retry (see `APIError`). `x-should-retry: true` causes one after a 5xx, but not
    after a 4xx, because a problem of the request or the account persists.
    """
    if is_spend_cap:
        return False
    return True if status in _ALSO_TRANSIENT or (should_retry and status >= 500) else None


def _build_error(
    reading: _Reading,
    *,
    status: int | None,
    request_id: str | None,
    retry_after: float | None = None,
    should_retry: bool | None = None,
) -> APIError:
    code = status or _status_of(reading)
    error_class = _class_of(code, reading)
    is_spend_cap = reading.error_code in SPEND_CAP_CODES
    label = " ".join(str(part) for part in (status, reading.error_type) if part) or "error event"
    words = _server_text(reading, error_class.title, code)
    sentences = [f"{error_class.title} ({label}){f': {as_sentence(words)}' if words else '.'}"]
    if retry_after is not None:
        sentences.append(f"The server asks to wait {describe_seconds(retry_after)}.")
    hint = _SPEND_CAP_HINT if is_spend_cap else _hint_for(error_class, status, reading)
    if retry_after is not None or _AGAIN.search(reading.text):  # the message already says when to retry
        hint = hint.replace(_TRY_AGAIN, "").strip()
    sentences.append(hint)
    return error_class(
        " ".join(sentence for sentence in sentences if sentence),
        status=status,
        error_type=reading.error_type,
        error_code=reading.error_code,
        should_retry=should_retry,
        is_transient=_is_transient(code, is_spend_cap=is_spend_cap, should_retry=should_retry),
        request_id=request_id,
        retry_after=retry_after,
    )


def _server_text(reading: _Reading, title: str, status: int) -> str:
    """Return the server's message without the error's name, which the title repeats: "Overloaded", "Not Found. There ..."."""
    names = [title, (reading.error_type or "").removesuffix("_error")]
    with contextlib.suppress(ValueError):
        names.append(HTTPStatus(status).phrase)
    first, *rest = re.split(r"(?<=[.!:]) ", reading.text, maxsplit=1)
    return "".join(rest) if _letters(first) in map(_letters, names) else reading.text


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _hint_for(error_class: type[APIError], status: int | None, reading: _Reading) -> str:
    if status is not None and 300 <= status < 400:
        return _REDIRECT_HINT
    by_status = _HINT_BY_STATUS.get(status or _status_of(reading), "")
    if reading.is_page and not by_status:
        return _PASSING_PAGE_HINT if _is_temporary(status or 0) else _FINAL_PAGE_HINT
    if error_class is ForbiddenError and reading.error_type is None:
        return _UNEXPLAINED_403_HINT
    hint = error_class.hint or by_status
    is_foreign = error_class is UnknownStatusError and status is not None and reading.error_type is None
    return _FINAL_PAGE_HINT if is_foreign and not hint else hint


def _status_of(reading: _Reading) -> int:
    """Return the status that corresponds to an error inside a stream (claude-api: by its type); 0 if unknown."""
    code = reading.error_code or ""
    if (
        code.isdecimal() and int(code) in _CLASS_BY_STATUS
    ):  # LiteLLM: {"error": {"type": "None", "code": "529"}}
        return int(code)
    return _STATUS_BY_TYPE.get(reading.error_type or "", 0)


def _read_body(content_type: str, body: bytes) -> _Reading:
    if not body.strip():
        return _Reading(text="the response has no body")
    try:
        value = decode_json(body)
    except ValueError:
        return _read_text(content_type, body)
    if isinstance(value, Mapping):
        return _read_object(value)
    return _Reading(text=_shorten(_as_text(value)))


def _read_object(value: Mapping[str, Any]) -> _Reading:
    """Parse `{"error": {…}}` (also OpenAI's), `{"error": "…"}`, `{"detail": …}` or `{"message": …}`."""
    error = value.get("error")
    if not isinstance(error, Mapping):
        text = error or value.get("message") or value.get("detail")
        return _Reading(text=_text_or(text, value), request_id=_string(value.get("request_id")))
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    return _Reading(
        text=_text_or(error.get("message"), error),
        error_type=_string(error.get("type")),
        error_code=_string(code) or _string(error.get("code")),
        request_id=_string(value.get("request_id")),
    )


def _text_or(text: object, whole: Mapping[str, Any]) -> str:
    return _shorten(text if isinstance(text, str) and text.strip() else _as_text(text or dict(whole)))


def _string(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = _as_text(value)
    return _shorten(value, _MAX_NAME) or None if isinstance(value, str) else None


def _as_text(value: object) -> str:
    """Return a JSON value as text. Python refuses to convert integers of more than 4,300 digits."""
    try:
        return str(value)
    except (ValueError, RecursionError) as error:
        return f"a value that cannot be shown ({error})"


def _read_text(content_type: str, body: bytes) -> _Reading:
    text = body[:_MAX_PAGE_BYTES].decode("utf-8", "replace")
    if "html" not in content_type.lower() and not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return _Reading(text=_shorten(text))
    return _Reading(text=_describe_page(text), is_page=True)


def _describe_page(text: str) -> str:
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title and title[1].strip():
        return f"a web page titled “{_shorten(html.unescape(title[1]), 100)}”"
    visible = re.sub(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return f"a web page: “{_shorten(html.unescape(visible), 100)}”"


def _shorten(text: str, limit: int = _MAX_TEXT) -> str:
    """Put text on one line, and truncate it and its long numbers, so that an error message stays readable."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: limit * 4]).split())
    line = _LONG_NUMBER.sub(lambda number: f"{number[0][:10]}… ({len(number[0])} digits)", line)
    return short(line, limit)
