"""Keeps to the limits that a server tells of, for each class of models by itself.

The bucket (`_rate_limit`) bounds all requests together, at the configured rate; what is learnt here can only make them slower.
Limits are told in the headers of responses, and a server that tells none changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ._server_limits import MINUTE, ClassRecord, LearntLimits, Need, PaceState, WaitReason

if TYPE_CHECKING:
    from ._messages import Usage
    from ._server_limits import Admission, Forecast

# The gate before the server's limits for one class of models. The queue before it is the bucket's (`_rate_limit`).
#
# Nobody waits here for ever. After `PATIENCE`, in which every bucket of a minute's worth fills up whatever it held, the gate
# lets the first in line through: what is wrong about our picture of the server is then the server's to say, with a 429.
PATIENCE: Final = MINUTE
"""Seconds that the first in line waits at most, not counting a pause that a server asked for."""

_FORECAST_INTERVAL: Final = 0.5
"""Seconds between two looks along the line, in which hundreds may stand."""
_TOLERANCE: Final = 0.1
"""Share of a wait by which it may turn out longer or shorter without being reported again."""

OnWait = Callable[[WaitReason], None]


class ClassPace:
    """The pace of one class of models. All methods belong to the loop's thread, but for `state` and `dump`.

    Args:
        model_class: The class.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, model_class: str, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.limits = LearntLimits()
        self._model_class = model_class
        self._held_until = -math.inf
        self._asked_until = -math.inf
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
        wait_reason = self._held(self.limits.wait_reason(ticket.need, now), now)
        if wait_reason is None:
            return 0.0
        if self._first is not ticket:
            self._first, self._first_since = ticket, now
        patience = max(self._first_since, self._held_until) + PATIENCE - now
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

    def hold(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Hold the class back for `seconds` from now, unless nothing is known of its limits. The longest hold wins.

        Args:
            seconds: How long.
            asked: The wait that the server asked for, where that is longer.

        Returns:
            Whether it is held.
        """
        now = self.clock()
        if not self.limits.is_known(now):
            return False
        self._held_until = max(self._held_until, now + seconds)
        self._asked_until = max(self._asked_until, now + max(seconds, asked))
        return True

    def asked_for(self) -> float:
        """Return what is left of the wait that the server asked for, while the class is held. Any thread may ask."""
        now = self.clock()
        return max(self._asked_until, self._held_until) - now if now < self._held_until else 0.0

    def state(self) -> PaceState:
        """What holds at present. Any thread may ask."""
        now = self.clock()
        return PaceState(
            model_class=self._model_class,
            limits=self.limits.state(now),
            waiting=len(self._in_line),
            under_way=self.limits.under_way,
            held_for=max(0.0, self._held_until - now),
            asked_for=self.asked_for(),
        )

    def dump(self) -> ClassRecord:
        """Return what was learnt as plain numbers for `restore`, in this process, with the same clock."""
        return self.limits.dump(self.clock(), held_until=self._held_until, asked_until=self._asked_until)

    def restore(self, record: ClassRecord) -> None:
        """Go on with what was learnt before."""
        self._held_until = record["held_until"]
        self._asked_until = record.get("asked_until", -math.inf)
        self.limits.restore(record)

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
        return self._held(wait_reason, now)

    def _held(self, wait_reason: WaitReason | None, now: float) -> WaitReason | None:
        held_for = self._held_until - now
        if held_for <= 0 or (wait_reason is not None and wait_reason.seconds > held_for):
            return wait_reason
        return WaitReason("paused", held_for)


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

    def hold_others(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Hold the class of models back; return False if the server tells no limits, and so knows no classes."""
        return self._pace.hold(seconds, asked=asked)

    def asked_for(self) -> float:
        """Return what is left of the wait that the server asked this class for; 0.0 if it is not held."""
        return self._pace.asked_for()

    def finish(self, usage: Usage | None) -> None:
        """The attempt has ended; `usage` is what a complete answer took."""
        if self._admission is not None:
            self._pace.limits.finish(self._admission, usage, self._pace.clock())

    def withdraw(self) -> None:
        """The attempt never reached the server."""
        self._pace.leave(self)
        if self._admission is not None:
            self._pace.limits.withdraw(self._admission)


class ServerPace:
    """What one server allows. All methods belong to the loop's thread, but for `state` and `dump`.

    Args:
        clock: Monotonic clock in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._classes: dict[str, ClassPace] = {}

    def ticket(self, need: Need, on_wait: OnWait) -> Ticket:
        """Return the way of one attempt past the server's limits. The bucket asks it when to let the attempt through.

        Args:
            need: What the attempt needs.
            on_wait: Told why it is not let through, and again when that changes.
        """
        pace = self._classes.get(need.model_class)
        if pace is None:
            pace = self._classes[need.model_class] = ClassPace(need.model_class, self._clock)
        return Ticket(pace, need, on_wait)

    @property
    def state(self) -> tuple[PaceState, ...]:
        """What holds for each class of models that was asked. Any thread may ask."""
        return tuple(each.state() for each in tuple(self._classes.values()))

    def dump(self) -> dict[str, ClassRecord]:
        """Return what was learnt as plain numbers for `restore`, in this process, with the same clock."""
        return {name: each.dump() for name, each in tuple(self._classes.items())}

    def restore(self, dumped: Mapping[str, ClassRecord]) -> None:
        """Go on with what a previous pace for this server had learnt."""
        for name, record in dumped.items():
            self._classes[name] = ClassPace(name, self._clock)
            self._classes[name].restore(record)
