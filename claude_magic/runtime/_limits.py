"""What can delay a request, as read at one moment: the limiter, the server's reported limits, waiting replies, and the last 429s."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..client import (
    BucketState,
    PaceState,
    ResponseStarted,
    ServerLimit,
    distinct_limits,
    model_class,
    read_limits,
    retry_after_from_headers,
)
from ._progress import ReplySnapshot
from ._reply import Reply

_KEPT_MODELS: Final = 20
_KEPT_REFUSALS: Final = 20
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """The limits of one model, as reported by the headers of a response.

    Attributes:
        model: The model. Models of one class share their limits.
        received_at: Time of the response (`time.time()`).
        limits: The reported limits; empty if the server reports none.
    """

    model: str
    received_at: float
    limits: tuple[ServerLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that the server rejected with status 429.

    Attributes:
        model: The requested model.
        at: Time of the response (`time.time()`).
        retry_after: Seconds to wait according to the response's headers, or None.
    """

    model: str
    at: float
    retry_after: float | None


class RateLimits:
    """Remembers the last reported limits of each model and the last 429 responses. Any thread may use it.

    Args:
        clock: Returns the time in seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_model: dict[str, ModelLimits] = {}
        self._refusals: deque[Refusal] = deque(maxlen=_KEPT_REFUSALS)

    def on_response(self, response: ResponseStarted, *, model: str) -> None:
        """Record a response to a request for a model."""
        now = self._clock()
        limits = read_limits(response.headers)
        with self._lock:
            if response.status == 429:
                wait = retry_after_from_headers(response.headers)
                self._refusals.append(Refusal(model=model, at=now, retry_after=wait))
            if limits:
                self._by_model.pop(model, None)
                self._by_model[model] = ModelLimits(model=model, received_at=now, limits=limits)
            while len(self._by_model) > _KEPT_MODELS:
                del self._by_model[next(iter(self._by_model))]

    def by_model(self) -> tuple[ModelLimits, ...]:
        """Return the limits of each model, the most recently reported first."""
        with self._lock:
            return tuple(reversed(self._by_model.values()))

    def refusals(self) -> tuple[Refusal, ...]:
        """Return the last responses with status 429, newest first."""
        with self._lock:
            return tuple(reversed(self._refusals))


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReading:
    """A limit of the server.

    Attributes:
        kind: The limited quantity: "requests", "input tokens" ...
        limit: Maximum per minute; None if not reported.
        left: Remaining amount as reported by the server, plus the refill since then; None if not known.
        resets_in: Seconds until the limit is full again as reported by the server, or None.
    """

    kind: str
    limit: int | None
    left: float | None
    resets_in: float | None = None

    @property
    def full_in(self) -> float | None:
        """Seconds until the limit is full again, by its refill: 0.0 if it is, None if not known."""
        if self.limit and self.left is not None:
            return max(0.0, (self.limit - self.left) * _MINUTE / self.limit)
        return self.resets_in


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReading:
    """The limits of one model class.

    Attributes:
        name: The model class.
        received_at: Time of the server's last report to this kernel, in seconds since 1970; None if there is none.
        limits: The reported limits.
        pace: The pace derived from them, or learnt by another process; None if they are out of date.
    """

    name: str
    received_at: float | None = None
    limits: tuple[LimitReading, ...] = ()
    pace: PaceState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReading:
    """A reply that waits.

    Attributes:
        origin: The origin of the question: "In[4]", "panel" ...
        prompt: The prompt.
        snapshot: The reply, with the reason and duration of the wait.
    """

    origin: str
    prompt: str
    snapshot: ReplySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeReading:
    """The values that the gauge and `%claude limits` show.

    Attributes:
        at: Time of the reading, in seconds since 1970.
        limiter: The state of the kernel's shared limiter.
        classes: The limits per model class: those that the server reported to this kernel first, most recently reported first.
        in_flight: Number of replies in flight.
        waiting: The waiting replies, oldest first.
        refusals: The last 429s, newest first.
    """

    at: float
    limiter: BucketState
    classes: tuple[ClassReading, ...] = ()
    in_flight: int = 0
    waiting: tuple[WaitingReading, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether nothing will change before the next request."""
        is_full = self.limiter.level >= self.limiter.capacity and not self.limiter.paused_for
        limits = (limit for each in self.classes for limit in each.limits)
        is_held = any(each.pace is not None and each.pace.paused_for for each in self.classes)
        return is_full and not self.in_flight and not is_held and not any(limit.full_in for limit in limits)


def read_gauge(
    limiter: BucketState,
    paces: Sequence[PaceState],
    reported: RateLimits,
    in_flight: Sequence[Reply],
    *,
    now: float,
) -> GaugeReading:
    """Return everything that can delay a request.

    Args:
        limiter: The shared limiter.
        paces: The pace of each model class, as learnt from the server.
        reported: The limits and 429s of the server.
        in_flight: The replies in flight, oldest first.
        now: The current time in seconds since 1970.
    """
    snapshots = [(reply, reply.snapshot()) for reply in in_flight]
    return GaugeReading(
        at=now,
        limiter=limiter,
        classes=tuple(_read_classes(paces, reported, now)),
        in_flight=len(in_flight),
        waiting=tuple(
            WaitingReading(origin=reply.origin, prompt=reply.prompt, snapshot=snapshot)
            for reply, snapshot in snapshots
            if snapshot.wait is not None and not snapshot.phase.is_final
        ),
        refusals=reported.refusals(),
    )


def _read_classes(paces: Sequence[PaceState], reported: RateLimits, now: float) -> Iterator[ClassReading]:
    by_class = {pace.model_class: pace for pace in paces if pace.limits or pace.paused_for}
    latest: dict[str, ModelLimits] = {}
    for each in reported.by_model():
        latest.setdefault(model_class(each.model), each)
    for name, each in latest.items():
        limits = tuple(_read_limit(limit, each.received_at, now) for limit in distinct_limits(each.limits))
        yield ClassReading(
            name=name, received_at=each.received_at, limits=limits, pace=by_class.pop(name, None)
        )
    for name, pace in by_class.items():
        yield ClassReading(name=name, pace=pace)


def _read_limit(reported: ServerLimit, received_at: float, now: float) -> LimitReading:
    age = max(0.0, now - received_at)
    left = reported.left(age)
    if left is None and age < _MINUTE:
        # Without a limit, the refill is not known; after a minute, nothing of the report is left.
        left = reported.remaining
    resets_in = None if reported.resets_at is None else max(0.0, reported.resets_at.timestamp() - now)
    return LimitReading(kind=reported.kind, limit=reported.limit, left=left, resets_in=resets_in)
