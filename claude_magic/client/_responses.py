"""Makes sense of whole responses: error bodies, JSON where JSON was expected, and what is neither."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import to_json

from ._error_reading import error_from_event, error_from_response, unexpected_body_error
from ._errors import APIError, ClaudeError, NetworkError, StreamInterruptedError
from ._json import decode_json

if TYPE_CHECKING:
    from ._transport import WireResponse

_Result = TypeVar("_Result")

_MAX_ERROR_BYTES = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
"""Seconds spent on the body of an error: its status says the most, and a dripping body must not hide it."""


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of a request; gateways call it `x-request-id`."""
    return headers.get("request-id") or headers.get("x-request-id")


async def read_error(response: WireResponse) -> APIError:
    """Read an error response and close it. A body that breaks off or drips is taken as far as it came."""
    parts: list[bytes] = []
    received_bytes = 0
    try:
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT):
            while received_bytes < _MAX_ERROR_BYTES and (chunk := await response.read_chunk()):
                parts.append(chunk)
                received_bytes += len(chunk)
    except (NetworkError, TimeoutError):
        pass
    finally:
        await response.aclose()
    return error_from_response(response.status, response.headers, response.redact(b"".join(parts)))


async def read_object(response: WireResponse) -> dict[str, Any]:
    """Read the JSON object that a successful response consists of, and close the response.

    Raises:
        APIError: It is an error envelope in spite of its status, or no JSON at all (a web page).
        StreamInterruptedError: It is JSON that was cut.
    """
    return parse_object(response, await response.read_body())


def parse_object(response: WireResponse, body: bytes) -> dict[str, Any]:
    """Parse the body of a successful response; see `read_object`."""
    body = response.redact(body)  # what is raised leads to this frame, and servers quote keys
    value = _object_in(body)
    if value is not None and not _is_error(value):
        return value
    raise _explain_refusal(response, body)


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = decode_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_error(value: Mapping[str, Any]) -> bool:
    return value.get("type") == "error" or (isinstance(value.get("error"), dict) and "content" not in value)


def _explain_refusal(response: WireResponse, body: bytes) -> ClaudeError:
    """Say what a body is that is not the object it should be."""
    request_id = request_id_of(response.headers)
    value = _object_in(body)
    if value is not None:
        return error_from_event(value, request_id)
    content_type = response.headers.get("content-type", "")
    if "json" in content_type and body.lstrip().startswith(b"{"):
        return StreamInterruptedError(
            f"The reply is not complete: its JSON breaks off after {len(body)} bytes. Send it again.",
            request_id=request_id,
        )
    return unexpected_body_error(response.status, response.url, content_type, body[:65_536])


def parse_reply(
    response: WireResponse, value: dict[str, Any], parse: Callable[[dict[str, Any]], _Result]
) -> _Result:
    """Turn a JSON object into what was asked for.

    Raises:
        UnknownStatusError: It is another kind of object, so the server is probably another one.
    """
    try:
        return parse(value)
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        body = to_json(value)[:65_536]
    raise unexpected_body_error(response.status, response.url, response.headers.get("content-type", ""), body)
