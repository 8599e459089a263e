"""Keeps to the limits that a server tells of, for each class of models by itself: what was learnt of them, and the gate before them.

The bucket (`_rate_limit`) bounds all requests together, at the configured rate; what is learnt here can only make them slower.
Limits are told in the headers of responses, and a server that tells none changes nothing.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypedDict

from pydantic import TypeAdapter

from ._need import Expectation, Need
from ._rate_limit import Hold, LimiterReason
from ._server_limits import MINUTE, MirroredLimit, ServerLimit, read_limits

if TYPE_CHECKING:
    from ._messages import Usage


@dataclass(frozen=True, slots=True)
class WaitReason:
    """Why a request is not let through at once.

    Attributes:
        reason: The limit that is used up, or "paused" after a 429.
        seconds: For how long, if nothing unforeseen happens.
    """

    reason: LimiterReason
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedLimit:
    """One limit of the server as it is kept to.

    Attributes:
        kind: "requests", "input tokens", "output tokens" or "tokens".
        per_minute: The most in a minute, as the server said.
        level: What is left by the mirror, with what is under way taken off; may be below 0.
    """

    kind: LimiterReason
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


@dataclass(slots=True, eq=False)
class Learnt:
    """What a server's responses have taught of one class of models: all that goes on after the code was reloaded.

    Attributes:
        limits: The mirrors of its limits. Replaced, and never changed, so that any thread may read it.
        received_at: When the server's last word came.
        hold: The pause after a 429.
        expectation: What the next answer takes.
    """

    limits: dict[LimiterReason, MirroredLimit] = field(default_factory=dict)
    received_at: float = -math.inf
    hold: Hold = field(default_factory=Hold)
    expectation: Expectation = field(default_factory=Expectation)


# What a server's responses have taught about its limits for one class of models. No I/O, and nobody waits here.
#
# The server has a bucket for requests, one for input tokens and one for output tokens, which refill all the time. Each response
# says what was left in them; between two responses each is mirrored here, at the rate that its limit says. A request that has
# been sent is *in flight* until the server's word includes it: requests and input count from the response's headers on, output
# when the answer is complete. What is in flight is held against the mirror, so that it is no fuller than the bucket at the
# server as long as nobody else draws on that.
#
# Responses overtake each other. The word of one that was sent before another which has already spoken is not listened to.
MEMORY: Final = 2 * MINUTE
"""Seconds for which the server's last word counts."""

_GRAIN: Final = 1e-6
"""Seconds that are not worth waiting."""

_REQUESTS: Final = "requests"
_INPUT: Final = "input tokens"
_OUTPUT: Final = "output tokens"
_TOKENS: Final = "tokens"
_KINDS: Final[tuple[LimiterReason, ...]] = (_REQUESTS, _INPUT, _OUTPUT, _TOKENS)
"""The limits that are kept to. Those of the priority tier and of the fast mode are extras, and only shown."""


@dataclass(slots=True, eq=False)
class Admission:
    """A request that was let through, until its answer has ended."""

    need: Need
    number: int
    admitted_at: float
    is_counted: bool = False
    """The server has answered, so that its buckets have paid for the request and its input."""
    is_paid: bool = False
    """The request itself was taken from its mirror when it was sent."""

    def is_stale(self, now: float) -> bool:
        """Whether what it took has flowed in again since. A stream that nobody reads any more never ends otherwise."""
        return now - self.admitted_at > MINUTE


_OTHERS_MEMORY: Final = 15.0
"""Seconds for which it counts what another process said that it has under way."""
_LONG_AGO: Final = 1e6


class Lesson(TypedDict):
    """What a process tells others of one class of models. Moments are seconds from now; in the past they are below 0."""

    limits: dict[LimiterReason, dict[str, Any]]
    under_way: dict[str, float]
    waiting: int
    held: float
    asked: float


class LearntLimits:
    """What is known of a server's limits, and what is under way to it."""

    def __init__(self, learnt: Learnt | None = None) -> None:
        self.learnt = learnt or Learnt()
        self._under_way: dict[int, Admission] = {}
        self._numbers = itertools.count(1)
        self._last_speaker = 0
        self._others: dict[str, tuple[float, Lesson]] = {}

    def is_known(self, now: float) -> bool:
        """Whether the server has told its limits lately."""
        return bool(self.learnt.limits) and now - self.learnt.received_at <= MEMORY

    def wait_reason(self, need: Need, now: float) -> WaitReason | None:
        """Return what stands in the way of a request that nobody is before; None if nothing does."""
        return self.or_held(self.forecast(now).add(need), now)

    def forecast(self, now: float) -> Forecast:
        """Return what tells, one after the other, how long requests in line would wait."""
        mirrors = self.learnt.limits if self.is_known(now) else {}
        wanted = {kind: self._unpaid(kind, now) for kind in mirrors}
        return Forecast(mirrors, wanted, self._amount, now, crowd=1 + self._others_waiting(now))

    def let_through(self, need: Need, now: float) -> Admission:
        """Note that a request is being sent."""
        while self._under_way and (oldest := next(iter(self._under_way.values()))).is_stale(now):
            del self._under_way[oldest.number]
        admission = Admission(need, next(self._numbers), now)
        self._under_way[admission.number] = admission
        mirror = self.learnt.limits.get(_REQUESTS)
        if mirror is not None and mirror.is_small:
            # It counts there when it arrives, not when its answer begins: what flows in until then is not lost.
            mirror.take(1.0, now)
            admission.is_paid = True
        return admission

    def hear(self, admission: Admission, headers: Mapping[str, str], now: float, *, is_refusal: bool) -> None:
        """Take the word of a response; names of headers are in lower case.

        Args:
            admission: What was answered.
            headers: The response's headers.
            now: The present.
            is_refusal: It is a 429: the server did not take the request.
        """
        admission.is_counted = True
        was_known = self.is_known(now)
        if is_refusal:
            self.withdraw(admission)
        if admission.number < self._last_speaker and was_known:
            if not is_refusal:
                self._pay_for(admission, now)
            return
        if not (told := _limits_to_keep(read_limits(headers))):
            return
        if not was_known:
            self.learnt.limits = {}
        self._last_speaker, self.learnt.received_at = admission.number, now
        taken = None if is_refusal else admission
        self.learnt.limits = {kind: self._heard(kind, limit, taken, now) for kind, limit in told.items()}
        if is_refusal:
            self._learn_from_refusal(admission, now)

    def finish(self, admission: Admission, usage: Usage | None, now: float) -> None:
        """Note that a request has ended.

        Args:
            admission: Which one.
            usage: What its complete answer took; None where there is none, and what was expected stands.
            now: The present.
        """
        if self._under_way.pop(admission.number, None) is None:
            return
        if not admission.is_counted:
            self._pay_for(admission, now)
        limits = self.learnt.limits
        if _OUTPUT in limits:
            output = self._amount(_OUTPUT, admission.need) if usage is None else usage.output_tokens
            limits[_OUTPUT].take(output, now)
        if usage is not None and limits:
            self.learnt.expectation.learn(admission.need, usage)

    def or_held(self, wait_reason: WaitReason | None, now: float) -> WaitReason | None:
        """Return the longer of a wait and the hold."""
        held_for = self.learnt.hold.left(now)
        if held_for and (wait_reason is None or wait_reason.seconds <= held_for):
            return WaitReason("paused", held_for)
        return wait_reason

    # What processes tell each other that share a limiter...

    def lesson(self, now: float, *, waiting: int) -> Lesson:
        """Return what others should know: the server's last word, and what is under way here."""
        limits = self.learnt.limits
        return {
            "limits": {
                kind: asdict(mirror)
                | {
                    "level": mirror.level_at(now),
                    "at": 0.0,
                    "slowed_at": max(-_LONG_AGO, mirror.slowed_at - now),
                }
                for kind, mirror in (limits if self.is_known(now) else {}).items()
            },
            # With those that are paid: the others have no mirror from which these were taken.
            "under_way": {kind: self._unpaid_here(kind, now, is_for_others=True) for kind in limits},
            "waiting": waiting,
            "held": self.learnt.hold.left(now),
            "asked": self.learnt.hold.asked_left(now),
        }

    def learn_from_other(self, name: str, lesson: Lesson, now: float, *, age: float) -> None:
        """Take the word that the server has given to another process, which counts what all have taken."""
        then = now - age
        self._others[name] = (then, lesson)
        if lesson["limits"] and then > self.learnt.received_at:
            self.learnt.received_at = then
            self.learnt.limits = {
                kind: MirroredLimit(**{**limit, "at": then, "slowed_at": then + limit["slowed_at"]})
                for kind, limit in lesson["limits"].items()
            }
            for admission in self._under_way.values():
                admission.is_paid = False  # not from these mirrors
        if lesson["held"] > age:
            self.learnt.hold.extend(lesson["held"] - age, now, asked=lesson["asked"] - age)

    def forget_others(self) -> None:
        """Forget what others have under way."""
        self._others.clear()

    def _recent_lessons(self, now: float) -> list[Lesson]:
        return [lesson for at, lesson in tuple(self._others.values()) if now - at < _OTHERS_MEMORY]

    def _others_waiting(self, now: float) -> int:
        """How many processes wait as well: all of them see the same drop fall into an empty bucket."""
        return sum(lesson["waiting"] > 0 for lesson in self._recent_lessons(now))

    def withdraw(self, admission: Admission) -> None:
        """Forget a request that the server never saw, or refused."""
        self._under_way.pop(admission.number, None)
        if admission.is_paid and _REQUESTS in self.learnt.limits:
            self.learnt.limits[_REQUESTS].give_back(1.0)
            admission.is_paid = False

    @property
    def under_way(self) -> int:
        """Requests that have been sent and not been answered to the end."""
        return len(self._under_way)

    def state(self, now: float) -> tuple[PacedLimit, ...]:
        """The limits at present. Any thread may ask."""
        if not self.is_known(now):
            return ()
        return tuple(
            PacedLimit(
                kind=kind,
                per_minute=mirror.per_minute,
                level=mirror.level_at(now) - self._unpaid(kind, now),
            )
            for kind, mirror in self.learnt.limits.items()
        )

    def _unpaid(self, kind: LimiterReason, now: float) -> float:
        """What is under way and not taken from the mirror yet, here and in processes that share the limiter."""
        elsewhere = sum(lesson["under_way"].get(kind, 0.0) for lesson in self._recent_lessons(now))
        return elsewhere + self._unpaid_here(kind, now)

    def _unpaid_here(self, kind: LimiterReason, now: float, *, is_for_others: bool = False) -> float:
        return sum(
            self._amount(kind, admission.need)
            for admission in tuple(self._under_way.values())
            if not admission.is_stale(now)
            and (kind == _OUTPUT or not admission.is_counted)
            and (is_for_others or kind != _REQUESTS or not admission.is_paid)
        )

    def _amount(self, kind: LimiterReason, need: Need) -> float:
        expectation = self.learnt.expectation
        match kind:
            case "requests":
                return 1.0
            case "input tokens":
                return expectation.input_tokens(need)
            case "output tokens":
                return expectation.output_tokens(need)
        return expectation.input_tokens(need) + expectation.output_tokens(need)

    def _pay_for(self, admission: Admission, now: float) -> None:
        """Take from the mirrors what a request took that no word includes."""
        for kind in (_INPUT, _TOKENS) if admission.is_paid else (_REQUESTS, _INPUT, _TOKENS):
            if kind in self.learnt.limits:
                self.learnt.limits[kind].take(self._amount(kind, admission.need), now)

    def _heard(
        self, kind: LimiterReason, told: ServerLimit, taken: Admission | None, now: float
    ) -> MirroredLimit:
        """Return the mirror of a limit after the server's word on it; `taken` is what the server has just let in."""
        per_minute = told.limit or 1  # never 0: see `_limits_to_keep`
        mirror = self.learnt.limits.get(kind) or MirroredLimit(
            per_minute=per_minute,
            is_rounded=kind != _REQUESTS,
            capacity=per_minute,
            level=per_minute,
            at=now,
        )
        is_paid = taken is None or kind == _OUTPUT or (kind == _REQUESTS and taken.is_paid)
        amount = 0.0 if taken is None or is_paid else self._amount(kind, taken.need)
        mirror.hear(per_minute, told.remaining, now, amount=amount)
        return mirror

    def _learn_from_refusal(self, admission: Admission, now: float) -> None:
        used_up = [
            kind
            for kind, mirror in self.learnt.limits.items()
            if self._unpaid(kind, now) + mirror.fitting(self._amount(kind, admission.need)) > mirror.told
        ]
        for kind in used_up:
            self.learnt.limits[kind].on_429(admission.admitted_at, now, is_used_up=True)
        if not used_up and _REQUESTS in self.learnt.limits:
            self.learnt.limits[_REQUESTS].on_429(admission.admitted_at, now, is_used_up=False)


class Forecast:
    """How long requests would wait that are served in the order in which they are added.

    Args:
        mirrors: The limits.
        wanted: What is wanted of each already.
        amount: How much of a limit a request is expected to take.
        now: The present.
        crowd: Processes that wait for the same limits, this one counted: each takes as much at the same time.
    """

    def __init__(
        self,
        mirrors: Mapping[LimiterReason, MirroredLimit],
        wanted: dict[LimiterReason, float],
        amount: Callable[[LimiterReason, Need], float],
        now: float,
        *,
        crowd: int = 1,
    ) -> None:
        self.made_at = now
        self._crowd = crowd
        self.knows_limits = bool(mirrors)
        self._mirrors = mirrors
        self._wanted = wanted
        self._amount = amount

    def add(self, need: Need) -> WaitReason | None:
        """Return what stands in the way of the next request, in seconds from the time of the forecast."""
        longest: WaitReason | None = None
        for kind, mirror in self._mirrors.items():
            self._wanted[kind] += mirror.fitting(self._crowd * mirror.fitting(self._amount(kind, need)))
            seconds = mirror.seconds_until(self._wanted[kind], self.made_at)
            if seconds > (_GRAIN if longest is None else longest.seconds):
                longest = WaitReason(kind, seconds)
        return longest


def _limits_to_keep(told: Sequence[ServerLimit]) -> dict[LimiterReason, ServerLimit]:
    """Choose the limits to keep to. One of 0, which would allow nothing, says nothing."""
    if not told:
        return {}
    by_kind = {limit.kind: limit for limit in told if limit.limit}
    keep: dict[LimiterReason, ServerLimit] = {kind: by_kind[kind] for kind in _KINDS if kind in by_kind}
    # "tokens" repeats the tightest of the two others, unless it is the limit of a workspace.
    others = {keep[kind].limit for kind in (_INPUT, _OUTPUT) if kind in keep}
    if _TOKENS in keep and keep[_TOKENS].limit in others:
        del keep[_TOKENS]
    return keep


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
    """The pace of one class of models. All methods belong to the loop's thread, but for `state`.

    Args:
        model_class: The class.
        clock: Monotonic clock in seconds.
        on_learnt: Called when something has been learnt that other processes should know.
        learnt: What was learnt before, if anything.
    """

    def __init__(
        self,
        model_class: str,
        clock: Callable[[], float],
        on_learnt: Callable[[], None],
        learnt: Learnt | None,
    ) -> None:
        self.clock = clock
        self._on_learnt = on_learnt
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
        patience = max(self._first_since, self.limits.learnt.hold.until) + PATIENCE - now
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
        """Hold the class back, see `Hold.extend`; return False if nothing is known of its limits."""
        now = self.clock()
        if not self.limits.is_known(now):
            return False
        self.limits.learnt.hold.extend(seconds, now, asked=asked)
        self.tell_others()
        return True

    def tell_others(self) -> None:
        """Tell processes that share the limiter of what has changed, if the server tells any limits."""
        if self.limits.is_known(self.clock()):
            self._on_learnt()

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
            held_for=self.limits.learnt.hold.left(now),
            asked_for=self.limits.learnt.hold.asked_left(now),
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
        return self.limits.or_held(wait_reason, now)


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

    def hold_others(self, seconds: float, *, asked: float = 0.0) -> bool:
        """Hold the class of models back; return False if the server tells no limits, and so knows no classes."""
        return self._pace.hold(seconds, asked=asked)

    def asked_for(self) -> float:
        """Return what is left of the wait that the server asked this class for; 0.0 if it is not held."""
        return self._pace.limits.learnt.hold.asked_left(self._pace.clock())

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
        self._clock = clock
        self.on_learnt: Callable[[str], None] = lambda _model_class: None
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
        self._class(model_class).limits.learn_from_other(name, lesson, self._clock(), age=age)

    def forget_others(self) -> None:
        """Forget what other processes have under way: they cannot be heard."""
        for each in self._classes.values():
            each.limits.forget_others()

    def _class(self, name: str, learnt: Learnt | None = None) -> ClassPace:
        if name not in self._classes:
            self._classes[name] = ClassPace(name, self._clock, lambda: self.on_learnt(name), learnt)
        return self._classes[name]

    @property
    def state(self) -> tuple[PaceState, ...]:
        """What holds for each class of models that was asked. Any thread may ask."""
        return tuple(each.state() for each in tuple(self._classes.values()))
