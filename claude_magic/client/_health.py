"""Finds out, free of charge, whether a server can be used and accepts the key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ._errors import APIError, ClaudeError, ForbiddenError, InvalidApiKeyError
from ._port import Health

MODELS_PATH = "/v1/models"
COUNT_TOKENS_PATH = "/v1/messages/count_tokens"

_NOT_OFFERED = (404, 405, 501)
_REFUSED_AS_INVALID = (400, 422)


class Call(Protocol):
    """Sends one request and returns what `parse` makes of the reply's JSON."""

    def __call__(
        self, method: str, path: str, parse: Callable[[dict[str, Any]], None], body: bytes | None = None, /
    ) -> Awaitable[None]: ...


async def check_health(call: Call, *, clock: Callable[[], float]) -> Health:
    """Probe a server: its list of models first, and where it has none, a token count of nothing.

    Neither can be billed. Sending an empty body to `count_tokens` tells a refused key (401) from an invalid
    request (400).
    """
    started_at = clock()
    error = await _try(call, "GET", f"{MODELS_PATH}?limit=1", None)
    if _status_of(error) in _NOT_OFFERED:
        error = await _try(call, "POST", COUNT_TOKENS_PATH, b"{}")
        if _status_of(error) in (*_NOT_OFFERED, *_REFUSED_AS_INVALID):
            return Health(
                is_reachable=True,
                is_authenticated=None,
                latency=clock() - started_at,
                detail="The server answers. It has no list of models, so the key could not be checked.",
            )
    return _describe(error, clock() - started_at)


async def _try(call: Call, method: str, path: str, body: bytes | None) -> ClaudeError | None:
    try:
        await call(method, path, _ignore, body)
    except ClaudeError as error:
        return error.with_traceback(None)
    return None


def _status_of(error: ClaudeError | None) -> int | None:
    return error.status if isinstance(error, APIError) else None


def _ignore(reply: dict[str, Any]) -> None:
    """Any JSON object will do: servers differ in how they list their models."""


def _describe(error: ClaudeError | None, latency: float) -> Health:
    if error is None:
        detail = "The server answers and accepts the key."
        return Health(is_reachable=True, is_authenticated=True, latency=latency, detail=detail)
    is_refused = isinstance(error, InvalidApiKeyError | ForbiddenError)
    return Health(
        is_reachable=_status_of(error) not in (None, 200),  # a 200 here is a web page, or an error inside one
        is_authenticated=False if is_refused else None,
        latency=latency,
        detail=str(error),
    )
