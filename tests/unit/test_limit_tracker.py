"""Tracking of a server's limits from response headers, rule by rule, on a simulated clock."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_magic.client import Usage
from claude_magic.client._pace import ServerPace
from claude_magic.client._rate_limit import WaitReason
from claude_magic.client._server_limits import MEMORY, MINUTE, Admission, LimitTracker

from .limit_headers import limit_headers, need

START = 1000.0


def tracked(*words: dict[str, str], at: float = START) -> LimitTracker:
    """Return the limits after one response with all these headers."""
    limits = LimitTracker()
    admission = limits.admit(need(), at)
    limits.update_from_headers(
        admission, {name: value for word in words for name, value in word.items()}, at, is_429=False
    )
    limits.finish(admission, Usage(), at)
    return limits


def wait(limits: LimitTracker, now: float = START, count: int = 1) -> tuple[str, float] | None:
    forecast = limits.forecast(now)
    *_, wait_reason = (forecast.add(need()) for _ in range(count))
    return None if wait_reason is None else (wait_reason.reason, pytest.approx(wait_reason.seconds))


def test_without_headers_nothing_waits() -> None:
    """A server that reports no limits changes nothing."""
    limits = tracked({})

    assert wait(limits, count=10_000) is None
    assert limits.state(START) == ()


def test_the_remaining_requests_may_be_sent_at_once() -> None:
    """With three left, three are sent at once, and the fourth after one refill."""
    limits = tracked(limit_headers(limit=60, remaining=3))

    assert wait(limits, count=3) is None
    assert wait(limits, count=4) == ("requests", 1.0)
    assert wait(limits, count=13) == ("requests", 10.0)


def test_with_nothing_left_requests_wait_for_the_servers_refill() -> None:
    """300 per minute are one every 0.2 s."""
    limits = tracked(limit_headers(limit=300, remaining=0))

    assert wait(limits) == ("requests", 0.2)
    assert wait(limits, START + 0.2) is None


def test_requests_in_flight_are_subtracted_from_the_remaining_ones() -> None:
    """The server reported 3 before it counted the two that are in flight."""
    limits = tracked(limit_headers(limit=60, remaining=3))
    limits.admit(need(), START)
    limits.admit(need(), START)

    assert wait(limits) is None
    assert wait(limits, count=2) == ("requests", 1.0)


def test_headers_of_an_overtaken_response_are_ignored() -> None:
    """The first response arrives last, and reports more than is left."""
    limits = LimitTracker()
    first = limits.admit(need(), START)
    second = limits.admit(need(), START)
    limits.update_from_headers(second, limit_headers(limit=60, remaining=1), START, is_429=False)

    limits.update_from_headers(first, limit_headers(limit=60, remaining=50), START, is_429=False)

    assert wait(limits) == ("requests", 1.0)  # 1, less the first


def test_a_request_that_failed_without_a_response_counts() -> None:
    """It is unknown whether the server received it."""
    limits = tracked(limit_headers(limit=60, remaining=1))
    admission = limits.admit(need(), START)

    limits.finish(admission, None, START)

    assert wait(limits) == ("requests", 1.0)


def test_a_request_that_was_never_sent_does_not_count() -> None:
    """It was cancelled while it waited, or there was no connection."""
    limits = tracked(limit_headers(limit=60, remaining=1))
    admission = limits.admit(need(), START)
    assert wait(limits) is not None

    limits.withdraw(admission)

    assert wait(limits) is None


def test_an_abandoned_stream_is_dropped_after_a_minute() -> None:
    """Its amount has been refilled by then; it must not block others forever."""
    limits = tracked(limit_headers(limit=60, remaining=60), limit_headers("output-tokens", 1000, 1000))
    for _ in range(3):
        limits.admit(need(), START)
    assert wait(limits) == ("output tokens", 60.0)

    assert wait(limits, START + 61) is None
    limits.admit(need(), START + 61)
    assert limits.in_flight == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("input-tokens", "input tokens"), ("output-tokens", "output tokens"), ("tokens", "tokens")],
)
def test_token_limits_apply_too_and_the_longest_wait_decides(kind: str, reason: str) -> None:
    """Each limit has its own bucket."""
    limits = tracked(limit_headers(limit=60, remaining=0), limit_headers(kind, 120, 0))
    text = "x" * 10_000

    wait_reason = limits.wait_reason(need(text=text), START)

    assert wait_reason is not None
    assert (wait_reason.reason, wait_reason.seconds) == (reason, pytest.approx(60.0))


def test_tokens_repeat_the_tightest_limit_unless_they_are_another_one() -> None:
    """The header without a kind is a workspace's limit only if it differs from the two others."""
    repeated = tracked(limit_headers("input-tokens", 50_000, 9000), limit_headers("tokens", 50_000, 9000))
    workspace = tracked(limit_headers("input-tokens", 50_000, 9000), limit_headers("tokens", 20_000, 2000))

    assert [limit.kind for limit in repeated.state(START)] == ["input tokens"]
    assert [limit.kind for limit in workspace.state(START)] == ["input tokens", "tokens"]


def test_remaining_tokens_are_assumed_to_be_rounded_up() -> None:
    """1,000 left may be 500; a limit below a thousand is not rounded, and neither is a full one."""
    limits = tracked(
        limit_headers("input-tokens", 60_000, 1000),
        limit_headers("output-tokens", 900, 100),
        limit_headers("tokens", 5000, 5000),
    )

    assert [limit.level for limit in limits.state(START)] == pytest.approx([500, 100, 5000])


def test_a_request_larger_than_the_limit_waits_for_a_full_bucket_only() -> None:
    """It can never fit, so the server decides."""
    limits = tracked(limit_headers("input-tokens", 1200, 600))
    huge = need(text="x" * 10**6)

    wait_reason = limits.wait_reason(huge, START)

    assert wait_reason is not None
    assert wait_reason.seconds <= MINUTE
    assert limits.wait_reason(huge, START + wait_reason.seconds) is None


def test_actual_usage_replaces_the_estimate() -> None:
    """500 output tokens were expected, 100 arrived; the next estimate is lower."""
    limits = tracked(limit_headers("output-tokens", 900, 900))
    admission = limits.admit(need(), START)
    limits.update_from_headers(admission, limit_headers("output-tokens", 900, 900), START, is_429=False)
    assert limits.state(START)[0].level == pytest.approx(400)

    limits.finish(admission, Usage(input_tokens=5, output_tokens=100), START)

    assert limits.state(START)[0].level == pytest.approx(800)
    assert wait(limits, count=2) is None


def test_limits_expire_after_two_minutes() -> None:
    """The server's bucket is full by then, so only the configured rate applies."""
    limits = tracked(limit_headers(limit=1, remaining=0))

    assert wait(limits, START + 1) == ("requests", 59.0)
    assert wait(limits, START + MEMORY, count=2) is not None
    assert wait(limits, START + MEMORY + 1, count=100) is None
    assert limits.state(START + MEMORY + 1) == ()


def test_the_latest_reported_limit_applies() -> None:
    """A workspace's limit was raised, or removed."""
    limits = tracked(limit_headers(limit=60, remaining=0))
    limits.update_from_headers(
        limits.admit(need(), START), limit_headers(limit=6000, remaining=0), START, is_429=False
    )
    assert wait(limits) == ("requests", 0.01)

    limits.update_from_headers(
        limits.admit(need(), START), limit_headers("input-tokens", 60), START, is_429=False
    )

    assert [limit.kind for limit in limits.state(START)] == ["input tokens"]


def test_a_429_with_nothing_left_slows_down_because_of_other_clients() -> None:
    """The own share of the refill is reduced, until a minute has passed without a 429."""
    limits = tracked(limit_headers(limit=60, remaining=1))
    refused = limits.admit(need(), START + 1)

    limits.update_from_headers(refused, limit_headers(limit=60, remaining=0), START + 1, is_429=True)
    assert wait(limits, START + 1) == ("requests", 1 / 0.9)

    later = START + 1 + MINUTE + 1
    limits.update_from_headers(
        limits.admit(need(), later), limit_headers(limit=60, remaining=0), later, is_429=False
    )
    assert wait(limits, later) == ("requests", 1.0)


def test_many_429s_of_one_burst_slow_down_once() -> None:
    """They were all sent before the first 429 arrived."""
    limits = tracked(limit_headers(limit=60, remaining=30))
    volley = [limits.admit(need(), START + 1) for _ in range(10)]

    for refused in volley:
        limits.update_from_headers(refused, limit_headers(limit=60, remaining=0), START + 2, is_429=True)

    assert wait(limits, START + 2) == ("requests", 1 / 0.9)


def test_429s_for_requests_under_a_higher_limit_do_not_slow_down() -> None:
    """A server that halves its limit rejects requests in flight; the new limit is used in full once it is reported."""
    limits = tracked(limit_headers(limit=120, remaining=5))
    in_flight = [limits.admit(need(), START) for _ in range(5)]

    for refused in in_flight:
        limits.update_from_headers(refused, limit_headers(limit=60, remaining=0), START + 1, is_429=True)

    assert wait(limits, START + 1) == ("requests", 1.0)
    later = limits.admit(need(), START + 2)
    limits.update_from_headers(later, limit_headers(limit=60, remaining=0), START + 3, is_429=True)
    assert wait(limits, START + 3) == ("requests", 1 / 0.9)


def test_repeated_429s_reduce_the_rate_to_half_at_most() -> None:
    """A lower rate would only help other clients."""
    limits = tracked(limit_headers(limit=60, remaining=0))
    now = START
    for _ in range(50):
        now += 5
        limits.update_from_headers(
            limits.admit(need(), now), limit_headers(limit=60, remaining=0), now + 1, is_429=True
        )

    assert wait(limits, now + 1) == ("requests", 2.0)


def test_a_429_with_much_left_means_that_bursts_are_forbidden() -> None:
    """60 per minute may be enforced as 1 per second; the reported amount for the minute does not help then."""
    limits = tracked(limit_headers(limit=60, remaining=50))

    limits.update_from_headers(
        limits.admit(need(), START + 1), limit_headers(limit=60, remaining=50), START + 1, is_429=True
    )
    assert wait(limits, START + 1) == ("requests", 1 / 0.9)

    now = START + 31
    assert wait(limits, now) is None
    assert wait(limits, now, count=2) is not None
    limits.update_from_headers(
        limits.admit(need(), now), limit_headers(limit=60, remaining=59), now, is_429=False
    )
    assert wait(limits, now) is not None


def refuse(limits: LimitTracker, now: float, *, limit: int = 1200) -> None:
    """Simulate a 429 that reports a large remaining amount."""
    limits.update_from_headers(
        limits.admit(need(), now), limit_headers(limit=limit, remaining=limit), now, is_429=True
    )


def test_a_smaller_bucket_has_the_same_refill_rate() -> None:
    """A 429 for a burst does not change the rate, until the bucket holds only one request."""
    limits = tracked(limit_headers(limit=1200, remaining=1200))

    capacities = []
    for number in range(1, 7):
        refuse(limits, START + number)
        capacities.append(sum(wait(limits, START + number + 0.9, count) is None for count in range(1, 20)))
        slower = 1 if number < 5 else 0.9 ** (number - 4)
        assert wait(limits, START + number) == ("requests", 0.05 / slower)

    assert capacities == [10, 5, 2, 1, 1, 1]


def test_requests_in_flight_do_not_block_the_refill_of_a_small_bucket() -> None:
    """They are subtracted when they are sent: the server counts them then, and its response may start seconds later."""
    limits = tracked(limit_headers(limit=1200, remaining=1200))
    refuse(limits, START)

    for second in (1, 2, 3):
        assert wait(limits, START + second, count=10) is None
        sent = [limits.admit(need(), START + second) for _ in range(10)]
        assert wait(limits, START + second) == ("requests", 0.05)
    for admission in sent:
        limits.update_from_headers(
            admission, limit_headers(limit=1200, remaining=1100), START + 3, is_429=False
        )
        limits.finish(admission, Usage(), START + 3)
    assert wait(limits, START + 3) == ("requests", 0.05)


def test_unsent_requests_are_given_back_to_a_small_bucket() -> None:
    """They were cancelled, or there was no connection."""
    limits = tracked(limit_headers(limit=1200, remaining=1200))
    refuse(limits, START)
    sent = [limits.admit(need(), START + 1) for _ in range(10)]

    limits.withdraw(sent.pop())

    assert wait(limits, START + 1) is None
    assert wait(limits, START + 1, count=2) is not None


def test_the_shared_state_includes_requests_from_a_small_bucket() -> None:
    """Other processes have not counted them; with the state of another process, the own requests are subtracted again."""
    limits, other = tracked(limit_headers(limit=1200, remaining=1200)), LimitTracker()
    refuse(limits, START)
    sent = [limits.admit(need(), START + 1) for _ in range(4)]
    assert limits.shared_state(START + 1, waiting=0)["in_flight"]["requests"] == 4

    state = limits.shared_state(START, waiting=0)
    other.merge_state("one", state, START + 1, age=0.0)
    limits.merge_state("other", {**state, "in_flight": {}}, START + 2, age=0.0)
    level = limits.state(START + 2)[0].level
    for admission in sent:
        limits.update_from_headers(
            admission, limit_headers(limit=1200, remaining=1200), START + 2, is_429=False
        )
    assert limits.state(START + 2)[0].level == pytest.approx(level)


@pytest.mark.parametrize(
    "headers",
    [
        limit_headers(limit=0, remaining=0),
        limit_headers(limit=-1, remaining=-1),
        limit_headers(limit="nan", remaining="inf"),
        limit_headers(limit="9" * 50, remaining="9" * 50),
        limit_headers(limit="", remaining=""),
        {"anthropic-ratelimit-requests-remaining": "0"},
    ],
)
def test_an_implausible_limit_is_ignored(headers: dict[str, str]) -> None:
    """Zero would allow nothing forever, and without a limit the refill rate is unknown."""
    assert wait(tracked(headers), count=1000) is None


@pytest.mark.parametrize("remaining", [None, 10**15])
@pytest.mark.parametrize("kind", ["tokens", "input-tokens"])
def test_a_limit_below_one_request_without_remaining_amount_holds_for_a_minute(
    kind: str, remaining: int | None
) -> None:
    """The accepted request took the whole limit and no more, so the next one waits for a full bucket."""
    limits = tracked(limit_headers(kind, 1, remaining))

    assert wait(limits) == (kind.replace("-", " "), MINUTE)


@settings(max_examples=300, deadline=None)
@given(
    limit=st.integers(0, 10**15),
    remaining=st.none() | st.integers(0, 10**15),
    kind=st.sampled_from(["requests", "tokens", "input-tokens", "output-tokens"]),
    size=st.integers(0, 10**5),
    later=st.floats(0, 200),
)
def test_no_headers_make_a_single_request_wait_longer_than_a_minute(
    limit: int, remaining: int | None, kind: str, size: int, later: float
) -> None:
    """Whatever the numbers are, the wait is finite, and none of them raises."""
    limits = tracked(limit_headers(kind, limit, remaining))

    wait_reason = limits.wait_reason(need(text="x" * size), START + later)

    # What was lent against rounding (500 tokens) may come on top of a bucket's minute.
    bound = MINUTE + (500 / limit * 60 if limit >= 1000 else 0)
    assert wait_reason is None or 0 < wait_reason.seconds <= bound + 1e-6


@dataclass
class Server:
    """An exact model of a server's bucket of requests."""

    per_minute: int
    level: float
    at: float = START

    def take(self, now: float) -> int:
        """Grant a request, and return the remaining amount as headers."""
        self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / 60) - 1
        self.at = now
        return math.floor(max(0.0, self.level))

    def level_at(self, now: float) -> float:
        return min(self.per_minute, self.level + (now - self.at) * self.per_minute / 60)


@settings(max_examples=200, deadline=None)
@given(
    per_minute=st.integers(1, 600),
    fill=st.floats(0.1, 1.0),
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "answer", "rest"]), st.floats(0.0, 3.0), st.integers(0, 5)),
        max_size=60,
    ),
)
def test_the_mirror_never_exceeds_the_servers_bucket(
    per_minute: int, fill: float, steps: list[tuple[str, float, int]]
) -> None:
    """Whenever the mirror grants requests, the server has capacity for them when they arrive, for any interleaving and order of
    late responses."""
    server = Server(per_minute, max(1.0, per_minute * fill))
    limits = LimitTracker()
    now = START
    first = limits.admit(need(), now)
    limits.update_from_headers(
        first, limit_headers(limit=per_minute, remaining=server.take(now)), now, is_429=False
    )
    limits.finish(first, Usage(), now)
    on_the_way: list[tuple[Admission, int]] = []

    for action, seconds, which in steps:
        now += seconds
        if action == "send" and limits.wait_reason(need(), now) is None:
            assert server.level_at(now) >= 1 - 1e-6
            on_the_way.append((limits.admit(need(), now), server.take(now)))
        elif action == "answer" and on_the_way:
            admission, remaining = on_the_way.pop(which % len(on_the_way))
            limits.update_from_headers(
                admission, limit_headers(limit=per_minute, remaining=remaining), now, is_429=False
            )
            limits.finish(admission, Usage(), now)


def test_the_state_survives_a_reload_as_plain_data() -> None:
    """The classes themselves are new after a reload."""
    limits = tracked(limit_headers(limit=60, remaining=1), limit_headers("input-tokens", 60_000, 3000))
    limits.update_from_headers(
        limits.admit(need(), START), limit_headers(limit=60, remaining=0), START, is_429=True
    )
    limits.tracked.pause.extend(7.0, START)

    ours = ServerPace()
    ours._class("m", limits.tracked)
    record = json.loads(json.dumps(ours.dump()))
    again = ServerPace(record)._class("m").limits

    assert again.tracked is not limits.tracked
    assert again.state(START + 0.7) == limits.state(START + 0.7)
    assert wait(again, START + 0.5) == wait(limits, START + 0.5)
    assert again.tracked.pause.left(START) == 7.0
    assert record == ServerPace(record).dump()


def pair(clock: list[float]) -> tuple[ServerPace, ServerPace, str]:
    """Return two processes, and the class of models that they use. One has sent a request: 1 of 60 is left."""
    teacher, pupil = (ServerPace(clock=lambda: clock[0]) for _ in range(2))
    ticket = teacher.ticket(need(), lambda _reason: None)
    ticket.enter()
    ticket.update_from_headers(limit_headers(limit=60, remaining=1), is_429=False)
    return teacher, pupil, need().model_class


def wait_reason_in(pace: ServerPace) -> WaitReason | None:
    """Return why a request would wait if it were the first in line."""
    return pace.ticket(need(), lambda _reason: None).wait_reason()


def test_limits_reported_to_one_process_apply_to_the_others() -> None:
    """Including the amounts in flight, and the pause."""
    clock = [START]
    teacher, pupil, name = pair(clock)
    in_flight = teacher.ticket(need(), lambda _reason: None)
    in_flight.enter()

    pupil.merge_state(name, "teacher", teacher.shared_state(name))

    (limit,) = pupil.state[0].limits
    assert (limit.kind, limit.per_minute, limit.level) == ("requests", 60.0, 0.0)
    assert wait_reason_in(pupil) == WaitReason("requests", pytest.approx(1.0))
    pupil.forget_others()
    assert pupil.state[0].limits[0].level == 1.0

    in_flight.pause_others(30, asked=50)
    pupil.merge_state(name, "teacher", teacher.shared_state(name), age=10)
    assert (pupil.state[0].paused_for, pupil.state[0].asked_for) == pytest.approx((20, 40))


def test_waiting_processes_share_the_refill() -> None:
    """If the bucket is empty, two waiting processes do not each use the whole refill."""
    clock = [START]
    teacher, pupil, name = pair(clock)
    teacher.ticket(need(), lambda _reason: None)  # waits

    pupil.merge_state(name, "teacher", teacher.shared_state(name))

    assert wait_reason_in(pupil) == WaitReason("requests", pytest.approx(1.0))
    clock[0] += 1.0
    assert wait_reason_in(pupil) is None


def test_a_process_publishes_only_reported_limits() -> None:
    """A server without limits causes no messages."""
    teacher = ServerPace(clock=lambda: START)
    said: list[str] = []
    teacher.on_change = said.append
    for headers in ({}, limit_headers(remaining=3)):
        ticket = teacher.ticket(need(), lambda _reason: None)
        ticket.enter()
        ticket.update_from_headers(headers, is_429=False)
        assert bool(said) == bool(headers)
