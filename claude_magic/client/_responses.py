"""Makes sense of whole responses: error bodies, JSON where JSON was expected, and what is neither."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json, to_json

from ._error_reading import error_from_event, error_from_response, unexpected_body_error
from ._errors import APIError, NetworkError, StreamInterruptedError

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
        APIError: It is an error envelope in spite of its status, or not JSON at all (a wrong port, a web page).
        StreamInterruptedError: It is JSON that was cut.
    """
    return parse_object(response, await response.read_body())


def parse_object(response: WireResponse, body: bytes) -> dict[str, Any]:
    """Parse the body of a successful response; see `read_object`."""
    try:
        value = from_json(body)
    except ValueError:
        value = None
    if isinstance(value, dict):
        if value.get("type") == "error" or (isinstance(value.get("error"), dict) and "content" not in value):
            raise error_from_event(value, request_id_of(response.headers))
        return value
    content_type = response.headers.get("content-type", "")
    if "json" in content_type and body.lstrip().startswith(b"{"):
        raise StreamInterruptedError(
            f"The reply is not complete: its JSON breaks off after {len(body)} bytes. Send it again.",
            request_id=request_id_of(response.headers),
        )
    raise unexpected_body_error(response.status, response.url, content_type, response.redact(body[:65_536]))


def parse_reply(
    response: WireResponse, value: dict[str, Any], parse: Callable[[dict[str, Any]], _Result]
) -> _Result:
    """Turn a JSON object into what was asked for.

    Raises:
        UnknownStatusError: It is another kind of object, so the server is probably not one of the Messages API.
    """
    try:
        return parse(value)
    except (ValueError, KeyError, TypeError):
        body = to_json(value)[:65_536]
    raise unexpected_body_error(response.status, response.url, response.headers.get("content-type", ""), body)
