"""Turns error responses and `error` events into our errors. Nothing here raises, whatever a server sent.

Understood are the API's own envelope, OpenAI's and FastAPI's shapes, HTML pages, plain text, and bodies which
are empty, cut, or not UTF-8: edge proxies and compatible servers send all of these.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from ._errors import (
    SPEND_CAP_CODES,
    APIError,
    ForbiddenError,
    InvalidApiKeyError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ServerError,
    UnknownStatusError,
)
from ._retry_after import describe_seconds, retry_after_from_headers

_CLASS_BY_STATUS: Mapping[int, type[APIError]] = {
    400: InvalidRequestError,
    401: InvalidApiKeyError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    529: OverloadedError,
}

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
    402: "Check the billing settings of the account behind this key.",
    408: "Send it again.",
    409: "Send it again once the other change is through.",
    413: "Make the request smaller: shorten the conversation or the attachments.",
    422: "Change the request as described; the same one would fail again.",
}
_REDIRECT_HINT = (
    "Redirects are not followed, because the API key would go along; set base_url to the final address."
)
_SPEND_CAP_HINT = (
    "A spend limit is reached, so waiting minutes does not help; raise the limit or wait for the next period."
)

_MAX_TEXT = 500
_MAX_PAGE_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What could be read from an error body."""

    text: str
    error_type: str | None = None
    error_code: str | None = None
    request_id: str | None = None


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """Read an error response.

    Args:
        status: HTTP status, not 200.
        headers: Response headers with lower-case names.
        body: Decoded body; may be empty, cut, or anything at all.
    """
    reading = _read_body(headers.get("content-type", ""), body)
    location = headers.get("location")
    if 300 <= status < 400 and location:
        reading = _Reading(text=f"the server redirects to {_shorten(location)}")
    return _build_error(
        _CLASS_BY_STATUS.get(status, UnknownStatusError),
        reading,
        status=status,
        request_id=headers.get("request-id") or headers.get("x-request-id") or reading.request_id,
        retry_after=retry_after_from_headers(headers),
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower()),
    )


def error_from_event(error: Mapping[str, Any], request_id: str | None = None) -> APIError:
    """Read an `error` event that came inside a stream whose status was 200.

    Args:
        error: The event's `error` object, or an envelope around it.
        request_id: The stream's request id, if its headers had one.
    """
    reading = _read_object(error if "error" in error else {"error": error})
    return _build_error(
        _CLASS_BY_STATUS.get(_status_of(reading), UnknownStatusError),
        reading,
        status=None,
        request_id=request_id or reading.request_id,
    )


def unexpected_body_error(status: int, url: str, content_type: str, body: bytes) -> UnknownStatusError:
    """Say that a successful response is not one of the Messages API: usually a wrong port or base_url.

    Args:
        status: HTTP status, 2xx.
        url: Where the response came from.
        content_type: Its content type, maybe empty.
        body: The beginning of its body.
    """
    kind = content_type.partition(";")[0].strip() or "no content type"
    excerpt = _read_body(content_type, body).text
    return UnknownStatusError(
        f"{url} answered {status} with {kind} ({excerpt}) where a reply of the Messages API was expected. "
        "Check base_url: is this the right host and port?",
        status=status,
    )


def _build_error(
    error_class: type[APIError],
    reading: _Reading,
    *,
    status: int | None,
    request_id: str | None,
    retry_after: float | None = None,
    should_retry: bool | None = None,
) -> APIError:
    is_spend_cap = reading.error_code in SPEND_CAP_CODES
    label = " ".join(str(part) for part in (status, reading.error_type) if part)
    sentences = [f"{_title_of(error_class)} ({label or 'error event'}): {_as_sentence(reading.text)}"]
    if retry_after is not None:
        sentences.append(f"The server asks to wait {describe_seconds(retry_after)}.")
    sentences.append(_SPEND_CAP_HINT if is_spend_cap else _hint_for(error_class, status))
    return error_class(
        " ".join(sentence for sentence in sentences if sentence),
        status=status,
        error_type=reading.error_type,
        error_code=reading.error_code,
        should_retry=should_retry,
        is_transient=False if is_spend_cap else None,
        request_id=request_id,
        retry_after=retry_after,
    )


def _title_of(error_class: type[APIError]) -> str:
    return {
        InvalidRequestError: "Invalid request",
        InvalidApiKeyError: "API key not accepted",
        ForbiddenError: "Not allowed",
        NotFoundError: "Not found",
        RateLimitError: "Rate limited",
        ServerError: "Server error",
        OverloadedError: "Overloaded",
    }.get(error_class, "Unexpected answer")


def _hint_for(error_class: type[APIError], status: int | None) -> str:
    if status is not None and 300 <= status < 400:
        return _REDIRECT_HINT
    return error_class.hint or _HINT_BY_STATUS.get(status or 0, "")


def _status_of(reading: _Reading) -> int:
    """Return the status that an error inside a stream stands for (claude-api: by its type), 0 if unknown."""
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
        value = from_json(body)
    except ValueError:
        return _Reading(text=_read_text(content_type, body))
    if isinstance(value, Mapping):
        return _read_object(value)
    return _Reading(text=_shorten(str(value)))


def _read_object(value: Mapping[str, Any]) -> _Reading:
    """Read `{"error": {…}}` (also OpenAI's), `{"error": "…"}`, `{"detail": …}` or `{"message": …}`."""
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
    return _shorten(text if isinstance(text, str) and text.strip() else str(text or dict(whole)))


def _string(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _read_text(content_type: str, body: bytes) -> str:
    text = body[:_MAX_PAGE_BYTES].decode("utf-8", "replace")
    if "html" not in content_type.lower() and not text.lstrip().startswith("<"):
        return _shorten(text)
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title and title[1].strip():
        return f"a web page titled “{_shorten(html.unescape(title[1]), 100)}”"
    visible = re.sub(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return f"a web page: “{_shorten(html.unescape(visible), 100)}”"


def _shorten(text: str, limit: int = _MAX_TEXT) -> str:
    """Put text on one line and cut it, so that a page pasted into an error stays readable."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: limit * 4]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…", "”")) else f"{text}."
