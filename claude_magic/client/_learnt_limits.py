"""What a server's responses have taught about its limits for one class of models. No I/O, and nobody waits here.

The server has a bucket for requests, one for input tokens and one for output tokens, which refill all the time. Each response
says what was left in them; between two responses each is mirrored here, at the rate that its limit says. A request that has
been sent is *under way* until the server's word includes it: requests and input count from the response's headers on, output
when the answer is complete. What is under way is held against the mirror, so that it is no fuller than the bucket at the
server as long as nobody else draws on that.

Responses overtake each other. The word of one that was sent before another which has already spoken is not listened to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ._expectation import Expectation, Need
from ._messages import Usage
from ._mirrored_limit import LimitRecord, MirroredLimit
from ._observe import WaitReason
from ._pace_state import ClassRecord, Obstacle, PacedLimit
from ._server_limits import ServerLimit, read_limits

MINUTE: Final = 60.0
"""Seconds in which a bucket of the server fills up, whatever it held."""
MEMORY: Final = 2 * MINUTE
"""Seconds for which the server's last word counts."""

_GRAIN: Final = 1e-6
"""Seconds that are not worth waiting."""

_REQUESTS: Final = "requests"
_INPUT: Final = "input tokens"
_OUTPUT: Final = "output tokens"
_TOKENS: Final = "tokens"
_KINDS: Final[tuple[WaitReason, ...]] = (_REQUESTS, _INPUT, _OUTPUT, _TOKENS)
"""The limits that are kept to. Those of the priority tier and of the fast mode are extras, and only shown."""


class Admission:
    """A request that was let through, until its answer has ended."""

    __slots__ = ("admitted_at", "is_counted", "need", "number")

    def __init__(self, need: Need, number: int, admitted_at: float) -> None:
        self.need = need
        self.number = number
        self.admitted_at = admitted_at
        self.is_counted = False
        """The server has answered, so that its buckets have paid for the request and its input."""

    def is_stale(self, now: float) -> bool:
        """Whether what it took has flowed in again since. A stream that nobody reads any more never ends otherwise."""
        return now - self.admitted_at > MINUTE


class LearntLimits:
    """The mirrors of a server's limits, and what is under way to it."""

    def __init__(self) -> None:
        self._mirrors: dict[WaitReason, MirroredLimit] = {}
        self._expectation = Expectation()
        self._under_way: dict[int, Admission] = {}
        self._numbers = itertools.count(1)
        self._last_speaker = 0
        self._told_at = -math.inf

    def is_known(self, now: float) -> bool:
        """Whether the server has told its limits lately."""
        return bool(self._mirrors) and now - self._told_at <= MEMORY

    def obstacle(self, need: Need, now: float) -> Obstacle | None:
        """Return what stands in the way of a request that nobody is before; None if nothing does."""
        return self.forecast(now).add(need)

    def forecast(self, now: float) -> Forecast:
        """Return what tells, one after the other, how long requests in line would wait."""
        mirrors = self._mirrors if self.is_known(now) else {}
        wanted = {kind: self._unpaid(kind, now) for kind in mirrors}
        return Forecast(mirrors, wanted, self._amount, now)

    def let_through(self, need: Need, now: float) -> Admission:
        """Note that a request is being sent."""
        while self._under_way and (oldest := next(iter(self._under_way.values()))).is_stale(now):
            del self._under_way[oldest.number]
        admission = Admission(need, next(self._numbers), now)
        self._under_way[admission.number] = admission
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
            self._mirrors.clear()
        self._last_speaker, self._told_at = admission.number, now
        need = None if is_refusal else admission.need
        self._mirrors = {kind: self._heard(kind, limit, need, now) for kind, limit in told.items()}
        if is_refusal:
            self._learn_from_refusal(admission, now)

    def settle(self, admission: Admission, usage: Usage | None, now: float) -> None:
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
        if _OUTPUT in self._mirrors:
            output = self._amount(_OUTPUT, admission.need) if usage is None else usage.output_tokens
            self._mirrors[_OUTPUT].take(output, now)
        if usage is not None and self._mirrors:
            self._expectation.learn(admission.need, usage)

    def withdraw(self, admission: Admission) -> None:
        """Forget a request that the server never saw, or refused."""
        self._under_way.pop(admission.number, None)

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
                level=mirror.level(now) - self._unpaid(kind, now),
            )
            for kind, mirror in tuple(self._mirrors.items())
        )

    def dump(self, now: float, *, held_until: float, asked_until: float = -math.inf) -> ClassRecord:
        """Return what was learnt as plain numbers for `restore`, in this process, with the same clock."""
        return ClassRecord(
            limits={kind: mirror.dump(now) for kind, mirror in tuple(self._mirrors.items())},
            told_at=self._told_at,
            held_until=held_until,
            asked_until=asked_until,
            tokens_per_byte=self._expectation.tokens_per_byte,
            tokens_of_answer=self._expectation.tokens_of_answer,
        )

    def restore(self, record: ClassRecord) -> None:
        """Go on with what was learnt formerly."""
        self._mirrors = {
            kind: _restored(kind, record["limits"][kind]) for kind in _KINDS if kind in record["limits"]
        }
        self._told_at = record["told_at"]
        self._expectation.tokens_per_byte = record["tokens_per_byte"]
        self._expectation.tokens_of_answer = record["tokens_of_answer"]

    def _unpaid(self, kind: WaitReason, now: float) -> float:
        """What is under way and not taken from the mirror yet."""
        return sum(
            self._amount(kind, admission.need)
            for admission in tuple(self._under_way.values())
            if not admission.is_stale(now) and (kind == _OUTPUT or not admission.is_counted)
        )

    def _amount(self, kind: WaitReason, need: Need) -> float:
        match kind:
            case "requests":
                return 1.0
            case "input tokens":
                return self._expectation.input_tokens(need)
            case "output tokens":
                return self._expectation.output_tokens(need)
        return self._expectation.input_tokens(need) + self._expectation.output_tokens(need)

    def _pay_for(self, admission: Admission, now: float) -> None:
        """Take from the mirrors what a request took that no word includes."""
        for kind in (_REQUESTS, _INPUT, _TOKENS):
            if kind in self._mirrors:
                self._mirrors[kind].take(self._amount(kind, admission.need), now)

    def _heard(self, kind: WaitReason, told: ServerLimit, need: Need | None, now: float) -> MirroredLimit:
        """Return the mirror of a limit after the server's word on it; `need` is what the server has just let in."""
        per_minute = told.limit or 1  # never 0: see `_limits_to_keep`
        mirror = self._mirrors.get(kind) or MirroredLimit(per_minute, now, is_rounded=kind != _REQUESTS)
        amount = 0.0 if need is None or kind == _OUTPUT else self._amount(kind, need)
        mirror.hear(per_minute, told.remaining, now, amount=amount)
        return mirror

    def _learn_from_refusal(self, admission: Admission, now: float) -> None:
        used_up = [
            kind
            for kind, mirror in self._mirrors.items()
            if self._unpaid(kind, now) + mirror.fitting(self._amount(kind, admission.need))
            > mirror.level(now)
        ]
        for kind in used_up:
            self._mirrors[kind].be_refused(admission.admitted_at, now, is_used_up=True)
        if not used_up and _REQUESTS in self._mirrors:
            self._mirrors[_REQUESTS].be_refused(admission.admitted_at, now, is_used_up=False)


class Forecast:
    """How long requests would wait that are served in the order in which they are added.

    Args:
        mirrors: The limits.
        wanted: What is wanted of each already.
        amount: How much of a limit a request is expected to take.
        now: The present.
    """

    def __init__(
        self,
        mirrors: Mapping[WaitReason, MirroredLimit],
        wanted: dict[WaitReason, float],
        amount: Callable[[WaitReason, Need], float],
        now: float,
    ) -> None:
        self.made_at = now
        self.knows_limits = bool(mirrors)
        self._mirrors = mirrors
        self._wanted = wanted
        self._amount = amount

    def add(self, need: Need) -> Obstacle | None:
        """Return what stands in the way of the next request, in seconds from the time of the forecast."""
        longest: Obstacle | None = None
        for kind, mirror in self._mirrors.items():
            self._wanted[kind] += mirror.fitting(self._amount(kind, need))
            seconds = mirror.seconds_until(self._wanted[kind], self.made_at)
            if seconds > (_GRAIN if longest is None else longest.seconds):
                longest = Obstacle(kind, seconds)
        return longest


def _limits_to_keep(told: Sequence[ServerLimit]) -> dict[WaitReason, ServerLimit]:
    """Choose the limits to keep to. One of 0, which would allow nothing, says nothing."""
    by_kind = {limit.kind: limit for limit in told if limit.limit}
    keep: dict[WaitReason, ServerLimit] = {kind: by_kind[kind] for kind in _KINDS if kind in by_kind}
    # "tokens" repeats the tightest of the two others, unless it is the limit of a workspace.
    others = {keep[kind].limit for kind in (_INPUT, _OUTPUT) if kind in keep}
    if _TOKENS in keep and keep[_TOKENS].limit in others:
        del keep[_TOKENS]
    return keep


def _restored(kind: WaitReason, record: LimitRecord) -> MirroredLimit:
    return MirroredLimit.restore(record, is_rounded=kind != _REQUESTS)
