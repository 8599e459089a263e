"""The server's rate limits: reading them from headers, estimating the cost of requests, and tracking usage. No I/O."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, TypedDict

from ._rate_limit import LimiterReason, Pause, WaitReason

if TYPE_CHECKING:
    from ._messages import Usage
    from ._requests import MessageRequest

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
"""Header prefixes, and names of the limits. "tokens" is the limit that is closest to being used up."""

_HEADERS: Final = tuple(
    (kind, f"{name}-limit", f"{name}-remaining", f"{name}-reset") for name, kind in _KIND_BY_HEADER.items()
)
_HEADER_NAMES: Final = frozenset(name for _, *names in _HEADERS for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimit:
    """One limit as reported by the server. Values that are not reported are None.

    Attributes:
        kind: What is limited: "requests", "input tokens" ...
        limit: Maximum per minute.
        remaining: Remaining amount; for tokens, rounded to thousands.
        resets_at: Time at which the full amount is available again.
    """

    kind: str
    limit: int | None
    remaining: int | None
    resets_at: datetime | None

    def left(self, age: float) -> float | None:
        """Return the remaining amount after `age` seconds without further requests; None if not reported."""
        if not self.limit or self.remaining is None:
            return None
        return min(float(self.limit), self.remaining + self.limit * age / MINUTE)


def read_limits(headers: Mapping[str, str]) -> tuple[ServerLimit, ...]:
    """Return the limits in the headers of a response; header names are lower-case."""
    if _HEADER_NAMES.isdisjoint(headers):
        return ()
    limits: list[ServerLimit] = []
    for kind, limit_name, remaining_name, reset_name in _HEADERS:
        limit, remaining = _number(headers.get(limit_name)), _number(headers.get(remaining_name))
        if limit is not None or remaining is not None:
            resets_at = _moment(headers.get(reset_name))
            limits.append(ServerLimit(kind=kind, limit=limit, remaining=remaining, resets_at=resets_at))
    return tuple(limits)


def distinct_limits(reported: Sequence[ServerLimit]) -> list[ServerLimit]:
    """Omit "tokens" if it repeats the tightest of the input and output limits; otherwise it is the limit of a workspace."""
    others = {limit.limit for limit in reported if limit.kind in (_INPUT, _OUTPUT)}
    return [limit for limit in reported if limit.kind != _TOKENS or limit.limit not in others]


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def _moment(text: str | None) -> datetime | None:
    """Parse an RFC 3339 time; one without a zone is taken as UTC."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # OverflowError: the first or last day of the calendar
        return None


_DATE = re.compile(r"-(20\d{6}|latest)$", re.ASCII)
_GENERATION_4 = re.compile(r"(claude-(?:opus|sonnet|haiku))-4(?:-\d+)?", re.ASCII)
_FABLE_5 = re.compile(r"claude-(?:fable|mythos)-5(?:-\d+)?", re.ASCII)


@lru_cache(maxsize=256)
def model_class(model: str) -> str:
    """Return a name for the class of models that share rate limits with this one.

    The published rule of November 2026: all Opus 4 models share a limit, and so do all Sonnet 4 models and all Fable 5
    models; every other model has its own limit. The date of a snapshot makes no difference. An unknown model is given its own
    class; if that is wrong, the same limit is tracked twice.
    """
    name = _DATE.sub("", model)
    if fourth := _GENERATION_4.fullmatch(name):
        return f"{fourth[1]}-4"
    return "claude-fable-5" if _FABLE_5.fullmatch(name) else name


# A local model (mirror) of one limit of the server: a bucket that holds the amount for one minute and refills continuously.
#
# The server's values are rounded, and out of date when they arrive. The mirror is conservative: it ignores what was refilled
# in transit, assumes that tokens were rounded up, and the caller adds what is in flight and not yet counted by the server.
#
# A 429 means that the mirror's level was too high. If too little was left, another client uses the same limit, and the mirror
# assumes a smaller share of the refill. If enough was left, the server enforces the limit over spans shorter than a minute.
# Then the mirror assumes a smaller bucket with the same refill rate, and relies on its own count only, because the remaining
# amount for the whole minute does not help.
MINUTE: Final = 60.0
"""Seconds in which an empty bucket of the server fills up."""
_ROUNDING: Final = 500
"""Maximum rounding error of a number of tokens that is rounded to thousands."""


_SLOWER: Final = 0.9
_LEAST_SHARE: Final = 0.5
_RECOVERY: Final = 60.0
"""Seconds without a 429 after which the assumed share is raised again."""


@dataclass(slots=True, eq=False, kw_only=True)
class MirroredLimit:
    """A local model of a bucket at the server. All times are from the same clock.

    Attributes:
        per_minute: Refill per minute; above 0.
        is_rounded: The server rounds the remaining amount to thousands.
        capacity: Maximum level.
        level: Level at time `at`; see `level_at`.
        at: Time of `level`.
        share: Fraction of the refill that this client may use.
        slowed_at: Time of the last slow-down, or of the last increase of `share`.
        reported: Remaining amount for the whole minute as last reported by the server; the own count if not reported.
    """

    per_minute: float
    is_rounded: bool
    capacity: float
    level: float
    at: float
    share: float = 1.0
    slowed_at: float = -math.inf
    reported: float = 0.0

    @property
    def rate(self) -> float:
        """Refill per second that this client may use."""
        return self.per_minute / MINUTE * self.share

    def level_at(self, now: float) -> float:
        """Return the level; below 0 if more was taken than was available."""
        return min(self.capacity, self.level + max(0.0, now - self.at) * self.rate)

    def update(self, per_minute: float, remaining: float | None, now: float, *, amount: float) -> None:
        """Update the mirror from a response.

        Args:
            per_minute: Reported limit.
            remaining: Reported remaining amount; None if not reported.
            now: Current time.
            amount: Amount that the request used.
        """
        counted = self.level_at(now) - self.fitting(amount)
        if per_minute != self.per_minute:
            self.capacity = max(1.0, self.capacity * per_minute / self.per_minute)
            if per_minute < self.per_minute:
                # Requests that were sent under the old limit may be rejected, which must not slow the new one down.
                self.slowed_at = now
            self.per_minute = float(per_minute)
        if self.share < 1.0 and not self.is_small and now - self.slowed_at > _RECOVERY:
            self.share, self.slowed_at = min(1.0, self.share / _SLOWER), now
        if remaining is None:
            level = counted
        else:
            rounding = _ROUNDING if self.is_rounded and per_minute >= 1000 else 0
            level = remaining - rounding if remaining < per_minute else remaining
        self.reported = level
        self.level, self.at = min(level, counted if self.is_small else level, self.capacity), now

    def take(self, amount: float, now: float) -> None:
        """Subtract an amount that the server has counted."""
        self.level, self.at = self.level_at(now) - amount, now

    def give_back(self, amount: float) -> None:
        """Add back an amount that the server has not counted after all."""
        self.level += amount

    def on_429(self, sent_at: float, now: float, *, is_used_up: bool) -> None:
        """Slow down after a 429. Of several requests that were sent before the first 429, only one counts.

        Args:
            sent_at: Time at which the rejected request was sent.
            now: Current time.
            is_used_up: Too little was left according to the server. Otherwise it enforces the limit over spans shorter than a
                minute.
        """
        if sent_at <= self.slowed_at:
            return
        self.slowed_at = now
        if not is_used_up:
            self.capacity = max(1.0, min(self.capacity, self.per_minute / MINUTE) / 2)
            self.level, self.at = 0.0, now
        # A smaller bucket has the same refill rate. The share is reduced only if the bucket cannot become smaller, or if other
        # clients use the same limit.
        if is_used_up or self.capacity == 1.0:
            self.share = max(_LEAST_SHARE, self.share * _SLOWER)

    @property
    def is_small(self) -> bool:
        """Whether the bucket is known to hold less than the amount for one minute."""
        return self.capacity < self.per_minute

    def fitting(self, amount: float) -> float:
        """Return an amount limited to the capacity: a request for more waits only until the bucket is full."""
        return min(amount, self.capacity)

    def seconds_until(self, amount: float, now: float) -> float:
        """Return the seconds until the refill has covered an amount, which may exceed the capacity; 0.0 if it is available."""
        return max(0.0, (amount - self.level_at(now)) / self.rate)


# The expected tokens of a request, estimated from its text and from the usage of earlier replies.
FIRST_TOKENS_PER_BYTE: Final = 0.3
"""Initial value: English has about four characters per token, code and other languages fewer."""
_LEAST_TOKENS_PER_BYTE: Final = 0.01
_MOST_TOKENS_PER_BYTE: Final = 4.0

FIRST_OUTPUT_TOKENS: Final = 500
"""Initial value: about a page."""

_NEW_SHARE: Final = 0.3
"""Weight of the latest reply in the moving average."""

_IMAGE_TOKENS: Final = 1600
"""Tokens of an image of the usual size; they do not depend on its size in bytes."""
_DOCUMENT_BYTES_PER_TOKEN: Final = 30
"""For a PDF in base64: about 2,000 tokens for a page of 60 kB."""


@dataclass(frozen=True, slots=True)
class InputSize:
    """The size of a request's input.

    Attributes:
        text_bytes: Size of the text in UTF-8, including tool schemas.
        other_tokens: Estimated model tokens of images and documents.
    """

    text_bytes: int
    other_tokens: int


class Need:
    """The expected usage of one call. The input is measured once, and only if a limit makes that necessary."""

    def __init__(self, request: MessageRequest) -> None:
        self.model_class = model_class(request.model)
        self.max_tokens = request.max_tokens
        self._request = request

    @cached_property
    def input_size(self) -> InputSize:
        return measure_input(self._request.count_tokens_body())


@dataclass(slots=True)
class Expectation:
    """The expected usage of the next reply of one class of models, based on previous replies."""

    tokens_per_byte: float = FIRST_TOKENS_PER_BYTE
    tokens_of_answer: float = FIRST_OUTPUT_TOKENS

    def input_tokens(self, need: Need) -> float:
        """Return the expected input tokens that count towards the limit."""
        size = need.input_size
        return size.text_bytes * self.tokens_per_byte + size.other_tokens

    def output_tokens(self, need: Need) -> float:
        """Return the expected output tokens; `max_tokens` is only an upper bound, because the server does not reserve them."""
        return min(self.tokens_of_answer, need.max_tokens)

    def learn(self, need: Need, usage: Usage) -> None:
        """Update the averages with the usage of a complete reply. Input read from the prompt cache does not count."""
        counted = usage.input_tokens + (usage.cache_creation_input_tokens or 0)
        if usage.output_tokens > 0:
            self.tokens_of_answer += _NEW_SHARE * (usage.output_tokens - self.tokens_of_answer)
        size = need.input_size
        if counted <= 0 or size.text_bytes == 0:
            return
        seen = (counted - size.other_tokens) / size.text_bytes
        seen = min(max(seen, _LEAST_TOKENS_PER_BYTE), _MOST_TOKENS_PER_BYTE)
        # Raise at once, lower gradually: a low estimate costs a rejected request, a high estimate only a wait.
        change = seen - self.tokens_per_byte
        self.tokens_per_byte += change if change > 0 else _NEW_SHARE * change


def measure_input(body: Any) -> InputSize:
    """Return the size of a request's input."""
    if isinstance(body, str):
        return InputSize(len(body) if body.isascii() else len(body.encode("utf-8", "surrogatepass")), 0)
    if isinstance(body, Mapping):
        kind = body.get("type")
        if kind == "image":
            return InputSize(0, _IMAGE_TOKENS)
        if kind == "base64" and isinstance(data := body.get("data"), str):
            return InputSize(0, len(data) // _DOCUMENT_BYTES_PER_TOKEN)
        return _sum_of([*body.keys(), *body.values()])
    if isinstance(body, Sequence):
        return _sum_of(body)
    return InputSize(len(str(body)), 0)


def _sum_of(parts: Sequence[Any]) -> InputSize:
    sizes = [measure_input(part) for part in parts]
    return InputSize(sum(size.text_bytes for size in sizes), sum(size.other_tokens for size in sizes))


# The server's limits for one class of models, as tracked from its responses.
#
# The server has a bucket for requests, one for input tokens and one for output tokens, which refill continuously. Each response
# reports the remaining amounts; between two responses, each bucket is mirrored here at the refill rate of its limit. A request
# that has been sent is *in flight* until the server has counted it: requests and input are included in the response's headers,
# output is counted when the reply is complete. Amounts in flight are subtracted from the mirror, so its level is never above
# that of the server's bucket, unless another client uses the same limit.
#
# Responses may arrive out of order. The headers of a response are ignored if those of a later request were already read.
MEMORY: Final = 2 * MINUTE
"""Seconds for which the last reported limits are valid."""

_GRAIN: Final = 1e-6
"""Waits below this number of seconds are ignored."""

_REQUESTS: Final = "requests"
_INPUT: Final = "input tokens"
_OUTPUT: Final = "output tokens"
_TOKENS: Final = "tokens"
_KINDS: Final[tuple[LimiterReason, ...]] = (_REQUESTS, _INPUT, _OUTPUT, _TOKENS)
"""The limits that are enforced. Those of the priority tier and of the fast mode are additional, and only displayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedLimit:
    """One limit of the server that is enforced.

    Attributes:
        kind: "requests", "input tokens", "output tokens" or "tokens".
        per_minute: Maximum per minute, as reported by the server.
        level: Estimated remaining amount, minus what is in flight; may be below 0.
    """

    kind: LimiterReason
    per_minute: float
    level: float


@dataclass(slots=True, eq=False)
class TrackedState:
    """The state of one class of models, which is kept when the code is reloaded.

    Attributes:
        limits: Mirrors of the limits. The dict is replaced, never changed, so that any thread may read it.
        received_at: Time at which limits were last received.
        pause: Pause after a 429.
        expectation: Expected usage of the next reply.
    """

    limits: dict[LimiterReason, MirroredLimit] = field(default_factory=dict)
    received_at: float = -math.inf
    pause: Pause = field(default_factory=Pause)
    expectation: Expectation = field(default_factory=Expectation)


@dataclass(slots=True, eq=False)
class Admission:
    """A request in flight, from its grant until the reply has ended."""

    need: Need
    number: int
    admitted_at: float
    is_counted: bool = False
    """The response has started, so the server has counted the request and its input."""
    is_subtracted: bool = False
    """The request was already subtracted from the mirror of the request limit when it was sent."""

    def is_stale(self, now: float) -> bool:
        """Return whether the amount has been refilled since. Without this, an abandoned stream would count forever."""
        return now - self.admitted_at > MINUTE


_OTHERS_MEMORY: Final = 15.0
"""Seconds for which another process's amounts in flight are valid."""
_LONG_AGO: Final = 1e6


class SharedState(TypedDict):
    """The state of one class of models as sent to other processes. Times are in seconds relative to now."""

    limits: dict[LimiterReason, dict[str, Any]]
    in_flight: dict[str, float]
    waiting: int
    paused: float
    asked: float


class LimitTracker:
    """Tracks the limits of one class of models, and its requests in flight, here and in other processes."""

    def __init__(self, tracked: TrackedState | None = None) -> None:
        self.tracked = tracked or TrackedState()
        self._in_flight: dict[int, Admission] = {}
        self._numbers = itertools.count(1)
        self._last_number = 0
        self._others: dict[str, tuple[float, SharedState]] = {}

    def is_known(self, now: float) -> bool:
        """Return whether the server has reported limits recently."""
        return bool(self.tracked.limits) and now - self.tracked.received_at <= MEMORY

    def wait_reason(self, need: Need, now: float) -> WaitReason | None:
        """Return why the first request in line must wait; None if it need not."""
        return self.or_paused(self.forecast(now).add(need), now)

    def forecast(self, now: float) -> Forecast:
        """Return a forecast of the waits of requests in line."""
        mirrors = self.tracked.limits if self.is_known(now) else {}
        return Forecast(
            made_at=now,
            mirrors=mirrors,
            wanted={kind: self._pending(kind, now) for kind in mirrors},
            amount=self._amount,
            processes=1 + self._others_waiting(now),
        )

    def admit(self, need: Need, now: float) -> Admission:
        """Record that a request is being sent, and return its record in flight."""
        while self._in_flight and (oldest := next(iter(self._in_flight.values()))).is_stale(now):
            del self._in_flight[oldest.number]
        admission = Admission(need, next(self._numbers), now)
        self._in_flight[admission.number] = admission
        mirror = self.tracked.limits.get(_REQUESTS)
        if mirror is not None and mirror.is_small:
            # The server counts it on arrival, not when the response starts. So the refill until then is not lost.
            mirror.take(1.0, now)
            admission.is_subtracted = True
        return admission

    def update_from_headers(
        self, admission: Admission, headers: Mapping[str, str], now: float, *, is_429: bool
    ) -> None:
        """Update the limits from a response.

        Args:
            admission: The request.
            headers: Response headers with lower-case names.
            now: Current time.
            is_429: The response is a 429: the server rejected the request.
        """
        admission.is_counted = True
        was_known = self.is_known(now)
        if is_429:
            self.withdraw(admission)
        if admission.number < self._last_number and was_known:
            if not is_429:
                self._subtract(admission, now)
            return
        if not (reported := _limits_to_keep(read_limits(headers))):
            return
        if not was_known:
            self.tracked.limits = {}
        self._last_number, self.tracked.received_at = admission.number, now
        taken = None if is_429 else admission
        self.tracked.limits = {
            kind: self._updated_mirror(kind, limit, taken, now) for kind, limit in reported.items()
        }
        if is_429:
            self._slow_down(admission, now)

    def finish(self, admission: Admission, usage: Usage | None, now: float) -> None:
        """Record that a request has ended.

        Args:
            admission: The request.
            usage: Usage of the complete reply; None to count the expected usage.
            now: Current time.
        """
        if self._in_flight.pop(admission.number, None) is None:
            return
        if not admission.is_counted:
            self._subtract(admission, now)
        limits = self.tracked.limits
        if _OUTPUT in limits:
            output = self._amount(_OUTPUT, admission.need) if usage is None else usage.output_tokens
            limits[_OUTPUT].take(output, now)
        if usage is not None and limits:
            self.tracked.expectation.learn(admission.need, usage)

    def or_paused(self, wait_reason: WaitReason | None, now: float) -> WaitReason | None:
        """Return the longer of a wait and the remaining pause."""
        paused_for = self.tracked.pause.until - now
        if paused_for <= 0.0 or (wait_reason is not None and wait_reason.seconds > paused_for):
            return wait_reason
        return WaitReason("paused", paused_for)

    # Sharing state with processes that use the same limiter...

    def shared_state(self, now: float, *, waiting: int) -> SharedState:
        """Return the state for other processes: the limits as last reported, and the amounts in flight here."""
        limits = self.tracked.limits
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
            # Includes requests already subtracted here: the mirrors of other processes do not subtract them.
            "in_flight": {kind: self._pending_here(kind, now, is_for_others=True) for kind in limits},
            "waiting": waiting,
            "paused": self.tracked.pause.left(now),
            "asked": self.tracked.pause.asked_left(now),
        }

    def merge_state(self, name: str, state: SharedState, now: float, *, age: float) -> None:
        """Merge the state from another process. The server's values in it include the usage of all processes."""
        then = now - age
        self._others[name] = (then, state)
        if state["limits"] and then > self.tracked.received_at:
            self.tracked.received_at = then
            self.tracked.limits = {
                kind: MirroredLimit(**{**limit, "at": then, "slowed_at": then + limit["slowed_at"]})
                for kind, limit in state["limits"].items()
            }
            for admission in self._in_flight.values():
                admission.is_subtracted = False  # not subtracted from the new mirrors
        if state["paused"] > age:
            self.tracked.pause.extend(state["paused"] - age, now, asked=state["asked"] - age)

    def forget_others(self) -> None:
        """Discard the amounts that other processes have in flight."""
        self._others.clear()

    def _recent_states(self, now: float) -> list[SharedState]:
        return [state for at, state in tuple(self._others.values()) if now - at < _OTHERS_MEMORY]

    def _others_waiting(self, now: float) -> int:
        """Return the number of other processes that wait: all of them see the same refill of an empty bucket."""
        return sum(state["waiting"] > 0 for state in self._recent_states(now))

    def withdraw(self, admission: Admission) -> None:
        """Remove a request that never reached the server, or was rejected."""
        self._in_flight.pop(admission.number, None)
        if admission.is_subtracted and _REQUESTS in self.tracked.limits:
            self.tracked.limits[_REQUESTS].give_back(1.0)
            admission.is_subtracted = False

    @property
    def in_flight(self) -> int:
        """The number of requests in flight."""
        return len(self._in_flight)

    def state(self, now: float) -> tuple[PacedLimit, ...]:
        """Return the current limits. May be called from any thread."""
        if not self.is_known(now):
            return ()
        return tuple(
            PacedLimit(
                kind=kind,
                per_minute=mirror.per_minute,
                level=mirror.level_at(now) - self._pending(kind, now),
            )
            for kind, mirror in self.tracked.limits.items()
        )

    def _pending(self, kind: LimiterReason, now: float) -> float:
        """Return the amount in flight that is not yet subtracted from the mirror, here and in other processes."""
        elsewhere = sum(state["in_flight"].get(kind, 0.0) for state in self._recent_states(now))
        return elsewhere + self._pending_here(kind, now)

    def _pending_here(self, kind: LimiterReason, now: float, *, is_for_others: bool = False) -> float:
        return sum(
            self._amount(kind, admission.need)
            for admission in tuple(self._in_flight.values())
            if not admission.is_stale(now)
            and (kind == _OUTPUT or not admission.is_counted)
            and (is_for_others or kind != _REQUESTS or not admission.is_subtracted)
        )

    def _amount(self, kind: LimiterReason, need: Need) -> float:
        expectation = self.tracked.expectation
        match kind:
            case "requests":
                return 1.0
            case "input tokens":
                return expectation.input_tokens(need)
            case "output tokens":
                return expectation.output_tokens(need)
        return expectation.input_tokens(need) + expectation.output_tokens(need)

    def _subtract(self, admission: Admission, now: float) -> None:
        """Subtract a request from the mirrors, because the last reported limits do not include it."""
        for kind in (_INPUT, _TOKENS) if admission.is_subtracted else (_REQUESTS, _INPUT, _TOKENS):
            if kind in self.tracked.limits:
                self.tracked.limits[kind].take(self._amount(kind, admission.need), now)

    def _updated_mirror(
        self, kind: LimiterReason, reported: ServerLimit, taken: Admission | None, now: float
    ) -> MirroredLimit:
        """Return the updated mirror of a limit; `taken` is the request that the server has accepted, or None after a 429."""
        per_minute = reported.limit or 1  # never 0: see `_limits_to_keep`
        mirror = self.tracked.limits.get(kind) or MirroredLimit(
            per_minute=per_minute,
            is_rounded=kind != _REQUESTS,
            capacity=per_minute,
            level=per_minute,
            at=now,
        )
        is_subtracted = taken is None or kind == _OUTPUT or (kind == _REQUESTS and taken.is_subtracted)
        amount = 0.0 if taken is None or is_subtracted else self._amount(kind, taken.need)
        mirror.update(per_minute, reported.remaining, now, amount=amount)
        return mirror

    def _slow_down(self, admission: Admission, now: float) -> None:
        used_up = [
            kind
            for kind, mirror in self.tracked.limits.items()
            if self._pending(kind, now) + mirror.fitting(self._amount(kind, admission.need)) > mirror.reported
        ]
        for kind in used_up:
            self.tracked.limits[kind].on_429(admission.admitted_at, now, is_used_up=True)
        if not used_up and _REQUESTS in self.tracked.limits:
            self.tracked.limits[_REQUESTS].on_429(admission.admitted_at, now, is_used_up=False)


@dataclass(slots=True, eq=False, kw_only=True)
class Forecast:
    """A forecast of the waits of requests that are served in the order in which they are added.

    Attributes:
        made_at: Time of the forecast.
        mirrors: Mirrors of the limits; empty if they are not known.
        wanted: Amounts of each limit that are already in use.
        amount: Returns the expected amount of a limit that a request uses.
        processes: Number of processes that wait for the same limits, including this one. Each is assumed to use the same amount
            at the same time.
    """

    made_at: float
    mirrors: Mapping[LimiterReason, MirroredLimit]
    wanted: dict[LimiterReason, float]
    amount: Callable[[LimiterReason, Need], float]
    processes: int

    def add(self, need: Need) -> WaitReason | None:
        """Add the next request, and return why it must wait, from the time of the forecast; None if it need not."""
        longest: WaitReason | None = None
        for kind, mirror in self.mirrors.items():
            self.wanted[kind] += mirror.fitting(self.processes * mirror.fitting(self.amount(kind, need)))
            seconds = mirror.seconds_until(self.wanted[kind], self.made_at)
            if seconds > (_GRAIN if longest is None else longest.seconds):
                longest = WaitReason(kind, seconds)
        return longest


def _limits_to_keep(reported: Sequence[ServerLimit]) -> dict[LimiterReason, ServerLimit]:
    """Return the limits to enforce. A limit of 0, which would allow nothing, is ignored."""
    by_kind = {limit.kind: limit for limit in distinct_limits(reported) if limit.limit}
    return {kind: by_kind[kind] for kind in _KINDS if kind in by_kind}
