"""The limits of a server: as the headers of its responses tell them, and mirrored here between two responses. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

# One limit of a server as it looks from here: a bucket that holds a minute's worth and refills all the time.
#
# What the server says is old when it arrives, and rounded. The mirror errs on the safe side: what flowed in on the way is not
# counted, tokens are taken to be rounded up, and the caller names what is in flight and not counted by the server yet.
#
# A refusal says that the mirror was too full. Either nothing was left, because somebody else draws on the same limit; then less
# of what flows in is taken to be ours. Or there was enough: the server looks at shorter spans than a minute, and then the bucket
# is taken to be smaller, filled as fast, and by our own count only, for what the server says of the minute is no help.
MINUTE: Final = 60.0
"""Seconds in which a bucket of the server fills up, whatever it held."""
_ROUNDING: Final = 500
"""By how much a number of tokens that was rounded to thousands may be too high."""


_SLOWER: Final = 0.9
_LEAST_SHARE: Final = 0.5
_RECOVERY: Final = 60.0
"""Seconds without a refusal after which more is tried again."""


@dataclass(slots=True, eq=False, kw_only=True)
class MirroredLimit:
    """A bucket at the server, mirrored. All moments go by one clock.

    Attributes:
        per_minute: What flows in during a minute; above 0.
        is_rounded: The server rounds what it says is left to thousands.
        capacity: What it holds.
        level: What was in it at the moment `at`; see `level_at`.
        at: That moment.
        share: How much of what flows in is ours.
        slowed_at: When less was last taken to be ours, or more again.
        told: What was left by the server's last word, which speaks of a minute's worth; our own count where it did not say.
    """

    per_minute: float
    is_rounded: bool
    capacity: float
    level: float
    at: float
    share: float = 1.0
    slowed_at: float = -math.inf
    told: float = 0.0

    @property
    def rate(self) -> float:
        """What flows in per second, as far as it is ours."""
        return self.per_minute / MINUTE * self.share

    def level_at(self, now: float) -> float:
        """What is in the bucket; below 0 after more was taken than there was."""
        return min(self.capacity, self.level + max(0.0, now - self.at) * self.rate)

    def hear(self, per_minute: float, remaining: float | None, now: float, *, amount: float) -> None:
        """Take the server's word.

        Args:
            per_minute: The limit.
            remaining: What is left; None if the server did not say.
            now: The present.
            amount: What the request took whose response this is.
        """
        counted = self.level_at(now) - self.fitting(amount)
        if per_minute != self.per_minute:
            self.capacity = max(1.0, self.capacity * per_minute / self.per_minute)
            if per_minute < self.per_minute:
                # What was sent under the old limit may be refused, which says nothing about how the new one is kept.
                self.slowed_at = now
            self.per_minute = float(per_minute)
        if self.share < 1.0 and not self.is_small and now - self.slowed_at > _RECOVERY:
            self.share, self.slowed_at = min(1.0, self.share / _SLOWER), now
        if remaining is None:
            level = counted
        else:
            rounding = _ROUNDING if self.is_rounded and per_minute >= 1000 else 0
            level = remaining - rounding if remaining < per_minute else remaining
        self.told = level
        self.level, self.at = min(level, counted if self.is_small else level, self.capacity), now

    def take(self, amount: float, now: float) -> None:
        """Note that the server has counted this much."""
        self.level, self.at = self.level_at(now) - amount, now

    def give_back(self, amount: float) -> None:
        """Note that the server has not counted this much after all."""
        self.level += amount

    def on_429(self, sent_at: float, now: float, *, is_used_up: bool) -> None:
        """Learn from a refusal. Of several requests that were sent before the first was refused, one counts.

        Args:
            sent_at: When the refused request was sent.
            now: The present.
            is_used_up: By the server's word too little is left. Otherwise it must look at shorter spans than a minute.
        """
        if sent_at <= self.slowed_at:
            return
        self.slowed_at = now
        if not is_used_up:
            self.capacity = max(1.0, min(self.capacity, self.per_minute / MINUTE) / 2)
            self.level, self.at = 0.0, now
        # A smaller bucket is filled as fast. Only where it cannot be smaller, or others draw on it, is less of it ours.
        if is_used_up or self.capacity == 1.0:
            self.share = max(_LEAST_SHARE, self.share * _SLOWER)

    @property
    def is_small(self) -> bool:
        """Whether the bucket is known to hold less than a minute's worth."""
        return self.capacity < self.per_minute

    def fitting(self, amount: float) -> float:
        """Return as much of an amount as there can ever be: a request for more waits for a full bucket, and no longer."""
        return min(amount, self.capacity)

    def seconds_until(self, amount: float, now: float) -> float:
        """Return the seconds until this much has been there, all before it being taken; 0.0 if it is."""
        return max(0.0, (amount - self.level_at(now)) / self.rate)


_KIND_BY_HEADER: Final[Mapping[str, str]] = {
    "anthropic-ratelimit-requests": "requests",
    "anthropic-ratelimit-tokens": "tokens",
    "anthropic-ratelimit-input-tokens": "input tokens",
    "anthropic-ratelimit-output-tokens": "output tokens",
    "anthropic-priority-input-tokens": "priority input tokens",
    "anthropic-priority-output-tokens": "priority output tokens",
    "anthropic-fast-input-tokens": "fast input tokens",
    "anthropic-fast-output-tokens": "fast output tokens",
}
"""Names of limits as the headers spell them, and in words. "tokens" is the one that is nearest to being used up."""

_HEADERS: Final = tuple(
    (kind, f"{name}-limit", f"{name}-remaining", f"{name}-reset") for name, kind in _KIND_BY_HEADER.items()
)


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
    limits: list[ServerLimit] = []
    for kind, limit_name, remaining_name, reset_name in _HEADERS:
        limit, remaining = _number(headers.get(limit_name)), _number(headers.get(remaining_name))
        if limit is not None or remaining is not None:
            resets_at = _moment(headers.get(reset_name))
            limits.append(ServerLimit(kind=kind, limit=limit, remaining=remaining, resets_at=resets_at))
    return tuple(limits)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def _moment(text: str | None) -> datetime | None:
    """Read an RFC 3339 time; one without a zone is taken for UTC."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter on the first and last day of the calendar
        return None


_DATE = re.compile(r"-(20\d{6}|latest)$", re.ASCII)
_GENERATION_4 = re.compile(r"(claude-(?:opus|sonnet|haiku))-4(?:-\d+)?", re.ASCII)
_FABLE_5 = re.compile(r"claude-(?:fable|mythos)-5(?:-\d+)?", re.ASCII)


@lru_cache(maxsize=256)
def model_class(model: str) -> str:
    """Return a name for the models that share their limits with this one.

    The published rule of November 2026: all of Opus 4 share a limit, and so do all of Sonnet 4 and all of Fable 5; every
    other model has its own. A snapshot's date makes no difference. Of a model that is not known a class of its own is
    assumed, which at worst learns the same twice.
    """
    name = _DATE.sub("", model)
    if fourth := _GENERATION_4.fullmatch(name):
        return f"{fourth[1]}-4"
    return "claude-fable-5" if _FABLE_5.fullmatch(name) else name
