"""Gates that keep requests within the server's limits, one for each class of models; the limits are in `_server_limits`.

The bucket in `_rate_limit` limits all requests together to the configured rate. Its queue is the only one; the gates can
only slow it down. The limits are read from response headers. A server that reports none changes nothing.

No request waits forever. After `PATIENCE`, the time in which a bucket for one minute fills up from empty, the gate opens
for the first request in line. If the client's estimate is wrong, the server responds with a 429.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from ._rate_limit import WaitReason
from ._server_limits import (
    MINUTE,
    Admission,
    Forecast,
    LimitTracker,
    Need,
    PacedLimit,
    SharedState,
    TrackedState,
)

if TYPE_CHECKING:
    from ._messages import Usage

PATIENCE: Final = MINUTE
"""Maximum wait of the first request in line, in seconds, excluding a pause requested by the server."""

_FORECAST_INTERVAL: Final = 0.5
"""Seconds between two forecasts for the whole line, which may contain hundreds of requests."""
_TOLERANCE: Final = 0.1
"""Fraction by which an expected wait may change without being reported again."""

OnWait = Callable[[WaitReason], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceState:
    """A snapshot of the limits and requests of one class of models.

    Attributes:
        model_class: Class of models.
        limits: Limits that are enforced; empty if the server has reported none recently.
        waiting: Number of requests in line.
        in_flight: Number of requests in flight.
        paused_for: Remaining seconds of the pause after a 429; 0.0 if there is none.
        asked_for: Remaining seconds of the wait that the 429 requested; may be more than `paused_for`.
    """

    model_class: str
    limits: tuple[PacedLimit, ...]
    waiting: int
    in_flight: int
    paused_for: float
    asked_for: float = 0.0

    @property
    def requests_per_second(self) -> float | None:
        """The sustained rate of requests that the server allows; None if not reported."""
        return next((limit.per_minute / 60 for limit in self.limits if limit.kind == "requests"), None)


class ClassPace:
    """The pace of one class of models. Methods must be called in the loop's thread, except `state`.

    Args:
        model_class: Class of models.
        server: Pace that this one is part of.
        tracked: State to restore, or None.
    """

    def __init__(self, model_class: str, server: ServerPace, tracked: TrackedState | None) -> None:
        self.clock = server.clock
        self._server = server
        self.limits = LimitTracker(tracked)
        self._model_class = model_class
        self._in_line: dict[Ticket, None] = {}  # a set that keeps its order
        self._first: Ticket | None = None
        self._first_since = -math.inf
        self._forecast = self.limits.forecast(-math.inf)

    def join(self, ticket: Ticket) -> None:
        """Add a request to the line."""
        self._in_line[ticket] = None

    def leave(self, ticket: Ticket) -> None:
        """Remove a request from the line, because it has been sent or cancelled."""
        self._in_line.pop(ticket, None)
        if self._first is ticket:
            self._first = None

    def wait_reason(self, ticket: Ticket) -> WaitReason | None:
        """Return why the first request in line must wait; None if it may be sent now."""
        now = self.clock()
        if (wait_reason := self.limits.wait_reason(ticket.need, now)) is None:
            return None
        first_since = self._first_since if self._first is ticket else now
        patience = max(first_since, self.limits.tracked.pause.until) + PATIENCE - now
        return WaitReason(wait_reason.reason, min(wait_reason.seconds, patience)) if patience > 0 else None

    def hold(self, ticket: Ticket, wait_reason: WaitReason) -> None:
        """Record which request is the first in line, and report to it and to all behind it why they wait."""
        now = self.clock()
        if self._first is not ticket:
            self._first, self._first_since = ticket, now
        ticket.report(wait_reason)
        self._refresh_forecast(now)

    def expect(self, ticket: Ticket) -> WaitReason | None:
        """Return the expected wait of a request that has just joined the line, and its reason; None without a wait."""
        now = self.clock()
        self._refresh_forecast(now)
        return self._expected_wait(ticket, now)

    def pause(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Pause the class (see `Pause.extend`). Return False, without a pause, if its limits are not known."""
        now = self.clock()
        if not self.limits.is_known(now):
            return False
        self.limits.tracked.pause.extend(seconds, now, asked=asked)
        self.publish()
        return True

    def publish(self) -> None:
        """Publish the state to processes that share the limiter, if the server reports limits."""
        on_change = self._server.on_change
        if on_change is not None and self.limits.is_known(self.clock()):
            on_change(self._model_class)

    def shared_state(self) -> SharedState:
        """Return the state for processes that share the limiter."""
        return self.limits.shared_state(self.clock(), waiting=len(self._in_line))

    def state(self) -> PaceState:
        """Return a snapshot. May be called from any thread."""
        now = self.clock()
        return PaceState(
            model_class=self._model_class,
            limits=self.limits.state(now),
            waiting=len(self._in_line),
            in_flight=self.limits.in_flight,
            paused_for=self.limits.tracked.pause.left(now),
            asked_for=self.limits.tracked.pause.asked_left(now),
        )

    def _refresh_forecast(self, now: float) -> None:
        """Renew the forecast if it is old or was made without limits, and report it to all but the first in line."""
        is_blind = not self._forecast.mirrors and self.limits.is_known(now)
        if now - self._forecast.made_at < _FORECAST_INTERVAL and not is_blind:
            return
        self._forecast = self.limits.forecast(now)
        for ticket in tuple(self._in_line):
            wait_reason = self._expected_wait(ticket, now)
            if wait_reason is not None and ticket is not self._first:
                ticket.report(wait_reason)

    def _expected_wait(self, ticket: Ticket, now: float) -> WaitReason | None:
        """Return the expected wait of a ticket. The ticket is added to the forecast if it is not part of it yet."""
        forecast = self._forecast
        if ticket.forecast is None or ticket.forecast[0] is not forecast:
            ticket.forecast = (forecast, forecast.add(ticket.need))
        wait_reason = ticket.forecast[1]
        if wait_reason is not None:
            wait_reason = WaitReason(wait_reason.reason, wait_reason.seconds - (now - forecast.made_at))
        return self.limits.or_paused(wait_reason, now)


@dataclass(slots=True, eq=False, repr=False)
class Ticket:
    """The place of an attempt in line: it waits, `enter`s, and ends with `finish` or `withdraw`.

    Attributes:
        group: Pace of the class of models. The order of its tickets is preserved.
        need: What the attempt uses of the limits.
        on_wait: Called with the reason for the wait, and again when that changes.
        forecast: The last forecast, and the wait in it.
    """

    group: ClassPace
    need: Need
    on_wait: OnWait
    forecast: tuple[Forecast, WaitReason | None] | None = None
    _admission: Admission | None = None
    _reason: str | None = None
    _until: float = 0.0

    def __post_init__(self) -> None:
        self.group.join(self)

    # For the bucket's queue...

    def wait_reason(self) -> WaitReason | None:
        """Return why the ticket must wait; None if it may enter now. It must be the first of its group."""
        return self.group.wait_reason(self)

    def hold(self, wait_reason: WaitReason) -> None:
        """Stay in line, as the first of the group, for this reason."""
        self.group.hold(self, wait_reason)

    def enter(self) -> None:
        """Leave the line, because the attempt is sent now."""
        self.group.leave(self)
        self._admission = self.group.limits.admit(self.need, self.group.clock())

    # For the attempt...

    def expect(self) -> WaitReason | None:
        """Return the attempt's expected wait, including requests ahead of it, and its reason; None without a wait."""
        return self.group.expect(self)

    def report(self, wait_reason: WaitReason) -> None:
        """Report the reason for the wait if it has changed."""
        until = self.group.clock() + wait_reason.seconds
        tolerance = max(1.0, _TOLERANCE * wait_reason.seconds)
        if wait_reason.reason != self._reason or abs(until - self._until) > tolerance:
            self._reason, self._until = wait_reason.reason, until
            self.on_wait(wait_reason)

    def update_from_headers(self, headers: Mapping[str, str], *, is_429: bool) -> None:
        """Update the limits from the response's headers; header names are lower-case."""
        if self._admission is not None:
            self.group.limits.update_from_headers(self._admission, headers, self.group.clock(), is_429=is_429)
            self.group.publish()

    def pause_others(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Pause the class of models. Return False, without a pause, if the server reports no limits for it."""
        return self.group.pause(seconds, asked=asked)

    def asked_for(self) -> float:
        """Return the remaining seconds of the wait that the server requested for the class; 0.0 if not paused."""
        return self.group.limits.tracked.pause.asked_left(self.group.clock())

    def finish(self, usage: Usage | None) -> None:
        """Record the end of the attempt; `usage` is that of a complete reply, or None."""
        if self._admission is not None:
            self.group.limits.finish(self._admission, usage, self.group.clock())
            self.group.publish()

    def withdraw(self) -> None:
        """Record that the attempt never reached the server."""
        self.group.leave(self)
        if self._admission is not None:
            self.group.limits.withdraw(self._admission)


class ServerPace:
    """The pace of requests to one server. Methods must be called in the loop's thread, except `state` and `dump`.

    Args:
        dumped: Result of `dump` of a previous pace for this server, in the same process and with the same clock, or None.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self, dumped: Mapping[str, Any] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.on_change: Callable[[str], None] | None = None
        """Called with a class of models when its state has changed, so that it can be sent to other processes."""
        self._classes: dict[str, ClassPace] = {}
        if dumped:
            for name, each in TypeAdapter(dict[str, TrackedState]).validate_python(dumped).items():
                self._class(name, each)

    def dump(self) -> dict[str, Any]:
        """Return the state as plain data, which the classes of reloaded code can read."""
        return {name: asdict(each.limits.tracked) for name, each in tuple(self._classes.items())}

    def ticket(self, need: Need, on_wait: OnWait) -> Ticket:
        """Return a ticket for one attempt, which serves as its gate in the bucket.

        Args:
            need: What the attempt uses of the limits.
            on_wait: Called with the reason for the wait, and again when that changes.
        """
        return Ticket(self._class(need.model_class), need, on_wait)

    def shared_state(self, model_class: str) -> SharedState:
        """Return the state of a class for processes that share the limiter."""
        return self._class(model_class).shared_state()

    def merge_state(self, model_class: str, name: str, state: SharedState, *, age: float = 0.0) -> None:
        """Merge the state from another process.

        Args:
            model_class: Class of models.
            name: Name of the process.
            state: State that the process sent.
            age: Age of the state in seconds.
        """
        self._class(model_class).limits.merge_state(name, state, self.clock(), age=age)

    def forget_others(self) -> None:
        """Discard the state of other processes, because the connection to them is lost."""
        for each in self._classes.values():
            each.limits.forget_others()

    def _class(self, name: str, tracked: TrackedState | None = None) -> ClassPace:
        if name not in self._classes:
            self._classes[name] = ClassPace(name, self, tracked)
        return self._classes[name]

    @property
    def state(self) -> tuple[PaceState, ...]:
        """A snapshot for each class of models that was used. May be read from any thread."""
        return tuple(each.state() for each in tuple(self._classes.values()))
