"""What the gauge shows at one moment: numbers, read from the runtime on any thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..client import BucketState, PaceState, ServerLimit, model_class
from ..render import describe_status
from ..runtime import ModelLimits, Refusal, Reply, Runtime

_MINUTE: Final = 60.0
_SHOWN_CLASSES: Final = 5
_SHOWN_WAITING: Final = 5
_SHOWN_REFUSALS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReading:
    """One limit of the server.

    Attributes:
        kind: What is limited: "requests", "input tokens" ...
        limit: The most in a minute.
        left: What the server said was left, and what has flowed in since.
    """

    kind: str
    limit: int
    left: float

    @property
    def full_in(self) -> float:
        """Seconds until all of it is there again; 0.0 if it is."""
        return (self.limit - self.left) * _MINUTE / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReading:
    """What the server said of one class of models.

    Attributes:
        name: The class.
        told_at: When it said so, in seconds since 1970.
        limits: Its limits.
        pace: What was learnt from that, or None if it is too old to count.
    """

    name: str
    told_at: float
    limits: tuple[LimitReading, ...]
    pace: PaceState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReading:
    """A reply that waits.

    Attributes:
        origin: Who asked: "In[4]", "panel" ...
        prompt: What was asked.
        reason: What it waits for, and how long.
    """

    origin: str
    prompt: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeReading:
    """All that the gauge shows.

    Attributes:
        limiter: The shared limiter of the kernel.
        classes: What the server said, the class told of last first.
        in_flight: How many replies have not ended.
        waiting: Those of them that wait, oldest first; the first few.
        more_waiting: How many wait besides.
        refusals: The last 429s, newest first.
    """

    limiter: BucketState
    classes: tuple[ClassReading, ...]
    in_flight: int
    waiting: tuple[WaitingReading, ...]
    more_waiting: int
    refusals: tuple[Refusal, ...]

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change until something is asked."""
        is_full = self.limiter.level >= self.limiter.capacity and not self.limiter.paused_for
        limits = (limit for each in self.classes for limit in each.limits)
        is_held = any(each.pace is not None and each.pace.held_for for each in self.classes)
        return is_full and not self.in_flight and not is_held and all(limit.full_in <= 0 for limit in limits)


def read_gauge(runtime: Runtime, *, now: float | None = None) -> GaugeReading:
    """Read what the gauge shows.

    Args:
        runtime: The kernel's runtime.
        now: The present in seconds since 1970, for tests.

    Raises:
        ConfigurationError: A setting in force cannot be used.
    """
    now = time.time() if now is None else now
    in_flight = runtime.in_flight()
    waiting = list(_waiting(in_flight))
    return GaugeReading(
        limiter=runtime.limiter_state(),
        classes=_classes(runtime, now),
        in_flight=len(in_flight),
        waiting=tuple(waiting[:_SHOWN_WAITING]),
        more_waiting=len(waiting[_SHOWN_WAITING:]),
        refusals=runtime.server_limits.refusals()[:_SHOWN_REFUSALS],
    )


def _classes(runtime: Runtime, now: float) -> tuple[ClassReading, ...]:
    paces = {pace.model_class: pace for pace in runtime.pace_state()}
    latest: dict[str, ModelLimits] = {}
    for told in runtime.server_limits.by_model():
        latest.setdefault(model_class(told.model), told)
    return tuple(
        ClassReading(
            name=name,
            told_at=told.told_at,
            limits=tuple(_limits(told.limits, max(0.0, now - told.told_at))),
            pace=paces.get(name),
        )
        for name, told in list(latest.items())[:_SHOWN_CLASSES]
    )


def _limits(told: tuple[ServerLimit, ...], age: float) -> Iterator[LimitReading]:
    others = {limit.limit for limit in told if limit.kind in ("input tokens", "output tokens")}
    for limit in told:
        if limit.kind == "tokens" and limit.limit in others:
            continue  # it repeats the tightest of the two
        if limit.limit and limit.remaining is not None:
            left = min(float(limit.limit), limit.remaining + limit.limit * age / _MINUTE)
            yield LimitReading(kind=limit.kind, limit=limit.limit, left=left)


def _waiting(replies: tuple[Reply, ...]) -> Iterator[WaitingReading]:
    for reply in replies:
        snapshot = reply.snapshot()
        if snapshot.wait is not None:
            reason = describe_status(snapshot, time.monotonic())
            yield WaitingReading(origin=reply.origin, prompt=reply.prompt, reason=reason)
