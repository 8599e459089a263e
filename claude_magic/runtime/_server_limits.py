"""What the server says about its own rate limits, as its last responses told."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..client import ResponseStarted, ServerLimit, parse_retry_after, read_limits

_KEPT_MODELS: Final = 20
_KEPT_REFUSALS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """The limits that hold for one model, as a response told.

    Attributes:
        model: The model. Models of one class share their limits.
        told_at: When the response came, by `time.time()`.
        limits: The limits it told of; empty where the server tells of none.
    """

    model: str
    told_at: float
    limits: tuple[ServerLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that the server refused because of its pace (429).

    Attributes:
        model: The model that was asked.
        at: When, by `time.time()`.
        retry_after: Seconds that it asked to wait, or None.
    """

    model: str
    at: float
    retry_after: float | None


class RateLimits:
    """Remembers the last word of the server on each model, and its last refusals. Any thread may use it.

    Args:
        clock: The time in seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_model: dict[str, ModelLimits] = {}
        self._refusals: deque[Refusal] = deque(maxlen=_KEPT_REFUSALS)

    def note(self, response: ResponseStarted, *, model: str) -> None:
        """Take note of a response to a request for a model."""
        now = self._clock()
        limits = read_limits(response.headers)
        with self._lock:
            if response.status == 429:
                wait = parse_retry_after(response.headers.get("retry-after", ""), now)
                self._refusals.append(Refusal(model=model, at=now, retry_after=wait))
            if limits:
                self._by_model.pop(model, None)
                self._by_model[model] = ModelLimits(model=model, told_at=now, limits=limits)
            while len(self._by_model) > _KEPT_MODELS:
                del self._by_model[next(iter(self._by_model))]

    def by_model(self) -> tuple[ModelLimits, ...]:
        """What was told of each model, the one told of last first."""
        with self._lock:
            return tuple(reversed(self._by_model.values()))

    def refusals(self) -> tuple[Refusal, ...]:
        """The last refusals, newest first."""
        with self._lock:
            return tuple(reversed(self._refusals))
