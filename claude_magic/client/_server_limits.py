"""Reads what a server says about its own rate limits in the headers of a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_PREFIX: Final = "anthropic-"
_KINDS: Final[Mapping[str, str]] = {
    "ratelimit-requests": "requests",
    "ratelimit-tokens": "tokens",
    "ratelimit-input-tokens": "input tokens",
    "ratelimit-output-tokens": "output tokens",
    "priority-input-tokens": "priority input tokens",
    "priority-output-tokens": "priority output tokens",
    "fast-input-tokens": "fast input tokens",
    "fast-output-tokens": "fast output tokens",
}
"""Names of limits as the headers spell them, and in words. "tokens" is the one that is nearest to being used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimit:
    """One limit of the server. What it did not say is None.

    Attributes:
        kind: What is limited: "requests", "input tokens" ...
        limit: The most in a minute.
        remaining: What was left; of tokens, rounded to thousands.
        resets_at: When all of it is there again.
    """

    kind: str
    limit: int | None
    remaining: int | None
    resets_at: datetime | None


def read_limits(headers: Mapping[str, str]) -> tuple[ServerLimit, ...]:
    """Return the limits that the headers of a response tell of; names are in lower case."""
    limits = (_read_limit(headers, f"{_PREFIX}{name}", kind) for name, kind in _KINDS.items())
    return tuple(limit for limit in limits if limit is not None)


def _read_limit(headers: Mapping[str, str], name: str, kind: str) -> ServerLimit | None:
    limit, remaining = _number(headers.get(f"{name}-limit")), _number(headers.get(f"{name}-remaining"))
    if limit is None and remaining is None:
        return None
    return ServerLimit(
        kind=kind, limit=limit, remaining=remaining, resets_at=_moment(headers.get(f"{name}-reset"))
    )


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def _moment(text: str | None) -> datetime | None:
    """Read an RFC 3339 time; one without a zone is taken for UTC."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter on the first and last day of the calendar
        return None
