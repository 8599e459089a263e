"""The gate before the server's limits, for each class of models by itself; what it knows of them stands in `_server_limits`.

The bucket (`_rate_limit`) bounds all requests together, at the configured rate, and its queue is the only one; what is learnt can only
make them slower. Limits are told in the headers of responses, and a server that tells none changes nothing.

Nobody waits here for ever. After `PATIENCE`, in which every bucket of a minute's worth fills up whatever it held, the gate
lets the first in line through: what is wrong about our picture of the server is then the server's to say, with a 429.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from ._server_limits import (
    MINUTE,
    Admission,
    Forecast,
    Learnt,
    LearntLimits,
    Lesson,
    Need,
    PacedLimit,
    WaitReason,
)

if TYPE_CHECKING:
    from ._messages import Usage

PATIENCE: Final = MINUTE
"""Seconds that the first in line waits at most, not counting a pause that a server asked for."""

_FORECAST_INTERVAL: Final = 0.5
"""Seconds between two looks along the line, in which hundreds may stand."""
_TOLERANCE: Final = 0.1
"""Share of a wait by which it may turn out longer or shorter without being reported again."""

OnWait = Callable[[WaitReason], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceState:
    """What holds for one class of models at one moment.

    Attributes:
        model_class: The class.
        limits: The limits that are kept to; empty where the server told none lately.
        waiting: Requests in the line.
        under_way: Requests that have been sent and not been answered to the end.
        paused_for: Seconds for which a 429 holds the class back; 0.0 if none does.
        asked_for: Seconds that are left of the wait that the 429 asked for; may be more than `paused_for`.
    """

    model_class: str
    limits: tuple[PacedLimit, ...]
    waiting: int
    under_way: int
    paused_for: float
    asked_for: float = 0.0

    @property
    def requests_per_second(self) -> float | None:
        """The rate of requests that the server allows in the long run, or None if it did not say."""
        return next((limit.per_minute / 60 for limit in self.limits if limit.kind == "requests"), None)


class ClassPace:
    """The pace of one class of models. All methods belong to the loop's thread, but for `state`.

    Args:
        model_class: The class.
        server: The pace that it is part of.
        learnt: What was learnt before, if anything.
    """

    def __init__(self, model_class: str, server: ServerPace, learnt: Learnt | None) -> None:
        self.clock = server.clock
        self._server = server
        self.limits = LearntLimits(learnt)
        self._model_class = model_class
        self._in_line: dict[Ticket, None] = {}  # a set that keeps its order
        self._first: Ticket | None = None
        self._first_since = -math.inf
        self._forecast = self.limits.forecast(-math.inf)

    def join(self, ticket: Ticket) -> None:
        """Note that a request wants to be sent."""
        self._in_line[ticket] = None

    def leave(self, ticket: Ticket) -> None:
        """Note that it has been sent, or does not want to any more."""
        self._in_line.pop(ticket, None)
        if self._first is ticket:
            self._first = None

    def closed_for(self, ticket: Ticket) -> float:
        """Return the seconds until the first in line may be sent, 0.0 if it may now; tell all in line why they wait."""
        now = self.clock()
        wait_reason = self.limits.wait_reason(ticket.need, now)
        if wait_reason is None:
            return 0.0
        if self._first is not ticket:
            self._first, self._first_since = ticket, now
        patience = max(self._first_since, self.limits.learnt.pause.until) + PATIENCE - now
        if patience <= 0:
            return 0.0
        seconds = min(wait_reason.seconds, patience)
        ticket.tell(WaitReason(wait_reason.reason, seconds))
        self._look_along_line(now)
        return seconds

    def expect(self, ticket: Ticket) -> WaitReason | None:
        """Return what stands in the way of the one that has just joined the line, those before it counted."""
        now = self.clock()
        self._look_along_line(now)
        return self._foresee(ticket, now)

    def pause(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Pause the class back, see `Pause.extend`; return False if nothing is known of its limits."""
        now = self.clock()
        if not self.limits.is_known(now):
            return False
        self.limits.learnt.pause.extend(seconds, now, asked=asked)
        self.tell_others()
        return True

    def tell_others(self) -> None:
        """Tell processes that share the limiter of what has changed, if the server tells any limits."""
        on_learnt = self._server.on_learnt
        if on_learnt is not None and self.limits.is_known(self.clock()):
            on_learnt(self._model_class)

    def lesson(self) -> Lesson:
        """Return what processes should know that share the limiter."""
        return self.limits.lesson(self.clock(), waiting=len(self._in_line))

    def state(self) -> PaceState:
        """What holds at present. Any thread may ask."""
        now = self.clock()
        return PaceState(
            model_class=self._model_class,
            limits=self.limits.state(now),
            waiting=len(self._in_line),
            under_way=self.limits.under_way,
            paused_for=self.limits.learnt.pause.left(now),
            asked_for=self.limits.learnt.pause.asked_left(now),
        )

    def _look_along_line(self, now: float) -> None:
        """Tell those behind the first in line what has changed for them, if the forecast is old or knew no limits."""
        is_blind = not self._forecast.knows_limits and self.limits.is_known(now)
        if now - self._forecast.made_at < _FORECAST_INTERVAL and not is_blind:
            return
        self._forecast = self.limits.forecast(now)
        for ticket in tuple(self._in_line):
            wait_reason = self._foresee(ticket, now)
            if wait_reason is not None and ticket is not self._first:
                ticket.tell(wait_reason)

    def _foresee(self, ticket: Ticket, now: float) -> WaitReason | None:
        """Return what the forecast says of a ticket, which is added to it if it is not in it yet."""
        forecast = self._forecast
        if ticket.foreseen is None or ticket.foreseen[0] is not forecast:
            ticket.foreseen = (forecast, forecast.add(ticket.need))
        wait_reason = ticket.foreseen[1]
        if wait_reason is not None:
            wait_reason = WaitReason(wait_reason.reason, wait_reason.seconds - (now - forecast.made_at))
        return self.limits.or_paused(wait_reason, now)


class Ticket:
    """One attempt's way through the gate: it stands in line, `enter`s, and ends with `finish` or `withdraw`.

    Args:
        pace: The gate.
        need: What the attempt needs.
        on_wait: Told why it is not let through, and again when that changes.
    """

    __slots__ = ("_admission", "_on_wait", "_pace", "_reason", "_until", "foreseen", "need")

    def __init__(self, pace: ClassPace, need: Need, on_wait: OnWait) -> None:
        self.need = need
        self.foreseen: tuple[Forecast, WaitReason | None] | None = None
        self._pace = pace
        self._on_wait = on_wait
        self._admission: Admission | None = None
        self._reason: str | None = None
        self._until = 0.0
        pace.join(self)

    # For the bucket's queue...

    @property
    def group(self) -> object:
        """What is common to all that keep their order among themselves."""
        return self._pace

    def closed_for(self) -> float:
        """Return the seconds until it may enter, provided that it is the first of its group; 0.0 if it may now."""
        return self._pace.closed_for(self)

    def enter(self) -> None:
        """Be sent now."""
        self._pace.leave(self)
        self._admission = self._pace.limits.let_through(self.need, self._pace.clock())

    # For the attempt...

    def expect(self) -> WaitReason | None:
        """Return what it will have to wait for, those before it counted."""
        return self._pace.expect(self)

    def tell(self, wait_reason: WaitReason) -> None:
        """Say why it waits, if that is news."""
        until = self._pace.clock() + wait_reason.seconds
        tolerance = max(1.0, _TOLERANCE * wait_reason.seconds)
        if wait_reason.reason != self._reason or abs(until - self._until) > tolerance:
            self._reason, self._until = wait_reason.reason, until
            self._on_wait(wait_reason)

    def hear(self, headers: Mapping[str, str], *, is_refusal: bool) -> None:
        """Take the word of the response; names of headers are in lower case."""
        if self._admission is not None:
            self._pace.limits.hear(self._admission, headers, self._pace.clock(), is_refusal=is_refusal)
            self._pace.tell_others()

    def pause_others(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Pause the class of models back; return False if the server tells no limits, and so knows no classes."""
        return self._pace.pause(seconds, asked=asked)

    def asked_for(self) -> float:
        """Return what is left of the wait that the server asked this class for; 0.0 if it is not paused."""
        return self._pace.limits.learnt.pause.asked_left(self._pace.clock())

    def finish(self, usage: Usage | None) -> None:
        """The attempt has ended; `usage` is what a complete answer took."""
        if self._admission is not None:
            self._pace.limits.finish(self._admission, usage, self._pace.clock())
            self._pace.tell_others()

    def withdraw(self) -> None:
        """The attempt never reached the server."""
        self._pace.leave(self)
        if self._admission is not None:
            self._pace.limits.withdraw(self._admission)


class ServerPace:
    """What one server allows. All methods belong to the loop's thread, but for `state` and `dump`.

    Args:
        learnt: What a previous pace for this server had learnt (`dump`), in this process, by the same clock.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self, learnt: Mapping[str, Any] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.on_learnt: Callable[[str], None] | None = None
        """Told of a class of models when something has been learnt of it that other processes should know."""
        self._classes: dict[str, ClassPace] = {}
        if learnt:
            for name, each in TypeAdapter(dict[str, Learnt]).validate_python(learnt).items():
                self._class(name, each)

    def dump(self) -> dict[str, Any]:
        """Return what was learnt as plain data, which the classes of reloaded code can read."""
        return {name: asdict(each.limits.learnt) for name, each in tuple(self._classes.items())}

    def ticket(self, need: Need, on_wait: OnWait) -> Ticket:
        """Return the way of one attempt past the server's limits. The bucket asks it when to let the attempt through.

        Args:
            need: What the attempt needs.
            on_wait: Told why it is not let through, and again when that changes.
        """
        return Ticket(self._class(need.model_class), need, on_wait)

    def lesson(self, model_class: str) -> Lesson:
        """Return what processes should know of a class that share the limiter."""
        return self._class(model_class).lesson()

    def learn_from_other(self, model_class: str, name: str, lesson: Lesson, *, age: float = 0.0) -> None:
        """Take what another process has learnt.

        Args:
            model_class: The class it is about.
            name: The process.
            lesson: What it told.
            age: Seconds since it did.
        """
        self._class(model_class).limits.learn_from_other(name, lesson, self.clock(), age=age)

    def forget_others(self) -> None:
        """Forget what other processes have under way: they cannot be heard."""
        for each in self._classes.values():
            each.limits.forget_others()

    def _class(self, name: str, learnt: Learnt | None = None) -> ClassPace:
        if name not in self._classes:
            self._classes[name] = ClassPace(name, self, learnt)
        return self._classes[name]

    @property
    def state(self) -> tuple[PaceState, ...]:
        """What holds for each class of models that was asked. Any thread may ask."""
        return tuple(each.state() for each in tuple(self._classes.values()))
