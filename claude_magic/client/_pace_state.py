"""What the pace of a server looks like at one moment: frozen data for whoever shows it or hands it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ._mirrored_limit import LimitRecord
from ._observe import WaitReason


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a request is not let through at once.

    Attributes:
        reason: The limit that is used up, or "paused" after a 429.
        seconds: For how long, if nothing unforeseen happens.
    """

    reason: WaitReason
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedLimit:
    """One limit of the server as it is kept to.

    Attributes:
        kind: "requests", "input tokens", "output tokens" or "tokens".
        per_minute: The most in a minute, as the server said.
        level: What is left by the mirror, with what is under way taken off; may be below 0.
    """

    kind: WaitReason
    per_minute: float
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceState:
    """What holds for one class of models at one moment.

    Attributes:
        model_class: The class.
        limits: The limits that are kept to; empty where the server told none lately.
        waiting: Requests in the line.
        under_way: Requests that have been sent and not been answered to the end.
        held_for: Seconds for which a 429 holds the class back; 0.0 if none does.
        asked_for: Seconds that are left of the wait that the 429 asked for; may be more than `held_for`.
    """

    model_class: str
    limits: tuple[PacedLimit, ...]
    waiting: int
    under_way: int
    held_for: float
    asked_for: float = 0.0

    @property
    def requests_per_second(self) -> float | None:
        """The rate of requests that the server allows in the long run, or None if it did not say."""
        return next((limit.per_minute / 60 for limit in self.limits if limit.kind == "requests"), None)


class ClassRecord(TypedDict):
    """What was learnt of a class of models, as plain numbers."""

    limits: dict[str, LimitRecord]
    told_at: float
    held_until: float
    asked_until: NotRequired[float]
    tokens_per_byte: float
    tokens_of_answer: float
