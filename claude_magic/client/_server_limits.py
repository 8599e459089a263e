"""The limits of a server: as its responses tell them, what a request takes of them, and what was learnt. No I/O, and nobody waits here."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, TypedDict

from ._rate_limit import LimiterReason, Pause

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
"""Names of limits as the headers spell them, and in words. "tokens" is the one that is nearest to being used up."""

_HEADERS: Final = tuple(
    (kind, f"{name}-limit", f"{name}-remaining", f"{name}-reset") for name, kind in _KIND_BY_HEADER.items()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimit:
    """One limit of the server. What it did not say is None.

    Attributes:
        kind: What is limited: "requests", "input tokens" ...
        limit: The most in a minute.
        remaining: What was left; of tokens, rounded to thousands.
        resets_at: When all of it is there again.
    """

    kind: str
    limit: int | None
    remaining: int | None
    resets_at: datetime | None

    def left(self, age: float) -> float | None:
        """Return what is left `age` seconds later if nobody takes any meanwhile; None if the server did not say."""
        if not self.limit or self.remaining is None:
            return None
        return min(float(self.limit), self.remaining + self.limit * age / MINUTE)


def read_limits(headers: Mapping[str, str]) -> tuple[ServerLimit, ...]:
    """Return the limits that the headers of a response tell of; names are in lower case."""
    limits: list[ServerLimit] = []
    for kind, limit_name, remaining_name, reset_name in _HEADERS:
        limit, remaining = _number(headers.get(limit_name)), _number(headers.get(remaining_name))
        if limit is not None or remaining is not None:
            resets_at = _moment(headers.get(reset_name))
            limits.append(ServerLimit(kind=kind, limit=limit, remaining=remaining, resets_at=resets_at))
    return tuple(limits)


def distinct_limits(told: Sequence[ServerLimit]) -> list[ServerLimit]:
    """Leave "tokens" out where it repeats the tightest of input and output; otherwise it is the limit of a workspace."""
    others = {limit.limit for limit in told if limit.kind in (_INPUT, _OUTPUT)}
    return [limit for limit in told if limit.kind != _TOKENS or limit.limit not in others]


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def _moment(text: str | None) -> datetime | None:
    """Read an RFC 3339 time; one without a zone is taken for UTC."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter on the first and last day of the calendar
        return None


_DATE = re.compile(r"-(20\d{6}|latest)$", re.ASCII)
_GENERATION_4 = re.compile(r"(claude-(?:opus|sonnet|haiku))-4(?:-\d+)?", re.ASCII)
_FABLE_5 = re.compile(r"claude-(?:fable|mythos)-5(?:-\d+)?", re.ASCII)


@lru_cache(maxsize=256)
def model_class(model: str) -> str:
    """Return a name for the models that share their limits with this one.

    The published rule of November 2026: all of Opus 4 share a limit, and so do all of Sonnet 4 and all of Fable 5; every
    other model has its own. A snapshot's date makes no difference. Of a model that is not known a class of its own is
    assumed, which at worst learns the same twice.
    """
    name = _DATE.sub("", model)
    if fourth := _GENERATION_4.fullmatch(name):
        return f"{fourth[1]}-4"
    return "claude-fable-5" if _FABLE_5.fullmatch(name) else name


# One limit of a server as it looks from here: a bucket that holds a minute's worth and refills all the time.
#
# What the server says is old when it arrives, and rounded. The mirror errs on the safe side: what flowed in on the way is not
# counted, tokens are taken to be rounded up, and the caller names what is in flight and not counted by the server yet.
#
# A refusal says that the mirror was too full. Either nothing was left, because somebody else draws on the same limit; then less
# of what flows in is taken to be ours. Or there was enough: the server looks at shorter spans than a minute, and then the bucket
# is taken to be smaller, filled as fast, and by our own count only, for what the server says of the minute is no help.
MINUTE: Final = 60.0
"""Seconds in which a bucket of the server fills up, whatever it held."""
_ROUNDING: Final = 500
"""By how much a number of tokens that was rounded to thousands may be too high."""


_SLOWER: Final = 0.9
_LEAST_SHARE: Final = 0.5
_RECOVERY: Final = 60.0
"""Seconds without a refusal after which more is tried again."""


@dataclass(slots=True, eq=False, kw_only=True)
class MirroredLimit:
    """A bucket at the server, mirrored. All moments go by one clock.

    Attributes:
        per_minute: What flows in during a minute; above 0.
        is_rounded: The server rounds what it says is left to thousands.
        capacity: What it holds.
        level: What was in it at the moment `at`; see `level_at`.
        at: That moment.
        share: How much of what flows in is ours.
        slowed_at: When less was last taken to be ours, or more again.
        reported: What was left by the server's last word, which speaks of a minute's worth; our own count where it did not say.
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
        """What flows in per second, as far as it is ours."""
        return self.per_minute / MINUTE * self.share

    def level_at(self, now: float) -> float:
        """What is in the bucket; below 0 after more was taken than there was."""
        return min(self.capacity, self.level + max(0.0, now - self.at) * self.rate)

    def hear(self, per_minute: float, remaining: float | None, now: float, *, amount: float) -> None:
        """Take the server's word.

        Args:
            per_minute: The limit.
            remaining: What is left; None if the server did not say.
            now: The present.
            amount: What the request took whose response this is.
        """
        counted = self.level_at(now) - self.fitting(amount)
        if per_minute != self.per_minute:
            self.capacity = max(1.0, self.capacity * per_minute / self.per_minute)
            if per_minute < self.per_minute:
                # What was sent under the old limit may be refused, which says nothing about how the new one is kept.
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
        """Note that the server has counted this much."""
        self.level, self.at = self.level_at(now) - amount, now

    def give_back(self, amount: float) -> None:
        """Note that the server has not counted this much after all."""
        self.level += amount

    def on_429(self, sent_at: float, now: float, *, is_used_up: bool) -> None:
        """Learn from a refusal. Of several requests that were sent before the first was refused, one counts.

        Args:
            sent_at: When the refused request was sent.
            now: The present.
            is_used_up: By the server's word too little is left. Otherwise it must look at shorter spans than a minute.
        """
        if sent_at <= self.slowed_at:
            return
        self.slowed_at = now
        if not is_used_up:
            self.capacity = max(1.0, min(self.capacity, self.per_minute / MINUTE) / 2)
            self.level, self.at = 0.0, now
        # A smaller bucket is filled as fast. Only where it cannot be smaller, or others draw on it, is less of it ours.
        if is_used_up or self.capacity == 1.0:
            self.share = max(_LEAST_SHARE, self.share * _SLOWER)

    @property
    def is_small(self) -> bool:
        """Whether the bucket is known to hold less than a minute's worth."""
        return self.capacity < self.per_minute

    def fitting(self, amount: float) -> float:
        """Return as much of an amount as there can ever be: a request for more waits for a full bucket, and no longer."""
        return min(amount, self.capacity)

    def seconds_until(self, amount: float, now: float) -> float:
        """Return the seconds until this much has been there, all before it being taken; 0.0 if it is."""
        return max(0.0, (amount - self.level_at(now)) / self.rate)


# What a request is going to take: measured from its text, and from what answers before it have taken.
FIRST_TOKENS_PER_BYTE: Final = 0.3
"""Before the first answer: English has four characters a token, code and other languages fewer."""
_LEAST_TOKENS_PER_BYTE: Final = 0.01
_MOST_TOKENS_PER_BYTE: Final = 4.0

FIRST_OUTPUT_TOKENS: Final = 500
"""Before the first answer: a page."""

_NEW_SHARE: Final = 0.3
"""Weight of the latest answer in what is expected of the next."""

_IMAGE_TOKENS: Final = 1600
"""A picture of the usual size; its bytes say nothing about its tokens."""
_DOCUMENT_BYTES_PER_TOKEN: Final = 30
"""Of a PDF in base64: some 2,000 tokens for a page of 60 kB."""


@dataclass(frozen=True, slots=True)
class InputSize:
    """How large an input is.

    Attributes:
        text_bytes: Its text in UTF-8, schemas of tools included.
        other_tokens: What pictures and documents are taken to have, in model tokens.
    """

    text_bytes: int
    other_tokens: int


class Need:
    """What one call is going to ask of the server. Measured once, and only if a limit makes that necessary."""

    def __init__(self, request: MessageRequest) -> None:
        self.model_class = model_class(request.model)
        self.max_tokens = request.max_tokens
        self._request = request

    @cached_property
    def input_size(self) -> InputSize:
        return measure_input(self._request.count_tokens_body())


@dataclass(slots=True)
class Expectation:
    """What answers so far have taught about the next one, for one class of models."""

    tokens_per_byte: float = FIRST_TOKENS_PER_BYTE
    tokens_of_answer: float = FIRST_OUTPUT_TOKENS

    def input_tokens(self, need: Need) -> float:
        """Expect the input that counts against the limit."""
        size = need.input_size
        return size.text_bytes * self.tokens_per_byte + size.other_tokens

    def output_tokens(self, need: Need) -> float:
        """Expect the output; `max_tokens` only bounds it, for the server reserves nothing."""
        return min(self.tokens_of_answer, need.max_tokens)

    def learn(self, need: Need, usage: Usage) -> None:
        """Take in what a complete answer really took. What was read from the prompt cache does not count."""
        counted = usage.input_tokens + (usage.cache_creation_input_tokens or 0)
        if usage.output_tokens > 0:
            self.tokens_of_answer += _NEW_SHARE * (usage.output_tokens - self.tokens_of_answer)
        size = need.input_size
        if counted <= 0 or size.text_bytes == 0:
            return
        seen = (counted - size.other_tokens) / size.text_bytes
        seen = min(max(seen, _LEAST_TOKENS_PER_BYTE), _MOST_TOKENS_PER_BYTE)
        # Up at once, down by and by: to expect too little costs a refused request, too much only a wait.
        change = seen - self.tokens_per_byte
        self.tokens_per_byte += change if change > 0 else _NEW_SHARE * change


def measure_input(body: Any) -> InputSize:
    """Measure the parts of a request that make up its input."""
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


# What a server's responses have taught about its limits for one class of models.
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


@dataclass(slots=True, eq=False)
class Learnt:
    """What a server's responses have taught of one class of models: all that goes on after the code was reloaded.

    Attributes:
        limits: The mirrors of its limits. Replaced, and never changed, so that any thread may read it.
        received_at: When the server's last word came.
        pause: The pause after a 429.
        expectation: What the next answer takes.
    """

    limits: dict[LimiterReason, MirroredLimit] = field(default_factory=dict)
    received_at: float = -math.inf
    pause: Pause = field(default_factory=Pause)
    expectation: Expectation = field(default_factory=Expectation)


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
    paused: float
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
        return self.or_paused(self.forecast(now).add(need), now)

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

    def or_paused(self, wait_reason: WaitReason | None, now: float) -> WaitReason | None:
        """Return the longer of a wait and the pause."""
        paused_for = self.learnt.pause.until - now
        if paused_for <= 0.0 or (wait_reason is not None and wait_reason.seconds > paused_for):
            return wait_reason
        return WaitReason("paused", paused_for)

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
            "paused": self.learnt.pause.left(now),
            "asked": self.learnt.pause.asked_left(now),
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
        if lesson["paused"] > age:
            self.learnt.pause.extend(lesson["paused"] - age, now, asked=lesson["asked"] - age)

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
            if self._unpaid(kind, now) + mirror.fitting(self._amount(kind, admission.need)) > mirror.reported
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
        crowd: int,
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
    by_kind = {limit.kind: limit for limit in distinct_limits(told) if limit.limit}
    return {kind: by_kind[kind] for kind in _KINDS if kind in by_kind}
