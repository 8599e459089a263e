"""Reads how long a server asks its clients to wait."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 1e9
"""Seconds, 30 years: whatever a server asks for beyond that is taken for this, so that it can be counted and told."""

_LONGEST_VALUE = 1000
"""Characters of a header's value that are looked at."""

_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)


def parse_retry_after(value: str, now: float) -> float | None:
    """Read the value of a `Retry-After` header (RFC 9110 §10.2.3).

    Args:
        value: Seconds, whole or decimal, or an HTTP date.
        now: The present as Unix time in seconds, by the same clock as the date.

    Returns:
        Seconds to wait from `now`, above zero and at most `LONGEST_RETRY_AFTER`. None where the value says nothing: zero, negative, a date that
        has passed, or not understood.
    """
    text = value.strip()
    if len(text) > _LONGEST_VALUE:
        return None
    if _DECIMAL.fullmatch(text):
        seconds = float(text)
    else:
        date = _parse_http_date(text)
        if date is None:
            return None
        seconds = date - now
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def retry_after_from_headers(headers: Mapping[str, str]) -> float | None:
    """Read the wait that response headers ask for.

    `retry-after-ms`, which the official clients understand too, is the more exact and goes first. A date is
    compared with the response's own `date`, so that a wrong local clock does no harm.

    Args:
        headers: Response headers with lower-case names.

    Returns:
        Seconds to wait, above zero and at most `LONGEST_RETRY_AFTER`, or None.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _DECIMAL.fullmatch(milliseconds) and float(milliseconds) > 0:
        return min(float(milliseconds) / 1000, LONGEST_RETRY_AFTER)
    value = headers.get("retry-after")
    if value is None:
        return None
    now = _parse_http_date(headers.get("date", ""))
    return parse_retry_after(value, time.time() if now is None else now)


def _parse_http_date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def describe_seconds(seconds: float) -> str:
    """Say a duration so that a person grasps it: `12 s`, `300 s (5 min)`, `86400 s (24 h)`."""
    if seconds >= LONGEST_RETRY_AFTER:
        return "30 years or more"
    exact = f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f} s"
    if seconds < 120:
        return exact
    if seconds < 7200:
        return f"{exact} ({seconds / 60:.0f} min)"
    if seconds < 172_800:
        return f"{exact} ({seconds / 3600:.0f} h)"
    return f"{exact} ({seconds / 86_400:.0f} days)"
