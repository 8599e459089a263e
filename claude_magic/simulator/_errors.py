"""Refusals, in the shape in which the API words them."""

from __future__ import annotations

from collections.abc import Mapping

from ._exchange import JSON

TYPE_OF_STATUS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

MESSAGE_OF_STATUS: Mapping[int, str] = {
    400: "The request was malformed.",
    401: "invalid x-api-key",
    402: "Your credit balance is too low to access the Claude API.",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not found",
    409: "The resource was changed by another request at the same time.",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your organization's rate limit of requests per minute.",
    500: "Internal server error",
    504: "The request took too long to process.",
    529: "Overloaded",
}


class APIError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        message: The text of the error.
        error_type: The error's type; by default the one that belongs to the status.
        details: Further data, such as a stable `error_code`.
        headers: Further headers of the response, such as `retry-after`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str | None = None,
        details: JSON | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type or error_type_of(status)
        self.details = details
        self.headers = dict(headers or {})


def error_type_of(status: int) -> str:
    """The error type that the API uses with a status; its neighbours' where it documents none."""
    return TYPE_OF_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def invalid(message: str) -> APIError:
    """A 400 with this text."""
    return APIError(400, message)


def error_envelope(fault: APIError, request_id: str | None) -> JSON:
    """The body of an error response."""
    error: JSON = {"type": fault.error_type, "message": fault.message}
    if fault.details is not None:
        error["details"] = fault.details
    return {"type": "error", "error": error, "request_id": request_id}
