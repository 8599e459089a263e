"""Prompt caching: which part of a prompt was seen before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._exchange import JSON
from ._models import Model
from ._prefix import Item, total_tokens

SECONDS_OF_TTL = {"5m": 300.0, "1h": 3600.0}
MAX_ENTRIES = 20_000
LOOK_BACK = 20
"""How many items before a breakpoint are searched for an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """How a prompt's input tokens divide."""

    uncached: int
    read: int
    written_5m: int
    written_1h: int

    def usage(self) -> JSON:
        """The input side of `usage`."""
        return {
            "input_tokens": self.uncached,
            "cache_creation_input_tokens": self.written_5m + self.written_1h,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m,
                "ephemeral_1h_input_tokens": self.written_1h,
            },
        }


class PromptCache:
    """Entries by model and prefix, each with the time until which it lives.

    Args:
        clock: The time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, bytes], float] = {}

    def clear(self) -> None:
        """Forget every entry."""
        self._entries.clear()

    def use(self, items: list[Item], model: Model, automatic: JSON | None) -> CacheUse:
        """Read what is there, write what is asked for, and tell how the tokens divide.

        Args:
            items: The prompt.
            model: The model; each has entries of its own.
            automatic: The request's own `cache_control`, which marks the last item.
        """
        now = self._clock()
        self._forget_expired(now)
        marks = self._breakpoints(items, model, automatic)
        total = total_tokens(items)
        if not marks:
            return CacheUse(uncached=total, read=0, written_5m=0, written_1h=0)
        sums = _running_sums(items)
        found = self._longest_hit(items, model, marks, now)
        read = sums[found] if found is not None else 0
        written = {"5m": 0, "1h": 0}
        done = read
        for position, ttl in marks:
            if sums[position] > done:
                written[ttl] += sums[position] - done
                done = sums[position]
            self._entries[model.id, items[position].digest] = now + SECONDS_OF_TTL[ttl]
        return CacheUse(uncached=total - done, read=read, written_5m=written["5m"], written_1h=written["1h"])

    def _forget_expired(self, now: float) -> None:
        if len(self._entries) >= MAX_ENTRIES:
            alive = sorted((until, key) for key, until in self._entries.items() if until > now)
            self._entries = {key: until for until, key in alive[-MAX_ENTRIES // 2 :]}

    def _breakpoints(self, items: list[Item], model: Model, automatic: JSON | None) -> list[tuple[int, str]]:
        """Positions and lifetimes; a prefix below the model's minimum is silently not cached."""
        controls = {
            position: item.cache_control
            for position, item in enumerate(items)
            if item.cache_control is not None
        }
        if automatic is not None and items:
            controls.setdefault(len(items) - 1, automatic)
        sums = _running_sums(items)
        return [
            (position, control.get("ttl", "5m"))
            for position, control in sorted(controls.items())
            if sums[position] >= model.cache_minimum_tokens
        ]

    def _longest_hit(
        self, items: list[Item], model: Model, marks: list[tuple[int, str]], now: float
    ) -> int | None:
        for position, ttl in reversed(marks):
            for candidate in range(position, max(-1, position - LOOK_BACK), -1):
                key = (model.id, items[candidate].digest)
                if self._entries.get(key, 0.0) > now:
                    self._entries[key] = now + SECONDS_OF_TTL[ttl]
                    return candidate
        return None


def _running_sums(items: list[Item]) -> list[int]:
    sums: list[int] = []
    for item in items:
        sums.append((sums[-1] if sums else 0) + item.tokens)
    return sums
